//! A CSV file as lines about users: every mistake that can be seen without the directory.

use std::collections::HashMap;

use csv::{ByteRecord, ReaderBuilder};

use super::BadLine;
use crate::accounts::fields::{self, FieldProblem};
use crate::accounts::phone::Phone;
use crate::store::fold_username;

/// One record. A cell without text says nothing about its field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Number in the file, from 1.
    pub number: u64,
    /// As written.
    pub username: Option<String>,
    /// The same, folded.
    pub username_key: Option<String>,
    /// What to call them.
    pub name: Option<String>,
    /// E.164.
    pub phone: Option<String>,
    /// E-mail.
    pub email: Option<String>,
    /// All groups.
    pub groups: Option<Vec<String>>,
    /// Attributes with their values.
    pub attributes: Vec<(String, String)>,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// In their order.
    pub lines: Vec<Line>,
    /// What cannot be imported.
    pub bad_lines: Vec<BadLine>,
}

/// Reads the text of a file; `progress` is told how many records have been read.
pub fn read(text: &[u8], mut progress: impl FnMut(usize)) -> Table {
    let mut reader = ReaderBuilder::new()
        // A line with too few or too many cells is reported with its number.
        .flexible(true)
        .from_reader(text);
    let mut table = Table::default();
    // From memory nothing fails; an error would be the end of the file.
    let columns = match reader.byte_headers().map_err(|_| NOT_UTF8.to_owned()).and_then(columns) {
        Ok(columns) => columns,
        Err(problem) => {
            table.bad(1, None, problem);
            return table;
        }
    };
    let mut seen = Seen::default();
    let mut lines = Lines::new(text);
    let mut record = ByteRecord::new();
    let mut count = 0;
    while matches!(reader.read_byte_record(&mut record), Ok(true)) {
        let number = lines.of(record.position().map_or(0, csv::Position::byte));
        count += 1;
        if count % TOLD_EVERY == 0 {
            progress(count);
        }
        let before = table.bad_lines.len();
        let line = table.line(number, &record, &columns);
        seen.note(&line, &mut table);
        if table.bad_lines.len() == before {
            table.lines.push(line);
        }
    }
    progress(count);
    table
}

/// Counts lines. The reader counts too, but is one behind where lines end with CR and LF, and at empty lines.
struct Lines<'t> {
    text: &'t [u8],
    at: usize,
    line: u64,
}

impl<'t> Lines<'t> {
    const fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line of the first text at `place` or behind it; places only grow.
    fn of(&mut self, place: u64) -> u64 {
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        while let Some(byte) = self.text.get(self.at) {
            let ends = match byte {
                b'\n' => true,
                b'\r' => self.text.get(self.at + 1) != Some(&b'\n'),
                _ => false,
            };
            if self.at >= place && !matches!(byte, b'\n' | b'\r') {
                break;
            }
            self.line += u64::from(ends);
            self.at += 1;
        }
        self.line
    }
}

/// What a column is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Username,
    Name,
    Phone,
    Email,
    Groups,
    Attribute(String),
}

impl Column {
    const KNOWN: [(&'static str, Self); 5] = [
        ("username", Self::Username),
        ("name", Self::Name),
        ("phone", Self::Phone),
        ("email", Self::Email),
        ("groups", Self::Groups),
    ];

    fn of(header: &str) -> Option<Self> {
        if let Some(key) = header.strip_prefix(ATTRIBUTE) {
            return fields::attribute_key(key).ok().map(Self::Attribute);
        }
        Self::KNOWN
            .into_iter()
            .find(|(name, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, column)| column)
    }

    fn name(&self) -> String {
        match self {
            Self::Attribute(key) => format!("{ATTRIBUTE}{key}"),
            known => Self::KNOWN
                .into_iter()
                .find(|(_, column)| column == known)
                .map_or_else(String::new, |(name, _)| name.to_owned()),
        }
    }
}

fn columns(header: &ByteRecord) -> Result<Vec<Column>, String> {
    let mut columns: Vec<Column> = Vec::with_capacity(header.len());
    for cell in header {
        let Ok(text) = std::str::from_utf8(cell) else {
            return Err(NOT_UTF8.to_owned());
        };
        let text = text.trim();
        let column = Column::of(text).ok_or_else(|| unknown_column(text))?;
        if columns.contains(&column) {
            return Err(format!("the column {text:?} is there twice: remove one"));
        }
        columns.push(column);
    }
    if columns
        .iter()
        .any(|column| matches!(column, Column::Username | Column::Phone))
    {
        Ok(columns)
    } else {
        Err(format!("no column says who is meant: {HEADER_WANTED}"))
    }
}

fn unknown_column(text: &str) -> String {
    let separators = text.contains([';', '\t', '|']).then_some(", separated by commas");
    format!(
        "the column {text:?} is unknown: {HEADER_WANTED}{}",
        separators.unwrap_or_default()
    )
}

impl Table {
    fn bad(&mut self, line: u64, column: Option<&Column>, problem: impl Into<String>) {
        self.bad_lines.push(BadLine {
            line,
            column: column.map(Column::name),
            problem: problem.into(),
        });
    }

