//! Login attempts, from the moment a phone touches them.
//!
//! `pending` is not a row: an anonymous visitor writes nothing, so the first row of a ticket is its scan (or its end).
//! Every function here is one compare-and-set that says whether *this* caller made the transition; who gets `false` reads
//! the ticket and answers by what is there. A ticket is confirmed under a lease: asking WeChat for a phone number
//! happens between two statements, costs money, and must not happen twice.

use sqlx::Row;

use super::ticket::{
    Confirmation, EndedTicket, NewTicket, Rescan, SELECT_BY_HANDLE, SELECT_BY_ID, Ticket, TicketState, from_row,
};
use super::{SessionRow, Statement, Store, StoreError, WriteTx, sessions};

impl Store {
    /// The ticket with this scene, if a phone has touched it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket(&self, id: &str) -> Result<Option<Ticket>, StoreError> {
        let row = self.fetch_optional(sqlx::query(SELECT_BY_ID).bind(id)).await?;
        row.as_ref().map(from_row).transpose()
    }

    /// The ticket whose present handle has this SHA-256.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_by_handle(&self, handle_hash: &[u8]) -> Result<Option<Ticket>, StoreError> {
        let row = self
            .fetch_optional(sqlx::query(SELECT_BY_HANDLE).bind(handle_hash))
            .await?;
        row.as_ref().map(from_row).transpose()
    }

    /// `pending → scanned`. False if somebody touched it before: the same person may then [`Store::ticket_rescan`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_scan(&self, new: &NewTicket) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "INSERT INTO tickets (id, connection, state, app_id, openid, unionid, shown, handle_hash, entry,
                 phone_address, phone_agent, created_at, scanned_at, expires_at)
             VALUES ($1, $2, 'scanned', $3, $4, $5, 0, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(new.id.as_str())
        .bind(new.connection.as_str())
        .bind(new.app_id.as_str())
        .bind(new.openid.as_str())
        .bind(new.unionid.as_deref())
        .bind(new.handle_hash.as_slice())
        .bind(new.entry)
        .bind(new.phone_address.as_str())
        .bind(new.phone_agent.as_str())
        .bind(new.created_at)
        .bind(new.scanned_at)
        .bind(new.expires_at);
        self.won(query).await
    }

    /// Gives the person who scanned an unexpired ticket a new handle; the old one dies and has to be shown the browser's
    /// half again. A confirmation in progress under the old handle may finish. False for anybody else, and when it is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_rescan(&self, id: &str, rescan: &Rescan) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE tickets SET handle_hash = $4, shown = 0, entry = COALESCE($5, entry), phone_address = $6, phone_agent = $7,
                 expires_at = CASE WHEN state = 'scanned' THEN $9 ELSE expires_at END
             WHERE id = $1 AND app_id = $2 AND openid = $3 AND state IN ('scanned', 'bind', 'confirmed')
               AND expires_at > $8",
        )
        .bind(id)
        .bind(rescan.app_id.as_str())
        .bind(rescan.openid.as_str())
        .bind(rescan.handle_hash.as_slice())
        .bind(rescan.entry)
        .bind(rescan.phone_address.as_str())
        .bind(rescan.phone_agent.as_str())
        .bind(rescan.now)
        .bind(rescan.expires_at);
        self.won(query).await
    }

    /// Says which phone it is, once, for the handle that this phone came with.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_set_phone(
        &self,
        id: &str,
        handle_hash: &[u8],
        address: &str,
        agent: &str,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE tickets SET phone_address = $3, phone_agent = $4
             WHERE id = $1 AND handle_hash = $2 AND phone_address = ''",
        )
        .bind(id)
        .bind(handle_hash)
        .bind(address)
        .bind(agent);
        self.won(query).await
    }

    /// Adds who scanned across apps, once, where that was asked for after the scan.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_set_unionid(&self, id: &str, openid: &str, unionid: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE tickets SET unionid = $3 WHERE id = $1 AND openid = $2 AND unionid IS NULL")
            .bind(id)
            .bind(openid)
            .bind(unionid);
        self.won(query).await
    }

    /// Adds what the phone must show, once, while the ticket is `scanned`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_set_browser(&self, id: &str, browser_json: &str) -> Result<bool, StoreError> {
        let query =
            sqlx::query("UPDATE tickets SET browser = $2 WHERE id = $1 AND state = 'scanned' AND browser IS NULL")
                .bind(id)
                .bind(browser_json);
        self.won(query).await
    }

    /// Notes that an answer to this handle carries the browser's half, and in `bind` the account `user_id`. False if the
    /// handle has been replaced, another account was proven meanwhile, or there is nothing to show yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_mark_shown(
        &self,
        id: &str,
        handle_hash: &[u8],
        user_id: Option<&str>,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE tickets SET shown = 1
             WHERE id = $1 AND handle_hash = $2 AND browser IS NOT NULL AND COALESCE(user_id, '') = $3",
        )
        .bind(id)
        .bind(handle_hash)
        .bind(user_id.unwrap_or_default());
        self.won(query).await
    }

    /// Begins a confirmation: for this handle, one at a time, while the ticket is `scanned` and unexpired. `lease` is a random
    /// name for the attempt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_lease(
        &self,
        id: &str,
        handle_hash: &[u8],
        lease: &str,
        until: i64,
        now: i64,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE tickets SET lease = $3, lease_until = $4
             WHERE id = $1 AND handle_hash = $2 AND state = 'scanned' AND expires_at > $5
               AND (lease IS NULL OR lease_until <= $5)",
        )
        .bind(id)
        .bind(handle_hash)
        .bind(lease)
        .bind(until)
        .bind(now);
        self.won(query).await
    }

    /// Gives up a confirmation: the ticket is as it was.
    ///
    /// # Errors
    /// [`StoreError`]; the lease then ends by its time.
    pub async fn ticket_release(&self, id: &str, lease: &str) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE tickets SET lease = NULL, lease_until = NULL WHERE id = $1 AND lease = $2")
            .bind(id)
            .bind(lease);
        self.execute(query).await.map(|_| ())
    }

    /// `scanned → confirmed`, by the holder of the lease. A ticket that ran out meanwhile is confirmed as long as the lease
    /// counts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_confirm(&self, id: &str, lease: &str, confirmation: &Confirmation) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE tickets SET state = 'confirmed', user_id = $3, choice = $4, phone_note = $5, confirmed_at = $6,
                 expires_at = $7, lease = NULL, lease_until = NULL
             WHERE id = $1 AND lease = $2 AND state = 'scanned' AND (expires_at > $6 OR lease_until > $6)",
        )
        .bind(id)
        .bind(lease)
        .bind(confirmation.user_id.as_str())
        .bind(confirmation.choice)
        .bind(confirmation.phone_note.as_deref())
        .bind(confirmation.confirmed_at)
        .bind(confirmation.expires_at);
        self.won(query).await
    }

    /// From one of `from` to the end `to`. To `Expired` only if its time is over and nobody is confirming it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_end(
        &self,
        id: &str,
        from: &[TicketState],
        to: TicketState,
        error: Option<&str>,
        reason: Option<&str>,
        now: i64,
    ) -> Result<bool, StoreError> {
        // A list in one value: `,scanned,bind,` holds `,scanned,`.
        let from: String = from.iter().flat_map(|state| [",", state.as_str(), ","]).collect();
        let query = sqlx::query(
            "UPDATE tickets SET state = $3, error = $4, reason = $5, ended_at = $6, phone = NULL, lease = NULL,
                 lease_until = NULL
             WHERE id = $1 AND $2 LIKE '%,' || state || ',%'
               AND ($3 <> 'expired' OR (expires_at <= $6 AND (lease IS NULL OR lease_until <= $6)))",
        )
        .bind(id)
        .bind(from)
        .bind(to.as_str())
        .bind(error)
        .bind(reason)
        .bind(now);
        self.won(query).await
    }

    /// `pending →` an end: nobody can scan it any more. False if a phone has touched it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_end_pending(&self, ended: &EndedTicket) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "INSERT INTO tickets (id, connection, state, app_id, openid, shown, error, reason, phone_address,
                 phone_agent, created_at, scanned_at, ended_at, expires_at)
             VALUES ($1, $2, $3, '', '', 0, $4, $5, '', '', $6, $7, $7, $8)
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(ended.id.as_str())
        .bind(ended.connection.as_str())
        .bind(ended.state.as_str())
        .bind(ended.error.as_deref())
        .bind(ended.reason.as_deref())
        .bind(ended.created_at)
        .bind(ended.now)
        .bind(ended.expires_at);
        self.won(query).await
    }

    /// `confirmed → redeemed`, and the session, in one transaction: exactly once, in time, for the user that was
    /// confirmed and has not been disabled since.
    ///
    /// # Errors
    /// [`StoreError`]; then neither happened, except that after [`StoreError::TimedOut`] both may have.
    pub async fn ticket_redeem(&self, id: &str, now: i64, session: &SessionRow) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        if !redeem(&mut tx, id, now, session).await? {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The ids of all tickets that a phone has touched and whose time is not over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn touched_tickets(&self, now: i64) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query("SELECT id FROM tickets WHERE expires_at > $1").bind(now);
        let rows = self.fetch_all(query).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Forgets tickets that were over before `ended_before`. Leave a margin over the life of a scene: the row is what keeps
    /// a spent scene from being scanned again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_tickets(&self, ended_before: i64) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "DELETE FROM tickets WHERE expires_at < $1 AND created_at < $1 AND (ended_at IS NULL OR ended_at < $1)",
        )
        .bind(ended_before);
        self.execute(query).await
    }

    /// Whether a compare-and-set found what it expected.
    async fn won(&self, query: Statement) -> Result<bool, StoreError> {
        Ok(self.execute(query).await? == 1)
    }
}

/// `confirmed → redeemed` and the session, inside a transaction. False: it must not be committed.
pub(super) async fn redeem(tx: &mut WriteTx, id: &str, now: i64, session: &SessionRow) -> Result<bool, StoreError> {
    let redeem = sqlx::query(
        "UPDATE tickets SET state = 'redeemed', session_id = $3, ended_at = $2
         WHERE id = $1 AND state = 'confirmed' AND expires_at > $2 AND user_id = $4",
    )
    .bind(id)
    .bind(now)
    .bind(session.id.as_str())
    .bind(session.user_id.as_str());
    if tx.execute(redeem).await? != 1 {
        return Ok(false);
    }
    // Also the lock that orders this login and a disabling of the same user.
    let admit = sqlx::query("UPDATE users SET last_login_at = $2 WHERE id = $1 AND disabled = 0")
        .bind(session.user_id.as_str())
        .bind(now);
    if tx.execute(admit).await? != 1 {
        return Ok(false);
    }
    tx.execute(sessions::insert(session)).await?;
    Ok(true)
}

#[cfg(test)]
#[path = "tickets_tests.rs"]
mod tests;
