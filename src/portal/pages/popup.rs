//! The last page of a login in a window of its own.

use askama::Template;
use serde::Serialize;

use crate::portal::texts::{PopupTexts, popup};

use super::login::script_json;
use super::{Shell, assets, finish};

/// `GET /.menshen/popup`: tells the page that opened the window, and closes it.
#[derive(Debug, Clone, Copy)]
pub struct PopupPage<'a> {
    /// Language, branding, site.
    pub shell: Shell<'a>,
    /// Who is told: an origin as browsers serialise it.
    pub origin: &'a str,
}

impl PopupPage<'_> {
    /// The HTML document.
    pub fn render(&self) -> String {
        finish(&PopupTemplate {
            shell: self.shell,
            texts: popup(self.shell.locale),
            script: assets::popup_script_url(),
            config: script_json(&PopupConfig { origin: self.origin }),
        })
    }
}

#[derive(Serialize)]
struct PopupConfig<'a> {
    origin: &'a str,
}

#[derive(Template)]
#[template(config = ".askama.toml", path = "popup.html")]
struct PopupTemplate<'a> {
    shell: Shell<'a>,
    texts: PopupTexts,
    script: &'a str,
    config: String,
}
