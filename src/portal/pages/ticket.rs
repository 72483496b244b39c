//! The page of a ticket for browsers without JavaScript: it reloads itself and goes on by buttons.

use askama::Template;

use crate::config::settings::{BindMethod, NumberEntry};
use crate::portal::code::Code;

use crate::portal::texts::chat::chat_words;
use crate::portal::texts::connect::connect;
use crate::portal::texts::{PageTexts, Slot, fill};

use super::bind::{BindForms, RefusedForm};
use super::connecting::{Connecting, ConnectingWords, connect_problem, connect_words};
use super::login::{heading, page_url, scanned, steps, ticket_url};
use super::{Shell, finish};

/// `GET /.menshen/tickets/ID/page`.
#[derive(Debug, Clone, Copy)]
pub struct TicketPage<'a> {
    /// Language, branding, site.
    pub shell: Shell<'a>,
    /// Ticket id.
    pub id: &'a str,
    /// Where the ticket stands.
    pub state: TicketState<'a>,
    /// A long target that the ticket knows by its hash only; sent back by the form.
    pub rd: Option<&'a str>,
    /// A login page with a new ticket: `/.menshen/login?connection=…&rd=…`.
    pub new_code_url: &'a str,
    /// How the phone is asked for the number; `None` without number matching. Chooses the words, nothing else.
    pub number_entry: Option<NumberEntry>,
    /// Shown inside WeChat's own browser.
    pub in_wechat: bool,
    /// The sandbox's phone for this ticket, if there is one.
    pub simulated_phone_url: Option<&'a str>,
    /// Who scans is told by a service account in the chat, instead of a mini program that opens.
    pub by_message: bool,
    /// It connects a further WeChat account instead of logging in.
    pub connecting: Option<Connecting<'a>>,
}

/// Where a ticket stands, as this page shows it.
#[derive(Debug, Clone, Copy)]
pub enum TicketState<'a> {
    /// Nobody has scanned.
    Pending {
        /// The picture: `data:` URI or `/.menshen/tickets/ID/qr`.
        qr: &'a str,
        /// Seconds until it ends.
        expires_in: u64,
        /// Opens WeChat on this phone.
        open_url: Option<&'a str>,
        /// The number, when it must be read before WeChat covers the page.
        number: Option<u8>,
    },
    /// A phone has it.
    Scanned {
        /// The number to tap, 10 to 99; `None` without number matching.
        number: Option<u8>,
        /// Masked name of who scanned.
        name: Option<&'a str>,
    },
    /// The browser must say which account this is.
    Bind {
        /// Proofs that are accepted, in the order of the page.
        methods: &'a [BindMethod],
        /// A new user may be made.
        may_create: bool,
        /// The form that was refused just now.
        refused: Option<RefusedForm<'a>>,
    },
    /// An account was proven; the phone shows it and has to accept it.
    Accept {
        /// Masked name of the account.
        name: &'a str,
    },
    /// Said yes on the phone; a press of the button redeems.
    Confirmed {
        /// Masked name of who is about to be signed in.
        name: Option<&'a str>,
        /// The browser last belonged to somebody else.
        other_user: bool,
    },
    /// Over.
    Ended {
        /// Why.
        code: Code,
    },
}

