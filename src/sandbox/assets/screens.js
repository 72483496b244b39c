// What each screen of the simulated phone shows. Drawing changes nothing but the page.

import { avatar, icon, make } from "/phone/assets/elements.js";

const byId = (id) => document.getElementById(id);
let drawn = "";

/// Draws the whole phone. Focus moves to the screen only when it is another one.
export function draw(phone, actions) {
  const text = actions.text();
  document.documentElement.lang = phone.language;
  document.title = text.document_title;
  byId("ribbon").textContent = text.ribbon;
  byId("footnote").textContent = text.footnote;
  const language = byId("language");
  language.textContent = text.other_language;
  language.onclick = actions.switchLanguage;
  const home = phone.screen === "loading" || phone.screen === "code";
  const back = byId("back");
  back.replaceChildren(icon("back"));
  back.setAttribute("aria-label", text.back);
  back.hidden = home;
  back.onclick = phone.screen === "people" || phone.screen === "ended" ? actions.again : actions.leave;
  const close = byId("close");
  close.setAttribute("aria-label", text.close);
  close.onclick = actions.again;
  close.disabled = home;
  byId("title").textContent = title(phone, actions, text);
  about(phone, actions, text);

  const screen = byId("screen");
  screen.className = `screen-${phone.screen}`;
  screen.replaceChildren(...SCREENS[phone.screen](phone, actions, text).filter(Boolean));
  draw.tick(phone, actions);
  if (phone.screen !== drawn) {
    drawn = phone.screen;
    screen.scrollTop = 0;
    if (drawn !== "loading") screen.focus({ preventScroll: true });
  }
  byId("live").textContent = phone.notice?.message ?? screen.querySelector("h2")?.textContent ?? "";
}

/// What changes with every second.
draw.tick = (phone, actions) => {
  const text = actions.text();
  byId("clock").textContent = new Date().toLocaleTimeString(phone.language, {
    hour: "2-digit",
    minute: "2-digit",
    hour12: false,
  });
  const expires = byId("expires");
  if (expires && phone.deadline) {
    const left = actions.remaining();
    expires.textContent = text.expires(`${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`);
  }
};

