//! Why a call to WeChat failed: for the login, which must know what to tell the phone, and for the operator, who must
//! know what to repair.
//!
//! An error keeps WeChat's number and trace id and never its text: `errmsg` is unstable, may repeat what was sent, and
//! is not ours to trust. It is cloned to everybody who waited for one token.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use crate::wechat::codes::{Class, ErrorCode, Pause, UNKNOWN_REMEDY};
use crate::wechat::endpoint::{CallResult, Endpoint};
use crate::wechat::unlimited_code::CodeRequestError;

/// A call that did not give what was asked for. `Display` is for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WechatError {
    /// WeChat answered with an error code.
    #[error("{0}")]
    Refused(Refusal),
    /// No complete answer.
    #[error("{endpoint}: {failure}")]
    Transport {
        /// The call.
        endpoint: Endpoint,
        /// What happened on the way.
        failure: TransportFailure,
    },
    /// An answer that is not WeChat's protocol.
    #[error("{endpoint}: {reason}")]
    BadAnswer {
        /// The call.
        endpoint: Endpoint,
        /// What is wrong with it.
        reason: BadAnswer,
    },
    /// Not called, because an earlier answer said that it is pointless for a while.
    #[error("not called for another {} s after: {cause}", retry_after.as_secs())]
    Paused {
        /// Until the call is made again.
        retry_after: Duration,
        /// The answer that began the pause.
        cause: Refusal,
    },
    /// Not called, to stay below WeChat's limit for this account.
    #[error("{endpoint}: not called, to stay below the account's limit")]
    RateLimited {
        /// The call.
        endpoint: Endpoint,
        /// Until the next call is free.
        retry_after: Duration,
    },
    /// WeChat refuses the token that it hands out itself, and a new one may not be forced yet.
    #[error("WeChat refuses its own stable token; a new one can be forced in {} s", retry_after.as_secs())]
    TokenHeld {
        /// Until a new one may be forced.
        retry_after: Duration,
    },
    /// What the phone sent cannot be a code; WeChat was not asked.
    #[error("{endpoint}: not a code")]
    NotACode {
        /// The call that it was meant for.
        endpoint: Endpoint,
    },
    /// The request for a code image is against WeChat's rules; WeChat was not asked.
    #[error("code image: {0}")]
    CodeRequest(#[from] CodeRequestError),
    /// The phone number does not carry this app's watermark of now.
    #[error("phone number: {0}")]
    Watermark(WatermarkFault),
}

/// An answer with an `errcode`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint}: WeChat answered {code} ({}), rid {}", self.name(), rid.as_deref().unwrap_or("-"))]
pub struct Refusal {
    /// The call.
    pub endpoint: Endpoint,
    /// `errcode`
    pub code: i64,
    /// WeChat's trace id, which resolves for seven days.
    pub rid: Option<Box<str>>,
    /// The address that WeChat saw, where it names one (40164).
    pub address: Option<IpAddr>,
}

/// What happened on the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportFailure {
    /// No connection: the request provably never left.
    #[error("cannot be reached: {detail}")]
    NotConnected {
        /// Of name resolution, TCP, TLS or the egress proxy.
        detail: Box<str>,
    },
    /// No complete answer in time.
    #[error("{}", if *answered { "the answer did not end in time" } else { "no answer in time" })]
    TimedOut {
        /// The head of an answer had arrived.
        answered: bool,
    },
    /// The connection broke.
    #[error("the connection broke {}: {detail}", if *answered { "within the answer" } else { "before an answer" })]
    Broken {
        /// The head of an answer had arrived.
        answered: bool,
        /// What the connection reported.
        detail: Box<str>,
    },
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// No body. WeChat does this for nonsense credentials too.
    #[error("empty answer with status {status}")]
    Empty {
        /// HTTP status.
        status: u16,
    },
    /// A failure of a server in between, or an outage.
    #[error("answer with status {status}")]
    Status {
        /// HTTP status.
        status: u16,
    },
    /// WeChat does not redirect; following would carry the secret elsewhere.
    #[error("redirect (status {status}) not followed")]
    Redirect {
        /// HTTP status.
        status: u16,
    },
    /// More than such an answer can have.
    #[error("answer longer than {limit} bytes")]
    TooLarge {
        /// Bytes that were accepted.
        limit: usize,
    },
    /// Neither JSON nor, where one was asked for, an image.
    #[error("answer of an unknown kind")]
    UnknownKind,
    /// JSON without what was asked for, or with something impossible.
    #[error("answer without a usable {0}")]
    Lacks(&'static str),
}

