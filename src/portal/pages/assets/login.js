// The login page: watches the ticket, says in words what happens, redeems it once.
//
// One ticket is on the page and one watcher watches it; an answer for any other is dropped. The server decides
// everything: this script shows states, it never infers them, and whatever it is sent ends up in text nodes only.
(() => {
  "use strict";

  const $ = (id) => document.getElementById(id);
  const config = JSON.parse($("menshen").textContent);
  // WORDS stands in front of this script, in the language of the page; the page has those that it says otherwise.
  const texts = { ...WORDS.texts, ...config.texts };
  const problems = { ...WORDS.problems, ...config.problems };
  const { rd } = config;
  const gate = $("gate");
  const title = document.title;
  const words = { headline: $("headline").textContent, detail: $("detail").textContent };

  const TICKETS = "/.menshen/tickets";
  const RENEWALS = 3; // by itself; then a click decides
  const WAIT = 20; // seconds that the server holds a poll
  const SILENCE = 45e3; // an event stream without an event for so long is checked
  const HIDDEN = 30e3; // a page hidden for so long stops watching an unscanned code

  let ticket; // the one on the page
  let watcher; // AbortController of whatever watches it
  let renewals = 0;
  let renewing = false;
  let hiding = 0; // timer

  const now = () => performance.now();
  const base = (id) => `${TICKETS}/${encodeURIComponent(id)}`;
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, key) => (key in values ? values[key] : all));
  const clock = (s) => `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
  const backOff = (n, most = 15e3) => Math.min(most, 1e3 * 2 ** n) * (0.75 + Math.random() / 2);
  const named = (user, text, plain) => (user && user.name ? fill(text, { name: user.name }) : plain);

  // Network

  // Waits; ends early when the network comes back or the watcher is stopped.
  const sleep = (ms, signal) =>
    new Promise((done) => {
      const end = () => {
        clearTimeout(timer);
        removeEventListener("online", end);
        if (signal) signal.removeEventListener("abort", end);
        done();
      };
      const timer = setTimeout(end, ms);
      addEventListener("online", end);
      if (signal) signal.addEventListener("abort", end);
    });

  // One request. Throws when there is no answer that Menshen could have given.
  async function call(method, url, body, patience = 10e3, signal) {
    const limit = new AbortController();
    const stop = () => limit.abort();
    const timer = setTimeout(stop, patience);
    if (signal) signal.addEventListener("abort", stop);
    try {
      const headers = { Accept: "application/json" };
      if (body) headers["Content-Type"] = "application/json";
      const response = await fetch(url, {
        method,
        headers,
        body: body && JSON.stringify(body),
        credentials: "same-origin",
        cache: "no-store",
        signal: limit.signal,
      });
      const json = response.status === 204 ? {} : await response.json();
      const retry = Number(response.headers.get("Retry-After")) || 0;
      return { status: response.status, ok: response.ok, body: json, error: json.error || {}, retry };
    } finally {
      clearTimeout(timer);
      if (signal) signal.removeEventListener("abort", stop);
    }
  }

  // What is shown

  function write(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  function button(node, label, action) {
    node.hidden = !label;
    if (label) write(node, label);
    node.onclick = action || null;
  }

  // A sentence beside the state: the network, a wait, a wrong proof.
  function note(text = "") {
    $("note").hidden = !text;
    write($("note"), text);
  }

  function face(user) {
    const picture = $("face");
    const letter = user && user.name ? [...user.name][0] : "";
    picture.hidden = true;
    picture.onload = () => (picture.hidden = false);
    if (user && /^(https:\/\/|\/(?!\/))/.test(user.picture || "")) picture.src = user.picture;
    return letter;
  }

  // Puts the page into a state; what is not named is empty.
  function show(state, { headline = "", detail = "", number = "", glyph = "", yes = [], no = [], spoken = "" }) {
    const focus = document.activeElement;
    gate.dataset.state = state;
    write($("headline"), headline);
    write($("detail"), detail);
    write($("glyph"), glyph);
    write($("number"), String(number));
    const digits = number && fill(texts.number_label, { number: [...String(number)].join(" ") });
    if (digits) $("number").setAttribute("aria-label", digits);
    else $("number").removeAttribute("aria-label");
    write($("spoken"), [digits, spoken].filter(Boolean).join(" "));
    const opens = state === "pending" && ticket.open_url;
    $("open").hidden = $("other").hidden = !opens;
    // An address of WeChat's own must not take the place of this page, which waits; a scheme opens no page.
    if (opens) Object.assign($("open"), { href: opens, target: /^h/.test(opens) ? "_blank" : "" });
    button($("yes"), ...yes);
    button($("no"), ...no);
    $("bind").hidden = state !== "bind";
    document.title = state === "pending" || state === "loading" ? title : `${number || headline} · ${title}`;
    note();
    // A control that has just gone must not leave the keyboard nowhere.
    if (focus && focus !== document.body && !focus.offsetParent) ($("yes").hidden ? $("headline") : $("yes")).focus();
  }

  function showPending() {
    // The page may have been made for a phone that opens WeChat; without a number to be remembered the code is all there is
    // to see.
    if (!ticket.number) gate.classList.add("both");
    show("pending", { ...words, number: ticket.number || "", spoken: ticket.spoken });
  }

  function showScanned({ number, user }) {
    const who = named(user, texts.scanned_by, texts.scanned_someone);
    const headline = number ? texts.scanned : texts.scanned_plain;
    show("scanned", { headline, detail: who, number, glyph: number ? "" : "✓", no: [texts.not_me, notMe] });
  }

  function showQuestion({ user }) {
    const mine = ticket;
    show("ask", {
      headline: named(user, texts.ask, texts.ask_plain),
      detail: texts.ask_detail,
      glyph: face(user) || "?",
      yes: [named(user, texts.continue_as, texts.continue_plain), () => redeem(mine, user)],
      no: [texts.use_other, notMe],
    });
  }

  function showProblem(error) {
    const known = problems[error.code] || { title: texts.unknown, message: error.message, next_step: texts.unknown_detail };
    show("failed", {
      headline: known.title,
      detail: [known.message, known.next_step].filter(Boolean).join("\n"),
      glyph: error.code === "ticket_expired" ? "↻" : "!",
      yes: [texts.new_code, () => ((renewals = 0), renew())],
    });
  }

  // Once a second: the countdown, in small type and as a line around the code.
  function tick() {
    if (!ticket || ticket.over || ticket.redeeming || renewing) return;
    const left = Math.max(0, Math.ceil((ticket.deadline - now()) / 1e3));
    write($("left"), fill(texts.time_left, { time: clock(left) }));
    $("edge").setAttribute("stroke-dashoffset", String(100 - (100 * left) / ticket.life));
    gate.classList.toggle("soon", left <= 10);
    if (ticket.deadline - now() < -2e3) end(ticket, { code: "ticket_expired" });
  }

  // One ticket

  function adopt(fresh, spoken = "") {
    const life = Math.max(1, fresh.expires_in);
    ticket = { ...fresh, spoken, life, deadline: now() + life * 1e3, status: "pending", shown: "", streams: 3 };
    tick();
    // Hidden tabs of a restored window would take all connections that a browser has for one host.
    if (!document.hidden) watch();
  }

  // The server's word about a ticket.
  function update(mine, status) {
    if (mine !== ticket || mine.over || mine.redeeming) return;
    if (status.expires_in > 0) {
      mine.deadline = now() + status.expires_in * 1e3;
      if (status.status !== mine.status || status.expires_in > mine.life) mine.life = status.expires_in;
    }
    const { expires_in: _, ...lasting } = status;
    const shown = JSON.stringify(lasting);
    if (shown === mine.shown) return;
    mine.shown = shown;
    mine.status = status.status;
    mine.touched = mine.touched || /^(scanned|bind|confirmed)$/.test(mine.status);
    switch (status.status) {
      case "pending":
        mine.number = status.number || mine.number;
        showPending();
        break;
      case "scanned":
        showScanned(status);
        break;
      case "bind":
        if (status.user) showAccept(status);
        else showBinding();
        break;
      case "confirmed":
        if (status.other_user || config.asks) showQuestion(status);
        else redeem(mine, status.user);
        break;
      case "redeemed":
        settle(mine);
        break;
      default:
        end(mine, { code: `ticket_${status.status}`, ...status.error });
    }
    tick();
  }

  // Over. A code that nobody touched renews itself a few times, and only for eyes that can see it.
  function end(mine, error) {
    if (mine !== ticket || mine.over) return;
    const untouched = !mine.touched && /^ticket_(expired|unknown)$/.test(error.code);
    mine.over = true;
    stop();
    if (untouched && renewals < RENEWALS && !document.hidden) {
      renewals += 1;
      renew(texts.renewed);
      return;
    }
    mine.revive = untouched && renewals < RENEWALS;
    showProblem(error);
  }

  async function renew(spoken = "") {
    if (renewing) return;
    renewing = true;
    stop();
    const old = ticket;
    old.over = true;
    show("loading", spoken ? words : { headline: texts.loading });
    write($("left"), "");
    try {
      for (let failures = 0; ; failures += 1) {
        let answer;
        try {
          answer = await call("POST", config.create || TICKETS, { connection: old.connection, rd });
        } catch {
          note(texts.offline);
          await sleep(backOff(failures));
          continue;
        }
        note();
        if (answer.status === 429) {
          await countDown(answer.retry || backOff(failures) / 1e3);
        } else if (!answer.ok) {
          showProblem(answer.error);
          return;
        } else {
          const fresh = answer.body;
          if (await swap(fresh.qr_url || `${base(fresh.id)}/qr`)) {
            replaceInLinks(old.id, fresh.id);
            renewing = false;
            adopt(fresh, spoken);
            showPending();
          }
          return;
        }
      }
    } finally {
      renewing = false;
    }
  }

  // The new picture replaces the old one when it can be drawn, not before.
  async function swap(url) {
    const old = $("code");
    const next = old.cloneNode();
    next.src = url;
    try {
      await next.decode();
      old.replaceWith(next);
      return true;
    } catch {
      const reason = await call("GET", url).catch(() => ({ error: {} }));
      showProblem(reason.error);
      return false;
    }
  }

  function replaceInLinks(old, id) {
    const link = $("simulated");
    if (link) link.href = link.href.split(old).join(id);
  }

  // A refused page waits as long as it was told; the seconds are not read out.
  async function countDown(seconds) {
    note(problems.rate_limited.title);
    for (let left = Math.ceil(seconds); left > 0; left -= 1) {
      write($("left"), fill(texts.wait, { seconds: left }));
      await sleep(1e3);
    }
    write($("left"), "");
    note();
  }

  function notMe() {
    const mine = ticket;
    mine.over = true;
    call("POST", `${base(mine.id)}/cancel`, { reason: "not_me" }).catch(() => {});
    renewals = 0;
    renew();
  }

  // Watching: a stream, else a held poll, else a plain one

  function stop() {
    if (watcher) watcher.abort();
    watcher = null;
  }

  // With `check` the status is asked before anything is awaited.
  async function watch(check = false) {
    stop();
    const mine = ticket;
    const { signal } = (watcher = new AbortController());
    let held = true; // the server holds polls
    let failures = 0;
    while (!signal.aborted && !mine.over && !mine.redeeming) {
      if (!check && mine.streams > 0 && "EventSource" in window) {
        await stream(mine, signal);
        check = true;
        continue;
      }
      const wait = held && !check ? WAIT : 0;
      const query = wait ? `?wait=${wait}&seen=${mine.status}` : "";
      const started = now();
      const before = mine.shown;
      let answer = null;
      try {
        answer = await call("GET", base(mine.id) + query, null, (wait + 10) * 1e3, signal);
      } catch {
        if (signal.aborted) return;
      }
      if (answer && answer.ok && answer.body.status) {
        failures = 0;
        note();
        update(mine, answer.body);
        const pointless = now() - started < 1e3 && mine.shown === before;
        if (wait && pointless) held = false;
        if (check && mine.streams > 0 && mine.lost) await sleep(backOff(3 - mine.streams), signal);
        else if (!held) await sleep(backOff(1), signal);
        check = false;
        continue;
      }
      if (answer && (answer.status === 404 || answer.status === 410)) {
        end(mine, answer.error);
        return;
      }
      // Away, overloaded or restarting: all of these pass.
      failures += 1;
      if (!answer && (failures > 1 || navigator.onLine === false)) note(texts.offline);
      else if (answer && failures > 2) note((problems[answer.error.code] || { title: texts.unknown }).title);
      await sleep(Math.max(((answer && answer.retry) || 0) * 1e3, backOff(failures)), signal);
      check = true;
    }
  }

  // Resolves when the stream is of no more use. One that fails before it says anything is tried three times a ticket.
  function stream(mine, signal) {
    return new Promise((done) => {
      const source = new EventSource(`${base(mine.id)}/events`);
      const started = now();
      let heard = false;
      let timer;
      const quit = (lost) => {
        clearTimeout(timer);
        source.close();
        signal.removeEventListener("abort", quit);
        mine.lost = lost === true;
        if (mine.lost && (!heard || now() - started < 2e3)) mine.streams -= 1;
        done();
      };
      const listen = (ms) => {
        clearTimeout(timer);
        timer = setTimeout(() => quit(!heard), ms);
      };
      source.addEventListener("status", (event) => {
        heard = true;
        listen(SILENCE);
        note();
        update(mine, JSON.parse(event.data));
        if (mine.over || mine.redeeming) quit();
      });
      source.onerror = () => {
        // Closed by the browser: an answer that is no stream, which another try would only get again.
        if (source.readyState === EventSource.CLOSED && !heard) mine.streams = 0;
        quit(true);
      };
      signal.addEventListener("abort", quit);
      listen(6e3); // a proxy that buffers never shows the first event
    });
  }

  // The end of the way

  async function redeem(mine, user) {
    if (mine.redeeming || mine.over) return;
    mine.redeeming = true;
    stop();
    show("redeeming", {
      headline: named(user, texts.confirmed, texts.confirmed_plain),
      detail: texts.redeeming_detail,
      glyph: face(user) || "✓",
      no: [texts.not_me, notMe],
    });
    write($("left"), "");
    const body = config.hand_back_rd ? { rd } : {};
    let error = {};
    for (let failures = 0; failures < 5 && !mine.over; failures += 1) {
      let answer;
      try {
        answer = await call("POST", `${base(mine.id)}/redeem`, body);
      } catch {
        note(texts.offline);
        await sleep(backOff(failures));
        continue;
      }
      if (mine.over) return;
      if (answer.ok && answer.body.redirect) return leave(answer.body.redirect);
      error = answer.error;
      // An earlier answer may have been lost on its way, with the session made.
      if (answer.status === 409 || (failures && answer.status < 500)) return settle(mine, error);
      if (answer.status !== 429 && answer.status < 500) break;
      await sleep(answer.retry * 1e3 || backOff(failures));
    }
    end(mine, error);
  }

  function leave(target) {
    const url = new URL(target, location.href);
    if (!/^https?:$/.test(url.protocol)) return end(ticket, {});
    if (channel) channel.postMessage("signed-in");
    // The part after "#" never reached the server.
    if (!url.hash) url.hash = location.hash;
    if (url.hash && url.href === location.href) location.reload();
    else location.replace(url.href);
  }

  async function settle(mine, error = { code: "wrong_state" }) {
    if (!config.switching && (await signedIn())) showSignedIn();
    else end(mine, error);
  }

  // Other tabs, the cache of the browser, coming back

  const channel = "BroadcastChannel" in window ? new BroadcastChannel("menshen") : null;
  if (channel) channel.onmessage = ({ data }) => data === "signed-in" && lookForSession();

  const signedIn = () =>
    call("GET", "/.menshen/userinfo").then(
      (answer) => answer.status === 200,
      () => false,
    );

  async function lookForSession() {
    if (config.switching || ticket.redeeming || !/^(pending|failed|loading)$/.test(gate.dataset.state)) return;
    if (await signedIn()) showSignedIn();
  }

  // The address of this page is the wanted one, so loading it again is all there is to do: once by itself, because a
  // session that this page does not get would make it a loop.
  function showSignedIn() {
    ticket.over = true;
    stop();
    show("signed_in", {
      headline: texts.signed_in,
      detail: texts.signed_in_detail,
      glyph: "✓",
      yes: [texts.continue_plain, () => location.reload()],
    });
    write($("left"), "");
    try {
      const last = Number(sessionStorage.getItem("menshen-reloaded"));
      sessionStorage.setItem("menshen-reloaded", String(Date.now()));
      if (Date.now() - last > 60e3) location.reload();
    } catch {
      // Without storage the button decides.
    }
  }

  function comeBack() {
    clearTimeout(hiding);
    if (ticket.revive) {
      ticket.revive = false;
      renewals += 1;
      renew(texts.renewed);
    } else if (!ticket.over && !ticket.redeeming) {
      watch(true);
    }
    lookForSession();
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return comeBack();
    hiding = setTimeout(() => ticket.status === "pending" && stop(), HIDDEN);
  });
  addEventListener("pageshow", (event) => event.persisted && comeBack());
  addEventListener("pagehide", stop);
  addEventListener("offline", () => ticket.over || note(texts.offline));

  // Binding an account. The forms are those of the page without JavaScript; here their answer leaves the page in place.

  function showBinding() {
    const detail = config.may_create ? texts.bind_detail : texts.bind_only_detail;
    show("bind", { headline: texts.bind, detail, no: [texts.not_me, notMe] });
    const first = $("bind").querySelector("input:not([type=hidden]), button");
    if (first) first.focus();
  }

  // An account was proven; the phone shows whose it is.
  function showAccept({ user }) {
    const detail = fill(texts.bind_accept_detail, { name: user.name });
    show("scanned", { headline: texts.bind_accept, detail, glyph: face(user) || "✓", no: [texts.not_me, notMe] });
  }

  // Beside the forms, read out, and said of the field that is at fault.
  function refuse(text = "", field = null) {
    $("refused").hidden = !text;
    write($("refused"), text);
    if (!field) return;
    field.setAttribute("aria-invalid", String(!!text));
    field.setAttribute("aria-describedby", "refused");
  }

  async function bind(form) {
    const mine = ticket;
    const { rd: _, ...body } = Object.fromEntries(new FormData(form));
    const { proof } = form.elements;
    if (mine.sending) return;
    mine.sending = $("bind").inert = true;
    refuse("", proof);
    try {
      const { ok, body: status, error } = await call("POST", `${base(mine.id)}/bind`, body, 20e3);
      if (mine !== ticket || mine.over) return;
      if (ok) return update(mine, status);
      const { message, next_step } = problems[error.code] || { message: error.message, next_step: "" };
      refuse(`${message} ${next_step}`, proof);
    } catch {
      refuse(texts.offline);
    } finally {
      mine.sending = $("bind").inert = false;
      if (proof) proof.value = "";
      if (proof && !$("bind").hidden) proof.focus();
    }
    // It may have moved on: by an answer that was lost, at the phone, or because that was the last try.
    watch(true);
  }

  // Start

  $("headline").tabIndex = -1;
  $("plain").remove();
  $("bind").addEventListener("submit", (event) => {
    event.preventDefault();
    bind(event.target);
  });
  $("other").onclick = () => {
    gate.classList.add("both");
    $("other").hidden = true;
  };
  adopt(config.ticket);
  setInterval(tick, 1e3);
  const code = $("code");
  const broken = () => swap(`${base(ticket.id)}/qr`);
  if (code.complete && !code.naturalWidth) broken();
  else code.onerror = broken;
})();
