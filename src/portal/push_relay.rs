//! What no login is about, on its way to the program that answers it, and back.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use tracing::warn;

use crate::config::settings::Connection;
use crate::login::official_account::OfficialAccountDesk;
use crate::portal::Inner;
use crate::portal::push::{nothing, xml};
use crate::portal::relay::{RelayFault, Relayed};
use crate::wechat::PushMessage;

/// A message as it came from WeChat, and what it says.
#[derive(Debug)]
pub(super) struct Arrived<'a> {
    pub(super) message: &'a PushMessage,
    /// WeChat's number in its signature.
    pub(super) nonce: &'a str,
    /// As it stood behind the address.
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
}

impl Inner {
    /// What no login is about goes on to whoever answers it.
    pub(super) async fn hand_on(
        &self,
        connection: &Connection,
        account: &OfficialAccountDesk,
        arrived: Arrived<'_>,
        time: Duration,
    ) -> Response<Body> {
        let answered = match self.ask_relay(connection, account, arrived, time).await {
            None => Ok((nothing(), "unhandled")),
            Some(Ok(response)) => Ok((response, "relayed")),
            Some(Err(fault)) => Err(fault),
        };
        let (response, result) = answered.unwrap_or_else(|fault| {
            warn!(connection = connection.id, %fault, "relay_url did not answer a message");
            (nothing(), "relay_failed")
        });
        self.login.metrics.pushed(&connection.id, result);
        response
    }

    async fn ask_relay(
        &self,
        connection: &Connection,
        account: &OfficialAccountDesk,
        arrived: Arrived<'_>,
        time: Duration,
    ) -> Option<Result<Response<Body>, RelayFault>> {
        let (headers, nonce) = (arrived.headers, arrived.nonce);
        let Some(seal) = &account.relay else {
            let relayed = self
                .relays
                .hand_on(&connection.id, arrived.query, headers, arrived.body, time)
                .await?;
            return Some(relayed.map(as_it_came));
        };
        let Ok(sealed) = seal.seal(arrived.message, nonce, self.login.clock.now()) else {
            return Some(Err(RelayFault::NotEncrypted));
        };
        let body = Bytes::from(sealed.body);
        let relayed = self
            .relays
            .hand_on(&connection.id, &sealed.query, headers, body, time)
            .await?;
        Some(relayed.and_then(|relayed| {
            let Some(answer) = seal.open_answer(&relayed.body)? else {
                return Ok(nothing());
            };
            let wrapped = account.door.wrap(&answer, nonce, self.login.clock.now());
            Ok(xml(wrapped.map_err(|_| RelayFault::NotEncrypted)?))
        }))
    }
}

fn as_it_came(relayed: Relayed) -> Response<Body> {
    let mut response = Response::new(Body::from(relayed.body));
    let content_type = HeaderValue::from_static(harmless(relayed.content_type.as_ref()));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// The type of a relay's answer, as far as WeChat cares.
fn harmless(said: Option<&HeaderValue>) -> &'static str {
    let said = said.and_then(|said| said.to_str().ok()).unwrap_or_default();
    let essence = said.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("text/xml") {
        "text/xml"
    } else {
        "text/plain; charset=utf-8"
    }
}
