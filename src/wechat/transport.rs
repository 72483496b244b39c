//! One exchange with WeChat's servers: bounded in time and size, never redirected, and free of addresses in its errors.
//!
//! WeChat wants secrets and tokens in the query. So an error of the HTTP client, which would print the address, is
//! taken apart here and nothing of it is kept but the innermost cause.
//!
//! A request is sent a second time in one case only: the connection was never made. The client's own repetition is
//! switched off, because what carries a code must not reach WeChat twice.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderValue, Method, StatusCode};
use reqwest::redirect::Policy;
use secrecy::ExposeSecret;
use serde::Serialize;
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use url::Url;

use crate::config::settings::Wechat;
use crate::telemetry::traces;
use crate::wechat::answer::bad;
use crate::wechat::clock::{Clock, Deadline, SystemClock};
use crate::wechat::endpoint::{CallResult, Endpoint, Observer, Unobserved};
use crate::wechat::error::{BadAnswer, TransportFailure, WechatError};

/// The way to WeChat's servers. Shared by everything that calls them: one pool of connections.
pub struct Transport {
    client: reqwest::Client,
    api_base: Url,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

/// The settings cannot be made into a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// `[wechat] proxy` is not an address. The address itself is not shown: it may hold a password.
    #[error("the egress proxy is not a usable address")]
    Proxy,
    /// TLS cannot be set up on this machine.
    #[error("no HTTP client can be set up: {0}")]
    Client(Box<str>),
}

/// A request, with its secrets inside.
pub(crate) struct Call<'a> {
    endpoint: Endpoint,
    query: &'a [(&'a str, &'a str)],
    body: Option<Bytes>,
}

/// Reads the answer of a call: [`crate::wechat::answer`].
pub(crate) type Reader<T> = fn(Endpoint, StatusCode, &Bytes) -> Result<T, WechatError>;

impl Transport {
    /// Sets the client up. Makes no connection.
    ///
    /// # Errors
    ///
    /// The egress proxy is not an address, or the machine has no usable certificate store.
    pub fn new(settings: &Wechat) -> Result<Self, TransportError> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("menshen/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout / 2)
            .pool_idle_timeout(IDLE_CONNECTION);
        let builder = match &settings.proxy {
            Some(proxy) => {
                builder.proxy(reqwest::Proxy::all(proxy.expose_secret()).map_err(|_| TransportError::Proxy)?)
            }
            None => builder.no_proxy(),
        };
        let client = builder
            .build()
            .map_err(|error| TransportError::Client(innermost(&error.without_url())))?;
        Ok(Self {
            client,
            api_base: settings.api_base.clone(),
            timeout: settings.timeout,
            clock: Arc::new(SystemClock),
            observer: Arc::new(Unobserved),
        })
    }

    /// Tells this observer about every exchange.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    #[cfg(test)]
    pub(crate) fn timed_by(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Whether WeChat is reached by HTTPS: only a stand-in is not.
    pub(crate) fn is_secure(&self) -> bool {
        self.api_base.scheme() == "https"
    }

    /// The end of an operation that begins now: all its calls, retries and pauses together.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(Arc::clone(&self.clock), self.timeout)
    }

    /// Calls once; a second time if the first provably never left.
    pub(crate) async fn call<T>(
        &self,
        call: &Call<'_>,
        deadline: &Deadline,
        read: Reader<T>,
    ) -> Result<T, WechatError> {
        let first = self.exchange(call, deadline, read).await;
        match first {
            Err(error) if error.never_left() && deadline.pause(RECONNECT_PAUSE).await => {
                self.exchange(call, deadline, read).await
            }
            result => result,
        }
    }

