// The mini program's side of a login: what it knows, whom it asks, and which screen follows.

import { draw } from "/phone/assets/screens.js";
import { strings } from "/phone/assets/strings.js";

const ENTRIES = {
  wxacode: { camera: 1047, press: 1048, album: 1049, card: 1007 },
  link: { camera: 1011, press: 1012, album: 1013, card: 1007 },
};

const phone = {
  language: document.documentElement.lang,
  world: null,
  screen: "loading",
  code: null, // { kind, appid, scene, page, env }
  opened: "camera",
  persona: null,
  handle: null,
  offer: null, // the gateway's last answer about this ticket
  receivedAt: 0,
  deadline: 0,
  choice: null,
  notice: null, // a refusal that leaves the screen as it is
  ended: null, // { kind, error }
};

let timer = 0;
let round = 0; // answers to questions of an earlier round are dropped

const actions = {
  text: () => strings(phone.language),
  entry: () => phone.code?.entry ?? ENTRIES[phone.code?.kind ?? "wxacode"][phone.opened],
  app: () => phone.world.apps.find((app) => app.appid === phone.code?.appid) ?? phone.world.apps[0],
  name: (bilingual) => (phone.language.startsWith("zh") ? bilingual.zh : bilingual.en),
  remaining: () => Math.max(0, Math.round((phone.deadline - Date.now()) / 1000)),

  async open(text) {
    // A link or a scheme says nothing by itself: WeChat knows where it leads.
    if (/^(weixin:|https?:\/\/[^/]+\/link\/)/.test(text.trim())) {
      const answer = await ask("/phone/api/link", { address: text });
      text = answer.ok ? new URL(answer.body.address, location.href).href : "";
    }
    const account = accountCode(text);
    if (account) return location.assign(account);
    const code = parse(text);
    if (!code) return show({ notice: { message: actions.text().code_unreadable } });
    start(code);
  },

  async read(picture) {
    show({ notice: { message: actions.text().code_reading, calm: true } });
    const answer = await ask("/phone/api/read", picture, picture.type);
    if (answer.ok) actions.open(answer.body.address);
    else show({ notice: { message: actions.text().code_none } });
  },

  choosePersona(persona) {
    phone.persona = persona;
    return scan();
  },

  /// The number was chosen. The phone button may only appear while the ticket is alive, so that is asked first.
  async choose(number) {
    phone.choice = number;
    if (!wantsPhone()) return confirm("none");
    show({ notice: null, screen: "sending" });
    if (await refresh(true)) show({ screen: "phone" });
  },

  allow: () => confirm("allow"),
  deny: () => confirm("deny"),
  dismiss: () => confirm("close"),
  accept: () => confirm("none", true),

  async cancel(reason) {
    const answer = await ask(
      "/phone/api/cancel",
      phone.handle ? { handle: phone.handle, reason } : { scene: phone.code.scene, reason },
    );
    if (answer.ok || answer.status === 410) end(reason === "not_me" ? "reported" : "cancelled");
    else refuse(answer);
  },

  leave: () => start(phone.code),
  again: () => start(null),

  /// `launchApp`: the application gets the handle, which opens nothing, and is seen again.
  backToApplication() {
    new BroadcastChannel("sandbox-application").postMessage(phone.offer.app_parameter);
    window.close();
  },

  switchLanguage() {
    phone.language = phone.language.startsWith("zh") ? "en" : "zh-CN";
    const address = new URL(location.href);
    address.searchParams.set("lang", phone.language);
    history.replaceState(null, "", address);
    show({});
  },

  setOpened(value) {
    phone.opened = value;
    show({});
  },
};

/// Begins with a code, or with the question for one.
function start(code) {
  clearTimeout(timer);
  round += 1;
  Object.assign(phone, { code, persona: null, handle: null, offer: null, choice: null, ended: null, notice: null });
  const address = new URL("/phone", location.href);
  if (code)
    for (const [name, value] of Object.entries({
      appid: code.appid,
      scene: code.scene,
      page: code.page,
      env: code.env,
      half: code.half,
      entry: code.entry,
      referrer: code.referrer,
    }))
      if (value) address.searchParams.set(name, value);
  const language = new URL(location.href).searchParams.get("lang");
  if (language) address.searchParams.set("lang", language);
  history.replaceState(null, "", address);
  show({ screen: code ? "people" : "code" });
}

async function scan() {
  const mine = (round += 1);
  show({ screen: "opening", notice: null });
  const answer = await ask("/phone/api/scan", {
    appid: phone.code.appid,
    persona: phone.persona.id,
    scene: phone.code.scene,
    entry: actions.entry(),
    referrer: phone.code.referrer ?? undefined,
    half: phone.code.half ?? undefined,
  });
  if (mine !== round) return;
  if (!answer.ok) return refuse(answer);
  phone.handle = answer.body.handle;
  take(answer.body);
  show({ screen: "confirm" });
}

/// Asks how the ticket is. Answers whether it is still open for this phone.
async function refresh(quietly = false) {
  const mine = round;
  const answer = await ask("/phone/api/status", { handle: phone.handle });
  if (mine !== round) return false;
  if (!answer.ok) {
    if (answer.status >= 500 && !quietly) return (wait(3000), true);
    return (refuse(answer), false);
  }
  take(answer.body);
  return follow(answer.body);
}

