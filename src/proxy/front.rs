//! The front door: listeners and connections.
//!
//! Menshen accepts connections itself and hands each to Pingora's HTTP proxy as a stream. Against Pingora's own service
//! loop that buys three things: a free port can be asked for and known, a whole gateway lives and ends inside any
//! runtime (the demo, the tests), and what precedes TLS and HTTP can be read. It costs this file.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::l4::listener::Listener as PingoraListener;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream};
use pingora::server::ShutdownWatch;
use pingora::services::listening::Service;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use crate::proxy::client_address::TrustedProxies;
use crate::proxy::cork::Corked;
use crate::proxy::proxy_protocol::{self, Beginning, PreambleError};
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tls::Tls;
use crate::proxy::watch::Watched;

/// A bound listener that does not accept yet.
pub struct Door {
    address: SocketAddr,
    listener: PingoraListener,
    /// The same socket once more, for a process that takes over.
    spare: std::net::TcpListener,
    tls: Option<Arc<Tls>>,
    proxy_protocol: bool,
}

/// Which part of everything a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    /// Everything is answered with a redirect to HTTPS.
    pub redirect_to_https: bool,
    /// Only the host of `public_url` is known.
    pub public_url_only: bool,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Which address.
    pub address: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

/// Why a connection ends before anything is served on it.
#[derive(Debug, thiserror::Error)]
enum Unserved {
    #[error("only trusted_proxies may connect to a listener with proxy_protocol")]
    Untrusted,
    #[error(transparent)]
    Preamble(#[from] PreambleError),
    #[error("the connection ended within the PROXY preamble")]
    Ended,
    #[error("reading the PROXY preamble failed: {0}")]
    Read(#[from] std::io::Error),
    #[error("TLS handshake failed: {0}")]
    Tls(#[from] Box<pingora::Error>),
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .field("proxy_protocol", &self.proxy_protocol)
            .finish()
    }
}

impl Door {
    /// Binds; port 0 takes a free one. With `proxy_protocol`, connections begin with the preamble of a trusted proxy.
    ///
    /// # Errors
    /// [`BindError`], usually because the port is taken or needs a privilege.
    pub fn bind(address: SocketAddr, tls: Option<Arc<Tls>>, proxy_protocol: bool) -> Result<Self, BindError> {
        let listener = bind(address).and_then(TcpListener::into_std);
        let listener = listener.map_err(|source| BindError { address, source })?;
        Self::at(listener, tls, proxy_protocol).map_err(|source| BindError { address, source })
    }

    /// At a socket that listens already.
    ///
    /// # Errors
    /// When it is none, or descriptors run out.
    pub fn at(listener: std::net::TcpListener, tls: Option<Arc<Tls>>, proxy_protocol: bool) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let spare = listener.try_clone()?;
        Ok(Self {
            address,
            listener: TcpListener::from_std(listener)?.into(),
            spare,
            tls,
            proxy_protocol,
        })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listening socket once more, for a process that takes over.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn duplicate(&self) -> std::io::Result<std::net::TcpListener> {
        self.spare.try_clone()
    }

    /// Whether connections begin with TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Accepts until `shutdown` says true; connections that are open then go on, as `connections` knows, until `cut`.
    pub async fn serve<A>(
        self,
        app: Arc<Watched<A>>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        mut shutdown: ShutdownWatch,
        connections: TaskTracker,
        cut: CancellationToken,
    ) where
        A: HttpServerApp + Send + Sync + 'static,
    {
        let Self {
            address,
            listener,
            tls,
            proxy_protocol,
            spare,
        } = self;
        info!(%address, tls = tls.is_some(), "listening");
        let fresh = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok(stream) => {
                    let (app, shutdown, tls) = (Arc::clone(&app), shutdown.clone(), tls.clone());
                    let trusted = proxy_protocol.then(|| snapshot.load_full());
                    let (cut, fresh) = (cut.clone(), fresh.token());
                    // On the heap once, instead of moved through every layer that waits for it.
                    let connection = Box::pin(async move {
                        let trusted = trusted.as_ref().map(|snapshot| &snapshot.trusted);
                        let limit = app.patience().beginning;
                        if let Some(stream) = establish(stream, trusted, tls, limit).await {
                            let serving = Service::handle_event(stream, Arc::clone(&app), shutdown);
                            app.run_connection(serving, fresh).await;
                        }
                    });
                    connections.spawn(async move { cut.run_until_cancelled_owned(connection).await });
                }
                Err(error) => {
                    error!(%address, %error, "accept failed");
                    // Out of descriptors: the next call would fail at once and spin. Some connection ends meanwhile.
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
        drop((listener, spare));
        // Whoever connected just now, and was accepted by nobody else, still gets an answer.
        fresh.close();
        if tokio::time::timeout(FIRST_REQUEST, fresh.wait()).await.is_err() {
            debug!(connections = fresh.len(), "connections without a request are closed");
        }
        // Idle connections close at once, and streams of our own end: nobody waits for them until the grace is over.
        app.cleanup().await;
        debug!(%address, "no longer listening");
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What precedes HTTP, with one deadline for all of it: a preamble where some peer is trusted to send it, and TLS.
async fn establish(
    mut stream: TcpStream,
    preamble_of: Option<&TrustedProxies>,
    tls: Option<Arc<Tls>>,
    limit: Duration,
) -> Option<Stream> {
    if let Err(error) = stream.set_nodelay() {
        debug!(%error, "no TCP_NODELAY");
    }
    let peer = peer(&stream);
    let established = async {
        if let Some(trusted) = preamble_of {
            read_preamble(&mut stream, trusted).await?;
        }
        Ok::<Stream, Unserved>(match tls {
            // A handshake takes much room for a moment, and the connection would keep it.
            Some(tls) => Box::new(Corked::new(Box::pin(tls.accept(stream)).await?)),
            None => Box::new(Corked::new(stream)),
        })
    };
    match tokio::time::timeout(limit, established).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error @ Unserved::Tls(_))) => {
            debug!(%error, "connection closed");
            None
        }
        // Of interest: only a proxy is meant to come here.
        Ok(Err(error)) => {
            info!(%error, ?peer, "connection closed");
            None
        }
        Err(_) => {
            debug!(?peer, "preamble or TLS handshake took too long");
            None
        }
    }
}

/// Takes the preamble off the stream; from then on its peer is the client that the preamble names.
async fn read_preamble(stream: &mut TcpStream, trusted: &TrustedProxies) -> Result<(), Unserved> {
    if !peer(stream).is_some_and(|peer| trusted.contains(peer.ip())) {
        return Err(Unserved::Untrusted);
    }
    let mut bytes = Vec::with_capacity(USUAL_PREAMBLE);
    let preamble = loop {
        match proxy_protocol::read(&bytes)? {
            Beginning::Complete(preamble) => break preamble,
            Beginning::Partial => {}
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(Unserved::Ended);
        }
    };
    if let Some(rest) = bytes.get(preamble.length..).filter(|rest| !rest.is_empty()) {
        stream.rewind(rest);
    }
    if let Some(client) = preamble.client {
        let mut digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        digest.peer_addr = Some(client.into()).into();
        stream.set_socket_digest(digest);
    }
    Ok(())
}

fn peer(stream: &TcpStream) -> Option<SocketAddr> {
    stream.get_socket_digest()?.peer_addr()?.as_inet().copied()
}

/// As many as the kernel lets (`somaxconn`).
const BACKLOG: u32 = 65_535;
/// Bytes that are asked for first: addresses, and the TLVs that balancers of clouds add.
const USUAL_PREAMBLE: usize = 536;
/// At a stop, for who has connected and not asked yet: the time from a connection to its request, with a margin for a TLS
/// handshake from far away.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(200);
