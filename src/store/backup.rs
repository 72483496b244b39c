//! The store as one file, from either engine into either: text, one JSON value a line.
//!
//! ```text
//! {"format":"menshen-backup","version":1,"schema":2,"menshen":"0.1.0","made_at":1790000000}
//! {"table":"users","columns":["id","username",…]}
//! ["u_…","alice",…]
//! …
//! {"end":{"rows":1234,"sha256":"…"}}
//! ```
//!
//! Columns are named, so that a backup of an older schema fills a newer one; bytes are base64. The checksum covers every
//! line before the last: a file that was cut off or changed on its way is noticed before the store is touched. Everything
//! is read in one snapshot and written in one transaction, row by row, whatever the size. Tickets and hand-offs are left
//! out: they live for minutes, and none that was spent must come to life again.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use futures_util::TryStreamExt;
use secrecy::SecretSlice;
use sqlx::{AssertSqlSafe, Row};

use super::{Engine, KeyKind, KeyRow, Lock, Store, StoreError, WriteTx, bounded};
use lines::{Item, Reader, Summing};
use tables::{Cell, LEFT_OUT, REPORTS, TABLES, Table, bind};

mod lines;
mod tables;

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// When it was made, in Unix seconds.
    pub made_at: i64,
    /// Rows by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// SHA-256 of all lines before the last, in hexadecimal.
    pub sha256: String,
}

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be written or read.
    #[error("{0}")]
    File(#[from] io::Error),
    /// It begins like something else.
    #[error("this is no backup of menshen's")]
    Foreign,
    /// A later program made it.
    #[error("this backup was made by a newer menshen ({0}): restore it with that version")]
    Newer(String),
    /// It ends too early, or holds what no backup holds.
    #[error("the backup is damaged at line {line} ({what}): use another one")]
    Damaged {
        /// From 1.
        line: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// There is something in the store that would be lost.
    #[error("the store is not empty")]
    NotEmpty(BTreeMap<&'static str, u64>),
}

impl Store {
    /// Writes everything durable to `out`, as it was at one moment; `progress` is told how many rows are written. Others
    /// go on working.
    ///
    /// # Errors
    /// See [`BackupError`]; what was written then is no backup.
    pub async fn back_up(
        &self,
        out: &mut impl Write,
        now: i64,
        mut progress: impl FnMut(u64),
    ) -> Result<Contents, BackupError> {
        let mut writer = Summing::new(out);
        writer.begin(now)?;
        let mut tx = self.snapshot().await?;
        let mut rows = BTreeMap::new();
        let mut all = 0;
        for table in TABLES {
            writer.turn_to(table)?;
            let mut count = 0;
            let mut stream = sqlx::query(AssertSqlSafe(table.select())).fetch(&mut *tx);
            while let Some(row) = bounded(async { Ok(stream.try_next().await?) }).await? {
                writer.row(&table.values(&row)?)?;
                count += 1;
                progress(all + count);
            }
            all += count;
            rows.insert(table.name, count);
        }
        let sha256 = writer.end(all)?;
        Ok(Contents {
            made_at: now,
            rows,
            sha256,
        })
    }

    /// A transaction that sees one moment, however long it reads.
    async fn snapshot(&self) -> Result<sqlx::Transaction<'static, sqlx::Any>, StoreError> {
        bounded(async {
            let Engine::Postgres = self.engine else {
                // The first statement takes the snapshot, and every one of this transaction sees it.
                return Ok(self.reader.begin().await?);
            };
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            let mut tx = self.reader.begin_with(begin).await?;
            // A table is one statement here; each of its rows has the ordinary limit.
            sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *tx).await?;
            Ok(tx)
        })
        .await
    }

    /// Fills the store from a backup, in one transaction. What is there already is refused, or with `force` replaced,
    /// except for revocations: what was revoked, spent or disabled here stays so, also what the backup has, and the numbers
    /// that nodes follow go on.
    ///
    /// # Errors
    /// See [`BackupError`]; then nothing has changed.
    pub async fn restore(
        &self,
        from: impl BufRead,
        force: bool,
        now: i64,
        mut progress: impl FnMut(u64),
    ) -> Result<Contents, BackupError> {
        let mut tx = self.begin_unhurried().await?;
        let mut filling = Filling::begin(&mut tx, force).await?;
        let mut reader = Reader::open(from)?;
        while let Some(item) = reader.next()? {
            match item {
                Item::Table(table, columns) => filling.turn_to(table, columns).await?,
                Item::Row(cells) => filling.add(cells).await?,
            }
            progress(reader.all);
        }
        let contents = reader.contents()?;
        filling.end(now).await?;
        tx.commit().await?;
        Ok(contents)
    }
}

