//! The login page: the code, the way there and what the script needs to know.

use std::collections::BTreeMap;

use askama::Template;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::config::settings::{BindMethod, NumberEntry};
use crate::portal::code::Code;
use crate::portal::texts::chat::{chat, chat_words};
use crate::portal::texts::connect::connect;
use crate::portal::texts::missed::missed;
use crate::portal::texts::{PageTexts, ProblemText, ScriptTexts, Slot, Texts, fill, frame_detail, frame_title};

use super::bind::BindForms;
use super::connecting::{Connecting, ConnectingWords, connect_problem, connect_words};
use super::words::said_otherwise;
use super::{Shell, assets, finish};

/// The login page, as the answer to a navigation without a session or at `/.menshen/login`.
#[derive(Debug, Clone, Copy)]
pub struct LoginPage<'a> {
    /// Language, branding, site.
    pub shell: Shell<'a>,
    /// The site's connections in their order; a single one shows no tabs.
    pub tabs: &'a [Tab<'a>],
    /// Id of the tab that is open.
    pub connection: &'a str,
    /// How this connection logs in.
    pub way: Way<'a>,
    /// Where to go after the login, as the ticket has it: a path of this host or an allowed absolute URL.
    pub rd: &'a str,
    /// The ticket's cookie knows `rd` only by its hash: the page must send it back when it redeems.
    pub hand_back_rd: bool,
    /// How the phone is asked for the number; `None` without number matching. Chooses the words, nothing else.
    pub number_entry: Option<NumberEntry>,
    /// Shown inside WeChat's own browser, where a code is pressed, not scanned.
    pub in_wechat: bool,
    /// A phone or tablet, which cannot scan its own screen.
    pub mobile: bool,
    /// `switch=true`: somebody is signed in and another person wants to be; an existing session is then no news.
    pub switching: bool,
    /// The sandbox's phone for this ticket, if there is one. A ticket id in it is replaced when the code is renewed.
    pub simulated_phone_url: Option<&'a str>,
    /// Who scans is told by a service account in the chat, instead of a mini program that opens.
    pub by_message: bool,
    /// It connects a further WeChat account instead of logging in.
    pub connecting: Option<Connecting<'a>>,
    /// Name of the connection that was wanted, and gives no code at the moment.
    pub missed: Option<&'a str>,
}

/// One connection in the row of tabs.
#[derive(Debug, Clone, Copy)]
pub struct Tab<'a> {
    /// Connection id.
    pub id: &'a str,
    /// What people read.
    pub display_name: &'a str,
    /// Login page with this connection: `/.menshen/login?connection=…&rd=…`.
    pub url: &'a str,
    /// Proofs for binding an existing account, in the order of the page; empty unless the association is `ask`.
    pub bind_methods: &'a [BindMethod],
    /// A new user may be made (not `login_only`).
    pub may_create: bool,
}

/// How the open connection logs in.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// A code on the page (`miniprogram-qr`, `official-account-qr`).
    Code(TicketView<'a>),
    /// WeChat's page in a frame (`website-qr` with `embedded`).
    Frame {
        /// Address of the frame.
        src: &'a str,
        /// `/.menshen/connections/ID/start?rd=…`: the same page, whole.
        start_url: &'a str,
        /// This page anew, before what the frame carries has run out.
        renew_url: &'a str,
    },
    /// A page of WeChat's that a button leads to (`website-qr`, `official-account-web`).
    Start {
        /// `/.menshen/connections/ID/start?rd=…`
        url: &'a str,
    },
}

/// A fresh ticket. Its other addresses follow from the id.
#[derive(Debug, Clone, Copy)]
pub struct TicketView<'a> {
    /// Ticket id, 32 characters of base64url.
    pub id: &'a str,
    /// Seconds until it ends.
    pub expires_in: u64,
    /// The picture of the code: a `data:` URI (the first paint has it) or `/.menshen/tickets/ID/qr`.
    pub qr: &'a str,
    /// Opens WeChat on this phone.
    pub open_url: Option<&'a str>,
    /// The number, 10 to 99, when it must be read before WeChat covers the page.
    pub number: Option<u8>,
}

