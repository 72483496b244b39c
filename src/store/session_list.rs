//! Looking through the registry: by person, page by page, and by the name that a session has outside. Uses are noted here.

use sqlx::Row;

use super::sessions::{from_row, public_session_id};
use super::{SessionRow, Statement, Store, StoreError};

/// Which sessions to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionFilter<'f> {
    /// Of this user; `None`: of everybody.
    pub user_id: Option<&'f str>,
    /// That end after this time (Unix seconds): now.
    pub now: i64,
    /// That were used after this time (Unix seconds): the idle limit ago.
    pub used_after: i64,
    /// Only what comes after this one.
    pub after: Option<&'f SessionRow>,
    /// At most so many.
    pub limit: u32,
}

impl Store {
    /// Sessions that can still be used, newest first. A page ends where the next begins: see [`SessionFilter::after`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list_sessions(&self, filter: &SessionFilter<'_>) -> Result<Vec<SessionRow>, StoreError> {
        let (created_at, id) = match filter.after {
            Some(row) => (row.created_at, row.id.as_str()),
            None => (i64::MAX, ""),
        };
        let query = match filter.user_id {
            Some(user) => sqlx::query(LIST_OF_USER).bind(user.to_owned()),
            None => sqlx::query(LIST),
        };
        let query = query
            .bind(filter.now)
            .bind(filter.used_after)
            .bind(created_at)
            .bind(id.to_owned())
            .bind(i64::from(filter.limit));
        self.fetch_all(query).await?.iter().map(from_row).collect()
    }

    /// All sessions of a user that have not ended at `now`, also those that lie idle; newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sessions_of(&self, user_id: &str, now: i64) -> Result<Vec<SessionRow>, StoreError> {
        let filter = SessionFilter {
            user_id: Some(user_id),
            now,
            used_after: i64::MIN,
            after: None,
            limit: u32::MAX,
        };
        self.list_sessions(&filter).await
    }

    /// The session with this [`public_session_id`], ended or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn session_by_public_id(&self, public: &str) -> Result<Option<SessionRow>, StoreError> {
        let found = self
            .fetch_optional(sqlx::query(BY_PUBLIC_ID).bind(public.to_owned()))
            .await?;
        if let Some(row) = found {
            return from_row(&row).map(Some);
        }
        // Rows of schema 1 have no such column; there are none any more when the last of them has run out.
        let mut after = String::new();
        loop {
            let rows = self.fetch_all(nameless(&after)).await?;
            for row in &rows {
                let id: &str = row.try_get("id")?;
                if public_session_id(id) == public {
                    return self.session(id).await;
                }
                id.clone_into(&mut after);
            }
            if rows.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Up to `limit` users after the id `after` who have sessions that have not ended at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users_with_sessions(&self, after: &str, now: i64, limit: u32) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query(
            "SELECT DISTINCT user_id FROM sessions WHERE user_id > $1 AND ended_at IS NULL AND expires_at > $2
             ORDER BY user_id LIMIT $3",
        )
        .bind(after.to_owned())
        .bind(now)
        .bind(i64::from(limit));
        let rows = self.fetch_all(query).await?;
        rows.iter().map(|row| Ok(row.try_get("user_id")?)).collect()
    }

    /// How many sessions have not ended at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_sessions(&self, now: i64) -> Result<u64, StoreError> {
        let query =
            sqlx::query("SELECT COUNT(*) AS n FROM sessions WHERE ended_at IS NULL AND expires_at > $1").bind(now);
        let row = self.fetch_optional(query).await?;
        let count: i64 = row.map(|row| row.try_get("n")).transpose()?.unwrap_or_default();
        Ok(count.unsigned_abs())
    }

    /// Notes uses (id, Unix seconds); one that is older than what is known changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; then some may have been noted, and noting them again does no harm.
    pub async fn touch_sessions(&self, uses: &[(String, i64)]) -> Result<(), StoreError> {
        let touches = in_order(uses).into_iter().map(|(id, last_used_at)| {
            sqlx::query(
                "UPDATE sessions SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2 AND ended_at IS NULL",
            )
            .bind(id.clone())
            .bind(*last_used_at)
        });
        self.execute_apart(touches).await
    }
}

