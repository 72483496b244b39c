//! What the nodes of an installation leave for an operator who asks after them: who they are, and what phones told them.
//!
//! Here alone the database's clock is asked: it is what the clocks of all nodes can be compared with.

use sqlx::{AssertSqlSafe, Row};

use super::{Engine, Store, StoreError};

/// A node's word about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Machine and listener: the same after a restart.
    pub id: String,
    /// The process.
    pub run: String,
    /// Of the program.
    pub version: String,
    /// How many configurations it has taken.
    pub generation: i64,
    /// Fingerprints of the configuration in use, as JSON.
    pub configuration: String,
    /// Unix seconds by its own clock.
    pub started_at: i64,
    /// Unix seconds by its own clock, at this word.
    pub clock: i64,
}

/// The same as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// What the node said.
    pub report: NodeReport,
    /// Unix seconds by the store's clock, when it was said.
    pub seen_at: i64,
}

/// How often phones reported that WeChat gives this connection no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneFailure {
    /// Of the configuration.
    pub connection: String,
    /// WeChat's number for it.
    pub errno: i64,
    /// How often since a number came last.
    pub failures: i64,
    /// Unix seconds of the first.
    pub since: i64,
    /// Unix seconds of the last.
    pub last_at: i64,
}

impl Store {
    /// Unix seconds by the store's own clock.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn clock(&self) -> Result<i64, StoreError> {
        let query = sqlx::query(AssertSqlSafe(format!("SELECT {} AS now", self.now())));
        let row = self.fetch_optional(query).await?;
        let row = row.ok_or_else(|| StoreError::Broken("no row from a statement that always has one".to_owned()))?;
        Ok(row.try_get("now")?)
    }

    /// Writes down what a node says about itself, and forgets nodes that were silent for a day.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn report_node(&self, report: &NodeReport) -> Result<(), StoreError> {
        let now = self.now();
        let write = format!(
            "INSERT INTO nodes (id, run, version, generation, configuration_json, started_at, clock, seen_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, {now})
             ON CONFLICT (id) DO UPDATE SET run = excluded.run, version = excluded.version,
                 generation = excluded.generation, configuration_json = excluded.configuration_json,
                 started_at = excluded.started_at, clock = excluded.clock, seen_at = excluded.seen_at"
        );
        let query = sqlx::query(AssertSqlSafe(write))
            .bind(report.id.clone())
            .bind(report.run.clone())
            .bind(report.version.clone())
            .bind(report.generation)
            .bind(report.configuration.clone())
            .bind(report.started_at)
            .bind(report.clock);
        self.execute(query).await?;
        let forget = format!("DELETE FROM nodes WHERE seen_at < {now} - $1");
        self.execute(sqlx::query(AssertSqlSafe(forget)).bind(NODE_REMAINS))
            .await
            .map(|_| ())
    }

    /// A node ends in order; one that goes on under the same id stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_node(&self, id: &str, run: &str) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM nodes WHERE id = $1 AND run = $2")
            .bind(id.to_owned())
            .bind(run.to_owned());
        self.execute(query).await.map(|_| ())
    }

    /// All nodes that were heard of within a day, by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let query = sqlx::query(
            "SELECT id, run, version, generation, configuration_json, started_at, clock, seen_at FROM nodes ORDER BY id",
        );
        let rows = self.fetch_all(query).await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok(NodeRow {
                report: NodeReport {
                    id: row.try_get("id")?,
                    run: row.try_get("run")?,
                    version: row.try_get("version")?,
                    generation: row.try_get("generation")?,
                    configuration: row.try_get("configuration_json")?,
                    started_at: row.try_get("started_at")?,
                    clock: row.try_get("clock")?,
                },
                seen_at: row.try_get("seen_at")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// A phone reports that WeChat gives no number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn phone_failed(&self, connection: &str, errno: i64, now: i64) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO phone_failures (connection, errno, failures, since, last_at) VALUES ($1, $2, 1, $3, $3)
             ON CONFLICT (connection, errno) DO UPDATE
                 SET failures = phone_failures.failures + 1, last_at = excluded.last_at",
        )
        .bind(connection.to_owned())
        .bind(errno)
        .bind(now);
        self.execute(query).await.map(|_| ())
    }

    /// A number has come: what failed before is repaired.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn phone_succeeded(&self, connection: &str) -> Result<(), StoreError> {
        // Nearly always there is nothing: a reader need not wait for writers.
        let known = sqlx::query("SELECT errno FROM phone_failures WHERE connection = $1 LIMIT 1");
        if self.fetch_optional(known.bind(connection.to_owned())).await?.is_none() {
            return Ok(());
        }
        let query = sqlx::query("DELETE FROM phone_failures WHERE connection = $1").bind(connection.to_owned());
        self.execute(query).await.map(|_| ())
    }

    /// What phones reported since a number came last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn phone_failures(&self) -> Result<Vec<PhoneFailure>, StoreError> {
        let query = sqlx::query(
            "SELECT connection, errno, failures, since, last_at FROM phone_failures ORDER BY connection, errno",
        );
        let rows = self.fetch_all(query).await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok(PhoneFailure {
                connection: row.try_get("connection")?,
                errno: row.try_get("errno")?,
                failures: row.try_get("failures")?,
                since: row.try_get("since")?,
                last_at: row.try_get("last_at")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// The database's clock, as an expression.
    fn now(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite => "CAST(strftime('%s', 'now') AS INTEGER)",
            Engine::Postgres => "CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp())) AS BIGINT)",
        }
    }
}