async function confirm(button, accept = false) {
  const mine = (round += 1);
  const before = phone.screen === "sending" ? "confirm" : phone.screen; // "bind" for the last tap
  show({ screen: "sending", notice: null });
  const body = {
    appid: phone.code.appid,
    persona: phone.persona.id,
    handle: phone.handle,
    choice: phone.choice,
    phone: button,
    accept,
  };
  const answer = await ask("/phone/api/confirm", body);
  if (mine !== round) return;
  if (!answer.ok) return refuse(answer, before);
  if (answer.body.outcome !== "bind") return show({ screen: "done" });
  show({ screen: "bind" });
  refresh(true); // how long the browser may take
}

/// Keeps what the gateway said.
function take(offer) {
  phone.offer = { ...phone.offer, ...offer };
  phone.receivedAt = Date.now();
  if (offer.site && phone.notice?.code === "browser_absent") phone.notice = null;
  if (Number.isFinite(offer.expires_in)) phone.deadline = Date.now() + offer.expires_in * 1000;
}

/// Goes where the ticket's status leads. Answers whether the person still has something to do.
function follow({ status, error }) {
  switch (status) {
    case "confirmed":
    case "redeemed":
      show({ screen: "done" });
      return false;
    case "bind":
      show({ screen: "bind" });
      return false;
    case "cancelled":
    case "expired":
    case "failed":
      end(status, typeof error === "string" ? { code: error } : error);
      return false;
    default:
      show({});
      return true;
  }
}

/// A refusal of the gateway: some end the ticket, some leave it as it was.
function refuse(answer, before = phone.screen) {
  const error = answer.body?.error ?? { code: String(answer.status) };
  const passing = answer.status === 429 || answer.status >= 500;
  if (!phone.handle && (passing || error.code === "code_invalid")) return show({ screen: "people", notice: error });
  if (error.code === "phone_required" || error.code === "phone_code_invalid")
    return show({ screen: "phone", notice: error });
  if (error.code === "browser_absent")
    return show({ screen: before === "bind" ? "bind" : "confirm", notice: error });
  if (passing) return show({ screen: before === "sending" ? "confirm" : before, notice: error });
  if (error.code === "ticket_expired") return end("expired", error);
  if (error.code === "ticket_cancelled") return end("cancelled", error);
  end("failed", error);
}

function end(kind, error) {
  clearTimeout(timer);
  round += 1;
  show({ screen: "ended", ended: { kind, error }, notice: null });
}

function wantsPhone() {
  return phone.offer?.phone === "required" || phone.offer?.phone === "optional";
}

function show(change) {
  Object.assign(phone, change);
  draw(phone, actions);
  clearTimeout(timer);
  if (phone.screen === "confirm" && !phone.offer?.site) wait(1000);
  else if (phone.screen === "bind") wait(2000);
  else if (phone.screen === "confirm" || phone.screen === "phone")
    wait(Math.max(1000, phone.deadline - Date.now() + 500));
}

function wait(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(() => refresh(), milliseconds);
}

async function ask(address, body, type) {
  const headers = { "content-type": type || "application/json", "accept-language": phone.language };
  try {
    const response = await fetch(address, {
      method: "POST",
      headers,
      body: type ? body : JSON.stringify(body),
      cache: "no-store",
    });
    return { ok: response.ok, status: response.status, body: response.status === 204 ? {} : await response.json() };
  } catch {
    return { ok: false, status: 599, body: { error: { code: "sandbox_offline", message: actions.text().offline } } };
  }
}

/// The address that a service account's code holds is a page of its own.
function accountCode(text) {
  try {
    const address = new URL(text.trim());
    return address.origin === location.origin && /^\/(q\/|chat$)/.test(address.pathname) ? address : null;
  } catch {
    return null;
  }
}

/// Understands the address of a drawn code, an ordinary link code, and a bare scene.
function parse(text) {
  const appid = phone.world.apps[0]?.appid;
  const trimmed = text.trim();
  try {
    const address = new URL(trimmed);
    const query = address.searchParams;
    if (query.get("scene"))
      return {
        kind: "wxacode",
        appid: query.get("appid") || appid,
        scene: query.get("scene"),
        page: query.get("page"),
        env: query.get("env"),
        half: query.get("half"),
        entry: Number(query.get("entry")) || null,
        referrer: query.get("referrer"),
      };
    const last = decodeURIComponent(address.pathname).split("/").filter(Boolean).pop();
    return last && last !== "phone" ? { kind: "link", appid, scene: last } : null;
  } catch {
    return /^[\w!#$&'()*+,/:;=?@\-.~]{1,32}$/.test(trimmed) ? { kind: "wxacode", appid, scene: trimmed } : null;
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && phone.handle && ["confirm", "phone", "bind"].includes(phone.screen))
    refresh();
});
addEventListener("paste", (event) => {
  if (phone.screen !== "code") return;
  const picture = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
  if (!picture) return;
  event.preventDefault();
  actions.read(picture);
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  const picture = [...(event.dataTransfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
  if (picture && phone.screen === "code") actions.read(picture);
});

draw(phone, actions);
phone.world = await (await fetch("/phone/api/world", { cache: "no-store" })).json();
start(new URL(location.href).searchParams.get("scene") ? parse(location.href) : null);
setInterval(() => draw.tick(phone, actions), 1000);
