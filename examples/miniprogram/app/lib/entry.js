// How the page was opened, and with which code. WeChat hands the values over as they stand in the link, so each of them is
// decoded once. Its JavaScript has no URL and no URLSearchParams.

/**
 * The scene in the page's options, and the gateway that it belongs to: `{scene, gateway, half?}`. `half` is what a link or
 * an application carried beside the scene, for the gateway only. `{}` without a code, `{foreign: true}` for one that is
 * not of these gateways.
 */
function codeIn(options, gateways) {
  const { scene, half, q, cq } = options || {};
  if (scene) return { ...known(decoded(scene), gateways[0]), ...(half ? { half: decoded(half) } : {}) };
  if (q) return ofLink(decoded(q), gateways);
  // What was appended to a URL link or scheme. WeChat hands its pairs over like those of the link's own query, which is the
  // case above; should it come as one value, it is taken apart here.
  if (cq) {
    const query = decoded(cq);
    return codeIn({ scene: pair(query, "scene") || query, half: pair(query, "half") }, gateways);
  }
  return {};
}

/** The same of what wx.scanCode read: the path of this mini program's own round code, or an ordinary link. */
function codeScanned({ path, result }, page, gateways) {
  if (path) {
    const [opened, query] = path.split("?");
    return opened.replace(/^\//, "") === page
      ? codeIn({ scene: pair(query || "", "scene") }, gateways)
      : { foreign: true };
  }
  return ofLink(result || "", gateways);
}

/**
 * How WeChat came here, as the gateway wants to know it: a signal, not a proof. A code that was scanned inside the mini
 * program came through the camera, however the mini program itself was opened.
 */
function circumstances(scannedHere) {
  if (scannedHere) return { entry: CAMERA };
  const { scene: entry, referrerInfo } = wx.getEnterOptionsSync();
  const referrer = referrerInfo && referrerInfo.appId;
  return referrer ? { entry, referrer } : { entry };
}

/** Whether the application that opened the mini program can be gone back to. */
function openedByApplication() {
  return wx.getEnterOptionsSync().scene === FROM_APPLICATION;
}

function ofLink(link, gateways) {
  const gateway = gateways.find((origin) => link.startsWith(`${origin}/`));
  if (!gateway) return { foreign: true };
  const path = link.slice(gateway.length).split(/[?#]/)[0];
  return known(path.split("/").filter(Boolean).pop(), gateway);
}

function known(scene = "", gateway) {
  return SCENE.test(scene) ? { scene, gateway } : { foreign: true };
}

function pair(query, name) {
  const found = query.split("&").find((part) => part.startsWith(`${name}=`));
  return found ? found.slice(name.length + 1) : "";
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    return "";
  }
}

/** What WeChat lets a scene be made of, at most 32 characters long. */
const SCENE = /^[0-9A-Za-z!#$&'()*+,/:;=?@\-._~]{1,32}$/;
/** Launch scene: a round code through the camera. */
const CAMERA = 1047;
/** Launch scene: an application, by WeChat's SDK. */
const FROM_APPLICATION = 1069;

module.exports = { codeIn, codeScanned, circumstances, openedByApplication };
