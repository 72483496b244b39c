//! Everything that a request is decided and forwarded by, built once from the settings and swapped as a whole.

use std::sync::Arc;

use http::HeaderValue;
use prometheus::Histogram;

use crate::config::Settings;
use crate::config::settings::Access;
use crate::gate::Gate;
use crate::gate::decide::At;
use crate::identity::outgoing::{PlanError, SitePlan};
use crate::login::keyring::Keyring;
use crate::portal::Portal;
use crate::proxy::client_address::TrustedProxies;
use crate::proxy::cookies::OwnCookies;
use crate::proxy::framing::HeadLimits;
use crate::proxy::strip::ManagedNames;
use crate::proxy::tls::Usable;
use crate::proxy::upstream::Upstreams;
use crate::session::cookie::CookieNames;
use crate::session::registry::Registry;

/// One generation of the configuration with what was made of it.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// For decisions.
    pub gate: Arc<Gate>,
    /// Answers below the prefix.
    pub portal: Portal,
    /// Sessions.
    pub registry: Arc<Registry>,
    /// Keys.
    pub keyring: Keyring,
    /// Certificates of the listeners: which hosts have HTTPS.
    pub certificates: Arc<Usable>,
    /// What each site is told about people.
    pub plans: Vec<SitePlan>,
    /// Where each site's requests go.
    pub upstreams: Vec<Arc<Upstreams>>,
    /// How long they take, by site.
    pub upstream_durations: Vec<Histogram>,
    /// Header names that clients do not send on.
    pub managed: ManagedNames,
    /// Cookies that stay here.
    pub own_cookies: OwnCookies,
    /// Names of Menshen's cookies.
    pub names: CookieNames,
    /// Who may say who a client is.
    pub trusted: TrustedProxies,
    /// Of request heads.
    pub head_limits: HeadLimits,
    /// `Strict-Transport-Security`.
    pub hsts: Option<HeaderValue>,
    /// Grows with every configuration.
    pub generation: u64,
}

/// What a snapshot is made of; the rest follows from the settings.
#[derive(Debug)]
pub struct Parts {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// For decisions.
    pub gate: Arc<Gate>,
    /// Answers below the prefix.
    pub portal: Portal,
    /// Sessions.
    pub registry: Arc<Registry>,
    /// Keys.
    pub keyring: Keyring,
    /// Certificates of the listeners.
    pub certificates: Arc<Usable>,
    /// Of each site, in the order of the settings.
    pub upstreams: Vec<Arc<Upstreams>>,
    /// The same.
    pub upstream_durations: Vec<Histogram>,
    /// Number of this configuration.
    pub generation: u64,
}

impl Snapshot {
    /// Puts a generation together.
    ///
    /// # Errors
    /// [`PlanError`] for a configuration that no check has seen.
    pub fn new(parts: Parts) -> Result<Self, PlanError> {
        let Parts {
            settings,
            gate,
            portal,
            registry,
            keyring,
            certificates,
            upstreams,
            upstream_durations,
            generation,
        } = parts;
        let plans = settings
            .sites
            .iter()
            .map(|site| SitePlan::of(&settings, site))
            .collect::<Result<_, _>>()?;
        let hsts = settings.server.hsts.filter(|_| settings.https());
        Ok(Self {
            plans,
            upstreams,
            upstream_durations,
            managed: ManagedNames::new(&settings),
            own_cookies: OwnCookies::new(&settings.session.cookie_name),
            names: CookieNames::new(&settings),
            trusted: TrustedProxies::new(&settings.server.trusted_proxies),
            head_limits: HeadLimits {
                bytes: settings.limits.request_headers,
            },
            hsts: hsts.and_then(|life| HeaderValue::try_from(format!("max-age={}", life.as_secs())).ok()),
            settings,
            gate,
            portal,
            registry,
            keyring,
            certificates,
            generation,
        })
    }

    /// Whether a route needs a login.
    pub fn needs_login(&self, at: At) -> bool {
        let site = self.settings.sites.get(at.site);
        let route = at.route.and_then(|route| site.and_then(|site| site.routes.get(route)));
        route.is_none_or(|route| route.access != Access::Public)
    }
}