    fn line(&mut self, number: u64, record: &ByteRecord, columns: &[Column]) -> Line {
        let mut line = Line {
            number,
            ..Line::default()
        };
        if record.len() != columns.len() {
            let problem = format!(
                "{} cells instead of {}: put text with commas or line breaks in double quotes, and close them",
                record.len(),
                columns.len()
            );
            self.bad(number, None, problem);
            return line;
        }
        let before = self.bad_lines.len();
        for (column, cell) in columns.iter().zip(record) {
            match std::str::from_utf8(cell).map(str::trim) {
                Ok("") => {}
                Ok(text) => {
                    if let Err(problem) = line.set(column, text) {
                        self.bad(number, Some(column), problem.to_string());
                    }
                }
                Err(_) => self.bad(number, Some(column), NOT_UTF8),
            }
        }
        if line.username.is_none() && line.phone.is_none() && self.bad_lines.len() == before {
            self.bad(
                number,
                None,
                "neither a username nor a phone number: give one, so that the person can be found again",
            );
        }
        line
    }
}

impl Line {
    fn set(&mut self, column: &Column, text: &str) -> Result<(), FieldProblem> {
        match column {
            Column::Username => {
                let username = fields::username(text)?;
                self.username_key = Some(fold_username(&username));
                self.username = Some(username);
            }
            Column::Name => self.name = Some(fields::name(text)?),
            Column::Phone => self.phone = Some(Phone::normalise(text)?.as_str().to_owned()),
            Column::Email => self.email = Some(fields::email(text)?),
            Column::Groups => {
                let names = text.split(';').map(str::trim).filter(|name| !name.is_empty());
                self.groups = Some(fields::groups(names)?);
            }
            Column::Attribute(key) => self.attributes.push((key.clone(), fields::attribute_value(text)?)),
        }
        Ok(())
    }
}

/// Where a name or number was first.
#[derive(Debug, Default)]
struct Seen {
    usernames: HashMap<String, u64>,
    phones: HashMap<String, u64>,
}

impl Seen {
    fn note(&mut self, line: &Line, table: &mut Table) {
        let mut note = |seen: &mut HashMap<String, u64>, value: Option<&String>, column: &Column| {
            let Some(value) = value else { return };
            if let Some(first) = seen.get(value) {
                let problem = format!("the same as on line {first}: one line for each person");
                table.bad(line.number, Some(column), problem);
            } else {
                seen.insert(value.clone(), line.number);
            }
        };
        note(&mut self.usernames, line.username_key.as_ref(), &Column::Username);
        note(&mut self.phones, line.phone.as_ref(), &Column::Phone);
    }
}

const ATTRIBUTE: &str = "attribute:";

const HEADER_WANTED: &str = "the first line names the columns, of username, name, phone, email, groups and attribute:KEY, with username or phone";

const NOT_UTF8: &str =
    "not UTF-8: save the file as \"CSV UTF-8\", or convert it, for example with `iconv -f GB18030 -t UTF-8`";

/// Records between two words about the progress.
const TOLD_EVERY: usize = 1000;

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
