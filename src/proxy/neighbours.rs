//! What other nodes change is noticed here at once, where the store tells of it.
//!
//! Nothing depends on it: waiting pages look again by themselves every few seconds and revocations are read twice a
//! second. Without the notifications a login that another node confirmed would only seem slow.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::proxy::resources::Resources;
use crate::proxy::snapshot::Snapshot;
use crate::store::{Change, Changes, StoreError};

/// Wakes whoever waits on this node for what another one changed, until `stopping` says true.
pub async fn follow(resources: Arc<Resources>, snapshot: Arc<ArcSwap<Snapshot>>, mut stopping: watch::Receiver<bool>) {
    let mut failing = false;
    loop {
        let told = async {
            let Some(mut changes) = resources.store.changes().await? else {
                return Ok::<(), StoreError>(());
            };
            if std::mem::take(&mut failing) {
                info!("the store tells again what other nodes change");
            }
            // What was told before somebody listened.
            wake(&resources, &snapshot.load(), &Change::Unknown);
            wake_by(&mut changes, &resources, &snapshot).await
        };
        let ended = tokio::select! {
            ended = told => ended,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        match ended {
            // The engine has no notifications.
            Ok(()) => return,
            Err(error) if !failing => {
                failing = true;
                warn!(%error, "the store does not tell what other nodes change; it is looked for instead");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

async fn wake_by(changes: &mut Changes, resources: &Resources, snapshot: &ArcSwap<Snapshot>) -> Result<(), StoreError> {
    loop {
        let change = changes.next().await?;
        wake(resources, &snapshot.load(), &change);
    }
}

fn wake(resources: &Resources, snapshot: &Snapshot, change: &Change) {
    let login = &snapshot.portal.inner().login;
    match change {
        Change::Ticket(id) => login.waiters.wake(id),
        Change::Revocations => login.revocations_changed.notify_one(),
        Change::Keys => resources.keys_changed.notify_one(),
        Change::Unknown => {
            login.waiters.wake_all();
            login.revocations_changed.notify_one();
            resources.keys_changed.notify_one();
        }
    }
}

const LISTEN_AGAIN: Duration = Duration::from_secs(1);
