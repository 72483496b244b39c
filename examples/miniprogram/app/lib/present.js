// What the page draws: a view of `Login` in words. Pure.

const { fill } = require("./texts/index");

/** `view`: of `Login`. `texts`: of one language. `support`: whom to ask, or empty. */
function present(view, texts, support) {
  const { screen, offer } = view;
  const where = texts.where[(offer.browser && offer.browser.device.kind) || "desktop"] || texts.where.desktop;
  const told = { texts, where, support };
  return {
    screen: screen === "confirm" && !offer.site ? "waiting" : screen,
    waiting: both(texts.waiting, { where }),
    card: card(offer, texts),
    number: number(offer, told),
    phone: phone(view, told),
    bind: bind(offer, told),
    ended: screen === "ended" ? ended(view, told) : null,
    problem: screen !== "ended" && view.problem ? problem(view, told) : null,
    canRepeat: view.canRepeat,
    until: view.until || 0,
  };
}

function card({ site, browser, purpose, account, known, connection }, texts) {
  if (!site) return null;
  const { display_name: name = "", logo_url: logo = "" } = connection || {};
  const title = (purpose && account && account.name) || site.name || name;
  const facts = [
    [texts.device, browser.device.text],
    [texts.place, browser.place],
    [texts.time, clock(browser.time)],
  ];
  return {
    heading: purpose ? texts.connect : texts.to,
    title,
    host: site.host,
    logo,
    initial: title.slice(0, 1).toUpperCase(),
    purpose: (purpose && purpose.text) || "",
    newcomer: !known && !purpose ? texts.newcomer : "",
    facts: facts.filter(([, value]) => value).map(([label, value]) => ({ label, value })),
  };
}

function number({ choices = [], number_entry: entry, warning }, { texts, where }) {
  const way = entry === "type" ? "type" : choices.length > 0 ? "choose" : "agree";
  return {
    way,
    question: fill(texts[way], { where }),
    // Read out digit by digit.
    choices: choices.map((value) => ({ value, spoken: fill(texts.choice, { digits: [...String(value)].join(" ") }) })),
    hint: texts.hint,
    // One that is newer than this mini program is said in general words.
    warning: warning ? (warning === "picture" ? texts.picture : texts.unusual) : "",
  };
}

function phone({ offer, phoneErrno, canRepeat }, { texts }) {
  const optional = offer.phone === "optional";
  const site = (offer.site && offer.site.name) || texts.phone.thisSite;
  return {
    optional,
    why: fill(optional ? texts.phone.optional : texts.phone.required, { site }),
    // A tap costs money: none while an answer is still to be had for the last one, or while the account gives none.
    button: !canRepeat && !BROKEN.includes(phoneErrno),
    // WeChat answers for ten seconds without asking, after the guideline was refused.
    pause: phoneErrno === GUIDELINE_REFUSED,
  };
}

function bind({ account, purpose }, { texts, where }) {
  if (!account) return { title: fill(texts.bind.title, { where }), text: purpose ? "" : texts.bind.text };
  return {
    title: texts.bind.ask,
    name: account.name,
    text: purpose ? texts.bind.connect : fill(texts.bind.check, { where }),
    accept: purpose ? texts.bind.acceptConnect : texts.bind.accept,
  };
}

function ended({ kind, note, offer, problem: error, canRepeat }, told) {
  const { texts, where } = told;
  const connected = kind === "success" && offer.purpose;
  const words = error ? wordsOf(error, told) : both(texts.ended[connected ? "connected" : kind], { where });
  const good = kind === "success" && !error;
  return {
    ...words,
    kind: error ? "failed" : kind,
    symbol: good ? "✓" : kind === "expired" ? "⏱" : "!",
    note: note ? texts.phoneTaken : "",
    canUndo: good,
    canRepeat,
    canRescan: kind !== "success" && !canRepeat,
  };
}

function problem({ problem: error, phoneErrno }, told) {
  const { texts } = told;
  if (error.code === "phone_required" && phoneErrno) {
    const refused = both(BROKEN.includes(phoneErrno) ? texts.phone.unavailable : texts.phone.refused, {});
    return { ...wordsOf(error, told), ...refused };
  }
  return wordsOf(error, told);
}

/** Every code has words here; one that is newer than this mini program comes with the gateway's. */
function wordsOf({ code, message, request }, { texts, support }) {
  const words = texts.problems[code] || (message ? [message, ""] : texts.problems.failed);
  const asks = support && ASK_SOMEBODY.includes(code);
  return { ...both(words, {}), request: request || "", support: asks ? fill(texts.support, { support }) : "" };
}

function both([title, text], values) {
  return { title: fill(title, values), text: fill(text, values) };
}

/** The phone's own clock, since the other's may be in another place. */
function clock(seconds) {
  const two = (value) => String(value).padStart(2, "0");
  const date = new Date(seconds * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** The phone button gives nobody a number: not verified, not declared, out of quota. */
const BROKEN = [102, 112, 1400001];
const GUIDELINE_REFUSED = 104;
const ASK_SOMEBODY = [
  "account_bound",
  "ambiguous_account",
  "domain_not_listed",
  "failed",
  "forbidden",
  "no_account",
  "not_found",
  "phone_required",
  "phone_taken",
  "unknown_host",
  "user_disabled",
  "wechat_misconfigured",
];

module.exports = { present };
