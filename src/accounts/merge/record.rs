//! The record of a merge in the audit.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::plan::MergePlan;
use crate::store::{StoreError, User, UserChange};

/// What an undo needs.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MergeRecord {
    removed: RemovedUser,
    /// (app id, openid).
    identities: Vec<(String, String)>,
    /// Of the kept user.
    before: Fields,
    after: Fields,
}

/// The user who was removed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct RemovedUser {
    id: String,
    username: Option<String>,
    name: Option<String>,
    picture: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    groups: Vec<String>,
    attributes: Map<String, Value>,
    password_hash: Option<String>,
    disabled: bool,
    created_at: i64,
    updated_at: i64,
    last_login_at: Option<i64>,
}

/// The fields of the kept user that the merge changed.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none", with = "emptied")]
    username: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "emptied")]
    name: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "emptied")]
    picture: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "emptied")]
    phone: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "emptied")]
    email: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attributes: Option<Map<String, Value>>,
}

/// `null` is a field that was empty; a field that is not there was not changed.
mod emptied {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(field: &Option<Option<String>>, to: S) -> Result<S::Ok, S::Error> {
        field.as_ref().and_then(Option::as_ref).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
        Option::deserialize(from).map(Some)
    }
}

impl MergeRecord {
    pub(super) fn new(keep: &User, remove: &User, password_hash: Option<String>, plan: &MergePlan) -> Self {
        let change = &plan.change;
        Self {
            removed: RemovedUser {
                id: remove.id.clone(),
                username: remove.username.clone(),
                name: remove.name.clone(),
                picture: remove.picture.clone(),
                phone: remove.phone.clone(),
                email: remove.email.clone(),
                groups: remove.groups.clone(),
                attributes: remove.attributes.clone(),
                password_hash,
                disabled: remove.disabled,
                created_at: remove.created_at,
                updated_at: remove.updated_at,
                last_login_at: remove.last_login_at,
            },
            identities: plan
                .identities
                .iter()
                .map(|row| (row.app_id.clone(), row.openid.clone()))
                .collect(),
            before: Fields {
                username: change.username.is_some().then(|| keep.username.clone()),
                name: change.name.is_some().then(|| keep.name.clone()),
                picture: change.picture.is_some().then(|| keep.picture.clone()),
                phone: change.phone.is_some().then(|| keep.phone.clone()),
                email: change.email.is_some().then(|| keep.email.clone()),
                groups: change.groups.is_some().then(|| keep.groups.clone()),
                attributes: change.attributes.is_some().then(|| keep.attributes.clone()),
            },
            after: Fields {
                username: change.username.clone(),
                name: change.name.clone(),
                picture: change.picture.clone(),
                phone: change.phone.clone(),
                email: change.email.clone(),
                groups: change.groups.clone(),
                attributes: change.attributes.clone(),
            },
        }
    }

    /// What the audit keeps.
    pub(super) fn details(&self) -> Result<Value, StoreError> {
        let undo = serde_json::to_value(self).map_err(|error| StoreError::Broken(error.to_string()))?;
        let mut details = self.spent();
        details["undo"] = undo;
        Ok(details)
    }

    /// What is left of it when it has been taken back.
    pub(super) fn spent(&self) -> Value {
        json!({ "removed": self.removed.id, "identities": self.identities.len() })
    }

    pub(super) fn parse(details: &str) -> Option<Self> {
        let mut details: Value = serde_json::from_str(details).ok()?;
        serde_json::from_value(details.get_mut("undo")?.take()).ok()
    }

    /// As they were; whether there was a password is [`Self::password_hash`].
    pub(super) fn removed(&self) -> User {
        let removed = self.removed.clone();
        User {
            id: removed.id,
            username: removed.username,
            name: removed.name,
            picture: removed.picture,
            phone: removed.phone,
            email: removed.email,
            groups: removed.groups,
            attributes: removed.attributes,
            disabled: removed.disabled,
            service: false,
            has_password: removed.password_hash.is_some(),
            created_at: removed.created_at,
            updated_at: removed.updated_at,
            last_login_at: removed.last_login_at,
        }
    }

    pub(super) fn password_hash(&self) -> Option<&str> {
        self.removed.password_hash.as_deref()
    }

    pub(super) fn identities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.identities.iter().map(|(app_id, openid)| (&**app_id, &**openid))
    }

    /// What gives the kept user their fields back.
    pub(super) fn change_back(&self) -> UserChange {
        let before = self.before.clone();
        UserChange {
            username: before.username,
            name: before.name,
            picture: before.picture,
            phone: before.phone,
            email: before.email,
            groups: before.groups,
            attributes: before.attributes,
            password_hash: None,
        }
    }

    /// Names of the fields that the merge changed and that somebody has changed again.
    pub(super) fn changed_fields(&self, keep: &User) -> Vec<&'static str> {
        let after = &self.after;
        let other =
            |after: &Option<Option<String>>, now: &Option<String>| after.as_ref().is_some_and(|after| after != now);
        let fields = [
            ("username", other(&after.username, &keep.username)),
            ("name", other(&after.name, &keep.name)),
            ("picture", other(&after.picture, &keep.picture)),
            ("phone number", other(&after.phone, &keep.phone)),
            ("e-mail address", other(&after.email, &keep.email)),
            (
                "list of groups",
                after.groups.as_ref().is_some_and(|groups| *groups != keep.groups),
            ),
            (
                "set of attributes",
                after
                    .attributes
                    .as_ref()
                    .is_some_and(|attributes| *attributes != keep.attributes),
            ),
        ];
        fields
            .into_iter()
            .filter(|(_, other)| *other)
            .map(|(name, _)| name)
            .collect()
    }
}

impl std::fmt::Debug for MergeRecord {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MergeRecord")
            .field("removed", &self.removed.id)
            .finish_non_exhaustive()
    }
}

/// The details of an event without what only an undo may read.
#[must_use]
pub fn printable_details(details: &str) -> Option<Value> {
    let mut details: Value = serde_json::from_str(details).ok()?;
    if let Some(fields) = details.as_object_mut() {
        fields.remove("undo");
    }
    Some(details)
}
