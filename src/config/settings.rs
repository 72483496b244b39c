//! What the program runs on: the operator's file after every check.
//!
//! Everything here is plain data, cheap to share behind one `Arc`, and already resolved: secrets are read, paths are
//! absolute, durations are `Duration`s, defaults are filled in. Nothing in this module can fail.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

/// One validated configuration file.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[store]`
    pub store: Store,
    /// `[session]`
    pub session: Session,
    /// `[identity]`
    pub identity: Identity,
    /// `[login]`
    pub login: Login,
    /// `[limits]`
    pub limits: Limits,
    /// `[branding]`
    pub branding: Branding,
    /// `[log]`
    pub log: Log,
    /// `[audit]`
    pub audit: Audit,
    /// `[wechat]`
    pub wechat: Wechat,
    /// `[[connections]]`, in the order of the file, which is the order on the login page.
    pub connections: Vec<Connection>,
    /// `[[sites]]`
    pub sites: Vec<Site>,
}

/// `[server]`: where the gateway listens and what it is called from outside.
#[derive(Debug, Clone)]
pub struct Server {
    /// Public listeners.
    pub listen: Vec<Listen>,
    /// Certificates, chosen by SNI; empty means plain HTTP behind a load balancer.
    pub tls: Vec<Certificate>,
    /// Loopback listener for metrics, probes and the key set; `None` switches it off.
    pub admin_listen: Option<SocketAddr>,
    /// Origin where phones and WeChat reach the portal: scheme, host, port, no path.
    pub public_url: Url,
    /// Peers whose forwarded headers count. Empty: nobody.
    pub trusted_proxies: Vec<IpNet>,
    /// Directory of the embedded store, pid file and upgrade socket.
    pub data_dir: PathBuf,
    /// Wraps the keys in the store; `None` leaves them in the clear, which `check` warns about.
    pub secret: Option<SecretString>,
    /// Worker threads.
    pub threads: usize,
    /// How long a stop waits for requests in flight.
    pub grace_period: Duration,
    /// `Strict-Transport-Security` max-age; `None` sends no header.
    pub hsts: Option<Duration>,
    /// Files that WeChat asks for at the root of `public_url`: name → content.
    pub verification_files: BTreeMap<String, String>,
}

/// One public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Address to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS with `Server::tls`.
    pub tls: bool,
    /// Answer everything with a redirect to HTTPS.
    pub redirect_to_https: bool,
    /// Expect a PROXY protocol preamble from `trusted_proxies`.
    pub proxy_protocol: bool,
    /// Serve `public_url`'s host only.
    pub public_url_only: bool,
}

/// A certificate chain and its key, both PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Chain, leaf first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// `sqlite:/absolute/path.db` or `postgres://…`; the latter may hold a password.
    pub url: SecretString,
}

/// `[session]`
#[derive(Debug, Clone)]
pub struct Session {
    /// Absolute life.
    pub lifetime: Duration,
    /// Ends without use.
    pub idle_timeout: Duration,
    /// Without prefix; `__Host-` is added over HTTPS.
    pub cookie_name: String,
    /// `SameSite` of the session cookie.
    pub same_site: SameSite,
    /// How often a node reads what was revoked, at the latest.
    pub revocation_delay: Duration,
    /// How long sessions go on while the store cannot be read.
    pub store_outage: Duration,
}

/// `SameSite` values that a session cookie may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Sent on top-level navigations from elsewhere.
    Lax,
    /// Never sent from elsewhere.
    Strict,
}

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

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// Login pages per client address.
    pub login_pages: Rate,
    /// Phone calls per client address.
    pub phone_calls: Rate,
    /// Phone calls per person (openid).
    pub phone_calls_per_person: Rate,
    /// Open status streams per client address; above it the page polls.
    pub waiting_streams: u32,
    /// Bytes of request line and headers together.
    pub request_headers: usize,
    /// Bytes of a request body; `None` = no limit.
    pub request_body: Option<u64>,
}

/// So many in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In which time.
    pub period: Duration,
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

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// JSON lines or text.
    pub format: LogFormat,
    /// Filter in the syntax of `tracing_subscriber::EnvFilter`.
    pub level: String,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[audit]`
#[derive(Debug, Clone)]
pub struct Audit {
    /// How long audit rows are kept.
    pub keep: Duration,
}

/// `[wechat]`: how WeChat's servers are reached.
#[derive(Debug, Clone)]
pub struct Wechat {
    /// `https://api.weixin.qq.com`
    pub api_base: Url,
    /// `https://open.weixin.qq.com`
    pub open_base: Url,
    /// `https://mp.weixin.qq.com`
    pub mp_base: Url,
    /// Egress proxy; may hold a password.
    pub proxy: Option<SecretString>,
    /// Of one call, connect to last byte.
    pub timeout: Duration,
}

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

