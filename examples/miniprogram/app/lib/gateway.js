// The calls of the phone's side. What they answer is in Menshen's docs/http-api.md.

const config = require("../config");

/** The gateways that this version of the mini program may ask. */
function gateways() {
  const { envVersion } = wx.getAccountInfoSync().miniProgram;
  const tested = envVersion && envVersion !== "release" && config.testGateways.length > 0;
  return tested ? config.testGateways : config.gateways;
}

/** Makes one call. Rejects with `{code, message?, request?, retryAfter?}`: the gateway's code, or one of the last four below. */
function call(gateway, name, data, language) {
  return new Promise((resolve, reject) => {
    wx.request({
      url: `${gateway}/.menshen/phone/${name}`,
      method: "POST",
      data,
      header: { "content-type": "application/json", "accept-language": language },
      // Longer than the gateway waits for WeChat.
      timeout: 20000,
      success: (answer) => (isAnswer(answer) ? resolve(answer.data || {}) : reject(refusal(answer))),
      fail: (error) => reject({ code: failure(error) }),
    });
  });
}

// Every HTTP status is a success to WeChat, also that of a hotel's own login page.
function isAnswer({ statusCode, data }) {
  return statusCode === 204 || (statusCode === 200 && data !== null && typeof data === "object");
}

function refusal({ statusCode, data, header }) {
  const error = (data && data.error) || {};
  return {
    code: error.code || (statusCode === 429 ? "rate_limited" : "no_gateway"),
    message: error.message,
    request: error.request_id || named(header, "x-request-id"),
    retryAfter: Number(named(header, "retry-after")) || undefined,
  };
}

function failure({ errMsg = "", errno }) {
  if (errno === 600002 || /domain list/.test(errMsg)) return "domain_not_listed";
  return errno === 5 || /timeout/.test(errMsg) ? "timeout" : "offline";
}

function named(header, name) {
  const found = Object.keys(header || {}).find((key) => key.toLowerCase() === name);
  return found && header[found];
}

module.exports = { call, gateways };
