//! Logins that send the browser to WeChat and back: `website-qr` and `official-account-web`.
//!
//! The host that began keeps a random value and the page in the browser's cookie, and nothing is stored. The callback comes
//! to `public_url`, which knows nothing about that browser: it makes a person of WeChat's code, and sends the browser on to
//! the host with a code that is worth something beside the cookie only. So a callback that somebody began elsewhere ends at
//! the host (login CSRF), and nobody else than who came back with WeChat's code is ever told the host's.
//!
//! A state comes back once. The mark is made before WeChat is asked, so that WeChat's code is never sent twice; the same
//! callback again (a reload, a restored tab) waits for the first and leads to the same place.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info};

use crate::accounts::{Policy, ResolveError, Resolved, WechatIdentity};
use crate::config::settings::Connection;
use crate::gate::destination::AskingHost;
use crate::identity::person::Authentication;
use crate::login::Login;
use crate::login::device::Device;
use crate::login::error::{Ending, LoginError};
use crate::login::handoff::{binding, sha256};
use crate::login::handoff_cookie::HandoffCookie;
use crate::login::redirect_app::RedirectApp;
use crate::login::redirect_state::{NoState, RedirectState};
use crate::store::{NewHandoff, OnceMark};
use crate::telemetry::audit::{AuditEvent, AuditKind};
use crate::wechat::{Person, check_oauth_code};

/// A start, ready to be sent to WeChat.
#[derive(Debug, Clone)]
pub struct Start {
    /// For WeChat's page.
    pub state: RedirectState,
    /// `Set-Cookie` line.
    pub cookie: String,
}

/// A browser that WeChat sent back.
#[derive(Debug, Clone)]
pub struct Returned {
    /// Checked.
    pub state: RedirectState,
    /// WeChat's.
    pub code: String,
    /// Host that began, as the configuration knows it now.
    pub asking: AskingHost,
    /// `User-Agent`.
    pub agent: String,
    /// Client address.
    pub address: IpAddr,
    /// Id of the request.
    pub request_id: String,
}

impl Login {
    /// Begins: a state for WeChat, and the cookie that this browser finishes it with. Writes nothing to the store.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] for a host whose name no state has room for.
    pub fn begin_redirect(
        &self,
        connection: &str,
        host: &str,
        page: &str,
        cookie: Option<&[u8]>,
    ) -> Result<Start, LoginError> {
        let mut cookie = HandoffCookie::read_or_make(cookie)?;
        let now = self.clock.now();
        let state = RedirectState::make(&self.scenes, connection, host, &binding(&cookie), now).map_err(|why| {
            if why == NoState::LongHost {
                error!(connection, host, %why, "this host cannot log in by a redirect: give it a shorter name");
                LoginError::Unknown
            } else {
                LoginError::Seal("no scene key is active")
            }
        })?;
        cookie.remember(state.start, page);
        Ok(Start {
            state,
            cookie: self.cookies.set_handoff(cookie.to_text()),
        })
    }

    /// A state that WeChat brought back for this connection; `None` for one that is forged, another connection's or too
    /// old.
    pub fn check_state(&self, connection: &str, state: &str) -> Option<RedirectState> {
        RedirectState::check(&self.scenes, state, self.clock.now()).filter(|state| state.is_of(connection))
    }

    /// Finishes: the address of the host where this browser takes its session. Goes on to its end also when the browser
    /// goes away meanwhile: WeChat's code is spent then, and the browser comes again.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] for a state that came back before with another code, or without success. What cannot be a
    /// code at all is refused before anything is written down: states are anybody's.
    pub async fn finish_redirect(self: Arc<Self>, connection: &str, returned: Returned) -> Result<String, LoginError> {
        check_oauth_code(&returned.code).map_err(|error| LoginError::wechat(connection, error))?;
        let login = Arc::clone(&self);
        let connection = connection.to_owned();
        let finishing = tokio::spawn(async move { login.finish_once(&connection, &returned).await });
        finishing.await.unwrap_or(Err(LoginError::Seal("the login broke off")))
    }

    async fn finish_once(&self, connection: &str, returned: &Returned) -> Result<String, LoginError> {
        let state = &returned.state;
        let mark = state.mark(&self.scenes).ok_or(LoginError::Unknown)?;
        let code = state
            .handoff_code(&self.scenes, &returned.code)
            .ok_or(LoginError::Unknown)?;
        let code = URL_SAFE_NO_PAD.encode(code);
        let address = format!("{}/.menshen/handoff?code={code}", returned.asking.origin);
        let by = sha256(returned.code.as_bytes());
        let once = OnceMark {
            id: &mark,
            by: &by,
            now: self.clock.now(),
            until: state.ends_at(),
        };
        if !self.store.mark_once(&once).await? {
            self.wait_for_the_first(state, &mark, &by, &code).await?;
            return Ok(address);
        }
        let finished = self.make_handoff(connection, returned, &code).await;
        self.store.mark_over(&mark).await?;
        self.waiters.wake(state.as_str());
        finished.map(|()| address)
    }

