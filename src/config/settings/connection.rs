//! Ways to log in.

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

/// `[[connections]]`: one way to log in.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `^[a-z0-9-]{1,31}$`, immutable.
    pub id: String,
    /// Which kind, with what only that kind has.
    pub kind: ConnectionKind,
    /// On the page's tab and on the phone.
    pub display_name: String,
    /// AppID of the WeChat app.
    pub app_id: String,
    /// AppSecret of the WeChat app.
    pub app_secret: SecretString,
    /// Open Platform account whose unionids this app sees.
    pub open_platform: Option<String>,
    /// In the centre of the code and on the page.
    pub logo: Option<PathBuf>,
    /// Where to go after a login that no page asked for.
    pub callback_url: String,
    /// Phone number policy.
    pub phone: PhonePolicy,
    /// No new users.
    pub login_only: bool,
    /// What to do with a WeChat identity that nobody has.
    pub association: Association,
}

/// Characters of a host that logs in by a redirect: what is left of the 128 of WeChat's `state`.
pub const LONGEST_REDIRECT_HOST: usize = 56;

/// The kinds of connections.
#[derive(Debug, Clone)]
pub enum ConnectionKind {
    /// A mini-program code on the page.
    MiniprogramQr(MiniprogramQr),
    /// An application on the phone opens the mini program.
    MiniprogramLaunch(MiniprogramLaunch),
    /// An Open Platform website application.
    WebsiteQr {
        /// In a frame of the login page rather than by redirect.
        embedded: bool,
    },
    /// Follow or scan a service account's code.
    OfficialAccountQr(OfficialAccountQr),
    /// Inside WeChat's browser.
    OfficialAccountWeb {
        /// What the page asks WeChat for.
        scope: WebScope,
    },
}

/// What only `miniprogram-qr` has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MiniprogramQr {
    /// Page of the mini program that opens, no leading slash.
    pub page: String,
    /// Which published state of the mini program.
    pub env_version: EnvVersion,
    /// Which code the page shows.
    pub qr: QrKind,
    /// How a mobile browser opens the mini program.
    pub mobile: MobileOpen,
}

/// What only `miniprogram-launch` has.
#[derive(Debug, Clone)]
pub struct MiniprogramLaunch {
    /// `gh_…`
    pub original_id: String,
    /// AppIDs of the applications that may open it.
    pub app_ids: Vec<String>,
    /// Page of the mini program that opens, no leading slash.
    pub page: String,
    /// Which published state of the mini program.
    pub env_version: EnvVersion,
}

/// What only `official-account-qr` has.
#[derive(Debug, Clone)]
pub struct OfficialAccountQr {
    /// Token of the push endpoint.
    pub token: SecretString,
    /// EncodingAESKey, 43 characters; absent in plain mode.
    pub encoding_aes_key: Option<SecretString>,
    /// Message mode.
    pub push_mode: PushMode,
    /// Where all other events go.
    pub relay_url: Option<Url>,
    /// Token by which the program there checks them; absent, it shares the account's, and may speak as WeChat.
    pub relay_token: Option<SecretString>,
    /// Its EncodingAESKey; with `relay_token`, and absent in plain mode.
    pub relay_encoding_aes_key: Option<SecretString>,
    /// Who opens the link in the chat is asked of WeChat, and must be who scanned.
    pub verify_opener: bool,
    /// First words of the account.
    pub greeting: Option<String>,
}

/// Message mode of an official account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushMode {
    /// Encrypted.
    Safe,
    /// Both.
    Compatible,
    /// In the clear.
    Plain,
}

/// OAuth scope inside WeChat's browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebScope {
    /// openid only, silent.
    Base,
    /// Profile and unionid, with consent.
    UserInfo,
}

/// Published state of a mini program that a code opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvVersion {
    /// For everybody.
    Release,
    /// For testers.
    Trial,
    /// For developers.
    Develop,
}

/// Which code the page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QrKind {
    /// WeChat's round code; falls back to a link code while WeChat is unreachable, when a prefix is configured.
    Wxacode {
        /// Prefix of the fallback.
        fallback: Option<Url>,
    },
    /// An ordinary code with this prefix and the scene.
    Link {
        /// Ends in `/`.
        prefix: Url,
    },
}

impl QrKind {
    /// What the text of an ordinary code begins with, where there is one.
    pub fn link_prefix(&self) -> Option<&Url> {
        match self {
            Self::Link { prefix } => Some(prefix),
            Self::Wxacode { fallback } => fallback.as_ref(),
        }
    }
}

/// How a mobile browser opens the mini program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MobileOpen {
    /// Not at all.
    None,
    /// By `generate_urllink`.
    UrlLink,
    /// By `generatescheme`.
    Scheme,
}

/// Whether the phone number is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhonePolicy {
    /// No login without it.
    Required,
    /// The person may refuse.
    Optional,
    /// Not asked.
    Never,
}

/// What to do with a WeChat identity that nobody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Association {
    /// A new user.
    None,
    /// The user with this verified phone.
    Field,
    /// Ask the browser.
    Ask {
        /// Proofs that are accepted, in the order of the page.
        methods: Vec<BindMethod>,
    },
}

/// How a person proves to own an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindMethod {
    /// Issued by an operator, one use.
    BindCode,
    /// The account's password.
    Password,
}

impl ConnectionKind {
    /// Whether the browser goes to WeChat and comes back, so that there is neither a ticket nor a phone number.
    pub fn is_redirect(&self) -> bool {
        matches!(self, Self::WebsiteQr { .. } | Self::OfficialAccountWeb { .. })
    }

    /// Whether WeChat tells this kind phone numbers: mini programs have a button for that.
    pub fn gets_phone(&self) -> bool {
        matches!(self, Self::MiniprogramQr(_) | Self::MiniprogramLaunch(_))
    }

    /// The name in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::MiniprogramQr(_) => "miniprogram-qr",
            Self::MiniprogramLaunch(_) => "miniprogram-launch",
            Self::WebsiteQr { .. } => "website-qr",
            Self::OfficialAccountQr(_) => "official-account-qr",
            Self::OfficialAccountWeb { .. } => "official-account-web",
        }
    }
}

impl BindMethod {
    /// The name in the configuration, in forms and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BindCode => "bind_code",
            Self::Password => "password",
        }
    }
}

impl EnvVersion {
    /// The name in the configuration and on WeChat's wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Trial => "trial",
            Self::Develop => "develop",
        }
    }
}
