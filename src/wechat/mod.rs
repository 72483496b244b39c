//! Clients for WeChat's servers.
//!
//! WeChat answers errors with status 200, JSON as `text/plain`, and images and their errors on the same address; its
//! access tokens are shared by everything that runs under one AppID; its login codes work once and an attempt may burn
//! them. So the body alone decides what an answer is ([`Transport`]), tokens are fetched in the way that disturbs no
//! other process ([`AccessTokens`]), and what carries a code is never sent twice after an answer ([`MiniProgram`],
//! [`Website`], [`OfficialAccount`]). What WeChat itself sends is checked and unwrapped by [`PushDoor`].
//!
//! Every failure is a [`WechatError`], which says to the login what to do next ([`Outcome`]) and to the operator what
//! to repair ([`WechatError::remedy`]). No error, log line or `Debug` output holds a secret, a token or a code:
//! addresses carry them in the query, so no address is ever printed.
//!
//! This module knows nothing of tickets, pages or HTTP status codes of the portal.

mod access_token;
mod answer;
mod breaker;
mod call_budget;
mod clock;
mod codes;
mod endpoint;
mod error;
#[cfg(test)]
mod fake;
mod message_crypto;
mod mini_program;
mod oauth;
mod official_account;
mod open_link;
mod phone;
mod phone_fault;
mod push;
mod push_xml;
mod quota;
mod relay_seal;
mod service_account;
mod transport;
mod unlimited_code;
mod website;

pub use access_token::AccessTokens;
pub use codes::{Class, ERROR_CODES, ErrorCode};
pub use endpoint::{CallResult, Endpoint, Observer};
pub use error::{BadAnswer, Outcome, Refusal, TransportFailure, WatermarkFault, WechatError};
pub use message_crypto::{BadAesKey, MessageCrypto, NotEncrypted, Undecipherable};
pub use mini_program::{LoginIdentity, MiniProgram};
pub use oauth::{Person, Profile, check_oauth_code};
pub use official_account::OfficialAccount;
pub use open_link::{LinkKind, LinkRequest, OpenLink};
pub use phone::{PhoneNumber, PhoneNumberError};
pub use phone_fault::PhoneFault;
pub use push::{PushDoor, PushFault, PushKind, PushMessage, PushQuery, WINDOW as PUSH_WINDOW};
pub use push_xml::XmlFault;
pub use quota::CallQuota;
pub use relay_seal::{BadRelayAnswer, RelaySeal, SealedPush};
pub use service_account::{Follower, ServiceAccount};
pub use transport::{Transport, TransportError};
pub use unlimited_code::{CodeImage, CodeRequestError, UnlimitedCode};
pub use website::{Website, WebsiteLanguage};

/// What the fuzzer feeds foreign bytes to; the ordinary tests run the same.
#[doc(hidden)]
pub mod fuzzing {
    use crate::wechat::message_crypto::MessageCrypto;
    use crate::wechat::push::{PushDoor, PushQuery};

    /// The XML of a message, with its envelope or without.
    pub fn push_xml(data: &[u8]) {
        if let Ok(text) = std::str::from_utf8(data) {
            crate::wechat::push_xml::read(text);
        }
    }

    /// The crypto envelope, as text in base64 and as the bytes behind it.
    pub fn message_crypto(data: &[u8]) {
        let Ok(crypto) = MessageCrypto::new(KEY, "wx0123456789abcdef") else {
            return;
        };
        if let Ok(text) = std::str::from_utf8(data) {
            let _ = crypto.decrypt(text);
        }
        crypto.read_plain(data);
    }

    /// A whole request: its query up to the first empty line, then its body.
    pub fn push(door: &PushDoor, data: &[u8], now: i64) {
        let (query, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
            Some(at) => (&data[..at], &data[at + 2..]),
            None => (&[][..], data),
        };
        let query = String::from_utf8_lossy(query);
        let mut parts = query.split('\n');
        let mut next = || parts.next().unwrap_or_default();
        let query = PushQuery {
            signature: next(),
            timestamp: next(),
            nonce: next(),
            encrypt_type: Some(next()).filter(|text| !text.is_empty()),
            msg_signature: Some(next()).filter(|text| !text.is_empty()),
        };
        let _ = door.open(query, body, now);
    }

    const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
}
