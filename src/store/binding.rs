//! What association `ask` keeps: the ticket while its browser chooses an account, what proves an account, and how often a
//! proof was wrong.
//!
//! An attempt is counted before it is looked at, so that many at once are not more than one after the other; a right one
//! gives its count back. What ends with a binding (identity, user, ticket) is written in one [`WriteTx`].

use sqlx::Row;

use super::{Statement, Store, StoreError, User, WriteTx, users};

/// `scanned → bind`.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The number that was tapped.
    pub choice: Option<i64>,
    /// The verified number (E.164), kept until the account is chosen.
    pub phone: Option<&'a str>,
    /// The account, where there is nothing to choose: the phone has yet to be shown it.
    pub user_id: Option<&'a str>,
    /// Now.
    pub now: i64,
    /// Until when the browser may choose.
    pub expires_at: i64,
}

/// The end of a binding: `bind → confirmed`.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// The account.
    pub user_id: &'a str,
    /// SHA-256 of the handle of the phone that accepts; `None` for an account that was made for this person.
    pub accepted_by: Option<&'a [u8]>,
    /// What became of the phone number.
    pub phone_note: Option<&'a str>,
    /// Now.
    pub now: i64,
    /// Until when the browser may redeem.
    pub expires_at: i64,
}

/// Who connects a WeChat account to their own.
#[derive(Debug, Clone, Copy)]
pub struct Holding<'a> {
    /// The user.
    pub user_id: &'a str,
    /// The session that they do it by.
    pub session_id: &'a str,
    /// Now.
    pub now: i64,
}

/// What proves an account. Not `Debug`: hashes are nobody's business.
#[derive(Clone, Default)]
pub struct AccountProofs {
    /// argon2id, PHC form.
    pub password_hash: Option<String>,
    /// The newest bind code that is neither used nor expired.
    pub bind_code: Option<BindCode>,
    /// A program's account, which nobody logs in to.
    pub service: bool,
}

/// A one-time code. Not `Debug`, as above.
#[derive(Clone)]
pub struct BindCode {
    /// Names the row.
    pub id: String,
    /// argon2id, PHC form, of the normalised code.
    pub hash: String,
}

/// A proof that is about to be looked at, by how many there were with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// At this ticket.
    pub of_ticket: i64,
    /// At this account by this method within the hour; 0 without an account.
    pub of_account: i64,
}

/// Which attempt is counted.
#[derive(Debug, Clone, Copy)]
pub struct AttemptAt<'a> {
    /// The scene.
    pub ticket: &'a str,
    /// The account that it is about, if there is one.
    pub user_id: Option<&'a str>,
    /// `bind_code` or `password`.
    pub method: &'a str,
    /// How many a ticket may have.
    pub ticket_limit: i64,
    /// Counts of an account that began before this begin anew.
    pub window_start: i64,
    /// Now.
    pub now: i64,
}