/// `[[sites]]`: one protected application.
#[derive(Debug, Clone)]
pub struct Site {
    /// Shown to people.
    pub name: String,
    /// Host patterns.
    pub hosts: Vec<HostPattern>,
    /// `aud` of the assertion.
    pub audience: String,
    /// Where requests go; empty for forward-auth only.
    pub upstreams: Vec<UpstreamAddress>,
    /// How they go there.
    pub upstream: UpstreamOptions,
    /// Indices into `Settings::connections`, in the order of the site.
    pub connections: Vec<usize>,
    /// Identity headers.
    pub headers: HeaderSet,
    /// HS256 key.
    pub assertion_secret: Option<SecretString>,
    /// openid and unionid in the assertion.
    pub expose_wechat_ids: bool,
    /// Phone number in headers and assertion.
    pub expose_phone: bool,
    /// Bytes of a request body; `None` = no limit.
    pub request_body: Option<u64>,
    /// Client header names with `_` that pass, lower case.
    pub allowed_headers: Vec<String>,
    /// The application's cookies that end with the session.
    pub app_cookies: Vec<String>,
    /// The application folds case in paths.
    pub ignore_case: bool,
    /// Rules; the longest prefix wins, whatever the order here.
    pub routes: Vec<Route>,
}

/// A host name that a site answers to: lower case, no port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// Written out.
    Exact(String),
    /// `*.suffix`, any depth, not the bare name; the value is the suffix without `*.`.
    Suffix(String),
    /// Whatever is left.
    Any,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// Over the network.
    Network {
        /// TLS.
        https: bool,
        /// Name or literal, no brackets.
        host: String,
        /// Port, defaulted by scheme.
        port: u16,
        /// Path prefix without a trailing slash; usually empty.
        path: String,
    },
    /// A Unix socket.
    Unix {
        /// Absolute.
        path: PathBuf,
    },
}

/// How requests go to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamOptions {
    /// Which one of several.
    pub balance: Balance,
    /// TCP and TLS.
    pub connect_timeout: Duration,
    /// Between two reads.
    pub read_timeout: Duration,
    /// Path that answers 2xx when it is well; `None`: no checks.
    pub health_check: Option<String>,
    /// The client's Host goes on.
    pub pass_host: bool,
    /// Certificate and name are verified.
    pub tls_verify: bool,
    /// PEM file of the authorities that may have signed the certificate; `None`: those of the machine.
    pub tls_ca: Option<PathBuf>,
    /// Name to ask for and to verify instead of the address's own.
    pub tls_name: Option<String>,
    /// HTTP/2 to the upstream.
    pub http2: bool,
}

/// Which one of several upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastConnections,
    /// By client address.
    ClientAddress,
}

/// One rule of a site.
#[derive(Debug, Clone)]
pub struct Route {
    /// What it matches.
    pub path: PathPattern,
    /// Which methods; `None`: all.
    pub methods: Option<Vec<Method>>,
    /// What it takes.
    pub access: Access,
    /// Any of these.
    pub require: Vec<Requirement>,
    /// And all of these.
    pub require_all: Vec<Requirement>,
    /// `%2F` is forwarded untouched instead of refused.
    pub keep_encoded_slashes: bool,
    /// Origins that may read answers.
    pub cors_origins: Vec<String>,
    /// Further origins that may open WebSockets.
    pub websocket_origins: Vec<String>,
}

/// A normalised path that a route matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// This path and everything below it, by whole segments; no trailing slash, the root is empty.
    Prefix(String),
    /// This path alone.
    Exact(String),
}

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing; a session still carries its identity.
    Public,
    /// A session.
    Login,
    /// Nobody passes.
    Deny,
}

/// One condition on the person or the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// `user:` username or id.
    User(String),
    /// `group:`
    Group(String),
    /// `phone:` E.164.
    Phone(String),
    /// `email-domain:` lower case.
    EmailDomain(String),
    /// `connection:` id.
    Connection(String),
    /// `network:` client network.
    Network(IpNet),
}

impl Settings {
    /// Whether people reach the gateway over HTTPS, as `public_url` says: decides cookie prefixes and `Secure`.
    pub fn https(&self) -> bool {
        self.server.public_url.scheme() == "https"
    }

    /// `public_url` as the issuer of assertions and base of addresses: no trailing slash.
    pub fn issuer(&self) -> &str {
        self.server.public_url.as_str().trim_end_matches('/')
    }

    /// The connection with this id.
    pub fn connection(&self, id: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.id == id)
    }
}

impl ConnectionKind {
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

impl Locale {
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
