//! Two users who are one person, made one; and that taken back.
//!
//! What a merge would do (`plan`) is decided without writing, so that an operator sees it first. The record of a merge
//! holds what an undo needs (`record`): the removed user whole, the identities that moved, and the fields of the kept
//! one before and after. That is the only place where the audit holds a person's data; it is never printed, and goes
//! with the undo, with the deletion of the kept user, and with the record itself.

mod plan;
mod record;

use serde_json::json;

use super::administration::{AdministrationError, event, introduced, present};
use super::directory::Directory;
use crate::store::{AuditRow, Lock, StoreError, User, WriteTx};
use crate::telemetry::audit::AuditKind;
pub use plan::{Conflict, MergePlan, plan};
use record::MergeRecord;
pub use record::printable_details;

/// Why a merge was not made or not taken back. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// One user is no two.
    #[error("both names are those of {0}: nothing to merge")]
    Same(String),
    /// Programs are not people.
    #[error("{0} is a service account: only people are merged")]
    Service(String),
    /// They may be two people.
    #[error("they may be two people, see the conflicts; --force merges them all the same")]
    Conflicts,
    /// No such record.
    #[error("{0} is the number of no merge: `menshen audit export --kind user_merged` lists them")]
    NoMerge(i64),
    /// Its data is gone.
    #[error("merge {0} cannot be taken back: it was already, or the kept user has been deleted since")]
    NoData(i64),
    /// The directory is not as the merge left it.
    #[error("merge {seq} cannot be taken back, because things have changed since: {}", .changes.join("; "))]
    Changed {
        /// Of the merge.
        seq: i64,
        /// What has changed, and what to do.
        changes: Vec<String>,
    },
    /// As everywhere.
    #[error(transparent)]
    Administration(#[from] AdministrationError),
}

impl From<StoreError> for MergeError {
    fn from(error: StoreError) -> Self {
        Self::Administration(error.into())
    }
}

/// A merge that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// What was done.
    pub plan: MergePlan,
    /// Number of its record, with which it can be taken back.
    pub seq: i64,
}

/// A merge that was taken back.
#[derive(Debug, Clone, PartialEq)]
pub struct Undone {
    /// Who was kept, as before the merge.
    pub kept: User,
    /// Who is there again.
    pub restored: User,
    /// How many identities went back.
    pub identities: usize,
}

impl Directory {
    /// What merging would do; nothing is written.
    ///
    /// # Errors
    /// [`MergeError`].
    pub async fn plan_merge(&self, keep: &User, remove: &User) -> Result<MergePlan, MergeError> {
        mergeable(keep, remove)?;
        let of_keep = self.store().identities_of(&keep.id).await?;
        let of_remove = self.store().identities_of(&remove.id).await?;
        Ok(plan(keep, remove, &of_keep, of_remove))
    }

    /// Makes `remove` a part of `keep`: identities move, empty fields are filled, groups are joined, and what `remove`
    /// held (sessions, tokens, codes, password) ends. With conflicts only by `force`.
    ///
    /// # Errors
    /// [`MergeError`]; then nothing has changed.
    pub async fn merge(&self, keep: &str, remove: &str, force: bool, now: i64) -> Result<Merged, MergeError> {
        let mut tx = self.store().directory().await?;
        let (keep, remove) = (present(&mut tx, keep).await?, present(&mut tx, remove).await?);
        mergeable(&keep, &remove)?;
        let of_keep = tx.identities_of(&keep.id).await?;
        let of_remove = tx.identities_of(&remove.id).await?;
        let plan = plan(&keep, &remove, &of_keep, of_remove);
        if !plan.conflicts.is_empty() && !force {
            return Err(MergeError::Conflicts);
        }
        let password_hash = tx.password_hash_of(&remove.id).await?;
        let record = MergeRecord::new(&keep, &remove, password_hash, &plan);
        tx.lock(Lock::Revocations).await?;
        for identity in &plan.identities {
            tx.move_identity(&identity.app_id, &identity.openid, &remove.id, &keep.id)
                .await?;
        }
        // Before the kept one gets name and number, which are unique.
        tx.delete_user(&remove.id, "merged", now).await?;
        tx.update_user(&keep.id, &plan.change, now).await?;
        let seq = tx
            .insert_audit(&[
                event(
                    AuditKind::UserDeleted,
                    &remove.id,
                    now,
                    Some("merged"),
                    Some(json!({ "into": keep.id })),
                ),
                event(AuditKind::UserMerged, &keep.id, now, None, Some(record.details()?)),
            ])
            .await?;
        tx.commit().await?;
        Ok(Merged { plan, seq })
    }

