//! Where a site's requests go: addresses resolved in the background, the choice among them, peers built from them.
//!
//! Names are looked up at the start and again every half minute, never inside a request (Pingora's own peer would do so
//! synchronously). A name that does not resolve keeps its last known addresses; one that never did is unavailable. The
//! choice among several addresses is pure (`pick`); what it knows about them comes from requests and from health checks.

mod condition;
mod endpoint;
mod pick;
mod probe;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::watch;
use tracing::{error, warn};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::settings::{Site, UpstreamAddress, UpstreamOptions};
use crate::proxy::upstream::endpoint::{Endpoint, Place, milliseconds};
use crate::proxy::upstream::pick::pick;

pub use crate::proxy::upstream::endpoint::Lease;
pub use crate::proxy::upstream::probe::{Trial, TrialError};

/// The upstreams of one site.
#[derive(Debug)]
pub struct Upstreams {
    site: String,
    targets: Vec<UpstreamAddress>,
    options: UpstreamOptions,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    authorities: Option<Arc<CaType>>,
    /// Pingora's pool key leaves out the certificate authority and ALPN: connections of two sites never mix.
    group: u64,
    turn: AtomicUsize,
}

/// One upstream chosen for one request.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// To connect to.
    pub peer: HttpPeer,
    target: &'a UpstreamAddress,
    /// Put before the path; usually empty.
    pub path_prefix: &'a str,
    /// Counts the request for as long as it runs.
    pub lease: Lease,
}

impl Chosen<'_> {
    /// `Host` that the upstream gets where it does not get the client's.
    pub fn host(&self) -> String {
        match self.target {
            UpstreamAddress::Network { https, host, port, .. } => authority(host, *port, *https),
            UpstreamAddress::Unix { .. } => "localhost".to_owned(),
        }
    }
}

/// Asks every upstream of a site once, as its health check would; without one, whether it answers at all.
pub async fn try_out(site: &Site) -> Vec<Trial> {
    probe::try_out(site).await
}

impl Upstreams {
    /// Of a site; `group` is a number that no other upstreams of this process have.
    pub fn new(site: &Site, group: usize) -> Self {
        let upstreams = Self {
            site: site.name.clone(),
            targets: site.upstreams.clone(),
            options: site.upstream.clone(),
            endpoints: ArcSwap::default(),
            authorities: site.upstream.tls_ca.as_deref().map(read_authorities),
            group: group as u64 + 1,
            turn: AtomicUsize::new(0),
        };
        let known = upstreams
            .targets
            .iter()
            .enumerate()
            .filter_map(|(target, address)| Some((target, literal(address)?)));
        upstreams.take(known.collect());
        upstreams
    }

    /// Whether these are the upstreams of this site: then what is known about them, and their open connections, go on
    /// under another configuration.
    pub fn are_of(&self, site: &Site) -> bool {
        self.site == site.name && self.targets == site.upstreams && self.options == site.upstream
    }

