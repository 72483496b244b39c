//! When sessions were last used, for the list of sign-ins: noted in memory when a cookie is renewed, written to the store
//! in the background. Nothing waits for it, and what a crash loses is a coarse time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::debug;

use crate::session::token::SessionId;
use crate::store::Store;

/// Uses that are not written yet.
#[derive(Debug, Default)]
pub struct Uses {
    pending: Mutex<HashMap<SessionId, i64>>,
}

impl Uses {
    /// A session was used at `now` (Unix seconds).
    pub fn note(&self, session: SessionId, now: i64) {
        let mut pending = self.lock();
        if pending.len() < MOST || pending.contains_key(&session) {
            let at = pending.entry(session).or_insert(now);
            *at = now.max(*at);
        }
    }

    /// Writes what was noted until `shutdown` says true, and then once more.
    pub async fn write(&self, store: &Store, mut shutdown: watch::Receiver<bool>) {
        loop {
            let stop = tokio::select! {
                () = tokio::time::sleep(WRITE_EVERY) => false,
                _ = shutdown.wait_for(|stop| *stop) => true,
            };
            self.write_once(store).await;
            if stop {
                return;
            }
        }
    }

    async fn write_once(&self, store: &Store) {
        let noted = std::mem::take(&mut *self.lock());
        let noted: Vec<(SessionId, i64)> = noted.into_iter().collect();
        for (written, batch) in noted.chunks(BATCH).enumerate() {
            let rows: Vec<_> = batch.iter().map(|(id, at)| (id.to_text(), *at)).collect();
            if let Err(error) = store.touch_sessions(&rows).await {
                debug!(%error, "uses of sessions wait for the store");
                for (id, at) in &noted[written * BATCH..] {
                    self.note(*id, *at);
                }
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, i64>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits for a store that is away; some megabytes.
const MOST: usize = 100_000;
/// Rows in one transaction.
const BATCH: usize = 500;
const WRITE_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::SessionRow;
    use crate::store::fixtures::{self, NOW, session};

    #[tokio::test]
    async fn what_was_noted_is_written_and_what_could_not_be_waits() {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        let ids: Vec<_> = (0..BATCH + 1).map(|_| SessionId::random().unwrap()).collect();
        for id in &ids {
            let row = SessionRow {
                id: id.to_text(),
                ..session("", "u_1")
            };
            store.insert_session(&row).await.unwrap();
        }
        let uses = Uses::default();
        for id in &ids {
            uses.note(*id, NOW + 9);
        }
        uses.note(ids[0], NOW + 5);
        let away = store.reopen().await;
        away.close().await;
        uses.write_once(&away).await;
        assert_eq!(uses.lock().len(), ids.len());
        let (stop, stopping) = watch::channel(false);
        stop.send_replace(true);
        uses.write(&store, stopping).await;
        assert!(uses.lock().is_empty());
        for id in [ids[0], ids[BATCH]] {
            let row = store.session(&id.to_text()).await.unwrap().unwrap();
            assert_eq!(row.last_used_at, NOW + 9);
        }
    }
}
