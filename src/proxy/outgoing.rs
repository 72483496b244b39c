//! What changes on the way to an upstream and back.
//!
//! Stripping and inserting happen in Pingora's last hook before the request is written, after hop-by-hop processing:
//! `Connection: Remote-User` has then removed nothing of ours (Traefik CVE-2024-45410). Removal first, then insertion;
//! there is no "set if absent".

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{ErrorType, OrErr, Result};

use crate::identity::outgoing::Outgoing;
use crate::proxy::client_address::{ClientAddress, TrustedProxies, append_forwarded_for};
use crate::proxy::cookies::{self, OwnCookies, Rewritten};
use crate::proxy::strip::ManagedNames;
use crate::session::bearer::TOKEN_PREFIX;

/// What an upstream request is made of besides what the client sent.
#[derive(Debug)]
pub struct Forwarding<'a> {
    /// Names that never pass.
    pub managed: &'a ManagedNames,
    /// Cookies that never pass.
    pub own_cookies: &'a OwnCookies,
    /// Names with `_` that this site lets pass.
    pub allowed_headers: &'a [String],
    /// Who asks.
    pub client: &'a ClientAddress,
    /// What the client sent, for `X-Forwarded-For` of a trusted peer.
    pub client_headers: &'a HeaderMap,
    /// Whose `X-Forwarded-For` counts.
    pub trusted: &'a TrustedProxies,
    /// The client used HTTPS.
    pub secure: bool,
    /// Host and port as the client calls them.
    pub host: &'a str,
    /// `Host` for the upstream instead of the client's.
    pub upstream_host: Option<&'a str>,
    /// Port as the client calls it.
    pub port: u16,
    /// Identity of a session.
    pub identity: Option<&'a Outgoing>,
    /// In the log and at the upstream.
    pub request_id: &'a str,
    /// Path and query as decided on, if they are not what the client sent.
    pub path_and_query: Option<&'a str>,
}

impl Forwarding<'_> {
    /// Rewrites a request for the upstream.
    ///
    /// # Errors
    /// Pingora's, for a header that cannot be written; none of these can.
    pub fn apply(&self, request: &mut RequestHeader) -> Result<()> {
        let names = self
            .managed
            .names_to_remove(&request.headers, self.allowed_headers, false);
        for name in &names {
            request.remove_header(name);
        }
        let authorization = request.headers.get(header::AUTHORIZATION);
        if authorization.and_then(own_bearer).is_some() {
            request.remove_header(&header::AUTHORIZATION);
        }
        match cookies::rewrite(&request.headers, |name| self.own_cookies.is_own(name)) {
            Rewritten::Unchanged => {}
            Rewritten::Line(line) => {
                request.insert_header(header::COOKIE, line)?;
            }
            Rewritten::Nothing => {
                request.remove_header(&header::COOKIE);
            }
        }
        if let Some(target) = self.path_and_query {
            request.set_raw_path(target.as_bytes())?;
        }
        let host = self.host_value(&request.headers)?;
        match self.upstream_host {
            Some(other) => request.insert_header(header::HOST, other)?,
            None if request.headers.get(header::HOST) == Some(&host) => {}
            None => request.insert_header(header::HOST, host.clone())?,
        }
        request.insert_header(
            "X-Forwarded-For",
            append_forwarded_for(self.client, self.client_headers, self.trusted),
        )?;
        let scheme = HeaderValue::from_static(if self.secure { "https" } else { "http" });
        request.insert_header("X-Forwarded-Proto", scheme)?;
        request.insert_header("X-Forwarded-Host", host)?;
        request.insert_header("X-Forwarded-Port", HeaderValue::from(self.port))?;
        request.insert_header("X-Request-Id", self.request_id)?;
        for (name, value) in self.identity.into_iter().flat_map(|identity| &identity.headers) {
            request.insert_header(name.clone(), value.clone())?;
        }
        Ok(())
    }

    /// The host as the client calls it; the client's own value, where it is spelt so, is shared and not copied.
    fn host_value(&self, headers: &HeaderMap) -> Result<HeaderValue> {
        match headers.get(header::HOST) {
            Some(sent) if sent.as_bytes() == self.host.as_bytes() => Ok(sent.clone()),
            _ => HeaderValue::from_str(self.host).or_err(ErrorType::InvalidHTTPHeader, "host"),
        }
    }
}

/// What an upstream's answer loses and gains.
#[derive(Debug)]
pub struct Returning<'a> {
    /// Names that only Menshen sets.
    pub managed: &'a ManagedNames,
    /// Cookies that only Menshen sets.
    pub own_cookies: &'a OwnCookies,
    /// The route needs a login, so that no shared cache may keep the answer.
    pub needs_login: bool,
    /// The answer to a navigation: after a logout, or for the next person, it must be asked for again.
    pub document: bool,
    /// A renewed session cookie.
    pub renewed: Option<&'a str>,
    /// `Strict-Transport-Security`.
    pub hsts: Option<&'a HeaderValue>,
}

