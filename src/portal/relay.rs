//! Where a service account's other messages go on: the program that answered them before.
//!
//! It gets what WeChat sent: signed and encrypted anew with keys of its own, where it has some; else byte by byte, with
//! WeChat's signature, and checks it with the same token and key. Then its answer is not looked at. It has a little less
//! time than WeChat gives, and whatever goes wrong is answered with `success`: WeChat shows everything else to the person
//! as an outage of the account.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::BytesMut;
use reqwest::redirect::Policy;
use url::Url;

use crate::config::Settings;
use crate::config::settings::ConnectionKind;
use crate::wechat::BadRelayAnswer;

/// The relays of all connections.
#[derive(Debug)]
pub struct Relays {
    client: Option<reqwest::Client>,
    addresses: HashMap<String, Url>,
}

/// No HTTP client can be set up.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client for relay_url can be set up: {0}")]
pub struct NoRelay(#[source] reqwest::Error);

/// What a relay answered.
#[derive(Debug)]
pub(super) struct Relayed {
    pub(super) content_type: Option<HeaderValue>,
    pub(super) body: Bytes,
}

/// Why there is no answer that WeChat could be given.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayFault {
    /// It cannot be reached, broke off, or took too long.
    #[error("{}", cause(.0))]
    Unreached(#[from] reqwest::Error),
    /// Redirects are not followed: the message would go to who knows whom.
    #[error("it answered with status {0}")]
    Status(u16),
    /// It has keys of its own, and answers with others.
    #[error(transparent)]
    Answer(#[from] BadRelayAnswer),
    /// The machine gives no randomness.
    #[error("the message cannot be encrypted")]
    NotEncrypted,
    /// No answer to WeChat is that long.
    #[error("its answer is longer than {MOST_BYTES} bytes")]
    TooLarge,
}

impl Relays {
    /// Of a configuration. Connects to nobody yet.
    ///
    /// # Errors
    /// [`NoRelay`].
    pub fn new(settings: &Settings) -> Result<Self, NoRelay> {
        let address = |connection: &crate::config::settings::Connection| match &connection.kind {
            ConnectionKind::OfficialAccountQr(account) => Some((connection.id.clone(), account.relay_url.clone()?)),
            _ => None,
        };
        let addresses: HashMap<_, _> = settings.connections.iter().filter_map(address).collect();
        let client = if addresses.is_empty() {
            None
        } else {
            Some(client().map_err(NoRelay)?)
        };
        Ok(Self { client, addresses })
    }

    /// Hands a message on; `None` where the connection has no relay.
    pub(super) async fn hand_on(
        &self,
        connection: &str,
        query: &str,
        headers: &HeaderMap,
        body: Bytes,
        time: Duration,
    ) -> Option<Result<Relayed, RelayFault>> {
        let (client, address) = self.client.as_ref().zip(self.addresses.get(connection))?;
        let mut request = client.post(with_query(address, query)).timeout(time).body(body);
        if let Some(content_type) = headers.get(header::CONTENT_TYPE) {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        Some(answer_of(request).await)
    }
}

async fn answer_of(request: reqwest::RequestBuilder) -> Result<Relayed, RelayFault> {
    let mut response = request.send().await?;
    if !response.status().is_success() {
        return Err(RelayFault::Status(response.status().as_u16()));
    }
    let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(RelayFault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Relayed {
        content_type,
        body: body.freeze(),
    })
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(concat!("menshen/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        // The egress proxy is the way to WeChat; this is a program of the operator's own.
        .no_proxy()
        .connect_timeout(CONNECTING)
        .pool_idle_timeout(IDLE_CONNECTION)
        .build()
}

/// The relay's own query, if it has one, and WeChat's behind it, as it came.
fn with_query(address: &Url, query: &str) -> Url {
    let mut address = address.clone();
    let joined = match address.query() {
        Some(own) if !own.is_empty() => format!("{own}&{query}"),
        _ => query.to_owned(),
    };
    address.set_query(Some(&joined));
    address
}

/// The innermost cause: the layers above it name the address, whose query holds WeChat's signature.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() {
        "it did not answer in time".to_owned()
    } else if std::ptr::eq(cause, error as &dyn std::error::Error) {
        "it cannot be reached".to_owned()
    } else {
        cause.to_string()
    }
}

/// Bytes of an answer; WeChat's texts end after 2,048.
const MOST_BYTES: usize = 64 * 1024;
const CONNECTING: Duration = Duration::from_secs(2);
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_query_of_wechat_stands_behind_the_relays_own_as_it_came() {
        let query = "signature=a%2Fb&timestamp=1&nonce=%E4%B8%AD&openid=o1";
        for (address, expected) in [
            ("https://crm.test/wechat", format!("https://crm.test/wechat?{query}")),
            ("https://crm.test/wechat?", format!("https://crm.test/wechat?{query}")),
            (
                "https://crm.test/wechat?key=1",
                format!("https://crm.test/wechat?key=1&{query}"),
            ),
        ] {
            assert_eq!(with_query(&address.parse().unwrap(), query).as_str(), expected);
        }
    }
}
