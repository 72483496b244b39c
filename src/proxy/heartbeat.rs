//! This node tells the store every minute that it is there, and what it runs on, for `menshen doctor`.
//!
//! Nothing else depends on it: a store that does not take it is reported elsewhere, by those who need the store.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::debug;

use crate::config::fingerprints;
use crate::proxy::resources::Resources;
use crate::proxy::snapshot::Snapshot;
use crate::store::{NodeReport, StoreError};

/// Who this node is.
#[derive(Debug, Clone)]
pub(super) struct Itself {
    /// Machine and listener: the same after a restart and an upgrade.
    id: String,
    /// This process.
    run: String,
    started_at: i64,
}

impl Itself {
    pub(super) fn at(listener: Option<&SocketAddr>, started_at: i64) -> Self {
        let machine = machine();
        Self {
            id: listener.map_or_else(|| machine.clone(), |address| format!("{machine} {address}")),
            run: format!("{}-{started_at}", std::process::id()),
            started_at,
        }
    }

    /// Says it once.
    pub(super) async fn report(&self, resources: &Resources, snapshot: &Snapshot) {
        if let Err(error) = self.write(resources, snapshot).await {
            debug!(%error, "the store does not take this node's heartbeat");
        }
    }

    async fn write(&self, resources: &Resources, snapshot: &Snapshot) -> Result<(), StoreError> {
        let configuration = serde_json::to_string(&fingerprints(&snapshot.settings)).unwrap_or_default();
        resources
            .store
            .report_node(&NodeReport {
                id: self.id.clone(),
                run: self.run.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                generation: i64::try_from(snapshot.generation).unwrap_or(i64::MAX),
                configuration,
                started_at: self.started_at,
                clock: resources.clock.now(),
            })
            .await
    }
}

/// Says it again every minute and after each new configuration, until `stopping` says true; then takes it back.
pub(super) async fn follow(
    itself: Itself,
    resources: Arc<Resources>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = resources.configured.notified() => {}
            _ = stopping.wait_for(|stop| *stop) => break,
        }
        let current = snapshot.load_full();
        itself.report(&resources, &current).await;
    }
    if let Err(error) = resources.store.forget_node(&itself.id, &itself.run).await {
        debug!(%error, "the store does not take this node's farewell");
    }
}

/// What people call this machine.
fn machine() -> String {
    let of_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = of_kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// How often.
const EVERY: Duration = Duration::from_secs(60);
