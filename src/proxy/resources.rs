//! What outlives a configuration, and how a generation is made of both.
//!
//! A new configuration must not cost anybody anything: sessions, revocations, waiting pages, limits, pools of codes,
//! WeChat's access tokens and connections to upstreams go on wherever what they were made of stays the same. So a
//! generation is made from the settings *and* the generation before; what changed is made anew, the rest is shared.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tracing::warn;

use crate::accounts::Directory;
use crate::config::Settings;
use crate::config::settings::{Connection, ConnectionKind, WebScope, Wechat};
use crate::gate::Gate;
use crate::login::Login;
use crate::login::account_codes::AccountCodes;
use crate::login::codes::Codes;
use crate::login::geo::{GeoDatabase, GeoError};
use crate::login::keyring::{Keyring, KeyringError};
use crate::login::limits::Limits;
use crate::login::official_account::OfficialAccountDesk;
use crate::login::open_links::OpenLinks;
use crate::login::redirect_app::RedirectApp;
use crate::login::waiters::Waiters;
use crate::portal::branding::Branding;
use crate::portal::pages::{CodePainter, data_uri};
use crate::portal::relay::Relays;
use crate::portal::{Inner, Portal};
use crate::proxy::gateway::StartError;
use crate::proxy::snapshot::{Parts, Snapshot};
use crate::proxy::tls::Usable;
use crate::proxy::upstream::Upstreams;
use crate::session::cookie::CookieNames;
use crate::session::registry::Registry;
use crate::store::Store;
use crate::telemetry::audit::Auditor;
use crate::telemetry::clock::Clock;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;
use crate::wechat::{MiniProgram, OfficialAccount, PushDoor, RelaySeal, ServiceAccount, Transport};

/// What a gateway has from its start to its stop.
#[derive(Debug)]
pub struct Resources {
    /// The one clock.
    pub clock: Clock,
    /// State.
    pub store: Store,
    /// What happened.
    pub auditor: Auditor,
    /// How often.
    pub metrics: Arc<Metrics>,
    /// Where in all that, for a collector.
    pub traces: Option<Traces>,
    /// Wakes `follow`, which otherwise looks once a second.
    pub keys_changed: Notify,
    /// Told after each new configuration.
    pub configured: Notify,
    stopping: AtomicBool,
    /// Numbers for the connection pools of upstreams.
    groups: AtomicUsize,
}

