// A login on the phone, tap by tap, before a gateway that answers as a test says.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Clock } from "./support/clock.mjs";
import { OFFER, OFFLINE, ScriptedGateway } from "./support/gateway.mjs";
import { MiniProgram, file } from "./support/mini-program.mjs";

const SCENE = "AWc_-0123456789abcdefghijklmnopq";
const { texts } = file("lib/texts/index.js").textsFor("en");
let clock;
let gateway;

beforeEach(() => {
  Object.assign(file("config.js"), {
    gateways: ["https://login.example.com"],
    testGateways: [],
    owner: "",
    support: "",
  });
  clock = new Clock();
  gateway = new ScriptedGateway();
});

const start = (wechat = {}) => new MiniProgram({ request: gateway.request, ...wechat });
const scanned = (wechat = {}) => start(wechat).open("pages/login/login", { scene: SCENE });
const asks = (phone) => (gateway = new ScriptedGateway({ phone }));
const says = (phone, part) => assert.ok(phone.text.includes(part), `${part} is not in:\n${phone.text}`);
const calls = () => gateway.asked.map(([name]) => name).join(" ");

test("a tapped number confirms", async () => {
  const phone = await scanned();
  for (const part of ["Sign in to", "Wiki", "wiki.example.com", "Chrome · Windows", "广东 深圳", "Expires in 2:00"])
    says(phone, part);
  assert.deepEqual(
    phone.all("number").map(({ text }) => text),
    ["47", "12", "83"],
  );
  await phone.tap("number", 12);
  says(phone, "Continue at the computer.");
  assert.deepEqual(gateway.bodies("scan"), [{ scene: SCENE, code: "login-code", entry: 1047 }]);
  assert.deepEqual(gateway.bodies("confirm"), [{ handle: "handle-1", choice: 12 }]);
  assert.equal(phone.calls.filter(([name]) => name === "login").length, 1);
  assert.equal(gateway.asked[0][2]["accept-language"], "en");
});

test("a number that is typed has two digits", async () => {
  gateway = new ScriptedGateway({ number_entry: "type", choices: [] });
  const phone = await scanned();
  says(phone, "Type the two digits");
  for (const typed of ["", "4", "4x"]) {
    await phone.type("typed", typed);
    await phone.tap("next");
  }
  assert.equal(calls(), "scan");
  await phone.type("typed", "47");
  await phone.tap("next");
  assert.deepEqual(gateway.bodies("confirm"), [{ handle: "handle-1", choice: 47 }]);
});

test("where no number is asked for, one tap confirms", async () => {
  gateway = new ScriptedGateway({ number_entry: undefined, choices: [] });
  const phone = await scanned();
  await phone.tap("agree");
  assert.deepEqual(gateway.bodies("confirm"), [{ handle: "handle-1", choice: undefined }]);
});

test("the phone button comes after the number, for a live ticket only", async () => {
  asks("required");
  const phone = await scanned();
  assert.equal(phone.all("give").length, 0);
  await phone.tap("number", 47);
  assert.equal(calls(), "scan status");
  const { attributes } = phone.one("give");
  assert.equal(attributes["open-type"], "getPhoneNumber");
  assert.equal(attributes["phone-number-no-quota-toast"], false);
  assert.equal(phone.all("skip").length, 0);
  await phone.tap("give");
  assert.deepEqual(gateway.bodies("confirm"), [{ handle: "handle-1", choice: 47, phone_code: "phone-code" }]);

  asks("required").says("status", { ...OFFER, status: "expired", expires_in: 0 });
  const late = await scanned();
  await late.tap("number", 47);
  assert.equal(late.all("give").length, 0);
  says(late, "The code has expired");
});

test("a ticket that ends while the phone button is shown takes it away", async () => {
  asks("optional");
  const phone = await scanned();
  await phone.tap("number", 47);
  assert.equal(phone.all("give").length, 1);
  gateway.says("status", { ...OFFER, status: "cancelled", expires_in: 0 });
  await clock.pass(5000);
  assert.equal(phone.all("give").length, 0);
  says(phone, "Cancelled");
});

