//! The store, what it holds of keys, and what the nodes have left there.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::settings::Algorithm;
use crate::config::{Settings, fingerprints};
use crate::login::keyring;
use crate::store::{Condition, KeyKind, KeyRow, PhoneFailure, Store, StoreError};
use crate::telemetry::clock::Clock;

use super::nodes::{self, Measure, judge_clock};
use super::report::{Finding, Group};

/// What was found there, and what other questions need of it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) findings: Vec<Finding>,
    /// `kid` of every key that the installation publishes; `None` when that is not known.
    pub(super) published: Option<BTreeSet<String>>,
    /// `None` when that is not known.
    pub(super) phone_failures: Option<Vec<PhoneFailure>>,
}

impl State {
    /// Looks at the store without making, migrating or changing anything.
    pub(super) async fn read(settings: &Settings) -> Self {
        let mut state = Self {
            findings: Vec::new(),
            published: None,
            phone_failures: None,
        };
        match Store::open_as_it_is(&settings.store.url).await {
            Ok(Some(store)) => {
                if let Err(error) = state.look(&store, settings).await {
                    state.failed("answers", &error);
                }
                store.close().await;
            }
            Ok(None) => state.failed_with(
                "open",
                "the file of store.url does not exist",
                "The first start of the gateway makes it. If it has run already, it runs with another store.url or \
                 data_dir.",
            ),
            Err(error) => state.failed("open", &error),
        }
        state
    }

    fn failed(&mut self, check: &'static str, error: &StoreError) {
        let (what, remedy) = said(error);
        self.failed_with(check, &what, &remedy);
    }

    fn failed_with(&mut self, check: &'static str, what: &str, remedy: &str) {
        self.findings
            .push(Finding::fail(Group::Store, check, "store", what, remedy));
        self.findings.push(Finding::unchecked(
            Group::Store,
            "rest",
            "store",
            "keys, other nodes, clocks and what phones reported: the store has to answer first",
        ));
    }

    async fn look(&mut self, store: &Store, settings: &Settings) -> Result<(), StoreError> {
        let condition = store.condition().await?;
        self.findings.push(judge_speed(&condition));
        if !self.has_schema(&condition) {
            return Ok(());
        }
        match store.try_to_write().await {
            Ok(()) => self
                .findings
                .push(Finding::ok(Group::Store, "writable", "store", "can be written to")),
            Err(error) => {
                let (what, remedy) = said(&error);
                self.findings
                    .push(Finding::fail(Group::Store, "writable", "store", what, remedy));
            }
        }
        let now = store.clock().await?;
        let here = Clock::default().now();
        self.findings
            .push(judge_clock("this machine", "the store's", here - now));
        self.judge_keys(&store.keys().await?, settings, here);
        let configuration = fingerprints(settings);
        let measure = Measure {
            now,
            configuration: &configuration,
            version: env!("CARGO_PKG_VERSION"),
        };
        self.findings.extend(nodes::judge(&store.nodes().await?, measure));
        self.phone_failures = Some(store.phone_failures().await?);
        Ok(())
    }

    /// Whether the rest can be asked.
    fn has_schema(&mut self, condition: &Condition) -> bool {
        let known = condition.known;
        let finding = match condition.schema {
            Some(found) if found == known => {
                let message = format!("schema {found}, as this version has it");
                self.findings
                    .push(Finding::ok(Group::Store, "schema", "store", message));
                return true;
            }
            Some(found) if found > known => Finding::fail(
                Group::Store,
                "schema",
                "store",
                format!("schema {found}, this version knows up to {known}"),
                "Run the newer menshen, or restore a backup.",
            ),
            Some(found) => Finding::warn(
                Group::Store,
                "schema",
                "store",
                format!("schema {found}, this version has {known}"),
                "The next start of the gateway brings it up to date; make a backup before.",
            ),
            None => Finding::warn(
                Group::Store,
                "schema",
                "store",
                "a database without tables of Menshen",
                "The first start of the gateway makes them. If it has run already, store.url names another database.",
            ),
        };
        self.findings.push(finding);
        self.findings.push(Finding::unchecked(
            Group::Store,
            "rest",
            "store",
            "keys, other nodes and what phones reported: the store needs this version's schema first",
        ));
        false
    }

