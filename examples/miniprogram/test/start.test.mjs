// The page of who comes without a code, and the ways from it to a login.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Clock } from "./support/clock.mjs";
import { ScriptedGateway } from "./support/gateway.mjs";
import { MiniProgram, file } from "./support/mini-program.mjs";

const SCENE = "AWc_-0123456789abcdefghijklmnopq";

beforeEach(() => {
  new Clock();
  const config = {
    gateways: ["https://login.example.com", "https://other.example.com"],
    testGateways: [],
    owner: "",
    support: "",
  };
  Object.assign(file("config.js"), config);
});

test("it says what this is, for whom, and what it will ask for, and asks for nothing", async () => {
  Object.assign(file("config.js"), { owner: "Example Ltd.", audience: "Staff only", support: "the help desk" });
  const phone = await new MiniProgram().open("pages/start/start");
  for (const part of [
    "Sign in to websites with WeChat",
    "Example Ltd.",
    "Staff only",
    "phone number",
    "the help desk",
    "Version 1.0.0",
  ]) {
    assert.ok(phone.text.includes(part), `${part} is not in:\n${phone.text}`);
  }
  await phone.tap("contract");
  assert.deepEqual(
    phone.calls.map(([name]) => name),
    ["setNavigationBarTitle", "openPrivacyContract"],
  );
});

test("who opens the login page without a code comes here", async () => {
  const phone = await new MiniProgram().open("pages/login/login", {});
  assert.deepEqual(phone.opened, ["/pages/start/start"]);
});

test("a code of somewhere else is refused without asking anybody", async () => {
  const phone = await new MiniProgram().open("pages/login/login", {
    q: encodeURIComponent("https://evil.example/m/x"),
  });
  assert.ok(phone.text.includes("Not a code of this place"));
  assert.ok(!phone.calls.some(([name]) => name === "login" || name === "request"));
});

test("a code can be scanned from here, and counts as scanned", async () => {
  const cases = [
    [{ path: `pages/login/login?scene=${SCENE}`, result: "*" }, "https://login.example.com"],
    [{ result: `https://login.example.com/m/${SCENE}` }, "https://login.example.com"],
    [{ result: `https://other.example.com/m/${SCENE}` }, "https://other.example.com"],
  ];
  for (const [scans, origin] of cases) {
    const gateway = new ScriptedGateway();
    // The mini program itself came from a forwarded card; the code did not.
    const phone = new MiniProgram({ scans, entry: 1007, request: gateway.request });
    await phone.open("pages/start/start");
    await phone.tap("scan");
    await phone.openPath(phone.opened[0]);
    assert.deepEqual(gateway.bodies("scan"), [{ scene: SCENE, code: "login-code", entry: 1047 }]);
    assert.ok(phone.calls.some(([name, url]) => name === "request" && url.startsWith(origin)));
    // Once: a card of the same page that is opened later is a card.
    await phone.openPath(phone.opened[0]);
    assert.equal(gateway.bodies("scan")[1].entry, 1007);
  }
});

test("what is no login code is said to be none, and going back is no mistake", async () => {
  const phone = new MiniProgram({ scans: { result: "https://example.com/" } });
  await phone.open("pages/start/start", { scan: "1" });
  assert.ok(phone.text.includes("That is no sign-in code."));
  phone.wechat.scans = undefined;
  await phone.tap("scan");
  assert.ok(!phone.text.includes("That is no sign-in code."));
  assert.deepEqual(phone.opened, []);
});

test("a new version is taken where nobody is in the middle of a login", async () => {
  const phone = new MiniProgram({ request: new ScriptedGateway().request });
  await phone.open("pages/login/login", { scene: SCENE });
  phone.updateIsReady();
  await phone.show();
  const updates = () => phone.calls.filter(([name]) => name === "applyUpdate").length;
  assert.equal(updates(), 0);
  await phone.open("pages/start/start");
  assert.equal(updates(), 1);
});
