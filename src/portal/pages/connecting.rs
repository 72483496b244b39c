//! What the pages of a ticket say where it connects a further WeChat account and logs nobody in.

use crate::config::settings::{Locale, NumberEntry};
use crate::portal::code::Code;
use crate::portal::texts::connect::{ConnectTexts, connect};
use crate::portal::texts::{ProblemText, ScriptTexts, Slot, Texts, fill};

use super::Shell;
use super::login::last_step;

/// A further WeChat account for somebody who is signed in.
#[derive(Debug, Clone, Copy)]
pub struct Connecting<'a> {
    /// Masked name of their account.
    pub name: &'a str,
    /// Where the page gets its next code.
    pub create_url: &'a str,
    /// Their account page.
    pub account_url: &'a str,
}

/// What a page says besides while it connects.
pub(super) struct ConnectingWords<'a> {
    pub(super) texts: &'static ConnectTexts,
    /// To whose account.
    pub(super) whose: String,
    name: &'a str,
    pub(super) account_url: &'a str,
}

impl<'a> Connecting<'a> {
    pub(super) fn words(self, locale: Locale) -> ConnectingWords<'a> {
        let texts = connect(locale);
        ConnectingWords {
            texts,
            whose: fill(texts.whose, &[Slot::Name(self.name)]),
            name: self.name,
            account_url: self.account_url,
        }
    }
}

impl ConnectingWords<'_> {
    pub(super) fn steps(&self, texts: &Texts, entry: Option<NumberEntry>) -> [String; 3] {
        [
            self.texts.step_scan.to_owned(),
            fill(self.texts.step_check, &[Slot::Name(self.name)]),
            last_step(&texts.page, entry).to_owned(),
        ]
    }
}

/// The words of a login page where it connects: the question at the end is another one.
pub(super) fn connect_words(script: ScriptTexts, own: &ConnectTexts) -> ScriptTexts {
    ScriptTexts {
        ask: own.ask,
        ask_plain: own.ask,
        ask_detail: own.ask_detail,
        continue_as: own.yes,
        continue_plain: own.yes,
        use_other: own.no,
        confirmed: own.connecting,
        confirmed_plain: own.connecting,
        ..script
    }
}

/// A refusal where nobody wanted to sign in.
pub(super) fn connect_problem(shell: &Shell<'_>, code: Code) -> ProblemText {
    let text = shell.texts().problem(code);
    match code {
        Code::TicketCancelled => ProblemText {
            message: connect(shell.locale).cancelled,
            ..text
        },
        _ => text,
    }
}