    fn judge_keys(&mut self, rows: &[KeyRow], settings: &Settings, now: i64) {
        let secret = settings.server.secret.as_ref();
        if rows.is_empty() {
            self.findings.push(Finding::warn(
                Group::Keys,
                "open",
                "keys",
                "there are none yet",
                "The first start of the gateway makes them.",
            ));
            return;
        }
        if let Err(error) = keyring::verify(rows, secret) {
            self.findings.push(Finding::fail(
                Group::Keys,
                "open",
                "keys",
                error.to_string(),
                "Write into server.secret what the keys were wrapped under (`menshen keys wrap --former-secret` changes \
                 it), or restore a backup.",
            ));
            return;
        }
        self.findings.push(Finding::ok(
            Group::Keys,
            "open",
            "keys",
            format!("all {} can be used", rows.len()),
        ));
        let bare = rows.iter().filter(|row| !row.wrapped).count();
        self.findings.push(match (bare, secret) {
            (0, _) => Finding::ok(Group::Keys, "wrapped", "keys", "wrapped under server.secret"),
            (_, Some(_)) => Finding::warn(
                Group::Keys,
                "wrapped",
                "keys",
                format!("{bare} of {} stand in the store in the clear", rows.len()),
                "Wrap them: menshen keys wrap.",
            ),
            (_, None) => Finding::warn(
                Group::Keys,
                "wrapped",
                "keys",
                "they stand in the store in the clear: whoever reads it, or a backup, can sign in as anybody",
                "Make a secret (menshen keys secret), set server.secret on every node, then menshen keys wrap.",
            ),
        });
        if settings.identity.algorithm == Algorithm::Hs256 {
            return;
        }
        let stays = keyring::stays(KeyKind::Signing, settings);
        let published = rows
            .iter()
            .filter(|row| row.retired_at.is_none_or(|retired| retired + stays > now))
            .filter_map(|row| keyring::kid(row, secret));
        self.published = Some(published.collect());
    }
}

/// The part of the sentence before its remedy, and the remedy.
fn said(error: &StoreError) -> (String, String) {
    let text = error.to_string();
    match text.split_once(": ") {
        Some((what, remedy)) => (what.to_owned(), sentence(remedy)),
        None => (text, "See the database's own log.".to_owned()),
    }
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string())
        .unwrap_or_default();
    format!("{first}{}.", characters.as_str().trim_end_matches('.'))
}

fn judge_speed(condition: &Condition) -> Finding {
    let Condition {
        engine, size, latency, ..
    } = condition;
    let message = format!(
        "{engine}, {}, answers in {:.1} ms",
        bytes(*size),
        latency.as_secs_f64() * 1000.0
    );
    if *latency < SLOW {
        return Finding::ok(Group::Store, "answers", "store", message);
    }
    let remedy = "Look at its load, its disk and the network between: every login waits for it several times.";
    if *latency < UNUSABLE {
        return Finding::warn(Group::Store, "answers", "store", message, remedy);
    }
    Finding::fail(Group::Store, "answers", "store", message, remedy)
}

#[allow(clippy::cast_precision_loss)] // One digit behind the point.
fn bytes(count: u64) -> String {
    let mut amount = count as f64;
    for unit in ["B", "KiB", "MiB"] {
        if amount < 1024.0 {
            return format!("{amount:.1} {unit}");
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} GiB")
}

/// A person does not notice the handful of questions of a login yet.
const SLOW: Duration = Duration::from_millis(50);

const UNUSABLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn a_slow_store_is_noticed() {
        for (milliseconds, verdict) in [(1, Verdict::Ok), (60, Verdict::Warn), (1_200, Verdict::Fail)] {
            let finding = judge_speed(&Condition {
                engine: "SQLite 3".to_owned(),
                schema: Some(2),
                known: 2,
                size: 1_536,
                latency: Duration::from_millis(milliseconds),
            });
            assert_eq!(finding.verdict, verdict);
            assert!(
                finding.message.starts_with("SQLite 3, 1.5 KiB, answers in "),
                "{}",
                finding.message
            );
        }
    }

    #[test]
    fn every_error_of_the_store_is_split_into_what_and_what_to_do() {
        for error in [
            StoreError::Unavailable("refused".to_owned()),
            StoreError::TimedOut,
            StoreError::ReadOnly,
            StoreError::Full,
            StoreError::Locked,
            StoreError::Broken("x".to_owned()),
        ] {
            let (what, remedy) = said(&error);
            assert!(
                what.starts_with("the store") && remedy.len() > 20 && remedy.ends_with('.'),
                "{what} / {remedy}"
            );
        }
    }
}