impl TicketPage<'_> {
    /// The HTML document.
    pub fn render(&self) -> String {
        let texts = self.shell.texts();
        let words = self.words();
        let site = self.shell.site.map_or(self.shell.title, |site| site.name);
        let connecting = self.connecting.map(|own| own.words(self.shell.locale));
        let number = match self.state {
            TicketState::Pending { number, .. } | TicketState::Scanned { number, .. } => number,
            _ => None,
        };
        finish(&TicketTemplate {
            shell: self.shell,
            page: &texts.page,
            heading: connecting
                .as_ref()
                .map_or_else(|| heading(&self.shell), |own| own.texts.title.to_owned()),
            state: self.state,
            state_name: self.state_name(),
            waiting: matches!(
                self.state,
                TicketState::Pending { .. } | TicketState::Scanned { .. } | TicketState::Accept { .. }
            ),
            cancellable: !matches!(self.state, TicketState::Pending { .. } | TicketState::Ended { .. }),
            page_url: page_url(self.id, self.rd),
            base_url: ticket_url(self.id),
            forms: self.forms(),
            rd: self.rd,
            new_code_url: self.connecting.map_or(self.new_code_url, |own| own.account_url),
            new_code: connecting.as_ref().map_or(texts.script.new_code, |own| own.texts.back),
            simulated_phone_url: self.simulated_phone_url,
            steps: connecting.as_ref().map_or_else(
                || steps(&self.shell, self.way_name(), self.by_message, self.number_entry),
                |own| own.steps(texts, self.number_entry),
            ),
            code_alt: connecting.as_ref().map_or_else(
                || fill(texts.page.code_alt, &[Slot::Site(site)]),
                |own| own.texts.code_alt.to_owned(),
            ),
            // At an end the way back is the button.
            connecting: connecting.filter(|_| !matches!(self.state, TicketState::Ended { .. })),
            number_label: number.map_or_else(String::new, |n| fill(texts.script.number_label, &[Slot::Number(n)])),
            headline: words.headline,
            detail: words.detail,
            next_step: words.next_step,
            yes: words.yes,
            no: words.no,
        })
    }

    fn forms(&self) -> Option<BindForms<'_>> {
        let TicketState::Bind {
            methods,
            may_create,
            refused,
        } = self.state
        else {
            return None;
        };
        let texts = self.shell.texts();
        let action = format!("{}/bind", ticket_url(self.id));
        Some(BindForms::new(texts, methods, may_create, action).by_hand(self.rd, refused))
    }

    fn way_name(&self) -> &'static str {
        match self.state {
            _ if self.in_wechat => "press",
            TicketState::Pending { open_url: Some(_), .. } => "open",
            _ => "scan",
        }
    }

    fn state_name(&self) -> &'static str {
        match self.state {
            TicketState::Pending { .. } => "pending",
            TicketState::Scanned { .. } => "scanned",
            TicketState::Bind { .. } => "bind",
            TicketState::Accept { .. } => "accept",
            TicketState::Confirmed { .. } => "confirmed",
            TicketState::Ended { .. } => "failed",
        }
    }

    fn words(&self) -> Words {
        let texts = self.shell.texts();
        let own = self.connecting.map(|_| connect(self.shell.locale));
        let script = if self.by_message {
            chat_words(texts.script, self.shell.locale)
        } else {
            texts.script
        };
        let script = &own.map_or(script, |own| connect_words(script, own));
        let named = |with: &'static str, without: &'static str, name: Option<&str>| {
            name.map_or_else(|| without.to_owned(), |name| fill(with, &[Slot::Name(name)]))
        };
        let mut words = Words {
            yes: script.continue_plain.to_owned(),
            no: script.not_me,
            ..Words::default()
        };
        match self.state {
            TicketState::Pending { .. } => {
                let (headline, detail) = match (own, self.way_name()) {
                    (Some(own), _) => (own.pending, own.pending_detail),
                    (None, "press") => (script.pending_press, script.pending_press_detail),
                    (None, "open") if self.number_entry.is_some() => (script.pending_open, script.pending_open_detail),
                    (None, "open") => (script.pending_open, script.pending_detail),
                    _ => (script.pending, script.pending_detail),
                };
                words.headline = headline.to_owned();
                words.detail = detail.to_owned();
            }
            TicketState::Scanned { number, name } => {
                words.headline = number
                    .map_or(script.scanned_plain, |_| scanned(texts, self.number_entry))
                    .to_owned();
                words.detail = named(script.scanned_by, script.scanned_someone, name);
            }
            TicketState::Bind { may_create, .. } => {
                words.headline = script.bind.to_owned();
                words.detail = if may_create {
                    script.bind_detail
                } else {
                    script.bind_only_detail
                }
                .to_owned();
            }
            TicketState::Accept { name } => {
                words.headline = script.bind_accept.to_owned();
                words.detail = fill(script.bind_accept_detail, &[Slot::Name(name)]);
            }
            TicketState::Confirmed { name, other_user } => {
                words.headline = named(script.ask, script.ask_plain, name);
                words.detail = if other_user || own.is_some() {
                    script.ask_detail.to_owned()
                } else {
                    String::new()
                };
                words.yes = named(script.continue_as, script.continue_plain, name);
                words.no = if other_user || own.is_some() {
                    script.use_other
                } else {
                    script.not_me
                };
            }
            TicketState::Ended { code } => {
                let problem = match own {
                    Some(_) => connect_problem(&self.shell, code),
                    None => texts.problem(code),
                };
                words.headline = problem.title.to_owned();
                words.detail = problem.message.to_owned();
                words.next_step = Some(problem.next_step);
            }
        }
        words
    }
}

#[derive(Default)]
struct Words {
    headline: String,
    detail: String,
    next_step: Option<&'static str>,
    yes: String,
    no: &'static str,
}

#[derive(Template)]
#[template(config = ".askama.toml", path = "ticket.html")]
struct TicketTemplate<'a> {
    shell: Shell<'a>,
    page: &'a PageTexts,
    heading: String,
    state: TicketState<'a>,
    state_name: &'a str,
    waiting: bool,
    cancellable: bool,
    page_url: String,
    base_url: String,
    forms: Option<BindForms<'a>>,
    rd: Option<&'a str>,
    new_code_url: &'a str,
    new_code: &'a str,
    connecting: Option<ConnectingWords<'a>>,
    simulated_phone_url: Option<&'a str>,
    steps: [String; 3],
    code_alt: String,
    number_label: String,
    headline: String,
    detail: String,
    next_step: Option<&'static str>,
    yes: String,
    no: &'a str,
}