test("a refused number is told, and ends nothing", async () => {
  for (const [given, errno] of [
    [{ errno: 103 }, 103],
    [{ errno: 104 }, 104],
    [{ errMsg: "getPhoneNumber:fail user deny" }, 103],
  ]) {
    asks("required").says("confirm", [422, "phone_required"], { outcome: "confirmed" });
    let answer = given;
    const phone = await scanned({ number: () => answer });
    await phone.tap("number", 47);
    await phone.tap("give");
    assert.deepEqual(gateway.bodies("confirm"), [{ handle: "handle-1", choice: 47, phone_errno: errno }]);
    says(phone, texts.phone.refused[1]);
    // Heard from the gateway meanwhile, it is still to be read.
    await clock.pass(3000);
    says(phone, texts.phone.refused[1]);
    answer = { code: "second" };
    await phone.tap("give");
    if (errno === 104) {
      // WeChat would refuse by itself for ten seconds.
      assert.equal(gateway.bodies("confirm").length, 1);
      await clock.pass(10000);
      await phone.tap("give");
    }
    assert.equal(gateway.bodies("confirm")[1].phone_code, "second");
    says(phone, "Confirmed");
  }
});

test("a button that gives nobody a number is shown no more", async () => {
  for (const errno of [102, 112, 1400001]) {
    asks("required").says("confirm", [422, "phone_required"]);
    file("config.js").support = "the help desk";
    const phone = await scanned({ number: () => ({ errno }) });
    await phone.tap("number", 47);
    await phone.tap("give");
    assert.equal(gateway.bodies("confirm")[0].phone_errno, errno);
    says(phone, texts.phone.unavailable[0]);
    says(phone, "the help desk");
    await clock.pass(6000);
    assert.equal(phone.all("give").length, 0);
    says(phone, texts.phone.unavailable[0]);
  }
});

test("an optional number may be refused or left out", async () => {
  asks("optional");
  const refusing = await scanned({ number: () => ({ errno: 103 }) });
  await refusing.tap("number", 47);
  await refusing.tap("give");
  says(refusing, "Confirmed");
  assert.deepEqual(gateway.bodies("confirm"), [{ handle: "handle-1", choice: 47, phone_errno: 103 }]);

  asks("optional");
  const skipping = await scanned();
  await skipping.tap("number", 47);
  await skipping.tap("skip");
  assert.deepEqual(gateway.bodies("confirm"), [{ handle: "handle-1", choice: 47 }]);
});

test("a number that is known or never asked for shows no button", async () => {
  for (const phone of ["known", "never"]) {
    asks(phone);
    const page = await scanned();
    await page.tap("number", 47);
    says(page, "Confirmed");
    assert.equal(calls(), "scan confirm");
  }
});

test("one tap agrees to the guideline and shares the number, where it was not agreed to", async () => {
  asks("required");
  const phone = await scanned({ mustAgree: true });
  await phone.tap("number", 47);
  assert.equal(phone.one("give").attributes["open-type"], "getPhoneNumber|agreePrivacyAuthorization");
  says(phone, "By tapping you agree to the");
  await phone.tap("contract");
  assert.ok(phone.calls.some(([name]) => name === "openPrivacyContract"));
  await phone.tap("give");
  says(phone, "Confirmed");
});

test("WeChat's question for the guideline in the middle of a tap is answered", async () => {
  for (const [button, body] of [
    ["agree", { phone_code: "phone-code" }],
    ["disagree", { phone_errno: 104 }],
  ]) {
    asks("optional");
    const phone = await scanned({ mustAgree: true, hidesAgreement: true });
    await phone.tap("number", 47);
    const tapped = phone.tap("give");
    await phone.settle();
    assert.equal(phone.all("give").length, 0);
    says(phone, texts.phone.privacy[0]);
    await phone.tap(button);
    await tapped;
    assert.deepEqual(gateway.bodies("confirm"), [{ handle: "handle-1", choice: 47, ...body }]);
  }
});

