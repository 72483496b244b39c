//! The page on which somebody confirms who came by a service account's message.

use askama::Template;
use serde::Serialize;

use crate::portal::code::Code;
use crate::portal::texts::confirm::{ConfirmTexts, confirm};

use super::login::script_json;
use super::{Shell, assets, finish};

/// `GET /.menshen/connections/ID/confirm`. It knows nobody; its script asks.
#[derive(Debug, Clone)]
pub struct ConfirmPage<'a> {
    /// Language, branding.
    pub shell: Shell<'a>,
    /// What the connection is called.
    pub account: &'a str,
    /// Where its browser goes to say who it is.
    pub opener_url: Option<String>,
}

impl ConfirmPage<'_> {
    /// The HTML document.
    pub fn render(&self) -> String {
        let texts = confirm(self.shell.locale);
        let config = ScriptConfig {
            texts,
            not_following: Code::WechatRefused.as_str(),
            opener: self.opener_url.as_deref(),
        };
        finish(&ConfirmTemplate {
            shell: self.shell,
            account: self.account,
            texts,
            script: assets::confirm_script_url(),
            stylesheet: assets::confirm_stylesheet_url(),
            config: script_json(&config),
        })
    }
}

/// Address of the page.
pub(in crate::portal) fn confirm_url(connection: &str) -> String {
    format!("/.menshen/connections/{connection}/confirm")
}

#[derive(Serialize)]
struct ScriptConfig<'a> {
    texts: &'a ConfirmTexts,
    /// The code whose message is another one here.
    not_following: &'a str,
    /// Where the browser goes before the first call, to come back with a proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    opener: Option<&'a str>,
}

#[derive(Template)]
#[template(config = ".askama.toml", path = "confirm.html")]
struct ConfirmTemplate<'a> {
    shell: Shell<'a>,
    account: &'a str,
    texts: &'static ConfirmTexts,
    script: &'static str,
    stylesheet: &'static str,
    config: String,
}