/// What is wrong with a watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatermarkFault {
    /// Made for another AppID.
    #[error("made for another AppID")]
    OtherApp,
    /// Made too long ago, or in the future.
    #[error("made {age} s ago by this machine's clock")]
    NotNow {
        /// Seconds; negative in the future.
        age: i64,
    },
}

/// What a failed call means for a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The login code is spent or wrong: `wx.login` again.
    CodeInvalid,
    /// The phone number code is spent or wrong: the button again.
    PhoneCodeInvalid,
    /// WeChat refuses this person.
    RefusedPerson,
    /// Overloaded or over a quota.
    Busy {
        /// When to come back, where that is known.
        retry_after: Option<Duration>,
    },
    /// Cannot be reached, or answers nonsense. Whether a code was spent is not known.
    Unavailable,
    /// The operator must act.
    Misconfigured,
}

impl Refusal {
    /// The row of the table, if the code is known on this call.
    pub fn known(&self) -> Option<&'static ErrorCode> {
        ErrorCode::find(self.endpoint, self.code)
    }

    /// Short name for logs.
    pub fn name(&self) -> &'static str {
        self.known().map_or("unknown", |row| row.name)
    }

    /// What kind of refusal this is.
    pub fn class(&self) -> Class {
        self.known().map_or(Class::Unknown, |row| row.class)
    }

    /// What the operator does about it.
    pub fn remedy(&self) -> Cow<'static, str> {
        let remedy = self.known().map_or(UNKNOWN_REMEDY, |row| row.remedy);
        match self.address {
            Some(address) => format!("{remedy} WeChat saw the address {address}.").into(),
            None => remedy.into(),
        }
    }

    pub(crate) fn pause(&self) -> Pause {
        self.known().map_or(Pause::None, |row| row.pause)
    }

    fn outcome(&self, retry_after: Option<Duration>) -> Outcome {
        match (self.class(), self.endpoint) {
            (Class::CodeRefused, Endpoint::CodeToSession | Endpoint::OauthToken) => Outcome::CodeInvalid,
            (Class::CodeRefused, Endpoint::PhoneNumber) => Outcome::PhoneCodeInvalid,
            (Class::PersonRefused, _) => Outcome::RefusedPerson,
            (Class::Busy | Class::Quota | Class::TokenRejected, _) => Outcome::Busy { retry_after },
            (Class::CodeRefused | Class::Misconfigured | Class::Unknown, _) => Outcome::Misconfigured,
        }
    }
}

impl TransportFailure {
    /// Whether the request may have reached WeChat. If not, it may be sent again whatever it carries.
    pub fn request_left(&self) -> bool {
        !matches!(self, Self::NotConnected { .. })
    }
}

