//! Misbehaviour on order: what happens to the next calls of an endpoint instead of, or on top of, the true answer.
//!
//! `when` is what separates the two worst accidents of a login. `before`: WeChat never heard the question, the code is
//! still good. `after`: WeChat did its work and the answer was lost, the code is spent.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::endpoint::Endpoint;

/// An order to misbehave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where.
    pub endpoint: Endpoint,
    /// What.
    pub effect: Effect,
    /// For how many calls.
    #[serde(default = "once")]
    pub times: u32,
    /// Before or after the endpoint has done its work.
    #[serde(default)]
    pub when: When,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// This `errcode`.
    Error(i64),
    /// The true answer, this many milliseconds late.
    DelayMs(u64),
    /// No answer, until the client gives up.
    Hang,
    /// 200 with nothing in it.
    EmptyBody,
    /// This HTTP status with a page of HTML.
    Status(u16),
    /// The true answer, byte by byte, this many milliseconds apart.
    DripMs(u64),
    /// A JSON object that goes on for this many bytes.
    HugeBody(u64),
    /// 200 with a page of HTML, as a captive portal or a broken proxy answers.
    Garbage,
    /// A connection that breaks in the middle of the answer.
    HangUp,
    /// A phone number watermarked for another app.
    WrongWatermark,
    /// A phone number watermarked a day ago.
    StaleWatermark,
}

/// Whether the endpoint does its work first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The work is not done.
    #[default]
    Before,
    /// The work is done and the client does not learn it.
    After,
}

/// The orders that are outstanding.
#[derive(Debug, Default)]
pub(super) struct Faults(HashMap<Endpoint, VecDeque<Fault>>);

impl Fault {
    /// One call of `endpoint` goes wrong before any work is done.
    pub fn once(endpoint: Endpoint, effect: Effect) -> Self {
        Self {
            endpoint,
            effect,
            times: 1,
            when: When::Before,
        }
    }

    /// The same, after the work is done.
    #[must_use]
    pub fn after(self) -> Self {
        Self {
            when: When::After,
            ..self
        }
    }

    /// The same for several calls.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }
}

impl Effect {
    /// Whether the true answer is part of it.
    pub(super) fn needs_answer(&self) -> bool {
        matches!(
            self,
            Self::DelayMs(_) | Self::DripMs(_) | Self::WrongWatermark | Self::StaleWatermark
        )
    }

    /// Changes the true answer.
    pub(super) fn distort(&self, answer: &mut Value) {
        let Some(watermark) = answer.pointer_mut("/phone_info/watermark") else {
            return;
        };
        match self {
            Self::WrongWatermark => watermark["appid"] = Value::from("wxsandboxofsomebodyelse"),
            Self::StaleWatermark => {
                let before = watermark["timestamp"]
                    .as_u64()
                    .unwrap_or_default()
                    .saturating_sub(86_400);
                watermark["timestamp"] = Value::from(before);
            }
            _ => {}
        }
    }

    /// The answer in place of the true one; `error` makes the body for an `errcode`. A hanging call ends when `closing`
    /// becomes true, so that it cannot hold up the end of the server.
    pub(super) async fn replace(
        &self,
        error: impl FnOnce(i64) -> Response,
        mut closing: watch::Receiver<bool>,
    ) -> Response {
        match self {
            Self::Error(code) => error(*code),
            Self::Hang => {
                let _ = closing.wait_for(|closing| *closing).await;
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
            Self::Status(status) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                (status, [("content-type", "text/html")], HTML).into_response()
            }
            Self::Garbage => ([("content-type", "text/html")], HTML).into_response(),
            Self::HugeBody(bytes) => huge(*bytes),
            Self::HangUp => hang_up(),
            Self::EmptyBody | Self::DelayMs(_) | Self::DripMs(_) | Self::WrongWatermark | Self::StaleWatermark => {
                StatusCode::OK.into_response()
            }
        }
    }
}