test("a phone code that WeChat refused is asked for once more", async () => {
  asks("required").says("confirm", [422, "phone_code_invalid"], { outcome: "confirmed" });
  const phone = await scanned();
  await phone.tap("number", 47);
  await phone.tap("give");
  says(phone, "Phone number not confirmed");
  await phone.tap("give");
  says(phone, "Confirmed");
});

test("a lost answer is asked for again with the same code of the phone button", async () => {
  asks("required").says("confirm", OFFLINE, { outcome: "confirmed" });
  const phone = await scanned();
  await phone.tap("number", 47);
  await phone.tap("give");
  says(phone, "Your sign-in is not lost.");
  // A tap on the phone button costs money, and this one was had.
  assert.equal(phone.all("give").length, 0);
  await clock.pass(6000);
  assert.equal(phone.all("give").length, 0);
  await phone.tap("again");
  says(phone, "Confirmed");
  const [first, second] = gateway.bodies("confirm");
  assert.deepEqual(first, second);
});

test("the network comes back by itself", async () => {
  gateway.says("confirm", OFFLINE, { outcome: "confirmed" });
  const phone = await scanned();
  await phone.tap("number", 47);
  says(phone, "No network");
  await phone.networkIs(false);
  assert.equal(gateway.bodies("confirm").length, 1);
  await phone.networkIs(true);
  says(phone, "Confirmed");
});

test("a scan without a network loses nothing, and has a code of its own each time", async () => {
  let last = 0;
  gateway.says("scan", OFFLINE, { ...OFFER, handle: "handle-1" });
  const phone = await scanned({ login: () => `code-${(last += 1)}` });
  says(phone, "No network");
  await phone.tap("again");
  says(phone, "Which number");
  assert.deepEqual(
    gateway.bodies("scan").map(({ code }) => code),
    ["code-1", "code-2"],
  );
});

test("a code of wx.login that WeChat refused is replaced, once", async () => {
  let last = 0;
  gateway.says("scan", [422, "code_invalid"], { ...OFFER, handle: "handle-1" });
  const phone = await scanned({ login: () => `code-${(last += 1)}` });
  says(phone, "Which number");
  assert.equal(last, 2);

  gateway = new ScriptedGateway().says("scan", [422, "code_invalid"]);
  const refused = await scanned({ login: () => `code-${(last += 1)}` });
  assert.equal(last, 4);
  says(refused, "WeChat did not say who you are");
  assert.equal(refused.all("again").length, 1);
});

test("wx.login that fails is a matter of the network", async () => {
  let fails = true;
  const phone = await scanned({ login: () => (fails ? Promise.reject({ errMsg: "login:fail" }) : "code") });
  says(phone, "WeChat does not answer");
  assert.equal(calls(), "");
  fails = false;
  await phone.tap("again");
  says(phone, "Which number");
});

test("two taps are one", async () => {
  let answer;
  gateway.says("confirm", new Promise((resolve) => (answer = resolve)));
  const phone = await scanned();
  const [first, second] = phone.all("number");
  await Promise.all([phone.tapOn(first), phone.tapOn(first), phone.tapOn(second)]);
  assert.deepEqual(gateway.bodies("confirm"), [{ handle: "handle-1", choice: 47 }]);
  answer({ outcome: "confirmed" });
  await phone.settle();
  says(phone, "Confirmed");
});

test("until the browser has spoken there is nothing to confirm, and it is asked for in longer and longer steps", async () => {
  const silent = { ...OFFER, site: undefined, browser: undefined };
  gateway.says("scan", { ...silent, handle: "handle-1" }).says("status", silent);
  const phone = await scanned();
  says(phone, "Waiting for the computer");
  assert.equal(phone.all("number").length, 0);
  await clock.pass(60_000);
  // The gateway takes thirty a minute of one person.
  assert.ok(gateway.bodies("status").length <= 22, String(gateway.bodies("status").length));
  gateway.says("status", OFFER);
  await clock.pass(3000);
  says(phone, "Which number");
});

