//! A whole gateway: opened from settings, running in any runtime, stopped in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::accounts::Directory;
use crate::config::Settings;
use crate::gate::Gate;
use crate::identity::outgoing::PlanError;
use crate::login::Login;
use crate::login::codes::Codes;
use crate::login::keyring::{Keyring, KeyringError};
use crate::login::limits::Limits;
use crate::login::waiters::Waiters;
use crate::portal::branding::{Branding, BrandingError};
use crate::portal::pages::data_uri;
use crate::portal::{Inner, Portal};
use crate::proxy::front::{BindError, Door};
use crate::proxy::hooks::Hooks;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tls::{self, TlsError};
use crate::proxy::watch::{Patience, Watched};
use crate::session::cookie::CookieNames;
use crate::session::registry::Registry;
use crate::store::{Store, StoreError};
use crate::telemetry::audit::Auditor;
use crate::telemetry::clock::Clock;
use crate::wechat::{MiniProgram, Transport, TransportError};

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    connections: TaskTracker,
    auditor: Auditor,
    store: Store,
    grace: Duration,
}

/// Listeners bound before the settings are complete: a free port is then known when `public_url` is written.
#[derive(Debug)]
pub struct Doors {
    doors: Vec<(Door, bool)>,
}

/// Why a gateway does not start. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or not allowed.
    #[error("{0}; is another process running there, or does the port need a privilege?")]
    Bind(#[from] BindError),
    /// A certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys in it.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// A picture or style sheet.
    #[error("branding: {0}")]
    Branding(#[from] BrandingError),
    /// The client for WeChat.
    #[error(transparent)]
    Wechat(#[from] TransportError),
    /// The configuration has not been checked.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The data directory.
    #[error("{path}: {source}; make the directory or name another in server.data_dir")]
    DataDir {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Doors {
    /// Binds all listeners of a configuration.
    ///
    /// # Errors
    /// [`StartError::Bind`] or [`StartError::Tls`].
    pub fn open(settings: &Settings) -> Result<Self, StartError> {
        let acceptor = if settings.server.listen.iter().any(|listen| listen.tls) {
            Some(Arc::new(tls::acceptor(&settings.server.tls)?))
        } else {
            None
        };
        let mut doors = Vec::new();
        for listen in &settings.server.listen {
            let tls = acceptor.clone().filter(|_| listen.tls);
            doors.push((Door::bind(listen.address, tls)?, listen.redirect_to_https));
        }
        Ok(Self { doors })
    }

    /// The bound addresses, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().map(|(door, _)| door.address()).collect()
    }
}

impl Gateway {
    /// Binds, opens and serves.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        let doors = Doors::open(&settings)?;
        Self::start_at(doors, settings, clock).await
    }

    /// Opens the store, makes or reads the keys, and serves at listeners that are bound already.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_at(doors: Doors, settings: Settings, clock: Clock) -> Result<Self, StartError> {
        let settings = Arc::new(settings);
        prepare_data_dir(&settings)?;
        let store = Store::open(&settings.store.url).await?;
        let algorithm = settings.identity.algorithm;
        let keyring = Keyring::open(&store, settings.server.secret.as_ref(), algorithm, clock.now()).await?;
        let auditor = Auditor::start(store.clone());
        let names = CookieNames::new(&settings);
        let changed = Arc::new(Notify::new());
        let registry = Arc::new(Registry::new(
            &settings,
            store.clone(),
            Arc::clone(&keyring.sealing),
            clock.clone(),
            &names,
            Arc::clone(&changed),
        ));
        let login = Arc::new(login(&settings, &store, &keyring, &auditor, &clock, &names, changed)?);
        let gate = Arc::new(Gate::new(&settings));
        let portal = Portal::new(Inner {
            settings: Arc::clone(&settings),
            gate: Arc::clone(&gate),
            login: Arc::clone(&login),
            registry: Arc::clone(&registry),
            signing: Arc::clone(&keyring.signing),
            branding: Branding::read(&settings.branding)?,
            connection_logos: connection_logos(&settings),
            cookies: names,
        });
        let snapshot = Snapshot::new(Arc::clone(&settings), gate, portal, Arc::clone(&registry), keyring, 1)?;
        for upstreams in &snapshot.upstreams {
            upstreams.resolve().await;
        }
        let (stop, stopping) = watch::channel(false);
        let mut gateway = Self {
            addresses: doors.addresses(),
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            stop,
            tasks: Vec::new(),
            connections: TaskTracker::new(),
            auditor,
            store,
            grace: settings.server.grace_period,
        };
        gateway.start_background(&registry, &login, &stopping);
        gateway.serve(doors, &settings, &stopping);
        Ok(gateway)
    }

    /// The bound addresses, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What requests are decided by.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Stops: no new connections, streams end, requests in flight get the grace period, the audit is written out.
    pub async fn stop(self) {
        // The receivers are gone when every task has ended already.
        let _ = self.stop.send(true);
        self.connections.close();
        if tokio::time::timeout(self.grace, self.connections.wait()).await.is_err() {
            warn!(
                open = self.connections.len(),
                "connections cut after server.grace_period"
            );
        }
        for task in self.tasks {
            if let Err(error) = task.await {
                error!(%error, "a background task ended in panic");
            }
        }
        self.auditor.close().await;
        self.store.close().await;
        info!("stopped");
    }

    fn start_background(&mut self, registry: &Arc<Registry>, login: &Arc<Login>, stopping: &watch::Receiver<bool>) {
        let follow = (Arc::clone(registry), stopping.clone());
        self.tasks
            .push(tokio::spawn(async move { follow.0.follow(follow.1).await }));
        let sweep = (Arc::clone(login), stopping.clone());
        self.tasks
            .push(tokio::spawn(async move { sweep.0.keep_clean(sweep.1).await }));
        for upstreams in &self.snapshot.load().upstreams {
            self.tasks
                .push(tokio::spawn(Arc::clone(upstreams).maintain(stopping.clone())));
        }
    }

    fn serve(&mut self, doors: Doors, settings: &Settings, stopping: &watch::Receiver<bool>) {
        let conf = Arc::new(server_conf(settings));
        let proxy = |redirect_to_https| {
            let hooks = Hooks {
                snapshot: Arc::clone(&self.snapshot),
                redirect_to_https,
            };
            Arc::new(Watched::new(assemble(&conf, hooks), Patience::default()))
        };
        let (main, redirecting) = (proxy(false), proxy(true));
        for (door, redirects) in doors.doors {
            let app = Arc::clone(if redirects { &redirecting } else { &main });
            let serving = door.serve(app, stopping.clone(), self.connections.clone());
            self.tasks.push(tokio::spawn(serving));
        }
    }
}

fn assemble(conf: &Arc<ServerConf>, hooks: Hooks) -> HttpProxy<Hooks> {
    let mut proxy = http_proxy(conf, hooks);
    proxy.handle_init_modules();
    let mut h2 = H2Options::new();
    // Rapid reset, CONTINUATION floods and cookie crumbs (CVE-2023-44487, RUSTSEC-2024-0332): small numbers everywhere.
    h2.max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(H2_HEADER_LIST)
        .max_pending_accept_reset_streams(H2_RESETS);
    proxy.h2_options = Some(h2);
    proxy
}

fn server_conf(settings: &Settings) -> ServerConf {
    ServerConf {
        threads: settings.server.threads,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        // A request is tried again only before anything of it was sent, and then on one more upstream.
        max_retries: 2,
        ..ServerConf::default()
    }
}

fn login(
    settings: &Arc<Settings>,
    store: &Store,
    keyring: &Keyring,
    auditor: &Auditor,
    clock: &Clock,
    names: &CookieNames,
    changed: Arc<Notify>,
) -> Result<Login, StartError> {
    let transport = Arc::new(Transport::new(&settings.wechat)?);
    // One client per AppID: connections that share an app share its token and its quota.
    let mut apps: HashMap<&str, MiniProgram> = HashMap::new();
    let (mut wechat, mut codes) = (HashMap::new(), HashMap::new());
    let ticket_ttl = i64::try_from(settings.login.ticket_ttl.as_secs()).unwrap_or(120);
    for connection in &settings.connections {
        let app = apps.entry(&connection.app_id).or_insert_with(|| {
            MiniProgram::new(
                Arc::clone(&transport),
                connection.app_id.as_str(),
                connection.app_secret.clone(),
            )
        });
        wechat.insert(connection.id.clone(), app.clone());
        let scenes = Arc::clone(&keyring.scenes);
        if let Some(pool) = Codes::new(connection, ticket_ttl, scenes, app.clone(), clock.clone()) {
            codes.insert(connection.id.clone(), pool);
        }
    }
    Ok(Login {
        settings: Arc::clone(settings),
        clock: clock.clone(),
        store: store.clone(),
        directory: Directory::new(store.clone()),
        scenes: Arc::clone(&keyring.scenes),
        ring: Arc::clone(&keyring.sealing),
        cookies: names.clone(),
        waiters: Waiters::default(),
        limits: Limits::new(&settings.limits),
        auditor: auditor.clone(),
        wechat,
        codes,
        revocations_changed: changed,
    })
}

/// A logo that cannot be read was reported by `check`; a code without one still works.
fn connection_logos(settings: &Settings) -> HashMap<String, String> {
    let mut logos = HashMap::new();
    for connection in &settings.connections {
        let Some(path) = &connection.logo else { continue };
        let media_type = match path.extension().and_then(|text| text.to_str()) {
            Some("svg") => "image/svg+xml",
            Some("jpg" | "jpeg") => "image/jpeg",
            Some("webp") => "image/webp",
            _ => "image/png",
        };
        match std::fs::read(path) {
            Ok(bytes) => {
                logos.insert(connection.id.clone(), data_uri(media_type, &bytes));
            }
            Err(error) => warn!(connection = connection.id, path = %path.display(), %error, "logo not read"),
        }
    }
    logos
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

/// Concurrent requests of one HTTP/2 connection.
const H2_STREAMS: u32 = 128;
/// Decoded bytes, cookie crumbs counted.
const H2_HEADER_LIST: u32 = 64 * 1024;
const H2_RESETS: usize = 32;
const UPSTREAM_POOL: usize = 512;

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
