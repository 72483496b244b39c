// Runs the page's logic in Node, with WeChat's part of it played by the sandbox, against a gateway that runs:
//
//   cargo run -- sandbox
//   cargo run -- serve --config config/sandbox.toml      (with something on port 3000)
//   node --test examples/miniprogram/test.mjs
//
// With association = "ask" at the connection, an account with a password, and ACCOUNT=name:password, the binding is tried
// instead.
//
// What it cannot try is what WeChat alone does: the layout, and the phone button itself.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

const GATEWAY = process.env.GATEWAY ?? "http://127.0.0.1:8080";
const SANDBOX = process.env.SANDBOX ?? "http://127.0.0.1:9090";
const APPID = "wxsandbox0000000001";
const [ACCOUNT, PASSWORD] = (process.env.ACCOUNT ?? "").split(":");
const plain = { skip: ACCOUNT && "the connection asks" };

const require = createRequire(import.meta.url);
require("./config.js").publicUrl = GATEWAY;
let definition;
globalThis.Page = (page) => (definition = page);
let persona = "wangxiaoming";
let entry = 1047;
globalThis.wx = {
  login: async () => ({ code: (await order("login")).code }),
  getEnterOptionsSync: () => ({ scene: entry }),
  getAppBaseInfo: () => ({ language: "en" }),
  request({ url, method, data, header, success, fail }) {
    fetch(url, { method, headers: header, body: JSON.stringify(data) })
      .then(async (answer) => success({ statusCode: answer.status, data: await answer.json().catch(() => "") }))
      .catch(fail);
  },
};
require("./pages/login/login.js");

async function order(kind) {
  const body = JSON.stringify({ appid: APPID, persona, kind });
  const headers = { "content-type": "application/json" };
  return (await fetch(`${SANDBOX}/__sandbox/codes`, { method: "POST", headers, body })).json();
}

/** A page of the mini program, as WeChat would open it. */
function open(options) {
  const page = { ...definition, data: { ...definition.data }, setData(change) { Object.assign(this.data, change); } };
  page.opened = page.onLoad(options);
  return page;
}

/** A browser that waits on the login page. */
async function browser() {
  const origin = { origin: GATEWAY, "sec-fetch-site": "same-origin", "content-type": "application/json" };
  const body = JSON.stringify({ connection: "sandbox", rd: "/" });
  const made = await fetch(`${GATEWAY}/.menshen/tickets`, { method: "POST", headers: origin, body });
  assert.equal(made.status, 201);
  const { id } = await made.json();
  const cookie = made.headers.getSetCookie().map((line) => line.split(";")[0]).join("; ");
  return {
    id,
    look: async () => (await fetch(`${GATEWAY}/.menshen/tickets/${id}`, { headers: { cookie } })).json(),
    bind: (body) =>
      fetch(`${GATEWAY}/.menshen/tickets/${id}/bind`, {
        method: "POST",
        headers: { ...origin, cookie },
        body: JSON.stringify(body),
      }),
    redeem: () => fetch(`${GATEWAY}/.menshen/tickets/${id}/redeem`, { method: "POST", headers: { ...origin, cookie }, body: "{}" }),
  };
}

/** Until the page shows something. */
async function shown(page, screen) {
  for (let tries = 0; page.data.screen !== screen; tries += 1) {
    assert.ok(tries < 100, `${page.data.screen} (${page.data.problem}) instead of ${screen}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function scanned(options = (id) => ({ scene: encodeURIComponent(id) })) {
  const waiting = await browser();
  const page = open(options(waiting.id));
  await page.opened;
  await waiting.look(); // the browser speaks
  while (!page.data.offer.site) await new Promise((resolve) => setTimeout(resolve, 50));
  const { number } = await waiting.look();
  return { waiting, page, number };
}

test("a tapped number and the phone button log the browser in", plain, async () => {
  const { waiting, page, number } = await scanned();
  assert.ok(page.data.offer.choices.includes(number));
  assert.equal(page.data.offer.site.name, "Demo");
  await page.onChoose({ currentTarget: { dataset: { number } } });
  if (page.data.screen === "phone") await page.onPhone({ detail: { code: (await order("phone")).code } });
  await shown(page, "done");
  assert.equal((await waiting.look()).status, "confirmed");
  const redeemed = await waiting.redeem();
  assert.equal(redeemed.status, 200);
  assert.ok(redeemed.headers.getSetCookie().some((line) => line.startsWith("menshen=")));
  page.onUnload();
});

test("a link code's scene is the end of its path", plain, async () => {
  const { page } = await scanned((id) => ({ q: encodeURIComponent(`https://login.example.com/m/${id}?x=1`) }));
  assert.equal(page.data.screen, "confirm");
  page.onUnload();
});

test("an optional number may be refused", plain, async () => {
  persona = "lilei";
  const { waiting, page, number } = await scanned();
  await page.onChoose({ currentTarget: { dataset: { number } } });
  assert.equal(page.data.screen, "phone");
  await page.onPhone({ detail: { errno: 103 } });
  await shown(page, "done");
  assert.equal((await waiting.look()).status, "confirmed");
  page.onUnload();
});

test("a wrong number ends both sides", plain, async () => {
  const { waiting, page, number } = await scanned();
  const wrong = page.data.offer.choices.find((choice) => choice !== number);
  await page.onChoose({ currentTarget: { dataset: { number: wrong } } });
  if (page.data.screen === "phone") await page.onWithout();
  await shown(page, "ended");
  assert.equal((await waiting.look()).status, "failed");
});

test("not me ends the ticket, also after it was confirmed", plain, async () => {
  const { waiting, page, number } = await scanned();
  await page.onChoose({ currentTarget: { dataset: { number } } });
  if (page.data.screen === "phone") await page.onWithout();
  await shown(page, "done");
  await page.onNotMe();
  await shown(page, "ended");
  assert.equal((await waiting.look()).status, "cancelled");
});

test("a forwarded card is refused, and so is a page without a code", plain, async () => {
  entry = 1007;
  const page = open({ scene: (await browser()).id });
  await shown(page, "ended");
  assert.equal(page.data.canRetry, false);
  entry = 1047;
  assert.equal(open({}).data.screen, "ended");
});

test("a proven account is shown and accepted", { skip: !ACCOUNT && "ACCOUNT is not set" }, async () => {
  persona = "hanmeimei";
  const { waiting, page, number } = await scanned();
  await page.onChoose({ currentTarget: { dataset: { number } } });
  if (page.data.screen === "phone") await page.onWithout();
  await shown(page, "bind");
  assert.equal(page.data.offer.account, undefined);
  const proof = { action: "bind", method: "password", login: ACCOUNT, proof: PASSWORD };
  assert.equal((await waiting.bind({ ...proof, proof: "wrong" })).status, 422);
  assert.equal((await waiting.bind(proof)).status, 200);
  await page.onShow();
  assert.ok(page.data.offer.account.name);
  await page.onAccept();
  await shown(page, "done");
  assert.equal((await waiting.redeem()).status, 200);
  page.onUnload();
});
