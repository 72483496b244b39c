//! What the proxy found out about a request before the portal sees it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Uri, header};

use crate::config::settings::Locale;
use crate::gate::origin::OwnOrigin;
use crate::login::browser::TicketCookies;
use crate::login::phone::Caller;
use crate::portal::code::Code;
use crate::portal::problem::Problem;
use crate::portal::texts::negotiate;
use crate::session::cached::CachedSession;
use crate::session::cookie::LANGUAGE_COOKIE;

/// One request, read once. Shared by extension.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// In every answer and every log line.
    pub request_id: Arc<str>,
    /// Client address.
    pub address: IpAddr,
    /// What limits count by: of IPv6 the /64.
    pub limit_key: IpAddr,
    /// What the client called the host.
    pub host: String,
    /// What the client called the port, if it is not the scheme's own.
    pub port: Option<u16>,
    /// The client used HTTPS.
    pub secure: bool,
    /// Place of the host's site in the settings.
    pub site: Option<usize>,
    /// At `public_url`'s host.
    pub public_host: bool,
    /// A page of this very origin sent it.
    pub same_origin: bool,
    /// Who is signed in here, by cookie.
    pub session: Option<Arc<CachedSession>>,
    /// A token of Menshen's own in `Authorization`, beside which no cookie counts.
    pub bearer: Bearer,
    /// A session cookie came that is none.
    pub dead_session: bool,
    /// A session cookie or a token came, and nobody can say now whether it holds.
    pub session_in_doubt: bool,
    /// Menshen's other cookies.
    pub cookies: OwnCookieValues,
}

/// What a token in `Authorization` turned out to be.
#[derive(Debug, Clone, Default)]
pub enum Bearer {
    /// There is none of Menshen's own.
    #[default]
    None,
    /// It holds, for the sites that it is for.
    Good(Arc<CachedSession>),
    /// Unknown, expired or revoked.
    Refused,
    /// Not looked at: this address has shown too many that were none. Again after so long.
    Limited(Duration),
}

/// Values of Menshen's own cookies; one that came twice with different values is none.
#[derive(Debug, Clone, Default)]
pub struct OwnCookieValues {
    /// Of the ticket in the path.
    pub ticket: Option<Vec<u8>>,
    /// Of the browser.
    pub browser: Option<Vec<u8>>,
    /// Of who signed in last.
    pub last_user: Option<Vec<u8>>,
    /// Of a hand-off.
    pub handoff: Option<Vec<u8>>,
}

impl RequestContext {
    /// The origin of this request.
    pub fn own_origin(&self) -> OwnOrigin<'_> {
        OwnOrigin {
            secure: self.secure,
            host: &self.host,
            port: self.port,
        }
    }

    /// Refuses while it cannot be said whether there is a session.
    ///
    /// # Errors
    /// 503 `store_unavailable`.
    pub fn require_verifiable(&self) -> Result<(), Problem> {
        if self.session_in_doubt {
            return Err(Code::StoreUnavailable.into());
        }
        Ok(())
    }

    /// Who makes this request, by cookie or by token.
    pub fn identity(&self) -> Option<&Arc<CachedSession>> {
        match &self.bearer {
            Bearer::Good(cached) => Some(cached),
            _ => self.session.as_ref(),
        }
    }

    /// What is said about a token that lets nobody pass here.
    pub fn token_problem(&self) -> Problem {
        match self.bearer {
            Bearer::Limited(retry_after) => Problem {
                retry_after: Some(retry_after),
                ..Code::RateLimited.into()
            },
            _ => Code::TokenInvalid.into(),
        }
    }

    /// Host and port, as people read it.
    pub fn authority(&self) -> String {
        self.port
            .map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }

    /// The cookies of a ticket.
    pub fn ticket_cookies(&self) -> TicketCookies<'_> {
        TicketCookies {
            ticket: self.cookies.ticket.as_deref(),
            browser: self.cookies.browser.as_deref(),
            last_user: self.cookies.last_user.as_deref(),
        }
    }

    /// A caller of the phone side.
    pub fn caller<'a>(&'a self, headers: &'a HeaderMap) -> Caller<'a> {
        Caller {
            address: self.address,
            limit_key: self.limit_key,
            agent: user_agent(headers),
            request_id: &self.request_id,
        }
    }
}

/// The language of an answer: the operator's, else the person's own choice on this host, else what the browser asks for.
pub fn locale(headers: &HeaderMap, configured: Option<Locale>) -> Locale {
    negotiate(
        headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok()),
        configured.or_else(|| chosen(headers)),
    )
}

/// What the language cookie says. It decides nothing but words: one that a neighbour planted does no harm.
fn chosen(headers: &HeaderMap) -> Option<Locale> {
    let lines = headers.get_all(header::COOKIE).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(LANGUAGE_COOKIE)?.strip_prefix('='))
        .and_then(Locale::of_tag)
}

/// `User-Agent`, or nothing.
pub fn user_agent(headers: &HeaderMap) -> &str {
    headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Path and query of a request.
pub fn target(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_operator_decides_the_language_then_the_person_then_the_browser() {
        let table = [
            (None, "a=1; menshen-language=ja", Locale::Ja),
            (Some(Locale::ZhTw), "menshen-language=ja", Locale::ZhTw),
            (None, "menshen-language=xx", Locale::En),
            (None, "xmenshen-language=ja; menshen-languages=ja", Locale::En),
            (None, "menshen-language=zh-CN;b=2", Locale::ZhCn),
        ];
        for (configured, cookie, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, "en".parse().unwrap());
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            assert_eq!(locale(&headers, configured), expected, "{cookie}");
        }
    }
}
