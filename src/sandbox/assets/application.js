// A sample application on this phone. It shows its number, opens the mini program, and asks how the login is: by itself,
// and at once when it is seen again or the mini program leads back to it.

const TEXTS = {
  zh: {
    title: "示例应用",
    lead: "这个应用没有浏览器登录：它在本手机上打开微信小程序来登录。",
    begin: "用微信登录",
    number: "请记住这个数字，微信中会用到。",
    open: "打开微信",
    waiting: "正在等待微信确认…",
    done: (name) => `已登录：${name}`,
    refresh: "更新令牌",
    again: "重新登录",
    failed: "没有登录成功",
    offline: "连不上模拟服务器。",
  },
  en: {
    title: "Sample application",
    lead: "This application has no browser: it signs in by opening the mini program on this phone.",
    begin: "Sign in with WeChat",
    number: "Remember this number: WeChat will ask for it.",
    open: "Open WeChat",
    waiting: "Waiting for your confirmation in WeChat…",
    done: (name) => `Signed in: ${name}`,
    refresh: "Refresh the token",
    again: "Sign in again",
    failed: "Not signed in",
    offline: "The sandbox server cannot be reached.",
  },
};

const text = TEXTS[document.documentElement.lang.startsWith("zh") ? "zh" : "en"];
const byId = (id) => document.getElementById(id);
let login = null;
let timer = 0;
let asking = false; // tokens come once: the answer to a second question would say that they are gone

function show({ title = text.title, lead, number = "", phone = "", act = null, facts = null }) {
  byId("title").textContent = title;
  byId("lead").textContent = lead;
  byId("number").textContent = number;
  byId("number").hidden = !number;
  byId("open").textContent = text.open;
  byId("open").hidden = !phone;
  if (phone) byId("open").href = phone;
  byId("act").hidden = !act;
  if (act) [byId("act").textContent, byId("act").onclick] = act;
  byId("facts").hidden = !facts;
  byId("facts").textContent = facts ? JSON.stringify(facts, null, 2) : "";
}

async function ask(name, body) {
  try {
    const answer = await fetch(`/application/api/${name}`, {
      method: "POST",
      headers: { "content-type": "application/json", "accept-language": document.documentElement.lang },
      body: JSON.stringify(body),
      cache: "no-store",
    });
    return { status: answer.status, body: await answer.json().catch(() => ({})) };
  } catch {
    return { status: 599, body: { error: { message: text.offline } } };
  }
}

const fail = ({ body }) =>
  show({ title: text.failed, lead: body.error?.message ?? "", act: [text.again, begin], facts: body.error ?? null });

async function begin() {
  const answer = await ask("begin", { connection: document.body.dataset.connection });
  if (answer.status !== 200) return fail(answer);
  login = answer.body.login;
  const { number, phone, launch } = answer.body;
  show({ lead: number ? text.number : text.waiting, number: number ?? "", phone, facts: launch });
  poll();
}

async function poll() {
  if (asking) return;
  clearTimeout(timer);
  asking = true;
  const answer = await ask("poll", { login });
  asking = false;
  if (answer.status === 202) {
    timer = setTimeout(poll, 1500);
    return;
  }
  timer = 0;
  if (answer.status !== 200) return fail(answer);
  signedIn(answer.body);
}

function signedIn(answer) {
  const { userinfo } = answer;
  const name = userinfo?.name ?? userinfo?.preferred_username ?? userinfo?.sub ?? "?";
  show({ lead: text.done(name), act: [text.refresh, refresh], facts: answer });
}

async function refresh() {
  const answer = await ask("refresh", { login });
  if (answer.status === 200) signedIn(answer.body);
  else fail(answer);
}

document.addEventListener("visibilitychange", () => !document.hidden && timer && poll());
// What `launchApp` gives back names the ticket and is worth nothing else: a reason to ask at once.
new BroadcastChannel("sandbox-application").onmessage = () => timer && poll();

show({ lead: text.lead, act: [text.begin, begin] });