impl Returning<'_> {
    /// Rewrites an answer. True if the renewed cookie is in it.
    ///
    /// # Errors
    /// Pingora's, for a header that cannot be written; none of these can.
    pub fn apply(&self, response: &mut ResponseHeader) -> Result<bool> {
        if response.version < Version::HTTP_11 {
            // The version is the gateway's own, not that of an older application (RFC 9110 §2.5).
            response.set_version(Version::HTTP_11);
        }
        let forbidden: Vec<HeaderName> = response
            .headers
            .keys()
            .filter(|name| !self.managed.upstream_may_set(name.as_str()))
            .cloned()
            .collect();
        for name in &forbidden {
            response.remove_header(name);
        }
        self.drop_own_cookies(response)?;
        if self.needs_login {
            match response.headers.contains_key(header::CACHE_CONTROL) {
                true => make_private(response)?,
                false => {
                    let asked_again = self.document && !response.headers.contains_key(header::EXPIRES);
                    let value = if asked_again { "private, no-cache" } else { "private" };
                    response.insert_header(header::CACHE_CONTROL, HeaderValue::from_static(value))?;
                }
            }
        }
        if let Some(hsts) = self.hsts {
            response.insert_header(header::STRICT_TRANSPORT_SECURITY, hsts.clone())?;
        }
        let Some(cookie) = self.renewed else { return Ok(false) };
        if says_nothing_of_caching(&response.headers) {
            // A shared cache may keep what says nothing, and would hand the cookie to the next person.
            make_private(response)?;
        }
        if !is_private(&response.headers) {
            return Ok(false);
        }
        response.append_header(header::SET_COOKIE, cookie)?;
        Ok(true)
    }

    fn drop_own_cookies(&self, response: &mut ResponseHeader) -> Result<()> {
        let allowed = |value: &&HeaderValue| self.own_cookies.upstream_may_set(value.as_bytes());
        if response
            .headers
            .get_all(header::SET_COOKIE)
            .iter()
            .all(|value| allowed(&value))
        {
            return Ok(());
        }
        let kept: Vec<HeaderValue> = response
            .headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter(allowed)
            .cloned()
            .collect();
        response.remove_header(&header::SET_COOKIE);
        for value in kept {
            response.append_header(header::SET_COOKIE, value)?;
        }
        Ok(())
    }
}

/// `public` and `s-maxage` become `private`, and so does what says nothing of the kind, which a shared cache may keep
/// too (RFC 9111 §3): the answer was made for one person.
fn make_private(response: &mut ResponseHeader) -> Result<()> {
    let lines: Vec<String> = response
        .headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    let directives: Vec<&str> = lines
        .iter()
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    let shared = |directive: &str| {
        let name = directive.split('=').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("public") || name.eq_ignore_ascii_case("s-maxage")
    };
    let is_closed = directives.iter().any(|directive| closes(directive));
    if is_closed && !directives.iter().any(|directive| shared(directive)) {
        return Ok(());
    }
    let mut kept: Vec<&str> = directives.into_iter().filter(|directive| !shared(directive)).collect();
    if !is_closed {
        kept.insert(0, "private");
    }
    response.insert_header(header::CACHE_CONTROL, kept.join(", "))
}

/// Browsers then keep a page by guess (RFC 9111 §4.2.2), and show it when nobody is signed in any more.
fn says_nothing_of_caching(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::CACHE_CONTROL) && !headers.contains_key(header::EXPIRES)
}

/// Whether no shared cache may keep an answer, and with it a `Set-Cookie` (RFC 9111 §3).
fn is_private(headers: &HeaderMap) -> bool {
    headers.get_all(header::CACHE_CONTROL).iter().any(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|directive| std::str::from_utf8(directive).is_ok_and(|directive| closes(directive.trim())))
    })
}

/// `private` and `no-store`; `private="field"` closes that field only.
fn closes(directive: &str) -> bool {
    directive.eq_ignore_ascii_case("private") || directive.eq_ignore_ascii_case("no-store")
}

/// A bearer token of Menshen's form, which decides alone and never goes on; any other `Authorization` is the
/// application's own. The prefix in another case is no token, and Menshen's all the same: somebody's secret, mistyped, is
/// no business of the application.
pub fn own_bearer(authorization: &HeaderValue) -> Option<&[u8]> {
    let value = authorization.as_bytes();
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    let apart = matches!(token.first(), Some(b' ' | b'\t'));
    let token = token.trim_ascii();
    let prefix = token.get(..TOKEN_PREFIX.len())?;
    (apart && scheme.eq_ignore_ascii_case(BEARER) && prefix.eq_ignore_ascii_case(TOKEN_PREFIX.as_bytes()))
        .then_some(token)
}

