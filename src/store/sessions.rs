//! The session registry: for listing and revocation. Requests are served from the sealed cookie, not from here.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Lock, RevocationKind, Statement, Store, StoreError, WriteTx};

/// A session as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Random; not a credential.
    pub id: String,
    /// Who.
    pub user_id: String,
    /// By which connection.
    pub connection: String,
    /// For which site.
    pub site: String,
    /// On which host.
    pub host: String,
    /// The browser, as JSON.
    pub device: String,
    /// Address of the login.
    pub address: String,
    /// Coarse place of the login.
    pub place: Option<String>,
    /// The ticket that it came from.
    pub ticket: Option<String>,
    /// Unix seconds.
    pub created_at: i64,
    /// When the person proved who they are.
    pub auth_time: i64,
    /// Absolute end.
    pub expires_at: i64,
    /// As of the last renewal of the cookie.
    pub last_used_at: i64,
    /// Ended before its time.
    pub ended_at: Option<i64>,
    /// The session that it was handed on from: they end together.
    pub parent: Option<String>,
}

impl Store {
    /// Records a session that came from no ticket; one from a ticket is recorded by [`Store::ticket_redeem`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_session(&self, session: &SessionRow) -> Result<(), StoreError> {
        self.execute(insert(session)).await.map(|_| ())
    }

    /// The session with this id, ended or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn session(&self, id: &str) -> Result<Option<SessionRow>, StoreError> {
        let query = sqlx::query(SELECT_BY_ID).bind(id);
        self.fetch_optional(query).await?.as_ref().map(from_row).transpose()
    }

    /// Ends a session, and all that came from the same login on other hosts, and revokes them, in one transaction. False
    /// if it has ended already or is not there.
    ///
    /// # Errors
    /// [`StoreError`]; then none has ended.
    pub async fn end_session(&self, id: &str, reason: &str, now: i64) -> Result<bool, StoreError> {
        Ok(self.end_sessions(&[id], reason, now).await? > 0)
    }

    /// Ends several sessions, and what came from the same logins, and revokes them, in one transaction: how many had not
    /// ended before.
    ///
    /// # Errors
    /// [`StoreError`]; then none has ended.
    pub async fn end_sessions(&self, ids: &[&str], reason: &str, now: i64) -> Result<u64, StoreError> {
        self.end_by(END_OF_ONE_LOGIN, ids, reason, now).await
    }

    /// Ends this session alone.
    ///
    /// # Errors
    /// As for [`Store::end_session`].
    pub async fn end_one_session(&self, id: &str, reason: &str, now: i64) -> Result<bool, StoreError> {
        Ok(self.end_by(END_ONE, &[id], reason, now).await? > 0)
    }

    async fn end_by(&self, statement: &'static str, ids: &[&str], reason: &str, now: i64) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        tx.lock(Lock::Revocations).await?;
        let mut ended = 0;
        for id in ids {
            // Waits for a hand-off that is under way, so that the statement below sees what it made.
            tx.execute(sqlx::query(HOLD_LOGIN).bind((*id).to_owned())).await?;
            let query = sqlx::query(statement).bind((*id).to_owned()).bind(now);
            for row in tx.fetch_all(query).await? {
                let (id, expires_at): (&str, i64) = (row.try_get("id")?, row.try_get("expires_at")?);
                let keep_until = expires_at + CLOCK_DIFFERENCE;
                tx.revoke(RevocationKind::Session, id, reason, now, keep_until).await?;
                ended += 1;
            }
        }
        if ended > 0 {
            tx.commit().await?;
        }
        Ok(ended)
    }

    /// Ends all that a user holds, in one transaction: how many sessions that were.
    ///
    /// # Errors
    /// [`StoreError`]; then none has ended.
    pub async fn end_sessions_of(&self, user_id: &str, reason: &str, now: i64) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        tx.lock(Lock::Revocations).await?;
        let ended = tx.end_sessions_of(user_id, reason, now).await?;
        tx.commit().await?;
        Ok(ended)
    }

    /// Forgets sessions whose absolute end was before `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_sessions(&self, before: i64) -> Result<u64, StoreError> {
        self.execute(sqlx::query("DELETE FROM sessions WHERE expires_at < $1").bind(before))
            .await
    }
}

