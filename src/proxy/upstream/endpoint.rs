//! One address of an upstream, and the requests that run there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tracing::warn;

use crate::proxy::upstream::condition::Condition;

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Network(SocketAddr),
    Unix(PathBuf),
}

/// One address.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Which of the site's upstreams it belongs to.
    pub(super) target: usize,
    pub(super) place: Place,
    pub(super) condition: Condition,
    in_flight: AtomicUsize,
}

/// A request at an address; given back when dropped.
#[derive(Debug)]
pub struct Lease(Arc<Endpoint>);

impl Endpoint {
    pub(super) fn new(target: usize, place: Place) -> Self {
        Self {
            target,
            place,
            condition: Condition::default(),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Requests that run there now.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Lease {
    pub(super) fn of(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }

    /// The request was connected.
    pub fn connected(&self) {
        self.0.condition.connected();
    }

    /// The request could not be connected.
    pub fn refused(&self) {
        if self.0.condition.refused(milliseconds()) {
            warn!(upstream = ?self.0.place, "an upstream that refuses connections is passed over for a while");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Since this process first asked.
pub(super) fn milliseconds() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}
