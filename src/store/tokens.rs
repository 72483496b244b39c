//! Bearer tokens: those that operators hand out, and the pairs that applications get by a login.
//!
//! Only SHA-256 of a token is here. What an operator handed out (`api`) stands for itself; access and refresh tokens
//! belong to a session in the registry and end with it, so that whatever lists and ends sessions covers them too.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::session_list::in_order;
use super::{Lock, RevocationKind, SessionRow, Statement, Store, StoreError, WriteTx, tickets};

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A credential that a login gave, for an hour.
    Access,
    /// A credential that an operator handed out.
    Api,
    /// Gets a new pair, once. No credential.
    Refresh,
}

/// A token without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// `t_…`; not a secret.
    pub id: String,
    /// What it is good for.
    pub kind: TokenKind,
    /// SHA-256 of its text.
    pub hash: Vec<u8>,
    /// Whose it is.
    pub user_id: String,
    /// What the operator called it.
    pub label: Option<String>,
    /// Audiences of the sites that it is for; `None`: every site.
    pub sites: Option<Vec<String>>,
    /// Connection of the login that gave it; `None` for what an operator handed out.
    pub connection: Option<String>,
    /// Session that it belongs to and ends with.
    pub session_id: Option<String>,
    /// When the person proved who they are, or the operator vouched for them. Unix seconds, as all that follow.
    pub auth_time: i64,
    /// When it was made.
    pub created_at: i64,
    /// When it ends; `None`: never.
    pub expires_at: Option<i64>,
    /// A use within minutes of the last.
    pub last_used_at: Option<i64>,
    /// When a refresh token was exchanged.
    pub used_at: Option<i64>,
    /// When it was ended before its time.
    pub revoked_at: Option<i64>,
}

/// A token with whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedToken {
    /// The token.
    pub token: TokenRow,
    /// Username.
    pub username: Option<String>,
    /// A program's account.
    pub service: bool,
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokedToken {
    /// It ended now.
    Now,
    /// It had been revoked already.
    Before,
    /// No token has this id.
    Unknown,
}

/// What became of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// It is used up, and the new pair is in its place.
    Done,
    /// It had been used before: two hold it, and one of them should not.
    Reused,
    /// It has ended, or its session or user has.
    Over,
}

/// By what revocations name a token: a session id that no session has. A kind of its own would be unreadable to nodes
/// that have not been upgraded yet, and those refuse everything that they cannot read.
#[must_use]
pub fn token_subject(id: &str) -> String {
    let digest = digest(&SHA256, &[b"menshen/token".as_slice(), id.as_bytes()].concat());
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16])
}

impl Store {
    /// Records a token of a user who may act. False if there is no such user, or it is disabled.
    ///
    /// # Errors
    /// [`StoreError`]; then it was not recorded.
    pub async fn issue_token(&self, token: &TokenRow) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // Also the lock that orders this and a disabling of the same user.
        let admit = sqlx::query("UPDATE users SET updated_at = updated_at WHERE id = $1 AND disabled = 0")
            .bind(token.user_id.as_str());
        if tx.execute(admit).await? != 1 {
            return Ok(false);
        }
        tx.execute(insert(token)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The token whose text has this SHA-256, whatever its standing, as long as the session that it belongs to goes on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token_by_hash(&self, hash: &[u8]) -> Result<Option<TokenRow>, StoreError> {
        let query = sqlx::query(SELECT_BY_HASH).bind(hash.to_vec());
        self.fetch_optional(query).await?.as_ref().map(from_row).transpose()
    }

    /// What operators handed out, to one user or to all, oldest first; ended ones too, until they are swept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn api_tokens(&self, user_id: Option<&str>) -> Result<Vec<OwnedToken>, StoreError> {
        let query = sqlx::query(SELECT_API).bind(user_id.unwrap_or_default().to_owned());
        let rows = self.fetch_all(query).await?;
        rows.iter()
            .map(|row| {
                Ok(OwnedToken {
                    token: from_row(row)?,
                    username: row.try_get("username")?,
                    service: row.try_get::<i64, _>("service")? != 0,
                })
            })
            .collect()
    }

