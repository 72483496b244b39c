//! Many users at a time, for imports: a hundred thousand statements would take minutes and hold every login up meanwhile.

use std::fmt::Write as _;

use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::users::{SELECT_PHONES, SELECT_USERNAME_KEYS, fold_username, from_row};
use super::{
    Lock, ROWS_AT_ONCE, RevocationKind, Statement, Store, StoreError, User, WriteTx, insert_rows, insert_rows_or,
};

/// By what users are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKey {
    /// Folded usernames ([`fold_username`]).
    Username,
    /// Numbers in E.164.
    Phone,
}

impl Store {
    /// The users with these keys, in no order; those that nobody has are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users_by(&self, key: UserKey, values: &[&str]) -> Result<Vec<User>, StoreError> {
        let mut users = Vec::new();
        for batch in values.chunks(KEYS_AT_ONCE) {
            let rows = self.fetch_all(key.select(batch)).await?;
            for row in &rows {
                users.push(from_row(row)?);
            }
        }
        Ok(users)
    }
}

impl WriteTx {
    /// As [`Store::users_by`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users_by(&mut self, key: UserKey, values: &[&str]) -> Result<Vec<User>, StoreError> {
        let mut users = Vec::new();
        for batch in values.chunks(KEYS_AT_ONCE) {
            let rows = self.fetch_all(key.select(batch)).await?;
            for row in &rows {
                users.push(from_row(row)?);
            }
        }
        Ok(users)
    }

    /// Records users, or changes username, name, phone, e-mail, groups and attributes of those who are there, to what is
    /// said here. Nobody is told: [`WriteTx::tell_changed`] does that, and comes first.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a username or phone is somebody else's.
    pub async fn put_users(&mut self, users: &[User]) -> Result<(), StoreError> {
        for batch in users.chunks(ROWS_AT_ONCE) {
            let mut query = sqlx::query(insert_rows_or(PUT, PUT_COLUMNS, batch.len(), PUT_OVER));
            for user in batch {
                query = query
                    .bind(user.id.as_str())
                    .bind(user.username.as_deref())
                    .bind(user.username.as_deref().map(fold_username))
                    .bind(user.name.as_deref())
                    .bind(user.phone.as_deref())
                    .bind(user.email.as_deref())
                    .bind(Value::from(user.groups.clone()).to_string())
                    .bind(Value::from(user.attributes.clone()).to_string())
                    .bind(i64::from(user.disabled))
                    .bind(user.created_at)
                    .bind(user.updated_at);
            }
            self.execute(query).await?;
        }
        Ok(())
    }

    /// Tells every node that these users have changed; before any other write of the transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tell_changed(&mut self, ids: &[&str], now: i64) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let mut seq = self.take(Lock::Revocations, count).await? - count;
        // Nothing that was made of the old data outlives the last session of all; asking for each user's own would take as
        // long as the rest of the import.
        let keep_until = self.last_session_end_of_all(now).await?;
        for batch in ids.chunks(ROWS_AT_ONCE) {
            let mut query = sqlx::query(insert_rows(REVOKE, REVOKE_COLUMNS, batch.len()));
            for id in batch {
                seq += 1;
                query = query
                    .bind(seq)
                    .bind(RevocationKind::Change.as_str())
                    .bind((*id).to_owned())
                    .bind("changed")
                    .bind(now)
                    .bind(keep_until);
            }
            self.execute(query).await?;
        }
        Ok(())
    }
}

impl UserKey {
    fn select(self, values: &[&str]) -> Statement {
        let mut text = match self {
            Self::Username => SELECT_USERNAME_KEYS,
            Self::Phone => SELECT_PHONES,
        }
        .to_owned();
        for number in 1..=values.len() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}${number}", if number == 1 { " (" } else { ", " });
        }
        text.push(')');
        values.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, value| {
            query.bind((*value).to_owned())
        })
    }
}

const PUT: &str = "INSERT INTO users (id, username, username_key, name, phone, email, groups_json, attributes_json,
     disabled, created_at, updated_at) VALUES";

const PUT_COLUMNS: usize = 11;

const PUT_OVER: &str = "ON CONFLICT (id) DO UPDATE SET username = excluded.username,
     username_key = excluded.username_key, name = excluded.name, phone = excluded.phone, email = excluded.email,
     groups_json = excluded.groups_json, attributes_json = excluded.attributes_json, updated_at = excluded.updated_at";

const REVOKE: &str = "INSERT INTO revocations (seq, kind, subject, reason, at, keep_until) VALUES";

const REVOKE_COLUMNS: usize = 6;

/// Values of one `IN`.
const KEYS_AT_ONCE: usize = 500;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::fixtures::{self, NOW, session};
    use super::*;

    fn person(number: usize) -> User {
        User {
            id: format!("u_{number}"),
            username: Some(format!("Name{number}")),
            phone: Some(format!("+86138{number:08}")),
            groups: vec!["staff".to_owned()],
            created_at: NOW,
            updated_at: NOW,
            ..User::default()
        }
    }

    #[tokio::test]
    async fn many_users_are_recorded_found_and_changed() {
        let store = fixtures::store().await;
        let people: Vec<_> = (0..1234).map(person).collect();
        let mut tx = store.directory().await.unwrap();
        tx.put_users(&people).await.unwrap();
        tx.commit().await.unwrap();
        let names: Vec<_> = (0..1300).map(|number| format!("name{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(store.users_by(UserKey::Username, &names).await.unwrap().len(), 1234);
        let found = store.users_by(UserKey::Phone, &["+8613800000007", "+1"]).await.unwrap();
        assert!(found == [person(7)]);
        assert!(store.users_by(UserKey::Phone, &[]).await.unwrap().is_empty());

        assert!(store.set_disabled("u_7", true, "test", NOW).await.unwrap());
        let mut changed = person(7);
        changed.name = Some("七".to_owned());
        changed.updated_at = NOW + 5;
        let mut tx = store.directory().await.unwrap();
        tx.put_users(std::slice::from_ref(&changed)).await.unwrap();
        tx.commit().await.unwrap();
        // What is not written by an import stays.
        changed.disabled = true;
        assert!(store.user("u_7").await.unwrap() == Some(changed));
    }

    #[tokio::test]
    async fn a_number_of_somebody_else_takes_nobody() {
        let store = fixtures::store().await;
        let mut people: Vec<_> = (0..10).map(person).collect();
        people[9].phone = people[3].phone.clone();
        let mut tx = store.directory().await.unwrap();
        let error = tx.put_users(&people).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { what: "phone" }), "{error:?}");
        drop(tx);
        assert!(store.users_after("", 20).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn each_changed_user_is_told_as_long_as_any_session_lasts() {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        let long = super::super::SessionRow {
            expires_at: NOW + 1_000_000,
            ..session("s1", "u_1")
        };
        store.insert_session(&long).await.unwrap();
        let ids: Vec<_> = (0..250).map(|number| format!("u_{number}")).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let mut tx = store.directory().await.unwrap();
        tx.tell_changed(&ids, NOW).await.unwrap();
        tx.tell_changed(&[], NOW).await.unwrap();
        tx.commit().await.unwrap();
        let told = store.revocations_after(0, 1000).await.unwrap();
        assert_eq!(told.len(), 250);
        assert_eq!(store.last_revocation().await.unwrap(), 250);
        for (revocation, id) in told.iter().zip(&ids) {
            assert_eq!(
                (revocation.kind, revocation.subject.as_str()),
                (RevocationKind::Change, *id)
            );
            assert!(revocation.keep_until > NOW + 1_000_000);
        }
    }
}
