// The page that a code opens. It joins what WeChat tells, one `Login`, and what is drawn. It is written as a component, so
// that its tests can render it.

const config = require("../../config");
const { circumstances, codeIn, openedByApplication } = require("../../lib/entry");
const { call, gateways } = require("../../lib/gateway");
const { Login } = require("../../lib/login");
const { present } = require("../../lib/present");
const { textsFor } = require("../../lib/texts/index");
const { isOutdated, language } = require("../../lib/wechat");

Component({
  data: { texts: {}, screen: "opening" },

  methods: {
    onLoad(options) {
      const { tag, texts } = textsFor(language());
      this.setData({ texts });
      wx.setNavigationBarTitle({ title: texts.title });
      if (isOutdated()) return this.setData({ screen: "outdated" });

      const app = getApp();
      const { gateway, foreign, ...code } = codeIn(options, gateways());
      const { scene } = code;
      const scannedHere = Boolean(scene) && app.scanned === scene;
      app.scanned = "";
      // Without a code there is nothing to confirm; the start page says what this is.
      if (!scene && !foreign) return wx.reLaunch({ url: "/pages/start/start" });
      if (foreign) return this.draw({ screen: "ended", kind: "failed", offer: {}, problem: { code: "foreign" } });

      this.fromApplication = openedByApplication();
      const ask = (name, body) => call(gateway, name, body, tag);
      this.login = new Login(ask, { ...code, ...circumstances(scannedHere) }, (view) => this.draw(view));
      this.reconnected = ({ isConnected }) => isConnected && this.login.awake && this.login.wake();
      wx.onNetworkStatusChange(this.reconnected);
      return this.login.scan();
    },

    onShow() {
      if (this.login) return this.login.wake();
    },

    onHide() {
      if (this.login) this.login.sleep();
    },

    onUnload() {
      if (!this.login) return;
      wx.offNetworkStatusChange(this.reconnected);
      this.login.leave();
    },

    draw(view) {
      const { texts } = this.data;
      // An application that opened the mini program can be gone back to, with the name of its ticket, which opens nothing.
      const canReturn = view.screen === "ended" && Boolean(this.fromApplication);
      const returned = canReturn ? view.offer.app_parameter || this.login.opened.scene : "";
      this.setData({ ...present(view, texts, config.support), canReturn, returned });
    },

    onChosen({ detail }) {
      return this.login.choose(detail.value);
    },
    onPhone({ detail }) {
      return this.login.phoneGiven(detail);
    },
    onSkipPhone() {
      return this.login.skipPhone();
    },
    onAccept() {
      return this.login.acceptAccount();
    },
    onCancel() {
      return this.login.cancel("declined");
    },
    onNotMe() {
      return this.login.cancel("not_me");
    },
    onAgain() {
      return this.login.again();
    },
    onOver() {
      return this.login.look();
    },
    onRescan() {
      wx.reLaunch({ url: "/pages/start/start?scan=1" });
    },
    onClose() {
      wx.exitMiniProgram();
    },
    onUpdate() {
      wx.updateWeChatApp();
    },
  },
});
