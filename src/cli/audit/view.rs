//! How an event is shown.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::accounts::merge::printable_details;
use crate::cli::operator::{moment, printable};
use crate::store::AuditRow;

/// An event as programs read it. `at` is in Unix seconds, `time` the same in RFC 3339.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct EventView {
    seq: i64,
    time: String,
    at: i64,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    browser_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    browser_device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

/// Names of [`EventView::cells`].
pub(super) const COLUMNS: [&str; 13] = [
    "seq",
    "time",
    "kind",
    "user_id",
    "connection",
    "request_id",
    "ticket_hash",
    "browser_address",
    "phone_address",
    "browser_device",
    "phone_device",
    "reason",
    "details",
];

impl From<AuditRow> for EventView {
    fn from(row: AuditRow) -> Self {
        Self {
            seq: row.seq,
            time: moment(row.at),
            at: row.at,
            kind: row.kind,
            user_id: row.user_id,
            connection: row.connection,
            request_id: row.request_id,
            ticket_hash: row.ticket_hash,
            browser_address: row.browser_address,
            phone_address: row.phone_address,
            browser_device: row.browser_device,
            phone_device: row.phone_device,
            reason: row.reason,
            details: row.details.as_deref().and_then(printable_details),
        }
    }
}

impl EventView {
    /// One object on one line.
    pub(super) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// One line for people: what is there, with its name.
    pub(super) fn write_line(&self, out: &mut impl Write) -> io::Result<()> {
        let mut line = format!("{} {:>6} {:<17}", self.time, self.seq, self.kind);
        for (name, cell) in COLUMNS.iter().zip(self.cells()).skip(3) {
            if !cell.is_empty() {
                line.push_str(&format!(" {name}={}", printable(&cell)));
            }
        }
        writeln!(out, "{}", line.trim_end())
    }

    pub(super) fn cells(&self) -> [String; 13] {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        [
            self.seq.to_string(),
            self.time.clone(),
            self.kind.clone(),
            text(&self.user_id),
            text(&self.connection),
            text(&self.request_id),
            text(&self.ticket_hash),
            text(&self.browser_address),
            text(&self.phone_address),
            text(&self.browser_device),
            text(&self.phone_device),
            text(&self.reason),
            self.details.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]
    }
}

/// One line of CSV.
pub(super) fn write_record(cells: &[String], out: &mut impl Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).map_err(io::Error::other)?;
    let line = writer
        .into_inner()
        .map_err(|error| io::Error::other(error.to_string()))?;
    out.write_all(&line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn merged() -> EventView {
        EventView::from(AuditRow {
            seq: 7,
            kind: "user_merged".to_owned(),
            at: 1_790_000_000,
            user_id: Some("u_1".to_owned()),
            browser_device: Some("Fire\u{1b}fox, \"x\"".to_owned()),
            details: Some(r#"{"removed":"u_2","undo":{"removed":{"phone":"+8613800138000"}}}"#.to_owned()),
            ..AuditRow::default()
        })
    }

    #[test]
    fn an_event_is_one_line_without_what_only_an_undo_may_read() {
        let mut out = Vec::new();
        merged().write_line(&mut out).unwrap();
        merged().write_json(&mut out).unwrap();
        write_record(&merged().cells(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(
            lines[0],
            "2026-09-21T14:13:20Z      7 user_merged       user_id=u_1 browser_device=Fire\\u{1b}fox, \"x\" \
             details={\"removed\":\"u_2\"}"
        );
        assert!(!text.contains("+86138"), "{text}");
        let json: Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(
            (&json["details"]["removed"], &json["at"]),
            (&"u_2".into(), &1_790_000_000.into())
        );
        assert!(json.get("connection").is_none());
        assert!(
            lines[2].starts_with("7,2026-09-21T14:13:20Z,user_merged,u_1,,"),
            "{text}"
        );
    }
}
