//! Names and attributes of Menshen's own cookies.
//!
//! Over HTTPS the names carry `__Host-` (RFC 6265bis), so that neither a sibling host nor plain HTTP can plant one, and
//! only those names are read; ticket cookies have a path and therefore `__Secure-`, and are bound to the browser cookie.

use cookie::time::Duration;
use cookie::{Cookie, SameSite};

use crate::config::settings;

/// The names in use, fixed by the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieNames {
    /// Session.
    pub session: String,
    /// Random, one per browser.
    pub browser: String,
    /// Who signed in here last.
    pub last_user: String,
    /// The browser's half of a ticket, at the ticket's path.
    pub ticket: String,
    /// Random, while this browser fetches a login from `public_url`.
    pub handoff: String,
    https: bool,
    same_site: SameSite,
}

impl CookieNames {
    /// For this configuration.
    pub fn new(settings: &settings::Settings) -> Self {
        let https = settings.https();
        let (host, secure) = if https { ("__Host-", "__Secure-") } else { ("", "") };
        Self {
            session: format!("{host}{}", settings.session.cookie_name),
            browser: format!("{host}menshen-browser"),
            last_user: format!("{host}menshen-last"),
            ticket: format!("{secure}menshen-ticket"),
            handoff: format!("{host}menshen-handoff"),
            https,
            same_site: match settings.session.same_site {
                settings::SameSite::Lax => SameSite::Lax,
                settings::SameSite::Strict => SameSite::Strict,
            },
        }
    }

    /// `Set-Cookie` of a session; `max_age` in seconds.
    pub fn set_session(&self, token: String, max_age: i64) -> String {
        self.cookie(self.session.clone(), token, max_age)
            .same_site(self.same_site)
            .to_string()
    }

    /// `Set-Cookie` that ends the session.
    pub fn clear_session(&self) -> String {
        self.cookie(self.session.clone(), String::new(), 0)
            .same_site(self.same_site)
            .to_string()
    }

    /// `Set-Cookie` of the browser's random value; kept for a year.
    pub fn set_browser(&self, value: String) -> String {
        self.cookie(self.browser.clone(), value, YEAR).to_string()
    }

    /// `Set-Cookie` of who signed in last; kept for a year.
    pub fn set_last_user(&self, token: String) -> String {
        self.cookie(self.last_user.clone(), token, YEAR).to_string()
    }

    /// `Set-Cookie` of a hand-off; kept for ten minutes.
    pub fn set_handoff(&self, value: String) -> String {
        self.cookie(self.handoff.clone(), value, HANDOFF).to_string()
    }

    /// `Set-Cookie` of the language that a person chose on this host, a BCP 47 tag; kept for a year.
    pub fn set_language(&self, tag: &str) -> String {
        self.cookie(LANGUAGE_COOKIE.to_owned(), tag.to_owned(), YEAR)
            .to_string()
    }

    /// `Set-Cookie` of a ticket, sent back to that ticket's addresses only.
    pub fn set_ticket(&self, id: &str, token: String, max_age: i64) -> String {
        self.cookie(self.ticket.clone(), token, max_age)
            .path(ticket_path(id))
            .to_string()
    }

    /// `Set-Cookie` that ends a ticket's cookie.
    pub fn clear_ticket(&self, id: &str) -> String {
        self.cookie(self.ticket.clone(), String::new(), 0)
            .path(ticket_path(id))
            .to_string()
    }

    fn cookie(&self, name: String, value: String, max_age: i64) -> cookie::CookieBuilder<'static> {
        let cookie = Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .max_age(Duration::seconds(max_age));
        if self.https { cookie.secure(true) } else { cookie }
    }
}

fn ticket_path(id: &str) -> String {
    format!("/.menshen/tickets/{id}")
}

/// Seconds that a person may take to log in at `public_url`.
const HANDOFF: i64 = 600;
/// The language that a person chose. No secret and no decision hangs on it, so that its name is the same everywhere.
pub const LANGUAGE_COOKIE: &str = "menshen-language";
const YEAR: i64 = 365 * 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(https: bool) -> CookieNames {
        let (host, secure) = if https { ("__Host-", "__Secure-") } else { ("", "") };
        CookieNames {
            session: format!("{host}menshen"),
            browser: format!("{host}menshen-browser"),
            last_user: format!("{host}menshen-last"),
            ticket: format!("{secure}menshen-ticket"),
            handoff: format!("{host}menshen-handoff"),
            https,
            same_site: SameSite::Lax,
        }
    }

    #[test]
    fn attributes_over_https_and_http() {
        assert_eq!(
            names(true).set_session("x".into(), 60),
            "__Host-menshen=x; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60"
        );
        assert_eq!(
            names(false).set_session("x".into(), 60),
            "menshen=x; HttpOnly; SameSite=Lax; Path=/; Max-Age=60"
        );
        assert_eq!(
            names(true).set_ticket("ID", "x".into(), 60),
            "__Secure-menshen-ticket=x; HttpOnly; SameSite=Lax; Secure; Path=/.menshen/tickets/ID; Max-Age=60"
        );
        assert!(names(true).clear_session().contains("Max-Age=0"));
    }
}
