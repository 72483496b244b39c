//! Names of headers and cookies that an operator may choose.
//!
//! An identity header must be one that nothing else on the way reads or writes: a name that frames the message, that a
//! hop removes, or that the application needs for itself is refused. Names are compared as backends fold them: without
//! regard to case, `_` as `-`.

use super::mistake::Fault;
use super::settings::{Claim, HeaderSet};
use super::values::is_token;
use super::words::parse_choice;

/// Reads the name of a header that carries identity.
pub(super) fn parse_identity_header(text: &str) -> Result<String, Fault> {
    if !is_token(text) {
        return Err(Fault::new(
            format!("`{text}` is not a header name"),
            "write letters, digits and -, for example \"X-User\"",
        ));
    }
    if text.contains('_') {
        return Err(Fault::new(
            format!("`{text}` has a _ in it"),
            format!(
                "write \"{}\": many servers drop names with _, and backends read both as one",
                text.replace('_', "-")
            ),
        ));
    }
    let folded = fold(text);
    let reserved =
        RESERVED.contains(&folded.as_str()) || RESERVED_BEGINNINGS.iter().any(|start| folded.starts_with(start));
    if reserved {
        return Err(Fault::new(
            format!("`{text}` has a meaning of its own on the way to the application"),
            "choose a name of its own, for example \"X-User\"",
        ));
    }
    Ok(text.to_owned())
}

/// Reads an entry of `allowed_headers`, in lower case.
pub(super) fn parse_allowed_header(text: &str) -> Result<String, Fault> {
    if !is_token(text) {
        return Err(Fault::new(
            format!("`{text}` is not a header name"),
            "write the name as the application expects it, for example \"X_Legacy\"",
        ));
    }
    if !text.contains('_') {
        return Err(Fault::new(
            format!("`{text}` has no _ and passes anyway"),
            "remove it: the list is for names with _",
        ));
    }
    let folded = fold(text);
    if RESERVED.contains(&folded.as_str()) || folded.starts_with("x-forwarded-") {
        return Err(Fault::new(
            format!("a backend may read `{text}` as `{folded}`"),
            "remove it from the list",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// Reads the session cookie's name.
pub(super) fn parse_cookie_name(text: &str) -> Result<String, Fault> {
    let lower = text.to_ascii_lowercase();
    for prefix in ["__host-", "__secure-"] {
        if let Some(rest) = lower.strip_prefix(prefix) {
            return Err(Fault::new(
                format!("`{text}` begins with a prefix"),
                format!("write \"{rest}\": __Host- is added over HTTPS"),
            ));
        }
    }
    parse_cookie(text)
}

/// Reads a cookie name of an application.
pub(super) fn parse_cookie(text: &str) -> Result<String, Fault> {
    if is_token(text) && text.len() <= 64 {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("`{text}` is not a cookie name"),
        "write up to 64 letters, digits, - and _",
    ))
}

/// Reads the name of a claim in a header table.
pub(super) fn parse_claim(text: &str) -> Result<Claim, Fault> {
    parse_choice(text, &CLAIMS)
}

/// A name as a backend may fold it.
pub(super) fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// Names of a set, as they are sent.
pub(super) fn names(set: &HeaderSet) -> Vec<&str> {
    match set {
        HeaderSet::RemoteUser => REMOTE_USER.to_vec(),
        HeaderSet::XForwarded => X_FORWARDED.to_vec(),
        HeaderSet::XAuthRequest => X_AUTH_REQUEST.to_vec(),
        HeaderSet::None => Vec::new(),
        HeaderSet::Custom(entries) => entries.iter().map(|(name, _)| name.as_str()).collect(),
    }
}

const REMOTE_USER: [&str; 5] = [
    "Remote-User",
    "Remote-Name",
    "Remote-Groups",
    "Remote-Email",
    "Remote-Phone",
];
const X_FORWARDED: [&str; 5] = [
    "X-Forwarded-User",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Groups",
    "X-Forwarded-Email",
    "X-Forwarded-Phone",
];
const X_AUTH_REQUEST: [&str; 4] = [
    "X-Auth-Request-User",
    "X-Auth-Request-Preferred-Username",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Email",
];

/// Every preset: clients' copies of all of these are stripped, whatever a site uses.
pub(super) const PRESETS: [HeaderSet; 3] = [HeaderSet::RemoteUser, HeaderSet::XForwarded, HeaderSet::XAuthRequest];

/// Claims by name.
pub(super) const CLAIMS: [(&str, Claim); 10] = [
    ("user", Claim::User),
    ("sub", Claim::Sub),
    ("preferred_username", Claim::PreferredUsername),
    ("name", Claim::Name),
    ("picture", Claim::Picture),
    ("groups", Claim::Groups),
    ("email", Claim::Email),
    ("phone_number", Claim::PhoneNumber),
    ("connection", Claim::Connection),
    ("sid", Claim::Sid),
];

/// Message framing, hop-by-hop (RFC 9110 §7.6.1), credentials, and what the gateway sets itself.
const RESERVED: [&str; 38] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "server",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

const RESERVED_BEGINNINGS: [&str; 5] = ["accept", "access-control-", "if-", "proxy-", "sec-"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_headers_have_no_other_meaning() {
        for (name, good) in [
            ("X-User", true),
            ("Remote-User", true),
            ("X-Menshen-Assertion", true),
            ("Cookie", false),
            ("HOST", false),
            ("Connection", false),
            ("Proxy-Authorization", false),
            ("Sec-Fetch-Site", false),
            ("X-Forwarded-For", false),
            ("X_User", false),
            ("X User", false),
            ("", false),
        ] {
            assert_eq!(parse_identity_header(name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn only_names_with_an_underscore_need_to_be_allowed() {
        assert_eq!(parse_allowed_header("X_Legacy"), Ok("x_legacy".to_owned()));
        for name in [
            "X-Legacy",
            "X_Forwarded_For",
            "Content_Length",
            "X_Forwarded_User",
            "a b_",
        ] {
            assert!(parse_allowed_header(name).is_err(), "{name}");
        }
    }

    #[test]
    fn cookie_prefixes_are_not_typed_by_hand() {
        for (name, good) in [
            ("menshen", true),
            ("__Host-menshen", false),
            ("__secure-x", false),
            ("a b", false),
            ("a=b", false),
            ("", false),
        ] {
            assert_eq!(parse_cookie_name(name).is_ok(), good, "{name}");
        }
    }
}