impl Store {
    /// `scanned → bind`, by the holder of the lease.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_bind(&self, id: &str, lease: &str, binding: &Binding<'_>) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE tickets SET state = 'bind', choice = $3, phone = $4, expires_at = $6, lease = NULL,
                 lease_until = NULL, user_id = $7, shown = CASE WHEN $8 = 1 THEN 0 ELSE shown END
             WHERE id = $1 AND lease = $2 AND state = 'scanned' AND (expires_at > $5 OR lease_until > $5)",
        )
        .bind(id)
        .bind(lease)
        .bind(binding.choice)
        .bind(binding.phone)
        .bind(binding.now)
        .bind(binding.expires_at)
        .bind(binding.user_id)
        .bind(i64::from(binding.user_id.is_some()));
        Ok(self.execute(query).await? == 1)
    }

    /// `bind → confirmed` by the phone that was shown the account, for a WeChat account that is yet to be connected: the
    /// number is kept until it is. False if the ticket does not wait for this.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_agree(&self, id: &str, bound: &Bound<'_>) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE tickets SET state = 'confirmed', phone_note = $3, confirmed_at = $4, expires_at = $5
             WHERE id = $1 AND state = 'bind' AND user_id = $2 AND handle_hash = $6 AND shown = 1 AND expires_at > $4",
        )
        .bind(id)
        .bind(bound.user_id)
        .bind(bound.phone_note)
        .bind(bound.now)
        .bind(bound.expires_at)
        .bind(bound.accepted_by.unwrap_or_default());
        Ok(self.execute(query).await? == 1)
    }

    /// Counts an attempt, at the ticket and at the account. `None` if the ticket takes no more: it does not wait for an
    /// account, has one, or has had its attempts.
    ///
    /// # Errors
    /// [`StoreError`]; then the proof must not be looked at.
    pub async fn count_attempt(&self, at: &AttemptAt<'_>) -> Result<Option<Attempt>, StoreError> {
        let mut tx = self.begin().await?;
        let ticket = sqlx::query(
            "UPDATE tickets SET proof_failures = proof_failures + 1
             WHERE id = $1 AND state = 'bind' AND user_id IS NULL AND expires_at > $2 AND proof_failures < $3
             RETURNING proof_failures",
        )
        .bind(at.ticket)
        .bind(at.now)
        .bind(at.ticket_limit);
        let Some(ticket) = tx.fetch_optional(ticket).await? else {
            return Ok(None);
        };
        let mut of_account = 0;
        if let Some(user_id) = at.user_id {
            // Selected, not given: the account may have been deleted since it was found.
            let account = sqlx::query(
                "INSERT INTO proof_failures (user_id, method, failures, since)
                 SELECT id, $2, 1, CAST($3 AS BIGINT) FROM users WHERE id = $1
                 ON CONFLICT (user_id, method) DO UPDATE SET
                     failures = CASE WHEN proof_failures.since <= $4 THEN 1 ELSE proof_failures.failures + 1 END,
                     since = CASE WHEN proof_failures.since <= $4 THEN excluded.since ELSE proof_failures.since END
                 RETURNING failures",
            )
            .bind(user_id)
            .bind(at.method)
            .bind(at.now)
            .bind(at.window_start);
            if let Some(row) = tx.fetch_optional(account).await? {
                of_account = row.try_get("failures")?;
            }
        }
        tx.commit().await?;
        Ok(Some(Attempt {
            of_ticket: ticket.try_get("proof_failures")?,
            of_account,
        }))
    }

    /// What proves this account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn account_proofs(&self, user_id: &str, now: i64) -> Result<AccountProofs, StoreError> {
        let user = sqlx::query("SELECT password_hash, service FROM users WHERE id = $1").bind(user_id);
        let Some(user) = self.fetch_optional(user).await? else {
            return Ok(AccountProofs::default());
        };
        let code = sqlx::query(
            "SELECT id, hash FROM bind_codes WHERE user_id = $1 AND used_at IS NULL AND expires_at > $2
             ORDER BY created_at DESC, id DESC LIMIT 1",
        )
        .bind(user_id)
        .bind(now);
        let code = self.fetch_optional(code).await?;
        Ok(AccountProofs {
            password_hash: user.try_get("password_hash")?,
            bind_code: code
                .map(|row| {
                    Ok::<_, StoreError>(BindCode {
                        id: row.try_get("id")?,
                        hash: row.try_get("hash")?,
                    })
                })
                .transpose()?,
            service: user.try_get::<i64, _>("service")? != 0,
        })
    }

    /// The only user with this e-mail address, without regard to case; none if several have it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        let rows = self
            .fetch_all(sqlx::query(users::SELECT_BY_EMAIL).bind(email.to_owned()))
            .await?;
        match rows.as_slice() {
            [row] => users::from_row(row).map(Some),
            _ => Ok(None),
        }
    }

    /// Empties the numbers that tickets kept which ran out, forgets counts of attempts that began before `window_start`,
    /// and bind codes that ran out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_bindings(&self, now: i64, window_start: i64) -> Result<(), StoreError> {
        self.execute(
            sqlx::query("UPDATE tickets SET phone = NULL WHERE expires_at <= $1 AND phone IS NOT NULL").bind(now),
        )
        .await?;
        self.execute(sqlx::query("DELETE FROM proof_failures WHERE since <= $1").bind(window_start))
            .await?;
        self.execute(sqlx::query("DELETE FROM bind_codes WHERE expires_at <= $1").bind(now))
            .await
            .map(|_| ())
    }
}

