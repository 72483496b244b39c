// The phone's side of a login: shows what is being logged in to, and confirms or declines it.
//
// The page knows no secret and decides nothing. The gateway asks WeChat who this is; the page sends two of WeChat's codes,
// the tapped number, and nothing else. An answer to a question of an earlier round is dropped.

const { call, sceneOf } = require("../../gateway");
const { texts } = require("../../texts");

Page({
  data: { text: texts("zh"), screen: "opening", offer: {}, typed: "", problem: null, request: "" },

  onLoad(options) {
    this.round = 0;
    this.scene = sceneOf(options);
    this.setData({ text: texts(wx.getAppBaseInfo().language) });
    if (this.scene) return this.scan();
    this.show("ended", { problem: this.data.text.none, canRetry: false });
  },

  /** Shown again: the person may have answered on the computer, or too late. */
  onShow() {
    if (this.handle && ["confirm", "phone", "bind"].includes(this.data.screen)) return this.look();
  },

  onUnload() {
    this.round += 1;
    clearTimeout(this.timer);
  },

  async scan(again = false) {
    const round = this.show("opening");
    try {
      const { code } = await wx.login(); // good once: a fresh one for every scan
      const entry = wx.getEnterOptionsSync().scene;
      const offer = await call("scan", { scene: this.scene, code, entry });
      if (round !== this.round) return;
      this.handle = offer.handle;
      this.take(offer);
    } catch (error) {
      if (round !== this.round) return;
      if (error.code === "code_invalid" && !again) return this.scan(true);
      this.refuse(error);
    }
  },

  async look() {
    const round = this.round;
    try {
      const offer = await call("status", { handle: this.handle });
      if (round === this.round) this.take(offer);
    } catch (error) {
      if (round === this.round) this.refuse(error);
    }
  },

  /** Goes where the ticket's status leads. Until the browser has spoken there is nothing to confirm. */
  take(offer) {
    clearTimeout(this.timer);
    switch (offer.status) {
      case "confirmed":
      case "redeemed":
        return this.show("done");
      case "cancelled":
      case "expired":
      case "failed":
        return this.end(offer.status, offer.error);
      case "bind":
        // The browser chooses an account; once it has proven one, `account` says whose it is.
        this.show("bind", { offer });
        this.timer = setTimeout(() => this.look(), 2000);
        return;
    }
    const browser = offer.browser;
    this.show(this.data.screen === "phone" ? "phone" : "confirm", {
      offer: { ...offer, since: browser ? new Date(browser.time * 1000).toLocaleTimeString() : "" },
    });
    if (!offer.site) this.timer = setTimeout(() => this.look(), 1000);
    else this.timer = setTimeout(() => this.look(), Math.max(1, offer.expires_in) * 1000 + 500);
  },

  onChoose({ currentTarget }) {
    return this.chosen(Number(currentTarget.dataset.number));
  },
  onType({ detail }) {
    this.setData({ typed: detail.value });
  },
  onTyped() {
    return this.chosen(Number(this.data.typed));
  },
  onAgree() {
    return this.chosen(undefined); // where no number is asked for
  },

  /** The number comes first. The phone button costs its owner money, so it is shown for a live ticket only. */
  async chosen(choice) {
    this.choice = choice;
    if (!["required", "optional"].includes(this.data.offer.phone)) return this.confirm({});
    this.setData({ screen: "phone", problem: null });
    return this.look();
  },

  onPhone({ detail }) {
    return this.confirm(detail.code ? { phone_code: detail.code } : { phone_errno: detail.errno });
  },
  onWithout() {
    return this.confirm({});
  },

  /** The last tap after a binding. */
  onAccept() {
    return this.confirm({ accept: true });
  },

  async confirm(answer) {
    const before = this.data.screen;
    const round = this.show("sending");
    try {
      const { outcome } = await call("confirm", { handle: this.handle, choice: this.choice, ...answer });
      if (round !== this.round) return;
      if (outcome === "bind") return this.look();
      this.show("done");
    } catch (error) {
      if (round === this.round) this.refuse(error, before);
    }
  },

  onCancel() {
    return this.decline("declined");
  },
  onNotMe() {
    return this.decline("not_me");
  },
  async decline(reason) {
    const round = this.show("sending");
    try {
      await call("cancel", { ...(this.handle ? { handle: this.handle } : { scene: this.scene }), reason });
    } catch (error) {
      if (round === this.round && error.code !== "ticket_cancelled") return this.refuse(error);
    }
    if (round === this.round) this.end(reason === "not_me" ? "reported" : "cancelled");
  },

  onAgain() {
    this.handle = undefined;
    return this.scan();
  },

  /** Some refusals leave the ticket as it was; the others end it. */
  refuse(error, before = this.data.screen) {
    const message = error.message || this.data.text[error.code] || error.code;
    const passing = PASSING.includes(error.code) || /^status_5/.test(error.code);
    const change = { problem: message, request: error.request_id || "" };
    if (error.code === "phone_required" || error.code === "phone_code_invalid") return this.show("phone", change);
    if (this.handle && (passing || error.code === "browser_absent")) {
      this.show(["phone", "bind"].includes(before) ? before : "confirm", change);
      this.timer = setTimeout(() => this.look(), 3000);
      return;
    }
    this.end(error.code === "ticket_expired" ? "expired" : "failed", error, passing || error.code === "code_invalid");
  },

  end(kind, error, canRetry = false) {
    this.show("ended", {
      problem: (error && error.message) || this.data.text[kind],
      request: (error && error.request_id) || "",
      canRetry,
    });
  },

  /** Begins a round: what is still under way belongs to the one before. */
  show(screen, change = {}) {
    clearTimeout(this.timer);
    this.round += 1;
    this.setData({ problem: null, request: "", ...change, screen });
    return this.round;
  },
});

/** Calling again may help, and is harmless. */
const PASSING = ["offline", "rate_limited", "wechat_busy", "wechat_unavailable", "store_unavailable", "not_ready"];
