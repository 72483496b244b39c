// What is asked of WeChat, with promises.

/** The oldest base library whose phone button gives a code that the gateway can use. */
const OLDEST = "2.21.2";

/** Whether this WeChat is too old. */
function isOutdated() {
  return !wx.getAppBaseInfo || isOlder(wx.getAppBaseInfo().SDKVersion, OLDEST);
}

/** WeChat's language, such as `zh_CN`. */
function language() {
  return (wx.getAppBaseInfo && wx.getAppBaseInfo().language) || "zh_CN";
}

/** A code that says who this is, to be spent once. */
function loginCode() {
  return new Promise((resolve, reject) => {
    wx.login({
      success: ({ code }) => (code ? resolve(code) : reject({ code: "no_wechat_code" })),
      fail: () => reject({ code: "no_wechat_code" }),
    });
  });
}

/** What the camera reads; `undefined` when the person went back. */
function scanCode() {
  return new Promise((resolve) => {
    // Not from the album: a picture is how a stranger's code comes.
    wx.scanCode({ onlyFromCamera: true, scanType: ["wxCode", "qrCode"], success: resolve, fail: () => resolve() });
  });
}

/** `{needed, contract}`: whether the privacy guideline has yet to be agreed to, and its name. */
function privacy() {
  return new Promise((resolve) => {
    // WeChat before 2.32.3 asks nobody.
    if (!wx.getPrivacySetting) return resolve({ needed: false, contract: "" });
    wx.getPrivacySetting({
      success: ({ needAuthorization, privacyContractName }) =>
        resolve({ needed: needAuthorization, contract: privacyContractName || "" }),
      // WeChat's own dialog asks then, when the button is tapped.
      fail: () => resolve({ needed: false, contract: "" }),
    });
  });
}

function isOlder(version, than) {
  const [have, want] = [version || "", than].map((text) => text.split(".").map(Number));
  const place = want.findIndex((part, index) => (have[index] || 0) !== part);
  return place >= 0 && (have[place] || 0) < want[place];
}

module.exports = { isOutdated, language, loginCode, scanCode, privacy };
