// The mini program on a phone that tests hold: WeChat's own component simulator renders its pages, and this file plays what
// WeChat does around them: page life, `wx`, and the buttons that only WeChat has.

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { JSDOM } from "jsdom";

const { window } = new JSDOM("<!doctype html><body></body>");
for (const name of ["document", "Event", "CustomEvent", "Node", "Element", "HTMLElement", "Text", "MutationObserver"]) {
  globalThis[name] = window[name];
}
globalThis.window = window;

const require = createRequire(import.meta.url);
const simulate = require("miniprogram-simulate");
const ROOT = fileURLToPath(new URL("../../app", import.meta.url));
const compiled = new Map();

/** The files of the mini program, as its own code requires them. */
export const file = (path) => require(`${ROOT}/${path}`);

export class MiniProgram {
  /**
   * @param wechat what this WeChat is like; see `DEFAULTS`
   */
  constructor(wechat = {}) {
    this.wechat = { ...DEFAULTS, ...wechat };
    this.pages = [];
    this.calls = [];
    this.opened = [];
    this.listeners = new Set();
    globalThis.wx = this.api();
    globalThis.App = (definition) => (this.app = definition);
    globalThis.getApp = () => this.app;
    delete require.cache[require.resolve(`${ROOT}/app.js`)];
    file("app.js");
    this.app.onLaunch();
  }

  /** Opens a page with the values that stand in its link, as WeChat hands them over. */
  async open(path, options = {}) {
    if (!compiled.has(path))
      compiled.set(path, simulate.load(`${ROOT}/${path}`, { compiler: this.wechat.compiler, rootPath: ROOT }));
    const root = simulate.render(compiled.get(path));
    root.attach(window.document.createElement("main"));
    const page = { path, options, root };
    this.pages.push(page);
    const loaded = root.instance.onLoad(options);
    root.instance.onShow?.();
    await loaded;
    await this.settle();
    return this;
  }

