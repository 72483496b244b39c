//! WeChat's API over HTTP: reads a call, lets the state answer it, and applies what was ordered to go wrong.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use url::{Url, form_urlencoded};

use super::endpoint::Endpoint;
use super::error::WechatError;
use super::faults::{self, Effect, Fault, When};
use super::state::{Answer, CallRecord, Question};
use super::{Sandbox, links, picture};

pub(super) fn router() -> Router<Sandbox> {
    Endpoint::ALL.into_iter().fold(Router::new(), |router, endpoint| {
        let handle = move |State(sandbox): State<Sandbox>, request| async move {
            let mut response = dispatch(sandbox.clone(), endpoint, request).await;
            if let Some(date) = date(sandbox.now()) {
                response.headers_mut().insert(header::DATE, date);
            }
            response
        };
        router.route(endpoint.path(), any(handle))
    })
}

async fn dispatch(sandbox: Sandbox, endpoint: Endpoint, request: Request) -> Response {
    let fault = {
        let mut state = sandbox.state();
        *state.calls.entry(endpoint).or_default() += 1;
        state.faults.take(endpoint)
    };
    let Some(Fault { effect, when, .. }) = fault else {
        return send(endpoint, perform(&sandbox, endpoint, request, None).await);
    };
    if effect.needs_answer() {
        return adorn(&sandbox, endpoint, request, &effect, when).await;
    }
    if when == When::After {
        let _ = perform(&sandbox, endpoint, request, Some(&effect)).await;
    } else {
        record(&sandbox, endpoint, None, true);
    }
    let now = sandbox.now();
    let error = |code| send(endpoint, Reply::Json(WechatError(code).body(now)));
    effect.replace(error, sandbox.0.closing.subscribe()).await
}

/// An answer that is ready to be sent.
enum Reply {
    Json(Value),
    Picture(Vec<u8>, &'static str),
}

async fn perform(sandbox: &Sandbox, endpoint: Endpoint, request: Request, fault: Option<&Effect>) -> Reply {
    let now = sandbox.now();
    let base = base_of(sandbox, &request);
    let answer = match read(endpoint, request).await {
        Ok(question) => sandbox.state().answer(endpoint, &question, now),
        Err(error) => Err(error),
    };
    record(
        sandbox,
        endpoint,
        Some(answer.as_ref().err().map_or(0, |error| error.0)),
        fault.is_some(),
    );
    let mut body = match answer {
        Ok(Answer::Json(body)) => body,
        Ok(Answer::SceneCode {
            ticket,
            expire_seconds,
            key,
        }) => match base.and_then(|base| base.join(&format!("/q/{key}")).ok()) {
            // Without an errcode, as WeChat answers it.
            Some(url) => {
                let mut body = json!({ "ticket": ticket, "url": url.as_str() });
                if let Some(life) = expire_seconds {
                    body["expire_seconds"] = Value::from(life);
                }
                body
            }
            None => WechatError::BUSY.body(now),
        },
        Ok(Answer::Link { ticket, scheme }) => {
            links::body(base.as_ref(), &ticket, scheme).unwrap_or_else(|| WechatError::BUSY.body(now))
        }
        Ok(Answer::Code(order, app)) => {
            let style = order.style;
            let address = base.map(|base| order.address(&base, &app));
            let drawn = match address {
                Some(address) => tokio::task::spawn_blocking(move || picture::draw(address.as_str(), style)).await,
                None => return Reply::Json(WechatError::BUSY.body(now)),
            };
            match drawn {
                Ok(Ok(bytes)) => {
                    return Reply::Picture(bytes, if style.transparent { "image/png" } else { "image/jpeg" });
                }
                Ok(Err(_)) | Err(_) => WechatError::BUSY.body(now),
            }
        }
        Err(error) => error.body(now),
    };
    if let Some(effect) = fault {
        effect.distort(&mut body);
    }
    Reply::Json(body)
}

/// The true answer, late, slowly or distorted.
async fn adorn(sandbox: &Sandbox, endpoint: Endpoint, request: Request, effect: &Effect, when: When) -> Response {
    let delay = match effect {
        Effect::DelayMs(delay) => Duration::from_millis(*delay),
        _ => Duration::ZERO,
    };
    let mut closing = sandbox.0.closing.subscribe();
    let wait = async {
        if !delay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
        }
    };
    let reply = if when == When::Before {
        wait.await;
        perform(sandbox, endpoint, request, Some(effect)).await
    } else {
        let reply = perform(sandbox, endpoint, request, Some(effect)).await;
        wait.await;
        reply
    };
    let response = send(endpoint, reply);
    let Effect::DripMs(apart) = effect else { return response };
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    Response::from_parts(parts, faults::drip(bytes, Duration::from_millis(*apart)))
}

async fn read(endpoint: Endpoint, request: Request) -> Result<Question, WechatError> {
    if !endpoint.admits(request.method()) {
        return Err(WechatError::POST_REQUIRED);
    }
    let query = request.uri().query().unwrap_or_default();
    let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let body = to_bytes(request.into_body(), MAX_BODY)
        .await
        .map_err(|_| WechatError::BODY)?;
    Ok(Question {
        query,
        body: body.to_vec(),
    })
}

fn send(endpoint: Endpoint, reply: Reply) -> Response {
    match reply {
        Reply::Json(body) => {
            let body = Body::from(Bytes::from(body.to_string()));
            (StatusCode::OK, [(header::CONTENT_TYPE, endpoint.content_type())], body).into_response()
        }
        Reply::Picture(bytes, content_type) => ([(header::CONTENT_TYPE, content_type)], bytes).into_response(),
    }
}

fn record(sandbox: &Sandbox, endpoint: Endpoint, errcode: Option<i64>, fault: bool) {
    let at = sandbox.now();
    tracing::debug!(endpoint = endpoint.path(), errcode, fault, "sandbox call");
    let mut state = sandbox.state();
    if state.recent.len() == RECENT {
        state.recent.pop_front();
    }
    state.recent.push_back(CallRecord {
        at,
        endpoint,
        errcode,
        fault,
    });
}

/// The base address, or the name that the gateway knows the sandbox by.
fn base_of(sandbox: &Sandbox, request: &Request) -> Option<Url> {
    sandbox.base_url().or_else(|| {
        let host = request.headers().get(header::HOST)?.to_str().ok()?;
        Url::parse(&format!("http://{host}/")).ok()
    })
}

/// The sandbox's clock as a server says it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(now: u64) -> Option<HeaderValue> {
    let form =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let now = OffsetDateTime::from_unix_timestamp(i64::try_from(now).ok()?).ok()?;
    HeaderValue::from_str(&now.format(form).ok()?).ok()
}

const MAX_BODY: usize = 1024 * 1024;
const RECENT: usize = 200;
