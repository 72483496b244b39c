//! One-time codes with which a person proves that an account is theirs; only their hashes are here.

use super::{StoreError, WriteTx};

/// A bind code to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBindCode {
    /// Random; not a credential.
    pub id: String,
    /// Whose account it proves.
    pub user_id: String,
    /// argon2id, in PHC form.
    pub hash: String,
    /// Unix seconds.
    pub created_at: i64,
    /// No longer taken from here on.
    pub expires_at: i64,
}

impl WriteTx {
    /// Records a code. Codes that the user had and did not use are forgotten: one account has one code, so that a guess
    /// is held against one hash.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replace_bind_code(&mut self, code: &NewBindCode) -> Result<(), StoreError> {
        self.forget_bind_codes(&code.user_id).await?;
        let query = sqlx::query(
            "INSERT INTO bind_codes (id, user_id, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(code.id.as_str())
        .bind(code.user_id.as_str())
        .bind(code.hash.as_str())
        .bind(code.created_at)
        .bind(code.expires_at);
        self.execute(query).await.map(|_| ())
    }

    /// Forgets the codes that a user has not used: how many that were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_bind_codes(&mut self, user_id: &str) -> Result<u64, StoreError> {
        let query = sqlx::query("DELETE FROM bind_codes WHERE user_id = $1 AND used_at IS NULL").bind(user_id);
        self.execute(query).await
    }
}
