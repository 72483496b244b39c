//! A stand-in for WeChat's servers and for the phone, for demonstrations and tests.
//!
//! One server plays four parts. It answers WeChat's API as strictly as WeChat does, where a kinder stand-in would let
//! mistakes through: codes are good once and for five minutes, tokens replace each other, errors come with status 200.
//! It shows the pages on which a browser asks for consent (`/connect/`). It shows a phone in the browser: one that opens
//! a code's mini program and confirms a login (`/phone`), one that follows a service account and reads its messages, which
//! are pushed to the gateway (`/chat`). And it misbehaves on order (`/__sandbox/`). It speaks to the gateway by HTTP only, as the real ones do, and shares no code with it.
//!
//! Nothing here is a secret: whoever reaches the control interface reads everything. It listens on loopback unless told
//! otherwise and knows only AppIDs of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State as Extract};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

mod account;
mod api;
mod application;
mod assertion;
mod chat;
mod codes;
mod control;
mod demo_app;
mod endpoint;
mod error;
mod faults;
mod host;
mod identifiers;
mod language;
mod links;
mod oauth;
mod open;
mod phone;
mod picture;
mod push;
mod quotas;
mod state;
mod tokens;
mod user_data;
mod world;
mod wxacode;

pub use account::{AccountAct, AccountRefusal};
pub use demo_app::demo_app;
pub use endpoint::Endpoint;
pub use error::WechatError;
pub use faults::{Effect, Fault, When};
pub use push::{Attempt, Push, PushMode, PushReply, PushSettings};
pub use state::{CallRecord, PhoneRefusal};
pub use world::{
    APPLICATION_APP, App, AppId, AppKind, Bilingual, LOGIN_PAGE, NotASandboxApp, PHONE_QUOTA_ERRNO, PUSH_PATH, Persona,
    PhoneNumber, Quirks, SERVICE_APP, SandboxConfig, Snapshot, WEBSITE_APP,
};

/// A running stand-in. Clones share everything.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

/// The app or the person does not exist in this sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such app or person")]
pub struct UnknownSubject(());

struct Inner {
    state: Mutex<state::State>,
    clock_offset: AtomicU64,
    addresses: RwLock<Addresses>,
    gateway: reqwest::Client,
    closing: watch::Sender<bool>,
    applications: application::Applications,
    /// Another number whenever somebody does something with a website's code.
    website_codes: watch::Sender<u64>,
}

#[derive(Debug, Default, Clone)]
struct Addresses {
    listen: Option<SocketAddr>,
    base: Option<Url>,
    gateway: Option<Url>,
}

