//! Lines of a backup as they are written and read, with the checksum over them.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tables::{Cell, TABLES, Table};
use super::{BackupError, Contents};
use crate::store::schema::KNOWN;

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

/// What a backup says, one after another.
pub(super) enum Item {
    Table(&'static Table, Vec<usize>),
    Row(Vec<Cell>),
}

/// Lines that are summed as they are written.
pub(super) struct Summing<'o, W> {
    out: &'o mut W,
    sum: Context,
}

impl<'o, W: Write> Summing<'o, W> {
    pub(super) fn new(out: &'o mut W) -> Self {
        Self {
            out,
            sum: Context::new(&SHA256),
        }
    }

    /// The first line.
    pub(super) fn begin(&mut self, now: i64) -> io::Result<()> {
        self.line(&Head {
            format: FORMAT.to_owned(),
            version: VERSION,
            schema: KNOWN,
            menshen: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: now,
        })
    }

    /// The line before the rows of a table.
    pub(super) fn turn_to(&mut self, table: &Table) -> io::Result<()> {
        self.line(&TableHead {
            table: table.name.to_owned(),
            columns: table.columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        })
    }

    /// One row.
    pub(super) fn row(&mut self, values: &[Value]) -> io::Result<()> {
        self.line(&values)
    }

    /// The last line; the checksum of those before it.
    pub(super) fn end(mut self, rows: u64) -> io::Result<String> {
        let sha256 = hex(self.sum.clone());
        self.line(&Tail {
            end: End {
                rows,
                sha256: sha256.clone(),
            },
        })?;
        self.out.flush()?;
        Ok(sha256)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.sum.update(&line);
        self.out.write_all(&line)
    }
}

/// Reads a backup line by line.
pub(super) struct Reader<R> {
    from: R,
    sum: Context,
    line: u64,
    /// Rows so far.
    pub(super) all: u64,
    head: Head,
    table: Option<(&'static Table, Vec<usize>)>,
    rows: BTreeMap<&'static str, u64>,
    end: Option<String>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    pub(super) fn open(from: R) -> Result<Self, BackupError> {
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

    /// What comes next; `None` after the last line, when everything was as the checksum says.
    pub(super) fn next(&mut self) -> Result<Option<Item>, BackupError> {
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

    /// What was read, to its end.
    pub(super) fn contents(self) -> Result<Contents, BackupError> {
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

    /// With the line that was read last.
    pub(super) const fn damaged(&self, what: &'static str) -> BackupError {
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