    /// Calls, and again with growing pauses while WeChat is busy or the network fails, until the deadline. Only for
    /// calls that do no harm when made twice.
    pub(crate) async fn call_patiently<T>(
        &self,
        call: &Call<'_>,
        deadline: &Deadline,
        read: Reader<T>,
    ) -> Result<T, WechatError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.call(call, deadline, read).await {
                Err(error) if error.is_passing() && deadline.pause(pause).await => pause *= 2,
                result => return result,
            }
        }
    }

    async fn exchange<T>(&self, call: &Call<'_>, deadline: &Deadline, read: Reader<T>) -> Result<T, WechatError> {
        let endpoint = call.endpoint;
        let started = std::time::Instant::now();
        let result = match self.send(call, deadline.remaining()).await {
            Ok((status, body)) => read(endpoint, status, &body),
            Err(error) => Err(error),
        };
        let elapsed = started.elapsed();
        let outcome = result
            .as_ref()
            .map_or_else(WechatError::call_result, |_| CallResult::Success);
        let error = result.as_ref().err();
        tracing::debug!(
            %endpoint,
            result = outcome.label(),
            code = error.and_then(WechatError::code),
            rid = error.and_then(WechatError::rid),
            elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "called WeChat"
        );
        traces::wechat_called(
            endpoint.as_str(),
            outcome.label(),
            error.and_then(WechatError::code),
            elapsed,
        );
        self.observer.called(endpoint, outcome, elapsed);
        result
    }

    async fn send(&self, call: &Call<'_>, time: Duration) -> Result<(StatusCode, Bytes), WechatError> {
        let endpoint = call.endpoint;
        if time.is_zero() {
            let failure = TransportFailure::TimedOut { answered: false };
            return Err(WechatError::Transport { endpoint, failure });
        }
        let mut request = match &call.body {
            Some(body) => self
                .client
                .request(Method::POST, self.address(endpoint))
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body.clone()),
            None => self.client.request(Method::GET, self.address(endpoint)),
        };
        if !call.query.is_empty() {
            request = request.query(call.query);
        }
        let mut response = request
            .timeout(time)
            .send()
            .await
            .map_err(|error| failed(endpoint, error, false))?;
        self.tell_date(&response);
        let limit = endpoint.answer_limit();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(endpoint, error, true))? {
            if body.len() + chunk.len() > limit {
                return Err(bad(endpoint, BadAnswer::TooLarge { limit }));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body.freeze()))
    }

    /// A date that cannot be read says nothing about WeChat's clock.
    fn tell_date(&self, response: &reqwest::Response) {
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        // RFC 9110, 5.6.7: the form that senders must use.
        let date = date.and_then(|date| PrimitiveDateTime::parse(date, IMF_FIXDATE).ok());
        let now = self.clock.calendar().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let (Some(date), Ok(now)) = (date, i64::try_from(now.as_secs())) {
            self.observer.dated(date.assume_utc().unix_timestamp(), now);
        }
    }

    fn address(&self, endpoint: Endpoint) -> Url {
        let mut address = self.api_base.clone();
        let path = format!("{}{}", address.path().trim_end_matches('/'), endpoint.path());
        address.set_path(&path);
        address
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("api_base", &self.api_base.as_str())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<'a> Call<'a> {
    /// GET with these parameters.
    pub(crate) fn get(endpoint: Endpoint, query: &'a [(&'a str, &'a str)]) -> Self {
        Self {
            endpoint,
            query,
            body: None,
        }
    }

    /// POST of a JSON text. WeChat takes UTF-8 as it is and refuses `\uXXXX`, which `serde_json` does not write.
    pub(crate) fn post(
        endpoint: Endpoint,
        query: &'a [(&'a str, &'a str)],
        body: &impl Serialize,
    ) -> Result<Self, WechatError> {
        let body = serde_json::to_vec(body).map_err(|_| bad(endpoint, BadAnswer::Lacks("request")))?;
        Ok(Self {
            endpoint,
            query,
            body: Some(body.into()),
        })
    }
}

/// Takes the client's error apart.
fn failed(endpoint: Endpoint, error: reqwest::Error, answered: bool) -> WechatError {
    let error = error.without_url();
    let failure = if error.is_connect() {
        TransportFailure::NotConnected {
            detail: innermost(&error),
        }
    } else if error.is_timeout() {
        TransportFailure::TimedOut { answered }
    } else {
        TransportFailure::Broken {
            answered,
            detail: innermost(&error),
        }
    };
    WechatError::Transport { endpoint, failure }
}

/// The text of the last cause: "Connection refused", "certificate expired". Never one that could hold an address.
fn innermost(error: &dyn Error) -> Box<str> {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text: String = innermost
        .to_string()
        .chars()
        .filter(|c| !c.is_control())
        .take(DETAIL_LIMIT)
        .collect();
    if text.contains("://") || text.contains('?') || text.contains('@') {
        "no details".into()
    } else {
        text.into()
    }
}

/// Below what load balancers and NAT tables forget: a login must not be the first to learn that a connection is dead.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// `Sun, 06 Nov 1994 08:49:37 GMT`
const IMF_FIXDATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// Between two attempts to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// With three doublings this fills the default timeout.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Characters of a cause in the log.
const DETAIL_LIMIT: usize = 200;

#[cfg(test)]
mod tests;
