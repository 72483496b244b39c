// Three languages that say the same things, and words for every refusal.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { file } from "./support/mini-program.mjs";

const { textsFor, fill } = file("lib/texts/index.js");
const LANGUAGES = ["zh_CN", "zh_TW", "en"].map((name) => [name, textsFor(name).texts]);

/** Paths of all texts: `phone.title`, `ended.success.0`. */
function* leaves(value, path = "") {
  if (typeof value === "string") yield [path, value];
  else for (const [key, inner] of Object.entries(value)) yield* leaves(inner, `${path}.${key}`);
}

test("every language has every text, with the same places to fill", () => {
  const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort();
  const [[, one], ...others] = LANGUAGES.map(([name, texts]) => [name, Object.fromEntries(leaves(texts))]);
  for (const [name, other] of others) {
    assert.deepEqual(Object.keys(other).sort(), Object.keys(one).sort(), name);
    for (const [path, text] of Object.entries(one))
      assert.deepEqual(places(other[path]), places(text), `${name} ${path}`);
  }
  for (const [name, texts] of LANGUAGES)
    for (const [path, text] of leaves(texts)) assert.ok(text.trim(), `${name} ${path}`);
});

test("no language is left with characters of another", () => {
  const [, [, traditional], [, english]] = LANGUAGES;
  for (const [path, text] of leaves(english)) assert.doesNotMatch(text, /\p{Script=Han}/u, path);
  for (const [path, text] of leaves(traditional)) assert.doesNotMatch(text, /[这说录网号码页选请没]/u, path);
});

test("every code of the gateway that a phone can be answered with has words of its own", () => {
  const snapshot = new URL(
    "../../../src/portal/snapshots/menshen__portal__problem__tests__codes_and_statuses_are_those_of_the_contract.snap",
    import.meta.url,
  );
  const codes = [...readFileSync(snapshot, "utf8").matchAll(/^\d{3} (\w+)$/gm)].map(([, code]) => code);
  assert.ok(codes.length > 30);
  // Answers to cookies and tokens, of which a phone has none.
  const never = ["cross_origin", "login_required", "token_invalid"];
  for (const [name, { problems }] of LANGUAGES) {
    for (const code of codes.filter((code) => !never.includes(code)))
      assert.equal(problems[code]?.length, 2, `${name} ${code}`);
  }
});

test("WeChat's language chooses", () => {
  const cases = {
    zh_CN: "zh-CN",
    zh: "zh-CN",
    zh_TW: "zh-TW",
    zh_HK: "zh-TW",
    "zh-Hant": "zh-TW",
    en: "en",
    ja: "en",
    "": "en",
  };
  for (const [language, tag] of Object.entries(cases)) assert.equal(textsFor(language).tag, tag, language);
});

test("places are filled, and what is missing leaves nothing behind", () => {
  assert.equal(fill("{a} and {b}{c}", { a: "x", b: 0 }), "x and 0");
});
