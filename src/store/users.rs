//! The directory: who people are, whatever they log in with.

use std::fmt;

use serde_json::{Map, Value};
use sqlx::Row;
use sqlx::any::AnyRow;
use unicode_normalization::UnicodeNormalization;

use super::{Lock, RevocationKind, Statement, Store, StoreError, WriteTx};

/// A person.
#[derive(Clone, Default, PartialEq)]
pub struct User {
    /// `u_` and 26 letters and digits.
    pub id: String,
    /// Unique without regard to case and compatibility forms ([`fold_username`]).
    pub username: Option<String>,
    /// What to call them.
    pub name: Option<String>,
    /// Address of a picture.
    pub picture: Option<String>,
    /// E.164, unique.
    pub phone: Option<String>,
    /// E-mail, not unique.
    pub email: Option<String>,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Whatever else an import brought.
    pub attributes: Map<String, Value>,
    /// May not log in.
    pub disabled: bool,
    /// A program's account: holds tokens, never logs in.
    pub service: bool,
    /// Has a password, to prove the account when an identity is bound.
    pub has_password: bool,
    /// Unix seconds.
    pub created_at: i64,
    /// Last change of any of the above.
    pub updated_at: i64,
    /// Last session.
    pub last_login_at: Option<i64>,
}

/// A person to be recorded.
#[derive(Clone, Default, PartialEq)]
pub struct NewUser {
    /// `u_` and 26 letters and digits.
    pub id: String,
    /// Unique without regard to case and compatibility forms.
    pub username: Option<String>,
    /// What to call them.
    pub name: Option<String>,
    /// Address of a picture.
    pub picture: Option<String>,
    /// E.164, unique.
    pub phone: Option<String>,
    /// E-mail, not unique.
    pub email: Option<String>,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Whatever else an import brought.
    pub attributes: Map<String, Value>,
    /// argon2id, in PHC form.
    pub password_hash: Option<String>,
    /// A program's account.
    pub service: bool,
    /// Now.
    pub created_at: i64,
}

/// A change of some fields: `None` leaves a field as it is, `Some(None)` empties it.
#[derive(Clone, Default, PartialEq)]
pub struct UserChange {
    /// Unique without regard to case and compatibility forms.
    pub username: Option<Option<String>>,
    /// What to call them.
    pub name: Option<Option<String>>,
    /// Address of a picture.
    pub picture: Option<Option<String>>,
    /// E.164, unique.
    pub phone: Option<Option<String>>,
    /// E-mail, not unique.
    pub email: Option<Option<String>>,
    /// All groups anew.
    pub groups: Option<Vec<String>>,
    /// All attributes anew.
    pub attributes: Option<Map<String, Value>>,
    /// argon2id, in PHC form.
    pub password_hash: Option<Option<String>>,
}

/// The form in which usernames are compared: compatibility forms (NFKC) and case are folded. Upper case before lower
/// case, so that `ß` is `ss` and a dotless `ı` is an `i`: two names that an application may fold together must not be two
/// people here.
#[must_use]
pub fn fold_username(username: &str) -> String {
    username
        .nfkc()
        .collect::<String>()
        .to_uppercase()
        .to_lowercase()
        .nfkc()
        .collect()
}

