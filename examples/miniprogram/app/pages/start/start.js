// Opened without a code: says what this is, for whom, and what it needs to know. Nothing is asked here.

const config = require("../../config");
const { codeScanned } = require("../../lib/entry");
const { gateways } = require("../../lib/gateway");
const { fill, textsFor } = require("../../lib/texts/index");
const { language, privacy, scanCode } = require("../../lib/wechat");

Component({
  data: { texts: {}, start: {}, foreign: false, contract: "" },

  methods: {
    onLoad({ scan } = {}) {
      const { texts } = textsFor(language());
      const { start } = texts;
      const { version } = wx.getAccountInfoSync().miniProgram;
      this.setData({
        texts,
        start: {
          lead: fill(start.lead, { owner: config.owner || start.someOwner }),
          audience: config.audience,
          version: version ? fill(start.version, { version }) : "",
          support: config.support ? fill(texts.support, { support: config.support }) : "",
        },
      });
      wx.setNavigationBarTitle({ title: texts.title });
      if (scan) this.onScan();
      return privacy().then(({ contract }) => this.setData({ contract }));
    },

    onShow() {
      const { update } = getApp();
      // Not on the way back from the camera.
      if (update && !this.scanning) update();
    },

    async onScan() {
      if (this.scanning) return;
      this.scanning = true;
      this.setData({ foreign: false });
      const read = await scanCode();
      this.scanning = false;
      if (!read) return;
      const { scene, gateway } = codeScanned(read, LOGIN, gateways());
      if (!scene) return this.setData({ foreign: true });
      getApp().scanned = scene;
      const code =
        gateway === gateways()[0] ? `scene=${encodeURIComponent(scene)}` : `q=${encodeURIComponent(read.result)}`;
      wx.navigateTo({ url: `/${LOGIN}?${code}` });
    },

    onContract() {
      wx.openPrivacyContract({});
    },
  },
});

/** The page of the codes: `page` of the connection. */
const LOGIN = "pages/login/login";
