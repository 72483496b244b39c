//! What a merge does: the rule, pure.

use crate::store::{IdentityRow, User, UserChange};

/// What a merge does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MergePlan {
    /// Of the kept user.
    pub change: UserChange,
    /// Names of the fields that the kept user gets.
    pub filled: Vec<&'static str>,
    /// Names of the fields of the removed user that are lost, because the kept one has its own.
    pub lost: Vec<&'static str>,
    /// Groups that the kept user gets.
    pub groups: Vec<String>,
    /// Identities that move.
    pub identities: Vec<IdentityRow>,
    /// Why they may be two people.
    pub conflicts: Vec<Conflict>,
}

/// A sign that two users are two people, or that a merge lets somebody in who was kept out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Two people at one app.
    #[error("both have an identity of the app {0}, with different openids: two WeChat accounts")]
    App(String),
    /// Two people at one Open Platform account.
    #[error("they have different unionids at the Open Platform account {0:?}: two WeChat accounts")]
    OpenPlatform(String),
    /// One is kept out.
    #[error("one of them is disabled, the other is not")]
    Disabled,
}

/// What making `remove` a part of `keep` does.
#[must_use]
pub fn plan(keep: &User, remove: &User, of_keep: &[IdentityRow], of_remove: Vec<IdentityRow>) -> MergePlan {
    let mut plan = MergePlan {
        conflicts: conflicts(keep, remove, of_keep, &of_remove),
        identities: of_remove,
        ..MergePlan::default()
    };
    plan.change.username = plan.fill("username", &keep.username, &remove.username);
    plan.change.name = plan.fill("name", &keep.name, &remove.name);
    plan.change.picture = plan.fill("picture", &keep.picture, &remove.picture);
    plan.change.phone = plan.fill("phone", &keep.phone, &remove.phone);
    plan.change.email = plan.fill("email", &keep.email, &remove.email);
    plan.groups = remove
        .groups
        .iter()
        .filter(|group| !keep.groups.contains(group))
        .cloned()
        .collect();
    if !plan.groups.is_empty() {
        plan.change.groups = Some(keep.groups.iter().chain(&plan.groups).cloned().collect());
    }
    let mut attributes = remove.attributes.clone();
    attributes.extend(keep.attributes.clone());
    if attributes != keep.attributes {
        plan.filled.push("attributes");
        plan.change.attributes = Some(attributes);
    }
    if remove
        .attributes
        .iter()
        .any(|(key, value)| keep.attributes.get(key).is_some_and(|held| held != value))
    {
        plan.lost.push("attributes");
    }
    if remove.has_password {
        plan.lost.push("password");
    }
    plan
}

impl MergePlan {
    fn fill(&mut self, name: &'static str, kept: &Option<String>, removed: &Option<String>) -> Option<Option<String>> {
        match (kept, removed) {
            (None, Some(value)) => {
                self.filled.push(name);
                Some(Some(value.clone()))
            }
            (Some(kept), Some(removed)) if kept != removed => {
                self.lost.push(name);
                None
            }
            _ => None,
        }
    }
}

fn conflicts(keep: &User, remove: &User, of_keep: &[IdentityRow], of_remove: &[IdentityRow]) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let pairs = of_keep
        .iter()
        .flat_map(|one| of_remove.iter().map(move |other| (one, other)));
    for (one, other) in pairs {
        let conflict = if one.app_id == other.app_id {
            Some(Conflict::App(one.app_id.clone()))
        } else {
            let same_account = one
                .open_platform
                .as_ref()
                .filter(|account| other.open_platform.as_ref() == Some(*account));
            let different = matches!((&one.unionid, &other.unionid), (Some(one), Some(other)) if one != other);
            same_account
                .filter(|_| different)
                .map(|account| Conflict::OpenPlatform(account.clone()))
        };
        if let Some(conflict) = conflict.filter(|conflict| !conflicts.contains(conflict)) {
            conflicts.push(conflict);
        }
    }
    if keep.disabled != remove.disabled {
        conflicts.push(Conflict::Disabled);
    }
    conflicts
}