impl WechatError {
    /// What this means for a login.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(refusal) => refusal.outcome(None),
            Self::Paused { retry_after, cause } => cause.outcome(Some(*retry_after)),
            Self::RateLimited { retry_after, .. } | Self::TokenHeld { retry_after } => Outcome::Busy {
                retry_after: Some(*retry_after),
            },
            Self::Transport { .. } | Self::BadAnswer { .. } => Outcome::Unavailable,
            Self::NotACode {
                endpoint: Endpoint::PhoneNumber,
            }
            | Self::Watermark(WatermarkFault::NotNow { .. }) => Outcome::PhoneCodeInvalid,
            Self::NotACode { .. } => Outcome::CodeInvalid,
            Self::CodeRequest(_) | Self::Watermark(WatermarkFault::OtherApp) => Outcome::Misconfigured,
        }
    }

    /// What the operator does about it; English, one or two sentences.
    pub fn remedy(&self) -> Cow<'static, str> {
        match self {
            Self::Refused(refusal) | Self::Paused { cause: refusal, .. } => refusal.remedy(),
            Self::Transport { failure, .. } => match failure {
                TransportFailure::NotConnected { .. } => {
                    "Check that this machine resolves and reaches api_base on its port, directly or by the proxy of \
                     [wechat], and that nobody replaces WeChat's certificate."
                }
                TransportFailure::TimedOut { .. } | TransportFailure::Broken { .. } => {
                    "WeChat or the network is slow or broken. If it lasts, check the way to api_base and raise the \
                     timeout of [wechat]."
                }
            }
            .into(),
            Self::BadAnswer { reason, .. } => match reason {
                BadAnswer::Empty { status: 200 } => {
                    "WeChat answers nothing at all to credentials that make no sense: check app_id and app_secret, \
                     then api_base."
                }
                BadAnswer::Status { .. } | BadAnswer::Empty { .. } => {
                    "A server between here and WeChat, or WeChat itself, fails. If it lasts, check api_base and the \
                     proxy of [wechat]."
                }
                BadAnswer::Redirect { .. }
                | BadAnswer::TooLarge { .. }
                | BadAnswer::UnknownKind
                | BadAnswer::Lacks(_) => {
                    "This is not what WeChat answers. Check that api_base is right and that no proxy or filter \
                     answers in its place."
                }
            }
            .into(),
            Self::RateLimited { .. } => {
                "More codes are wanted than WeChat allows per minute. Use qr = \"link\", which needs no call.".into()
            }
            Self::TokenHeld { .. } => {
                "Another program forces new access tokens for this AppID (force_refresh). Have it use stable_token \
                 without it."
                    .into()
            }
            Self::NotACode { .. } => "Check what the mini program sends as the code.".into(),
            Self::CodeRequest(_) => "Check page and env_version of the connection.".into(),
            Self::Watermark(WatermarkFault::OtherApp) => {
                "Check that api_base is WeChat's own address: the phone number was made for another AppID.".into()
            }
            Self::Watermark(WatermarkFault::NotNow { .. }) => {
                "Check this machine's clock: the phone number's time is not now.".into()
            }
        }
    }

    /// WeChat's error code, if there was one.
    pub fn code(&self) -> Option<i64> {
        self.refusal().map(|refusal| refusal.code)
    }

    /// WeChat's trace id, if there was one.
    pub fn rid(&self) -> Option<&str> {
        self.refusal().and_then(|refusal| refusal.rid.as_deref())
    }

    /// The access token was not accepted.
    pub(crate) fn rejects_token(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.class() == Class::TokenRejected)
    }

    /// The same call may succeed in a moment. Only for calls that do no harm when made twice.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.class() == Class::Busy,
            Self::Transport { .. } => true,
            Self::BadAnswer { reason, .. } => matches!(reason, BadAnswer::Status { .. }),
            _ => false,
        }
    }

    /// The request provably never left.
    pub(crate) fn never_left(&self) -> bool {
        matches!(self, Self::Transport { failure, .. } if !failure.request_left())
    }

    /// How the exchange is counted.
    pub(crate) fn call_result(&self) -> CallResult {
        match self {
            Self::Refused(refusal) => CallResult::Refused {
                code: refusal.code,
                class: refusal.class(),
            },
            Self::Transport {
                failure: TransportFailure::NotConnected { .. },
                ..
            } => CallResult::NotConnected,
            Self::Transport {
                failure: TransportFailure::TimedOut { .. },
                ..
            } => CallResult::TimedOut,
            Self::Transport {
                failure: TransportFailure::Broken { .. },
                ..
            } => CallResult::Broken,
            _ => CallResult::BadAnswer,
        }
    }

    fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Paused { cause: refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::wechat::codes::ERROR_CODES;

    fn refusal(endpoint: Endpoint, code: i64) -> Refusal {
        Refusal {
            endpoint,
            code,
            rid: None,
            address: None,
        }
    }

    #[test]
    fn every_known_code_has_a_class_an_outcome_and_a_remedy_on_every_call() {
        for row in ERROR_CODES {
            for endpoint in Endpoint::ALL {
                for code in row.codes.clone() {
                    let refusal = refusal(endpoint, code);
                    let Some(known) = refusal.known() else { continue };
                    let error = WechatError::Refused(refusal);
                    assert!(!error.remedy().is_empty(), "{code} on {endpoint}");
                    let expected = match known.class {
                        Class::TokenRejected | Class::Busy | Class::Quota => Outcome::Busy { retry_after: None },
                        Class::CodeRefused => match endpoint {
                            Endpoint::CodeToSession | Endpoint::OauthToken => Outcome::CodeInvalid,
                            Endpoint::PhoneNumber => Outcome::PhoneCodeInvalid,
                            Endpoint::StableToken
                            | Endpoint::UnlimitedCode
                            | Endpoint::Quota
                            | Endpoint::UserInfo
                            | Endpoint::AccountCode
                            | Endpoint::Follower
                            | Endpoint::UrlLink
                            | Endpoint::Scheme => Outcome::Misconfigured,
                        },
                        Class::PersonRefused => Outcome::RefusedPerson,
                        Class::Misconfigured | Class::Unknown => Outcome::Misconfigured,
                    };
                    assert_eq!(error.outcome(), expected, "{code} on {endpoint}");
                }
            }
        }
    }

    #[test]
    fn an_unknown_code_is_reported_with_its_number_and_trace_id() {
        let error = WechatError::Refused(Refusal {
            rid: Some("abc-def".into()),
            ..refusal(Endpoint::PhoneNumber, 61)
        });
        assert_eq!(error.outcome(), Outcome::Misconfigured);
        assert_eq!(
            error.to_string(),
            "getuserphonenumber: WeChat answered 61 (unknown), rid abc-def"
        );
        assert_eq!((error.code(), error.rid()), (Some(61), Some("abc-def")));
        assert_eq!(error.remedy(), UNKNOWN_REMEDY);
    }

    #[test]
    fn the_address_that_wechat_saw_is_in_the_remedy() {
        let address = Some("203.0.113.7".parse().unwrap());
        let error = WechatError::Refused(Refusal {
            address,
            ..refusal(Endpoint::StableToken, 40164)
        });
        assert!(error.remedy().contains("203.0.113.7"), "{}", error.remedy());
    }

    #[test]
    fn a_pause_has_the_outcome_of_its_cause_and_says_when_it_ends() {
        let retry_after = Duration::from_secs(30);
        let paused = |endpoint, code| {
            WechatError::Paused {
                retry_after,
                cause: refusal(endpoint, code),
            }
            .outcome()
        };
        assert_eq!(
            paused(Endpoint::UnlimitedCode, 45009),
            Outcome::Busy {
                retry_after: Some(retry_after)
            }
        );
        assert_eq!(paused(Endpoint::StableToken, 40125), Outcome::Misconfigured);
    }

    #[test]
    fn only_a_connection_that_never_was_lets_a_code_be_sent_again() {
        let detail: Box<str> = "x".into();
        let cases = [
            (TransportFailure::NotConnected { detail: detail.clone() }, true),
            (TransportFailure::TimedOut { answered: false }, false),
            (TransportFailure::TimedOut { answered: true }, false),
            (
                TransportFailure::Broken {
                    answered: false,
                    detail: detail.clone(),
                },
                false,
            ),
            (TransportFailure::Broken { answered: true, detail }, false),
        ];
        for (failure, never_left) in cases {
            let error = WechatError::Transport {
                endpoint: Endpoint::CodeToSession,
                failure,
            };
            assert_eq!(error.never_left(), never_left, "{error:?}");
            assert_eq!(error.outcome(), Outcome::Unavailable);
            assert!(!error.remedy().is_empty());
        }
    }
}
