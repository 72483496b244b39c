//! Tickets and the ways to log in.
//!
//! [`Login`] is the desk where both sides of a ticket come: the browser with its cookie (`browser`), the phone with
//! WeChat's codes (`phone`, `confirm`, `cancel`), and both where an account is chosen (`binding`) or gets a further
//! WeChat account (`connect`). Who scans a service account's code comes by a message of WeChat's (`official_account`).
//! Kinds without a ticket send the browser to WeChat and back (`redirect`). It knows no HTTP; the portal speaks for it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tracing::warn;

use crate::accounts::{Directory, PROOF_WINDOW, Recognised, WechatIdentity};
use crate::config::Settings;
use crate::config::settings::Connection;
use crate::login::browser_half::{BrowserFacts, BrowserHalf};
use crate::login::codes::Codes;
use crate::login::device::Device;
use crate::login::error::LoginError;
use crate::login::geo::GeoDatabase;
use crate::login::limits::Limits;
use crate::login::official_account::OfficialAccountDesk;
use crate::login::open_links::OpenLinks;
use crate::login::redirect_app::RedirectApp;
use crate::login::scene::{Scene, SceneKeys};
use crate::login::waiters::Waiters;
use crate::session::cookie::CookieNames;
use crate::session::seal::SealingRing;
use crate::store::{Store, Ticket};
use crate::telemetry::audit::{AuditEvent, AuditKind, Auditor, ticket_hash};
use crate::telemetry::clock::Clock;
use crate::telemetry::metrics::{Metrics, RestingCall};
use crate::wechat::{MiniProgram, Refusal};

pub mod account_codes;
pub mod app;
pub mod binding;
pub mod browser;
pub mod browser_half;
pub mod cancel;
pub mod carried_half;
pub mod codes;
pub mod confirm;
pub mod connect;
pub mod device;
pub mod entry;
pub mod error;
pub mod geo;
pub mod handoff;
pub mod handoff_cookie;
pub mod keyring;
pub mod launch;
pub mod limits;
pub mod official_account;
pub mod open_links;
pub mod opener;
pub mod phone;
mod phone_errno;
pub mod place;
pub mod redirect;
pub mod redirect_app;
pub mod redirect_state;
pub mod scene;
pub mod status;
pub mod waiters;

/// What a login needs. Built once; shared by all requests.
pub struct Login {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The one clock.
    pub clock: Clock,
    /// State.
    pub store: Store,
    /// People.
    pub directory: Directory,
    /// Keys of scenes.
    pub scenes: Arc<SceneKeys>,
    /// Keys of cookies.
    pub ring: Arc<SealingRing>,
    /// Names of cookies.
    pub cookies: CookieNames,
    /// Who waits on this node.
    pub waiters: Waiters,
    /// How much may be asked for.
    pub limits: Limits,
    /// What happened.
    pub auditor: Auditor,
    /// How often.
    pub metrics: Arc<Metrics>,
    /// WeChat's servers, by connection id.
    pub wechat: HashMap<String, MiniProgram>,
    /// Where redirects lead, by connection id.
    pub redirects: HashMap<String, RedirectApp>,
    /// Codes, by connection id.
    pub codes: HashMap<String, Codes>,
    /// Service accounts whose messages come here, by connection id.
    pub accounts: HashMap<String, OfficialAccountDesk>,
    /// What opens WeChat on a phone, by connection id.
    pub open_links: HashMap<String, OpenLinks>,
    /// Where addresses are, if the operator has a database.
    pub geo: Option<Arc<GeoDatabase>>,
    /// Told when this node revoked something, so that it is read again at once.
    pub revocations_changed: Arc<Notify>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("connections", &self.codes.keys())
            .finish_non_exhaustive()
    }
}

impl Login {
    /// Seconds that a ticket waits to be scanned, and again from the scan.
    pub fn ticket_ttl(&self) -> i64 {
        i64::try_from(self.settings.login.ticket_ttl.as_secs()).unwrap_or(120)
    }

    fn bind_ttl(&self) -> i64 {
        i64::try_from(self.settings.login.bind_ttl.as_secs()).unwrap_or(600)
    }

