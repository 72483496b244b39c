//! WeChat identities: which (appid, openid) proves to be which user.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Statement, Store, StoreError, WriteTx};

/// One WeChat identity of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRow {
    /// App that `openid` belongs to.
    pub app_id: String,
    /// The person, within the app.
    pub openid: String,
    /// The Open Platform account that gives this app's unionids.
    pub open_platform: Option<String>,
    /// The person, within the Open Platform account; may arrive later or change.
    pub unionid: Option<String>,
    /// Whose it is.
    pub user_id: String,
    /// First seen, Unix seconds.
    pub created_at: i64,
}

impl Store {
    /// The identity (appid, openid).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn identity(&self, app_id: &str, openid: &str) -> Result<Option<IdentityRow>, StoreError> {
        self.fetch_optional(by_openid(app_id, openid))
            .await?
            .as_ref()
            .map(from_row)
            .transpose()
    }

    /// All identities with this unionid: one per app.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn identities_by_union(
        &self,
        open_platform: &str,
        unionid: &str,
    ) -> Result<Vec<IdentityRow>, StoreError> {
        self.fetch_all(by_union(open_platform, unionid))
            .await?
            .iter()
            .map(from_row)
            .collect()
    }

    /// A user's identities, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn identities_of(&self, user_id: &str) -> Result<Vec<IdentityRow>, StoreError> {
        self.fetch_all(of_user(user_id)).await?.iter().map(from_row).collect()
    }
}

impl WriteTx {
    /// As [`Store::identity`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn identity(&mut self, app_id: &str, openid: &str) -> Result<Option<IdentityRow>, StoreError> {
        self.fetch_optional(by_openid(app_id, openid))
            .await?
            .as_ref()
            .map(from_row)
            .transpose()
    }

    /// As [`Store::identities_by_union`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn identities_by_union(
        &mut self,
        open_platform: &str,
        unionid: &str,
    ) -> Result<Vec<IdentityRow>, StoreError> {
        self.fetch_all(by_union(open_platform, unionid))
            .await?
            .iter()
            .map(from_row)
            .collect()
    }

    /// As [`Store::identities_of`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn identities_of(&mut self, user_id: &str) -> Result<Vec<IdentityRow>, StoreError> {
        self.fetch_all(of_user(user_id)).await?.iter().map(from_row).collect()
    }

    /// Records a new identity.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it is somebody's already.
    pub async fn insert_identity(&mut self, identity: &IdentityRow) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO identities (app_id, openid, open_platform, unionid, user_id, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(identity.app_id.as_str())
        .bind(identity.openid.as_str())
        .bind(identity.open_platform.as_deref())
        .bind(identity.unionid.as_deref())
        .bind(identity.user_id.as_str())
        .bind(identity.created_at);
        self.execute(query).await.map(|_| ())
    }

    /// Records a unionid that arrived later or has changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_unionid(
        &mut self,
        app_id: &str,
        openid: &str,
        open_platform: &str,
        unionid: &str,
    ) -> Result<(), StoreError> {
        let query =
            sqlx::query("UPDATE identities SET open_platform = $3, unionid = $4 WHERE app_id = $1 AND openid = $2")
                .bind(app_id)
                .bind(openid)
                .bind(open_platform)
                .bind(unionid);
        self.execute(query).await.map(|_| ())
    }

    /// Gives an identity of `from` to `to`; false if it is not `from`'s.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn move_identity(
        &mut self,
        app_id: &str,
        openid: &str,
        from: &str,
        to: &str,
    ) -> Result<bool, StoreError> {
        let query =
            sqlx::query("UPDATE identities SET user_id = $4 WHERE app_id = $1 AND openid = $2 AND user_id = $3")
                .bind(app_id)
                .bind(openid)
                .bind(from)
                .bind(to);
        Ok(self.execute(query).await? == 1)
    }

    /// Forgets an identity, and ends a login by it that nobody has redeemed yet; false if it is not this user's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_identity(
        &mut self,
        user_id: &str,
        app_id: &str,
        openid: &str,
        now: i64,
    ) -> Result<bool, StoreError> {
        let confirmed = sqlx::query(
            "UPDATE tickets SET state = 'cancelled', reason = 'unbound', ended_at = $4
             WHERE user_id = $1 AND app_id = $2 AND openid = $3 AND state = 'confirmed'",
        )
        .bind(user_id.to_owned())
        .bind(app_id.to_owned())
        .bind(openid.to_owned())
        .bind(now);
        self.execute(confirmed).await?;
        let query = sqlx::query("DELETE FROM identities WHERE user_id = $1 AND app_id = $2 AND openid = $3")
            .bind(user_id)
            .bind(app_id)
            .bind(openid);
        Ok(self.execute(query).await? == 1)
    }
}

fn by_openid(app_id: &str, openid: &str) -> Statement {
    sqlx::query(
        "SELECT app_id, openid, open_platform, unionid, user_id, created_at FROM identities
         WHERE app_id = $1 AND openid = $2",
    )
    .bind(app_id)
    .bind(openid)
}

fn by_union(open_platform: &str, unionid: &str) -> Statement {
    sqlx::query(
        "SELECT app_id, openid, open_platform, unionid, user_id, created_at FROM identities
         WHERE open_platform = $1 AND unionid = $2 ORDER BY created_at, app_id, openid",
    )
    .bind(open_platform)
    .bind(unionid)
}

fn of_user(user_id: &str) -> Statement {
    sqlx::query(
        "SELECT app_id, openid, open_platform, unionid, user_id, created_at FROM identities
         WHERE user_id = $1 ORDER BY created_at, app_id, openid",
    )
    .bind(user_id)
}

fn from_row(row: &AnyRow) -> Result<IdentityRow, StoreError> {
    Ok(IdentityRow {
        app_id: row.try_get("app_id")?,
        openid: row.try_get("openid")?,
        open_platform: row.try_get("open_platform")?,
        unionid: row.try_get("unionid")?,
        user_id: row.try_get("user_id")?,
        created_at: row.try_get("created_at")?,
    })
}
