//! `[session]`, `[identity]`, `[login]` and `[limits]`.

use std::time::Duration;

use toml::de::DeValue;

use super::super::header::{fold, parse_claim, parse_cookie_name, parse_identity_header};
use super::super::node::Node;
use super::super::reading::Reading;
use super::super::section::Section;
use super::super::settings::{
    Algorithm, HeaderSet, Identity, Limits, Login, LoginAnswer, NumberEntry, Rate, SameSite, Session,
};
use super::super::values::parse_rate;
use super::super::words::parse_choice;

pub(super) fn read_session(reading: &mut Reading<'_>, section: &Section<'_>) -> Session {
    Session {
        // Browsers keep no cookie longer than 400 days (RFC 6265bis).
        lifetime: section.duration(reading, "lifetime", MINUTE..=DAY * 400),
        idle_timeout: section.duration(reading, "idle_timeout", MINUTE..=DAY * 400),
        cookie_name: section
            .parse(reading, "cookie_name", parse_cookie_name)
            .unwrap_or_default(),
        same_site: section
            .choice(
                reading,
                "same_site",
                &[("lax", SameSite::Lax), ("strict", SameSite::Strict)],
            )
            .unwrap_or(SameSite::Lax),
        revocation_delay: section.duration(reading, "revocation_delay", SECOND..=MINUTE * 5),
        store_outage: section.duration(reading, "store_outage", Duration::ZERO..=DAY * 7),
    }
}

pub(super) fn read_identity(reading: &mut Reading<'_>, section: &Section<'_>) -> Identity {
    let algorithms = [
        ("ES256", Algorithm::Es256),
        ("EdDSA", Algorithm::EdDsa),
        ("RS256", Algorithm::Rs256),
        ("HS256", Algorithm::Hs256),
    ];
    Identity {
        algorithm: section
            .choice(reading, "algorithm", &algorithms)
            .unwrap_or(Algorithm::Es256),
        assertion_header: section
            .parse(reading, "assertion_header", parse_identity_header)
            .unwrap_or_default(),
        assertion_ttl: section.duration(reading, "assertion_ttl", SECOND * 30..=HOUR),
        headers: section
            .read(reading, "headers", read_headers)
            .unwrap_or(HeaderSet::None),
    }
}

pub(super) fn read_login(reading: &mut Reading<'_>, section: &Section<'_>) -> Login {
    let geo_database = section.path(reading, "geo_database");
    if let Some(path) = &geo_database {
        if path
            .extension()
            .is_some_and(|extension| extension == "xdb" || extension == "mmdb")
        {
            reading.probe_file("login.geo_database", path);
        } else {
            reading.error(
                "login.geo_database",
                format!("`{}` is neither .xdb nor .mmdb", path.display()),
                "name an ip2region .xdb file or a MaxMind .mmdb file",
            );
        }
    }
    Login {
        answer: section
            .choice(
                reading,
                "answer",
                &[("page", LoginAnswer::Page), ("redirect", LoginAnswer::Redirect)],
            )
            .unwrap_or(LoginAnswer::Page),
        // Below, nobody finds their phone in time; above, WeChat's own codes have ended.
        ticket_ttl: section.duration(reading, "ticket_ttl", SECOND * 30..=MINUTE * 5),
        bind_ttl: section.duration(reading, "bind_ttl", MINUTE..=HOUR),
        number_matching: section.flag(reading, "number_matching"),
        number_entry: section
            .choice(
                reading,
                "number_entry",
                &[("choose", NumberEntry::Choose), ("type", NumberEntry::Type)],
            )
            .unwrap_or(NumberEntry::Choose),
        single_sign_on: section.flag(reading, "single_sign_on"),
        geo_database,
    }
}

pub(super) fn read_limits(reading: &mut Reading<'_>, section: &Section<'_>) -> Limits {
    let mut rate = |name| {
        section.parse(reading, name, parse_rate).unwrap_or(Rate {
            count: 1,
            period: SECOND,
        })
    };
    Limits {
        login_pages: rate("login_pages"),
        account_codes: rate("account_codes"),
        phone_calls: rate("phone_calls"),
        phone_calls_per_person: rate("phone_calls_per_person"),
        waiting_streams: u32::try_from(section.number(reading, "waiting_streams", 1..=1_000_000)).unwrap_or(1),
        request_headers: section
            .size(reading, "request_headers", 4 << 10..=1 << 20)
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or_default(),
        request_body: read_body_limit(reading, section).flatten(),
    }
}

/// `request_body`, where 0 is no limit. The outer `None`: absent or bad.
pub(super) fn read_body_limit(reading: &mut Reading<'_>, section: &Section<'_>) -> Option<Option<u64>> {
    section
        .size(reading, "request_body", 0..=u64::MAX)
        .map(|size| Some(size).filter(|size| *size > 0))
}

/// A preset by name, or a table header → claim.
pub(super) fn read_headers(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<HeaderSet> {
    if !matches!(node.value, DeValue::Table(_)) {
        let presets = [
            ("remote-user", Preset::RemoteUser),
            ("x-forwarded", Preset::XForwarded),
            ("x-auth-request", Preset::XAuthRequest),
            ("none", Preset::None),
        ];
        return node
            .parse(reading, |text| parse_choice(text, &presets))
            .map(HeaderSet::from);
    }
    let mut headers: Vec<(String, _)> = Vec::new();
    for (name, value) in node.entries(reading)? {
        let header = parse_identity_header(name)
            .map_err(|fault| reading.fault(&value.key, fault))
            .ok();
        let claim = value.parse(reading, parse_claim);
        let (Some(header), Some(claim)) = (header, claim) else {
            continue;
        };
        if headers.iter().any(|(other, _)| fold(other) == fold(&header)) {
            reading.error(
                &value.key,
                format!("`{header}` stands here twice"),
                "remove one: header names know no case",
            );
            continue;
        }
        headers.push((header, claim));
    }
    if headers.is_empty() && reading.sound(&node.key) {
        reading.error(
            &node.key,
            "the header table is empty",
            "write \"none\" to send the assertion alone",
        );
    }
    reading.sound(&node.key).then_some(HeaderSet::Custom(headers))
}

/// The presets as a `Copy` choice.
#[derive(Clone, Copy)]
enum Preset {
    RemoteUser,
    XForwarded,
    XAuthRequest,
    None,
}

impl From<Preset> for HeaderSet {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::RemoteUser => Self::RemoteUser,
            Preset::XForwarded => Self::XForwarded,
            Preset::XAuthRequest => Self::XAuthRequest,
            Preset::None => Self::None,
        }
    }
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
