//! A login that ended at `public_url` becomes the session of the host that asked for it: with single sign-on from a session
//! there, and always where a redirect to WeChat came back there, which leaves no session behind.
//!
//! The code is random, good once, for thirty seconds, for one host, and for the browser whose cookie the host asked with;
//! the store keeps its hash. What it stands for stays in the store as well: an address says nothing about anybody.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::gate::destination::Handoff;
use crate::identity::person::Authentication;
use crate::login::Login;
use crate::login::browser::random_text;
use crate::login::device::Device;
use crate::login::error::{Ending, LoginError};
use crate::login::handoff_cookie::HandoffCookie;
use crate::login::redirect_state::{RedirectState, START_BYTES};
use crate::session::token::{Session, SessionId};
use crate::store::{NewHandoff, SessionRow};
use crate::telemetry::audit::{AuditEvent, AuditKind};

/// What a host has to know to make a session of its own.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    user: String,
    authentication: Authentication,
    /// Absolute end of the login.
    expires_at: i64,
    /// Session at `public_url`; none where a redirect to WeChat led here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    /// Page of the host; where a redirect to WeChat led here, the host's cookie knows it.
    page: String,
    /// Number of the redirect's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<[u8; START_BYTES]>,
}

/// The browser that comes with a code.
#[derive(Debug, Clone, Copy)]
pub struct Taker<'a> {
    /// Host that it came to.
    pub host: &'a str,
    /// Name of the host's site.
    pub site: &'a str,
    /// The hand-off cookie, if it is one.
    pub cookie: Option<&'a HandoffCookie>,
    /// Who signed in here last, as the cookie says.
    pub last_user: Option<&'a [u8]>,
    /// `User-Agent`.
    pub agent: &'a str,
    /// Client address.
    pub address: std::net::IpAddr,
    /// Id of the request.
    pub request_id: &'a str,
}

/// A session of this host.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The page that was asked for.
    pub page: String,
    /// `Set-Cookie` lines.
    pub cookies: Vec<String>,
    /// The session that was made.
    pub session: Session,
    /// Whose it is.
    pub user: String,
    /// Another person than last time: the application's own cookies end.
    pub other_user: bool,
}

/// The hash of a hand-off cookie that travels in the open.
#[must_use]
pub fn binding(cookie: &HandoffCookie) -> [u8; 32] {
    sha256(cookie.value().as_bytes())
}

