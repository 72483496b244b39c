//! The nodes of the installation, compared by what each of them says about itself.

use crate::cli::operator::moment;
use crate::config::Fingerprints;
use crate::store::NodeRow;

use super::report::{Finding, Group};

/// What the nodes are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure<'m> {
    /// The store's clock, in Unix seconds.
    pub(super) now: i64,
    /// Of the configuration file that this program reads.
    pub(super) configuration: &'m Fingerprints,
    /// Of this program.
    pub(super) version: &'m str,
}

/// Judges all nodes that were heard of.
pub(super) fn judge(rows: &[NodeRow], measure: Measure<'_>) -> Vec<Finding> {
    if rows.is_empty() {
        return vec![Finding::warn(
            Group::Nodes,
            "running",
            "nodes",
            "no node has said within a day that it serves from this store",
            "Start the gateway (menshen serve). If one runs, it uses another store: compare store.url and data_dir.",
        )];
    }
    let mut findings = Vec::new();
    let (present, silent): (Vec<&NodeRow>, Vec<&NodeRow>) =
        rows.iter().partition(|row| measure.now - row.seen_at <= SILENT);
    for row in &silent {
        findings.push(Finding::warn(
            Group::Nodes,
            "running",
            &row.report.id,
            format!("silent since {}, without having stopped in order", moment(row.seen_at)),
            "Start it again; its log says why it ended. If it was taken away on purpose, nothing is to be done: it is \
             forgotten a day after its last word.",
        ));
    }
    for row in &present {
        let node = &row.report;
        let message = format!("serves since {}, version {}", moment(node.started_at), node.version);
        findings.push(Finding::ok(Group::Nodes, "running", &node.id, message));
        findings.push(judge_clock(&node.id, "the store's", node.clock - row.seen_at));
        findings.push(judge_version(row, measure));
        findings.extend(judge_configuration(row, measure));
    }
    findings.extend(compare_clocks(&present));
    if present.len() > 1 {
        findings.push(Finding::unchecked(
            Group::Nodes,
            "from_each_node",
            "other nodes",
            "what each of them reaches (WeChat, applications, public names): run menshen doctor there as well",
        ));
    }
    findings
}

/// One clock against another: a difference in seconds.
pub(super) fn judge_clock(subject: &str, other: &str, difference: i64) -> Finding {
    let (group, check) = (Group::Clocks, "clock");
    let message = match difference {
        0 => format!("as {other}"),
        seconds if seconds > 0 => format!("{seconds} s ahead of {other}"),
        seconds => format!("{} s behind {other}", -seconds),
    };
    match difference.abs() {
        0..=CLOSE => Finding::ok(group, check, subject, message),
        seconds if seconds <= ALLOWED => Finding::warn(group, check, subject, message, SYNCHRONISE),
        _ => Finding::fail(group, check, subject, message, SYNCHRONISE),
    }
}

fn compare_clocks(present: &[&NodeRow]) -> Option<Finding> {
    let drift = |row: &&&NodeRow| row.report.clock - row.seen_at;
    let (first, last) = (present.iter().min_by_key(drift)?, present.iter().max_by_key(drift)?);
    if first.report.id == last.report.id {
        return None;
    }
    let between = format!("{} and {}", first.report.id, last.report.id);
    let apart = drift(&last) - drift(&first);
    let finding = judge_clock(&between, "each other", apart);
    Some(Finding {
        message: format!("{apart} s apart"),
        ..finding
    })
}

fn judge_version(row: &NodeRow, measure: Measure<'_>) -> Finding {
    let (subject, version) = (&row.report.id, &row.report.version);
    if version == measure.version {
        return Finding::ok(
            Group::Nodes,
            "version",
            subject,
            format!("the same version as here, {version}"),
        );
    }
    Finding::warn(
        Group::Nodes,
        "version",
        subject,
        format!("runs version {version}, here is {}", measure.version),
        "Upgrade the older one: two versions side by side are for the time of an upgrade.",
    )
}

fn judge_configuration(row: &NodeRow, measure: Measure<'_>) -> Option<Finding> {
    let (subject, check) = (&row.report.id, "configuration");
    if row.report.version != measure.version {
        return Some(Finding::unchecked(
            Group::Nodes,
            check,
            subject,
            "whether its configuration is the same: other versions describe theirs otherwise",
        ));
    }
    let theirs: Fingerprints = serde_json::from_str(&row.report.configuration).ok()?;
    let sections = measure.configuration.keys().chain(theirs.keys());
    let mut differing: Vec<String> = sections
        .filter(|section| measure.configuration.get(*section) != theirs.get(*section))
        .map(|section| match section.as_str() {
            // No section of the file.
            "secrets" => "the secrets".to_owned(),
            section => format!("[{section}]"),
        })
        .collect();
    differing.sort();
    differing.dedup();
    if differing.is_empty() {
        let message = format!("the same configuration as here (its number {})", row.report.generation);
        return Some(Finding::ok(Group::Nodes, check, subject, message));
    }
    Some(Finding::fail(
        Group::Nodes,
        check,
        subject,
        format!("runs on another configuration than this file: {}", differing.join(", ")),
        "Give every node the same file. If that one has it, it did not take it: its log says why, and `menshen check` \
         what is wrong.",
    ))
}