/// By id, so that what two nodes do is done in one order.
pub(super) fn in_order(uses: &[(String, i64)]) -> Vec<&(String, i64)> {
    let mut uses: Vec<_> = uses.iter().collect();
    uses.sort_unstable();
    uses
}

fn nameless(after: &str) -> Statement {
    sqlx::query("SELECT id FROM sessions WHERE public_id IS NULL AND id > $1 ORDER BY id LIMIT 1000")
        .bind(after.to_owned())
}

const LIST: &str = "SELECT id, user_id, connection, site, host, device, address, place, ticket, created_at, auth_time,
     expires_at, last_used_at, ended_at, parent FROM sessions
     WHERE ended_at IS NULL AND expires_at > $1 AND last_used_at > $2
         AND (created_at < $3 OR (created_at = $3 AND id < $4))
     ORDER BY created_at DESC, id DESC LIMIT $5";

const LIST_OF_USER: &str = "SELECT id, user_id, connection, site, host, device, address, place, ticket, created_at,
     auth_time, expires_at, last_used_at, ended_at, parent FROM sessions
     WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 AND last_used_at > $3
         AND (created_at < $4 OR (created_at = $4 AND id < $5))
     ORDER BY created_at DESC, id DESC LIMIT $6";

const BY_PUBLIC_ID: &str = "SELECT id, user_id, connection, site, host, device, address, place, ticket, created_at,
     auth_time, expires_at, last_used_at, ended_at, parent FROM sessions WHERE public_id = $1";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::fixtures::{self, NOW, TestStore, session};
    use super::*;

    async fn with(rows: &[SessionRow]) -> TestStore {
        let store = fixtures::store().await;
        for user in ["u_1", "u_2"] {
            fixtures::user(&store, user).await;
        }
        for row in rows {
            store.insert_session(row).await.unwrap();
        }
        store
    }

    fn at(id: &str, user: &str, created_at: i64) -> SessionRow {
        SessionRow {
            created_at,
            ..session(id, user)
        }
    }

    const ALL: SessionFilter<'static> = SessionFilter {
        user_id: None,
        now: NOW,
        used_after: 0,
        after: None,
        limit: 100,
    };

    async fn ids(store: &Store, filter: &SessionFilter<'_>) -> Vec<String> {
        let rows = store.list_sessions(filter).await.unwrap();
        rows.into_iter().map(|row| row.id).collect()
    }

    #[tokio::test]
    async fn nodes_that_note_the_same_uses_do_not_wait_for_each_other() {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        let mut uses = Vec::new();
        for number in 0..200 {
            let id = format!("s{number:03}");
            store.insert_session(&session(&id, "u_1")).await.unwrap();
            uses.push((id, NOW));
        }
        for round in 1..=5 {
            let mut forth = uses.clone();
            forth.iter_mut().for_each(|(_, at)| *at += round);
            let back: Vec<_> = forth.iter().rev().cloned().collect();
            let (one, other) = tokio::join!(store.touch_sessions(&forth), store.touch_sessions(&back));
            one.unwrap();
            other.unwrap();
        }
    }

    /// A logout must not become the victim of a deadlock with a note of uses.
    #[tokio::test]
    async fn uses_are_noted_without_holding_a_session_that_somebody_else_ends() {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        for id in ["s1", "s2"] {
            store.insert_session(&session(id, "u_1")).await.unwrap();
        }
        let mut ending = store.begin().await.unwrap();
        let end = |id: &'static str| sqlx::query("UPDATE sessions SET ended_at = 7 WHERE id = $1").bind(id);
        ending.execute(end("s2")).await.unwrap();
        let noting = Store::clone(&store);
        let uses = ["s1", "s2"].map(|id| (id.to_owned(), NOW + 9));
        let noting = tokio::spawn(async move { noting.touch_sessions(&uses).await });
        if store.engine == crate::store::Engine::Postgres {
            // Now it waits for s2, and s1 is free.
            while store.session("s1").await.unwrap().unwrap().last_used_at != NOW + 9 {
                tokio::task::yield_now().await;
            }
        }
        ending.execute(end("s1")).await.unwrap();
        ending.commit().await.unwrap();
        noting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn pages_follow_each_other_without_gap_or_repetition() {
        let rows = ["a", "b", "c", "d", "e", "f", "g"].map(|id| at(id, "u_1", NOW + i64::from(id == "g")));
        let store = with(&rows).await;
        let mut seen = Vec::new();
        let mut last: Option<SessionRow> = None;
        loop {
            let filter = SessionFilter {
                after: last.as_ref(),
                limit: 2,
                ..ALL
            };
            let page = store.list_sessions(&filter).await.unwrap();
            seen.extend(page.iter().map(|row| row.id.clone()));
            match page.last() {
                Some(row) => last = Some(row.clone()),
                None => break,
            }
        }
        assert_eq!(seen, ["g", "f", "e", "d", "c", "b", "a"]);
    }

    #[tokio::test]
    async fn listings_leave_out_what_has_ended_run_out_or_lain_idle() {
        let short = SessionRow {
            expires_at: NOW + 10,
            ..at("s3", "u_1", NOW + 1)
        };
        let idle = SessionRow {
            last_used_at: NOW - 500,
            ..session("s4", "u_1")
        };
        let store = with(&[
            session("s1", "u_1"),
            session("s2", "u_1"),
            short,
            idle,
            at("s5", "u_2", NOW + 2),
        ])
        .await;
        assert!(store.end_session("s1", "logout", NOW).await.unwrap());
        let later = |now| SessionFilter {
            now,
            used_after: NOW - 500,
            ..ALL
        };
        assert_eq!(ids(&store, &later(NOW + 9)).await, ["s5", "s3", "s2"]);
        assert_eq!(ids(&store, &later(NOW + 10)).await, ["s5", "s2"]);
        let of_one = SessionFilter {
            user_id: Some("u_1"),
            ..ALL
        };
        assert_eq!(ids(&store, &of_one).await, ["s3", "s4", "s2"]);
        assert_eq!(store.count_sessions(NOW + 10).await.unwrap(), 3);
        assert_eq!(store.users_with_sessions("", NOW, 10).await.unwrap(), ["u_1", "u_2"]);
        assert_eq!(store.users_with_sessions("u_1", NOW, 10).await.unwrap(), ["u_2"]);
    }

    #[tokio::test]
    async fn a_session_is_found_by_its_public_name_also_one_that_was_made_before_there_were_any() {
        let store = with(&[session("s1", "u_1"), session("s2", "u_1")]).await;
        store
            .execute(sqlx::query("UPDATE sessions SET public_id = NULL WHERE id = 's2'"))
            .await
            .unwrap();
        for id in ["s1", "s2"] {
            let found = store.session_by_public_id(&public_session_id(id)).await.unwrap();
            assert_eq!(found.unwrap().id, id);
        }
        for unknown in ["s1", &public_session_id("s3")] {
            assert!(
                store.session_by_public_id(unknown).await.unwrap().is_none(),
                "{unknown}"
            );
        }
    }

    #[tokio::test]
    async fn a_use_moves_forward_only_and_not_after_the_end() {
        let store = with(&[session("s1", "u_1"), session("s2", "u_1")]).await;
        let last = async |id: &str| store.session(id).await.unwrap().unwrap().last_used_at;
        let uses = |uses: &[(&str, i64)]| uses.iter().map(|(id, at)| ((*id).to_owned(), *at)).collect::<Vec<_>>();
        store
            .touch_sessions(&uses(&[("s1", NOW + 50), ("s2", NOW + 9)]))
            .await
            .unwrap();
        store
            .touch_sessions(&uses(&[("s1", NOW + 20), ("s3", NOW + 1)]))
            .await
            .unwrap();
        assert_eq!((last("s1").await, last("s2").await), (NOW + 50, NOW + 9));
        assert!(store.end_session("s1", "logout", NOW + 60).await.unwrap());
        store.touch_sessions(&uses(&[("s1", NOW + 70)])).await.unwrap();
        assert_eq!(last("s1").await, NOW + 50);
    }
}
