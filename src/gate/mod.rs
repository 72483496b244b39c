//! The decision about a request, pure.
//!
//! A [`Gate`] is compiled once from the settings and shared behind their snapshot. It answers which site a host belongs
//! to, which rules a path falls under, what happens to a request, and where a login may lead back to. It knows no HTTP
//! server, no clock and no store.

pub mod decide;
pub mod destination;
#[cfg(test)]
pub(crate) mod fixture;
pub mod headers;
pub mod origin;
pub mod path;
pub mod popup;
pub mod request_class;
pub mod return_to;
pub mod route;
pub mod site;

use std::collections::BTreeSet;

use crate::config::settings::{ConnectionKind, LoginAnswer, Settings};
use crate::gate::decide::Decision;
use crate::gate::origin::OwnOrigin;
use crate::gate::path::within;
use crate::gate::site::{MatchedBy, SiteMatch, SiteTable};

/// The configuration in the form in which decisions are made.
#[derive(Debug, Clone)]
pub struct Gate {
    sites: SiteTable,
    https: bool,
    public_host: String,
    public_port: Option<u16>,
    login_answer: LoginAnswer,
    single_sign_on: bool,
    link_prefixes: Vec<LinkPrefix>,
    verification_files: BTreeSet<String>,
}

/// Where link codes lead.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LinkPrefix {
    host: String,
    /// Without its trailing slash.
    path: String,
}

impl Gate {
    /// Compiles a configuration. Cannot fail: the settings have passed every check.
    pub fn new(settings: &Settings) -> Self {
        let public_url = &settings.server.public_url;
        let mut link_prefixes: Vec<LinkPrefix> = Vec::new();
        for connection in &settings.connections {
            let prefix = match &connection.kind {
                ConnectionKind::MiniprogramQr(kind) => kind.qr.link_prefix(),
                _ => None,
            };
            let prefix = prefix.map(|prefix| LinkPrefix {
                host: prefix.host_str().unwrap_or_default().to_owned(),
                path: prefix.path().trim_end_matches('/').to_owned(),
            });
            // A prefix without a path would swallow the whole host.
            link_prefixes.extend(prefix.filter(|prefix| !prefix.path.is_empty() && !link_prefixes.contains(prefix)));
        }
        Self {
            sites: SiteTable::new(&settings.sites, &settings.connections),
            https: settings.https(),
            public_host: public_url.host_str().unwrap_or_default().to_owned(),
            public_port: public_url.port(),
            login_answer: settings.login.answer,
            single_sign_on: settings.login.single_sign_on,
            link_prefixes,
            verification_files: settings.server.verification_files.keys().cloned().collect(),
        }
    }

    /// The site of a host: lower case, no port, no trailing dot, IPv6 in brackets. `public_url`'s host belongs to a
    /// site only when that site writes it out: a wildcard does not make the portal's own origin an application's. The
    /// one exception is the installation whose sites all say `*`: it has no other host than that one.
    pub fn site(&self, host: &str) -> Option<SiteMatch<'_>> {
        self.sites
            .site(host)
            .filter(|found| found.by == MatchedBy::Exact || self.sites.names_no_host() || !self.is_public_host(host))
    }

    /// The sites.
    pub fn sites(&self) -> &SiteTable {
        &self.sites
    }

    /// Whether this is `public_url`'s host.
    pub fn is_public_host(&self, host: &str) -> bool {
        host == self.public_host
    }

    /// Whether two hosts that the configuration names belong to different sites, or one to none but the portal.
    pub fn are_apart(&self, one: &str, other: &str) -> bool {
        let place = |host| match self.site(host).filter(SiteMatch::is_named) {
            Some(found) => Some(Some(found.index)),
            None => self.is_public_host(host).then_some(None),
        };
        place(one).zip(place(other)).is_some_and(|(one, other)| one != other)
    }

    /// Whether people reach the gateway over HTTPS.
    pub fn https(&self) -> bool {
        self.https
    }

    /// The port of `public_url`, if it is not the scheme's own.
    pub fn public_port(&self) -> Option<u16> {
        self.public_port
    }

    /// Scheme, host and port of `public_url`.
    pub fn public_origin(&self) -> OwnOrigin<'_> {
        OwnOrigin {
            secure: self.https,
            host: &self.public_host,
            port: self.public_port,
        }
    }

    /// Whether one session at `public_url` serves every host.
    pub fn single_sign_on(&self) -> bool {
        self.single_sign_on
    }

    /// How a navigation without a session is answered.
    pub fn login_answer(&self) -> LoginAnswer {
        self.login_answer
    }

    fn has_link_prefix(&self, host: &str) -> bool {
        self.link_prefixes.iter().any(|prefix| prefix.host == host)
    }

    /// What Menshen answers outside of `/.menshen`: landing pages of link codes, and verification files at the root of
    /// `public_url` and beside link prefixes.
    fn public_page(&self, host: &str, path: &str) -> Option<Decision> {
        let file = |name: &str| self.verification_files.contains(name).then(|| name.to_owned());
        if self.is_public_host(host)
            && let Some(name) = path.strip_prefix('/').and_then(file)
        {
            return Some(Decision::VerificationFile { name });
        }
        let prefix = self
            .link_prefixes
            .iter()
            .find(|prefix| prefix.host == host && within(path, &prefix.path))?;
        let below = path
            .strip_prefix(prefix.path.as_str())
            .and_then(|rest| rest.strip_prefix('/'));
        Some(
            below
                .and_then(file)
                .map_or(Decision::Landing, |name| Decision::VerificationFile { name }),
        )
    }
}
