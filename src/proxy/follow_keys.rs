//! The keys of a running gateway: new ones are found in the store before they come into use.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::{error, info};

use crate::login::keyring::KeyringError;
use crate::proxy::resources::Resources;
use crate::proxy::snapshot::Snapshot;

/// Looks at the keys until `stopping` says true, under the secret of the configuration in use: once a second, and at once
/// when [`Resources::keys_changed`] is notified. What cannot be read leaves the keys as they are.
pub(super) async fn follow(
    snapshot: Arc<ArcSwap<Snapshot>>,
    resources: Arc<Resources>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut said = None;
    loop {
        tokio::select! {
            () = resources.keys_changed.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let snapshot = snapshot.load_full();
        let secret = snapshot.settings.server.secret.as_ref();
        let now = resources.clock.now();
        match snapshot.keyring.look_again(&resources.store, secret, now).await {
            Ok(changed) => {
                said = None;
                if changed {
                    info!("keys read again");
                }
            }
            // That the store is away is said by who reads the revocations.
            Err(KeyringError::Store(_)) => {}
            Err(error) => {
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    error!(
                        error = text,
                        "new keys cannot be read: sessions of other nodes will not hold here"
                    );
                    said = Some(text);
                }
            }
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
