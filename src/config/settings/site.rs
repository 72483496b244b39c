//! Protected applications and their rules.

use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use secrecy::SecretString;

use crate::config::settings::HeaderSet;

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
    /// From a complete request head to the end of the answer, WebSockets and event streams excepted; `None`: no limit.
    pub total_timeout: Option<Duration>,
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