/// Seconds: a node that broke down at night is still missed in the morning.
const NODE_REMAINS: i64 = 86_400;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::fixtures::{self, NOW};
    use super::*;

    fn report(id: &str, run: &str) -> NodeReport {
        NodeReport {
            id: id.to_owned(),
            run: run.to_owned(),
            version: "1.2.3".to_owned(),
            generation: 1,
            configuration: "{}".to_owned(),
            started_at: NOW,
            clock: NOW + 7,
        }
    }

    #[tokio::test]
    async fn a_node_says_again_what_it_is_and_its_successor_stays_when_it_ends() {
        let store = fixtures::store().await;
        let before = store.clock().await.unwrap();
        store.report_node(&report("a", "1")).await.unwrap();
        store.report_node(&report("b", "1")).await.unwrap();
        let again = NodeReport {
            generation: 2,
            ..report("a", "2")
        };
        store.report_node(&again).await.unwrap();
        store.forget_node("a", "1").await.unwrap();
        store.forget_node("b", "1").await.unwrap();
        let nodes = store.nodes().await.unwrap();
        assert_eq!(nodes.iter().map(|row| &row.report).collect::<Vec<_>>(), [&again]);
        assert!((before..=store.clock().await.unwrap()).contains(&nodes[0].seen_at));
    }

    #[tokio::test]
    async fn a_node_that_was_silent_for_a_day_is_forgotten() {
        let store = fixtures::store().await;
        store.report_node(&report("gone", "1")).await.unwrap();
        store.report_node(&report("late", "1")).await.unwrap();
        for (id, silent) in [("gone", NODE_REMAINS + 5), ("late", NODE_REMAINS - 60)] {
            let age = sqlx::query("UPDATE nodes SET seen_at = seen_at - $2 WHERE id = $1").bind(id);
            store.execute(age.bind(silent)).await.unwrap();
        }
        store.report_node(&report("new", "1")).await.unwrap();
        let left: Vec<String> = store
            .nodes()
            .await
            .unwrap()
            .into_iter()
            .map(|row| row.report.id)
            .collect();
        assert_eq!(left, ["late", "new"]);
    }

    #[tokio::test]
    async fn failures_of_the_phone_button_are_counted_until_a_number_comes() {
        let store = fixtures::store().await;
        for (connection, errno, at) in [("staff", 102, NOW), ("staff", 102, NOW + 9), ("guests", 112, NOW)] {
            store.phone_failed(connection, errno, at).await.unwrap();
        }
        let failures = store.phone_failures().await.unwrap();
        let expected = PhoneFailure {
            connection: "staff".to_owned(),
            errno: 102,
            failures: 2,
            since: NOW,
            last_at: NOW + 9,
        };
        assert_eq!((failures.len(), &failures[1]), (2, &expected));
        store.phone_succeeded("staff").await.unwrap();
        store.phone_succeeded("nobody").await.unwrap();
        let left = store.phone_failures().await.unwrap();
        assert_eq!((left.len(), left[0].connection.as_str()), (1, "guests"));
    }
}
