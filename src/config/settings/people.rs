//! What people and applications get to see: identity, login, language.

use std::path::PathBuf;
use std::time::Duration;

/// `[identity]`
#[derive(Debug, Clone)]
pub struct Identity {
    /// Of the assertion.
    pub algorithm: Algorithm,
    /// Header that carries the assertion.
    pub assertion_header: String,
    /// Life of one assertion.
    pub assertion_ttl: Duration,
    /// Identity headers where a site does not say otherwise.
    pub headers: HeaderSet,
}

/// Signature algorithm of the assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA 2048 PKCS#1, for verifiers that know nothing else.
    Rs256,
    /// HMAC with `assertion_secret` of the site.
    Hs256,
}

/// Which identity headers an upstream gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderSet {
    /// `Remote-User` and its family.
    RemoteUser,
    /// `X-Forwarded-User` and its family.
    XForwarded,
    /// `X-Auth-Request-User` and its family.
    XAuthRequest,
    /// The assertion only.
    None,
    /// Header name → claim, as written.
    Custom(Vec<(String, Claim)>),
}

/// A claim that a header can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// Username, or the id of a user without one.
    User,
    /// User id.
    Sub,
    /// Username.
    PreferredUsername,
    /// Display name.
    Name,
    /// Picture URL.
    Picture,
    /// Groups joined by `,`.
    Groups,
    /// E-mail address.
    Email,
    /// Phone number in E.164.
    PhoneNumber,
    /// Connection id of the login.
    Connection,
    /// Session id as the assertion has it.
    Sid,
}

/// `[login]`
#[derive(Debug, Clone)]
pub struct Login {
    /// How a navigation without a session is answered.
    pub answer: LoginAnswer,
    /// Life of a ticket until it is scanned, and again from the scan.
    pub ticket_ttl: Duration,
    /// Life of a ticket while the browser binds.
    pub bind_ttl: Duration,
    /// The phone must choose the number that the browser shows.
    pub number_matching: bool,
    /// How the phone enters the number.
    pub number_entry: NumberEntry,
    /// One session at `public_url` serves every host.
    pub single_sign_on: bool,
    /// `.xdb` or `.mmdb` file.
    pub geo_database: Option<PathBuf>,
}

/// How a navigation without a session is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginAnswer {
    /// 401 with the login page in place.
    Page,
    /// 302 to `/.menshen/login`.
    Redirect,
}

/// How the phone enters the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberEntry {
    /// One of three.
    Choose,
    /// Typed.
    Type,
}

/// `[branding]`
#[derive(Debug, Clone)]
pub struct Branding {
    /// Title of the portal's pages.
    pub title: String,
    /// Logo file (PNG, JPEG, SVG or WebP).
    pub logo: Option<PathBuf>,
    /// Background picture.
    pub background: Option<PathBuf>,
    /// Extra style sheet.
    pub css: Option<PathBuf>,
    /// `None`: from `Accept-Language`.
    pub locale: Option<Locale>,
}

/// Languages of everything that an end user reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Locale {
    /// Simplified Chinese.
    ZhCn,
    /// Traditional Chinese.
    ZhTw,
    /// English.
    En,
    /// Japanese.
    Ja,
}

impl Locale {
    /// Every language, in the order in which people choose.
    pub const ALL: [Self; 4] = [Self::ZhCn, Self::ZhTw, Self::En, Self::Ja];

    /// The language with this tag.
    pub fn of_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|locale| locale.tag() == tag)
    }

    /// What its readers call it.
    pub fn own_name(self) -> &'static str {
        match self {
            Self::ZhCn => "简体中文",
            Self::ZhTw => "繁體中文",
            Self::En => "English",
            Self::Ja => "日本語",
        }
    }

    /// BCP 47 tag.
    pub fn tag(self) -> &'static str {
        match self {
            Self::ZhCn => "zh-CN",
            Self::ZhTw => "zh-TW",
            Self::En => "en",
            Self::Ja => "ja",
        }
    }
}
