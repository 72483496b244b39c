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
use std::io::{self, BufRead, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::schema::KNOWN;
use super::{Engine, KeyKind, KeyRow, Lock, Statement, Store, StoreError, WriteTx, bounded};

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

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    schema: i64,
    menshen: String,
    made_at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct TableHead {
    table: String,
    columns: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Tail {
    end: End,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    rows: u64,
    sha256: String,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bytes,
    Number,
    Text,
}

/// A table of the store; what it refers to stands before it.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, Kind)],
}

/// One value on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Bytes(Option<Vec<u8>>),
    Number(Option<i64>),
    Text(Option<String>),
}

/// What a backup says, one after another.
enum Item {
    Table(&'static Table, Vec<usize>),
    Row(Vec<Cell>),
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
        writer.line(&Head {
            format: FORMAT.to_owned(),
            version: VERSION,
            schema: KNOWN,
            menshen: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: now,
        })?;
        let mut tx = self.snapshot().await?;
        let mut rows = BTreeMap::new();
        let mut all = 0;
        for table in TABLES {
            writer.line(&TableHead {
                table: table.name.to_owned(),
                columns: table.columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
            })?;
            let mut count = 0;
            let mut stream = sqlx::query(AssertSqlSafe(table.select())).fetch(&mut *tx);
            while let Some(row) = bounded(async { Ok(stream.try_next().await?) }).await? {
                writer.line(&table.values(&row)?)?;
                count += 1;
                progress(all + count);
            }
            all += count;
            rows.insert(table.name, count);
        }
        let sha256 = writer.sum();
        writer.line(&Tail {
            end: End {
                rows: all,
                sha256: sha256.clone(),
            },
        })?;
        writer.out.flush()?;
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
    /// except for revocations: what was revoked here stays revoked, also for sessions of the backup, and the numbers that
    /// nodes follow go on.
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
        let mut tx = self.begin().await?;
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
            if count > 0 && name != "counters" {
                present.insert(name, count.unsigned_abs());
            }
        }
        if !present.is_empty() && !force {
            return Err(BackupError::NotEmpty(present));
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

impl Table {
    fn select(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        format!("SELECT {} FROM {}", columns.join(", "), self.name)
    }

    fn insert(&self, columns: &[usize], rows: usize) -> String {
        let names: Vec<&str> = columns.iter().map(|at| self.columns[*at].0).collect();
        let width = columns.len();
        let row = |row: usize| {
            let places: Vec<String> = (1..=width).map(|column| format!("${}", row * width + column)).collect();
            format!("({})", places.join(", "))
        };
        let values: Vec<String> = (0..rows).map(row).collect();
        format!(
            "INSERT INTO {} ({}) VALUES {}",
            self.name,
            names.join(", "),
            values.join(", ")
        )
    }

    fn values(&self, row: &AnyRow) -> Result<Vec<Value>, StoreError> {
        let value = |(name, kind): &(&str, Kind)| {
            Ok(match kind {
                Kind::Text => row.try_get::<Option<String>, _>(*name)?.map(Value::from),
                Kind::Number => row.try_get::<Option<i64>, _>(*name)?.map(Value::from),
                Kind::Bytes => row
                    .try_get::<Option<Vec<u8>>, _>(*name)?
                    .map(|bytes| Value::from(STANDARD.encode(bytes))),
            }
            .unwrap_or(Value::Null))
        };
        self.columns.iter().map(value).collect()
    }

    fn cell(&self, column: usize, value: Value) -> Option<Cell> {
        Some(match (self.columns[column].1, value) {
            (Kind::Text, Value::Null) => Cell::Text(None),
            (Kind::Text, Value::String(text)) => Cell::Text(Some(text)),
            (Kind::Number, Value::Null) => Cell::Number(None),
            (Kind::Number, Value::Number(number)) => Cell::Number(Some(number.as_i64()?)),
            (Kind::Bytes, Value::Null) => Cell::Bytes(None),
            (Kind::Bytes, Value::String(text)) => Cell::Bytes(Some(STANDARD.decode(text).ok()?)),
            _ => return None,
        })
    }
}

fn bind(query: Statement, cell: Cell) -> Statement {
    match cell {
        Cell::Bytes(value) => query.bind(value),
        Cell::Number(value) => query.bind(value),
        Cell::Text(value) => query.bind(value),
    }
}

/// Lines that are summed as they are written.
struct Summing<'o, W> {
    out: &'o mut W,
    sum: Context,
}

impl<'o, W: Write> Summing<'o, W> {
    fn new(out: &'o mut W) -> Self {
        Self {
            out,
            sum: Context::new(&SHA256),
        }
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.sum.update(&line);
        self.out.write_all(&line)
    }

