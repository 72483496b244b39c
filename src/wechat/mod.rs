//! Clients for WeChat's servers.
//!
//! WeChat answers errors with status 200, JSON as `text/plain`, and images and their errors on the same address; its
//! access tokens are shared by everything that runs under one AppID; its login codes work once and an attempt may burn
//! them. So the body alone decides what an answer is ([`Transport`]), tokens are fetched in the way that disturbs no
//! other process ([`AccessTokens`]), and what carries a code is never sent twice after an answer ([`MiniProgram`],
//! [`Website`], [`OfficialAccount`]).
//!
//! Every failure is a [`WechatError`], which says to the login what to do next ([`Outcome`]) and to the operator what
//! to repair ([`WechatError::remedy`]). No error, log line or `Debug` output holds a secret, a token or a code:
//! addresses carry them in the query, so no address is ever printed.
//!
//! This module knows nothing of tickets, pages or HTTP status codes of the portal.

mod access_token;
mod answer;
mod breaker;
mod clock;
mod codes;
mod endpoint;
mod error;
#[cfg(test)]
mod fake;
mod mini_program;
mod oauth;
mod official_account;
mod open_link;
mod phone;
mod phone_fault;
mod quota;
mod transport;
mod unlimited_code;
mod website;

pub use access_token::AccessTokens;
pub use codes::{Class, ERROR_CODES, ErrorCode};
pub use endpoint::{CallResult, Endpoint, Observer};
pub use error::{BadAnswer, Outcome, Refusal, TransportFailure, WatermarkFault, WechatError};
pub use mini_program::{LoginIdentity, MiniProgram};
pub use oauth::{Person, Profile};
pub use official_account::OfficialAccount;
pub use open_link::{LinkKind, LinkRequest, OpenLink};
pub use phone::{PhoneNumber, PhoneNumberError};
pub use phone_fault::PhoneFault;
pub use quota::CallQuota;
pub use transport::{Transport, TransportError};
pub use unlimited_code::{CodeImage, CodeRequestError, UnlimitedCode};
pub use website::{Website, WebsiteLanguage};
