//! Who a WeChat identity turns out to be: the rule.
//!
//! Pure: what was found in the directory goes in, what to do comes out. Two things it never does: join two people
//! silently, and make a new user in place of one that is disabled. A phone number proves a person only once, to an
//! account that nobody has ever logged in to with this kind of identity: numbers are given to other people.

use crate::config::settings::{Association, Connection, PhonePolicy};

/// What a connection allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What to do with an identity that nobody has.
    pub association: Association,
    /// No new users.
    pub login_only: bool,
    /// Whether a number is needed.
    pub phone: PhonePolicy,
}

/// A user that was found, as far as the rule cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// User id.
    pub user_id: String,
    /// May not log in.
    pub disabled: bool,
    /// Has a number already.
    pub has_phone: bool,
}

/// The user who has the number that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneOwner {
    /// Who.
    pub candidate: Candidate,
    /// Has an identity of this app, or of its Open Platform account.
    pub has_identity: bool,
}

/// What the directory knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// By (appid, openid).
    pub by_openid: Option<Candidate>,
    /// By (Open Platform account, unionid): every different user.
    pub by_unionid: Vec<Candidate>,
    /// By the number that was given.
    pub by_phone: Option<PhoneOwner>,
}

/// What proves that the identity is the user's; what was not found is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The identity is recorded; a unionid may have to be added.
    Openid,
    /// Another identity of the same person is recorded.
    Unionid,
    /// The verified number is the user's.
    Phone,
    /// A proof of the account was given.
    Proof,
}

/// What both screens should say about the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneNote {
    /// Somebody else has it; the login went on without.
    Taken,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The browser asks whether to bind an account or, where allowed, to create one.
    Ask {
        /// Creating is a choice.
        may_create: bool,
    },
    /// A new user with this identity.
    Create {
        /// Write the number.
        write_phone: bool,
        /// What to say about it.
        phone_note: Option<PhoneNote>,
    },
    /// This user.
    Use {
        /// User id.
        user_id: String,
        /// Why.
        link: Link,
        /// Write the number.
        write_phone: bool,
        /// What to say about it.
        phone_note: Option<PhoneNote>,
    },
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The proven account has another identity of this app.
    #[error("the account has an identity of this app already")]
    AccountBound,
    /// Identities of one person point at different users.
    #[error("the identities of this person belong to different users")]
    AmbiguousAccount,
    /// No user, and none may be made.
    #[error("nobody has this identity, and the connection makes no users")]
    NoAccount,
    /// The connection needs a number.
    #[error("the connection needs a phone number")]
    PhoneRequired,
    /// Somebody else has the number.
    #[error("another user has this phone number")]
    PhoneTaken,
    /// The user may not log in.
    #[error("the user is disabled")]
    UserDisabled,
}

impl Policy {
    /// Of a connection.
    #[must_use]
    pub fn of(connection: &Connection) -> Self {
        Self {
            association: connection.association.clone(),
            login_only: connection.login_only,
            phone: connection.phone,
        }
    }
}

impl PhoneNote {
    /// As it is stored with the ticket.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
        }
    }
}

/// Decides. `phone_given` says that the person gave a verified number, which `findings.by_phone` is about.
///
/// # Errors
/// A [`Refusal`].
pub fn decide(findings: &Findings, policy: &Policy, phone_given: bool) -> Result<Decision, Refusal> {
    let phone_given = phone_given && policy.phone != PhonePolicy::Never;
    let phone_missing = policy.phone == PhonePolicy::Required && !phone_given;
    let owner = findings.by_phone.as_ref().filter(|_| phone_given);
    if let Some((user, link)) = known(findings)? {
        if user.disabled {
            return Err(Refusal::UserDisabled);
        }
        let number = if user.has_phone {
            Number::NotNeeded
        } else {
            Number::given(phone_given, owner)
        };
        if phone_missing && !user.has_phone {
            return Err(Refusal::PhoneRequired);
        }
        let (write_phone, phone_note) = number.settle(policy)?;
        return Ok(Decision::Use {
            user_id: user.user_id.clone(),
            link,
            write_phone,
            phone_note,
        });
    }
    match policy.association {
        Association::None if policy.login_only => Err(Refusal::NoAccount),
        // Whoever is about to be asked for an account, or found by the number, gives the number first.
        _ if phone_missing => Err(Refusal::PhoneRequired),
        Association::Ask { .. } => Ok(Decision::Ask {
            may_create: !policy.login_only,
        }),
        Association::Field => match owner {
            Some(owner) => join(owner),
            None if policy.login_only => Err(Refusal::NoAccount),
            None => Ok(Decision::Create {
                write_phone: phone_given,
                phone_note: None,
            }),
        },
        Association::None => {
            let (write_phone, phone_note) = Number::given(phone_given, owner).settle(policy)?;
            Ok(Decision::Create {
                write_phone,
                phone_note,
            })
        }
    }
}

