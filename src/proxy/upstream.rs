//! Where a site's requests go: addresses resolved in the background, peers built from them.
//!
//! Names are looked up at the start and again every half minute, never inside a request (Pingora's own peer would do so
//! synchronously). An address that does not resolve keeps its last known addresses; one that never did is unavailable.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::watch;
use tracing::warn;

use crate::config::settings::{Balance, Site, UpstreamAddress, UpstreamOptions};

/// The upstreams of one site.
#[derive(Debug)]
pub struct Upstreams {
    targets: Vec<Target>,
    options: UpstreamOptions,
    /// Pingora's pool key leaves out the certificate authority and ALPN: connections of two sites never mix.
    group: u64,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Target {
    address: UpstreamAddress,
    resolved: ArcSwap<Vec<SocketAddr>>,
}

/// One upstream chosen for one request.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// To connect to.
    pub peer: HttpPeer,
    /// `Host` that the upstream would get without the client's.
    pub host: String,
    /// Put before the path; usually empty.
    pub path_prefix: &'a str,
}

impl Upstreams {
    /// Of a site; `group` is its place in the configuration.
    pub fn new(site: &Site, group: usize) -> Self {
        let targets = site.upstreams.iter().map(|address| Target {
            address: address.clone(),
            resolved: ArcSwap::from_pointee(literal(address).into_iter().collect()),
        });
        Self {
            targets: targets.collect(),
            options: site.upstream.clone(),
            group: group as u64 + 1,
            turn: AtomicUsize::new(0),
        }
    }

    /// The next upstream in turn, or the one of this client; `None` when none has an address.
    pub fn choose(&self, client: IpAddr) -> Option<Chosen<'_>> {
        let count = self.targets.len();
        let start = match self.options.balance {
            Balance::ClientAddress => of_client(client),
            Balance::RoundRobin | Balance::LeastConnections => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        (0..count).find_map(|step| self.targets[(start.wrapping_add(step)) % count].chosen(start / count.max(1), self))
    }

    /// Looks names up until `shutdown` says true.
    pub async fn keep_resolved(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        loop {
            self.resolve().await;
            tokio::select! {
                () = tokio::time::sleep(RESOLVE_EVERY) => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Looks all names up once.
    pub async fn resolve(&self) {
        for target in &self.targets {
            let UpstreamAddress::Network { host, port, .. } = &target.address else {
                continue;
            };
            if literal(&target.address).is_some() {
                continue;
            }
            match tokio::net::lookup_host((host.as_str(), *port)).await {
                Ok(found) => {
                    let found: Vec<SocketAddr> = found.collect();
                    if !found.is_empty() && **target.resolved.load() != found {
                        target.resolved.store(Arc::new(found));
                    }
                }
                Err(error) => warn!(host, %error, "upstream name not resolved"),
            }
        }
    }

    fn peer_options(&self, peer: &mut HttpPeer) {
        peer.group_key = self.group;
        let tls = peer.is_tls();
        let options = &mut peer.options;
        options.connection_timeout = Some(self.options.connect_timeout);
        options.total_connection_timeout = Some(self.options.connect_timeout);
        options.read_timeout = Some(self.options.read_timeout);
        options.write_timeout = Some(self.options.read_timeout);
        options.idle_timeout = Some(UPSTREAM_IDLE);
        options.verify_cert = self.options.tls_verify;
        options.verify_hostname = self.options.tls_verify;
        if self.options.http2 {
            options.set_http_version(2, if tls { 1 } else { 2 });
            options.max_h2_streams = STREAMS_PER_CONNECTION;
        }
    }
}

impl Target {
    fn chosen<'a>(&'a self, turn: usize, upstreams: &Upstreams) -> Option<Chosen<'a>> {
        let (mut peer, host, path_prefix) = match &self.address {
            UpstreamAddress::Network {
                https,
                host,
                port,
                path,
            } => {
                let resolved = self.resolved.load();
                let address = *resolved.get(turn % resolved.len().max(1))?;
                let bracketed = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                let default = if *https { 443 } else { 80 };
                let authority = if *port == default {
                    bracketed
                } else {
                    format!("{bracketed}:{port}")
                };
                (HttpPeer::new(address, *https, host.clone()), authority, path.as_str())
            }
            UpstreamAddress::Unix { path } => {
                let peer = HttpPeer::new_uds(path.to_str()?, false, String::new()).ok()?;
                (peer, "localhost".to_owned(), "")
            }
        };
        upstreams.peer_options(&mut peer);
        Some(Chosen {
            peer,
            host,
            path_prefix,
        })
    }
}

fn literal(address: &UpstreamAddress) -> Option<SocketAddr> {
    match address {
        UpstreamAddress::Network { host, port, .. } => host
            .parse::<IpAddr>()
            .ok()
            .map(|address| SocketAddr::new(address, *port)),
        UpstreamAddress::Unix { .. } => None,
    }
}

/// The same upstream for one client as long as the list is the same.
fn of_client(client: IpAddr) -> usize {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    client.to_canonical().hash(&mut hasher);
    usize::try_from(hasher.finish() & 0xffff_ffff).unwrap_or_default()
}

const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// Shorter than gunicorn's two seconds: a request must not meet a connection that the upstream is closing.
const UPSTREAM_IDLE: Duration = Duration::from_millis(1_500);
/// Pingora's default of one would open a connection for every concurrent request.
const STREAMS_PER_CONNECTION: usize = 100;