/// Reads a whole backup and changes nothing: what is in it, and its keys.
///
/// # Errors
/// See [`BackupError`].
pub fn examine(from: impl BufRead, mut progress: impl FnMut(u64)) -> Result<(Contents, Vec<KeyRow>), BackupError> {
    let mut reader = Reader::open(from)?;
    let mut keys = Vec::new();
    let mut columns = Vec::new();
    while let Some(item) = reader.next()? {
        match item {
            Item::Table(table, present) if table.name == "keys" => {
                columns = present.iter().map(|at| table.columns[*at].0).collect();
            }
            Item::Table(..) => columns.clear(),
            Item::Row(cells) if !columns.is_empty() => {
                let key = key_row(&columns, cells).ok_or(reader.damaged("a key that cannot be read"))?;
                keys.push(key);
            }
            Item::Row(_) => {}
        }
        progress(reader.all);
    }
    Ok((reader.contents()?, keys))
}

fn key_row(columns: &[&str], cells: Vec<Cell>) -> Option<KeyRow> {
    let mut cells: BTreeMap<&str, Cell> = columns.iter().copied().zip(cells).collect();
    let mut number = |name| match cells.remove(name) {
        Some(Cell::Number(number)) => Some(number),
        _ => None,
    };
    let (id, wrapped) = (number("id")??, number("wrapped")?? != 0);
    let (created_at, active_from) = (number("created_at")??, number("active_from")??);
    let retired_at = number("retired_at")?;
    let mut text = |name| match cells.remove(name) {
        Some(Cell::Text(text)) => Some(text),
        _ => None,
    };
    let (kind, algorithm) = (text("kind")??, text("algorithm")?);
    let Some(Cell::Bytes(Some(material))) = cells.remove("material") else {
        return None;
    };
    Some(KeyRow {
        id,
        kind: KeyKind::parse(&kind)?,
        algorithm,
        material: SecretSlice::from(material),
        wrapped,
        created_at,
        active_from,
        retired_at,
    })
}

/// The writing half of a restoration.
struct Filling<'t> {
    tx: &'t mut WriteTx,
    force: bool,
    /// Of the store before.
    counters: BTreeMap<&'static str, i64>,
    table: Option<(&'static Table, Vec<usize>)>,
    waiting: Vec<Vec<Cell>>,
}

impl<'t> Filling<'t> {
    async fn begin(tx: &'t mut WriteTx, force: bool) -> Result<Self, BackupError> {
        let mut counters = BTreeMap::new();
        for lock in Lock::ALL {
            counters.insert(lock.name(), tx.take(lock, 0).await?);
        }
        let mut present = BTreeMap::new();
        for name in TABLES.iter().map(|table| table.name).chain(LEFT_OUT) {
            let row = tx
                .fetch_optional(sqlx::query(AssertSqlSafe(format!("SELECT COUNT(*) AS n FROM {name}"))))
                .await?;
            let count: i64 = row
                .map(|row| row.try_get("n"))
                .transpose()
                .map_err(StoreError::from)?
                .unwrap_or(0);
            if count > 0 && name != "counters" && !REPORTS.contains(&name) {
                present.insert(name, count.unsigned_abs());
            }
        }
        if !present.is_empty() && !force {
            return Err(BackupError::NotEmpty(present));
        }
        if force {
            for remembered in SPENT {
                tx.execute(sqlx::query(remembered)).await?;
            }
        }
        for name in LEFT_OUT.into_iter().chain(TABLES.iter().rev().map(|table| table.name)) {
            if !matches!(name, "counters" | "revocations") {
                tx.execute(sqlx::query(AssertSqlSafe(format!("DELETE FROM {name}"))))
                    .await?;
            }
        }
        Ok(Self {
            tx,
            force,
            counters,
            table: None,
            waiting: Vec::new(),
        })
    }

    async fn turn_to(&mut self, table: &'static Table, columns: Vec<usize>) -> Result<(), StoreError> {
        self.write().await?;
        self.table = Some((table, columns));
        Ok(())
    }

    async fn add(&mut self, mut cells: Vec<Cell>) -> Result<(), StoreError> {
        let Some((table, columns)) = &self.table else {
            return Ok(());
        };
        match table.name {
            "counters" => return self.count(&cells).await,
            // The revocations that stay have the numbers up to here.
            "revocations" => {
                let kept = self.counters.get(Lock::Revocations.name()).copied().unwrap_or_default();
                let at = columns.iter().position(|at| table.columns[*at].0 == "seq");
                if let Some(Cell::Number(Some(seq))) = at.and_then(|at| cells.get_mut(at)) {
                    *seq += kept;
                }
            }
            _ => {}
        }
        self.waiting.push(cells);
        if self.waiting.len() == ROWS_AT_ONCE {
            self.write().await?;
        }
        Ok(())
    }

