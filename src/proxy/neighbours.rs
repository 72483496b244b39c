//! What other nodes change is noticed here at once, where the store tells of it.
//!
//! Nothing depends on it: the tickets that phones have touched are looked through every few seconds, and revocations are
//! read twice a second. Without the notifications a login that another node confirmed would only seem slow.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::{debug, info, warn};

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

/// Wakes whoever waits for a ticket that a phone has touched, now and then, until `stopping` says true: a notification may
/// be lost, and a command line changes tickets too. One question for all pages that wait, nearly all of which wait for
/// somebody to take out a phone.
pub async fn look_again(
    resources: Arc<Resources>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let waiters = snapshot.load().portal.inner().login.waiters.clone();
        if waiters.is_empty() {
            continue;
        }
        match resources.store.touched_tickets(resources.clock.now()).await {
            Ok(touched) => touched.iter().for_each(|id| waiters.wake(id)),
            // Whoever waits hears of it at the next step, and the readiness does now.
            Err(error) => debug!(%error, "touched tickets not looked through"),
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

/// What a lost notification said is found again within this time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