impl WriteTx {
    /// As [`Store::end_sessions_of`]; before any other write of the transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_all_of(&mut self, user_id: &str, reason: &str, now: i64) -> Result<u64, StoreError> {
        self.lock(Lock::Revocations).await?;
        self.end_sessions_of(user_id, reason, now).await
    }

    /// Ends and revokes what a user holds. The transaction holds [`Lock::Revocations`].
    pub(crate) async fn end_sessions_of(&mut self, user_id: &str, reason: &str, now: i64) -> Result<u64, StoreError> {
        self.hold_user(user_id).await?;
        let query = sqlx::query(
            "UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL RETURNING id, expires_at",
        )
        .bind(user_id)
        .bind(now);
        let ended = self.fetch_all(query).await?;
        let mut last_end = now + USER_REVOCATION_LEAST;
        for row in &ended {
            let (id, expires_at): (&str, i64) = (row.try_get("id")?, row.try_get("expires_at")?);
            let keep_until = expires_at + CLOCK_DIFFERENCE;
            last_end = last_end.max(keep_until);
            self.revoke(RevocationKind::Session, id, reason, now, keep_until)
                .await?;
        }
        self.revoke(RevocationKind::User, user_id, reason, now, last_end)
            .await?;
        Ok(ended.len() as u64)
    }

    /// Waits for a login of this user that is under way, so that the next statement sees the session that it made. Logins
    /// touch the user before any session; so must whoever changes both.
    async fn hold_user(&mut self, user_id: &str) -> Result<(), StoreError> {
        let hold = sqlx::query("UPDATE users SET disabled = disabled WHERE id = $1").bind(user_id.to_owned());
        self.execute(hold).await.map(|_| ())
    }

    /// Ends and revokes a user's sessions but `kept`: how many. The transaction holds [`Lock::Revocations`].
    pub(crate) async fn end_other_sessions_of(
        &mut self,
        user_id: &str,
        kept: &str,
        reason: &str,
        now: i64,
    ) -> Result<u64, StoreError> {
        self.hold_user(user_id).await?;
        let query = sqlx::query(
            "UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND id <> $3 AND ended_at IS NULL
             RETURNING id, expires_at",
        )
        .bind(user_id.to_owned())
        .bind(now)
        .bind(kept.to_owned());
        let ended = self.fetch_all(query).await?;
        for row in &ended {
            let (id, expires_at): (&str, i64) = (row.try_get("id")?, row.try_get("expires_at")?);
            self.revoke(RevocationKind::Session, id, reason, now, expires_at + CLOCK_DIFFERENCE)
                .await?;
        }
        Ok(ended.len() as u64)
    }

    /// When the last session of a user ends at the latest: how long a change of the user must be told.
    pub(crate) async fn last_session_end(&mut self, user_id: &str, now: i64) -> Result<i64, StoreError> {
        let query = sqlx::query("SELECT expires_at FROM sessions WHERE user_id = $1 ORDER BY expires_at DESC LIMIT 1")
            .bind(user_id);
        let row = self.fetch_optional(query).await?;
        last_end(row.as_ref(), now)
    }

    /// The same of all users.
    pub(crate) async fn last_session_end_of_all(&mut self, now: i64) -> Result<i64, StoreError> {
        let query = sqlx::query("SELECT expires_at FROM sessions ORDER BY expires_at DESC LIMIT 1");
        let row = self.fetch_optional(query).await?;
        last_end(row.as_ref(), now)
    }
}

pub(super) fn insert(session: &SessionRow) -> Statement {
    sqlx::query(
        "INSERT INTO sessions (id, user_id, connection, site, host, device, address, place, ticket, created_at,
             auth_time, expires_at, last_used_at, ended_at, parent, public_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(session.id.as_str())
    .bind(session.user_id.as_str())
    .bind(session.connection.as_str())
    .bind(session.site.as_str())
    .bind(session.host.as_str())
    .bind(session.device.as_str())
    .bind(session.address.as_str())
    .bind(session.place.as_deref())
    .bind(session.ticket.as_deref())
    .bind(session.created_at)
    .bind(session.auth_time)
    .bind(session.expires_at)
    .bind(session.last_used_at)
    .bind(session.ended_at)
    .bind(session.parent.as_deref())
    .bind(public_session_id(&session.id))
}

/// What upstreams, people and operators know a session by: stable for the session, useless as a key to it.
#[must_use]
pub fn public_session_id(id: &str) -> String {
    // An id is 16 bytes in base64url; what is hashed are the bytes.
    let bytes = URL_SAFE_NO_PAD.decode(id).unwrap_or_else(|_| id.as_bytes().to_vec());
    let digest = digest(&SHA256, &[b"menshen/sid".as_slice(), &bytes].concat());
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16])
}

fn last_end(row: Option<&AnyRow>, now: i64) -> Result<i64, StoreError> {
    let last = row
        .map(|row| row.try_get::<i64, _>("expires_at"))
        .transpose()?
        .unwrap_or(now);
    Ok((last + CLOCK_DIFFERENCE).max(now + USER_REVOCATION_LEAST))
}

