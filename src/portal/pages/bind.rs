//! The forms for binding an account (association `ask`): one per proof, and one button for a new account.
//!
//! They are ordinary forms, so the page without JavaScript sends them as they are; the script sends the same fields.

use askama::Template;

use crate::config::settings::BindMethod;
use crate::portal::texts::PageTexts;

#[derive(Template)]
#[template(config = ".askama.toml", path = "bind.html")]
pub(super) struct BindForms<'a> {
    pub(super) texts: &'a PageTexts,
    pub(super) methods: &'a [BindMethod],
    pub(super) may_create: bool,
    pub(super) action: String,
    pub(super) rd: Option<&'a str>,
}

impl BindForms<'_> {
    fn wire(method: &BindMethod) -> &'static str {
        match method {
            BindMethod::BindCode => "bind_code",
            BindMethod::Password => "password",
        }
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

    fn autocomplete(method: &BindMethod) -> &'static str {
        match method {
            BindMethod::BindCode => "one-time-code",
            BindMethod::Password => "current-password",
        }
    }
}
