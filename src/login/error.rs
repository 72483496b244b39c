//! Why a step of a login was refused, by who can do something about it.

use std::sync::Arc;

use tracing::{info, warn};

use crate::login::entry::EntryRefusal;
use crate::login::limits::TooMany;
use crate::store::StoreError;
use crate::wechat::{Outcome, WechatError};

/// A refusal. The variants are what a client is told; the sources are for the log.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Unknown, foreign and forged tickets alike.
    #[error("no such ticket")]
    Unknown,
    /// Too late.
    #[error("the ticket has expired")]
    Expired,
    /// The person said no, here or there.
    #[error("the ticket was cancelled")]
    Cancelled,
    /// Another person's phone has it.
    #[error("another person scanned this ticket")]
    Taken,
    /// Not in this state.
    #[error("the ticket is not in a state for this")]
    WrongState,
    /// The browser's half has not been shown to this phone.
    #[error("the phone has not been shown what it would confirm")]
    BrowserAbsent,
    /// The mini program was opened in a way that this ticket was not made for.
    #[error(transparent)]
    EntryRefused(#[from] EntryRefusal),
    /// The session that asked for this has ended, or it is another one's.
    #[error("the session that asked for this is not here any more")]
    SessionEnded,
    /// The connection needs the phone number.
    #[error("the phone number is required")]
    PhoneRequired,
    /// The ticket ended without a session.
    #[error("the login failed: {}", .0.as_str())]
    Ended(Ending),
    /// The account that the browser chose was refused; it may choose again.
    #[error("the account is not bound: {}", .0.as_str())]
    NotBound(Ending),
    /// WeChat refused or did not answer; [`WechatError::outcome`] says what that means.
    #[error("WeChat: {0}")]
    Wechat(#[source] Arc<WechatError>),
    /// A virtual account: a snapshot page asked.
    #[error("WeChat showed the page as a snapshot, whose person is nobody")]
    Snapshot,
    /// WeChat says who somebody is to the account that they follow, and they do not.
    #[error("the person does not follow the service account")]
    NotFollowing,
    /// A refresh token that is none, or none any more.
    #[error("the refresh token is unknown, ended or was used before")]
    TokenRefused,
    /// Too many.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Sealing or randomness failed: no key is active, or the system is broken.
    #[error("cannot seal: {0}")]
    Seal(&'static str),
}

/// How a ticket ends without a session, as both screens say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The chosen account has another identity of this app.
    AccountBound,
    /// Two identities of one person point at different users.
    AmbiguousAccount,
    /// The mini program was opened in a way that this ticket was not made for.
    EntryRefused,
    /// No user, and none may be made.
    NoAccount,
    /// Somebody else has this number.
    PhoneTaken,
    /// Too many proofs of accounts were wrong.
    ProofWrong,
    /// The account is disabled.
    UserDisabled,
    /// The wrong number was chosen.
    WrongNumber,
}

impl LoginError {
    /// A failure of WeChat's, written to the log with what the operator can do about it.
    pub(crate) fn wechat(connection: &str, error: impl Into<Arc<WechatError>>) -> Self {
        let error = error.into();
        match error.outcome() {
            // A person with a stale code is no news.
            Outcome::CodeInvalid | Outcome::PhoneCodeInvalid => info!(connection, %error, "WeChat refused a code"),
            Outcome::RefusedPerson => info!(connection, %error, "WeChat refused a person"),
            Outcome::Busy { .. } | Outcome::Unavailable | Outcome::Misconfigured => {
                warn!(connection, %error, remedy = %error.remedy(), "WeChat call failed");
            }
        }
        Self::Wechat(error)
    }
}

impl Ending {
    const ALL: [Self; 8] = [
        Self::AccountBound,
        Self::AmbiguousAccount,
        Self::EntryRefused,
        Self::NoAccount,
        Self::PhoneTaken,
        Self::ProofWrong,
        Self::UserDisabled,
        Self::WrongNumber,
    ];

    /// As the ticket's row and the contract have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccountBound => "account_bound",
            Self::AmbiguousAccount => "ambiguous_account",
            Self::EntryRefused => "entry_refused",
            Self::NoAccount => "no_account",
            Self::PhoneTaken => "phone_taken",
            Self::ProofWrong => "proof_wrong",
            Self::UserDisabled => "user_disabled",
            Self::WrongNumber => "wrong_number",
        }
    }

    /// From the row.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.as_str() == text)
    }
}
