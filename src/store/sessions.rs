//! The session registry: for listing and revocation. Requests are served from the sealed cookie, not from here.

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

    /// A user's sessions that have not ended at `now`, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sessions_of(&self, user_id: &str, now: i64) -> Result<Vec<SessionRow>, StoreError> {
        let query = sqlx::query(SELECT_LIVE_OF_USER).bind(user_id).bind(now);
        self.fetch_all(query).await?.iter().map(from_row).collect()
    }

    /// Ends a session and revokes it, in one transaction. False if it has ended already or is not there.
    ///
    /// # Errors
    /// [`StoreError`]; then it has not ended.
    pub async fn end_session(&self, id: &str, reason: &str, now: i64) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        tx.lock(Lock::Revocations).await?;
        let query = sqlx::query(
            "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING id, expires_at",
        )
        .bind(id)
        .bind(now);
        let ended = tx.fetch_all(query).await?;
        let Some(row) = ended.first() else {
            return Ok(false);
        };
        let expires_at: i64 = row.try_get("expires_at")?;
        tx.revoke(RevocationKind::Session, id, reason, now, expires_at + CLOCK_DIFFERENCE)
            .await?;
        tx.commit().await?;
        Ok(true)
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

    /// Notes a use; an older one than is known changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn touch_session(&self, id: &str, last_used_at: i64) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE sessions SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2 AND ended_at IS NULL",
        )
        .bind(id)
        .bind(last_used_at);
        self.execute(query).await.map(|_| ())
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
             auth_time, expires_at, last_used_at, ended_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
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
    })
}

// Written out, not `*`: a column that a newer node adds must not upset this node's prepared statements.
const SELECT_BY_ID: &str = "SELECT id, user_id, connection, site, host, device, address, place, ticket, created_at,
     auth_time, expires_at, last_used_at, ended_at FROM sessions WHERE id = $1";

const SELECT_LIVE_OF_USER: &str = "SELECT id, user_id, connection, site, host, device, address, place, ticket,
     created_at, auth_time, expires_at, last_used_at, ended_at FROM sessions
     WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 ORDER BY created_at DESC, id";

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
        let revoked = store.revocations_after(0).await.unwrap();
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
        assert!(store.sessions_of("u_1", NOW).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn listings_leave_out_what_has_ended_or_run_out() {
        let store = with_sessions(&["s1", "s2"]).await;
        let short = SessionRow {
            expires_at: NOW + 10,
            created_at: NOW + 1,
            ..session("s3", "u_1")
        };
        store.insert_session(&short).await.unwrap();
        assert!(store.end_session("s1", "logout", NOW).await.unwrap());
        let ids = |sessions: Vec<SessionRow>| sessions.into_iter().map(|session| session.id).collect::<Vec<_>>();
        assert_eq!(ids(store.sessions_of("u_1", NOW + 9).await.unwrap()), ["s3", "s2"]);
        assert_eq!(ids(store.sessions_of("u_1", NOW + 10).await.unwrap()), ["s2"]);
        assert_eq!(store.sweep_sessions(NOW + 11).await.unwrap(), 1);
        assert!(store.session("s3").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_use_moves_forward_only_and_not_after_the_end() {
        let store = with_sessions(&["s1"]).await;
        let last = async || store.session("s1").await.unwrap().unwrap().last_used_at;
        store.touch_session("s1", NOW + 50).await.unwrap();
        store.touch_session("s1", NOW + 20).await.unwrap();
        assert_eq!(last().await, NOW + 50);
        assert!(store.end_session("s1", "logout", NOW + 60).await.unwrap());
        store.touch_session("s1", NOW + 70).await.unwrap();
        assert_eq!(last().await, NOW + 50);
    }

    #[tokio::test]
    async fn a_session_needs_a_user() {
        let store = fixtures::store().await;
        store.insert_session(&session("s1", "u_nobody")).await.unwrap_err();
    }
}
