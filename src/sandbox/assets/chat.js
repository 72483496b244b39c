// A phone with a service account: whose it is, the scan of the code, the chat, and the link that the account sends.

import { avatar, icon, make } from "/phone/assets/elements.js";

const STRINGS = {
  zh: {
    ribbon: "这不是微信，没有真实的账号",
    footnote: "模拟环境，人物均为虚构",
    other_language: "English",
    document_title: "模拟手机 · 公众号",
    about_title: "模拟手机",
    about_text: "扫描公众号的码，关注它，在会话里打开它发来的链接。消息由沙箱像微信一样推送给网关。",
    back: "返回",
    loading: "正在载入…",
    people_title: "这部手机是谁的？",
    people_lead: "选一个人，用 TA 的微信扫描这个码。",
    follows: "已关注",
    scanning: "正在扫码…",
    scanning_text: "微信把事件推送给网关，等待回复",
    expired: "二维码已过期",
    expired_text: "请在登录页上获取新的二维码。",
    unknown: "没有这个公众号",
    empty: "还没有消息。",
    scan_again: "再扫一次",
    say: "写点什么",
    send: "发送",
    unfollow: "取消关注",
    unfollowed: "已取消关注",
    offline: "沙箱没有回应。",
  },
  en: {
    ribbon: "This is not WeChat, and nobody here is real",
    footnote: "Simulated; every person is invented",
    other_language: "中文",
    document_title: "Simulated phone · service account",
    about_title: "Simulated phone",
    about_text:
      "Scans a service account's code, follows the account, and opens the link that it sends. The sandbox pushes the messages to the gateway as WeChat does.",
    back: "Back",
    loading: "Loading…",
    people_title: "Whose phone is this?",
    people_lead: "Choose a person, and scan the code with their WeChat.",
    follows: "follows",
    scanning: "Scanning…",
    scanning_text: "WeChat pushes the event to the gateway and waits for its answer",
    expired: "The code has expired",
    expired_text: "Get a new code on the login page.",
    unknown: "There is no such account",
    empty: "No messages yet.",
    scan_again: "Scan again",
    say: "Write something",
    send: "Send",
    unfollow: "Unfollow",
    unfollowed: "Not following any more",
    offline: "The sandbox does not answer.",
  },
};

const byId = (id) => document.getElementById(id);
const asked = new URL(location.href).searchParams;
const appid = asked.get("appid") ?? "";
const scene = asked.get("scene") ?? "";
const phone = {
  language: document.documentElement.lang,
  world: null,
  persona: null,
  screen: "loading",
  lines: [],
  follows: false,
};

const text = () => STRINGS[phone.language.startsWith("zh") ? "zh" : "en"];
const name = (bilingual) => (phone.language.startsWith("zh") ? bilingual.zh : bilingual.en);

const SCREENS = {
  loading: () => [make("div.centre", make("span.spinner"), make("h2.quiet", text().loading))],

  people: () => [
    make("h2", text().people_title),
    make("p.lead", text().people_lead),
    make(
      "ul.people",
      phone.world.personas.map((persona, place) =>
        make(
          "li",
          make(
            "button",
            { type: "button", onclick: () => choose(persona) },
            avatar(name(persona.name), place % 6),
            make("span.who", make("b", name(persona.name))),
            persona.follows && make("span.badge.near", text().follows),
          ),
        ),
      ),
    ),
  ],

  scanning: () => [
    make(
      "div.centre",
      make("span.spinner"),
      make("h2.quiet", text().scanning),
      make("p.lead", text().scanning_text),
    ),
  ],

  ended: () => [
    make("div.centre", make("span.medallion.failed", icon("warning")), make("h2", phone.said), make("p.lead", phone.why)),
  ],

  chat: () => {
    const field = make("input", { id: "words", autocomplete: "off", "aria-label": text().say, placeholder: text().say });
    const send = (event) => {
      event.preventDefault();
      if (field.value.trim()) act("say", field.value.trim());
    };
    return [
      make("ul.chat", phone.lines.length ? phone.lines.map(bubble) : make("li.wechat", text().empty)),
      phone.follows && make("form.say", { onsubmit: send }, field, make("button.primary", { type: "submit" }, text().send)),
      make(
        "div.ways",
        scene && make("button.plain", { type: "button", onclick: () => act("scan", scene) }, text().scan_again),
        phone.follows && make("button.danger", { type: "button", onclick: () => act("unfollow", "") }, text().unfollow),
      ),
    ];
  },
};