impl LoginPage<'_> {
    /// The HTML document.
    pub fn render(&self) -> String {
        let texts = self.shell.texts();
        let site = self.shell.site.map_or(self.shell.title, |site| site.name);
        let ticket = self.ticket();
        let (headline, detail) = self.words(texts);
        let number = ticket.and_then(|ticket| ticket.number);
        let connecting = self.connecting.map(|own| own.words(self.shell.locale));
        finish(&LoginTemplate {
            shell: self.shell,
            texts: &texts.page,
            heading: connecting
                .as_ref()
                .map_or_else(|| heading(&self.shell), |words| words.texts.title.to_owned()),
            tabs: self.tabs,
            connection: self.connection,
            way_name: self.way_name(),
            ticket,
            start_url: match self.way {
                Way::Code(_) => None,
                Way::Frame { start_url: url, .. } | Way::Start { url } => Some(url),
            },
            frame: match self.way {
                Way::Frame { src, renew_url, .. } => Some(Frame {
                    src,
                    renew_url,
                    title: frame_title(self.shell.locale),
                    detail: frame_detail(self.shell.locale),
                }),
                Way::Code(_) | Way::Start { .. } => None,
            },
            plain_url: ticket.map(|ticket| page_url(ticket.id, self.hand_back_rd.then_some(self.rd))),
            forms: self.forms(texts),
            script: assets::script_url(self.shell.locale),
            code_alt: connecting.as_ref().map_or_else(
                || fill(texts.page.code_alt, &[Slot::Site(site)]),
                |words| words.texts.code_alt.to_owned(),
            ),
            number_label: number.map_or_else(String::new, |n| fill(texts.script.number_label, &[Slot::Number(n)])),
            headline,
            detail,
            time_left: ticket.map_or_else(String::new, |t| {
                fill(texts.script.time_left, &[Slot::Time(t.expires_in)])
            }),
            steps: connecting.as_ref().map_or_else(
                || steps(&self.shell, self.way_name(), self.by_message, self.number_entry),
                |words| words.steps(texts, self.number_entry),
            ),
            connecting,
            simulated_phone_url: self.simulated_phone_url,
            config: ticket.map_or_else(String::new, |ticket| self.config(texts, ticket)),
            missed: self.missed.map(|name| missed(self.shell.locale, name)),
        })
    }

    fn tab(&self) -> Option<&Tab<'_>> {
        self.tabs.iter().find(|tab| tab.id == self.connection)
    }

    fn forms(&self, texts: &'static Texts) -> Option<BindForms<'_>> {
        let tab = self.tab()?;
        let action = format!("{}/bind", ticket_url(self.ticket()?.id));
        let asks = !tab.bind_methods.is_empty();
        let Tab {
            bind_methods: methods,
            may_create,
            ..
        } = *tab;
        asks.then(|| BindForms::new(texts, methods, may_create, action))
    }

    fn ticket(&self) -> Option<TicketView<'_>> {
        match self.way {
            Way::Code(ticket) => Some(ticket),
            Way::Frame { .. } | Way::Start { .. } => None,
        }
    }

    /// How the code is used on this device: by a press in WeChat, by opening WeChat, from another screen, by a scan.
    fn way_name(&self) -> &'static str {
        let opens = self.ticket().is_some_and(|ticket| ticket.open_url.is_some());
        match (self.in_wechat, opens, self.mobile) {
            (true, _, _) => "press",
            (false, true, _) => "open",
            (false, false, true) => "phone",
            (false, false, false) => "scan",
        }
    }

    fn script_texts(&self, texts: &'static Texts) -> ScriptTexts {
        if self.by_message {
            chat_words(texts.script, self.shell.locale)
        } else {
            texts.script
        }
    }

    fn words(&self, texts: &'static Texts) -> (&'static str, &'static str) {
        let script = &self.script_texts(texts);
        if self.connecting.is_some() {
            let own = connect(self.shell.locale);
            return (own.pending, own.pending_detail);
        }
        match self.way_name() {
            "press" => (script.pending_press, script.pending_press_detail),
            "open" if self.number_entry.is_some() => (script.pending_open, script.pending_open_detail),
            "open" => (script.pending_open, script.pending_detail),
            "phone" => (script.pending_phone, script.pending_phone_detail),
            _ => (script.pending, script.pending_detail),
        }
    }

    /// What the script reads. `<`, `>` and `&` are escaped, so that no value can end the block or open a comment in it.
    fn config(&self, texts: &'static Texts, ticket: TicketView<'_>) -> String {
        let words = ScriptTexts {
            scanned: scanned(texts, self.number_entry),
            ..self.script_texts(texts)
        };
        let words = match self.connecting {
            Some(_) => connect_words(words, connect(self.shell.locale)),
            None => words,
        };
        let problems: &[Code] = match self.connecting {
            Some(_) => &[Code::LoginRequired, Code::TicketCancelled],
            None => &[],
        };
        let config = ScriptConfig {
            ticket: ScriptTicket {
                id: ticket.id,
                connection: self.connection,
                expires_in: ticket.expires_in,
                open_url: ticket.open_url,
                number: ticket.number,
            },
            rd: self.rd,
            hand_back_rd: self.hand_back_rd,
            switching: self.switching,
            create: self.connecting.map(|own| own.create_url),
            asks: self.connecting.is_some(),
            may_create: self.tab().is_some_and(|tab| tab.may_create),
            texts: said_otherwise(&words, &texts.script),
            problems: problems
                .iter()
                .map(|code| (code.as_str(), connect_problem(&self.shell, *code)))
                .collect(),
        };
        script_json(&config)
    }
}