    /// An address for this client's request, another than the one that it could not reach before; `None` when none is
    /// known.
    pub fn choose(&self, client: IpAddr, before: Option<&Lease>) -> Option<Chosen<'_>> {
        let endpoints = self.endpoints.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let picked = pick(
            &endpoints,
            self.options.balance,
            client,
            turn,
            before.map(Lease::endpoint),
            milliseconds(),
        )?;
        let endpoint = Arc::clone(picked);
        let target = self.targets.get(endpoint.target)?;
        let (mut peer, path_prefix) = match (target, &endpoint.place) {
            (UpstreamAddress::Network { https, host, path, .. }, Place::Network(address)) => {
                let name = self.options.tls_name.as_ref().unwrap_or(host).clone();
                let peer = HttpPeer::new(*address, *https, name);
                (peer, path.as_str())
            }
            (UpstreamAddress::Unix { .. }, Place::Unix(path)) => {
                let peer = HttpPeer::new_uds(path.to_str()?, false, String::new()).ok()?;
                (peer, "")
            }
            _ => return None,
        };
        self.peer_options(&mut peer);
        Some(Chosen {
            peer,
            path_prefix,
            target,
            lease: Lease::of(endpoint),
        })
    }

    /// Whether another address could take a request that one did not.
    pub fn has_choice(&self) -> bool {
        self.endpoints.load().len() > 1
    }

    /// Looks names up and asks the health check, until `shutdown` says true.
    pub async fn maintain(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let probing = async {
            match &self.options.health_check {
                Some(path) => probe::keep_asking(&self.site, path, &self.targets, &self.options, &self.endpoints).await,
                None => std::future::pending().await,
            }
        };
        let resolving = async {
            loop {
                tokio::time::sleep(RESOLVE_EVERY).await;
                self.resolve().await;
            }
        };
        tokio::select! {
            () = probing => {}
            () = resolving => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }

    /// Looks all names up once.
    pub async fn resolve(&self) {
        let mut places = Vec::new();
        for (target, address) in self.targets.iter().enumerate() {
            if let Some(place) = literal(address) {
                places.push((target, place));
                continue;
            }
            let UpstreamAddress::Network { host, port, .. } = address else {
                continue;
            };
            match tokio::net::lookup_host((host.as_str(), *port)).await {
                Ok(found) => places.extend(found.map(|address| (target, Place::Network(address)))),
                Err(error) => {
                    warn!(site = self.site, host, %error, "upstream name not resolved");
                    let known = self.endpoints.load();
                    places.extend(
                        known
                            .iter()
                            .filter(|known| known.target == target)
                            .map(|known| (target, known.place.clone())),
                    );
                }
            }
        }
        self.take(places);
    }

    /// Takes addresses into use; what is known about those that stay is kept.
    fn take(&self, places: Vec<(usize, Place)>) {
        let known = self.endpoints.load();
        let endpoints = places.into_iter().map(|(target, place)| {
            let same = known
                .iter()
                .find(|endpoint| endpoint.target == target && endpoint.place == place);
            same.map_or_else(|| Arc::new(Endpoint::new(target, place)), Arc::clone)
        });
        let endpoints = endpoints.collect();
        self.endpoints.store(Arc::new(endpoints));
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
        options.ca.clone_from(&self.authorities);
        options.verify_cert = self.options.tls_verify;
        options.verify_hostname = self.options.tls_verify;
        if self.options.http2 {
            options.set_http_version(2, if tls { 1 } else { 2 });
            options.max_h2_streams = STREAMS_PER_CONNECTION;
        }
    }
}

/// The certificates of a PEM file. A file that cannot be read any more trusts nobody, and Pingora then connects to nobody.
fn read_authorities(path: &Path) -> Arc<CaType> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.unwrap_or_else(|error| {
        error!(path = %path.display(), %error, "tls_ca not read: its upstreams are not reached");
        Vec::new()
    });
    let usable = certificates
        .into_iter()
        .map(|certificate| certificate.to_vec())
        .filter(|der| X509Certificate::from_der(der).is_ok());
    usable.map(|der| WrappedX509::new(der, parse_x509)).collect()
}

fn literal(address: &UpstreamAddress) -> Option<Place> {
    match address {
        UpstreamAddress::Network { host, port, .. } => host
            .parse::<IpAddr>()
            .ok()
            .map(|address| Place::Network(SocketAddr::new(address, *port))),
        UpstreamAddress::Unix { path } => Some(Place::Unix(path.clone())),
    }
}

fn authority(host: &str, port: u16, https: bool) -> String {
    let bracketed = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    if port == if https { 443 } else { 80 } {
        bracketed
    } else {
        format!("{bracketed}:{port}")
    }
}

const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// Shorter than gunicorn's two seconds: a request must not meet a connection that the upstream is closing.
const UPSTREAM_IDLE: Duration = Duration::from_millis(1_500);
/// Pingora's default of one would open a connection for every concurrent request.
const STREAMS_PER_CONNECTION: usize = 100;
