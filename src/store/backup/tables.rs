//! What a backup holds of which tables.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::store::{Statement, StoreError};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bytes,
    Number,
    Text,
}

/// A table of the store; what it refers to stands before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
}

/// One value on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Bytes(Option<Vec<u8>>),
    Number(Option<i64>),
    Text(Option<String>),
}

impl Table {
    /// All its rows.
    pub(super) fn select(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        format!("SELECT {} FROM {}", columns.join(", "), self.name)
    }

    /// So many rows of these columns.
    pub(super) fn insert(&self, columns: &[usize], rows: usize) -> String {
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

    /// A row for the file.
    pub(super) fn values(&self, row: &AnyRow) -> Result<Vec<Value>, StoreError> {
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

    /// A value from the file; `None` if it is of another type.
    pub(super) fn cell(&self, column: usize, value: Value) -> Option<Cell> {
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

/// Binds one value more.
pub(super) fn bind(query: Statement, cell: Cell) -> Statement {
    match cell {
        Cell::Bytes(value) => query.bind(value),
        Cell::Number(value) => query.bind(value),
        Cell::Text(value) => query.bind(value),
    }
}

/// Lives for minutes; emptied by a restoration.
pub(super) const LEFT_OUT: [&str; 4] = ["tickets", "handoffs", "nodes", "phone_failures"];

/// Of these, what says nothing about people: a store that holds nothing else is empty.
pub(super) const REPORTS: [&str; 2] = ["nodes", "phone_failures"];

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
pub(super) const TABLES: &[Table] = &[
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
