// How a code is found in what WeChat opens the page with.

import assert from "node:assert/strict";
import { test } from "node:test";

import { MiniProgram, file } from "./support/mini-program.mjs";

const { codeIn, codeScanned, circumstances } = file("lib/entry.js");
const GATEWAYS = ["https://login.example.com", "https://other.example.com:8443"];
const SCENE = "AWc_-0123456789abcdefghijklmnopq";
const [first, second] = GATEWAYS;
const foreign = { foreign: true };

test("a code is found wherever WeChat puts it, and nowhere else", () => {
  const link = (text) => ({ q: encodeURIComponent(text) });
  const cases = [
    [{}, {}],
    [undefined, {}],
    [{ scene: "" }, {}],
    [{ scene: SCENE }, { scene: SCENE, gateway: first }],
    [{ scene: encodeURIComponent("a+b/c=") }, { scene: "a+b/c=", gateway: first }],
    [{ scene: "a%2541" }, foreign], // decoded once: a percent sign is none of WeChat's characters
    [{ scene: "%" }, foreign],
    [{ scene: "x".repeat(33) }, foreign],
    [{ scene: "a b" }, foreign],
    [
      { scene: SCENE, half: "aB-_" },
      { scene: SCENE, gateway: first, half: "aB-_" },
    ],
    [link(`${first}/m/${SCENE}`), { scene: SCENE, gateway: first }],
    [link(`${first}/m/${SCENE}/?x=/y#/z`), { scene: SCENE, gateway: first }],
    [link(`${second}/m/${SCENE}`), { scene: SCENE, gateway: second }],
    [link(`${first}/`), foreign],
    [link(first), foreign],
    [link(`http://login.example.com/m/${SCENE}`), foreign],
    [link(`https://login.example.com.evil.example/m/${SCENE}`), foreign],
    [link(`https://login.example.com@evil.example/m/${SCENE}`), foreign],
    [link(`https://evil.example/?${first}/m/${SCENE}`), foreign],
    [{ q: `${first}%2Fm%2F%` }, foreign],
    [{ cq: SCENE }, { scene: SCENE, gateway: first }],
    [{ cq: encodeURIComponent(`scene=${SCENE}&half=aB-_`) }, { scene: SCENE, gateway: first, half: "aB-_" }],
    [{ cq: encodeURIComponent(`half=x&scene=${SCENE}`) }, { scene: SCENE, gateway: first, half: "x" }],
  ];
  for (const [options, expected] of cases)
    assert.deepEqual(codeIn(options, GATEWAYS), expected, JSON.stringify(options));
});

test("the camera inside the mini program reads both kinds of code", () => {
  const page = "pages/login/login";
  const cases = [
    [
      { path: `${page}?scene=${SCENE}`, result: "*" },
      { scene: SCENE, gateway: first },
    ],
    [
      { path: `/${page}?scene=${SCENE}`, result: "*" },
      { scene: SCENE, gateway: first },
    ],
    [{ path: `pages/start/start?scene=${SCENE}`, result: "*" }, foreign],
    [{ path: page, result: "*" }, {}],
    [{ result: `${second}/m/${SCENE}` }, { scene: SCENE, gateway: second }],
    [{ result: "https://example.com/" }, foreign],
    [{}, foreign],
  ];
  for (const [read, expected] of cases)
    assert.deepEqual(codeScanned(read, page, GATEWAYS), expected, JSON.stringify(read));
});

test("how WeChat came here is told, and a scan in here is a scan", () => {
  new MiniProgram({ entry: 1069, referrer: "wxapp" });
  assert.deepEqual(circumstances(false), { entry: 1069, referrer: "wxapp" });
  assert.deepEqual(circumstances(true), { entry: 1047 });
  new MiniProgram({ entry: 1007 });
  assert.deepEqual(circumstances(false), { entry: 1007 });
});