impl Faults {
    /// Adds an order behind the others of its endpoint.
    pub(super) fn add(&mut self, fault: Fault) {
        if fault.times > 0 {
            self.0.entry(fault.endpoint).or_default().push_back(fault);
        }
    }

    /// Takes one call's worth from the first order for `endpoint`.
    pub(super) fn take(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let queue = self.0.get_mut(&endpoint)?;
        let fault = queue.front_mut()?;
        fault.times -= 1;
        let taken = Fault {
            times: 1,
            ..fault.clone()
        };
        if fault.times == 0 {
            queue.pop_front();
        }
        Some(taken)
    }

    /// What is outstanding.
    pub(super) fn list(&self) -> Vec<Fault> {
        self.0.values().flatten().cloned().collect()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Sends `body` byte by byte.
pub(super) fn drip(body: Bytes, apart: Duration) -> Body {
    Body::from_stream(stream::unfold((body, false), move |(mut body, started)| async move {
        if body.is_empty() {
            return None;
        }
        if started {
            tokio::time::sleep(apart).await;
        }
        let byte = body.split_to(1);
        Some((Ok::<_, Infallible>(byte), (body, true)))
    }))
}

fn huge(bytes: u64) -> Response {
    const CHUNK: &[u8] = &[b'a'; 16 * 1024];
    let chunks = bytes.div_ceil(CHUNK.len() as u64);
    let body = stream::unfold(0, move |sent| async move {
        let piece = match sent {
            0 => Bytes::from_static(b"{\"padding\":\""),
            _ if sent <= chunks => Bytes::from_static(CHUNK),
            _ if sent == chunks + 1 => Bytes::from_static(b"\"}"),
            _ => return None,
        };
        Some((Ok::<_, Infallible>(piece), sent + 1))
    });
    ([("content-type", "application/json")], Body::from_stream(body)).into_response()
}

fn hang_up() -> Response {
    let pieces = [
        Ok(Bytes::from_static(b"{\"openid\":\"o")),
        Err(std::io::Error::other("ordered to hang up")),
    ];
    (
        [("content-type", "application/json"), ("content-length", "200")],
        Body::from_stream(stream::iter(pieces)),
    )
        .into_response()
}

fn once() -> u32 {
    1
}

const HTML: &str = "<html><head><title>503</title></head><body>upstream connect error</body></html>";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use serde_json::json;

    use super::*;

    #[test]
    fn orders_are_served_in_turn_and_end() {
        let mut faults = Faults::default();
        faults.add(Fault::once(Endpoint::Login, Effect::Error(-1)).times(2));
        faults.add(Fault::once(Endpoint::Login, Effect::EmptyBody).after());
        faults.add(Fault::once(Endpoint::Token, Effect::Hang).times(0));
        let effects: Vec<_> = (0..4)
            .map(|_| faults.take(Endpoint::Login).map(|fault| fault.effect))
            .collect();
        assert_eq!(
            effects,
            [
                Some(Effect::Error(-1)),
                Some(Effect::Error(-1)),
                Some(Effect::EmptyBody),
                None
            ]
        );
        assert_eq!(faults.take(Endpoint::Token), None);
    }

    #[test]
    fn an_order_is_read_from_json_with_its_defaults() {
        let fault: Fault =
            serde_json::from_value(json!({ "endpoint": "/sns/jscode2session", "effect": { "error": 45011 } })).unwrap();
        assert_eq!(fault, Fault::once(Endpoint::Login, Effect::Error(45011)));
        let fault: Fault = serde_json::from_value(
            json!({ "endpoint": "/cgi-bin/token", "effect": "hang", "when": "after", "times": 3 }),
        )
        .unwrap();
        assert_eq!(fault, Fault::once(Endpoint::Token, Effect::Hang).after().times(3));
        assert!(serde_json::from_value::<Fault>(json!({ "endpoint": "/nowhere", "effect": "hang" })).is_err());
    }
}