pub(super) fn from_row(row: &AnyRow) -> Result<SessionRow, StoreError> {
    Ok(SessionRow {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        connection: row.try_get("connection")?,
        site: row.try_get("site")?,
        host: row.try_get("host")?,
        device: row.try_get("device")?,
        address: row.try_get("address")?,
        place: row.try_get("place")?,
        ticket: row.try_get("ticket")?,
        created_at: row.try_get("created_at")?,
        auth_time: row.try_get("auth_time")?,
        expires_at: row.try_get("expires_at")?,
        last_used_at: row.try_get("last_used_at")?,
        ended_at: row.try_get("ended_at")?,
        parent: row.try_get("parent")?,
    })
}

// Written out, not `*`: a column that a newer node adds must not upset this node's prepared statements.
const SELECT_BY_ID: &str = "SELECT id, user_id, connection, site, host, device, address, place, ticket, created_at,
     auth_time, expires_at, last_used_at, ended_at, parent FROM sessions WHERE id = $1";

const END_ONE: &str = "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING id, expires_at";

/// What a hand-off touches before it adds a session.
const HOLD_LOGIN: &str = "UPDATE sessions SET ended_at = ended_at
     WHERE id = $1 OR id = (SELECT parent FROM sessions WHERE id = $1)";

/// Hosts that took one login over end together.
const END_OF_ONE_LOGIN: &str = "UPDATE sessions SET ended_at = $2
     WHERE ended_at IS NULL
       AND EXISTS (SELECT 1 FROM sessions WHERE id = $1 AND ended_at IS NULL)
       AND (id = $1 OR parent = $1
            OR id = (SELECT parent FROM sessions WHERE id = $1)
            OR parent = (SELECT parent FROM sessions WHERE id = $1))
     RETURNING id, expires_at";

/// A revocation outlives its session by more than nodes' clocks may differ.
const CLOCK_DIFFERENCE: i64 = 60;

/// A user's revocation is kept for a day at least: tokens and answers in memory live shorter.
const USER_REVOCATION_LEAST: i64 = 86_400;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use futures_util::future::join_all;

    use super::super::fixtures::{self, NOW, TestStore, session};
    use super::*;

    async fn with_sessions(ids: &[&str]) -> TestStore {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        for id in ids {
            store.insert_session(&session(id, "u_1")).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn a_session_comes_back_as_it_was_recorded() {
        let store = with_sessions(&["s1"]).await;
        assert_eq!(store.session("s1").await.unwrap(), Some(session("s1", "u_1")));
        assert_eq!(store.session("s2").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_session_is_ended_once_and_revoked_in_the_same_step() {
        let store = with_sessions(&["s1", "s2"]).await;
        let logouts = (0..20).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.end_session("s1", "logout", NOW + 5).await.unwrap() })
        });
        let ended = join_all(logouts)
            .await
            .into_iter()
            .filter(|ended| *ended.as_ref().unwrap())
            .count();
        assert_eq!(ended, 1);
        let revoked = store.revocations_after(0, 1000).await.unwrap();
        assert_eq!(revoked.len(), 1);
        assert_eq!(
            (revoked[0].kind, revoked[0].subject.as_str()),
            (RevocationKind::Session, "s1")
        );
        assert!(revoked[0].at == NOW + 5 && revoked[0].keep_until > NOW + 1000);
        assert_eq!(store.session("s1").await.unwrap().unwrap().ended_at, Some(NOW + 5));
        assert!(!store.end_session("unknown", "logout", NOW).await.unwrap());
        assert_eq!(
            store.last_revocation().await.unwrap(),
            1,
            "what did nothing was numbered"
        );
    }

    #[tokio::test]
    async fn logging_out_everywhere_counts_what_it_ended() {
        let store = with_sessions(&["s1", "s2", "s3"]).await;
        assert!(store.end_session("s1", "logout", NOW).await.unwrap());
        assert_eq!(store.end_sessions_of("u_1", "everywhere", NOW + 1).await.unwrap(), 2);
        assert_eq!(store.end_sessions_of("u_1", "everywhere", NOW + 2).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn several_sessions_end_together() {
        let store = with_sessions(&["s1", "s2", "s3"]).await;
        assert!(store.end_session("s1", "logout", NOW).await.unwrap());
        let ended = store
            .end_sessions(&["s1", "s2", "s3", "s4"], "operator", NOW + 1)
            .await
            .unwrap();
        assert_eq!((ended, store.revocations_after(1, 1000).await.unwrap().len()), (2, 2));
    }

    #[tokio::test]
    async fn a_session_that_ran_out_is_swept() {
        let store = with_sessions(&["s1"]).await;
        assert_eq!(store.sweep_sessions(NOW + 1000).await.unwrap(), 0);
        assert_eq!(store.sweep_sessions(NOW + 1001).await.unwrap(), 1);
        assert!(store.session("s1").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_session_needs_a_user() {
        let store = fixtures::store().await;
        store.insert_session(&session("s1", "u_nobody")).await.unwrap_err();
    }
}
