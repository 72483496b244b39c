// A phone that another program holds: commands come as lines of JSON, `[name, ...arguments]`, and each is answered by a line
// with what the page shows. The mini program asks the gateway at GATEWAY over the network, as wx.request does, and the
// codes of WeChat come from the sandbox at SANDBOX.

import { request } from "node:http";
import { createInterface } from "node:readline";

import { MiniProgram, file } from "./mini-program.mjs";

// Shorter than that of whoever holds the phone, so that what did not appear is named.
const PATIENCE = 25_000;
const AGENT =
  "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.59(0x18003b2e) NetType/WIFI Language/zh_CN";
const { GATEWAY, SANDBOX, APPID, PERSONA, LANGUAGE } = process.env;
Object.assign(file("config.js"), { gateways: [GATEWAY], testGateways: [] });

const phone = new MiniProgram({
  appId: APPID,
  language: LANGUAGE,
  login: async () => (await order("login")).code,
  number: () => order("phone"),
  request: ask,
});
/** What the person does when WeChat asks for the number. */
let allows = true;
let online = true;

const commands = {
  open: (path) => phone.openPath(path),
  tap: (name, text) => phone.tap(name, text),
  type: (name, value) => phone.type(name, value),
  hide: () => phone.hide(),
  show: () => phone.show(),
  network: (isConnected) => {
    online = isConnected;
    return phone.networkIs(isConnected);
  },
  wechat: (change) => void Object.assign(phone.wechat, change),
  refuse: () => void (allows = false),
  /** Until the page shows a text. What is awaited comes over the network. */
  async until(text) {
    const end = Date.now() + PATIENCE;
    while (!phone.text.includes(text)) {
      if (Date.now() > end) throw new Error(`${text} did not appear on:\n${phone.text}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...details] = JSON.parse(line);
  let answer;
  try {
    await commands[name](...details);
    const shown = phone.page ? { text: phone.text, buttons: phone.all("button").map(({ text }) => text) } : {};
    answer = { ...shown, returned: phone.returned };
  } catch (error) {
    answer = { failed: String(error.stack ?? error.errMsg ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);

/** `wx.login`, or the phone button after a person's tap. */
async function order(kind) {
  if (kind === "phone" && !allows) return { errno: 103, errMsg: "getPhoneNumber:fail user deny" };
  const { statusCode, data } = await post(`${SANDBOX}/__sandbox/codes`, { appid: APPID, persona: PERSONA, kind });
  if (statusCode !== 200) throw { errMsg: `${kind}:fail ${statusCode}` };
  return data;
}

/** wx.request: no cookies, a Referer that cannot be chosen, and every status a success. */
function ask({ url, method, data, header }) {
  if (!online) throw { errMsg: "request:fail net::ERR_INTERNET_DISCONNECTED" };
  if (method !== "POST") throw { errMsg: "request:fail method" };
  return post(url, data, {
    ...header,
    referer: `https://servicewechat.com/${APPID}/1/page-frame.html`,
    "user-agent": AGENT,
  });
}

function post(url, data, headers = { "content-type": "application/json" }) {
  return new Promise((resolve, reject) => {
    // Whatever the host is called, it is here.
    const lookup = (host, options, found) =>
      options.all ? found(null, [{ address: "127.0.0.1", family: 4 }]) : found(null, "127.0.0.1", 4);
    const sent = request(url, { method: "POST", headers, lookup }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () =>
        resolve({
          statusCode: answer.statusCode,
          header: answer.headers,
          data: parsed(Buffer.concat(parts).toString()),
        }),
      );
    });
    sent.on("error", () => reject({ errMsg: "request:fail" }));
    sent.end(JSON.stringify(data));
  });
}

/** `dataType: "json"`: what is none stays text. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
