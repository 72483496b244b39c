//! The record of what people and operators did.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Lock, ROWS_AT_ONCE, Store, StoreError, WriteTx, insert_rows};
use crate::telemetry::audit::{AuditEvent, AuditSink, SinkFailed};

/// One audited event. It holds no phone number and no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditRow {
    /// Given by the store; grows in the order of commits.
    pub seq: i64,
    /// Stable name of the kind of event.
    pub kind: String,
    /// Unix seconds.
    pub at: i64,
    /// Request that caused it.
    pub request_id: Option<String>,
    /// Whom it is about; stays when the user is deleted.
    pub user_id: Option<String>,
    /// Connection id.
    pub connection: Option<String>,
    /// Beginning of the hash of the ticket's id.
    pub ticket_hash: Option<String>,
    /// Address of the browser.
    pub browser_address: Option<String>,
    /// Address of the phone.
    pub phone_address: Option<String>,
    /// The browser.
    pub browser_device: Option<String>,
    /// The phone.
    pub phone_device: Option<String>,
    /// Why, for what failed or was ended.
    pub reason: Option<String>,
    /// What else belongs to the kind of event, as JSON.
    pub details: Option<String>,
}

impl Store {
    /// Records `rows` in their order, all or none; their `seq` is ignored.
    ///
    /// # Errors
    /// [`StoreError`]; then none was recorded.
    pub async fn insert_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        tx.insert_audit(rows).await?;
        tx.commit().await
    }

    /// Up to `limit` events after number `seq`, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_after(&self, seq: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let query = sqlx::query(SELECT_AFTER).bind(seq).bind(i64::from(limit));
        self.fetch_all(query).await?.iter().map(from_row).collect()
    }

    /// Forgets events from before `before`: how many those were. A portion at a time, so that a shortened `audit.keep` holds
    /// nobody up; what one call does not get to is left for the next.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_audit(&self, before: i64) -> Result<u64, StoreError> {
        let mut swept = 0;
        for _ in 0..SWEPT_PORTIONS {
            let query = sqlx::query(
                "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < $1 ORDER BY at LIMIT $2)",
            )
            .bind(before)
            .bind(SWEPT_AT_ONCE);
            let portion = self.execute(query).await?;
            swept += portion;
            if portion < SWEPT_AT_ONCE.unsigned_abs() {
                break;
            }
        }
        Ok(swept)
    }
}

impl WriteTx {
    /// As [`Store::insert_audit`], together with what is recorded: the number of the last of them. The last write of a
    /// transaction, because until it ends nobody else can record anything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_audit(&mut self, rows: &[AuditRow]) -> Result<i64, StoreError> {
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let last = self.take(Lock::Audit, count).await?;
        let mut seq = last - count;
        for batch in rows.chunks(ROWS_AT_ONCE) {
            let mut query = sqlx::query(insert_rows(INSERT, COLUMNS, batch.len()));
            for row in batch {
                seq += 1;
                query = query
                    .bind(seq)
                    .bind(row.kind.as_str())
                    .bind(row.at)
                    .bind(row.request_id.as_deref())
                    .bind(row.user_id.as_deref())
                    .bind(row.connection.as_deref())
                    .bind(row.ticket_hash.as_deref())
                    .bind(row.browser_address.as_deref())
                    .bind(row.phone_address.as_deref())
                    .bind(row.browser_device.as_deref())
                    .bind(row.phone_device.as_deref())
                    .bind(row.reason.as_deref())
                    .bind(row.details.as_deref());
            }
            self.execute(query).await?;
        }
        Ok(last)
    }

    /// The event with this number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_row(&mut self, seq: i64) -> Result<Option<AuditRow>, StoreError> {
        // One number further back: the same statement as for following.
        let query = sqlx::query(SELECT_AFTER).bind(seq.saturating_sub(1)).bind(1_i64);
        let row = self.fetch_optional(query).await?;
        let row = row.as_ref().map(from_row).transpose()?;
        Ok(row.filter(|row| row.seq == seq))
    }

    /// Replaces the details of an event.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_audit_details(&mut self, seq: i64, details: &str) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE audit SET details = $2 WHERE seq = $1")
            .bind(seq)
            .bind(details.to_owned());
        self.execute(query).await.map(|_| ())
    }
}

