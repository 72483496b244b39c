// The texts of one language, by WeChat's own: `zh_CN`, `zh_TW`, `en` and so on.

const LANGUAGES = [
  { tag: "zh-TW", pattern: /^zh[-_](TW|HK|MO|Hant)/i, texts: require("./zh_tw") },
  { tag: "zh-CN", pattern: /^zh/i, texts: require("./zh_cn") },
  { tag: "en", pattern: /^/, texts: require("./en") },
];

/** `{tag, texts}`: the tag also says in which language the gateway shall answer. */
function textsFor(language) {
  return LANGUAGES.find(({ pattern }) => pattern.test(language));
}

/** Puts values into a text: `{site}`. */
function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => (values[name] === undefined ? "" : values[name]));
}

module.exports = { textsFor, fill };
