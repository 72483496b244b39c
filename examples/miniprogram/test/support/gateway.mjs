// A gateway that answers as a test says. An answer is an offer, `[status, code]`, an error of wx.request, or a promise of
// one; the last answer to a call is given again and again.

export const OFFER = {
  status: "scanned",
  site: { name: "Wiki", host: "wiki.example.com" },
  browser: {
    device: { browser: "Chrome", os: "Windows", kind: "desktop", text: "Chrome · Windows" },
    place: "广东 深圳",
    same_network: false,
    time: 1795172731,
  },
  choices: [47, 12, 83],
  number_entry: "choose",
  phone: "never",
  known: true,
  connection: { display_name: "Staff" },
  expires_in: 120,
};

export class ScriptedGateway {
  constructor(offer = {}) {
    const shown = { ...OFFER, ...offer };
    this.answers = {
      scan: [{ ...shown, handle: "handle-1" }],
      status: [shown],
      confirm: [{ outcome: "confirmed" }],
      cancel: [[204]],
    };
    this.asked = [];
    this.request = (options) => this.answer(options);
  }

  /** From now on. */
  says(call, ...answers) {
    this.answers[call] = answers;
    return this;
  }

  /** The bodies of all calls of one name. */
  bodies(call) {
    return this.asked.filter(([name]) => name === call).map(([, body]) => body);
  }

  async answer({ url, data, header }) {
    const call = url.split("/").pop();
    this.asked.push([call, data, header]);
    const answers = this.answers[call];
    const answer = await (answers.length > 1 ? answers.shift() : answers[0]);
    if (answer.errMsg) throw answer;
    if (!Array.isArray(answer)) return { statusCode: 200, data: answer, header: {} };
    const [statusCode, code, headers = {}] = answer;
    const error = { code, message: `message of ${code}`, request_id: "req-1" };
    return { statusCode, data: code ? { error } : "", header: { "X-Request-Id": "req-1", ...headers } };
  }
}

export const OFFLINE = { errMsg: "request:fail net::ERR_INTERNET_DISCONNECTED" };
