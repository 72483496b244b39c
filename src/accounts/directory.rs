//! Finds what the rule asks about and carries out what it says.
//!
//! A person who is known and brings nothing new is answered from reads alone; that is nearly every login. Anything that
//! writes runs in a transaction that holds the directory's lock, so that two logins of one new person at once make one
//! user, and a repetition after a lost answer finds what the first one did.

use crate::config::settings::PhonePolicy;
use crate::store::{IdentityRow, NewUser, Store, StoreError, User, UserChange, WriteTx};

use super::phone::Phone;
use super::resolve::{Candidate, Decision, Findings, Link, PhoneNote, PhoneOwner, Policy, Refusal, decide};
use super::user_id::{NoRandomness, new_user_id};

/// The people, and who a WeChat identity turns out to be.
#[derive(Debug, Clone)]
pub struct Directory {
    pub(super) store: Store,
}

/// What WeChat said about who is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WechatIdentity {
    /// App of the connection.
    pub app_id: String,
    /// The person, within the app.
    pub openid: String,
    /// The person, within the Open Platform account, if WeChat gave it.
    pub unionid: Option<String>,
    /// The connection's Open Platform account. Without one a unionid has no meaning and is not kept.
    pub open_platform: Option<String>,
}

/// What is known of whoever scans, before they have agreed to anything.
#[derive(Debug, Clone, PartialEq)]
pub enum Recognised {
    /// Their identities belong to different users.
    Ambiguous,
    /// A user who may not log in.
    Disabled(User),
    /// A user.
    Known(User),
    /// Nobody yet.
    Stranger,
}

/// Who it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The user, after all changes.
    pub user: User,
    /// Made just now.
    pub created: bool,
    /// Was there, and has this identity since just now.
    pub bound: bool,
    /// What to say about the number.
    pub phone_note: Option<PhoneNote>,
}

/// Why a login cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The account that was proven has another identity of this app.
    #[error("the account has an identity of this app already")]
    AccountBound,
    /// Identities of one person point at different users.
    #[error("the identities of this person belong to different users")]
    AmbiguousAccount,
    /// The browser has to choose an account first; nothing has been written.
    #[error("the browser has to choose an account first")]
    BindingNeeded {
        /// Creating a user is a choice.
        may_create: bool,
    },
    /// No user, and none may be made.
    #[error("nobody has this identity, and the connection makes no users")]
    NoAccount,
    /// The connection needs a number.
    #[error("the connection needs a phone number")]
    PhoneRequired,
    /// Somebody else has the number.
    #[error("another user has this phone number")]
    PhoneTaken,
    /// No id could be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The store did not do it. The login may be repeated.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user may not log in.
    #[error("the user is disabled")]
    UserDisabled,
}

impl Recognised {
    /// The user, if there is one who may log in.
    #[must_use]
    pub const fn user(&self) -> Option<&User> {
        match self {
            Self::Known(user) => Some(user),
            _ => None,
        }
    }
}