    fn sum(&self) -> String {
        hex(self.sum.clone())
    }
}

/// Reads a backup line by line.
struct Reader<R> {
    from: R,
    sum: Context,
    line: u64,
    all: u64,
    head: Head,
    table: Option<(&'static Table, Vec<usize>)>,
    rows: BTreeMap<&'static str, u64>,
    end: Option<String>,
}

impl<R: BufRead> Reader<R> {
    fn open(from: R) -> Result<Self, BackupError> {
        let mut reader = Self {
            from,
            sum: Context::new(&SHA256),
            line: 0,
            all: 0,
            head: Head {
                format: String::new(),
                version: 0,
                schema: 0,
                menshen: String::new(),
                made_at: 0,
            },
            table: None,
            rows: BTreeMap::new(),
            end: None,
        };
        let line = reader.read_line()?;
        reader.head = serde_json::from_slice(&line).map_err(|_| BackupError::Foreign)?;
        if reader.head.format != FORMAT {
            return Err(BackupError::Foreign);
        }
        if reader.head.version > VERSION || reader.head.schema > KNOWN {
            return Err(BackupError::Newer(reader.head.menshen));
        }
        reader.sum.update(&line);
        Ok(reader)
    }

    fn next(&mut self) -> Result<Option<Item>, BackupError> {
        let line = self.read_line()?;
        if line.first() == Some(&b'[') {
            self.sum.update(&line);
            return self.row(&line).map(|row| Some(Item::Row(row)));
        }
        if let Ok(tail) = serde_json::from_slice::<Tail>(&line) {
            let sum = hex(self.sum.clone());
            if tail.end.rows != self.all || tail.end.sha256 != sum {
                return Err(self.damaged("the checksum is another"));
            }
            if !self.from.fill_buf()?.is_empty() {
                return Err(self.damaged("it goes on after its end"));
            }
            if self.head.schema == KNOWN && self.rows.len() != TABLES.len() {
                return Err(self.damaged("a table is missing"));
            }
            self.end = Some(sum);
            return Ok(None);
        }
        self.sum.update(&line);
        let head: TableHead = serde_json::from_slice(&line).map_err(|_| self.damaged("a line that says nothing"))?;
        let table = TABLES.iter().find(|table| table.name == head.table);
        let table = table.ok_or(self.damaged("an unknown table"))?;
        let place = |name: &String| table.columns.iter().position(|(known, _)| known == name);
        let columns: Option<Vec<usize>> = head.columns.iter().map(place).collect();
        let columns = columns.ok_or(self.damaged("an unknown column"))?;
        if self.rows.insert(table.name, 0).is_some() {
            return Err(self.damaged("a table for the second time"));
        }
        self.table = Some((table, columns.clone()));
        Ok(Some(Item::Table(table, columns)))
    }

    fn row(&mut self, line: &[u8]) -> Result<Vec<Cell>, BackupError> {
        let values: Vec<Value> = serde_json::from_slice(line).map_err(|_| self.damaged("no JSON"))?;
        let (table, columns) = self.table.as_ref().ok_or(self.damaged("a row without a table"))?;
        if values.len() != columns.len() {
            return Err(self.damaged("a row of another length"));
        }
        let cells = columns
            .iter()
            .zip(values)
            .map(|(column, value)| table.cell(*column, value));
        let cells: Option<Vec<Cell>> = cells.collect();
        let cells = cells.ok_or(self.damaged("a value of another type"))?;
        *self.rows.entry(table.name).or_default() += 1;
        self.all += 1;
        Ok(cells)
    }

    fn contents(self) -> Result<Contents, BackupError> {
        let sha256 = self.end.ok_or(BackupError::Damaged {
            line: self.line,
            what: "it ends too early",
        })?;
        Ok(Contents {
            made_at: self.head.made_at,
            rows: self.rows,
            sha256,
        })
    }