/// Decides about an account that was proven in the browser. `has_identity` says that it has an identity of this app.
///
/// # Errors
/// A [`Refusal`].
pub fn decide_proven(
    findings: &Findings,
    proven: &Candidate,
    has_identity: bool,
    policy: &Policy,
    phone_given: bool,
) -> Result<Decision, Refusal> {
    match known(findings)? {
        // Bound meanwhile, by this very proof or through another app: what is known decides.
        Some((user, _)) if user.user_id == proven.user_id => return decide(findings, policy, phone_given),
        Some(_) => return Err(Refusal::AmbiguousAccount),
        None if proven.disabled => return Err(Refusal::UserDisabled),
        None if has_identity => return Err(Refusal::AccountBound),
        None => {}
    }
    take(findings, proven, policy, phone_given)
}

/// Decides about a further identity for `holder`, who is signed in and asked for it. `has_identity` says that they have one
/// of this app: also this very one.
///
/// # Errors
/// A [`Refusal`].
pub fn decide_connecting(
    findings: &Findings,
    holder: &Candidate,
    has_identity: bool,
    policy: &Policy,
    phone_given: bool,
) -> Result<Decision, Refusal> {
    if holder.disabled {
        return Err(Refusal::UserDisabled);
    }
    match known(findings)? {
        Some((user, _)) if user.user_id != holder.user_id => Err(Refusal::AccountBound),
        _ if has_identity => Err(Refusal::AccountBound),
        // By unionid it may be theirs already: what is recorded is another app's.
        _ => take(findings, holder, policy, phone_given),
    }
}

/// The account takes the identity, and the number where that is allowed.
fn take(findings: &Findings, proven: &Candidate, policy: &Policy, phone_given: bool) -> Result<Decision, Refusal> {
    let phone_given = phone_given && policy.phone != PhonePolicy::Never;
    let owner = findings.by_phone.as_ref().filter(|_| phone_given);
    let number = match (proven.has_phone, phone_given) {
        (true, _) => Number::NotNeeded,
        (false, false) if policy.phone == PhonePolicy::Required => return Err(Refusal::PhoneRequired),
        (false, given) => Number::given(given, owner),
    };
    let (write_phone, phone_note) = number.settle(policy)?;
    Ok(Decision::Use {
        user_id: proven.user_id.clone(),
        link: Link::Proof,
        write_phone,
        phone_note,
    })
}

/// The user that the identity itself points at.
fn known(findings: &Findings) -> Result<Option<(&Candidate, Link)>, Refusal> {
    match (&findings.by_openid, findings.by_unionid.as_slice()) {
        (None, []) => Ok(None),
        (Some(user), []) => Ok(Some((user, Link::Openid))),
        (Some(user), [other]) if user.user_id == other.user_id => Ok(Some((user, Link::Openid))),
        (None, [user]) => Ok(Some((user, Link::Unionid))),
        _ => Err(Refusal::AmbiguousAccount),
    }
}

/// The owner of the number gets the identity, if it is the first of its kind.
fn join(owner: &PhoneOwner) -> Result<Decision, Refusal> {
    if owner.has_identity {
        return Err(Refusal::PhoneTaken);
    }
    if owner.candidate.disabled {
        return Err(Refusal::UserDisabled);
    }
    let user_id = owner.candidate.user_id.clone();
    Ok(Decision::Use {
        user_id,
        link: Link::Phone,
        write_phone: false,
        phone_note: None,
    })
}

/// What can be done with a number for somebody who has none.
enum Number {
    Free,
    NotNeeded,
    Taken,
}

impl Number {
    fn given(given: bool, owner: Option<&PhoneOwner>) -> Self {
        match (given, owner) {
            (false, _) => Self::NotNeeded,
            (true, None) => Self::Free,
            (true, Some(_)) => Self::Taken,
        }
    }

    /// Whether to write it, and what to say about it.
    fn settle(&self, policy: &Policy) -> Result<(bool, Option<PhoneNote>), Refusal> {
        match self {
            Self::Free => Ok((true, None)),
            Self::NotNeeded => Ok((false, None)),
            Self::Taken if policy.phone == PhonePolicy::Required => Err(Refusal::PhoneTaken),
            Self::Taken => Ok((false, Some(PhoneNote::Taken))),
        }
    }
}

#[cfg(test)]
#[path = "resolve_rules_tests.rs"]
mod rules_tests;
#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
