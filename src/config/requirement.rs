//! Conditions of routes: `user:`, `group:`, `phone:`, `email-domain:`, `connection:`, `network:`.

use super::mistake::Fault;
use super::settings::Requirement;
use super::values::{is_e164, parse_connection_id, parse_network};
use super::words::nearest;

/// Reads one entry of `require` or `require_all`.
pub(super) fn parse_requirement(text: &str) -> Result<Requirement, Fault> {
    let Some((kind, value)) = text.split_once(':') else {
        return Err(Fault::new(
            format!("`{text}` does not say what it is"),
            format!("write \"group:{text}\" or \"user:{text}\""),
        ));
    };
    if value.trim() != value || value.is_empty() || value.chars().any(char::is_control) {
        return Err(Fault::new(
            format!("`{text}` has nothing, or white space, after the colon"),
            format!("write \"{kind}:\" and the value right behind it"),
        ));
    }
    match kind {
        "user" => Ok(Requirement::User(value.to_owned())),
        // Groups travel joined by commas: one with a comma in it would be two.
        "group" if value.contains(',') => Err(Fault::new(
            format!("`{text}` names a group with a comma"),
            "write one entry for each group",
        )),
        "group" => Ok(Requirement::Group(value.to_owned())),
        "phone" if is_e164(value) => Ok(Requirement::Phone(value.to_owned())),
        "phone" => Err(Fault::new(
            format!("`{value}` is not a phone number in E.164"),
            format!(
                "write + and the country code, for example \"phone:{}\"",
                international(value)
            ),
        )),
        "email-domain" => parse_email_domain(value),
        "connection" => parse_connection_id(value).map(Requirement::Connection),
        "network" => parse_network(value).map(Requirement::Network),
        _ => Err(Fault::new(
            format!("`{kind}:` is not a requirement"),
            match nearest(kind, KINDS.iter().copied()) {
                Some(kind) => format!("did you mean \"{kind}:{value}\"?"),
                None => format!("write one of {}:", KINDS.join(":, ")),
            },
        )),
    }
}

/// As it is written in a file.
impl std::fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => write!(formatter, "user:{user}"),
            Self::Group(group) => write!(formatter, "group:{group}"),
            Self::Phone(phone) => write!(formatter, "phone:{phone}"),
            Self::EmailDomain(domain) => write!(formatter, "email-domain:{domain}"),
            Self::Connection(id) => write!(formatter, "connection:{id}"),
            Self::Network(network) => write!(formatter, "network:{network}"),
        }
    }
}

fn parse_email_domain(value: &str) -> Result<Requirement, Fault> {
    let domain = value.to_ascii_lowercase();
    match url::Host::parse(&domain) {
        Ok(url::Host::Domain(domain)) if domain.contains('.') && !value.contains('@') => {
            Ok(Requirement::EmailDomain(domain))
        }
        _ => Err(Fault::new(
            format!("`{value}` is not a mail domain"),
            format!(
                "write what stands behind the @, for example \"email-domain:{}\"",
                value
                    .rsplit('@')
                    .next()
                    .filter(|rest| rest.contains('.'))
                    .unwrap_or("example.com")
            ),
        )),
    }
}

/// A number without a country code is most likely a mainland mobile.
fn international(value: &str) -> String {
    let digits: String = value.chars().filter(char::is_ascii_digit).collect();
    match digits.len() {
        11 if digits.starts_with('1') => format!("+86{digits}"),
        7..=15 if value.starts_with('+') => format!("+{digits}"),
        _ => "+8613800000000".to_owned(),
    }
}

const KINDS: [&str; 6] = ["user", "group", "phone", "email-domain", "connection", "network"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn requirements_are_typed() {
        assert_eq!(
            parse_requirement("user:alice"),
            Ok(Requirement::User("alice".to_owned()))
        );
        assert_eq!(
            parse_requirement("group:运维"),
            Ok(Requirement::Group("运维".to_owned()))
        );
        assert_eq!(
            parse_requirement("email-domain:Example.COM"),
            Ok(Requirement::EmailDomain("example.com".to_owned()))
        );
        assert_eq!(
            parse_requirement("network:10.0.0.0/8"),
            Ok(Requirement::Network("10.0.0.0/8".parse().unwrap()))
        );
        for text in [
            "ops",
            "group:",
            "group: ops",
            "group:a,b",
            "phone:13800000000",
            "email-domain:a@example.com",
            "network:x",
            "connection:Staff",
            "",
        ] {
            assert!(parse_requirement(text).is_err(), "{text}");
        }
    }

    #[test]
    fn remedies_are_ready_to_paste() {
        for (text, remedy) in [
            ("ops", "write \"group:ops\" or \"user:ops\""),
            ("grup:ops", "did you mean \"group:ops\"?"),
            (
                "phone:138 0000 0000",
                "write + and the country code, for example \"phone:+8613800000000\"",
            ),
            (
                "email-domain:a@example.com",
                "write what stands behind the @, for example \"email-domain:example.com\"",
            ),
        ] {
            assert_eq!(parse_requirement(text).unwrap_err().remedy, remedy, "{text}");
        }
    }
}