test("while the browser chooses an account, it is asked no more often than the gateway takes", async () => {
  gateway.says("confirm", { outcome: "bind" }).says("status", { ...OFFER, status: "bind", expires_in: 600 });
  const phone = await scanned();
  await phone.tap("number", 47);
  says(phone, "Continue at the computer");
  const before = gateway.asked.length;
  await clock.pass(60_000);
  assert.ok(gateway.asked.length - before <= 21);
  gateway.says("status", { ...OFFER, status: "bind", account: { name: "王**" }, expires_in: 540 });
  await clock.pass(3000);
  says(phone, "Is this your account?");
  says(phone, "王**");
  gateway.says("confirm", { outcome: "confirmed" });
  assert.equal(gateway.bodies("confirm").length, 1, "nobody has accepted yet");
  await phone.tap("accept");
  assert.deepEqual(gateway.bodies("confirm")[1], { handle: "handle-1", choice: 47, accept: true });
  says(phone, "Confirmed");
});

test("connecting an account says so before the number, and once more after it", async () => {
  const purpose = { kind: "connect", text: "Somebody connects this WeChat to 王**." };
  gateway = new ScriptedGateway({ purpose, account: { name: "王**" } });
  gateway.says("confirm", { outcome: "bind" });
  const phone = await scanned();
  says(phone, "Connect WeChat to the account");
  says(phone, purpose.text);
  gateway.says("status", { ...OFFER, purpose, account: { name: "王**" }, status: "bind" });
  await phone.tap("number", 47);
  says(phone, "It is mine, connect");
  gateway.says("confirm", { outcome: "confirmed" });
  await phone.tap("accept");
  says(phone, "Confirmed, one step left");
});

test("shown again, it looks where the ticket stands; not seen, it asks nothing", async () => {
  const phone = await scanned();
  phone.hide();
  await clock.pass(60_000);
  assert.equal(calls(), "scan");
  gateway.says("status", { ...OFFER, status: "redeemed", expires_in: 0 });
  await phone.show();
  says(phone, "Confirmed");
});

test("the code expires on the screen and at the gateway", async () => {
  const phone = await scanned();
  await clock.pass(1000);
  says(phone, "Expires in 1:59");
  gateway.says("status", { ...OFFER, status: "expired", expires_in: 0 });
  await clock.pass(120_000);
  says(phone, "The code has expired");
  await phone.tap("rescan");
  assert.deepEqual(phone.opened, ["/pages/start/start?scan=1"]);
});

test("without a network it expires by the phone's own clock", async () => {
  const phone = await scanned();
  gateway.says("status", OFFLINE);
  await clock.pass(60_000);
  says(phone, "No network");
  await clock.pass(70_000);
  says(phone, "The code has expired");
});

test("no means no, and `not me` is told apart, also after the confirmation", async () => {
  for (const [button, reason, title] of [
    ["cancel", "declined", "Cancelled"],
    ["not-me", "not_me", "Undone"],
  ]) {
    gateway = new ScriptedGateway();
    const phone = await scanned();
    await phone.tap(button);
    assert.deepEqual(gateway.bodies("cancel"), [{ handle: "handle-1", reason }]);
    says(phone, title);
  }
  gateway = new ScriptedGateway().says("cancel", OFFLINE, [204]);
  const phone = await scanned();
  await phone.tap("number", 47);
  await phone.tap("undo");
  says(phone, "No network");
  await phone.tap("again");
  assert.deepEqual(gateway.bodies("cancel"), Array(2).fill({ handle: "handle-1", reason: "not_me" }));
  says(phone, "Undone");
});

test("a cancel of what is over is over", async () => {
  gateway.says("cancel", [410, "ticket_expired"]);
  const phone = await scanned();
  await phone.tap("cancel");
  says(phone, "Cancelled");
});

