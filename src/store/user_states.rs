//! Users who may not log in any more, are forgotten, or come back.

use serde_json::Value;
use sqlx::Row;

use super::users::fold_username;
use super::{Lock, Store, StoreError, User, WriteTx};

impl Store {
    /// Forbids or allows a user to log in; forbidding ends all that they hold, in the same transaction. False if it was so
    /// already, or there is no such user.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub async fn set_disabled(&self, id: &str, disabled: bool, reason: &str, now: i64) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let changed = tx.set_disabled(id, disabled, reason, now).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Forgets a person with identities and sessions, and revokes what they hold. False if there is no such user.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub async fn delete_user(&self, id: &str, reason: &str, now: i64) -> Result<bool, StoreError> {
        let mut tx = self.directory().await?;
        if !tx.delete_user(id, reason, now).await? {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }
}

impl WriteTx {
    /// As [`Store::set_disabled`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_disabled(&mut self, id: &str, disabled: bool, reason: &str, now: i64) -> Result<bool, StoreError> {
        self.lock(Lock::Revocations).await?;
        let query = sqlx::query("UPDATE users SET disabled = $2, updated_at = $3 WHERE id = $1 AND disabled <> $2")
            .bind(id)
            .bind(i64::from(disabled))
            .bind(now);
        if self.execute(query).await? != 1 {
            return Ok(false);
        }
        if disabled {
            self.end_sessions_of(id, reason, now).await?;
            self.revoke_tokens_of(id, now).await?;
        }
        Ok(true)
    }

    /// As [`Store::delete_user`], in a [`Store::directory`] transaction. What the audit keeps of them to undo a merge goes
    /// too: nothing but the id stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_user(&mut self, id: &str, reason: &str, now: i64) -> Result<bool, StoreError> {
        self.lock(Lock::Revocations).await?;
        self.end_sessions_of(id, reason, now).await?;
        self.execute(sqlx::query("UPDATE audit SET details = NULL WHERE user_id = $1").bind(id))
            .await?;
        let deleted = sqlx::query("DELETE FROM users WHERE id = $1").bind(id);
        Ok(self.execute(deleted).await? == 1)
    }

    /// Brings a user back as they were, under the id that they had.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the id, username, or phone is somebody's.
    pub async fn restore_user(&mut self, user: &User, password_hash: Option<&str>) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO users (id, username, username_key, name, picture, phone, email, groups_json, attributes_json,
                 disabled, created_at, updated_at, last_login_at, password_hash, service)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        )
        .bind(user.id.as_str())
        .bind(user.username.as_deref())
        .bind(user.username.as_deref().map(fold_username))
        .bind(user.name.as_deref())
        .bind(user.picture.as_deref())
        .bind(user.phone.as_deref())
        .bind(user.email.as_deref())
        .bind(Value::from(user.groups.clone()).to_string())
        .bind(Value::from(user.attributes.clone()).to_string())
        .bind(i64::from(user.disabled))
        .bind(user.created_at)
        .bind(user.updated_at)
        .bind(user.last_login_at)
        .bind(password_hash)
        .bind(i64::from(user.service));
        self.execute(query).await.map(|_| ())
    }

    /// The hash of a user's password, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn password_hash_of(&mut self, id: &str) -> Result<Option<String>, StoreError> {
        let query = sqlx::query("SELECT password_hash FROM users WHERE id = $1").bind(id);
        let row = self.fetch_optional(query).await?;
        Ok(row.map(|row| row.try_get("password_hash")).transpose()?.flatten())
    }
}
