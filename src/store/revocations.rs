//! What was revoked, in an order that no reader can fall behind.
//!
//! A node remembers the last number that it has read and asks for what came after. On PostgreSQL a sequence would be a
//! trap: 7 can commit before 6, and a reader that has seen 7 never asks for 6. So numbers come from a row of `counters`
//! that its taker keeps locked until the commit: 7 cannot be handed out before 6 is visible or undone, and the order of
//! numbers is the order of commits. Revoking is rare; that it runs one at a time costs nothing.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Lock, Store, StoreError, WriteTx};

/// What a revocation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RevocationKind {
    /// What is known of a user has changed (groups, name, phone, e-mail): claims older than `at` are read anew, the
    /// sessions go on.
    Change,
    /// One session is over; `subject` is its id.
    Session,
    /// All that a user (`subject`) holds and that was made at or before `at` is over, and whether the user may go on is
    /// to be read anew. Sessions in the registry get a [`RevocationKind::Session`] each besides, so that clocks
    /// that differ save none of them.
    User,
}

/// Something that a node may have in memory and must forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Grows with every revocation, without gaps, in the order of commits.
    pub seq: i64,
    /// What it is about.
    pub kind: RevocationKind,
    /// A session id or a user id.
    pub subject: String,
    /// Unix seconds.
    pub at: i64,
    /// When nothing can be left that it would end.
    pub keep_until: i64,
}

impl Store {
    /// Up to `limit` of what was revoked after number `seq`, oldest first; from 0 on everything that still matters.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revocations_after(&self, seq: i64, limit: u32) -> Result<Vec<Revocation>, StoreError> {
        let query = sqlx::query(
            "SELECT seq, kind, subject, at, keep_until FROM revocations WHERE seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(seq)
        .bind(i64::from(limit));
        self.fetch_all(query).await?.iter().map(from_row).collect()
    }

    /// The number of the last revocation ever, also when it has been swept; 0 before the first.
    ///
    /// # Errors
    /// [`StoreError`].
    #[cfg(test)]
    pub(crate) async fn last_revocation(&self) -> Result<i64, StoreError> {
        let query = sqlx::query("SELECT value FROM counters WHERE name = $1").bind(Lock::Revocations.name());
        let row = self.fetch_optional(query).await?;
        let row = row.ok_or_else(|| StoreError::Broken("the counter revocations is missing".to_owned()))?;
        Ok(row.try_get("value")?)
    }

    /// Forgets revocations whose `keep_until` is before `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_revocations(&self, before: i64) -> Result<u64, StoreError> {
        self.execute(sqlx::query("DELETE FROM revocations WHERE keep_until < $1").bind(before))
            .await
    }
}

impl WriteTx {
    /// Writes one revocation. The transaction should hold [`Lock::Revocations`] already if it touched other rows.
    pub(crate) async fn revoke(
        &mut self,
        kind: RevocationKind,
        subject: &str,
        reason: &str,
        at: i64,
        keep_until: i64,
    ) -> Result<(), StoreError> {
        let seq = self.take(Lock::Revocations, 1).await?;
        let query = sqlx::query(
            "INSERT INTO revocations (seq, kind, subject, reason, at, keep_until) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(seq)
        .bind(kind.as_str())
        .bind(subject)
        .bind(reason)
        .bind(at)
        .bind(keep_until);
        self.execute(query).await.map(|_| ())
    }
}

impl RevocationKind {
    const ALL: [Self; 3] = [Self::Change, Self::Session, Self::User];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Session => "session",
            Self::User => "user",
        }
    }
}

fn from_row(row: &AnyRow) -> Result<Revocation, StoreError> {
    let kind: &str = row.try_get("kind")?;
    let kind = RevocationKind::ALL.into_iter().find(|known| known.as_str() == kind);
    Ok(Revocation {
        seq: row.try_get("seq")?,
        kind: kind.ok_or_else(|| StoreError::Broken("a revocation of unknown kind".to_owned()))?,
        subject: row.try_get("subject")?,
        at: row.try_get("at")?,
        keep_until: row.try_get("keep_until")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::fixtures::{self, NOW};
    use super::*;

    #[tokio::test]
    async fn a_reader_that_follows_the_numbers_misses_none_of_many_writers() {
        let store = fixtures::store().await;
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for turn in 0..10 {
                        let mut tx = store.begin().await.unwrap();
                        tx.revoke(RevocationKind::Session, &format!("s{writer}-{turn}"), "test", NOW, NOW)
                            .await
                            .unwrap();
                        // Every third is undone: its number must not become a gap that a reader jumps over.
                        if turn % 3 == 0 {
                            drop(tx);
                        } else {
                            tx.commit().await.unwrap();
                        }
                    }
                })
            })
            .collect();
        let (mut last, mut seen) = (0, Vec::new());
        while seen.len() < 8 * 6 {
            for revocation in store.revocations_after(last, 1000).await.unwrap() {
                assert_eq!(revocation.seq, last + 1, "a gap");
                last = revocation.seq;
                seen.push(revocation.subject);
            }
            tokio::task::yield_now().await;
        }
        for writer in writers {
            writer.await.unwrap();
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 8 * 6);
        assert_eq!(store.last_revocation().await.unwrap(), last);
    }

    #[tokio::test]
    async fn sweeping_keeps_what_still_matters_and_the_number_of_the_last() {
        let store = fixtures::store().await;
        let mut tx = store.begin().await.unwrap();
        tx.revoke(RevocationKind::Change, "u_1", "test", NOW, NOW + 10)
            .await
            .unwrap();
        tx.revoke(RevocationKind::User, "u_2", "test", NOW, NOW + 5)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let numbers = async |after, limit| {
            let page = store.revocations_after(after, limit).await.unwrap();
            page.into_iter().map(|revocation| revocation.seq).collect::<Vec<_>>()
        };
        assert_eq!(
            (numbers(0, 1).await, numbers(1, 1).await, numbers(2, 1).await),
            (vec![1], vec![2], vec![])
        );
        assert_eq!(store.sweep_revocations(NOW + 6).await.unwrap(), 1);
        let left = store.revocations_after(0, 1000).await.unwrap();
        let expected = Revocation {
            seq: 1,
            kind: RevocationKind::Change,
            subject: "u_1".to_owned(),
            at: NOW,
            keep_until: NOW + 10,
        };
        assert_eq!(left, [expected]);
        assert_eq!(store.last_revocation().await.unwrap(), 2);
    }
}
