//! The identity headers of an upstream: which names, which claims, which bytes.
//!
//! Values are percent-encoded UTF-8: `%` and every byte outside printable ASCII, so that decoding is always right and
//! no nickname can carry a line break (mod_auth_openidc 2026, CVE-2023-27493). The set is built once per session and
//! site; a request only clones reference-counted values.

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::config::settings::{Claim, HeaderSet};
use crate::identity::person::{Authentication, Person};

/// Header names in the order of sending, each with the claim that it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPlan {
    headers: Vec<(HeaderName, Claim)>,
}

/// A name of a custom set that is no header name; `check` reports it before a plan is made of it.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a header name")]
pub struct BadHeaderName(String);

impl HeaderPlan {
    /// The plan of a preset or of the operator's own table.
    ///
    /// # Errors
    /// [`BadHeaderName`] for a name that is not a token.
    pub fn of(set: &HeaderSet) -> Result<Self, BadHeaderName> {
        let preset = |table: &[(&'static str, Claim)]| {
            table
                .iter()
                .map(|(header, claim)| Ok((name(header)?, *claim)))
                .collect::<Result<Vec<_>, _>>()
        };
        let headers = match set {
            HeaderSet::RemoteUser => preset(REMOTE_USER)?,
            HeaderSet::XForwarded => preset(X_FORWARDED)?,
            HeaderSet::XAuthRequest => preset(X_AUTH_REQUEST)?,
            HeaderSet::None => Vec::new(),
            HeaderSet::Custom(table) => table
                .iter()
                .map(|(header, claim)| Ok((name(header)?, *claim)))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { headers })
    }

    /// Names in the order of sending.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }

    /// The headers of one person. A claim without a value gives no header.
    pub fn build(
        &self,
        person: &Person,
        authentication: &Authentication,
        sid: &str,
        expose_phone: bool,
    ) -> Vec<(HeaderName, HeaderValue)> {
        self.headers
            .iter()
            .filter_map(|(name, claim)| {
                let value = match claim {
                    Claim::User => Some(encode(person.user())),
                    Claim::Sub => Some(encode(&person.id)),
                    Claim::PreferredUsername => person.username.as_deref().map(encode),
                    Claim::Name => person.name.as_deref().map(encode),
                    Claim::Picture => person.picture.as_deref().map(encode),
                    Claim::Groups => groups(&person.groups),
                    Claim::Email => person.email.as_deref().map(encode),
                    Claim::PhoneNumber => person.phone.as_deref().filter(|_| expose_phone).map(encode),
                    Claim::Connection => Some(encode(&authentication.connection)),
                    Claim::Sid => Some(encode(sid)),
                }?;
                let mut value = HeaderValue::try_from(value).ok()?;
                value.set_sensitive(true);
                Some((name.clone(), value))
            })
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }
}

/// A header name as the operator wrote it.
///
/// # Errors
/// [`BadHeaderName`] for text that is not a token.
pub fn name(text: &str) -> Result<HeaderName, BadHeaderName> {
    HeaderName::try_from(text).map_err(|_| BadHeaderName(text.to_owned()))
}

/// Percent-encodes `%` and all bytes outside printable ASCII; leading and trailing spaces too, which a parser would trim.
pub fn encode(text: &str) -> String {
    let mut encoded = utf8_percent_encode(text, OUTSIDE_PRINTABLE).to_string();
    let lead = encoded.len() - encoded.trim_start_matches(' ').len();
    if lead > 0 {
        encoded.replace_range(..lead, &"%20".repeat(lead));
    }
    let trail = encoded.len() - encoded.trim_end_matches(' ').len();
    if trail > 0 {
        encoded.truncate(encoded.len() - trail);
        encoded.push_str(&"%20".repeat(trail));
    }
    encoded
}

/// Joined by `,`; a comma inside a name is encoded, so that splitting is always right.
fn groups(groups: &[String]) -> Option<String> {
    if groups.is_empty() {
        return None;
    }
    Some(
        groups
            .iter()
            .map(|group| encode(group).replace(',', "%2C"))
            .collect::<Vec<_>>()
            .join(","),
    )
}

const OUTSIDE_PRINTABLE: &AsciiSet = &CONTROLS.add(b'%');

/// As Authelia and much of the self-hosted world expect.
pub const REMOTE_USER: &[(&str, Claim)] = &[
    ("Remote-User", Claim::User),
    ("Remote-Name", Claim::Name),
    ("Remote-Groups", Claim::Groups),
    ("Remote-Email", Claim::Email),
    ("Remote-Phone", Claim::PhoneNumber),
];

/// As oauth2-proxy sends to upstreams.
pub const X_FORWARDED: &[(&str, Claim)] = &[
    ("X-Forwarded-User", Claim::User),
    ("X-Forwarded-Preferred-Username", Claim::PreferredUsername),
    ("X-Forwarded-Groups", Claim::Groups),
    ("X-Forwarded-Email", Claim::Email),
    ("X-Forwarded-Phone", Claim::PhoneNumber),
];

/// As oauth2-proxy answers to nginx.
pub const X_AUTH_REQUEST: &[(&str, Claim)] = &[
    ("X-Auth-Request-User", Claim::User),
    ("X-Auth-Request-Preferred-Username", Claim::PreferredUsername),
    ("X-Auth-Request-Groups", Claim::Groups),
    ("X-Auth-Request-Email", Claim::Email),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;
    use crate::identity::person::Method;

    fn authentication() -> Authentication {
        Authentication {
            connection: "staff".into(),
            method: Method::MiniProgram,
            time: 0,
            app_id: "wx".into(),
            openid: "o".into(),
            unionid: None,
        }
    }

    fn build(set: &HeaderSet, person: &Person) -> Vec<(String, String)> {
        let headers = HeaderPlan::of(set)
            .unwrap()
            .build(person, &authentication(), "sid", true);
        headers
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }

    #[test]
    fn person_without_username_is_called_by_the_id_and_claims_without_value_give_no_header() {
        let person = Person {
            id: "u_1".into(),
            name: Some("王小明".into()),
            ..Person::default()
        };
        assert_eq!(
            build(&HeaderSet::RemoteUser, &person),
            [
                ("remote-user".into(), "u_1".into()),
                ("remote-name".into(), "%E7%8E%8B%E5%B0%8F%E6%98%8E".to_owned())
            ]
        );
    }

    #[test]
    fn x_forwarded_sends_user_and_preferred_username() {
        let person = Person {
            id: "u_1".into(),
            username: Some("wang".into()),
            groups: vec!["ops".into(), "a,b".into()],
            phone: Some("+8613800000000".into()),
            ..Person::default()
        };
        assert_eq!(
            build(&HeaderSet::XForwarded, &person),
            [
                ("x-forwarded-user".into(), "wang".to_owned()),
                ("x-forwarded-preferred-username".into(), "wang".into()),
                ("x-forwarded-groups".into(), "ops,a%2Cb".into()),
                ("x-forwarded-phone".into(), "+8613800000000".into()),
            ]
        );
    }

    #[test]
    fn phone_is_withheld_where_the_site_says_so() {
        let person = Person {
            id: "u_1".into(),
            phone: Some("+8613800000000".into()),
            ..Person::default()
        };
        let headers = HeaderPlan::of(&HeaderSet::RemoteUser)
            .unwrap()
            .build(&person, &authentication(), "sid", false);
        assert!(headers.iter().all(|(name, _)| name != "remote-phone"));
    }

    #[test]
    fn line_breaks_cannot_split_a_header() {
        assert_eq!(encode("a\r\nX-Forwarded-User: admin"), "a%0D%0AX-Forwarded-User: admin");
        assert_eq!(encode(" 100% "), "%20100%25%20");
    }

    proptest! {
        #[test]
        fn decoding_is_always_right(text in "\\PC{0,60}|[ %\\x00-\\x1f]{0,20}") {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(encoded.trim(), &encoded);
            prop_assert_eq!(percent_decode_str(&encoded).decode_utf8().unwrap(), text);
        }
    }
}
