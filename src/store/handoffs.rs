//! Logins that one host hands to another: a code that is good once, for seconds, for one host and one browser.

use sqlx::Row;

use super::{SessionRow, Store, StoreError, WriteTx, sessions};

/// A hand-off to be remembered. The code itself is known to the browser only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHandoff {
    /// SHA-256 of the code.
    pub code_hash: Vec<u8>,
    /// The host that may take it.
    pub host: String,
    /// SHA-256 of the value in that host's cookie.
    pub binding_hash: Vec<u8>,
    /// What the host has to know, as JSON.
    pub content: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub expires_at: i64,
}

/// Something that may happen once.
#[derive(Debug, Clone, Copy)]
pub struct OnceMark<'a> {
    /// What, as a keyed hash.
    pub id: &'a [u8],
    /// By whom: who comes with the same asks what became of it.
    pub by: &'a [u8],
    /// Unix seconds.
    pub now: i64,
    /// Unix seconds up to which it cannot happen again.
    pub until: i64,
}

/// What became of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    /// Unix seconds.
    pub begun_at: i64,
    /// Nobody works at it any more.
    pub over: bool,
}

impl Store {
    /// Remembers a hand-off.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_handoff(&self, new: &NewHandoff) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO handoffs (code_hash, host, binding_hash, content_json, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(new.code_hash.as_slice())
        .bind(new.host.as_str())
        .bind(new.binding_hash.as_slice())
        .bind(new.content.as_str())
        .bind(new.created_at)
        .bind(new.expires_at);
        self.execute(query).await.map(|_| ())
    }

    /// Whether this code could be spent now, by this host and this browser. Whoever comes with another one is sent away
    /// without a write, for which everybody else would wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn can_take_handoff(
        &self,
        code_hash: &[u8],
        host: &str,
        binding_hash: &[u8],
        now: i64,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "SELECT 1 AS one FROM handoffs
             WHERE code_hash = $1 AND host = $2 AND (binding_hash = $3 OR binding_hash = $5) AND used_at IS NULL
               AND expires_at > $4",
        )
        .bind(code_hash.to_vec())
        .bind(host.to_owned())
        .bind(binding_hash.to_vec())
        .bind(now)
        .bind(binding_hash.get(..SHORT_BINDING).unwrap_or(binding_hash).to_vec());
        Ok(self.fetch_optional(query).await?.is_some())
    }

    /// Marks something that may happen once: false when it is marked already. The mark is a row that no host can take.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mark_once(&self, mark: &OnceMark<'_>) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "INSERT INTO handoffs (code_hash, host, binding_hash, content_json, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (code_hash) DO NOTHING",
        )
        .bind(mark.id)
        .bind(NOBODYS)
        .bind(mark.by)
        .bind(BEGUN)
        .bind(mark.now)
        .bind(mark.until);
        Ok(self.execute(query).await? == 1)
    }

    /// What became of a mark; `None` when there is none by the same.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn marked(&self, id: &[u8], by: &[u8]) -> Result<Option<Marked>, StoreError> {
        let query = sqlx::query(
            "SELECT content_json, created_at FROM handoffs WHERE code_hash = $1 AND host = $2 AND binding_hash = $3",
        )
        .bind(id)
        .bind(NOBODYS)
        .bind(by);
        let Some(row) = self.fetch_all(query).await?.into_iter().next() else {
            return Ok(None);
        };
        let content: String = row.try_get("content_json")?;
        Ok(Some(Marked {
            begun_at: row.try_get("created_at")?,
            over: content != BEGUN,
        }))
    }

    /// What was marked is over, one way or the other.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mark_over(&self, id: &[u8]) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE handoffs SET content_json = $3 WHERE code_hash = $1 AND host = $2")
            .bind(id)
            .bind(NOBODYS)
            .bind(OVER);
        self.execute(query).await.map(|_| ())
    }

    /// Whether a hand-off was made, spent or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_handoff(&self, code_hash: &[u8]) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT created_at FROM handoffs WHERE code_hash = $1").bind(code_hash);
        Ok(!self.fetch_all(query).await?.is_empty())
    }

    /// Forgets hand-offs that were over before `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_handoffs(&self, before: i64) -> Result<u64, StoreError> {
        self.execute(sqlx::query("DELETE FROM handoffs WHERE expires_at < $1").bind(before))
            .await
    }
}

impl WriteTx {
    /// Spends a code, once, by its host and its browser: the content. `None` for every code that is not theirs, is spent
    /// or has run out. A hand-off that a redirect led to knows the first half of the browser's hash.
    pub(crate) async fn take_handoff(
        &mut self,
        code_hash: &[u8],
        host: &str,
        binding_hash: &[u8],
        now: i64,
    ) -> Result<Option<String>, StoreError> {
        let query = sqlx::query(
            "UPDATE handoffs SET used_at = $4
             WHERE code_hash = $1 AND host = $2 AND (binding_hash = $3 OR binding_hash = $5) AND used_at IS NULL AND expires_at > $4
             RETURNING content_json",
        )
        .bind(code_hash)
        .bind(host)
        .bind(binding_hash)
        .bind(now)
        .bind(binding_hash.get(..SHORT_BINDING).unwrap_or(binding_hash));
        let row = self.fetch_all(query).await?.into_iter().next();
        Ok(row.map(|row| row.try_get("content_json")).transpose()?)
    }