impl Directory {
    /// The directory in `store`.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// The user with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&self, id: &str) -> Result<Option<User>, StoreError> {
        self.store.user(id).await
    }

    /// Looks at who scans, and writes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recognise(&self, identity: &WechatIdentity) -> Result<Recognised, StoreError> {
        let seen = self.look(identity).await?;
        Ok(match seen.users.as_slice() {
            [] => Recognised::Stranger,
            [user] if user.disabled => Recognised::Disabled(user.clone()),
            [user] => Recognised::Known(user.clone()),
            _ => Recognised::Ambiguous,
        })
    }

    /// Says who it is, and records what is new: the identity, a unionid that arrived later, the number of a user who had none,
    /// a new user. All of it or nothing; the same call again gives the same user.
    ///
    /// # Errors
    /// [`ResolveError`]; then nothing was written.
    pub async fn resolve(
        &self,
        identity: &WechatIdentity,
        policy: &Policy,
        phone: Option<&Phone>,
        now: i64,
    ) -> Result<Resolved, ResolveError> {
        let phone = phone.filter(|_| policy.phone != PhonePolicy::Never);
        if let Some(resolved) = self.resolve_known(identity, policy, phone).await? {
            return Ok(resolved);
        }
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            match self.resolve_locked(identity, policy, phone, now).await {
                Err(error) if error.is_race() && attempts > 0 => {}
                result => return result,
            }
        }
    }

    /// The answer for somebody who is known and brings nothing new.
    async fn resolve_known(
        &self,
        identity: &WechatIdentity,
        policy: &Policy,
        phone: Option<&Phone>,
    ) -> Result<Option<Resolved>, ResolveError> {
        let seen = self.look(identity).await?;
        if !seen.complete {
            return Ok(None);
        }
        // Who has the number is not looked up here: it matters only where it would be written.
        match decide(&seen.findings, policy, phone.is_some())? {
            Decision::Use {
                write_phone: false,
                phone_note,
                ..
            } => Ok(seen.users.into_iter().next().map(|user| Resolved {
                user,
                created: false,
                bound: false,
                phone_note,
            })),
            _ => Ok(None),
        }
    }

    async fn resolve_locked(
        &self,
        identity: &WechatIdentity,
        policy: &Policy,
        phone: Option<&Phone>,
        now: i64,
    ) -> Result<Resolved, ResolveError> {
        let mut tx = self.store.directory().await?;
        let (findings, recorded) = find(&mut tx, identity, phone).await?;
        let decision = decide(&findings, policy, phone.is_some())?;
        let resolved = carry_out(&mut tx, identity, recorded, decision, phone, now).await?;
        tx.commit().await?;
        Ok(resolved)
    }

    /// Everything that the identity itself points at, by reads alone.
    async fn look(&self, identity: &WechatIdentity) -> Result<Seen, StoreError> {
        let by_openid = self.store.identity(&identity.app_id, &identity.openid).await?;
        let by_unionid = match identity.union() {
            Some((open_platform, unionid)) => self.store.identities_by_union(open_platform, unionid).await?,
            None => Vec::new(),
        };
        let complete = by_openid.as_ref().is_some_and(|row| identity.is_recorded_in(row));
        let mut users = Vec::new();
        for id in user_ids(by_openid.as_ref(), &by_unionid) {
            users.extend(self.store.user(id).await?);
        }
        let candidate = |id: &str| users.iter().find(|user| user.id == id).map(Candidate::from);
        let findings = Findings {
            by_openid: by_openid.as_ref().and_then(|row| candidate(&row.user_id)),
            by_unionid: user_ids(None, &by_unionid).into_iter().filter_map(candidate).collect(),
            by_phone: None,
        };
        Ok(Seen {
            findings,
            users,
            complete,
        })
    }
}

impl WechatIdentity {
    /// The unionid with the account that gives it its meaning.
    fn union(&self) -> Option<(&str, &str)> {
        self.open_platform.as_deref().zip(self.unionid.as_deref())
    }

    /// Whether the directory knows this unionid already, or there is none to know.
    fn is_recorded_in(&self, row: &IdentityRow) -> bool {
        self.union()
            .is_none_or(|union| row.open_platform.as_deref().zip(row.unionid.as_deref()) == Some(union))
    }

    fn row(&self, user_id: &str, now: i64) -> IdentityRow {
        IdentityRow {
            app_id: self.app_id.clone(),
            openid: self.openid.clone(),
            open_platform: self.open_platform.clone(),
            unionid: self.union().map(|(_, unionid)| unionid.to_owned()),
            user_id: user_id.to_owned(),
            created_at: now,
        }
    }
}

impl ResolveError {
    /// An operator's import took the number between our look and our write: look again.
    pub(super) const fn is_race(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict { .. }))
    }
}

impl From<&User> for Candidate {
    fn from(user: &User) -> Self {
        Self {
            user_id: user.id.clone(),
            disabled: user.disabled,
            has_phone: user.phone.is_some(),
        }
    }
}

impl From<Refusal> for ResolveError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::AccountBound => Self::AccountBound,
            Refusal::AmbiguousAccount => Self::AmbiguousAccount,
            Refusal::NoAccount => Self::NoAccount,
            Refusal::PhoneRequired => Self::PhoneRequired,
            Refusal::PhoneTaken => Self::PhoneTaken,
            Refusal::UserDisabled => Self::UserDisabled,
        }
    }
}

/// What a look without a lock found.
struct Seen {
    findings: Findings,
    /// Every different user that was found.
    users: Vec<User>,
    /// There is nothing about the identity left to record.
    complete: bool,
}