    /// Whose a token is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token_owner(&self, id: &str) -> Result<Option<String>, StoreError> {
        let query = sqlx::query("SELECT user_id FROM tokens WHERE id = $1").bind(id.to_owned());
        let row = self.fetch_optional(query).await?;
        Ok(row.map(|row| row.try_get("user_id")).transpose()?)
    }

    /// Ends a token and tells the nodes, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]; then it has not ended.
    pub async fn revoke_token(&self, id: &str, reason: &str, now: i64) -> Result<RevokedToken, StoreError> {
        let mut tx = self.begin().await?;
        tx.lock(Lock::Revocations).await?;
        let query = sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id.to_owned())
            .bind(now);
        if tx.execute(query).await? != 1 {
            let query = sqlx::query("SELECT id FROM tokens WHERE id = $1").bind(id.to_owned());
            let known = tx.fetch_optional(query).await?.is_some();
            return Ok(if known {
                RevokedToken::Before
            } else {
                RevokedToken::Unknown
            });
        }
        let subject = token_subject(id);
        tx.revoke(RevocationKind::Session, &subject, reason, now, now + REVOCATION_KEPT)
            .await?;
        tx.commit().await?;
        Ok(RevokedToken::Now)
    }

    /// Notes uses (token id, Unix seconds); older ones than are known change nothing.
    ///
    /// # Errors
    /// [`StoreError`]; then some may have been noted, and noting them again does no harm.
    pub async fn touch_tokens(&self, uses: &[(String, i64)]) -> Result<(), StoreError> {
        let touches = in_order(uses).into_iter().map(|(id, at)| {
            sqlx::query(
                "UPDATE tokens SET last_used_at = $2
                 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
            )
            .bind(id.clone())
            .bind(*at)
        });
        self.execute_apart(touches).await
    }

    /// `confirmed → redeemed` with a session that has no cookie but this pair of tokens, in one transaction: as
    /// [`Store::ticket_redeem`].
    ///
    /// # Errors
    /// [`StoreError`]; then nothing happened, except that after [`StoreError::TimedOut`] all of it may have.
    pub async fn ticket_redeem_for_tokens(
        &self,
        ticket: &str,
        now: i64,
        session: &SessionRow,
        tokens: &[TokenRow],
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        if !tickets::redeem(&mut tx, ticket, now, session).await? {
            return Ok(false);
        }
        for token in tokens {
            tx.execute(insert(token)).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Exchanges a refresh token for a new pair: once, while its session goes on and its user may act. Of the session's used
    /// ones those of the last days stay, by which a second use is noticed; older ones are forgotten, and unknown from then
    /// on.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing happened, except that after [`StoreError::TimedOut`] all of it may have.
    pub async fn rotate_token(&self, refresh: &TokenRow, pair: &[TokenRow], now: i64) -> Result<Rotation, StoreError> {
        let mut tx = self.begin().await?;
        let spend = sqlx::query(
            "UPDATE tokens SET used_at = $2
             WHERE id = $1 AND kind = 'refresh' AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $2",
        )
        .bind(refresh.id.clone())
        .bind(now);
        if tx.execute(spend).await? != 1 {
            let query = sqlx::query("SELECT used_at FROM tokens WHERE id = $1").bind(refresh.id.clone());
            let row = tx.fetch_optional(query).await?;
            let used_at = row.map(|row| row.try_get::<Option<i64>, _>("used_at")).transpose()?;
            return Ok(match used_at.flatten() {
                Some(_) => Rotation::Reused,
                None => Rotation::Over,
            });
        }
        let go_on = sqlx::query(
            "UPDATE sessions SET last_used_at = $2 WHERE id = $1 AND ended_at IS NULL AND expires_at > $2
               AND EXISTS (SELECT 1 FROM users WHERE users.id = sessions.user_id AND users.disabled = 0)",
        )
        .bind(refresh.session_id.clone())
        .bind(now);
        if tx.execute(go_on).await? != 1 {
            return Ok(Rotation::Over);
        }
        for token in pair {
            tx.execute(insert(token)).await?;
        }
        let forget = sqlx::query(FORGET_USED)
            .bind(refresh.session_id.clone())
            .bind(now - REUSE_NOTICED);
        tx.execute(forget).await?;
        tx.commit().await?;
        Ok(Rotation::Done)
    }

    /// Forgets tokens of logins that ended before `before`, and those that operators handed out a month after their end,
    /// so that a listing still shows for a while what there was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_tokens(&self, before: i64) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "DELETE FROM tokens WHERE (kind <> 'api' AND expires_at < $1)
               OR (kind = 'api' AND (expires_at < $2 OR revoked_at < $2))",
        )
        .bind(before)
        .bind(before - LISTED_AFTER_END);
        self.execute(query).await
    }
}