#[derive(Template)]
#[template(config = ".askama.toml", path = "login.html")]
struct LoginTemplate<'a> {
    shell: Shell<'a>,
    texts: &'a PageTexts,
    heading: String,
    tabs: &'a [Tab<'a>],
    connection: &'a str,
    way_name: &'a str,
    ticket: Option<TicketView<'a>>,
    start_url: Option<&'a str>,
    frame: Option<Frame<'a>>,
    plain_url: Option<String>,
    forms: Option<BindForms<'a>>,
    script: &'a str,
    code_alt: String,
    number_label: String,
    headline: &'a str,
    detail: &'a str,
    time_left: String,
    steps: [String; 3],
    connecting: Option<ConnectingWords<'a>>,
    simulated_phone_url: Option<&'a str>,
    config: String,
    missed: Option<String>,
}

/// WeChat's page within this one.
struct Frame<'a> {
    src: &'a str,
    renew_url: &'a str,
    title: &'a str,
    detail: &'a str,
}

#[derive(Serialize)]
struct ScriptConfig<'a> {
    ticket: ScriptTicket<'a>,
    rd: &'a str,
    hand_back_rd: bool,
    switching: bool,
    /// Where the next code comes from, if not from where every login page gets its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    create: Option<&'a str>,
    /// Ask before it is redeemed, whoever it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    asks: bool,
    may_create: bool,
    /// Those that are others than the script's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    texts: BTreeMap<&'static str, &'static str>,
    /// In words, where they are others than the script's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    problems: BTreeMap<&'static str, ProblemText>,
}

#[derive(Serialize)]
struct ScriptTicket<'a> {
    id: &'a str,
    connection: &'a str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u8>,
}

/// "Sign in to …", with the site's name where there is one.
pub(super) fn heading(shell: &Shell<'_>) -> String {
    let texts = &shell.texts().page;
    shell.site.map_or_else(
        || texts.sign_in.to_owned(),
        |site| fill(texts.sign_in_to, &[Slot::Site(site.name)]),
    )
}

/// What to do, in three steps; the second is the one that defeats a relayed code.
pub(super) fn steps(shell: &Shell<'_>, way: &str, by_message: bool, entry: Option<NumberEntry>) -> [String; 3] {
    let texts = &shell.texts().page;
    let own = chat(shell.locale);
    let (first, second) = match (by_message, way) {
        (true, "press") => (own.step_press, own.step_check),
        (true, _) => (own.step_scan, own.step_check),
        (false, "press") => (texts.step_press, texts.step_check),
        (false, "open") => (texts.step_open, texts.step_check),
        (false, _) => (texts.step_scan, texts.step_check),
    };
    let host = shell.site.map_or(shell.title, |site| site.host);
    [
        first.to_owned(),
        fill(second, &[Slot::Host(host)]),
        last_step(texts, entry).to_owned(),
    ]
}

pub(super) fn last_step(texts: &PageTexts, entry: Option<NumberEntry>) -> &'static str {
    match entry {
        Some(NumberEntry::Choose) => texts.step_confirm,
        Some(NumberEntry::Type) => texts.step_type,
        None => texts.step_plain,
    }
}

/// What to do with the number.
pub(super) fn scanned(texts: &Texts, entry: Option<NumberEntry>) -> &'static str {
    if entry == Some(NumberEntry::Type) {
        texts.page.scanned_type
    } else {
        texts.script.scanned
    }
}

/// The page of this ticket that works without JavaScript.
pub(in crate::portal) fn page_url(id: &str, rd: Option<&str>) -> String {
    let rd = rd.map_or_else(String::new, |rd| {
        format!("?rd={}", utf8_percent_encode(rd, NON_ALPHANUMERIC))
    });
    format!("{}/page{rd}", ticket_url(id))
}

/// Where the ticket's endpoints are.
pub(super) fn ticket_url(id: &str) -> String {
    format!("/.menshen/tickets/{}", utf8_percent_encode(id, ID_ESCAPED))
}

pub(super) fn script_json(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_else(|error| {
        tracing::error!(%error, "page configuration not serialised");
        String::from("{}")
    });
    json.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
}

/// Ids are base64url; anything else in one is not allowed to shape the path.
const ID_ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
