//! What operators do to one user: every change with its record in the audit, in one transaction.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::directory::Directory;
use super::mask::masked_user;
use super::proof::{self, ProofError};
use super::user_id::{NoRandomness, new_user_id};
use crate::store::{AuditRow, NewBindCode, NewUser, StoreError, User, UserChange, WriteTx};
use crate::telemetry::audit::AuditKind;

/// Why a change of a user was not made. The text is what the operator reads.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    /// Unique, and somebody else's.
    #[error("the {what} is that of {holder}: choose another one, or free it there")]
    Taken {
        /// `username` or `phone number`.
        what: &'static str,
        /// Who has it.
        holder: String,
    },
    /// There is no such user, any more.
    #[error("there is no user {0} any more")]
    Gone(String),
    /// Only programs use it.
    #[error("{0} is a service account: it holds tokens, never logs in with WeChat, and has neither phone nor password")]
    Service(String),
    /// Would come to nothing.
    #[error("{0} is disabled: enable them first")]
    Disabled(String),
    /// The user has no such identity.
    #[error("{user} has no identity {identity}: `menshen users show {user}` lists what they have")]
    NoIdentity {
        /// Who was asked about.
        user: String,
        /// `APPID:OPENID`.
        identity: String,
    },
    /// Nothing to log in with would be left.
    #[error("{0} could not log in any more: it is their only identity. Bind another one first, or use --force")]
    LastIdentity(String),
    /// No id could be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// No code could be made.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The store did not do it; nothing has changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an edit did.
#[derive(Debug, Clone, PartialEq)]
pub struct Edited {
    /// The user, after it.
    pub user: User,
    /// Names of the fields that are different now.
    pub fields: Vec<&'static str>,
}

/// What to write into a user's attributes; no value takes one away.
pub type AttributeEdits = Vec<(String, Option<String>)>;

/// A code that proves an account once.
#[derive(Debug)]
pub struct IssuedCode {
    /// To be shown to the person, once.
    pub code: SecretString,
    /// Unix seconds.
    pub expires_at: i64,
}

/// How a user is named to an operator, who may act on it: username, else id.
#[must_use]
pub fn called(user: &User) -> &str {
    user.username.as_deref().unwrap_or(&user.id)
}

/// The same for somebody whom the operator did not ask for.
#[must_use]
pub fn introduced(user: &User) -> String {
    match (&user.username, masked_user(user)) {
        (Some(username), _) => format!("{username:?} ({})", user.id),
        (None, Some(masked)) => format!("{masked} ({})", user.id),
        (None, None) => user.id.clone(),
    }
}

impl Directory {
    /// Makes a user; the id of `new` is made here.
    ///
    /// # Errors
    /// [`AdministrationError`]; then nobody was made.
    pub async fn create(&self, new: NewUser) -> Result<User, AdministrationError> {
        let new = NewUser {
            id: new_user_id()?,
            ..new
        };
        if new.service && (new.phone.is_some() || new.password_hash.is_some()) {
            return Err(AdministrationError::Service("the new user".to_owned()));
        }
        let mut tx = self.store().directory().await?;
        free(&mut tx, None, new.username.as_deref(), new.phone.as_deref()).await?;
        tx.insert_user(&new).await?;
        let user = present(&mut tx, &new.id).await?;
        let details = new.service.then(|| json!({ "service": true }));
        tx.insert_audit(&[event(AuditKind::UserCreated, &new.id, new.created_at, None, details)])
            .await?;
        tx.commit().await?;
        Ok(user)
    }

    /// Changes what is different, and tells the nodes.
    ///
    /// # Errors
    /// [`AdministrationError`]; then nothing has changed.
    pub async fn edit(
        &self,
        id: &str,
        change: UserChange,
        attributes: AttributeEdits,
        now: i64,
    ) -> Result<Edited, AdministrationError> {
        let mut tx = self.store().directory().await?;
        let before = present(&mut tx, id).await?;
        let (change, fields) = differing(&before, change, attributes);
        if fields.is_empty() {
            return Ok(Edited { user: before, fields });
        }
        let (username, phone) = (change.username.clone().flatten(), change.phone.clone().flatten());
        if before.service && (phone.is_some() || change.password_hash.is_some()) {
            return Err(AdministrationError::Service(introduced(&before)));
        }
        free(&mut tx, Some(id), username.as_deref(), phone.as_deref()).await?;
        tx.update_user(id, &change, now).await?;
        let user = present(&mut tx, id).await?;
        let details = json!({ "fields": fields });
        tx.insert_audit(&[event(AuditKind::UserChanged, id, now, None, Some(details))])
            .await?;
        tx.commit().await?;
        Ok(Edited { user, fields })
    }

