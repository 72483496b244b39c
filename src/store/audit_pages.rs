//! The audit in the order of time, page by page, for whoever looks something up in it.
//!
//! A filter may fit one row of millions. So a page is a window of rows by time, of which those that fit come back: each
//! statement is short whatever is asked, and whoever wants more goes on behind the window.

use sqlx::Row;

use super::audit::from_row;
use super::{AuditRow, Store, StoreError};

/// Which events. Everything is optional; what is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// User id.
    pub user_id: Option<String>,
    /// Stable name of the kind.
    pub kind: Option<String>,
    /// Connection id.
    pub connection: Option<String>,
    /// Request id.
    pub request_id: Option<String>,
    /// Unix seconds, included.
    pub since: Option<i64>,
    /// Unix seconds, not included.
    pub until: Option<i64>,
}

/// A place in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPlace {
    /// Unix seconds.
    pub at: i64,
    /// Number.
    pub seq: i64,
}

/// Rows of one window that fit, and where it ends; no end after the last window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// In the order asked for.
    pub rows: Vec<AuditRow>,
    /// To go on from.
    pub next: Option<AuditPlace>,
}

/// Which way through the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOrder {
    /// From the first event on.
    OldestFirst,
    /// From the last event back.
    NewestFirst,
}

impl AuditFilter {
    /// Whether a row that was read in another way fits.
    #[must_use]
    pub fn fits(&self, row: &AuditRow) -> bool {
        let same =
            |asked: &Option<String>, held: Option<&str>| asked.as_deref().is_none_or(|asked| held == Some(asked));
        same(&self.user_id, row.user_id.as_deref())
            && same(&self.kind, Some(&row.kind))
            && same(&self.connection, row.connection.as_deref())
            && same(&self.request_id, row.request_id.as_deref())
            && self.since.is_none_or(|since| row.at >= since)
            && self.until.is_none_or(|until| row.at < until)
    }
}

impl Store {
    /// The window behind `after`; without it the first one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_page(
        &self,
        filter: &AuditFilter,
        order: AuditOrder,
        after: Option<AuditPlace>,
    ) -> Result<AuditPage, StoreError> {
        self.audit_window(filter, order, after, WINDOW).await
    }

    async fn audit_window(
        &self,
        filter: &AuditFilter,
        order: AuditOrder,
        after: Option<AuditPlace>,
        window: i64,
    ) -> Result<AuditPage, StoreError> {
        let (select, end) = match (order, &filter.user_id) {
            (AuditOrder::OldestFirst, None) => (FORTH, FORTH_END),
            (AuditOrder::OldestFirst, Some(_)) => (FORTH_OF_USER, FORTH_OF_USER_END),
            (AuditOrder::NewestFirst, None) => (BACK, BACK_END),
            (AuditOrder::NewestFirst, Some(_)) => (BACK_OF_USER, BACK_OF_USER_END),
        };
        let (low, high) = (filter.since.unwrap_or(i64::MIN), filter.until.unwrap_or(i64::MAX));
        let start = after.unwrap_or(match order {
            AuditOrder::OldestFirst => AuditPlace {
                at: i64::MIN,
                seq: i64::MIN,
            },
            AuditOrder::NewestFirst => AuditPlace {
                at: i64::MAX,
                seq: i64::MAX,
            },
        });
        let bound = |text: &'static str, count: i64| {
            sqlx::query(text)
                .bind(start.at)
                .bind(start.seq)
                .bind(low)
                .bind(high)
                .bind(filter.user_id.clone())
                .bind(count)
        };
        let last = self.fetch_optional(bound(end, window - 1)).await?;
        let next = match last {
            Some(row) => Some(AuditPlace {
                at: row.try_get("at")?,
                seq: row.try_get("seq")?,
            }),
            None => None,
        };
        let query = bound(select, window)
            .bind(filter.kind.clone())
            .bind(filter.connection.clone())
            .bind(filter.request_id.clone());
        let rows = self.fetch_all(query).await?;
        Ok(AuditPage {
            rows: rows.iter().map(from_row).collect::<Result<_, _>>()?,
            next,
        })
    }

    /// The number of the last event ever recorded; 0 before the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_audit(&self) -> Result<i64, StoreError> {
        let row = self
            .fetch_optional(sqlx::query("SELECT value FROM counters WHERE name = 'audit'"))
            .await?;
        let row = row.ok_or_else(|| StoreError::Broken("the counter audit is missing".to_owned()))?;
        Ok(row.try_get("value")?)
    }
}

/// `$5` is in all of them, so that one list of values serves all.
macro_rules! window {
    ($comparison:literal, $of:literal, $order:literal, end) => {
        concat!(
            "SELECT at, seq FROM audit
             WHERE (at, seq) ", $comparison, " ($1, $2) AND at >= $3 AND at < $4 AND ", $of, "
             ORDER BY ", $order, " LIMIT 1 OFFSET $6"
        )
    };
    ($comparison:literal, $of:literal, $order:literal) => {
        concat!(
            "SELECT seq, kind, at, request_id, user_id, connection, ticket_hash, browser_address, phone_address,
                 browser_device, phone_device, reason, details
             FROM (SELECT seq, kind, at, request_id, user_id, connection, ticket_hash, browser_address, phone_address,
                       browser_device, phone_device, reason, details
                   FROM audit
                   WHERE (at, seq) ", $comparison, " ($1, $2) AND at >= $3 AND at < $4 AND ", $of, "
                   ORDER BY ", $order, " LIMIT $6) AS behind
             WHERE (CAST($7 AS TEXT) IS NULL OR kind = $7)
               AND (CAST($8 AS TEXT) IS NULL OR connection = $8)
               AND (CAST($9 AS TEXT) IS NULL OR request_id = $9)
             ORDER BY ", $order
        )
    };
}

