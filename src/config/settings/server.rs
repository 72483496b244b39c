//! The installation itself: where it listens, how long things live, how much is allowed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

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

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// Login pages per client address.
    pub login_pages: Rate,
    /// Codes of service accounts per client address.
    pub account_codes: Rate,
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
