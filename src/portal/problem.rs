//! Refusals and their answers: the one place where a reason becomes a status, a text and a page.
//!
//! What a client reads comes from the catalogue of texts by the code; causes go to the log only. A handler returns a
//! [`Problem`]; the portal's outermost layer knows language, style and request id and writes the answer.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use tracing::{error, info};

use crate::gate::request_class::Class;
use crate::login::error::LoginError;
use crate::portal::code::Code;
use crate::store::StoreError;
use crate::wechat::Outcome;

/// A refusal on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable code, which has its status.
    pub code: Code,
    /// For `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Where scripts send the person: in the error of `login_required`.
    pub login_url: Option<String>,
    /// The origin that may read the answer.
    pub cors_origin: Option<String>,
}

/// Who reads the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A person: a page.
    Page,
    /// A program: JSON.
    Json,
    /// A gRPC client: trailers-only with a status.
    Grpc,
}

impl From<Class> for Style {
    fn from(class: Class) -> Self {
        match class {
            Class::Navigation | Class::Submission => Self::Page,
            Class::Grpc => Self::Grpc,
            Class::Script | Class::WebSocket => Self::Json,
        }
    }
}

/// The error object of the contract.
#[derive(Debug, Serialize)]
struct Envelope<'a> {
    error: ErrorObject<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorObject<'a> {
    code: &'a str,
    message: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_url: Option<&'a str>,
}

impl Problem {
    /// With nothing but its code.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            retry_after: None,
            login_url: None,
            cors_origin: None,
        }
    }

    /// The JSON of the contract.
    pub fn json(&self, message: &str, request_id: &str) -> Vec<u8> {
        let envelope = Envelope {
            error: ErrorObject {
                code: self.code.as_str(),
                message,
                request_id,
                login_url: self.login_url.as_deref(),
            },
        };
        // Strings only: this cannot fail.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }

    /// Header lines besides type and length.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(after) = self.retry_after.or(self.code.retry_after()) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            // RFC 6750 §3: who sent no token is told no error.
            let challenge = if self.code == Code::TokenInvalid {
                "Bearer realm=\"menshen\", error=\"invalid_token\""
            } else {
                "Bearer realm=\"menshen\""
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(origin) = self
            .cors_origin
            .as_deref()
            .and_then(|origin| HeaderValue::try_from(origin).ok())
        {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
            headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        }
        headers
    }

    /// The gRPC status that says the same.
    pub fn grpc_status(&self) -> u8 {
        match self.code.status().as_u16() {
            400 => 3,
            401 => 16,
            403 => 7,
            404 => 5,
            409 | 410 => 9,
            413 | 414 | 429 | 431 => 8,
            504 => 4,
            _ => 14,
        }
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        let code = match &error {
            LoginError::Unknown => Code::TicketUnknown,
            LoginError::Expired => Code::TicketExpired,
            LoginError::Cancelled => Code::TicketCancelled,
            LoginError::Taken => Code::TicketTaken,
            LoginError::WrongState => Code::WrongState,
            LoginError::BrowserAbsent => Code::BrowserAbsent,
            LoginError::EntryRefused(_) => Code::EntryRefused,
            LoginError::PhoneRequired => Code::PhoneRequired,
            LoginError::SessionEnded => {
                return Self {
                    login_url: Some("/.menshen/login".to_owned()),
                    ..Self::new(Code::LoginRequired)
                };
            }
            LoginError::Snapshot | LoginError::NotFollowing => Code::WechatRefused,
            LoginError::TokenRefused => Code::TokenInvalid,
            LoginError::Ended(ending) | LoginError::NotBound(ending) => {
                Code::parse(ending.as_str()).unwrap_or(Code::WrongState)
            }
            LoginError::TooMany(too_many) => {
                return Self {
                    retry_after: Some(too_many.retry_after),
                    ..Self::new(Code::RateLimited)
                };
            }
            LoginError::Wechat(cause) => match cause.outcome() {
                Outcome::CodeInvalid => Code::CodeInvalid,
                Outcome::PhoneCodeInvalid => Code::PhoneCodeInvalid,
                Outcome::RefusedPerson => Code::WechatRefused,
                Outcome::Busy { retry_after } => {
                    return Self {
                        retry_after,
                        ..Self::new(Code::WechatBusy)
                    };
                }
                Outcome::Unavailable => Code::WechatUnavailable,
                Outcome::Misconfigured => Code::WechatMisconfigured,
            },
            LoginError::Store(cause) => return Self::from_store(cause),
            LoginError::Seal(_) => {
                error!(%error, "login refused");
                return Self::new(Code::NotReady);
            }
        };
        info!(code = code.as_str(), %error, "login step refused");
        Self::new(code)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from_store(&error)
    }
}

impl Problem {
    fn from_store(error: &StoreError) -> Self {
        error!(%error, "store failed");
        Self::new(Code::StoreUnavailable)
    }
}

impl IntoResponse for Problem {
    /// A bare status that carries the problem; the portal's outermost layer writes the rest.
    fn into_response(self) -> Response<Body> {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl Code {
    /// When it makes sense to come back, where the code alone says so.
    fn retry_after(self) -> Option<Duration> {
        let seconds = match self {
            Self::NotReady | Self::StoreUnavailable | Self::UpstreamUnavailable => 5,
            Self::WechatBusy | Self::WechatUnavailable => 10,
            Self::RateLimited => 30,
            _ => return None,
        };
        Some(Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public contract: a changed line is a changed contract.
    #[test]
    fn codes_and_statuses_are_those_of_the_contract() {
        let mut lines: Vec<String> = Code::ALL
            .into_iter()
            .map(|code| format!("{} {}", code.status().as_u16(), code.as_str()))
            .collect();
        lines.sort_unstable();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn error_names_code_message_and_request() {
        let problem = Problem {
            login_url: Some("/x".into()),
            ..Problem::new(Code::LoginRequired)
        };
        assert_eq!(
            String::from_utf8_lossy(&problem.json("Please sign in", "r1")),
            r#"{"error":{"code":"login_required","message":"Please sign in","request_id":"r1","login_url":"/x"}}"#
        );
        assert_eq!(problem.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"menshen\"");
        assert_eq!(
            Problem::new(Code::TokenInvalid).headers()[header::WWW_AUTHENTICATE],
            "Bearer realm=\"menshen\", error=\"invalid_token\""
        );
    }

    #[test]
    fn every_refusal_that_passes_says_when_to_come_back() {
        for code in [
            Code::RateLimited,
            Code::StoreUnavailable,
            Code::WechatBusy,
            Code::NotReady,
        ] {
            assert!(
                Problem::new(code).headers().contains_key(header::RETRY_AFTER),
                "{code:?}"
            );
        }
    }
}