    /// Records a session that came by hand-off: false when its user has been disabled, or the session that it came from
    /// has ended meanwhile.
    pub(crate) async fn insert_handed_session(&mut self, session: &SessionRow) -> Result<bool, StoreError> {
        let admit = sqlx::query("UPDATE users SET last_login_at = $2 WHERE id = $1 AND disabled = 0")
            .bind(session.user_id.as_str())
            .bind(session.created_at);
        if self.execute(admit).await? != 1 {
            return Ok(false);
        }
        if let Some(parent) = &session.parent {
            // Also the lock that orders this and a logout of the other.
            let touch = sqlx::query(
                "UPDATE sessions SET last_used_at = CASE WHEN last_used_at < $2 THEN $2 ELSE last_used_at END
                 WHERE id = $1 AND ended_at IS NULL",
            )
            .bind(parent.as_str())
            .bind(session.created_at);
            if self.execute(touch).await? != 1 {
                return Ok(false);
            }
        }
        self.execute(sessions::insert(session)).await?;
        Ok(true)
    }
}

/// The host of a mark.
const NOBODYS: &str = "";
const BEGUN: &str = "\"begun\"";
const OVER: &str = "\"over\"";
/// Bytes.
const SHORT_BINDING: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::fixtures::{self, NOW, TestStore, session};
    use super::super::{Engine, Lock};
    use super::*;

    async fn with_handoff() -> TestStore {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        store.insert_session(&session("s0", "u_1")).await.unwrap();
        let new = NewHandoff {
            code_hash: b"code".to_vec(),
            host: "wiki.test".to_owned(),
            binding_hash: b"binding".to_vec(),
            content: "{}".to_owned(),
            created_at: NOW,
            expires_at: NOW + 30,
        };
        store.insert_handoff(&new).await.unwrap();
        store
    }

    async fn take(store: &Store, code: &[u8], host: &str, binding: &[u8], now: i64) -> bool {
        let mut tx = store.begin().await.unwrap();
        let taken = tx.take_handoff(code, host, binding, now).await.unwrap();
        tx.commit().await.unwrap();
        taken.is_some()
    }

    fn handed(id: &str) -> SessionRow {
        SessionRow {
            parent: Some("s0".to_owned()),
            ..session(id, "u_1")
        }
    }

    #[tokio::test]
    async fn a_code_is_spent_once_in_time_by_its_own_host_and_browser() {
        let store = with_handoff().await;
        let others: [(&[u8], _, &[u8], _); 4] = [
            (b"other", "wiki.test", b"binding", NOW),
            (b"code", "files.test", b"binding", NOW),
            (b"code", "wiki.test", b"another", NOW),
            (b"code", "wiki.test", b"binding", NOW + 30),
        ];
        for (code, host, binding, now) in others {
            assert!(!store.can_take_handoff(code, host, binding, now).await.unwrap());
            assert!(!take(&store, code, host, binding, now).await);
        }
        let could_be = async || {
            store
                .can_take_handoff(b"code", "wiki.test", b"binding", NOW + 29)
                .await
                .unwrap()
        };
        assert!(could_be().await);
        let takers = (0..20).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { take(&store, b"code", "wiki.test", b"binding", NOW + 29).await })
        });
        let taken = futures_util::future::join_all(takers).await;
        assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 1);
        assert!(!could_be().await);
        assert_eq!(store.sweep_handoffs(NOW + 30).await.unwrap(), 0);
        assert_eq!(store.sweep_handoffs(NOW + 31).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_mark_is_made_once_and_is_nobodys_to_take() {
        let store = with_handoff().await;
        let mark = |by| OnceMark {
            id: b"mark",
            by,
            now: NOW,
            until: NOW + 600,
        };
        let makers = (0..20).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.mark_once(&mark(b"one")).await.unwrap() })
        });
        let made = futures_util::future::join_all(makers).await;
        assert_eq!(made.into_iter().filter(|made| *made.as_ref().unwrap()).count(), 1);
        assert!(!store.mark_once(&mark(b"another")).await.unwrap());
        assert_eq!(store.marked(b"mark", b"another").await.unwrap(), None);
        let begun = store.marked(b"mark", b"one").await.unwrap().unwrap();
        assert_eq!((begun.begun_at, begun.over), (NOW, false));
        assert!(!take(&store, b"mark", "", b"another", NOW).await);
        store.mark_over(b"mark").await.unwrap();
        assert!(store.marked(b"mark", b"one").await.unwrap().unwrap().over);
        // A hand-off is no mark.
        assert_eq!(store.marked(b"code", b"binding").await.unwrap(), None);
        assert!(store.has_handoff(b"code").await.unwrap() && !store.has_handoff(b"none").await.unwrap());
    }

    #[tokio::test]
    async fn a_redirect_knows_half_of_the_browsers_hash() {
        let store = with_handoff().await;
        let new = NewHandoff {
            code_hash: b"redirect".to_vec(),
            host: "wiki.test".to_owned(),
            binding_hash: vec![7; 16],
            content: "{}".to_owned(),
            created_at: NOW,
            expires_at: NOW + 30,
        };
        store.insert_handoff(&new).await.unwrap();
        for (binding, taken) in [
            (vec![8; 32], false),
            (vec![7; 15], false),
            ([vec![7; 16], vec![1; 16]].concat(), true),
        ] {
            assert_eq!(take(&store, b"redirect", "wiki.test", &binding, NOW).await, taken);
        }
    }

    #[tokio::test]
    async fn nothing_is_handed_on_from_a_session_that_has_ended_or_for_who_is_disabled() {
        let store = with_handoff().await;
        let insert = async |session: &SessionRow| {
            let mut tx = store.begin().await.unwrap();
            let inserted = tx.insert_handed_session(session).await.unwrap();
            tx.commit().await.unwrap();
            inserted
        };
        assert!(insert(&handed("s1")).await);
        assert!(store.end_session("s0", "logout", NOW).await.unwrap());
        assert!(!insert(&handed("s2")).await);
        store.insert_session(&session("s3", "u_1")).await.unwrap();
        assert!(store.set_disabled("u_1", true, "left", NOW).await.unwrap());
        let own = SessionRow {
            parent: Some("s3".to_owned()),
            ..session("s4", "u_1")
        };
        assert!(!insert(&own).await);
    }

    #[tokio::test]
    async fn a_logout_on_any_host_ends_all_that_came_from_one_login() {
        for ended in ["s0", "s1", "s2"] {
            let store = with_handoff().await;
            store.insert_session(&session("other", "u_1")).await.unwrap();
            for id in ["s1", "s2"] {
                store.insert_session(&handed(id)).await.unwrap();
            }
            assert!(store.end_session(ended, "logout", NOW + 1).await.unwrap());
            let mut revoked: Vec<_> = store
                .revocations_after(0, 1000)
                .await
                .unwrap()
                .into_iter()
                .map(|revocation| revocation.subject)
                .collect();
            revoked.sort();
            assert_eq!(revoked, ["s0", "s1", "s2"], "by {ended}");
            assert!(!store.end_session("s1", "logout", NOW + 2).await.unwrap());
            assert_eq!(store.session("other").await.unwrap().unwrap().ended_at, None);
        }
    }

    /// Until somebody waits for a row; where there is one writer, whoever began first is first.
    async fn somebody_waits(store: &Store) {
        if store.engine == Engine::Postgres {
            let waiting = "SELECT COUNT(*) FROM pg_stat_activity
                 WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE %' AND datname = current_database()";
            while fixtures::number(store, waiting).await == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_session_that_is_being_handed_on_ends_with_the_others() {
        let store = with_handoff().await;
        let mut tx = store.begin().await.unwrap();
        assert!(tx.insert_handed_session(&handed("s1")).await.unwrap());
        let ending = store.end_session("s0", "logout", NOW);
        let (ended, ()) = tokio::join!(ending, async {
            somebody_waits(&store).await;
            tx.commit().await.unwrap();
        });
        assert!(ended.unwrap());
        assert_eq!(store.session("s1").await.unwrap().unwrap().ended_at, Some(NOW));
    }

    #[tokio::test]
    async fn a_session_that_is_being_handed_on_ends_with_all_of_its_person() {
        for kept in [Some("kept"), None] {
            let store = with_handoff().await;
            store.insert_session(&session("kept", "u_1")).await.unwrap();
            let mut tx = store.begin().await.unwrap();
            assert!(tx.insert_handed_session(&handed("s1")).await.unwrap());
            let ending = async {
                let mut tx = store.begin().await.unwrap();
                tx.lock(Lock::Revocations).await.unwrap();
                let ended = match kept {
                    Some(kept) => tx.end_other_sessions_of("u_1", kept, "unbound", NOW).await,
                    None => tx.end_sessions_of("u_1", "everywhere", NOW).await,
                };
                tx.commit().await.unwrap();
                ended.unwrap()
            };
            let (ended, ()) = tokio::join!(ending, async {
                somebody_waits(&store).await;
                tx.commit().await.unwrap();
            });
            assert_eq!(ended, if kept.is_some() { 2 } else { 3 });
            assert_eq!(store.session("s1").await.unwrap().unwrap().ended_at, Some(NOW));
        }
    }

    #[tokio::test]
    async fn one_host_can_be_left_without_the_others() {
        let store = with_handoff().await;
        store.insert_session(&handed("s1")).await.unwrap();
        assert!(store.end_one_session("s1", "new_login", NOW).await.unwrap());
        assert_eq!(store.session("s0").await.unwrap().unwrap().ended_at, None);
    }
}