    /// The same callback, again.
    async fn wait_for_the_first(
        &self,
        state: &RedirectState,
        mark: &[u8],
        by: &[u8],
        code: &str,
    ) -> Result<(), LoginError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut waiter = self.waiters.subscribe(state.as_str());
            let marked = self.store.marked(mark, by).await?.ok_or(LoginError::Unknown)?;
            if marked.over {
                let made = self.store.has_handoff(&sha256(code.as_bytes())).await?;
                return if made { Ok(()) } else { Err(LoginError::Unknown) };
            }
            // It works at another node, which is looked at again, or its node has died.
            let again = (Instant::now() + OTHER_NODE).min(deadline);
            if timeout_at(again, waiter.changed()).await.is_err() && Instant::now() >= deadline {
                return Err(LoginError::Unknown);
            }
        }
    }

    async fn make_handoff(&self, connection: &str, returned: &Returned, code: &str) -> Result<(), LoginError> {
        let connection = self.settings.connection(connection).ok_or(LoginError::Unknown)?;
        let app = self.redirects.get(&connection.id).ok_or(LoginError::Unknown)?;
        let handoff = match self.authenticate(connection, app, returned, code).await {
            Ok(handoff) => handoff,
            Err(refused) => {
                self.audit_redirect(AuditKind::LoginFailed, connection, returned, None, reason_of(&refused));
                return Err(refused);
            }
        };
        Ok(self.store.insert_handoff(&handoff).await?)
    }

    async fn authenticate(
        &self,
        connection: &Connection,
        app: &RedirectApp,
        returned: &Returned,
        code: &str,
    ) -> Result<NewHandoff, LoginError> {
        let person = app.person(&returned.code).await;
        let person = person.map_err(|error| LoginError::wechat(&connection.id, error))?;
        let Person::Real { identity, profile } = person else {
            info!(connection = connection.id, "a snapshot page asked for a login: refused");
            return Err(LoginError::Snapshot);
        };
        let identity = WechatIdentity {
            app_id: connection.app_id.clone(),
            openid: identity.openid,
            unionid: identity.unionid,
            open_platform: connection.open_platform.clone(),
        };
        let now = self.clock.now();
        let resolved = self
            .directory
            .resolve(&identity, &Policy::of(connection), None, now)
            .await
            .map_err(refusal)?;
        self.audit_resolved(connection, returned, &resolved);
        let (name, picture) = (profile.name.as_deref(), profile.picture.as_deref());
        let user = self.directory.complete(resolved.user, name, picture, now).await?;
        let authentication = Authentication {
            connection: connection.id.clone(),
            method: app.method(),
            time: now,
            app_id: identity.app_id,
            openid: identity.openid,
            unionid: identity.unionid,
        };
        self.handoff_of_redirect(&returned.state, code, &user.id, authentication)
    }

    fn audit_resolved(&self, connection: &Connection, returned: &Returned, resolved: &Resolved) {
        let user = Some(&*resolved.user.id);
        if resolved.created {
            self.audit_redirect(AuditKind::UserCreated, connection, returned, user, None);
        }
        if resolved.bound {
            self.audit_redirect(AuditKind::Bind, connection, returned, user, None);
        }
    }

    fn audit_redirect(
        &self,
        kind: AuditKind,
        connection: &Connection,
        returned: &Returned,
        user: Option<&str>,
        reason: Option<&str>,
    ) {
        self.auditor.record(AuditEvent {
            request_id: Some(returned.request_id.clone()),
            user_id: user.map(str::to_owned),
            connection: Some(connection.id.clone()),
            browser_address: Some(returned.address.to_string()),
            browser_device: Some(Device::of(&returned.agent).text),
            reason: reason.map(str::to_owned),
            ..AuditEvent::new(kind, self.clock.now())
        });
    }
}

fn refusal(error: ResolveError) -> LoginError {
    match error {
        ResolveError::AccountBound => LoginError::Ended(Ending::AccountBound),
        ResolveError::AmbiguousAccount => LoginError::Ended(Ending::AmbiguousAccount),
        // `check` refuses a connection of these kinds that asks: there is no ticket to ask at.
        ResolveError::NoAccount | ResolveError::BindingNeeded { .. } => LoginError::Ended(Ending::NoAccount),
        ResolveError::PhoneTaken => LoginError::Ended(Ending::PhoneTaken),
        ResolveError::UserDisabled => LoginError::Ended(Ending::UserDisabled),
        ResolveError::PhoneRequired => LoginError::PhoneRequired,
        ResolveError::Random(_) => LoginError::Seal("no randomness"),
        ResolveError::Store(error) => LoginError::Store(error),
    }
}

/// For the audit.
fn reason_of(error: &LoginError) -> Option<&'static str> {
    match error {
        LoginError::Ended(ending) => Some(ending.as_str()),
        LoginError::Snapshot => Some("snapshot"),
        LoginError::Wechat(_) => Some("wechat"),
        _ => None,
    }
}

/// Longer than WeChat's two answers may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// So often a login that another node finishes is looked at.
const OTHER_NODE: Duration = Duration::from_millis(500);
