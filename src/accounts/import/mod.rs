//! Users out of a CSV file: all of it or nothing.
//!
//! Reading the file ([`table`]) and deciding what it means for the directory (`plan`) are pure. The decision is made twice:
//! first by reads alone, which finds every bad line without holding anybody up, and again under the directory's lock,
//! just before it is carried out, because a login may have changed the directory in between.

pub mod plan;
pub mod table;

use std::collections::HashMap;

use serde::Serialize;

use super::administration::event;
use super::directory::Directory;
use super::user_id::NoRandomness;
use crate::store::{StoreError, User, UserKey, fold_username};
use crate::telemetry::audit::AuditKind;
use plan::{Plan, plan};
use table::Line;

/// A line that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BadLine {
    /// Number in the file, from 1; of the line on which the record begins.
    pub line: u64,
    /// Name of the column, if it is about one.
    pub column: Option<String>,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// What an import did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// New users.
    pub created: usize,
    /// Users with a field that is different now.
    pub updated: usize,
    /// Users who were so already.
    pub unchanged: usize,
    /// Then nothing was imported.
    pub bad_lines: Vec<BadLine>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Users looked for, of all.
    Looking(usize, usize),
    /// Users written, of all.
    Writing(usize, usize),
}

/// Why an import stopped. Nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// No ids could be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The users that a file is about, by folded username and by number.
#[derive(Debug, Default)]
pub struct Found {
    users: HashMap<String, User>,
    by_username: HashMap<String, String>,
    by_phone: HashMap<String, String>,
}

impl Found {
    /// Adds a user.
    pub fn add(&mut self, user: User) {
        if let Some(username) = &user.username {
            self.by_username.insert(fold_username(username), user.id.clone());
        }
        if let Some(phone) = &user.phone {
            self.by_phone.insert(phone.clone(), user.id.clone());
        }
        self.users.insert(user.id.clone(), user);
    }

    fn username(&self, key: &str) -> Option<&User> {
        self.users.get(self.by_username.get(key)?)
    }

    fn phone(&self, phone: &str) -> Option<&User> {
        self.users.get(self.by_phone.get(phone)?)
    }
}

impl Directory {
    /// Imports `lines`, in one transaction; with `dry_run` says what that would do.
    ///
    /// The store's write lock is held from the second look to the end: for a hundred thousand users some seconds.
    ///
    /// # Errors
    /// [`ImportError`]; then nothing was imported. Bad lines are no error but an outcome.
    pub async fn import(
        &self,
        lines: &[Line],
        dry_run: bool,
        now: i64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Outcome, ImportError> {
        let (usernames, phones) = keys(lines);
        let total = usernames.len() + phones.len();
        let mut found = Found::default();
        let mut looked = 0;
        for (key, values) in [(UserKey::Username, &usernames), (UserKey::Phone, &phones)] {
            for batch in values.chunks(LOOKED_UP_AT_ONCE) {
                let users = self.store().users_by(key, batch).await?;
                users.into_iter().for_each(|user| found.add(user));
                looked += batch.len();
                progress(Progress::Looking(looked, total));
            }
        }
        let planned = plan(lines, &found, now)?;
        if dry_run || !planned.bad_lines.is_empty() || planned.changes.is_empty() {
            return Ok(planned.outcome());
        }
        drop((planned, found));

        let mut tx = self.store().directory().await?;
        let mut found = Found::default();
        for (key, values) in [(UserKey::Username, &usernames), (UserKey::Phone, &phones)] {
            let users = tx.users_by(key, values).await?;
            users.into_iter().for_each(|user| found.add(user));
        }
        let planned = plan(lines, &found, now)?;
        if !planned.bad_lines.is_empty() {
            return Ok(planned.outcome());
        }
        let changed: Vec<_> = planned.known().map(|user| user.id.as_str()).collect();
        tx.tell_changed(&changed, now).await?;
        let (users, total) = (planned.users(), planned.changes.len());
        let mut written = 0;
        for batch in users.chunks(WRITTEN_AT_ONCE) {
            tx.put_users(batch).await?;
            written += batch.len();
            progress(Progress::Writing(written, total));
        }
        tx.insert_audit(&records(&planned, now)).await?;
        tx.commit().await?;
        Ok(planned.outcome())
    }
}

/// Every username, folded, and every number of a file.
fn keys(lines: &[Line]) -> (Vec<&str>, Vec<&str>) {
    let usernames = lines.iter().filter_map(|line| line.username_key.as_deref()).collect();
    let phones = lines.iter().filter_map(|line| line.phone.as_deref()).collect();
    (usernames, phones)
}

/// One record for each user, so that what is known of a person also says where it came from.
fn records(plan: &Plan, now: i64) -> Vec<crate::store::AuditRow> {
    plan.changes
        .iter()
        .map(|change| {
            let details = if change.created {
                serde_json::json!({ "created": true })
            } else {
                serde_json::json!({ "fields": change.fields })
            };
            event(AuditKind::UserImported, &change.user.id, now, None, Some(details))
        })
        .collect()
}

/// Between two words about the progress.
const LOOKED_UP_AT_ONCE: usize = 5000;
const WRITTEN_AT_ONCE: usize = 1000;

#[cfg(test)]
mod tests;