impl Resources {
    /// Opens the store and starts the audit.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn open(settings: &Settings, clock: Clock) -> Result<Self, StartError> {
        prepare_data_dir(settings)?;
        let metrics = Arc::new(Metrics::new()?);
        let store = Store::open(&settings.store.url).await?.counted_by(Arc::clone(&metrics));
        Ok(Self {
            clock,
            auditor: Auditor::start(store.clone()).counted_by(Arc::clone(&metrics)),
            store,
            traces: Traces::start(Arc::clone(&metrics)),
            metrics,
            keys_changed: Notify::new(),
            configured: Notify::new(),
            stopping: AtomicBool::new(false),
            groups: AtomicUsize::new(0),
        })
    }

    /// Whether a stop has been announced.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Not ready from now on.
    pub fn announce_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Makes a generation. Looks the names of new upstreams up, and reads the keys, making those that are missing.
    ///
    /// # Errors
    /// See [`StartError`]; nothing has changed then.
    pub async fn snapshot(
        &self,
        settings: Settings,
        certificates: Arc<Usable>,
        former: Option<&Snapshot>,
    ) -> Result<Snapshot, StartError> {
        let settings = Arc::new(settings);
        let branding = Branding::read(&settings.branding)?;
        let keyring = self.keyring(&settings, former).await?;
        let names = CookieNames::new(&settings);
        let ring = Arc::clone(&keyring.sealing);
        let (registry, changed) = match former {
            Some(former) => (
                former.registry.renewed(&settings, ring, &names),
                Arc::clone(&former.portal.inner().login.revocations_changed),
            ),
            None => {
                let changed = Arc::new(Notify::new());
                let (store, clock) = (self.store.clone(), self.clock.clone());
                let metrics = Arc::clone(&self.metrics);
                let registry = Registry::new(&settings, store, ring, clock, &names, Arc::clone(&changed), metrics);
                (registry, changed)
            }
        };
        let registry = Arc::new(registry);
        let former_login = former.map(|former| &*former.portal.inner().login);
        let login = Arc::new(self.login(&settings, &keyring, &names, changed, former_login)?);
        let gate = Arc::new(Gate::new(&settings));
        let portal = Portal::new(Inner {
            settings: Arc::clone(&settings),
            gate: Arc::clone(&gate),
            login,
            registry: Arc::clone(&registry),
            signing: Arc::clone(&keyring.signing),
            branding,
            painters: painters(&settings),
            cookies: names,
            relays: Relays::new(&settings)?,
        });
        let parts = Parts {
            upstreams: self.upstreams(&settings, former).await,
            upstream_durations: settings
                .sites
                .iter()
                .map(|site| self.metrics.upstream_duration(&site.name))
                .collect(),
            settings,
            gate,
            portal,
            registry,
            keyring,
            certificates,
            generation: former.map_or(1, |former| former.generation + 1),
        };
        Ok(Snapshot::new(parts)?)
    }

    async fn keyring(&self, settings: &Settings, former: Option<&Snapshot>) -> Result<Keyring, KeyringError> {
        let (secret, algorithm) = (settings.server.secret.as_ref(), settings.identity.algorithm);
        let now = self.clock.now();
        let Some(former) = former else {
            return Keyring::open(&self.store, secret, algorithm, now).await;
        };
        if !has_same_keys(&former.settings, settings) {
            former.keyring.reopen(&self.store, secret, algorithm, now).await?;
        }
        Ok(former.keyring.clone())
    }

    fn login(
        &self,
        settings: &Arc<Settings>,
        keyring: &Keyring,
        names: &CookieNames,
        changed: Arc<Notify>,
        former: Option<&Login>,
    ) -> Result<Login, StartError> {
        let transport = Transport::new(&settings.wechat)?.observed_by(Arc::clone(&self.metrics) as _);
        let transport = Arc::new(transport);
        let wechat = Self::apps(settings, former, &transport);
        let ticket_ttl = i64::try_from(settings.login.ticket_ttl.as_secs()).unwrap_or(120);
        let mut codes = HashMap::new();
        for connection in &settings.connections {
            let Some(app) = wechat.get(&connection.id) else {
                continue;
            };
            let pool = former
                .and_then(|former| former.codes.get(&connection.id))
                .filter(|pool| pool.are_of(connection, ticket_ttl, app))
                .cloned()
                .or_else(|| {
                    let (scenes, clock) = (Arc::clone(&keyring.scenes), self.clock.clone());
                    Codes::new(connection, ticket_ttl, scenes, app.clone(), clock)
                });
            if let Some(pool) = pool {
                codes.insert(connection.id.clone(), pool);
            }
        }
        let accounts = self.accounts(settings, keyring, former, &transport)?;
        let open_links = self.open_links(settings, &wechat, former);
        Ok(Login {
            settings: Arc::clone(settings),
            clock: self.clock.clone(),
            store: self.store.clone(),
            directory: Directory::new(self.store.clone()),
            scenes: Arc::clone(&keyring.scenes),
            ring: Arc::clone(&keyring.sealing),
            cookies: names.clone(),
            waiters: former.map_or_else(Waiters::default, |former| former.waiters.clone()),
            limits: former.map_or_else(
                || Limits::new(&settings.limits),
                |former| former.limits.renewed(&settings.limits),
            ),
            auditor: self.auditor.clone(),
            metrics: Arc::clone(&self.metrics),
            open_links,
            wechat,
            redirects: redirect_apps(settings, &transport),
            codes,
            accounts,
            geo: geo_database(settings, former)?,
            revocations_changed: changed,
        })
    }

    /// A link that is good goes on.
    fn open_links(
        &self,
        settings: &Settings,
        wechat: &HashMap<String, MiniProgram>,
        former: Option<&Login>,
    ) -> HashMap<String, OpenLinks> {
        let mut links = HashMap::new();
        for connection in &settings.connections {
            let Some(app) = wechat.get(&connection.id) else {
                continue;
            };
            let known = former
                .and_then(|former| former.open_links.get(&connection.id))
                .filter(|known| known.are_of(connection, app))
                .cloned();
            let of_connection = known.or_else(|| OpenLinks::new(connection, app.clone(), self.clock.clone()));
            links.extend(of_connection.map(|link| (connection.id.clone(), link)));
        }
        links
    }

    /// One client per AppID: connections that share an app share its token and its quota. An app that stays keeps them.
    fn apps(settings: &Settings, former: Option<&Login>, transport: &Arc<Transport>) -> HashMap<String, MiniProgram> {
        let former = former.filter(|former| reaches_wechat_as(&former.settings.wechat, &settings.wechat));
        let mut by_app: HashMap<&str, MiniProgram> = HashMap::new();
        let mut by_connection = HashMap::new();
        for connection in &settings.connections {
            let app = by_app.entry(&connection.app_id).or_insert_with(|| {
                former.and_then(|former| app_of(former, connection)).unwrap_or_else(|| {
                    let secret = connection.app_secret.clone();
                    MiniProgram::new(Arc::clone(transport), connection.app_id.as_str(), secret)
                })
            });
            by_connection.insert(connection.id.clone(), app.clone());
        }
        by_connection
    }

    /// The service accounts whose messages come here. One that stays keeps its access token and its codes.
    fn accounts(
        &self,
        settings: &Settings,
        keyring: &Keyring,
        former: Option<&Login>,
        transport: &Arc<Transport>,
    ) -> Result<HashMap<String, OfficialAccountDesk>, StartError> {
        let former = former.filter(|former| reaches_wechat_as(&former.settings.wechat, &settings.wechat));
        let ticket_ttl = i64::try_from(settings.login.ticket_ttl.as_secs()).unwrap_or(120);
        let mut accounts = HashMap::new();
        for connection in &settings.connections {
            let ConnectionKind::OfficialAccountQr(account) = &connection.kind else {
                continue;
            };
            let (id, app_id) = (&connection.id, connection.app_id.as_str());
            let known = former.and_then(|former| {
                let before = former.settings.connection(id)?;
                let same = before.app_id == app_id && is_same(&before.app_secret, &connection.app_secret);
                former.accounts.get(id).filter(|_| same)
            });
            let wechat = known.map_or_else(
                || ServiceAccount::new(Arc::clone(transport), app_id, connection.app_secret.clone()),
                |known| known.wechat.clone(),
            );
            let codes = known
                .map(|known| &known.codes)
                .filter(|codes| codes.are_of(id, ticket_ttl, &wechat))
                .cloned()
                .unwrap_or_else(|| {
                    let (scenes, clock) = (Arc::clone(&keyring.scenes), self.clock.clone());
                    AccountCodes::new(id, ticket_ttl, scenes, wechat.clone(), clock)
                });
            let desk = OfficialAccountDesk {
                wechat,
                door: PushDoor::new(account, app_id)?,
                relay: RelaySeal::of(account, app_id)?,
                codes,
                web: account.verify_opener.then(|| {
                    let (transport, secret) = (Arc::clone(transport), connection.app_secret.clone());
                    let open_base = settings.wechat.open_base.clone();
                    OfficialAccount::new(transport, open_base, app_id, secret, WebScope::Base)
                }),
            };
            accounts.insert(id.clone(), desk);
        }
        Ok(accounts)
    }

    /// Those of a site that stays go on, with what is known about their health and with their open connections.
    async fn upstreams(&self, settings: &Settings, former: Option<&Snapshot>) -> Vec<Arc<Upstreams>> {
        let known = former.map_or(&[][..], |former| &former.upstreams);
        let mut all: Vec<Arc<Upstreams>> = Vec::new();
        for site in &settings.sites {
            let stays = known.iter().find(|upstreams| upstreams.are_of(site));
            if let Some(upstreams) = stays {
                all.push(Arc::clone(upstreams));
                continue;
            }
            let upstreams = Upstreams::new(site, self.groups.fetch_add(1, Ordering::Relaxed));
            upstreams.resolve().await;
            all.push(Arc::new(upstreams));
        }
        all
    }
}