impl Store {
    /// The user with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&self, id: &str) -> Result<Option<User>, StoreError> {
        self.fetch_optional(sqlx::query(SELECT_BY_ID).bind(id))
            .await?
            .as_ref()
            .map(from_row)
            .transpose()
    }

    /// The user with this name, in whatever spelling.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_by_username(&self, username: &str) -> Result<Option<User>, StoreError> {
        let query = sqlx::query(SELECT_BY_USERNAME).bind(fold_username(username));
        self.fetch_optional(query).await?.as_ref().map(from_row).transpose()
    }

    /// The user with this number (E.164).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_by_phone(&self, phone: &str) -> Result<Option<User>, StoreError> {
        self.fetch_optional(sqlx::query(SELECT_BY_PHONE).bind(phone))
            .await?
            .as_ref()
            .map(from_row)
            .transpose()
    }

    /// Up to `limit` users with an id after `after`, by id; `""` for the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users_after(&self, after: &str, limit: u32) -> Result<Vec<User>, StoreError> {
        let query = sqlx::query(SELECT_AFTER).bind(after).bind(i64::from(limit));
        self.fetch_all(query).await?.iter().map(from_row).collect()
    }

    /// Records a person.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the id, username, or phone is somebody's.
    pub async fn insert_user(&self, new: &NewUser) -> Result<(), StoreError> {
        self.execute(insert(new)).await.map(|_| ())
    }

    /// Changes some fields and tells the nodes, in one transaction. False if there is no such user.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the username or phone is somebody else's.
    pub async fn update_user(&self, id: &str, change: &UserChange, now: i64) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let changed = tx.update_user(id, change, now).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// A transaction in which nobody else decides which user an identity belongs to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn directory(&self) -> Result<WriteTx, StoreError> {
        let mut tx = self.begin().await?;
        tx.lock(Lock::People).await?;
        Ok(tx)
    }
}

impl WriteTx {
    /// As [`Store::user`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&mut self, id: &str) -> Result<Option<User>, StoreError> {
        self.fetch_optional(sqlx::query(SELECT_BY_ID).bind(id))
            .await?
            .as_ref()
            .map(from_row)
            .transpose()
    }

    /// As [`Store::user_by_username`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_by_username(&mut self, username: &str) -> Result<Option<User>, StoreError> {
        let query = sqlx::query(SELECT_BY_USERNAME).bind(fold_username(username));
        self.fetch_optional(query).await?.as_ref().map(from_row).transpose()
    }

    /// As [`Store::user_by_phone`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_by_phone(&mut self, phone: &str) -> Result<Option<User>, StoreError> {
        self.fetch_optional(sqlx::query(SELECT_BY_PHONE).bind(phone))
            .await?
            .as_ref()
            .map(from_row)
            .transpose()
    }

    /// As [`Store::insert_user`].
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the id, username, or phone is somebody's.
    pub async fn insert_user(&mut self, new: &NewUser) -> Result<(), StoreError> {
        self.execute(insert(new)).await.map(|_| ())
    }

    /// As [`Store::update_user`]; before any other write of the transaction.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the username or phone is somebody else's.
    pub async fn update_user(&mut self, id: &str, change: &UserChange, now: i64) -> Result<bool, StoreError> {
        self.lock(Lock::Revocations).await?;
        if self.execute(update(id, change, now)).await? != 1 {
            return Ok(false);
        }
        let keep_until = self.last_session_end(id, now).await?;
        self.revoke(RevocationKind::Change, id, "changed", now, keep_until)
            .await?;
        Ok(true)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("User")
            .field("id", &self.id)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NewUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewUser")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UserChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UserChange").finish_non_exhaustive()
    }
}

fn insert(new: &NewUser) -> Statement {
    sqlx::query(
        "INSERT INTO users (id, username, username_key, name, picture, phone, email, groups_json, attributes_json,
             disabled, created_at, updated_at, password_hash, service)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $10, $11, $12)",
    )
    .bind(new.id.as_str())
    .bind(new.username.as_deref())
    .bind(new.username.as_deref().map(fold_username))
    .bind(new.name.as_deref())
    .bind(new.picture.as_deref())
    .bind(new.phone.as_deref())
    .bind(new.email.as_deref())
    .bind(Value::from(new.groups.clone()).to_string())
    .bind(Value::from(new.attributes.clone()).to_string())
    .bind(new.created_at)
    .bind(new.password_hash.as_deref())
    .bind(i64::from(new.service))
}