/// Seconds. A node speaks every minute; two words may be lost.
const SILENT: i64 = 200;

/// Seconds: what rounding and a slow statement make.
const CLOSE: i64 = 2;

/// Seconds by which clocks may differ before a login fails of it.
const ALLOWED: i64 = 5;

const SYNCHRONISE: &str = "Synchronise the clocks of all nodes and of the database with the same time servers (chrony, \
                           systemd-timesyncd): from 5 s on tickets end too early and fresh cookies are refused.";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::report::Verdict;
    use super::*;
    use crate::store::NodeReport;

    const NOW: i64 = 1_790_000_000;

    /// The worst of several.
    fn worst(findings: &[Finding], check: &str) -> Option<Verdict> {
        let rank = |verdict: &Verdict| match verdict {
            Verdict::Ok => 0,
            Verdict::Unchecked => 1,
            Verdict::Warn => 2,
            Verdict::Fail => 3,
        };
        let of_check = findings.iter().filter(|finding| finding.check == check);
        of_check.map(|finding| finding.verdict).max_by_key(rank)
    }

    fn prints(sites: &str) -> Fingerprints {
        Fingerprints::from([
            ("sites".to_owned(), sites.to_owned()),
            ("limits".to_owned(), "1".to_owned()),
        ])
    }

    fn row(id: &str, change: impl FnOnce(&mut NodeRow)) -> NodeRow {
        let mut row = NodeRow {
            report: NodeReport {
                id: id.to_owned(),
                run: "1".to_owned(),
                version: "1.0.0".to_owned(),
                generation: 3,
                configuration: serde_json::to_string(&prints("a")).unwrap(),
                started_at: NOW - 900,
                clock: NOW - 10,
            },
            seen_at: NOW - 10,
        };
        change(&mut row);
        row
    }

    fn judged(rows: &[NodeRow]) -> Vec<Finding> {
        let measure = Measure {
            now: NOW,
            configuration: &prints("a"),
            version: "1.0.0",
        };
        judge(rows, measure)
    }

    #[test]
    fn each_difference_between_nodes_is_found() {
        type Change = fn(&mut NodeRow);
        let cases: [(Change, &str, Verdict); 9] = [
            (|_| (), "running", Verdict::Ok),
            (|_| (), "clock", Verdict::Ok),
            (|_| (), "configuration", Verdict::Ok),
            (|row| row.report.clock += 2, "clock", Verdict::Ok),
            (|row| row.report.clock -= 4, "clock", Verdict::Warn),
            (|row| row.report.clock += 6, "clock", Verdict::Fail),
            (|row| row.seen_at -= 300, "running", Verdict::Warn),
            (|row| row.report.version = "0.9.0".to_owned(), "version", Verdict::Warn),
            (
                |row| row.report.configuration = "{\"sites\":\"b\",\"limits\":\"1\"}".to_owned(),
                "configuration",
                Verdict::Fail,
            ),
        ];
        for (change, check, verdict) in cases {
            let findings = judged(&[row("one", |_| ()), row("two", change)]);
            assert_eq!(worst(&findings, check), Some(verdict), "{check}: {findings:?}");
        }
        assert_eq!(worst(&judged(&[]), "running"), Some(Verdict::Warn));
    }

    #[test]
    fn nodes_may_be_close_to_the_store_and_far_from_each_other() {
        let findings = judged(&[
            row("one", |row| row.report.clock -= 4),
            row("two", |row| row.report.clock += 4),
        ]);
        let apart = findings
            .iter()
            .find(|finding| finding.subject == "one and two")
            .unwrap();
        assert_eq!((apart.verdict, apart.message.as_str()), (Verdict::Fail, "8 s apart"));
    }

    #[test]
    fn the_sections_that_differ_are_named() {
        let findings = judged(&[row("one", |row| {
            row.report.configuration = "{\"sites\":\"b\",\"secrets\":\"x\"}".to_owned();
        })]);
        let said = &findings
            .iter()
            .find(|finding| finding.check == "configuration")
            .unwrap()
            .message;
        assert!(said.ends_with("[limits], [sites], the secrets"), "{said}");
    }
}
