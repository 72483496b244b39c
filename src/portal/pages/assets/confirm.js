// The page behind a service account's link: says what would be signed in to, and confirms it by the number.
//
// It makes the calls of a mini program, and decides nothing: what it is sent is shown as text, whatever it holds. The
// handle comes in the fragment, which no server sees, and leaves the address at once. The link in the chat keeps it: a
// link that is passed on opens here as well, so the page says whose WeChat it is for, and where the connection asks for
// it, WeChat says first who opened it.
(() => {
  "use strict";

  const $ = (id) => document.getElementById(id);
  const { texts, not_following, opener } = JSON.parse($("menshen").textContent);
  const gate = $("gate");

  const KEPT = "menshen-confirm";
  const PROOF = "menshen-opener";
  const LOOK = 1500; // ms between two looks while the browser has not spoken
  const BIND = 2500; // ms between two looks while it chooses an account

  let handle = "";
  let proof = ""; // of who opened the link
  let proven = ""; // the same, when WeChat has just said it
  let offer = null; // the last answer about the ticket
  let choice = null;
  let deadline = 0;
  let timer = 0;
  let busy = false;
  let ended = false;

  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, key) => (key in values ? values[key] : all));

  // What a reload has to find again: this page alone reads it, and it ends with the tab.
  function keep(name, value) {
    try {
      if (value) sessionStorage.setItem(name, value);
      return sessionStorage.getItem(name) || "";
    } catch {
      return value;
    }
  }

  // It may be of another person, or of another time.
  function forgetProof() {
    try {
      sessionStorage.removeItem(PROOF);
    } catch {
      // Nothing is kept.
    }
  }

  async function call(name, body) {
    const limit = new AbortController();
    const clock = setTimeout(() => limit.abort(), 20e3);
    try {
      const response = await fetch(`/.menshen/phone/${name}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        body: JSON.stringify({ handle, ...(proof && { opener: proof }), ...body }),
        credentials: "omit",
        cache: "no-store",
        signal: limit.signal,
      });
      const json = response.status === 204 ? {} : await response.json();
      return { ok: response.ok, status: response.status, body: json, error: json.error || {} };
    } catch {
      return { ok: false, status: 0, body: {}, error: { code: "offline", message: texts.offline } };
    } finally {
      clearTimeout(clock);
    }
  }

  function write(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  function button(node, label, action) {
    node.hidden = !label;
    if (label) write(node, label);
    node.onclick = action || null;
  }

  function note(text = "") {
    $("note").hidden = !text;
    write($("note"), text);
  }

  // Puts the page into a state; what is not named is not shown.
  function show(state, { headline, detail = "", yes = [], no = [], not_me = [], asks = false, facts = false }) {
    const other = gate.dataset.state !== state;
    gate.dataset.state = state;
    write($("headline"), headline);
    write($("detail"), detail);
    button($("yes"), ...yes);
    button($("no"), ...no);
    button($("not_me"), ...not_me);
    $("ask").hidden = !asks;
    $("facts").hidden = !facts;
    const purpose = facts && offer && offer.purpose && offer.purpose.text;
    $("purpose").hidden = !purpose;
    write($("purpose"), purpose || "");
    if (other) {
      document.title = headline;
      if (document.activeElement && document.activeElement !== document.body) $("headline").focus();
    }
    tick();
  }

  function over(state, headline, detail, not_me = []) {
    ended = true;
    deadline = 0;
    clearTimeout(timer);
    note();
    show(state, { headline, detail, not_me });
  }

  function fact(name, value) {
    const row = document.createElement("div");
    const label = document.createElement("dt");
    const text = document.createElement("dd");
    label.textContent = name;
    text.textContent = value;
    row.append(label, text);
    return row;
  }

  function drawFacts() {
    const { site, browser } = offer;
    const device = browser && browser.device && browser.device.text;
    const time = browser && new Date(browser.time * 1e3);
    const rows = [
      fact(texts.whose, (offer.person && offer.person.name) || texts.whose_new),
      fact(texts.host, site.host),
      device && fact(texts.device, device),
      fact(texts.place, (browser && browser.place) || texts.unknown_place),
      time && fact(texts.time, time.toLocaleTimeString(document.documentElement.lang, { hour12: false })),
    ];
    $("facts").replaceChildren(...rows.filter(Boolean));
  }

  function drawQuestion() {
    const choices = offer.choices || [];
    const typed = offer.number_entry === "type";
    const numbered = typed || choices.length > 0;
    write($("question"), typed ? texts.question_type : numbered ? texts.question : "");
    write($("beware"), numbered ? texts.question_detail : "");
    $("typed").hidden = !typed;
    $("type").required = typed;
    write($("type_label"), texts.type_label);
    $("go").hidden = choices.length > 0;
    write($("go"), texts.confirm);
    const shown = [...$("numbers").children].map((one) => one.textContent).join();
    if (shown === choices.join()) return;
    const buttons = choices.map((number) => {
      const one = document.createElement("button");
      one.type = "button";
      one.textContent = String(number);
      one.setAttribute("aria-label", [...String(number)].join(" "));
      one.onclick = () => confirm(number);
      return one;
    });
    $("numbers").replaceChildren(...buttons);
  }

  // The ways out, while there is something to get out of.
  const ways = () => ({
    no: [texts.cancel, () => cancel("declined")],
    not_me: [texts.not_me, () => cancel("not_me")],
  });

  function draw() {
    const { site, purpose, account, status } = offer;
    if (status === "bind" && account) {
      const headline = fill(texts.account, { name: account.name });
      const label = purpose ? texts.accept_connect : texts.accept;
      show("accept", { headline, detail: texts.account_detail, yes: [label, accept], ...ways() });
    } else if (status === "bind") {
      show("bind", { headline: texts.bind, detail: texts.bind_detail, ...ways() });
    } else if (!site) {
      show("waiting", { headline: texts.waiting, detail: texts.waiting_detail, ...ways() });
    } else {
      drawFacts();
      drawQuestion();
      const headline = purpose && account ? account.name : fill(texts.sign_in_to, { site: site.name });
      show("ask", { headline, asks: true, facts: true, ...ways() });
    }
  }

  // The server's word about the ticket.
  function take(answer) {
    offer = { ...offer, account: undefined, ...answer };
    deadline = performance.now() + answer.expires_in * 1e3;
    switch (answer.status) {
      case "scanned":
      case "bind":
        draw();
        if (answer.status === "bind") wait(BIND);
        else if (!answer.site) wait(LOOK);
        else wait(Math.max(1, answer.expires_in) * 1e3 + 500);
        break;
      case "confirmed":
      case "redeemed":
        agreed();
        break;
      case "cancelled":
        over("ended", texts.cancelled, texts.cancelled_detail);
        break;
      default:
        over("ended", texts.over, (answer.error && answer.error.message) || texts.over_detail);
    }
  }

  function agreed() {
    const words = offer && offer.purpose ? [texts.connected, texts.connected_detail] : [texts.done, texts.done_detail];
    over("done", ...words, [texts.not_me, () => cancel("not_me")]);
  }

  function refused({ status, error }) {
    const message = error.code === not_following ? texts.not_following : error.message || texts.offline;
    const passing = status === 0 || status === 429 || status >= 500 || error.code === "browser_absent";
    if (passing || error.code === not_following) {
      if (!offer) {
        show("failed", { headline: message, yes: [texts.again, look] });
        return;
      }
      note(message);
      draw();
      return;
    }
    const unknown = error.code === "ticket_unknown" || error.code === "ticket_expired";
    if (unknown) forgetProof();
    if (unknown && opener && proof && !proven) {
      location.replace(opener);
      return;
    }
    over("ended", texts.over, unknown ? texts.over_detail : message);
  }

  function wait(ms) {
    clearTimeout(timer);
    timer = setTimeout(look, ms);
  }

  // One call at a time: an answer that is late must not undo what a later one said.
  async function alone(action) {
    if (busy) return;
    busy = true;
    gate.setAttribute("aria-busy", "true");
    clearTimeout(timer);
    try {
      await action();
    } finally {
      busy = false;
      gate.removeAttribute("aria-busy");
    }
  }

  function look() {
    if (ended) return;
    alone(async () => {
      const answer = await call("status");
      if (answer.ok) take(answer.body);
      else refused(answer);
      if (!answer.ok && !ended && offer) wait(3e3);
    });
  }

  function confirm(number) {
    choice = number;
    send(number === null ? {} : { choice: number });
  }

  const accept = () => send(choice === null ? { accept: true } : { choice, accept: true });

  function send(body) {
    alone(async () => {
      note();
      const answer = await call("confirm", body);
      if (!answer.ok) refused(answer);
      else if (answer.body.outcome === "bind") take({ ...offer, status: "bind", account: undefined });
      else agreed();
      if (!ended) wait(body.accept || !answer.ok ? BIND : LOOK);
    });
  }

  function cancel(reason) {
    alone(async () => {
      const answer = await call("cancel", { reason });
      const words =
        reason === "not_me" ? [texts.reported, texts.reported_detail] : [texts.cancelled, texts.cancelled_detail];
      if (answer.ok || answer.status === 410) over("ended", ...words);
      else refused(answer);
    });
  }

  // Once a second: how long it is valid.
  function tick() {
    const left = deadline ? Math.max(0, Math.ceil((deadline - performance.now()) / 1e3)) : 0;
    const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    write($("left"), left ? fill(texts.expires, { time: clock }) : "");
  }

  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = $("type").value;
    if (offer.number_entry !== "type") confirm(null);
    else if (/^[0-9]{2}$/.test(typed)) confirm(Number(typed));
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && handle) look();
  });
  // WeChat keeps a page and opens the next link in it.
  addEventListener("hashchange", () => location.hash.length > 1 && location.reload());

  const brought = location.hash.slice(1);
  [, proven = ""] = /^opener=([A-Za-z0-9_-]{20,2000})$/.exec(brought) || [];
  const [linked = ""] = /^[A-Za-z0-9_-]{20,100}$/.exec(brought) || [];
  handle = keep(KEPT, linked);
  proof = keep(PROOF, proven);
  if (proven || linked) history.replaceState(null, "", location.pathname);
  setInterval(tick, 1e3);
  if (!handle) {
    over("ended", texts.no_handle, texts.no_handle_detail);
  } else if (opener && !proof) {
    show("loading", { headline: texts.loading });
    location.replace(opener);
  } else {
    show("loading", { headline: texts.loading });
    look();
  }
})();