    fn read_line(&mut self) -> Result<Vec<u8>, BackupError> {
        self.line += 1;
        let mut line = Vec::new();
        (&mut self.from).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        match line.last() {
            Some(b'\n') => Ok(line),
            _ if self.line == 1 => Err(BackupError::Foreign),
            _ => Err(self.damaged("it ends too early")),
        }
    }

    const fn damaged(&self, what: &'static str) -> BackupError {
        BackupError::Damaged { line: self.line, what }
    }
}

fn hex(context: Context) -> String {
    use std::fmt::Write as _;
    context
        .finish()
        .as_ref()
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

const FORMAT: &str = "menshen-backup";
const VERSION: u32 = 1;
/// A row of the largest column that the gateway writes is a hundredth of this.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;
/// Rows in one statement: the widest table stays below the engines' number of bound values.
const ROWS_AT_ONCE: usize = 100;

/// Lives for minutes; emptied by a restoration.
const LEFT_OUT: [&str; 2] = ["tickets", "handoffs"];

const fn number(name: &'static str) -> (&'static str, Kind) {
    (name, Kind::Number)
}

const fn text(name: &'static str) -> (&'static str, Kind) {
    (name, Kind::Text)
}

const fn bytes(name: &'static str) -> (&'static str, Kind) {
    (name, Kind::Bytes)
}

/// Counters first: what follows is numbered after them. Then users before what is theirs.
const TABLES: &[Table] = &[
    Table {
        name: "counters",
        columns: &[text("name"), number("value")],
    },
    Table {
        name: "keys",
        columns: &[
            number("id"),
            text("kind"),
            text("algorithm"),
            bytes("material"),
            number("wrapped"),
            number("created_at"),
            number("active_from"),
            number("retired_at"),
        ],
    },
    Table {
        name: "users",
        columns: &[
            text("id"),
            text("username"),
            text("username_key"),
            text("name"),
            text("picture"),
            text("phone"),
            text("email"),
            text("groups_json"),
            text("attributes_json"),
            number("disabled"),
            number("created_at"),
            number("updated_at"),
            number("last_login_at"),
            text("password_hash"),
            number("service"),
        ],
    },
    Table {
        name: "identities",
        columns: &[
            text("app_id"),
            text("openid"),
            text("open_platform"),
            text("unionid"),
            text("user_id"),
            number("created_at"),
        ],
    },
    Table {
        name: "bind_codes",
        columns: &[
            text("id"),
            text("user_id"),
            text("hash"),
            number("created_at"),
            number("expires_at"),
            number("used_at"),
        ],
    },
    Table {
        name: "proof_failures",
        columns: &[text("user_id"), text("method"), number("failures"), number("since")],
    },
    Table {
        name: "sessions",
        columns: &[
            text("id"),
            text("user_id"),
            text("connection"),
            text("site"),
            text("host"),
            text("device"),
            text("address"),
            text("place"),
            text("ticket"),
            number("created_at"),
            number("auth_time"),
            number("expires_at"),
            number("last_used_at"),
            number("ended_at"),
            text("parent"),
            text("public_id"),
        ],
    },
    Table {
        name: "tokens",
        columns: &[
            text("id"),
            text("kind"),
            bytes("hash"),
            text("user_id"),
            text("label"),
            text("sites_json"),
            text("connection"),
            text("session_id"),
            number("auth_time"),
            number("created_at"),
            number("expires_at"),
            number("last_used_at"),
            number("used_at"),
            number("revoked_at"),
        ],
    },
    Table {
        name: "revocations",
        columns: &[
            number("seq"),
            text("kind"),
            text("subject"),
            text("reason"),
            number("at"),
            number("keep_until"),
        ],
    },
    Table {
        name: "audit",
        columns: &[
            number("seq"),
            text("kind"),
            number("at"),
            text("request_id"),
            text("user_id"),
            text("connection"),
            text("ticket_hash"),
            text("browser_address"),
            text("phone_address"),
            text("browser_device"),
            text("phone_device"),
            text("reason"),
            text("details"),
        ],
    },
];

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
