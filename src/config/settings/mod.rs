//! What the program runs on: the operator's file after every check.
//!
//! Everything here is plain data, cheap to share behind one `Arc`, and already resolved: secrets are read, paths are
//! absolute, durations are `Duration`s, defaults are filled in. Nothing in this module can fail.

mod connection;
mod people;
mod server;
mod site;

pub use connection::{
    Association, BindMethod, Connection, ConnectionKind, EnvVersion, LONGEST_REDIRECT_HOST, MiniprogramLaunch,
    MiniprogramQr, MobileOpen, OfficialAccountQr, PhonePolicy, PushMode, QrKind, WebScope,
};
pub use people::{Algorithm, Branding, Claim, HeaderSet, Identity, Locale, Login, LoginAnswer, NumberEntry};
pub use server::{Audit, Certificate, Limits, Listen, Log, LogFormat, Rate, SameSite, Server, Session, Store, Wechat};
pub use site::{Access, Balance, HostPattern, PathPattern, Requirement, Route, Site, UpstreamAddress, UpstreamOptions};

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
