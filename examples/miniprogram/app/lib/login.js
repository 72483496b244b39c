// One login as the phone lives it: what is asked of the gateway, and which screen follows.
//
// It knows no secret and decides nothing: the gateway asks WeChat who this is, and is sent two of WeChat's codes, the
// chosen number and nothing else. One thing happens at a time: what is tapped meanwhile is dropped, and so is what an
// earlier round is answered. Whatever the network does, the ticket stays where the gateway has it, and `again` goes on.

const { loginCode } = require("./wechat");

class Login {
  /**
   * @param ask   `(name, body) => Promise`: a call of the gateway's phone side
   * @param opened `{scene, entry, referrer?}`
   * @param show  is given every new view
   */
  constructor(ask, opened, show) {
    this.ask = ask;
    this.opened = opened;
    this.show = show;
    this.round = 0;
    this.awake = true;
    this.view = { screen: "opening", offer: {}, problem: null, canRepeat: false, phoneErrno: 0 };
  }

  /** Also once more, with a fresh code of WeChat's: the same person keeps the ticket, and its number. */
  scan() {
    return this.act("opening", async () => {
      Object.assign(this, { handle: undefined, chosen: false, choice: undefined, asked: false });
      const offer = await this.scanned(true);
      this.handle = offer.handle;
      return () => this.take(offer);
    });
  }

  /** The number comes first. The phone button costs its owner money, so it is shown for a ticket that is alive only. */
  choose(choice) {
    const accept = () => Object.assign(this, { chosen: true, choice });
    if (!wantsPhone(this.view.offer)) {
      accept();
      return this.confirm({});
    }
    return this.act("sending", async () => {
      const offer = await this.ask("status", { handle: this.handle });
      return () => {
        accept();
        this.take(offer);
      };
    });
  }

  /** What the phone button gave: a code, or the reason why not. */
  phoneGiven({ code, errno }) {
    if (this.view.screen !== "phone") return undefined;
    return this.confirm(code ? { phone_code: code } : { phone_errno: errno });
  }

  /** Goes on without a number, where it is optional. */
  skipPhone() {
    return this.confirm({});
  }

  /** The last tap after a binding. */
  acceptAccount() {
    return this.confirm({ accept: true });
  }

  /** `declined`, or `not_me`, which works after the confirmation too. */
  cancel(reason) {
    return this.act("sending", async () => {
      const body = this.handle ? { handle: this.handle, reason } : { scene: this.opened.scene, reason };
      try {
        await this.ask("cancel", body);
      } catch (error) {
        // It is over all the same.
        if (!["ticket_cancelled", "ticket_expired"].includes(error.code)) throw error;
      }
      return () => this.end(reason === "not_me" ? "reported" : "cancelled");
    });
  }

  /** Whatever failed for the moment, once more: with the same number, and the same code of the phone button. */
  again() {
    return this.repeat ? this.repeat() : this.scan();
  }

  /** The page is not seen: WeChat would interrupt what is asked now. */
  sleep() {
    this.awake = false;
    clearTimeout(this.timer);
  }

  /** It is seen again. The person may have gone on elsewhere meanwhile, or come back too late. */
  wake() {
    this.awake = true;
    if (this.busy) return undefined;
    if (this.view.canRepeat && NETWORK.includes(this.view.problem.code)) return this.again();
    return LIVE.includes(this.view.screen) ? this.look() : undefined;
  }

  /** For good: nothing that is still under way will be shown. */
  leave() {
    this.sleep();
    this.round += 1;
    this.show = () => {};
  }

  async scanned(mayRepeat) {
    const { scene, ...signals } = this.opened;
    const code = await loginCode(); // good once, so every scan has its own
    try {
      return await this.ask("scan", { scene, code, ...signals });
    } catch (error) {
      if (error.code === "code_invalid" && mayRepeat) return this.scanned(false);
      throw error;
    }
  }

  confirm(answer) {
    this.phoneErrno = answer.phone_errno || 0;
    return this.act("sending", async () => {
      const outcome = await this.ask("confirm", { handle: this.handle, choice: this.choice, ...answer });
      if (outcome.outcome !== "bind") return () => this.end("success", { note: outcome.phone_note });
      const offer = await this.ask("status", { handle: this.handle });
      return () => this.take(offer);
    });
  }

  /** Does something that the person asked for. `deed` says what follows if nothing has come between. */
  async act(screen, deed) {
    if (this.busy) return;
    const round = this.begin();
    this.busy = true;
    if (LIVE.includes(this.view.screen) || this.view.screen === "ended") this.back = this.view.screen;
    this.repeat = () => this.act(screen, deed);
    this.keepsProblem = false;
    this.set({ screen, problem: null, canRepeat: false });
    const [follow, error] = await settled(deed());
    if (round !== this.round) return;
    this.busy = false;
    if (error) this.refuse(error);
    else follow();
  }