/// The same again while its file stays the same: it may hold a hundred megabytes.
fn geo_database(settings: &Settings, former: Option<&Login>) -> Result<Option<Arc<GeoDatabase>>, GeoError> {
    let former = former.and_then(|former| former.geo.as_ref());
    let path = settings.login.geo_database.as_deref();
    path.map(|path| GeoDatabase::read(path, former)).transpose()
}

fn redirect_apps(settings: &Settings, transport: &Arc<Transport>) -> HashMap<String, RedirectApp> {
    let app = |connection| RedirectApp::of(connection, &settings.wechat, transport);
    let connections = settings.connections.iter();
    connections
        .filter_map(|connection| Some((connection.id.clone(), app(connection)?)))
        .collect()
}

/// The app of a connection as another generation had it.
fn app_of(login: &Login, connection: &Connection) -> Option<MiniProgram> {
    let same =
        |other: &&Connection| other.app_id == connection.app_id && is_same(&other.app_secret, &connection.app_secret);
    let other = login.settings.connections.iter().find(same)?;
    login.wechat.get(&other.id).cloned()
}

fn reaches_wechat_as(one: &Wechat, other: &Wechat) -> bool {
    let Wechat {
        api_base,
        open_base,
        mp_base,
        proxy,
        timeout,
    } = one;
    *api_base == other.api_base
        && *open_base == other.open_base
        && *mp_base == other.mp_base
        && *timeout == other.timeout
        && is_same_option(proxy.as_ref(), other.proxy.as_ref())
}