test("every refusal that ends a login says which, and names the request", async () => {
  const final = [
    "wrong_number",
    "ticket_unknown",
    "ticket_taken",
    "no_account",
    "phone_taken",
    "user_disabled",
    "account_bound",
  ];
  for (const code of [
    ...final,
    "ambiguous_account",
    "proof_wrong",
    "wechat_refused",
    "wechat_misconfigured",
    "bad_request",
  ]) {
    for (const call of ["scan", "confirm"]) {
      gateway = new ScriptedGateway().says(call, [403, code]);
      const phone = await scanned();
      if (call === "confirm") await phone.tap("number", 47);
      says(phone, texts.problems[code][0]);
      says(phone, "req-1");
      assert.equal(phone.all("again").length, 0, `${code} at ${call}`);
      assert.equal(phone.all("rescan").length, 1, `${code} at ${call}`);
    }
  }
});

test("what passes can be tried again", async () => {
  const passing = ["rate_limited", "wechat_busy", "wechat_unavailable", "store_unavailable", "not_ready"];
  for (const code of passing) {
    for (const call of ["scan", "confirm"]) {
      const fine = call === "scan" ? { ...OFFER, handle: "handle-1" } : { outcome: "confirmed" };
      gateway = new ScriptedGateway().says(call, [503, code], fine);
      const phone = await scanned();
      if (call === "confirm") await phone.tap("number", 47);
      says(phone, texts.problems[code][0]);
      await phone.tap("again");
      says(phone, call === "scan" ? "Which number" : "Confirmed");
    }
  }
});

test("a gateway that asks for patience gets it", async () => {
  const phone = await scanned();
  gateway.says("status", [429, "rate_limited", { "Retry-After": "30" }], OFFER);
  await clock.pass(10_000);
  assert.equal(gateway.bodies("status").length, 1);
  await clock.pass(29_000);
  assert.equal(gateway.bodies("status").length, 1);
  await clock.pass(1_500);
  assert.equal(gateway.bodies("status").length, 2);
  assert.equal(phone.data.problem, null);
});

test("an answer that is none of the gateway's is not believed", async () => {
  const page = (statusCode) => ({ statusCode, data: "<html>Welcome to our hotel</html>", header: {} });
  for (const statusCode of [200, 302, 502]) {
    const phone = await start({ request: async () => page(statusCode) }).open("pages/login/login", {
      scene: SCENE,
    });
    says(phone, texts.problems.no_gateway[0]);
    assert.equal(phone.all("again").length, 1);
  }
});

test("a domain that is not listed is the owner's to mend", async () => {
  file("config.js").support = "the help desk";
  const request = () => Promise.reject({ errMsg: "request:fail url not in domain list", errno: 600002 });
  const phone = await start({ request }).open("pages/login/login", { scene: SCENE });
  says(phone, texts.problems.domain_not_listed[0]);
  says(phone, "the help desk");
});

test("a state that moved on is looked up, not guessed", async () => {
  gateway.says("confirm", [409, "wrong_state"]).says("status", { ...OFFER, status: "confirmed", expires_in: 50 });
  const phone = await scanned();
  await phone.tap("number", 47);
  says(phone, "Confirmed");
  gateway = new ScriptedGateway().says("confirm", [409, "wrong_state"]).says("status", [409, "wrong_state"]);
  const lost = await scanned();
  await lost.tap("number", 47);
  says(lost, "Already done");
});

test("a browser that went away is waited for", async () => {
  gateway.says("confirm", [409, "browser_absent"], { outcome: "confirmed" });
  const phone = await scanned();
  await phone.tap("number", 47);
  says(phone, "The sign-in page does not answer");
  await clock.pass(3000);
  assert.equal(phone.data.problem, null);
  await phone.tap("number", 47);
  says(phone, "Confirmed");
});

test("a code that is newer than this mini program comes with the gateway's words", async () => {
  gateway.says("confirm", [403, "made_later"]);
  const phone = await scanned();
  await phone.tap("number", 47);
  says(phone, "message of made_later");
});