/// A line of the chat. Of markup there is nothing but links to web pages, as in WeChat.
function bubble(line) {
  const parts = line.text.split(/(<a href="https?:\/\/[^"<>]+">[^<]*<\/a>)/);
  return make(
    `li.${line.by}`,
    parts.map((part) => {
      const link = /^<a href="(https?:\/\/[^"<>]+)">([^<]*)<\/a>$/.exec(part);
      return link ? make("a", { href: link[1] }, link[2]) : part;
    }),
  );
}

function draw() {
  document.documentElement.lang = phone.language;
  document.title = text().document_title;
  byId("ribbon").textContent = text().ribbon;
  byId("footnote").textContent = text().footnote;
  byId("language").textContent = text().other_language;
  byId("title").textContent = phone.world ? name(phone.world.name) : "";
  const back = byId("back");
  back.replaceChildren(icon("back"));
  back.setAttribute("aria-label", text().back);
  back.hidden = !phone.persona;
  byId("about").replaceChildren(
    make("img", { src: "/phone/assets/icon.svg", alt: "", width: 56, height: 56 }),
    make("h1", text().about_title),
    make("p", text().about_text),
  );
  const screen = byId("screen");
  screen.className = `screen-${phone.screen}`;
  screen.replaceChildren(...SCREENS[phone.screen]().filter(Boolean));
}

function show(change) {
  const other = change.screen && change.screen !== phone.screen;
  Object.assign(phone, change);
  draw();
  if (other) byId("screen").focus({ preventScroll: true });
}

async function ask(address, body) {
  try {
    const response = await fetch(address, {
      method: body ? "POST" : "GET",
      headers: body ? { "content-type": "application/json" } : {},
      body: body && JSON.stringify(body),
      cache: "no-store",
    });
    return { ok: response.ok, status: response.status, body: await response.json() };
  } catch {
    return { ok: false, status: 0, body: {} };
  }
}

async function choose(persona) {
  phone.persona = persona;
  remember(persona.id);
  if (scene) await act("scan", scene);
  else await read();
}

async function act(what, words) {
  show({ screen: "scanning" });
  const answer = await ask("/chat/api/act", { appid, persona: phone.persona.id, what, text: words });
  if (answer.status === 410) return show({ screen: "ended", said: text().expired, why: text().expired_text });
  if (!answer.ok) return show({ screen: "ended", said: answer.body.error?.message ?? text().offline, why: "" });
  if (what === "unfollow") return show({ screen: "ended", said: text().unfollowed, why: "" });
  await read();
}

async function read() {
  const query = new URLSearchParams({ appid, persona: phone.persona.id });
  const answer = await ask(`/chat/api/lines?${query}`);
  if (answer.ok) show({ screen: "chat", lines: answer.body.lines, follows: answer.body.follows });
  else show({ screen: "ended", said: text().offline, why: "" });
}

/// Whoever comes back from the link finds the chat, not the question whose phone it is.
function remember(persona) {
  const address = new URL(location.href);
  if (persona) address.searchParams.set("persona", persona);
  else address.searchParams.delete("persona");
  history.replaceState(null, "", address);
}

byId("back").onclick = () => {
  remember("");
  start();
};
byId("language").onclick = () => {
  phone.language = phone.language.startsWith("zh") ? "en" : "zh-CN";
  draw();
};

async function start() {
  phone.persona = null;
  show({ screen: "loading" });
  const answer = await ask(`/chat/api/world?${new URLSearchParams({ appid })}`);
  if (!answer.ok) return show({ screen: "ended", said: text().unknown, why: "" });
  phone.world = answer.body;
  const before = new URL(location.href).searchParams.get("persona");
  phone.persona = phone.world.personas.find((persona) => persona.id === before) ?? null;
  if (phone.persona) await read();
  else show({ screen: "people" });
}

start();