const FORTH: &str = window!(">", "CAST($5 AS TEXT) IS NULL", "at, seq");
const FORTH_END: &str = window!(">", "CAST($5 AS TEXT) IS NULL", "at, seq", end);
const FORTH_OF_USER: &str = window!(">", "user_id = $5", "at, seq");
const FORTH_OF_USER_END: &str = window!(">", "user_id = $5", "at, seq", end);
const BACK: &str = window!("<", "CAST($5 AS TEXT) IS NULL", "at DESC, seq DESC");
const BACK_END: &str = window!("<", "CAST($5 AS TEXT) IS NULL", "at DESC, seq DESC", end);
const BACK_OF_USER: &str = window!("<", "user_id = $5", "at DESC, seq DESC");
const BACK_OF_USER_END: &str = window!("<", "user_id = $5", "at DESC, seq DESC", end);

/// Rows of one window: read in milliseconds, a few megabytes at most.
const WINDOW: i64 = 5000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::fixtures::{self, NOW, TestStore};
    use super::*;

    fn row(kind: &str, at: i64, user: Option<&str>, request: Option<&str>) -> AuditRow {
        AuditRow {
            kind: kind.to_owned(),
            at,
            user_id: user.map(str::to_owned),
            request_id: request.map(str::to_owned),
            connection: request.map(|_| "staff".to_owned()),
            ..AuditRow::default()
        }
    }

    /// Numbers 1 to 6; number 3 was recorded after 2 and is older.
    async fn recorded() -> TestStore {
        let store = fixtures::store().await;
        let rows = [
            row("scan", NOW, Some("u_1"), Some("r1")),
            row("login", NOW + 2, Some("u_1"), Some("r2")),
            row("login_failed", NOW + 1, None, None),
            row("login", NOW + 2, Some("u_2"), Some("r3")),
            row("logout", NOW + 3, Some("u_1"), None),
            row("config_reloaded", NOW + 4, None, None),
        ];
        store.insert_audit(&rows).await.unwrap();
        store
    }

    async fn numbers(store: &Store, filter: &AuditFilter, order: AuditOrder, window: i64) -> Vec<i64> {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = store.audit_window(filter, order, after, window).await.unwrap();
            seen.extend(page.rows.iter().map(|row| row.seq));
            after = page.next;
            if after.is_none() {
                return seen;
            }
        }
    }

    #[tokio::test]
    async fn every_filter_holds_in_windows_of_any_size_and_both_ways() {
        let store = recorded().await;
        let some = |text: &str| Some(text.to_owned());
        let all = AuditFilter::default();
        let table: Vec<(AuditFilter, &[i64])> = vec![
            (all.clone(), &[1, 3, 2, 4, 5, 6]),
            (
                AuditFilter {
                    user_id: some("u_1"),
                    ..all.clone()
                },
                &[1, 2, 5],
            ),
            (
                AuditFilter {
                    user_id: some("u_9"),
                    ..all.clone()
                },
                &[],
            ),
            (
                AuditFilter {
                    kind: some("login"),
                    ..all.clone()
                },
                &[2, 4],
            ),
            (
                AuditFilter {
                    connection: some("staff"),
                    ..all.clone()
                },
                &[1, 2, 4],
            ),
            (
                AuditFilter {
                    request_id: some("r3"),
                    ..all.clone()
                },
                &[4],
            ),
            (
                AuditFilter {
                    since: Some(NOW + 2),
                    ..all.clone()
                },
                &[2, 4, 5, 6],
            ),
            (
                AuditFilter {
                    until: Some(NOW + 2),
                    ..all.clone()
                },
                &[1, 3],
            ),
            (
                AuditFilter {
                    user_id: some("u_1"),
                    kind: some("login"),
                    since: Some(NOW + 1),
                    ..all
                },
                &[2],
            ),
        ];
        for (filter, expected) in table {
            for window in [1, 2, 3, 6, 7] {
                let forth = numbers(&store, &filter, AuditOrder::OldestFirst, window).await;
                assert_eq!(forth, expected, "{filter:?} by {window}");
                let mut back = numbers(&store, &filter, AuditOrder::NewestFirst, window).await;
                back.reverse();
                assert_eq!(back, expected, "{filter:?} back by {window}");
            }
            let mut fitting = store.audit_after(0, 10).await.unwrap();
            fitting.retain(|row| filter.fits(row));
            fitting.sort_by_key(|row| (row.at, row.seq));
            let fitting: Vec<_> = fitting.iter().map(|row| row.seq).collect();
            assert_eq!(fitting, expected, "{filter:?}");
        }
        assert_eq!(store.last_audit().await.unwrap(), 6);
    }
}