    /// A number goes on from where both were; the keys' own says that they have changed.
    async fn count(&mut self, cells: &[Cell]) -> Result<(), StoreError> {
        let [Cell::Text(Some(name)), Cell::Number(Some(value))] = cells else {
            return Err(StoreError::Broken("a counter that cannot be read".to_owned()));
        };
        let Some(before) = self.counters.get(name.as_str()).copied() else {
            return Err(StoreError::Broken(format!("the counter {name} is not known")));
        };
        let value = match name.as_str() {
            "revocations" => before + value,
            "keys" => before.max(*value) + 1,
            _ => before.max(*value),
        };
        let query = sqlx::query("UPDATE counters SET value = $2 WHERE name = $1")
            .bind(name.clone())
            .bind(value);
        self.tx.execute(query).await.map(|_| ())
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        let rows = std::mem::take(&mut self.waiting);
        let Some((table, columns)) = self.table.as_ref().filter(|_| !rows.is_empty()) else {
            return Ok(());
        };
        let insert = sqlx::query(AssertSqlSafe(table.insert(columns, rows.len())));
        let query = rows.into_iter().flatten().fold(insert, bind);
        self.tx.execute(query).await.map(|_| ())
    }

    async fn end(mut self, now: i64) -> Result<(), StoreError> {
        self.write().await?;
        if self.force {
            // Revoked here after the backup was made.
            let revoked = "UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL AND (
                 EXISTS (SELECT 1 FROM revocations r WHERE r.kind = 'session' AND r.subject = sessions.id)
                 OR EXISTS (SELECT 1 FROM revocations r WHERE r.kind = 'user' AND r.subject = sessions.user_id
                     AND r.at >= sessions.auth_time))";
            self.tx.execute(sqlx::query(revoked).bind(now)).await?;
            for again in SPENT_AGAIN {
                self.tx.execute(sqlx::query(again)).await?;
            }
        }
        for (counter, table, column) in [
            (Lock::Keys, "keys", "id"),
            (Lock::Revocations, "revocations", "seq"),
            (Lock::Audit, "audit", "seq"),
        ] {
            let last = format!("SELECT {column} AS n FROM {table} ORDER BY {column} DESC LIMIT 1");
            let row = self.tx.fetch_optional(sqlx::query(AssertSqlSafe(last))).await?;
            let last: i64 = row.map(|row| row.try_get("n")).transpose()?.unwrap_or_default();
            if self.tx.take(counter, 0).await? < last {
                return Err(StoreError::Broken(format!(
                    "the backup's counter of {table} is behind its rows"
                )));
            }
        }
        Ok(())
    }
}

/// What was revoked, spent or disabled here, remembered while the tables are filled anew: a backup that is older than that
/// must not bring it back to life.
const SPENT: [&str; 3] = [
    "CREATE TEMPORARY TABLE disabled_users AS SELECT id FROM users WHERE disabled <> 0",
    "CREATE TEMPORARY TABLE spent_tokens AS
         SELECT id, used_at, revoked_at FROM tokens WHERE used_at IS NOT NULL OR revoked_at IS NOT NULL",
    "CREATE TEMPORARY TABLE spent_bind_codes AS SELECT id, used_at FROM bind_codes WHERE used_at IS NOT NULL",
];

const SPENT_AGAIN: [&str; 7] = [
    "UPDATE users SET disabled = 1 WHERE id IN (SELECT id FROM disabled_users)",
    "UPDATE tokens SET revoked_at = (SELECT s.revoked_at FROM spent_tokens s WHERE s.id = tokens.id)
     WHERE revoked_at IS NULL AND id IN (SELECT id FROM spent_tokens)",
    "UPDATE tokens SET used_at = (SELECT s.used_at FROM spent_tokens s WHERE s.id = tokens.id)
     WHERE used_at IS NULL AND id IN (SELECT id FROM spent_tokens)",
    "UPDATE bind_codes SET used_at = (SELECT s.used_at FROM spent_bind_codes s WHERE s.id = bind_codes.id)
     WHERE used_at IS NULL AND id IN (SELECT id FROM spent_bind_codes)",
    "DROP TABLE disabled_users",
    "DROP TABLE spent_tokens",
    "DROP TABLE spent_bind_codes",
];

/// Rows in one statement: the widest table stays below the engines' number of bound values.
const ROWS_AT_ONCE: usize = 100;

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
