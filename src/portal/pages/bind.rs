//! The forms for binding an account (association `ask`): one per proof, and one button for a new account.
//!
//! They are ordinary forms, so the page without JavaScript sends them as they are; the script sends the same fields.

use askama::Template;

use crate::config::settings::BindMethod;
use crate::portal::code::Code;
use crate::portal::texts::{PageTexts, ProblemText, Texts};

/// A form that was refused, as it comes back without JavaScript.
#[derive(Debug, Clone, Copy)]
pub struct RefusedForm<'a> {
    /// Why.
    pub code: Code,
    /// Which form; `None` for the button.
    pub method: Option<BindMethod>,
    /// What was typed as the account. The proof does not come back.
    pub login: &'a str,
}

#[derive(Template)]
#[template(config = ".askama.toml", path = "bind.html")]
pub(super) struct BindForms<'a> {
    catalogue: &'static Texts,
    texts: &'static PageTexts,
    methods: &'a [BindMethod],
    may_create: bool,
    action: String,
    rd: Option<&'a str>,
    refused: Option<RefusedForm<'a>>,
}

impl<'a> BindForms<'a> {
    /// The forms, sent to `action`.
    pub(super) fn new(texts: &'static Texts, methods: &'a [BindMethod], may_create: bool, action: String) -> Self {
        Self {
            catalogue: texts,
            texts: &texts.page,
            methods,
            may_create,
            action,
            rd: None,
            refused: None,
        }
    }

    /// The same for a page without a script: with what it must bring along, and with what was wrong.
    pub(super) fn by_hand(self, rd: Option<&'a str>, refused: Option<RefusedForm<'a>>) -> Self {
        Self { rd, refused, ..self }
    }

    fn problem(&self) -> Option<ProblemText> {
        self.refused.map(|refused| self.catalogue.problem(refused.code))
    }

    fn is_refused(&self, method: &BindMethod) -> bool {
        self.refused.is_some_and(|refused| refused.method == Some(*method))
    }

    fn is_open(&self, method: &BindMethod, first: &bool) -> bool {
        match self.refused.and_then(|refused| refused.method) {
            Some(refused) => refused == *method,
            None => *first,
        }
    }

    fn entered(&self, method: &BindMethod) -> &str {
        self.refused
            .as_ref()
            .filter(|_| self.is_refused(method))
            .map_or("", |refused| refused.login)
    }

    fn title(method: &BindMethod, texts: &PageTexts) -> &'static str {
        match method {
            BindMethod::BindCode => texts.method_bind_code,
            BindMethod::Password => texts.method_password,
        }
    }

    fn proof_label(method: &BindMethod, texts: &PageTexts) -> &'static str {
        match method {
            BindMethod::BindCode => texts.bind_proof_code,
            BindMethod::Password => texts.bind_proof_password,
        }
    }

    /// A code is read off a sheet of paper and used up: it is typed in the open, and no browser should keep it.
    fn proof_kind(method: &BindMethod) -> &'static str {
        match method {
            BindMethod::BindCode => "type=\"text\" autocomplete=\"one-time-code\" autocapitalize=\"characters\"",
            BindMethod::Password => "type=\"password\" autocomplete=\"current-password\"",
        }
    }
}