fn has_same_keys(one: &Settings, other: &Settings) -> bool {
    one.identity.algorithm == other.identity.algorithm
        && is_same_option(one.server.secret.as_ref(), other.server.secret.as_ref())
}

fn is_same_option(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => is_same(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// Both are the operator's own; nobody guesses here.
fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

/// What draws the codes of each connection, those that are drawn here.
fn painters(settings: &Settings) -> HashMap<String, CodePainter> {
    let painter = |connection: &Connection| {
        let prefix = match &connection.kind {
            ConnectionKind::MiniprogramQr(kind) => kind.qr.link_prefix().map(ToString::to_string),
            _ => None,
        };
        CodePainter::new(logo(connection), prefix)
    };
    let connections = settings.connections.iter();
    connections
        .map(|connection| (connection.id.clone(), painter(connection)))
        .collect()
}

/// One that cannot be read was reported by `check`; a code without one still works.
fn logo(connection: &Connection) -> Option<String> {
    let path = connection.logo.as_ref()?;
    let media_type = match path.extension().and_then(|text| text.to_str()) {
        Some("svg") => "image/svg+xml",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        _ => "image/png",
    };
    match std::fs::read(path) {
        Ok(bytes) => Some(data_uri(media_type, &bytes)),
        Err(error) => {
            warn!(connection = connection.id, path = %path.display(), %error, "logo not read");
            None
        }
    }
}

/// 0700: the embedded store and its keys are for nobody else.
fn prepare_data_dir(settings: &Settings) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let path = &settings.server.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StartError::DataDir {
            path: path.display().to_string(),
            source,
        })
}