/// Each field with a flag before it, so that one statement serves every choice of fields.
fn update(id: &str, change: &UserChange, now: i64) -> Statement {
    let field = |field: &Option<Option<String>>| (i64::from(field.is_some()), field.clone().flatten());
    let (username, name, picture, phone, email, password) = (
        field(&change.username),
        field(&change.name),
        field(&change.picture),
        field(&change.phone),
        field(&change.email),
        field(&change.password_hash),
    );
    let username_key = username.1.as_deref().map(fold_username);
    sqlx::query(
        "UPDATE users SET updated_at = $2,
             username = CASE WHEN $3 = 1 THEN $4 ELSE username END,
             username_key = CASE WHEN $3 = 1 THEN $5 ELSE username_key END,
             name = CASE WHEN $6 = 1 THEN $7 ELSE name END,
             picture = CASE WHEN $8 = 1 THEN $9 ELSE picture END,
             phone = CASE WHEN $10 = 1 THEN $11 ELSE phone END,
             email = CASE WHEN $12 = 1 THEN $13 ELSE email END,
             groups_json = COALESCE($14, groups_json),
             attributes_json = COALESCE($15, attributes_json),
             password_hash = CASE WHEN $16 = 1 THEN $17 ELSE password_hash END
         WHERE id = $1",
    )
    .bind(id)
    .bind(now)
    .bind(username.0)
    .bind(username.1)
    .bind(username_key)
    .bind(name.0)
    .bind(name.1)
    .bind(picture.0)
    .bind(picture.1)
    .bind(phone.0)
    .bind(phone.1)
    .bind(email.0)
    .bind(email.1)
    .bind(change.groups.clone().map(|groups| Value::from(groups).to_string()))
    .bind(
        change
            .attributes
            .clone()
            .map(|attributes| Value::from(attributes).to_string()),
    )
    .bind(password.0)
    .bind(password.1)
}

pub(super) fn from_row(row: &AnyRow) -> Result<User, StoreError> {
    let broken = |_| StoreError::Broken("a user's groups or attributes are not JSON".to_owned());
    Ok(User {
        id: row.try_get("id")?,
        username: row.try_get("username")?,
        name: row.try_get("name")?,
        picture: row.try_get("picture")?,
        phone: row.try_get("phone")?,
        email: row.try_get("email")?,
        groups: serde_json::from_str(row.try_get("groups_json")?).map_err(broken)?,
        attributes: serde_json::from_str(row.try_get("attributes_json")?).map_err(broken)?,
        disabled: row.try_get::<i64, _>("disabled")? != 0,
        service: row.try_get::<i64, _>("service")? != 0,
        has_password: row.try_get::<i64, _>("has_password")? != 0,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        last_login_at: row.try_get("last_login_at")?,
    })
}

/// Written out, not `*`: a column that a newer node adds must not upset this node's prepared statements.
macro_rules! select_where {
    ($condition:literal) => {
        concat!(
            "SELECT id, username, name, picture, phone, email, groups_json, attributes_json, disabled, service,
             CASE WHEN password_hash IS NULL THEN 0 ELSE 1 END AS has_password, created_at, updated_at, last_login_at
             FROM users WHERE ",
            $condition
        )
    };
}

/// [`from_row`] reads what these select.
pub(super) const SELECT_USERNAME_KEYS: &str = select_where!("username_key IN");
pub(super) const SELECT_PHONES: &str = select_where!("phone IN");

const SELECT_BY_ID: &str = select_where!("id = $1");
const SELECT_BY_USERNAME: &str = select_where!("username_key = $1");
const SELECT_BY_PHONE: &str = select_where!("phone = $1");
/// Two of them say as much as all: that the address names nobody.
pub(super) const SELECT_BY_EMAIL: &str = select_where!("lower(email) = lower($1) ORDER BY id LIMIT 2");
const SELECT_AFTER: &str = select_where!("id > $1 ORDER BY id LIMIT $2");

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