impl Sandbox {
    /// A sandbox with the apps and people of `config`.
    pub fn new(config: SandboxConfig) -> Self {
        let gateway = reqwest::Client::builder()
            .timeout(GATEWAY_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap_or_default();
        Self(Arc::new(Inner {
            state: Mutex::new(state::State::new(config)),
            clock_offset: AtomicU64::new(0),
            addresses: RwLock::default(),
            gateway,
            applications: application::Applications::default(),
            closing: watch::Sender::new(false),
            website_codes: watch::Sender::new(0),
        }))
    }

    /// Everything that the sandbox answers: WeChat's calls, `/phone`, `/__sandbox/`.
    pub fn router(&self) -> Router {
        let guarded = Router::new()
            .route("/", get(|| async { Redirect::to("/phone") }))
            .merge(phone::router())
            .merge(open::router())
            .merge(chat::router())
            .merge(links::router())
            .merge(application::router())
            .merge(control::router())
            .layer(middleware::from_fn_with_state(self.clone(), refuse_foreign_hosts));
        api::router()
            .merge(chat::pictures())
            .merge(guarded)
            .with_state(self.clone())
    }

    /// Tells the sandbox the address that phones and browsers reach it by; drawn codes hold it.
    pub fn set_base_url(&self, base: Url) {
        self.change_addresses(|addresses| addresses.base = Some(base));
    }

    /// Tells the simulated phone where the gateway is: its `public_url`.
    pub fn set_gateway_url(&self, gateway: Url) {
        self.change_addresses(|addresses| addresses.gateway = Some(gateway));
    }

    /// The address that phones and browsers reach the sandbox by, once it is known.
    pub fn base_url(&self) -> Option<Url> {
        self.addresses().base
    }

    /// The apps.
    pub fn apps(&self) -> Vec<App> {
        self.state().apps().cloned().collect()
    }

    /// The people.
    pub fn personas(&self) -> Vec<Persona> {
        self.state().personas().to_vec()
    }

    /// What `wx.login` gives a person in an app: a code for one use within 300 s.
    ///
    /// # Errors
    /// [`UnknownSubject`] when there is no such app or person.
    pub fn login_code(&self, app_id: &str, persona: &str) -> Result<String, UnknownSubject> {
        let now = self.now();
        self.state().login_code(app_id, persona, now).ok_or(UnknownSubject(()))
    }

    /// What the phone button gives a person in an app: a code for one use within 300 s.
    ///
    /// # Errors
    /// [`PhoneRefusal`] with the errno that the mini program would see.
    pub fn phone_code(&self, app_id: &str, persona: &str) -> Result<String, PhoneRefusal> {
        let now = self.now();
        self.state().phone_code(app_id, persona, now)
    }

    /// The openid of a person at an app; also for ids that do not exist.
    pub fn openid(&self, app_id: &str, persona: &str) -> String {
        identifiers::openid(app_id, persona)
    }

    /// The unionid of a person at an Open Platform account.
    pub fn unionid(&self, open_platform: &str, persona: &str) -> String {
        identifiers::unionid(open_platform, persona)
    }

    /// Reads the code in a JPEG or PNG picture, as a phone's camera would.
    pub fn scan(&self, picture: &[u8]) -> Option<String> {
        picture::read(picture)
    }

    /// How often an endpoint was called, whatever the answer.
    pub fn calls(&self, endpoint: Endpoint) -> u64 {
        self.state().calls.get(&endpoint).copied().unwrap_or_default()
    }

    /// The last 200 calls, oldest first.
    pub fn recent_calls(&self) -> Vec<CallRecord> {
        self.state().recent.iter().cloned().collect()
    }

    /// Starts counting again.
    pub fn forget_calls(&self) {
        let mut state = self.state();
        state.calls = BTreeMap::new();
        state.recent.clear();
    }

    /// Orders a misbehaviour.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.add(fault);
    }

    /// Withdraws every order that is outstanding.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Moves the sandbox's clock forward: codes and tokens age, quotas begin anew.
    pub fn advance(&self, by: Duration) {
        self.0.clock_offset.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    /// Unix seconds by the sandbox's clock.
    pub fn now(&self) -> u64 {
        let real = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        real.saturating_add(self.0.clock_offset.load(Ordering::Relaxed))
    }

    fn state(&self) -> MutexGuard<'_, state::State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn addresses(&self) -> Addresses {
        self.0.addresses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change_addresses(&self, change: impl FnOnce(&mut Addresses)) {
        change(&mut self.0.addresses.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl fmt::Debug for Sandbox {
    /// Without the state: it is full of tokens and codes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sandbox")
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}

/// Serves the sandbox on `listener` until `shutdown` is done; calls that hang by order end then. The base address is
/// taken from the listener unless it was set before.
///
/// # Errors
/// When the listener has no address.
pub async fn serve(
    listener: TcpListener,
    sandbox: Sandbox,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    sandbox.change_addresses(|addresses| {
        addresses.listen = Some(address);
        if addresses.base.is_none() {
            let shown = if address.ip().is_unspecified() {
                format!("localhost:{}", address.port())
            } else {
                address.to_string()
            };
            addresses.base = Url::parse(&format!("http://{shown}/")).ok();
        }
    });
    let closing = sandbox.0.closing.clone();
    let mut closed = closing.subscribe();
    let router = sandbox.router();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        closing.send_replace(true);
    });
    tokio::select! {
        ended = server => ended,
        () = async {
            let _ = closed.wait_for(|closing| *closing).await;
            tokio::time::sleep(DRAIN).await;
        } => Ok(()),
    }
}

async fn refuse_foreign_hosts(Extract(sandbox): Extract<Sandbox>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let addresses = sandbox.addresses();
    if host::admits(host, addresses.listen, addresses.base.as_ref()) {
        next.run(request).await
    } else {
        (
            StatusCode::MISDIRECTED_REQUEST,
            "This host name is not the sandbox's.\n",
        )
            .into_response()
    }
}

/// Longer than a gateway waits for the browser's half of a scan and for WeChat together.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long open connections may go on after the end was asked for.
const DRAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