const BEARER: &[u8] = b"bearer";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn private(cache_control: &[&str]) -> Vec<String> {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for line in cache_control {
            response.append_header(header::CACHE_CONTROL, *line).unwrap();
        }
        make_private(&mut response).unwrap();
        let lines = response.headers.get_all(header::CACHE_CONTROL).iter();
        lines.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn shared_caching_becomes_private_and_stricter_words_stay() {
        let cases: [(&[&str], &[&str]); 11] = [
            (&["public, max-age=60"], &["private, max-age=60"]),
            (&["s-maxage=60"], &["private"]),
            (&["max-age=60", "PUBLIC"], &["private, max-age=60"]),
            (&["no-store"], &["no-store"]),
            (&["private, s-maxage=9"], &["private"]),
            (&["Private, max-age=60"], &["Private, max-age=60"]),
            (&["public, no-store"], &["no-store"]),
            // RFC 9111 §3 lets a shared cache keep these.
            (&[], &["private"]),
            (&["max-age=60"], &["private, max-age=60"]),
            (&["no-cache"], &["private, no-cache"]),
            (&["private=\"x-a\""], &["private, private=\"x-a\""]),
        ];
        for (given, expected) in cases {
            assert_eq!(private(given), expected, "{given:?}");
        }
    }

    fn returning<'a>(settings: &Fixture<'a>, needs_login: bool, renewed: Option<&'a str>) -> Returning<'a> {
        Returning {
            managed: settings.managed,
            own_cookies: settings.own_cookies,
            needs_login,
            document: false,
            renewed,
            hsts: None,
        }
    }

    struct Fixture<'a> {
        managed: &'a ManagedNames,
        own_cookies: &'a OwnCookies,
    }

    #[test]
    fn a_renewed_cookie_is_in_no_answer_that_a_shared_cache_may_keep() {
        let managed = ManagedNames::new(&crate::gate::fixture::settings("https://login.test", vec![]));
        let own_cookies = OwnCookies::new("menshen");
        let fixture = Fixture {
            managed: &managed,
            own_cookies: &own_cookies,
        };
        for (needs_login, cache_control, renewed, becomes) in [
            (true, None, true, Some("private")),
            (true, Some("public, max-age=9"), true, Some("private, max-age=9")),
            (false, None, true, Some("private")),
            (false, Some("no-store"), true, Some("no-store")),
            (false, Some("private, max-age=9"), true, Some("private, max-age=9")),
            (false, Some("public, max-age=9"), false, Some("public, max-age=9")),
            (false, Some("max-age=9"), false, Some("max-age=9")),
            (false, Some("no-cache"), false, Some("no-cache")),
            (false, Some("private=\"x-a\""), false, Some("private=\"x-a\"")),
        ] {
            let mut response = ResponseHeader::build(200, None).unwrap();
            if let Some(cache_control) = cache_control {
                response.insert_header(header::CACHE_CONTROL, cache_control).unwrap();
            }
            let did = returning(&fixture, needs_login, Some("menshen=new"))
                .apply(&mut response)
                .unwrap();
            let case = format!("{needs_login} {cache_control:?}");
            assert_eq!(did, renewed, "{case}");
            assert_eq!(response.headers.contains_key(header::SET_COOKIE), renewed, "{case}");
            let written = response.headers.get(header::CACHE_CONTROL);
            assert_eq!(written.map(|value| value.to_str().unwrap()), becomes, "{case}");
        }
    }

    #[test]
    fn only_a_token_of_our_own_stays_here() {
        for (value, own) in [
            ("Bearer mst_abc", Some("mst_abc")),
            ("bearer  mst_abc", Some("mst_abc")),
            ("BEARER\tmst_abc ", Some("mst_abc")),
            ("Bearer MST_ABC", Some("MST_ABC")),
            ("bEaReR Mst_", Some("Mst_")),
            ("Bearer mst_abc, Bearer other", Some("mst_abc, Bearer other")),
            ("Bearer abc", None),
            ("Bearer mst", None),
            ("Bearermst_abc", None),
            ("Bearer", None),
            ("Basic mst_abc", None),
            ("Token mst_abc", None),
            ("mst_abc", None),
            ("", None),
        ] {
            let authorization = HeaderValue::from_static(value);
            assert_eq!(own_bearer(&authorization), own.map(str::as_bytes), "{value}");
        }
    }
}
