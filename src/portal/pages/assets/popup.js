// The end of a login in a window of its own: tells the page that opened it, at the one origin that may know, and closes
// when that page has heard it.
(() => {
  "use strict";

  const { origin } = JSON.parse(document.getElementById("menshen").textContent);
  const { opener } = window;
  // Cut off by a page on the way (Cross-Origin-Opener-Policy), or opened by hand: the words on the page say the rest.
  if (!opener) return;
  addEventListener("message", ({ origin: from, source, data }) => {
    const heard = data && data.type === "menshen:login" && data.status === "heard";
    if (from === origin && source === opener && heard) window.close();
  });
  opener.postMessage({ type: "menshen:login", status: "done" }, origin);
})();