test("a code out of a picture comes with a warning, a number of somebody else with a note", async () => {
  gateway = new ScriptedGateway({ warning: "picture", known: false });
  gateway.says("confirm", { outcome: "confirmed", phone_note: "phone_taken" });
  const phone = await scanned({ entry: 1049 });
  says(phone, texts.picture);
  says(phone, texts.newcomer);
  assert.equal(gateway.bodies("scan")[0].entry, 1049);
  await phone.tap("number", 47);
  says(phone, texts.phoneTaken);
});

test("an unusual start comes with a warning, and so does one that this mini program does not know", async () => {
  for (const warning of ["unusual", "made_later"]) {
    gateway = new ScriptedGateway({ warning });
    const phone = await scanned({ entry: 1043 });
    says(phone, texts.unusual);
  }
});

test("an application is told of, and gone back to", async () => {
  const device = { ...OFFER.browser.device, kind: "application", text: "an application on this phone · Android" };
  const launched = { ...OFFER, browser: { ...OFFER.browser, device }, app_parameter: "for-the-app" };
  gateway = new ScriptedGateway(launched);
  const wechat = { entry: 1069, referrer: "wxapp", canReturn: true };
  const phone = start(wechat);
  await phone.openPath(`pages/login/login?scene=${SCENE}&half=aB-_`);
  assert.deepEqual(gateway.bodies("scan")[0], {
    scene: SCENE,
    half: "aB-_",
    code: "login-code",
    entry: 1069,
    referrer: "wxapp",
  });
  says(phone, "Which number does the app show?");
  await phone.tap("number", 47);
  says(phone, "Continue at the app.");
  await phone.tap("back");
  assert.equal(phone.returned, "for-the-app");

  gateway = new ScriptedGateway(launched);
  const forgotten = start({ ...wechat, canReturn: false });
  await forgotten.openPath(`pages/login/login?scene=${SCENE}`);
  await forgotten.tap("cancel");
  await forgotten.tap("back");
  says(forgotten, texts.backFailed);
  assert.equal(forgotten.all("back").length, 0);
});

test("nothing is done for who has left", async () => {
  let answer;
  gateway.says("scan", new Promise((resolve) => (answer = resolve)));
  const phone = start();
  const opening = phone.open("pages/login/login", { scene: SCENE });
  await phone.settle();
  phone.unload();
  answer({ ...OFFER, handle: "handle-1" });
  await opening;
  await clock.pass(60_000);
  assert.equal(calls(), "scan");
  assert.equal(phone.listeners.size, 0);
});

test("the trial version asks the gateway for trials", async () => {
  Object.assign(file("config.js"), { testGateways: ["https://staging.example.com"] });
  for (const [envVersion, host] of [
    ["release", "login.example.com"],
    ["trial", "staging.example.com"],
    ["develop", "staging.example.com"],
  ]) {
    const phone = await scanned({ envVersion });
    const [, url] = phone.calls.find(([name]) => name === "request");
    assert.equal(url, `https://${host}/.menshen/phone/scan`);
  }
});

test("WeChat that is too old is told so, kindly", async () => {
  for (const library of ["2.21.1", "2.9.0", "1.99.99"]) {
    const phone = await scanned({ library });
    says(phone, "Update WeChat");
    assert.equal(calls(), "");
    await phone.tap("main");
    assert.ok(phone.calls.some(([name]) => name === "updateWeChatApp"));
  }
  for (const library of ["2.21.2", "2.30.0", "3.0.0", "10.0.0"]) says(await scanned({ library }), "Which number");
});

test("its words are those of the person's WeChat", async () => {
  for (const [language, tag, part] of [
    ["zh_CN", "zh-CN", "电脑上显示的数字是？"],
    ["zh_TW", "zh-TW", "電腦上顯示的數字是？"],
    ["fr", "en", "Which number does the computer show?"],
  ]) {
    gateway = new ScriptedGateway();
    const phone = await scanned({ language });
    says(phone, part);
    assert.equal(gateway.asked[0][2]["accept-language"], tag);
  }
});