const SCREENS = {
  loading: (_, __, text) => [make("div.centre", make("span.spinner"), make("h2.quiet", text.loading))],

  code: (phone, actions, text) => {
    const field = make("textarea", {
      id: "address",
      rows: 3,
      placeholder: text.code_placeholder,
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
    });
    const file = make("input.unseen", {
      type: "file",
      accept: "image/*",
      id: "file",
      onchange: () => file.files[0] && actions.read(file.files[0]),
    });
    const open = (event) => (event.preventDefault(), actions.open(field.value));
    return [
      make("div.viewfinder", icon("camera"), make("i.beam", { "aria-hidden": "true" })),
      make("h2", text.code_lead),
      make("p.lead", text.code_hint),
      make("label.button.plain", { for: "file" }, text.code_picture),
      file,
      make("p.rule", make("span", text.code_or)),
      make(
        "form",
        { onsubmit: open },
        make("label", { for: "address" }, text.code_label),
        field,
        notice(phone, text),
        make("button.primary", { type: "submit" }, text.code_open),
      ),
      make("p.hint", make("a", { href: `/application?lang=${phone.language}` }, text.try_app)),
    ];
  },

  people: (phone, actions, text) => [
    make("h2", text.people_title),
    make("p.lead", text.people_lead),
    notice(phone, text),
    make(
      "ul.people",
      phone.world.personas.map((persona) => {
        const name = actions.name(persona.name);
        const badge = persona.high_risk
          ? make("span.badge.risk", text.risk)
          : persona.phone_errno
            ? make("span.badge", text.quota)
            : null;
        return make(
          "li",
          make(
            "button",
            { type: "button", onclick: () => actions.choosePersona(persona) },
            avatar(name, hue(phone, persona)),
            make("span.who", make("b", name), make("small", persona.masked_phone)),
            badge,
          ),
        );
      }),
    ),
    !phone.code?.entry && make(
      "label.how",
      { for: "how" },
      text.how,
      make(
        "select",
        { id: "how", onchange: (event) => actions.setOpened(event.target.value) },
        ["camera", "press", "album", "card"].map((value) =>
          make("option", { value, selected: phone.opened === value }, text[`how_${value}`]),
        ),
      ),
    ),
  ],

  opening: (phone, actions, text) => [
    make(
      "div.centre",
      logo(phone, actions),
      make("span.spinner"),
      make("h2.quiet", text.opening),
      make("p.lead", text.opening_text),
    ),
  ],

  confirm: (phone, actions, text) => {
    const { site, browser, choices, warning } = phone.offer;
    if (!site) {
      return [
        make(
          "div.centre",
          logo(phone, actions),
          make("span.spinner"),
          make("h2.quiet", text.waiting_title),
          make("p.lead", text.waiting_text),
          notice(phone, text),
        ),
        ways(actions, text),
      ];
    }
    return [
      heading(phone, actions, text, site),
      phone.offer.purpose?.text && make("p.warning", { role: "note" }, icon("warning"), phone.offer.purpose.text),
      warning && make("p.warning", { role: "alert" }, icon("warning"), text[`${warning}_warning`] ?? text.unusual_warning),
      facts(phone, browser, text),
      notice(phone, text),
      Array.isArray(choices) && choices.length
        ? numbers(choices, actions, isHere(browser) ? { ...text, question: text.question_here } : text)
        : typed(actions, text),
      ways(actions, text),
    ];
  },

  sending: (phone, actions, text) => [
    make("div.centre", logo(phone, actions), make("span.spinner"), make("h2.quiet", text.sending)),
  ],

  phone: (phone, actions, text) => {
    const site = phone.offer.site?.name ?? "";
    return [
      make(
        "div.phonestep",
        make("span.medallion", icon("phone")),
        make("h2", text.phone_title),
        make("p.lead", (phone.offer.phone === "optional" ? text.phone_optional : text.phone_required)(site)),
        notice(phone, text),
      ),
      make(
        "div.sheet",
        { role: "dialog", "aria-label": text.phone_title },
        make(
          "button.shut",
          { type: "button", "aria-label": text.phone_close, onclick: actions.dismiss },
          icon("cross"),
        ),
        make("p.asks", text.phone_sheet(connection(phone, actions))),
        make("div.number", make("b", phone.persona.masked_phone), make("small", text.phone_bound)),
        make(
          "div.pair",
          make("button.plain", { type: "button", onclick: actions.deny }, text.deny),
          make("button.primary", { type: "button", onclick: actions.allow }, text.allow),
        ),
      ),
    ];
  },

  bind: (phone, actions, text) => {
    const { account } = phone.offer;
    return [
      make(
        "div.centre",
        make("span.medallion", icon("browser")),
        make("h2", account ? text.bind_check : text.bind_title),
        make("p.lead", phone.offer.purpose ? text.connect_check_text : account ? text.bind_check_text : text.bind_text),
        notice(phone, text),
        account && make("div.number", make("b", account.name), make("small", text.bind_account)),
      ),
      account && make(
        "button.primary",
        { type: "button", onclick: actions.accept },
        phone.offer.purpose ? text.connect_accept : text.bind_accept,
      ),
      ways(actions, text),
    ];
  },

  done: (phone, actions, text) => [
    make(
      "div.centre",
      make("span.medallion.good", icon("check")),
      make("h2", phone.offer?.purpose ? text.connect_done : text.done_title),
      make("p.lead", (isHere(phone.offer?.browser) ? text.done_here : text.done_text)(actions.name(phone.persona.name))),
      phone.offer?.site && make("p.where", make("b", phone.offer.site.name), make("small", phone.offer.site.host)),
    ),
    make(
      "div.ways",
      phone.offer?.app_parameter &&
        make("button.primary", { type: "button", onclick: actions.backToApplication }, text.back_to_app),
      make("button.danger", { type: "button", onclick: () => actions.cancel("not_me") }, text.done_not_me),
    ),
  ],

  ended: (phone, actions, text) => {
    const { kind, error } = phone.ended;
    const picture = { cancelled: "cross", reported: "shield", expired: "clock", failed: "warning" }[kind];
    return [
      make(
        "div.centre",
        make(`span.medallion.${kind}`, icon(picture)),
        make("h2", text[`ended_${kind}`]),
        make("p.lead", error?.message ?? text[`ended_${kind}_text`] ?? ""),
        trace(error, text),
      ),
      make("button.primary", { type: "button", onclick: actions.again }, text.again),
    ];
  },
};

/// Whether what asks is on this very phone, where WeChat covers it.
function isHere(browser) {
  return ["phone", "tablet", "application"].includes(browser?.device?.kind);
}

function title(phone, actions, text) {
  if (phone.screen === "loading" || phone.screen === "code") return text.code_title;
  return connection(phone, actions);
}

