// The end of a login in a window of its own: tells the page that opened it, at the one origin that may know, and closes.
(() => {
  "use strict";

  const { origin } = JSON.parse(document.getElementById("menshen").textContent);
  // Cut off by a page on the way (Cross-Origin-Opener-Policy), or opened by hand: the words on the page say the rest.
  if (!window.opener) return;
  window.opener.postMessage({ type: "menshen:login", status: "done" }, origin);
  window.close();
})();