#[async_trait]
impl AuditSink for Store {
    async fn append(&self, events: &[AuditEvent]) -> Result<(), SinkFailed> {
        let rows: Vec<_> = events.iter().map(AuditRow::from).collect();
        self.insert_audit(&rows).await.map_err(|error| match error {
            StoreError::Broken(_) | StoreError::Conflict { .. } => SinkFailed::Refused(error.to_string()),
            _ => SinkFailed::Away(error.to_string()),
        })
    }
}

impl From<&AuditEvent> for AuditRow {
    fn from(event: &AuditEvent) -> Self {
        Self {
            seq: 0,
            kind: event.kind.as_str().to_owned(),
            at: event.at,
            request_id: event.request_id.clone(),
            user_id: event.user_id.clone(),
            connection: event.connection.clone(),
            ticket_hash: event.ticket_hash.clone(),
            browser_address: event.browser_address.clone(),
            phone_address: event.phone_address.clone(),
            browser_device: event.browser_device.clone(),
            phone_device: event.phone_device.clone(),
            reason: event.reason.clone(),
            details: event.details.clone(),
        }
    }
}

pub(super) fn from_row(row: &AnyRow) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        seq: row.try_get("seq")?,
        kind: row.try_get("kind")?,
        at: row.try_get("at")?,
        request_id: row.try_get("request_id")?,
        user_id: row.try_get("user_id")?,
        connection: row.try_get("connection")?,
        ticket_hash: row.try_get("ticket_hash")?,
        browser_address: row.try_get("browser_address")?,
        phone_address: row.try_get("phone_address")?,
        browser_device: row.try_get("browser_device")?,
        phone_device: row.try_get("phone_device")?,
        reason: row.try_get("reason")?,
        details: row.try_get("details")?,
    })
}

const INSERT: &str = "INSERT INTO audit (seq, kind, at, request_id, user_id, connection, ticket_hash, browser_address,
     phone_address, browser_device, phone_device, reason, details) VALUES";

const COLUMNS: usize = 13;

/// Events of one sweeping statement, and statements of one sweep.
const SWEPT_AT_ONCE: i64 = 5000;
const SWEPT_PORTIONS: usize = 100;

const SELECT_AFTER: &str = "SELECT seq, kind, at, request_id, user_id, connection, ticket_hash, browser_address,
     phone_address, browser_device, phone_device, reason, details
     FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::fixtures::{self, NOW};
    use super::*;
    use crate::telemetry::audit::{AuditKind, Auditor};

    #[tokio::test]
    async fn events_are_numbered_in_their_order_and_come_back_whole() {
        let store = fixtures::store().await;
        let some = |text: &str| Some(text.to_owned());
        let full = AuditRow {
            seq: 99,
            kind: "login".to_owned(),
            at: NOW,
            request_id: some("r"),
            user_id: some("u_1"),
            connection: some("staff"),
            ticket_hash: some("0123456789abcdef"),
            browser_address: some("198.51.100.1"),
            phone_address: some("203.0.113.7"),
            browser_device: some("Firefox"),
            phone_device: some("iPhone"),
            reason: some("why"),
            details: some(r#"{"fields":["name"]}"#),
        };
        let bare = AuditRow {
            kind: "config_reloaded".to_owned(),
            at: NOW + 1,
            ..AuditRow::default()
        };
        store.insert_audit(&[]).await.unwrap();
        store.insert_audit(&[full.clone(), bare.clone()]).await.unwrap();
        store.insert_audit(std::slice::from_ref(&bare)).await.unwrap();
        let numbered = |seq, row: &AuditRow| AuditRow { seq, ..row.clone() };
        let expected = [numbered(1, &full), numbered(2, &bare), numbered(3, &bare)];
        assert_eq!(store.audit_after(0, 10).await.unwrap(), expected);
        assert_eq!(store.audit_after(1, 1).await.unwrap(), expected[1..2]);
        assert_eq!(store.sweep_audit(NOW + 1).await.unwrap(), 1);
        assert_eq!(store.audit_after(0, 10).await.unwrap(), expected[1..]);
    }

    #[tokio::test]
    async fn what_an_auditor_was_told_is_in_the_store_after_it_closed() {
        let store = fixtures::store().await;
        let auditor = Auditor::start(Store::clone(&store));
        let event = AuditEvent {
            user_id: Some("u_1".to_owned()),
            ..AuditEvent::new(AuditKind::NotMe, NOW)
        };
        auditor.record(event);
        auditor.close().await;
        let rows = store.audit_after(0, 10).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].kind.as_str(), rows[0].user_id.as_deref()),
            ("not_me", Some("u_1"))
        );
    }
}