  /** The path of a launch, a scheme, a code: page and query. */
  openPath(url) {
    const [path, query = ""] = url.replace(/^\//, "").split("?");
    const pairs = query
      .split("&")
      .filter(Boolean)
      .map((pair) => pair.split("="));
    return this.open(path, Object.fromEntries(pairs));
  }

  hide() {
    this.page.instance.onHide?.();
  }

  async show() {
    this.page.instance.onShow?.();
    await this.settle();
  }

  unload() {
    const { root } = this.pages.pop();
    root.instance.onUnload?.();
    root.detach();
  }

  get page() {
    return this.pages.at(-1)?.root;
  }

  get data() {
    return this.page.data;
  }

  /** All that can be read, line by line. */
  get text() {
    return [...walk(this.page._exparserNode)]
      .flatMap((node) => (node.textContent?.trim() ? [node.textContent.trim()] : []))
      .join("\n");
  }

  /** The elements with a class, as `{text, attributes, node}`. */
  all(name) {
    const found = [...walk(this.page._exparserNode)].filter((node) => node.classList?.contains?.(name));
    return found.map((node) => ({
      node,
      text: node.$$.textContent.trim(),
      attributes: Object.fromEntries((node._vt?.attrs ?? []).map(({ name, value }) => [dashed(name), value])),
    }));
  }

  one(name) {
    const [found, ...more] = this.all(name);
    if (!found || more.length > 0) throw new Error(`${found ? "more than one" : "no"} .${name} in:\n${this.text}`);
    return found;
  }

  /** Taps the only element with this class, or the one of them that says `text`. */
  async tap(name, text) {
    const element = text === undefined ? this.one(name) : this.all(name).find((each) => each.text === String(text));
    if (!element) throw new Error(`no .${name} that says ${text} in:\n${this.text}`);
    await this.tapOn(element);
  }

  async tapOn({ node, attributes }) {
    if (attributes.disabled) return;
    const openType = attributes["open-type"] ?? "";
    if (/getPhoneNumber/.test(openType)) return this.askForNumber(node, openType);
    if (openType === "agreePrivacyAuthorization") this.emit(node, "agreeprivacyauthorization");
    else if (openType === "launchApp") this.launch(node, attributes["app-parameter"]);
    else this.emit(node, "tap");
    await this.settle();
  }

  /** Types into the only element with this class. */
  async type(name, value) {
    this.emit(this.one(name).node, "input", { value });
    await this.settle();
  }

  emit(node, event, detail) {
    this.page.dispatchEvent.call({ dom: node.$$ }, event, { detail });
  }

  /** As WeChat does it: the privacy guideline first, then its own sheet, then the answer. */
  async askForNumber(node, openType) {
    const { wechat } = this;
    if (wechat.mustAgree && !/agreePrivacyAuthorization/.test(openType)) {
      const agreed = await this.askForAgreement();
      if (!agreed)
        return this.givePhone(node, {
          errno: 104,
          errMsg: "getPhoneNumber:fail privacy permission is not authorized",
        });
    }
    wechat.mustAgree = false;
    const given = await wechat.number();
    const errMsg = given.code ? "getPhoneNumber:ok" : "getPhoneNumber:fail";
    return this.givePhone(node, { errMsg, ...given });
  }

  askForAgreement() {
    if (!this.needsAgreement) return this.wechat.agreesToWechat;
    return new Promise((resolve) => {
      this.needsAgreement(({ event }) => event !== "exposureAuthorization" && resolve(event === "agree"), {
        referrer: "button",
      });
    });
  }

  async givePhone(node, detail) {
    this.emit(node, "getphonenumber", detail);
    await this.settle();
  }

  /** The way back that WeChat grants to what an application has opened. */
  launch(node, parameter) {
    if (this.wechat.canReturn) this.returned = parameter;
    else this.emit(node, "error", { errMsg: "invalid scene" });
  }

  networkIs(isConnected) {
    for (const listener of this.listeners) listener({ isConnected });
    return this.settle();
  }

  /** Until nothing is left to do but wait for a timer or the network. */
  async settle() {
    for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  api() {
    const { wechat } = this;
    const note = (name) => (options) => this.calls.push([name, options]);
    return {
      getAppBaseInfo: () => ({ language: wechat.language, SDKVersion: wechat.library }),
      getAccountInfoSync: () => ({
        miniProgram: { appId: wechat.appId, envVersion: wechat.envVersion, version: "1.0.0" },
      }),
      getEnterOptionsSync: () => ({
        scene: wechat.entry,
        referrerInfo: wechat.referrer ? { appId: wechat.referrer } : {},
      }),
      login: ({ success, fail }) => {
        this.calls.push(["login"]);
        Promise.resolve()
          .then(wechat.login)
          .then((code) => success({ code, errMsg: "login:ok" }), fail);
      },
      request: (options) => {
        this.calls.push(["request", options.url, options.data, options.header]);
        Promise.resolve(options).then(wechat.request).then(options.success, options.fail);
      },
      scanCode: ({ success, fail }) =>
        wechat.scans ? success(wechat.scans) : fail({ errMsg: "scanCode:fail cancel" }),
      getPrivacySetting: ({ success }) =>
        success({
          needAuthorization: wechat.mustAgree && !wechat.hidesAgreement,
          privacyContractName: "《隐私保护指引》",
        }),
      onNeedPrivacyAuthorization: (listener) => (this.needsAgreement = listener),
      openPrivacyContract: note("openPrivacyContract"),
      setNavigationBarTitle: note("setNavigationBarTitle"),
      onNetworkStatusChange: (listener) => this.listeners.add(listener),
      offNetworkStatusChange: (listener) => this.listeners.delete(listener),
      reLaunch: ({ url }) => this.opened.push(url),
      navigateTo: ({ url }) => this.opened.push(url),
      exitMiniProgram: note("exitMiniProgram"),
      updateWeChatApp: note("updateWeChatApp"),
      getUpdateManager: () => ({
        onUpdateReady: (listener) => (this.updateIsReady = listener),
        applyUpdate: note("applyUpdate"),
      }),
    };
  }
}

/** The compiler has `ariaLabel` where the page has `aria-label`. */
const dashed = (name) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Everything that is drawn, in the order of the page. */
function* walk(node) {
  yield node;
  if (node.shadowRoot) yield* walk(node.shadowRoot);
  for (const child of node.childNodes ?? []) yield* walk(child);
}

const DEFAULTS = {
  /** WeChat's own compiler, which refuses what WeChat would refuse. */
  compiler: "official",
  appId: "wxsandbox0000000001",
  envVersion: "release",
  language: "en",
  library: "3.7.12",
  /** Launch scene number, and the AppID of what opened it. */
  entry: 1047,
  referrer: "",
  canReturn: false,
  login: () => "login-code",
  request: () => Promise.reject({ errMsg: "request:fail" }),
  /** What the phone button gives when WeChat lets it ask. */
  number: () => ({ code: "phone-code" }),
  /** The privacy guideline was not agreed to yet; and `wx.getPrivacySetting` does not say so. */
  mustAgree: false,
  hidesAgreement: false,
  /** The answer to WeChat's own dialog, where nobody listens. */
  agreesToWechat: true,
  /** What the camera reads. */
  scans: undefined,
};