impl WriteTx {
    /// The verified number that a ticket keeps while its browser chooses.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_phone(&mut self, id: &str) -> Result<Option<String>, StoreError> {
        let row = self
            .fetch_optional(sqlx::query("SELECT phone FROM tickets WHERE id = $1").bind(id.to_owned()))
            .await?;
        Ok(row.map(|row| row.try_get("phone")).transpose()?.flatten())
    }

    /// Notes the account that was proven; from now on the phone has to show it. False if the ticket does not wait for one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_propose(&mut self, id: &str, user_id: &str, now: i64) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE tickets SET user_id = $2, shown = 0
             WHERE id = $1 AND state = 'bind' AND user_id IS NULL AND expires_at > $3",
        )
        .bind(id)
        .bind(user_id)
        .bind(now);
        Ok(self.execute(query).await? == 1)
    }

    /// A right proof counts for nothing, at the ticket and at the account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn uncount_attempts(&mut self, ticket: &str, user_id: &str, method: &str) -> Result<(), StoreError> {
        let query = "UPDATE tickets SET proof_failures = proof_failures - 1 WHERE id = $1 AND proof_failures > 0";
        self.execute(sqlx::query(query).bind(ticket.to_owned())).await?;
        let query = sqlx::query("DELETE FROM proof_failures WHERE user_id = $1 AND method = $2")
            .bind(user_id)
            .bind(method);
        self.execute(query).await.map(|_| ())
    }

    /// Uses a bind code up: once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spend_bind_code(&mut self, id: &str, now: i64) -> Result<bool, StoreError> {
        let query =
            sqlx::query("UPDATE bind_codes SET used_at = $2 WHERE id = $1 AND used_at IS NULL AND expires_at > $2")
                .bind(id)
                .bind(now);
        Ok(self.execute(query).await? == 1)
    }

    /// `confirmed → redeemed` without a session: the WeChat account is connected to the user that was confirmed, by a session
    /// of theirs that has not ended. False if the ticket does not wait for this, or the session has ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_connected(&mut self, id: &str, holder: Holding<'_>) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE tickets SET state = 'redeemed', ended_at = $2, phone = NULL
             WHERE id = $1 AND state = 'confirmed' AND expires_at > $2 AND user_id = $3
               AND EXISTS (SELECT 1 FROM sessions
                   WHERE sessions.id = $4 AND sessions.user_id = $3 AND ended_at IS NULL AND sessions.expires_at > $2)",
        )
        .bind(id)
        .bind(holder.now)
        .bind(holder.user_id)
        .bind(holder.session_id);
        Ok(self.execute(query).await? == 1)
    }

    /// `bind → confirmed`: for a new account while none was proven, for a proven one by the phone that was shown it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_bound(&mut self, id: &str, bound: &Bound<'_>) -> Result<bool, StoreError> {
        Ok(self.execute(confirm_bound(id, bound)).await? == 1)
    }
}

fn confirm_bound(id: &str, bound: &Bound<'_>) -> Statement {
    let query = match bound.accepted_by {
        None => sqlx::query(
            "UPDATE tickets SET state = 'confirmed', user_id = $2, phone_note = $3, confirmed_at = $4, expires_at = $5,
                 phone = NULL
             WHERE id = $1 AND state = 'bind' AND user_id IS NULL AND expires_at > $4",
        ),
        Some(_) => sqlx::query(
            "UPDATE tickets SET state = 'confirmed', phone_note = $3, confirmed_at = $4, expires_at = $5, phone = NULL
             WHERE id = $1 AND state = 'bind' AND user_id = $2 AND handle_hash = $6 AND shown = 1 AND expires_at > $4",
        ),
    };
    let query = query
        .bind(id)
        .bind(bound.user_id)
        .bind(bound.phone_note)
        .bind(bound.now)
        .bind(bound.expires_at);
    match bound.accepted_by {
        None => query,
        Some(handle_hash) => query.bind(handle_hash),
    }
}

#[cfg(test)]
#[path = "binding_tests.rs"]
mod tests;