function connection(phone, actions) {
  return phone.offer?.connection?.display_name ?? actions.name(actions.app().name);
}

function hue(phone, persona) {
  return phone.world.personas.indexOf(persona) % 6;
}

function logo(phone, actions) {
  const address = phone.offer?.connection?.logo_url;
  const source = address && phone.world.gateway ? new URL(address, phone.world.gateway).href : "/phone/assets/icon.svg";
  return make("img.logo", {
    src: source,
    alt: "",
    onerror: (event) =>
      event.target.getAttribute("src") !== "/phone/assets/icon.svg" &&
      event.target.setAttribute("src", "/phone/assets/icon.svg"),
  });
}

function heading(phone, actions, text, site) {
  const { purpose, account } = phone.offer;
  return make(
    "div.site",
    logo(phone, actions),
    make("p", purpose ? text.connect : text.signin),
    make("h2", purpose && account ? account.name : site.name),
    make("p.host", site.host),
    make(
      "span.as",
      avatar(actions.name(phone.persona.name), hue(phone, phone.persona)),
      actions.name(phone.persona.name),
    ),
  );
}

function facts(phone, browser, text) {
  const when = browser?.time ? new Date(browser.time * 1000) : null;
  const age = when ? Math.max(0, Math.round((phone.receivedAt - when) / 1000)) : 0;
  const ago = age < 5 ? text.just_now : age < 60 ? text.seconds_ago(age) : text.minutes_ago(Math.round(age / 60));
  const device = browser?.device?.text ?? [browser?.device?.browser, browser?.device?.os].filter(Boolean).join(" · ");
  return make(
    "dl.facts",
    fact("browser", text.device, device || text.place_unknown),
    fact(
      "place",
      text.place,
      browser?.same_network
        ? make("span.badge.near", browser.place || text.same_network)
        : browser?.place || text.place_unknown,
    ),
    when && fact("clock", text.time, when.toLocaleTimeString(phone.language, { hour12: false }), make("span.ago", ago)),
  );
}

function fact(picture, name, value, extra) {
  return make("div", icon(picture), make("dt", name), make("dd", value, " ", extra));
}

function numbers(choices, actions, text) {
  return make(
    "section.question",
    make("h3", text.question),
    make(
      "div.numbers",
      choices.map((number) =>
        make(
          "button",
          { type: "button", "aria-label": [...String(number)].join(" "), onclick: () => actions.choose(number) },
          number,
        ),
      ),
    ),
    make("p.hint", text.question_hint),
  );
}

function typed(actions, text) {
  const field = make("input", {
    id: "typed",
    inputmode: "numeric",
    pattern: "[0-9]{2}",
    maxlength: 2,
    required: true,
    autocomplete: "off",
    "aria-label": text.typed_label,
  });
  const go = (event) => (event.preventDefault(), /^\d\d$/.test(field.value) && actions.choose(Number(field.value)));
  return make(
    "section.question",
    make("h3", text.question_typed),
    make("form.typed", { onsubmit: go }, field, make("button.primary", { type: "submit" }, text.typed_go)),
    make("p.hint", text.question_hint),
  );
}

function ways(actions, text) {
  return make(
    "div.ways",
    make("button.plain", { type: "button", onclick: () => actions.cancel("declined") }, text.cancel),
    make("button.danger", { type: "button", onclick: () => actions.cancel("not_me") }, text.not_me),
    make("p.expires", { id: "expires" }),
  );
}

function notice(phone, text) {
  if (!phone.notice) return null;
  return make(
    `div.notice${phone.notice.calm ? ".calm" : ""}`,
    make("p", phone.notice.message ?? phone.notice.code),
    trace(phone.notice, text),
  );
}

function trace(error, text) {
  if (!error?.code) return null;
  return make(
    "p.trace",
    make("code", error.code),
    error.request_id && [` ${text.request} `, make("code", error.request_id)],
  );
}

function about(phone, actions, text) {
  const code = phone.code;
  const line = (name, value) => value && [make("dt", name), make("dd", value)];
  byId("about").replaceChildren(
    make("img", { src: "/phone/assets/icon.svg", alt: "", width: 56, height: 56 }),
    make("h1", text.about_title),
    make("p", text.about_text),
    make(
      "dl",
      line(text.about_gateway, phone.world?.gateway),
      code && [
        line(text.about_app, code.appid),
        line(text.about_page, code.page),
        line(text.about_version, code.env),
        line(text.about_entry, String(actions.entry())),
        line(text.about_scene, code.scene),
      ],
    ),
  );
}