    /// Sweeps what has ended.
    pub async fn sweep(&self) {
        self.limits.sweep();
        let now = self.clock.now();
        let keep = i64::try_from(self.settings.audit.keep.as_secs()).unwrap_or(i64::MAX / 2);
        let (store, remains) = (&self.store, now - TICKET_REMAINS);
        // Each by itself: what cannot be swept today keeps nothing else.
        let swept = [
            ("bindings", store.sweep_bindings(now, now - PROOF_WINDOW).await.err()),
            ("tickets", store.sweep_tickets(remains).await.err()),
            ("sessions", store.sweep_sessions(remains).await.err()),
            ("tokens", store.sweep_tokens(remains).await.err()),
            ("revocations", store.sweep_revocations(now).await.err()),
            ("handoffs", store.sweep_handoffs(remains).await.err()),
            ("keys", keyring::sweep(store, &self.settings, now).await.err()),
            ("audit", store.sweep_audit(now - keep).await.err()),
        ];
        for (what, error) in swept {
            if let Some(error) = error {
                warn!(what, %error, "what has ended is not swept");
            }
        }
    }

    /// The calls of WeChat that are not made for a while, because WeChat refuses this installation; each app's once.
    pub fn resting_calls(&self) -> Vec<RestingCall> {
        let programs = self.wechat.values().map(|app| (app.app_id(), app.resting()));
        let redirects = self.redirects.values().map(|app| (app.app_id(), app.resting()));
        let accounts = self.accounts.values().map(|desk| &desk.wechat);
        let accounts = accounts.map(|app| (app.app_id(), app.resting()));
        let openers = self.accounts.values().filter_map(|desk| desk.web.as_ref());
        let openers = openers.map(|app| (app.app_id(), app.resting()));
        let mut calls: Vec<RestingCall> = programs
            .chain(redirects)
            .chain(accounts)
            .chain(openers)
            .flat_map(|(app_id, causes)| causes.into_iter().map(move |cause| resting_call(app_id, &cause)))
            .collect();
        calls.sort_by(|one, other| {
            let key = |call: &RestingCall| (call.app_id.clone(), call.endpoint, call.errcode);
            key(one).cmp(&key(other))
        });
        calls.dedup();
        calls
    }

    /// The connection that a scene was minted for.
    pub fn connection_of(&self, scene: &Scene) -> Option<&Connection> {
        self.settings
            .connections
            .iter()
            .find(|connection| scene.is_of(&connection.id))
    }

    fn identity(&self, row: &Ticket) -> WechatIdentity {
        let connection = self.settings.connection(&row.connection);
        WechatIdentity {
            app_id: row.app_id.clone(),
            openid: row.openid.clone(),
            unionid: row.unionid.clone(),
            open_platform: connection.and_then(|connection| connection.open_platform.clone()),
        }
    }

    async fn recognise(&self, row: &Ticket) -> Result<Recognised, LoginError> {
        Ok(self.directory.recognise(&self.identity(row)).await?)
    }

    fn audit(
        &self,
        kind: AuditKind,
        row: &Ticket,
        half: Option<&BrowserHalf>,
        request_id: &str,
        user: Option<&str>,
        reason: Option<&str>,
    ) {
        let facts = half.map(BrowserHalf::facts).or_else(|| {
            row.browser
                .as_deref()
                .and_then(|json| serde_json::from_str::<BrowserFacts>(json).ok())
        });
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        self.auditor.record(AuditEvent {
            request_id: text(request_id),
            user_id: user.map(str::to_owned),
            connection: text(&row.connection),
            ticket_hash: Some(ticket_hash(&row.id)),
            browser_address: facts.as_ref().map(|facts| facts.address.to_string()),
            phone_address: text(&row.phone_address),
            browser_device: facts.map(|facts| facts.device.text),
            phone_device: text(&row.phone_agent).map(|agent| Device::of(&agent).text),
            reason: reason.or(row.reason.as_deref()).map(str::to_owned),
            ..AuditEvent::new(kind, self.clock.now())
        });
    }
}

fn resting_call(app_id: &str, cause: &Refusal) -> RestingCall {
    RestingCall {
        app_id: app_id.to_owned(),
        endpoint: cause.endpoint.as_str(),
        errcode: cause.code,
        remedy: cause.remedy().into_owned(),
    }
}

/// Seconds that an ended ticket can still be asked about.
const TICKET_REMAINS: i64 = 3_600;
