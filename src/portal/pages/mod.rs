//! Everything that an end user sees in a browser.
//!
//! Each page is a view struct of borrowed strings with `render`. A view decides nothing: who may see what was decided
//! before it was built. The pages are complete HTML documents without inline script or style, so that they work under
//! [`content_security_policy`] as it is; everything that comes from outside (titles, names, hosts, targets) is escaped by
//! the templates, and what the script reads is JSON in a block of its own.
//!
//! The trade-off: no framework and no build step. The whole login page, without WeChat's picture, stays under 40 KB, and
//! its first paint already has the code in it.

mod account;
mod assets;
mod bind;
mod confirm;
mod connecting;
mod link_codes;
mod login;
mod notices;
mod policy;
mod popup;
mod qr;
mod ticket;
mod words;

pub use account::{AccountNote, AccountPage, Connectable, IdentityView, Moment, PersonView, SignInView};
pub use assets::{ASSET_PREFIX, Asset, asset};
pub use bind::RefusedForm;
pub use confirm::ConfirmPage;
pub(super) use confirm::confirm_url;
pub use connecting::Connecting;
pub use link_codes::CodePainter;
pub(super) use login::page_url;
pub use login::{LoginPage, Tab, TicketView, Way};
pub use notices::{Action, LandingPage, LoggedOutPage, LogoutPage, LoopCause, Problem, ProblemPage};
pub use policy::{PolicySources, content_security_policy};
pub use popup::PopupPage;
pub use qr::{DrawError, data_uri, draw, svg_data_uri};
pub use ticket::{TicketPage, TicketState};

use askama::Template;

use crate::config::settings::Locale;

use super::texts::Texts;

/// What every page has around its content: language, branding and which site it speaks for.
#[derive(Debug, Clone, Copy)]
pub struct Shell<'a> {
    /// Language of every text on the page.
    pub locale: Locale,
    /// `[branding] title`.
    pub title: &'a str,
    /// Address of the operator's logo, same origin or `data:`; `None` shows Menshen's own mark.
    pub logo_url: Option<&'a str>,
    /// Address of the background picture, same origin or `data:`.
    pub background_url: Option<&'a str>,
    /// Address of the operator's style sheet, same origin; loaded after the page's own.
    pub css_url: Option<&'a str>,
    /// This installation does not talk to WeChat: every page says so.
    pub sandbox: bool,
    /// The site that the page speaks for; `None` on the portal's own host.
    pub site: Option<SiteLabel<'a>>,
}

/// How a site is shown to people. The host is always shown beside the name: a name can be borrowed, a host cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteLabel<'a> {
    /// `[[sites]] name`.
    pub name: &'a str,
    /// Host that the browser asked for, lower case, as the phone shows it.
    pub host: &'a str,
}

impl<'a> Shell<'a> {
    fn texts(&self) -> &'static Texts {
        Texts::of(self.locale)
    }

    fn lang(&self) -> &'static str {
        self.locale.tag()
    }

    fn stylesheet(&self) -> &'static str {
        assets::stylesheet_url()
    }

    fn icon(&self) -> &'static str {
        assets::icon_url()
    }
}

/// Renders a template into memory, which cannot fail; should it ever, the log says so and the answer is empty.
fn finish<T: Template>(template: &T) -> String {
    template.render().unwrap_or_else(|error| {
        tracing::error!(%error, "page not rendered");
        String::new()
    })
}

#[cfg(test)]
mod tests;
