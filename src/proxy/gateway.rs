//! A whole gateway: opened from settings, running in any runtime, stopped in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::config::Settings;
use crate::identity::outgoing::PlanError;
use crate::login::geo::GeoError;
use crate::login::keyring::KeyringError;
use crate::portal::branding::BrandingError;
use crate::portal::relay::NoRelay;
use crate::proxy::admin::Status;
use crate::proxy::follow_keys;
use crate::proxy::front::{BindError, Door, Part};
use crate::proxy::handover::Inherited;
use crate::proxy::heartbeat;
use crate::proxy::hooks::Hooks;
use crate::proxy::neighbours;
use crate::proxy::reload::Reloader;
use crate::proxy::resources::Resources;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tls::{self, Certificates, Tls, TlsError};
use crate::proxy::watch::{Patience, Watched};
use crate::store::StoreError;
use crate::telemetry::clock::Clock;
use crate::telemetry::logs::LogError;
use crate::wechat::{BadAesKey, TransportError};

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    resources: Arc<Resources>,
    reloader: Reloader,
    stop: watch::Sender<bool>,
    doors: Vec<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
    connections: TaskTracker,
    cut: CancellationToken,
}

/// Listeners bound before the settings are complete: a free port is then known when `public_url` is written.
#[derive(Debug)]
pub struct Doors {
    doors: Vec<(Door, Part)>,
    certificates: Arc<Certificates>,
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
    /// The database of places.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// The client for WeChat.
    #[error(transparent)]
    Wechat(#[from] TransportError),
    /// The configuration has not been checked.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The configuration has not been checked.
    #[error(transparent)]
    AesKey(#[from] BadAesKey),
    /// The client for messages that go on.
    #[error(transparent)]
    Relay(#[from] NoRelay),
    /// A number cannot be counted: a bug.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The filter of the log.
    #[error(transparent)]
    Log(#[from] LogError),
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
        Self::inherit(settings, &mut Inherited::default())
    }

    /// The same with listeners of the process before, where it had them.
    ///
    /// # Errors
    /// As for [`Doors::open`].
    pub fn inherit(settings: &Settings, inherited: &mut Inherited) -> Result<Self, StartError> {
        let certificates = Arc::new(Certificates::new(tls::load(&settings.server)?));
        let tls = Arc::new(Tls::new(Arc::clone(&certificates)));
        let mut doors = Vec::new();
        for listen in &settings.server.listen {
            let tls = listen.tls.then(|| Arc::clone(&tls));
            let part = Part {
                redirect_to_https: listen.redirect_to_https,
                public_url_only: listen.public_url_only,
            };
            let door = match inherited.take(listen.address) {
                Some(listener) => Door::at(listener, tls, listen.proxy_protocol).map_err(|source| BindError {
                    address: listen.address,
                    source,
                })?,
                None => Door::bind(listen.address, tls, listen.proxy_protocol)?,
            };
            doors.push((door, part));
        }
        Ok(Self { doors, certificates })
    }

    /// The bound addresses, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().map(|(door, _)| door.address()).collect()
    }

    /// The listening sockets once more, for a process that takes over.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn duplicate(&self) -> std::io::Result<Vec<(SocketAddr, std::net::TcpListener)>> {
        self.doors
            .iter()
            .map(|(door, _)| Ok((door.address(), door.duplicate()?)))
            .collect()
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
        Self::start_with(doors, settings, clock, Patience::default()).await
    }

    /// The same with other limits for clients.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_with(
        doors: Doors,
        settings: Settings,
        clock: Clock,
        patience: Patience,
    ) -> Result<Self, StartError> {
        let resources = Arc::new(Resources::open(&settings, clock).await?);
        let snapshot = resources.snapshot(settings, doors.certificates.current(), None).await?;
        snapshot.registry.read().await?;
        let conf = Arc::new(server_conf(&snapshot.settings));
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let (stop, stopping) = watch::channel(false);
        let reloader = Reloader::new(
            Arc::clone(&snapshot),
            Arc::clone(&resources),
            Arc::clone(&doors.certificates),
            stopping.clone(),
        );
        let mut gateway = Self {
            addresses: doors.addresses(),
            snapshot,
            resources,
            reloader,
            stop,
            doors: Vec::new(),
            tasks: Vec::new(),
            connections: TaskTracker::new(),
            cut: CancellationToken::new(),
        };
        let itself = heartbeat::Itself::at(gateway.addresses.first(), gateway.resources.clock.now());
        // Before the first request: whoever asks the doctor finds a node that serves.
        itself.report(&gateway.resources, &gateway.snapshot()).await;
        gateway.start_background(&stopping, itself);
        gateway.serve(doors, &conf, &stopping, patience);
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

    /// What the operator's listener tells.
    pub fn status(&self) -> Status {
        Status {
            snapshot: Arc::clone(&self.snapshot),
            resources: Arc::clone(&self.resources),
        }
    }

    /// Takes new configurations into use.
    pub fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// Not ready from now on, and serving as before: who asks `/readyz` sends nothing new. Says how long a stop should be
    /// put off for that to work.
    pub fn announce_stop(&self) -> Duration {
        self.resources.announce_stop();
        (self.grace_period() / 10).min(LONGEST_NOTICE)
    }

    /// Stops: no new connections, streams end, requests in flight get the grace period, the audit is written out.
    pub async fn stop(self) {
        let grace = self.grace_period();
        let until = Instant::now() + grace;
        self.resources.announce_stop();
        // The receivers are gone when every task has ended already.
        let _ = self.stop.send(true);
        self.snapshot.load().portal.inner().login.waiters.close();
        // They may be accepting at this moment.
        for door in self.doors {
            if let Err(error) = door.await {
                error!(%error, "a listener ended in panic");
            }
        }
        self.connections.close();
        if tokio::time::timeout(grace, self.connections.wait()).await.is_err() {
            warn!(
                open = self.connections.len(),
                "connections cut after server.grace_period"
            );
            self.cut.cancel();
            self.connections.wait().await;
        }
        for task in self.tasks {
            if let Err(error) = task.await {
                error!(%error, "a background task ended in panic");
            }
        }
        self.snapshot.load().registry.tokens().flush().await;
        self.resources.auditor.close().await;
        if let Some(traces) = &self.resources.traces {
            let left = until.saturating_duration_since(Instant::now());
            traces.close(left.max(LAST_SPANS)).await;
        }
        self.resources.store.close().await;
        info!("stopped");
    }

    fn grace_period(&self) -> Duration {
        self.snapshot.load().settings.server.grace_period
    }

    fn start_background(&mut self, stopping: &watch::Receiver<bool>, itself: heartbeat::Itself) {
        // Every generation's registry shares what this one reads.
        let registry = Arc::clone(&self.snapshot.load().registry);
        let until = stopping.clone();
        self.tasks
            .push(tokio::spawn(async move { registry.follow(until).await }));
        let (registry, until) = (Arc::clone(&self.snapshot.load().registry), stopping.clone());
        self.tasks
            .push(tokio::spawn(async move { registry.write_uses(until).await }));
        let (snapshot, resources) = (Arc::clone(&self.snapshot), Arc::clone(&self.resources));
        self.tasks
            .push(tokio::spawn(follow_keys::follow(snapshot, resources, stopping.clone())));
        self.tasks
            .push(tokio::spawn(keep_clean(Arc::clone(&self.snapshot), stopping.clone())));
        let (resources, snapshot) = (Arc::clone(&self.resources), Arc::clone(&self.snapshot));
        self.tasks
            .push(tokio::spawn(neighbours::follow(resources, snapshot, stopping.clone())));
        let (resources, snapshot) = (Arc::clone(&self.resources), Arc::clone(&self.snapshot));
        self.tasks.push(tokio::spawn(neighbours::look_again(
            resources,
            snapshot,
            stopping.clone(),
        )));
        let (resources, snapshot) = (Arc::clone(&self.resources), Arc::clone(&self.snapshot));
        self.tasks.push(tokio::spawn(heartbeat::follow(
            itself,
            resources,
            snapshot,
            stopping.clone(),
        )));
    }

    fn serve(&mut self, doors: Doors, conf: &Arc<ServerConf>, stopping: &watch::Receiver<bool>, patience: Patience) {
        let proxy = |part| {
            let hooks = Hooks {
                snapshot: Arc::clone(&self.snapshot),
                metrics: Arc::clone(&self.resources.metrics),
                traces: self.resources.traces.clone(),
                part,
                patience,
            };
            Arc::new(Watched::new(assemble(conf, hooks), patience))
        };
        // Listeners for the same share their connections to upstreams.
        let mut proxies = HashMap::new();
        for (door, part) in doors.doors {
            let app = Arc::clone(proxies.entry(part).or_insert_with(|| proxy(part)));
            let (connections, cut) = (self.connections.clone(), self.cut.clone());
            let serving = door.serve(app, Arc::clone(&self.snapshot), stopping.clone(), connections, cut);
            self.doors.push(tokio::spawn(serving));
        }
    }
}

/// Sweeps what has ended, under the configuration in use.
async fn keep_clean(snapshot: Arc<ArcSwap<Snapshot>>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let snapshot = snapshot.load_full();
        let portal = snapshot.portal.inner();
        snapshot.registry.unused().sweep(portal.login.clock.now());
        snapshot.registry.sweep();
        snapshot.registry.tokens().flush().await;
        portal.login.sweep().await;
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

/// Concurrent requests of one HTTP/2 connection.
const H2_STREAMS: u32 = 128;
/// Decoded bytes, cookie crumbs counted.
const H2_HEADER_LIST: u32 = 64 * 1024;
const H2_RESETS: usize = 32;
const UPSTREAM_POOL: usize = 512;
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// For spans when requests have used the whole grace period up.
const LAST_SPANS: Duration = Duration::from_secs(1);
/// Who asks for readiness asks every few seconds; an operator does not wait longer for a stop.
const LONGEST_NOTICE: Duration = Duration::from_secs(2);

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
