// Asks for the phone number, with a way on or out for who does not want to give it. Tells `given` with `{code}` or
// `{errno}`, and `skip`.
//
// WeChat lets nobody be asked before they agreed to the privacy guideline. One tap can say both; where it was not known
// beforehand that it has to, WeChat tells in the middle of the tap, and is answered.

const { privacy } = require("../../lib/wechat");

Component({
  properties: { texts: { type: Object, value: {} }, phone: { type: Object, value: {} } },
  data: { openType: "", agrees: false, contract: "", asksFirst: false, resting: false },

  observers: {
    // Set anew with every look at the ticket: it begins once.
    phone({ pause }) {
      if (pause && !this.pausing) this.rest();
      this.pausing = pause;
    },
  },

  lifetimes: {
    attached() {
      this.attachedNow = true;
      if (wx.onNeedPrivacyAuthorization) wx.onNeedPrivacyAuthorization((resolve) => this.ask(resolve));
      return privacy().then(({ needed, contract }) => {
        // WeChat before 2.32.3 does not know the second word, and its button would be dead: only where it is needed.
        const openType = needed ? "getPhoneNumber|agreePrivacyAuthorization" : "getPhoneNumber";
        if (this.attachedNow) this.setData({ openType, agrees: needed, contract });
      });
    },
    detached() {
      this.attachedNow = false;
      clearTimeout(this.timer);
      this.answer("disagree");
    },
  },

  methods: {
    onGiven({ detail }) {
      const { code, errno, errMsg = "" } = detail;
      // Older WeChat says it in words only.
      const refused = /deny|cancel/.test(errMsg) ? DENIED : undefined;
      this.triggerEvent("given", code ? { code } : { errno: errno || refused });
    },
    onSkip() {
      this.triggerEvent("skip");
    },
    onContract() {
      wx.openPrivacyContract({});
    },

    /** WeChat's call waits until it is answered. */
    ask(resolve) {
      this.answer("disagree");
      this.resolve = resolve;
      this.setData({ asksFirst: true });
      resolve({ event: "exposureAuthorization" });
    },
    onAgree() {
      this.answer("agree");
    },
    onDisagree() {
      this.answer("disagree");
    },
    answer(event) {
      const { resolve } = this;
      if (!resolve) return;
      this.resolve = undefined;
      resolve(event === "agree" ? { event, buttonId: "agree-to-guideline" } : { event });
      if (this.attachedNow) this.setData({ asksFirst: false });
    },

    rest() {
      clearTimeout(this.timer);
      this.setData({ resting: true });
      this.timer = setTimeout(() => this.setData({ resting: false }), TEN_SECONDS);
    },
  },
});

const DENIED = 103;
const TEN_SECONDS = 10000;
