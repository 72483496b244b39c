//! What other nodes change, as PostgreSQL tells it (`LISTEN`/`NOTIFY`).
//!
//! A notification only says where to look: it wakes whoever would have looked anyhow a little later, so that a lost one
//! costs seconds and nothing else. Triggers send them (migration 2), so that no statement can forget to and the command
//! line's changes are told as well. SQLite has no such thing; its one node wakes its own waiters.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use sqlx::postgres::PgListener;

use super::{Engine, Store, StoreError, bounded};

/// What somebody changed, this node included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The ticket with this id.
    Ticket(String),
    /// Something was revoked.
    Revocations,
    /// A key was made or retired.
    Keys,
    /// Notifications may have been lost: whatever is waited for is to be looked at.
    Unknown,
}

/// A connection that is told about changes.
#[derive(Debug)]
pub struct Changes {
    listener: PgListener,
}

impl Store {
    /// Listens from now on; `None` where the engine tells nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn changes(&self) -> Result<Option<Changes>, StoreError> {
        let (Engine::Postgres, Some(url)) = (self.engine, &self.url) else {
            return Ok(None);
        };
        let channel = self.channel().await?;
        Changes::listen(url, &channel).await.map(Some)
    }

    async fn channel(&self) -> Result<String, StoreError> {
        let query = sqlx::query("SELECT 'menshen_' || md5(current_schema()) AS channel");
        let row = self.fetch_optional(query).await?;
        let row = row.ok_or_else(|| StoreError::Broken("it has no schema".to_owned()))?;
        Ok(row.try_get("channel")?)
    }
}

impl Changes {
    async fn listen(url: &SecretString, channel: &str) -> Result<Self, StoreError> {
        bounded(async {
            let mut listener = PgListener::connect(url.expose_secret()).await?;
            // A lost connection is to be heard of, not mended in silence.
            listener.eager_reconnect(false);
            listener.listen(channel).await?;
            Ok(Self { listener })
        })
        .await
    }

    /// The next change. [`Change::Unknown`] when the connection was lost and is there again.
    ///
    /// # Errors
    /// [`StoreError`] when there is no connection: to be asked again after a pause.
    pub async fn next(&mut self) -> Result<Change, StoreError> {
        loop {
            match tokio::time::timeout(SILENCE, self.listener.try_recv()).await {
                Ok(Ok(Some(notification))) => return Ok(Change::parse(notification.payload())),
                Ok(Ok(None)) => return Ok(Change::Unknown),
                Ok(Err(error)) => return Err(error.into()),
                // A connection that a firewall forgot says nothing for ever.
                Err(_) => {
                    bounded(async { Ok(sqlx::query("SELECT 1").execute(&mut self.listener).await?) }).await?;
                }
            }
        }
    }
}

impl Change {
    fn parse(payload: &str) -> Self {
        match payload.split_once(' ') {
            Some(("ticket", id)) => Self::Ticket(id.to_owned()),
            None if payload == "revocations" => Self::Revocations,
            None if payload == "keys" => Self::Keys,
            // A newer node may tell more.
            _ => Self::Unknown,
        }
    }
}

/// After so long without a word the connection is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::fixtures::{self, NOW, scan, session};
    use super::*;

    #[test]
    fn payloads_say_where_to_look() {
        for (payload, change) in [
            ("ticket abc", Change::Ticket("abc".to_owned())),
            ("revocations", Change::Revocations),
            ("keys", Change::Keys),
            ("something newer", Change::Unknown),
            ("", Change::Unknown),
        ] {
            assert_eq!(Change::parse(payload), change, "{payload}");
        }
    }

    #[tokio::test]
    async fn another_nodes_changes_are_told_once_they_are_committed() {
        let store = fixtures::store().await;
        let Some(mut changes) = store.changes().await.unwrap() else {
            assert_eq!(store.engine, Engine::Sqlite);
            return;
        };
        let other = store.reopen().await;
        fixtures::user(&other, "u_1").await;
        other.insert_session(&session("s1", "u_1")).await.unwrap();
        let mut tx = other.begin().await.unwrap();
        tx.end_sessions_of("u_1", "undone", NOW).await.unwrap();
        drop(tx);
        assert!(other.ticket_scan(&scan("ticket", "o1")).await.unwrap());
        assert_eq!(changes.next().await.unwrap(), Change::Ticket("ticket".to_owned()));
        assert!(other.end_session("s1", "logout", NOW).await.unwrap());
        assert_eq!(changes.next().await.unwrap(), Change::Revocations);
    }
}
