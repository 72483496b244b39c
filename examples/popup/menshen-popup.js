// Opens Menshen's login in a window of its own. Resolves to true when somebody has signed in, to false when the window
// was closed before. Call it from a click: browsers block windows that nobody asked for.
//
//   import { signIn } from "./menshen-popup.js";
//   button.onclick = async () => (await signIn("https://wiki.example.com")) && location.reload();
//
// The message says that it is done, not who it is: ask `/.menshen/userinfo`, or just go on with your calls.

export function signIn(gateway) {
  const { origin } = new URL(gateway);
  const address = `${origin}/.menshen/login?popup=${encodeURIComponent(location.origin)}`;
  // Without `noopener`, and from a page that does not hide where it is (`Referrer-Policy: no-referrer`): the window has to
  // know who opened it.
  const popup = open(address, "menshen-login", "popup,width=460,height=720");
  if (!popup) return Promise.reject(new Error("the browser blocked the window"));
  return new Promise((resolve) => {
    const end = (signedIn) => {
      removeEventListener("message", hear);
      clearInterval(watch);
      resolve(signedIn);
    };
    const hear = ({ origin: from, source, data }) => {
      const ours = from === origin && source === popup;
      if (!ours || data?.type !== "menshen:login" || data.status !== "done") return;
      // The window closes when it knows that this page has heard it.
      popup.postMessage({ type: "menshen:login", status: "heard" }, origin);
      end(true);
    };
    addEventListener("message", hear);
    // A word that is under way is heard first.
    const watch = setInterval(() => popup.closed && setTimeout(end, 500, false), 500);
  });
}