    /// Allows or forbids a user to log in; forbidding ends their sessions on every node. False if it was so already.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub async fn set_disabled(&self, id: &str, disabled: bool, reason: &str, now: i64) -> Result<bool, StoreError> {
        let mut tx = self.store().directory().await?;
        if !tx.set_disabled(id, disabled, reason, now).await? {
            return Ok(false);
        }
        if disabled {
            tx.forget_bind_codes(id).await?;
        }
        let kind = if disabled {
            AuditKind::UserDisabled
        } else {
            AuditKind::UserEnabled
        };
        tx.insert_audit(&[event(kind, id, now, Some(reason), None)]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Forgets a person with identities, sessions, tokens and codes. False if there is no such user.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub async fn delete(&self, id: &str, reason: &str, now: i64) -> Result<bool, StoreError> {
        let mut tx = self.store().directory().await?;
        if !tx.delete_user(id, reason, now).await? {
            return Ok(false);
        }
        tx.insert_audit(&[event(AuditKind::UserDeleted, id, now, Some(reason), None)])
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Takes an identity from a user. Their sessions end, because nobody can say which of them came from it.
    ///
    /// # Errors
    /// [`AdministrationError`]; then nothing has changed. The last identity is taken with `force` only.
    pub async fn unbind(
        &self,
        user: &User,
        app_id: &str,
        openid: &str,
        force: bool,
        now: i64,
    ) -> Result<(), AdministrationError> {
        let mut tx = self.store().directory().await?;
        let identities = tx.identities_of(&user.id).await?;
        let is_this = |app: &str, open: &str| app == app_id && open == openid;
        if !identities.iter().any(|row| is_this(&row.app_id, &row.openid)) {
            return Err(AdministrationError::NoIdentity {
                user: called(user).to_owned(),
                identity: format!("{app_id}:{openid}"),
            });
        }
        if identities.len() == 1 && !force {
            return Err(AdministrationError::LastIdentity(introduced(user)));
        }
        tx.end_all_of(&user.id, "unbound", now).await?;
        tx.delete_identity(&user.id, app_id, openid, now).await?;
        let details = json!({ "app_id": app_id });
        tx.insert_audit(&[event(AuditKind::Unbind, &user.id, now, Some("operator"), Some(details))])
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Makes the one code with which a person can bind an identity to this account. One that was there before and was not
    /// used is worth nothing any more.
    ///
    /// # Errors
    /// [`AdministrationError`].
    pub async fn issue_bind_code(
        &self,
        user: &User,
        lifetime: Duration,
        now: i64,
    ) -> Result<IssuedCode, AdministrationError> {
        if user.service {
            return Err(AdministrationError::Service(introduced(user)));
        }
        if user.disabled {
            return Err(AdministrationError::Disabled(introduced(user)));
        }
        let code = proof::new_bind_code()?;
        // Before the transaction: hashing is slow on purpose, and others wait for the store.
        let hash = proof::hash(&proof::normalise_bind_code(code.expose_secret())).await?;
        let expires_at = now.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
        let row = NewBindCode {
            id: new_user_id()?.replacen("u_", "b_", 1),
            user_id: user.id.clone(),
            hash,
            created_at: now,
            expires_at,
        };
        let mut tx = self.store().directory().await?;
        present(&mut tx, &user.id).await?;
        tx.replace_bind_code(&row).await?;
        let details = json!({ "expires_at": expires_at });
        tx.insert_audit(&[event(AuditKind::BindCodeIssued, &user.id, now, None, Some(details))])
            .await?;
        tx.commit().await?;
        Ok(IssuedCode { code, expires_at })
    }
}

/// A record of what an operator did.
pub(super) fn event(kind: AuditKind, user_id: &str, at: i64, reason: Option<&str>, details: Option<Value>) -> AuditRow {
    AuditRow {
        kind: kind.as_str().to_owned(),
        at,
        user_id: Some(user_id.to_owned()),
        reason: reason.map(str::to_owned),
        details: details.map(|details| details.to_string()),
        ..AuditRow::default()
    }
}

/// The user, in the transaction.
pub(super) async fn present(tx: &mut WriteTx, id: &str) -> Result<User, AdministrationError> {
    tx.user(id)
        .await?
        .ok_or_else(|| AdministrationError::Gone(id.to_owned()))
}

/// Says who has a name or number, before the store says no more than that somebody has.
async fn free(
    tx: &mut WriteTx,
    id: Option<&str>,
    username: Option<&str>,
    phone: Option<&str>,
) -> Result<(), AdministrationError> {
    let mut holders = Vec::new();
    if let Some(username) = username {
        holders.push(("username", tx.user_by_username(username).await?));
    }
    if let Some(phone) = phone {
        holders.push(("phone number", tx.user_by_phone(phone).await?));
    }
    for (what, holder) in holders {
        if let Some(holder) = holder.filter(|holder| Some(holder.id.as_str()) != id) {
            return Err(AdministrationError::Taken {
                what,
                holder: introduced(&holder),
            });
        }
    }
    Ok(())
}

/// Of a change only what is different, and the names of these fields.
fn differing(before: &User, change: UserChange, attributes: AttributeEdits) -> (UserChange, Vec<&'static str>) {
    let mut fields = Vec::new();
    let mut field = |name, new: Option<Option<String>>, old: &Option<String>| {
        new.filter(|new| new != old).inspect(|_| fields.push(name))
    };
    let mut left = UserChange {
        username: field("username", change.username, &before.username),
        name: field("name", change.name, &before.name),
        picture: field("picture", change.picture, &before.picture),
        phone: field("phone", change.phone, &before.phone),
        email: field("email", change.email, &before.email),
        ..UserChange::default()
    };
    if let Some(groups) = change.groups.filter(|groups| *groups != before.groups) {
        left.groups = Some(groups);
        fields.push("groups");
    }
    let edited = edited(&before.attributes, attributes);
    if edited != before.attributes {
        left.attributes = Some(edited);
        fields.push("attributes");
    }
    // Two hashes of one password differ.
    if let Some(hash) = change
        .password_hash
        .filter(|hash| hash.is_some() || before.has_password)
    {
        left.password_hash = Some(hash);
        fields.push("password");
    }
    (left, fields)
}

fn edited(before: &Map<String, Value>, edits: AttributeEdits) -> Map<String, Value> {
    let mut attributes = before.clone();
    for (key, value) in edits {
        match value {
            Some(value) => attributes.insert(key, Value::from(value)),
            None => attributes.remove(&key),
        };
    }
    attributes
}

#[cfg(test)]
#[path = "administration_tests.rs"]
mod tests;