impl WriteTx {
    /// Ends every token of a user. The nodes are told by the user's own revocation.
    pub(crate) async fn revoke_tokens_of(&mut self, user_id: &str, now: i64) -> Result<u64, StoreError> {
        let query = sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL")
            .bind(user_id.to_owned())
            .bind(now);
        self.execute(query).await
    }
}

impl TokenKind {
    const ALL: [Self; 3] = [Self::Access, Self::Api, Self::Refresh];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Api => "api",
            Self::Refresh => "refresh",
        }
    }
}

fn insert(token: &TokenRow) -> Statement {
    sqlx::query(
        "INSERT INTO tokens (id, kind, hash, user_id, label, sites_json, connection, session_id, auth_time, created_at,
             expires_at, last_used_at, used_at, revoked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(token.id.clone())
    .bind(token.kind.as_str())
    .bind(token.hash.clone())
    .bind(token.user_id.clone())
    .bind(token.label.clone())
    .bind(serde_json::json!(token.sites).to_string())
    .bind(token.connection.clone())
    .bind(token.session_id.clone())
    .bind(token.auth_time)
    .bind(token.created_at)
    .bind(token.expires_at)
    .bind(token.last_used_at)
    .bind(token.used_at)
    .bind(token.revoked_at)
}

fn from_row(row: &AnyRow) -> Result<TokenRow, StoreError> {
    let kind: &str = row.try_get("kind")?;
    let kind = TokenKind::ALL.into_iter().find(|known| known.as_str() == kind);
    let broken = |_| StoreError::Broken("the sites of a token are not JSON".to_owned());
    Ok(TokenRow {
        id: row.try_get("id")?,
        kind: kind.ok_or_else(|| StoreError::Broken("a token of unknown kind".to_owned()))?,
        hash: row.try_get("hash")?,
        user_id: row.try_get("user_id")?,
        label: row.try_get("label")?,
        sites: serde_json::from_str(row.try_get("sites_json")?).map_err(broken)?,
        connection: row.try_get("connection")?,
        session_id: row.try_get("session_id")?,
        auth_time: row.try_get("auth_time")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        last_used_at: row.try_get("last_used_at")?,
        used_at: row.try_get("used_at")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}

/// Written out, not `*`: a column that a newer node adds must not upset this node's prepared statements.
const SELECT_BY_HASH: &str = "SELECT id, kind, hash, user_id, label, sites_json, connection, session_id, auth_time,
     created_at, expires_at, last_used_at, used_at, revoked_at FROM tokens
     WHERE hash = $1 AND (session_id IS NULL OR EXISTS
         (SELECT 1 FROM sessions WHERE sessions.id = tokens.session_id AND sessions.ended_at IS NULL))";

const SELECT_API: &str = "SELECT tokens.id, kind, hash, user_id, label, sites_json, connection, session_id, auth_time,
     tokens.created_at, expires_at, last_used_at, used_at, revoked_at, username, service
     FROM tokens JOIN users ON users.id = tokens.user_id
     WHERE kind = 'api' AND ($1 = '' OR user_id = $1) ORDER BY tokens.created_at, tokens.id";

/// The last five stay whatever their age: an application that sleeps for long has the last but one.
const FORGET_USED: &str = "DELETE FROM tokens WHERE session_id = $1 AND kind = 'refresh' AND used_at < $2 AND used_at <
     (SELECT used_at FROM tokens WHERE session_id = $1 AND kind = 'refresh' AND used_at IS NOT NULL
      ORDER BY used_at DESC LIMIT 1 OFFSET 4)";

/// Over a long weekend. A count alone would not do: a thief could exchange the stolen token until its place is forgotten,
/// and whom it was stolen from would come with it unnoticed.
const REUSE_NOTICED: i64 = 4 * 86_400;

/// Longer than a node keeps in memory what it has looked up, and than its clock can differ.
const REVOCATION_KEPT: i64 = 2 * 86_400;

/// How long after its end a listing still shows a token.
const LISTED_AFTER_END: i64 = 30 * 86_400;

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