/// Does what was decided, in the transaction that the decision was made in. `recorded`: the unionid is.
pub(super) async fn carry_out(
    tx: &mut WriteTx,
    identity: &WechatIdentity,
    recorded: bool,
    decision: Decision,
    phone: Option<&Phone>,
    now: i64,
) -> Result<Resolved, ResolveError> {
    let (user_id, created, bound, phone_note) = match decision {
        Decision::Ask { may_create } => return Err(ResolveError::BindingNeeded { may_create }),
        Decision::Create {
            write_phone,
            phone_note,
        } => {
            let phone = phone.filter(|_| write_phone).map(|phone| phone.as_str().to_owned());
            let new = NewUser {
                id: new_user_id()?,
                phone,
                created_at: now,
                ..NewUser::default()
            };
            tx.insert_user(&new).await?;
            tx.insert_identity(&identity.row(&new.id, now)).await?;
            (new.id, true, false, phone_note)
        }
        Decision::Use {
            user_id,
            link,
            write_phone,
            phone_note,
        } => {
            if let Some(phone) = phone.filter(|_| write_phone) {
                let change = UserChange {
                    phone: Some(Some(phone.as_str().to_owned())),
                    ..UserChange::default()
                };
                tx.update_user(&user_id, &change, now).await?;
            }
            match (link, identity.union()) {
                (Link::Openid, Some((open_platform, unionid))) if !recorded => {
                    tx.set_unionid(&identity.app_id, &identity.openid, open_platform, unionid)
                        .await?;
                }
                (Link::Openid, _) => {}
                (Link::Unionid | Link::Phone | Link::Proof, _) => {
                    tx.insert_identity(&identity.row(&user_id, now)).await?;
                }
            }
            (user_id, false, link != Link::Openid, phone_note)
        }
    };
    let user = tx
        .user(&user_id)
        .await?
        .ok_or_else(|| StoreError::Broken(VANISHED.to_owned()))?;
    Ok(Resolved {
        user,
        created,
        bound,
        phone_note,
    })
}

/// Everything that the rule asks about, under the lock; and whether the unionid is recorded already.
pub(super) async fn find(
    tx: &mut WriteTx,
    identity: &WechatIdentity,
    phone: Option<&Phone>,
) -> Result<(Findings, bool), StoreError> {
    let by_openid = tx.identity(&identity.app_id, &identity.openid).await?;
    let by_unionid = match identity.union() {
        Some((open_platform, unionid)) => tx.identities_by_union(open_platform, unionid).await?,
        None => Vec::new(),
    };
    let mut findings = Findings::default();
    if let Some(row) = &by_openid {
        findings.by_openid = tx.user(&row.user_id).await?.as_ref().map(Candidate::from);
    }
    for id in user_ids(None, &by_unionid) {
        findings
            .by_unionid
            .extend(tx.user(id).await?.as_ref().map(Candidate::from));
    }
    if let Some(phone) = phone
        && let Some(owner) = tx.user_by_phone(phone.as_str()).await?
    {
        let identities = tx.identities_of(&owner.id).await?;
        // A program's account is nobody's to log in to.
        let has_identity = owner.service
            || identities.iter().any(|row| {
                row.app_id == identity.app_id
                    || (row.open_platform.is_some() && row.open_platform == identity.open_platform)
            });
        findings.by_phone = Some(PhoneOwner {
            candidate: Candidate::from(&owner),
            has_identity,
        });
    }
    let recorded = by_openid.as_ref().is_some_and(|row| identity.is_recorded_in(row));
    Ok((findings, recorded))
}

/// The different users of some identities.
fn user_ids<'a>(first: Option<&'a IdentityRow>, rest: &'a [IdentityRow]) -> Vec<&'a str> {
    let mut ids = Vec::new();
    for row in first.into_iter().chain(rest) {
        if !ids.contains(&row.user_id.as_str()) {
            ids.push(row.user_id.as_str());
        }
    }
    ids
}

/// A conflict needs an import at the same moment; two in a row are somebody's loop.
pub(super) const ATTEMPTS: u32 = 3;

const VANISHED: &str = "a user vanished inside a transaction";

#[cfg(test)]
#[path = "matrix_tests.rs"]
mod matrix_tests;
#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
