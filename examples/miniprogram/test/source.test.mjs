// What a reviewer, a screen reader and WeChat's uploader look at before anybody runs it.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../app/", import.meta.url));
const files = (folder = "") =>
  readdirSync(join(ROOT, folder)).flatMap((name) => {
    const path = join(folder, name);
    return statSync(join(ROOT, path)).isDirectory() ? files(path) : [path];
  });
const read = (path) => readFileSync(join(ROOT, path), "utf8");
const json = (path) => JSON.parse(read(path));
const ending = (name) => files().filter((path) => path.endsWith(name));

test("every page and component is there, and nothing else", () => {
  const { pages, sitemapLocation, themeLocation } = json("app.json");
  const components = ending(".json").flatMap((path) => Object.values(json(path).usingComponents ?? {}));
  const drawn = [...pages, ...components.map((path) => path.slice(1))];
  for (const path of drawn)
    for (const kind of ["js", "json", "wxml"]) assert.ok(existsSync(join(ROOT, `${path}.${kind}`)), path);
  assert.deepEqual(ending(".wxml").sort(), drawn.map((path) => `${path}.wxml`).sort());
  for (const path of [sitemapLocation, themeLocation]) assert.ok(json(path));
  // WeChat makes a page of a `Component` only where it is said to use components, be it none.
  for (const page of pages) assert.ok(json(`${page}.json`).usingComponents, page);
  assert.ok(pages.includes("pages/login/login"), "the default `page` of a connection");
});

test("it runs on its own files", () => {
  for (const path of ending(".js")) {
    for (const [, name] of read(path).matchAll(/require\(([^)]*)\)/g))
      assert.match(name, /^"\.\.?\//, `${path}: ${name}`);
  }
});

test("it asks WeChat for nothing but what the privacy guideline says", () => {
  const used = new Set(
    ending(".js").flatMap((path) => [...read(path).matchAll(/\bwx\.(\w+)/g)].map(([, name]) => name)),
  );
  const openTypes = new Set(
    ending(".wxml").flatMap((path) => [...read(path).matchAll(/open-type="([^"]+)"/g)].map(([, type]) => type)),
  );
  assert.deepEqual(
    [...used].sort(),
    [
      "exitMiniProgram",
      "getAccountInfoSync",
      "getAppBaseInfo",
      "getEnterOptionsSync",
      "getPrivacySetting",
      "getUpdateManager",
      "login",
      "offNetworkStatusChange",
      "onNeedPrivacyAuthorization",
      "onNetworkStatusChange",
      "openPrivacyContract",
      "reLaunch",
      "request",
      "scanCode",
      "setNavigationBarTitle",
      "updateWeChatApp",
      "navigateTo",
    ].sort(),
  );
  assert.deepEqual([...openTypes].sort(), ["agreePrivacyAuthorization", "launchApp", "{{openType}}"]);
});

test("what can be tapped is a button or says that it is one", () => {
  for (const path of ending(".wxml")) {
    for (const [tag, name] of read(path).matchAll(/<([\w-]+)(?:[^>"]|"[^"]*")*?bindtap=(?:[^>"]|"[^"]*")*>/g)) {
      assert.ok(name === "button" || tag.includes("aria-role="), `${path}: ${tag}`);
    }
    for (const [tag] of read(path).matchAll(/<(?:image|input)(?:[^>"]|"[^"]*")*>/g)) {
      assert.match(tag, /aria-(label|hidden)=/, `${path}: ${tag}`);
    }
  }
});

test("it looks like itself: WeChat's colours and buttons are not used", () => {
  for (const path of [...ending(".wxss"), ...ending(".wxml"), ...ending(".json")]) {
    assert.doesNotMatch(read(path), /#0?7c160|#1aad19|#09bb07|type="primary"/i, path);
  }
});

test("letters grow with WeChat's setting", () => {
  for (const page of json("app.json").pages)
    assert.match(read(`${page}.wxml`), /^<page-meta [^>]*root-font-size="system"/);
  for (const [, size] of read("app.wxss").matchAll(/font-size: ([^;]+);/g)) {
    // Ornaments alone keep their size.
    assert.ok(/rem$/.test(size) || ["44rpx", "80rpx"].includes(size), size);
  }
});

test("both themes name every colour that the other names", () => {
  const { light, dark } = json("theme.json");
  assert.deepEqual(Object.keys(light), Object.keys(dark));
  const referred = [...read("app.json").matchAll(/"@(\w+)"/g)].map(([, name]) => name);
  for (const name of referred) assert.ok(light[name], name);
  const defined = new Set([...read("app.wxss").matchAll(/^\s+(--[\w-]+):/gm)].map(([, name]) => name));
  for (const [, name] of read("app.wxss").matchAll(/var\((--[\w-]+)\)/g)) assert.ok(defined.has(name), name);
});