  /** Asks where the ticket stands, if nobody is asking. */
  async look() {
    if (!this.handle || this.busy || this.looking === this.round) return;
    const round = this.round;
    this.looking = round;
    const [offer, error] = await settled(this.ask("status", { handle: this.handle }));
    if (this.looking === round) this.looking = undefined;
    if (round !== this.round) return;
    if (!error) this.take(offer);
    else if (!isPassing(error)) this.refuse(error);
    else if (Date.now() > this.deadline) this.end("expired");
    else {
      if (!this.keepsProblem) this.set({ problem: error });
      this.lookIn(wait(error));
    }
  }

  /** Goes where the ticket's status leads. Until the browser has spoken there is nothing to confirm. */
  take(offer) {
    this.begin();
    this.deadline = Date.now() + offer.expires_in * 1000;
    const { status } = offer;
    if (["cancelled", "expired", "failed"].includes(status)) return this.end(status, { problem: offer.error });
    if (["confirmed", "redeemed"].includes(status)) return this.end("success", { offer });
    const screen = status === "bind" ? "bind" : this.chosen && wantsPhone(offer) ? "phone" : "confirm";
    const stays = screen === this.view.screen && this.keepsProblem;
    this.set({ offer, screen, ...(stays ? {} : { problem: null, canRepeat: false, phoneErrno: 0 }) });
    // Within the gateway's `phone_calls_per_person`, half a minute of which may be spent on other things.
    this.unanswered = offer.site ? 0 : (this.unanswered || 0) + 1;
    const pause = offer.site ? PAUSE[screen] : SECOND * Math.min(this.unanswered, 3);
    this.lookIn(Math.max(SECOND, Math.min(this.deadline - Date.now() + 500, pause)));
  }

  /** Some refusals leave the ticket as it was; the others end it. */
  refuse(error) {
    const { code } = error;
    const passing = isPassing(error);
    if (code === "ticket_expired") return this.end("expired");
    if (code === "ticket_cancelled") return this.end("cancelled");
    if (!this.handle) return this.end("failed", { problem: error, canRepeat: passing || code === "code_invalid" });
    if (code === "phone_required" || code === "phone_code_invalid") {
      return this.stay("phone", { problem: error, phoneErrno: this.phoneErrno });
    }
    if (passing) return this.stay(this.back || "confirm", { problem: error, canRepeat: true });
    if (code === "browser_absent") return this.stay(this.back === "bind" ? "bind" : "confirm", { problem: error });
    // Somebody was quicker, perhaps this very phone: where it stands now says more.
    if (code === "wrong_state" && !this.asked) {
      this.asked = true;
      return this.look();
    }
    return this.end("failed", { problem: error });
  }

  /** What a tap has run into stays on the screen until the next one, whatever is heard meanwhile. */
  stay(screen, change) {
    this.begin();
    this.keepsProblem = change.problem.code !== "browser_absent";
    this.set({ canRepeat: false, phoneErrno: 0, ...change, screen });
    if (LIVE.includes(screen)) this.lookIn(wait(change.problem));
  }

  end(kind, change = {}) {
    this.begin();
    clearTimeout(this.timer);
    this.busy = false;
    const { offer } = this.view;
    this.set({ offer, problem: null, canRepeat: false, note: undefined, ...change, screen: "ended", kind });
  }

  /** What is still under way belongs to the round before. */
  begin() {
    clearTimeout(this.timer);
    this.round += 1;
    return this.round;
  }

  lookIn(milliseconds) {
    clearTimeout(this.timer);
    if (this.awake) this.timer = setTimeout(() => this.look(), Math.max(0, milliseconds));
  }

  set(change) {
    this.view = { ...this.view, ...change };
    this.show({ ...this.view, until: this.deadline });
  }
}

/** Whether the person is asked for the phone number, once what is asked for is to be seen. */
function wantsPhone({ site, phone }) {
  return Boolean(site) && ["required", "optional"].includes(phone);
}

/** Whether trying again may help, and is harmless. */
function isPassing({ code }) {
  return NETWORK.includes(code) || PASSING.includes(code);
}

function wait(error) {
  return (error.retryAfter || 3) * SECOND;
}

async function settled(promise) {
  try {
    return [await promise, undefined];
  } catch (error) {
    if (!error || !error.code) console.error(error);
    return [undefined, error && error.code ? error : { code: "failed" }];
  }
}

/** Screens that a ticket can end behind. */
const LIVE = ["confirm", "phone", "bind"];
const NETWORK = ["offline", "timeout", "no_wechat_code"];
const PASSING = [
  "rate_limited",
  "wechat_busy",
  "wechat_unavailable",
  "store_unavailable",
  "not_ready",
  "upstream_unavailable",
  "upstream_timeout",
  "no_gateway",
];
const SECOND = 1000;
/** Between two looks: the browser's choice of an account is waited for; otherwise it may be told of an end. */
const PAUSE = { confirm: 10 * SECOND, phone: 5 * SECOND, bind: 3 * SECOND };

module.exports = { Login };
