//! The front door: listeners and connections.
//!
//! Menshen accepts connections itself and hands each to Pingora's HTTP proxy as a stream. Against Pingora's own service
//! loop that buys three things: a free port can be asked for and known, a whole gateway lives and ends inside any
//! runtime (the demo, the tests), and what precedes HTTP on a plain connection can be read. It costs this file.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::{HttpServerApp, ServerApp};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::Stream;
use pingora::protocols::l4::listener::Listener as PingoraListener;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::server::ShutdownWatch;
use pingora::services::listening::Service;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use crate::proxy::watch::Watched;

/// A bound listener that does not accept yet.
pub struct Door {
    address: SocketAddr,
    listener: PingoraListener,
    tls: Option<Arc<Acceptor>>,
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

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

impl Door {
    /// Binds; port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError`], usually because the port is taken or needs a privilege.
    pub fn bind(address: SocketAddr, tls: Option<Arc<Acceptor>>) -> Result<Self, BindError> {
        let listener = bind(address).map_err(|source| BindError { address, source })?;
        let address = listener.local_addr().map_err(|source| BindError { address, source })?;
        Ok(Self {
            address,
            listener: listener.into(),
            tls,
        })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether connections begin with TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Accepts until `shutdown` says true; connections that are open then go on, as `connections` knows, until `cut`.
    pub async fn serve<A>(
        self,
        app: Arc<Watched<A>>,
        mut shutdown: ShutdownWatch,
        connections: TaskTracker,
        cut: CancellationToken,
    ) where
        A: HttpServerApp + Send + Sync + 'static,
    {
        info!(address = %self.address, tls = self.is_tls(), "listening");
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = shutdown.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok(stream) => {
                    let (app, shutdown, tls) = (Arc::clone(&app), shutdown.clone(), self.tls.clone());
                    let cut = cut.clone();
                    // On the heap once, instead of moved through every layer that waits for it.
                    let connection = Box::pin(async move {
                        if let Some(stream) = establish(stream, tls).await {
                            let serving = Service::handle_event(stream, Arc::clone(&app), shutdown);
                            app.run_connection(serving).await;
                        }
                    });
                    connections.spawn(async move { cut.run_until_cancelled_owned(connection).await });
                }
                Err(error) => {
                    error!(address = %self.address, %error, "accept failed");
                    // Out of descriptors: the next call would fail at once and spin. Some connection ends meanwhile.
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
        // Idle connections close at once, and streams of our own end: nobody waits for them until the grace is over.
        app.cleanup().await;
        debug!(address = %self.address, "no longer listening");
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

/// Nothing before HTTP on a plain connection; a handshake with a deadline on the others.
async fn establish(mut stream: TcpStream, tls: Option<Arc<Acceptor>>) -> Option<Stream> {
    if let Err(error) = stream.set_nodelay() {
        debug!(%error, "no TCP_NODELAY");
    }
    let Some(acceptor) = tls else {
        return Some(Box::new(stream));
    };
    match tokio::time::timeout(HANDSHAKE, acceptor.tls_handshake(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            debug!(%error, "TLS handshake failed");
            None
        }
        Err(_) => {
            debug!("TLS handshake took too long");
            None
        }
    }
}

/// As many as the kernel lets (`somaxconn`).
const BACKLOG: u32 = 65_535;
/// Three round trips from anywhere, with a margin for a phone in a lift.
const HANDSHAKE: Duration = Duration::from_secs(15);
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(200);
