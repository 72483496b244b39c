// The four calls of a login. What they answer is in Menshen's docs/mini-program.md.

const { publicUrl } = require("./config");

/** Makes one call; rejects with `{code, message?, request_id?}`. */
function call(name, data) {
  return new Promise((resolve, reject) => {
    wx.request({
      url: `${publicUrl}/.menshen/phone/${name}`,
      method: "POST",
      data,
      header: { "content-type": "application/json" },
      timeout: 15000,
      success({ statusCode, data: answer }) {
        if (statusCode >= 200 && statusCode < 300) resolve(answer || {});
        else reject((answer && answer.error) || { code: `status_${statusCode}` });
      },
      fail: () => reject({ code: "offline" }),
    });
  });
}

/** The scene of a round code (`scene`) or of a link code (`q`, the whole link); empty when opened otherwise. */
function sceneOf(options) {
  if (options.scene) return decodeURIComponent(options.scene);
  if (!options.q) return "";
  return decodeURIComponent(options.q).split(/[?#]/)[0].split("/").pop();
}

module.exports = { call, sceneOf };