impl Login {
    /// A code for the host that asked, from a session at `public_url`: the address where the host takes it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn hand_on(&self, session: &Session, handoff: &Handoff) -> Result<String, LoginError> {
        let now = self.clock.now();
        let code = random_text()?;
        let content = Content {
            user: session.person.id.clone(),
            authentication: session.authentication.clone(),
            expires_at: session.expires_at,
            parent: Some(session.id.to_text()),
            page: handoff.page.as_str().to_owned(),
            start: None,
        };
        let new = NewHandoff {
            code_hash: sha256(code.as_bytes()).to_vec(),
            host: handoff.host.clone(),
            binding_hash: handoff.binding.to_vec(),
            content: serde_json::to_string(&content).map_err(|_| LoginError::Seal("a hand-off cannot be written"))?,
            created_at: now,
            expires_at: now + CODE_LIFE,
        };
        self.store.insert_handoff(&new).await?;
        Ok(format!("{}/.menshen/handoff?code={code}", handoff.origin))
    }

    /// A login that a redirect to WeChat led to, for the host that began it: what its code stands for.
    pub(super) fn handoff_of_redirect(
        &self,
        state: &RedirectState,
        code: &str,
        user: &str,
        authentication: Authentication,
    ) -> Result<NewHandoff, LoginError> {
        let now = self.clock.now();
        let lifetime = i64::try_from(self.settings.session.lifetime.as_secs()).unwrap_or(i64::MAX / 2);
        let content = Content {
            user: user.to_owned(),
            authentication,
            expires_at: now.saturating_add(lifetime),
            parent: None,
            page: String::new(),
            start: Some(state.start),
        };
        Ok(NewHandoff {
            code_hash: sha256(code.as_bytes()).to_vec(),
            host: state.host.clone(),
            binding_hash: state.binding.to_vec(),
            content: serde_json::to_string(&content).map_err(|_| LoginError::Seal("a hand-off cannot be written"))?,
            created_at: now,
            expires_at: now + CODE_LIFE,
        })
    }

    /// Spends a code: a session of this host, which ends with the one that it came from. The page is to be checked again.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] for every code that is not this host's and this browser's, is spent or has run out.
    pub async fn take_over(&self, code: &str, taker: Taker<'_>) -> Result<Taken, LoginError> {
        let now = self.clock.now();
        let cookie = taker.cookie.ok_or(LoginError::Unknown)?;
        let (code, bound) = (sha256(code.as_bytes()), binding(cookie));
        if !self.store.can_take_handoff(&code, taker.host, &bound, now).await? {
            return Err(LoginError::Unknown);
        }
        let mut tx = self.store.begin().await?;
        let content = tx
            .take_handoff(&code, taker.host, &bound, now)
            .await?
            .ok_or(LoginError::Unknown)?;
        let content: Content = serde_json::from_str(&content).map_err(|_| LoginError::Unknown)?;
        let user = tx
            .user(&content.user)
            .await?
            .ok_or(LoginError::Ended(Ending::NoAccount))?;
        let session = Session {
            id: SessionId::random().map_err(|_| LoginError::Seal("no randomness"))?,
            person: user.into(),
            authentication: content.authentication,
            expires_at: content.expires_at,
            renewed_at: now,
            groups_left_out: false,
            known_at: now,
        };
        let row = SessionRow {
            id: session.id.to_text(),
            user_id: session.person.id.clone(),
            connection: session.authentication.connection.clone(),
            site: taker.site.to_owned(),
            host: taker.host.to_owned(),
            device: serde_json::to_string(&Device::of(taker.agent)).unwrap_or_default(),
            address: taker.address.to_string(),
            place: None,
            ticket: None,
            created_at: now,
            auth_time: session.authentication.time,
            expires_at: session.expires_at,
            last_used_at: now,
            ended_at: None,
            parent: content.parent.clone(),
        };
        let token = session
            .seal(&self.ring, &self.cookies.session, taker.host, now)
            .map_err(|_| LoginError::Seal("the session does not fit or no key is active"))?;
        let last_user = self.seal_last_user(taker.host, &session.person.id, now)?;
        if !tx.insert_handed_session(&row).await? {
            // The code stays unspent, and runs out.
            return Err(LoginError::Unknown);
        }
        tx.commit().await?;
        self.auditor.record(AuditEvent {
            request_id: Some(taker.request_id.to_owned()),
            user_id: Some(session.person.id.clone()),
            connection: Some(session.authentication.connection.clone()),
            browser_address: Some(taker.address.to_string()),
            browser_device: Some(Device::of(taker.agent).text),
            reason: content.parent.is_some().then(|| "single_sign_on".to_owned()),
            ..AuditEvent::new(AuditKind::Login, now)
        });
        let former = taker.last_user.and_then(|token| self.open_last_user(taker.host, token));
        let mut cookies = vec![
            self.cookies.set_session(token, session.expires_at - now),
            self.cookies.set_last_user(last_user),
        ];
        let page = match content.start {
            None => content.page,
            Some(start) => {
                let mut left = cookie.clone();
                let page = left.take(start).unwrap_or_else(|| "/".to_owned());
                cookies.push(self.cookies.set_handoff(left.to_text()));
                page
            }
        };
        Ok(Taken {
            page,
            cookies,
            other_user: former.is_some_and(|former| former != session.person.id),
            user: session.person.id.clone(),
            session,
        })
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Seconds: the browser comes at once or not at all.
const CODE_LIFE: i64 = 30;
