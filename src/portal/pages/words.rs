//! The words of the login page's script.
//!
//! They are the larger part of what the script needs to know and the same for everybody who reads that language, so they
//! stand in front of the script, in a file for each language that browsers keep. A page brings along what it says otherwise.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::settings::Locale;
use crate::portal::code::Code;
use crate::portal::texts::{ProblemText, ScriptTexts, Texts};

use super::login::script_json;

/// What the script says in one language, as it reads it.
#[derive(Debug, Serialize)]
struct Words {
    texts: BTreeMap<&'static str, &'static str>,
    problems: BTreeMap<&'static str, ProblemText>,
}

/// The script in this language, with its words.
pub(super) fn with_words(script: &str, locale: Locale) -> String {
    let texts = Texts::of(locale);
    let words = Words {
        texts: said(&texts.script).collect(),
        problems: SHOWN_BY_SCRIPT.map(|code| (code.as_str(), texts.problem(code))).into(),
    };
    format!("const WORDS = {};\n{script}", script_json(&words))
}

/// The texts that a page says otherwise than its script.
pub(super) fn said_otherwise(texts: &ScriptTexts, usual: &ScriptTexts) -> BTreeMap<&'static str, &'static str> {
    let both = said(texts).zip(said(usual));
    both.filter_map(|(text, usual)| (text != usual).then_some(text))
        .collect()
}

/// What the script says itself: the words of a code that waits to be scanned are on the page before.
fn said(texts: &ScriptTexts) -> impl Iterator<Item = (&'static str, &'static str)> {
    texts
        .entries()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("pending"))
}

/// The refusals that can reach a login page; any other shows the message that came with it.
const SHOWN_BY_SCRIPT: [Code; 24] = [
    Code::AccountBound,
    Code::AmbiguousAccount,
    Code::BadRequest,
    Code::CrossOrigin,
    Code::EntryRefused,
    Code::Forbidden,
    Code::NoAccount,
    Code::NotReady,
    Code::PhoneRequired,
    Code::PhoneTaken,
    Code::ProofWrong,
    Code::RateLimited,
    Code::StoreUnavailable,
    Code::TicketCancelled,
    Code::TicketExpired,
    Code::TicketTaken,
    Code::TicketUnknown,
    Code::UserDisabled,
    Code::WechatBusy,
    Code::WechatMisconfigured,
    Code::WechatRefused,
    Code::WechatUnavailable,
    Code::WrongNumber,
    Code::WrongState,
];
