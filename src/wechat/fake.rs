//! A WeChat that does what a test says: answers by script, keeps what it was asked.

#![allow(clippy::expect_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::stream;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::config::settings::Wechat;
use crate::wechat::clock::Clock;
use crate::wechat::endpoint::Endpoint;
use crate::wechat::mini_program::MiniProgram;
use crate::wechat::transport::Transport;

pub(crate) const APP_ID: &str = "wx4f4bc4dec97d474b";
pub(crate) const APP_SECRET: &str = "5ecre70f7he9a7e5ecre70f7he9a7e00";

/// Listens on a port of its own until it is dropped.
pub(crate) struct FakeWechat {
    pub(crate) base: String,
    state: Arc<FakeState>,
    server: tokio::task::JoinHandle<()>,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Bytes,
}

/// What is answered.
pub(crate) enum Reply {
    /// Status, content type, body.
    Now(u16, &'static str, Bytes),
    /// JSON with 200, as `text/plain`.
    Json(Value),
    /// A redirect to there.
    Redirect(String),
    /// A byte every 20 ms, without an end.
    Drip,
    /// Nothing at all.
    Silence,
    /// A body that is larger than anybody wants, without a length.
    Endless,
}

type Script = Box<dyn FnMut(&Asked, usize) -> Reply + Send>;

#[derive(Default)]
struct FakeState {
    asked: Mutex<HashMap<&'static str, Vec<Asked>>>,
    scripts: Mutex<HashMap<&'static str, Script>>,
}

impl FakeWechat {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(FakeState::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the fake serves");
        });
        let fake = Self { base, state, server };
        fake.on(Endpoint::StableToken, |_, _| token("token-1", 7200));
        fake
    }

    /// Answers this call so; the script gets what was asked and how often it was asked before.
    pub(crate) fn on(&self, endpoint: Endpoint, script: impl FnMut(&Asked, usize) -> Reply + Send + 'static) {
        lock(&self.state.scripts).insert(endpoint.path(), Box::new(script));
    }

    /// What was asked of this call so far.
    pub(crate) fn asked(&self, endpoint: Endpoint) -> Vec<Asked> {
        lock(&self.state.asked)
            .get(endpoint.path())
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn settings(&self) -> Wechat {
        settings(&self.base)
    }

    pub(crate) fn transport(&self, clock: Arc<dyn Clock>) -> Arc<Transport> {
        Arc::new(Transport::new(&self.settings()).expect("a transport").timed_by(clock))
    }

    pub(crate) fn mini_program(&self, clock: Arc<dyn Clock>) -> MiniProgram {
        MiniProgram::new(self.transport(clock), APP_ID, SecretString::from(APP_SECRET))
    }
}

impl Drop for FakeWechat {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn token(&self) -> &str {
        &self.query["access_token"]
    }
}

pub(crate) fn settings(base: &str) -> Wechat {
    let base: url::Url = base.parse().expect("an address");
    Wechat {
        api_base: base.clone(),
        open_base: base.clone(),
        mp_base: base,
        proxy: None,
        timeout: Duration::from_secs(5),
    }
}

pub(crate) fn token(token: &str, expires_in: i64) -> Reply {
    Reply::Json(json!({"access_token": token, "expires_in": expires_in}))
}

pub(crate) fn error(code: i64) -> Reply {
    Reply::Json(json!({"errcode": code, "errmsg": format!("no, rid: 654df33c-64386a2f-{code}")}))
}

async fn answer(State(state): State<Arc<FakeState>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let endpoint = Endpoint::ALL
        .into_iter()
        .find(|endpoint| endpoint.path() == head.uri.path());
    let Some(endpoint) = endpoint else {
        return response(Reply::Now(404, "text/plain", "no such call".into())).await;
    };
    let query = head.uri.query().unwrap_or_default();
    let asked = Asked {
        method: head.method.to_string(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        content_type: head
            .headers
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        body,
    };
    let nth = {
        let mut all = lock(&state.asked);
        let list = all.entry(endpoint.path()).or_default();
        list.push(asked.clone());
        list.len() - 1
    };
    let reply = match lock(&state.scripts).get_mut(endpoint.path()) {
        Some(script) => script(&asked, nth),
        None => error(-987_654),
    };
    response(reply).await
}

async fn response(reply: Reply) -> Response {
    let builder = Response::builder();
    match reply {
        Reply::Now(status, media_type, body) => builder
            .status(status)
            .header("content-type", media_type)
            .body(Body::from(body)),
        Reply::Json(body) => builder
            .header("content-type", "text/plain")
            .body(Body::from(body.to_string())),
        Reply::Redirect(to) => builder.status(302).header("location", to).body(Body::empty()),
        Reply::Drip => {
            let drip = async |()| {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
            };
            builder.body(Body::from_stream(stream::unfold((), drip)))
        }
        Reply::Silence => return std::future::pending().await,
        Reply::Endless => {
            let piece = Bytes::from(vec![b' '; 16 * 1024]);
            builder.body(Body::from_stream(stream::repeat_with(move || {
                Ok::<_, std::io::Error>(piece.clone())
            })))
        }
    }
    .expect("a response")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