    /// Takes the merge with this number back: both users have what they had. Sessions and tokens stay ended, and those of
    /// the kept user end too, because nobody can say whose they are.
    ///
    /// # Errors
    /// [`MergeError`]; then nothing has changed.
    pub async fn undo_merge(&self, seq: i64, now: i64) -> Result<Undone, MergeError> {
        let mut tx = self.store().directory().await?;
        let row = tx
            .audit_row(seq)
            .await?
            .filter(|row| row.kind == AuditKind::UserMerged.as_str());
        let row = row.ok_or(MergeError::NoMerge(seq))?;
        let record = MergeRecord::of(&row).ok_or(MergeError::NoData(seq))?;
        let keep = row.user_id.as_deref().unwrap_or_default();
        let keep = tx.user(keep).await?.ok_or(MergeError::NoData(seq))?;
        let changes = changed_since(&mut tx, &record, &keep).await?;
        if !changes.is_empty() {
            return Err(MergeError::Changed { seq, changes });
        }
        tx.end_all_of(&keep.id, "unmerged", now).await?;
        tx.update_user(&keep.id, &record.change_back(), now).await?;
        let removed = record.removed();
        tx.restore_user(&removed, record.password_hash()).await?;
        for (app_id, openid) in record.identities() {
            tx.move_identity(app_id, openid, &keep.id, &removed.id).await?;
        }
        tx.set_audit_details(seq, &record.spent().to_string()).await?;
        let (kept, restored) = (present(&mut tx, &keep.id).await?, present(&mut tx, &removed.id).await?);
        let details = json!({ "merge": seq });
        let records = [&kept, &restored]
            .map(|user| event(AuditKind::UserMergeUndone, &user.id, now, None, Some(details.clone())));
        tx.insert_audit(&records).await?;
        tx.commit().await?;
        Ok(Undone {
            kept,
            restored,
            identities: record.identities().count(),
        })
    }
}

fn mergeable(keep: &User, remove: &User) -> Result<(), MergeError> {
    if keep.id == remove.id {
        return Err(MergeError::Same(introduced(keep)));
    }
    match [keep, remove].into_iter().find(|user| user.service) {
        Some(service) => Err(MergeError::Service(introduced(service))),
        None => Ok(()),
    }
}

/// What is not as the merge left it.
async fn changed_since(tx: &mut WriteTx, record: &MergeRecord, keep: &User) -> Result<Vec<String>, StoreError> {
    let mut changes: Vec<_> = record
        .changed_fields(keep)
        .into_iter()
        .map(|field| format!("the {field} of {} is another one now", introduced(keep)))
        .collect();
    for (app_id, openid) in record.identities() {
        let owner = tx.identity(app_id, openid).await?.map(|row| row.user_id);
        if owner.as_deref() != Some(&*keep.id) {
            changes.push(format!("the identity {app_id}:{openid} is no longer theirs"));
        }
    }
    let removed = record.removed();
    if tx.user(&removed.id).await?.is_some() {
        changes.push(format!("there is a user {} again", removed.id));
    }
    let holders = [
        (
            "username",
            tx.user_by_username(removed.username.as_deref().unwrap_or_default())
                .await?,
        ),
        (
            "phone number",
            tx.user_by_phone(removed.phone.as_deref().unwrap_or_default()).await?,
        ),
    ];
    for (what, holder) in holders {
        if let Some(holder) = holder.filter(|holder| holder.id != keep.id) {
            changes.push(format!(
                "the {what} of the removed user is that of {} now: free it there",
                introduced(&holder)
            ));
        }
    }
    Ok(changes)
}

impl MergeRecord {
    /// Out of a row of the audit, while it can be taken back.
    fn of(row: &AuditRow) -> Option<Self> {
        Self::parse(row.details.as_deref()?)
    }
}

#[cfg(test)]
mod tests;
