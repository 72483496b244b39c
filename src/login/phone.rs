//! The phone's side of a ticket: scan and look again. Confirming is in `confirm`, declining in `cancel`.
//!
//! The phone proves itself with WeChat's codes only; openid, unionid and phone number come from WeChat's servers, never
//! from the call. What the phone shows comes from the browser's half, and until an answer has carried that, nothing can
//! be confirmed.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::{Instant, timeout_at};

use crate::accounts::{Recognised, WechatIdentity};
use crate::config::settings::{Association, Connection, ConnectionKind, NumberEntry, PhonePolicy};
use crate::login::Login;
use crate::login::browser::{StatusUser, random_text};
use crate::login::browser_half::BrowserFacts;
use crate::login::carried_half;
use crate::login::connect::bind_to;
use crate::login::entry::{self, Entry, Warning};
use crate::login::error::{Ending, LoginError};
use crate::login::place::Place;
use crate::login::scene::Scene;
use crate::login::status::{Standing, Status};
use crate::session::token::CLOCK_TOLERANCE;
use crate::store::{EndedTicket, NewTicket, Rescan, Ticket, TicketState, User};
use crate::telemetry::audit::{AuditEvent, AuditKind, ticket_hash};
use crate::wechat::Outcome;

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Client address.
    pub address: IpAddr,
    /// What limits count by: of IPv6 the /64.
    pub limit_key: IpAddr,
    /// `User-Agent`.
    pub agent: &'a str,
    /// For the audit.
    pub request_id: &'a str,
}

/// A phone, as the audit and the ticket's row name it. Empty while only WeChat's servers have spoken for it.
#[derive(Debug, Clone, Default)]
pub(super) struct PhoneLabel {
    address: String,
    agent: String,
}

/// What the phone is told about a ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct PhoneView {
    /// Only in the answer to a scan.
    pub handle: Option<String>,
    /// Where the ticket stands.
    pub status: Status,
    /// Why it failed.
    pub ending: Option<Ending>,
    /// The browser's half, once it has come.
    pub browser: Option<BrowserFacts>,
    /// Where the browser is, as seen from this phone.
    pub place: Option<Place>,
    /// The numbers to choose from; empty when one is typed or none is asked for.
    pub choices: Vec<u8>,
    /// Whether a number has to be typed.
    pub number_entry: Option<NumberEntry>,
    /// Whether the phone number is asked for.
    pub phone: PhoneAsk,
    /// WeChat's person is a user already.
    pub known: bool,
    /// It connects this WeChat to `account`, and logs nobody in.
    pub connects: bool,
    /// The account that the browser proved, or is signed in to, and that the phone is to accept.
    pub account: Option<StatusUser>,
    /// Connection id.
    pub connection: String,
    /// What is to be said about how the mini program was opened.
    pub warning: Option<Warning>,
    /// For the way back to the application that opened the mini program: names the ticket to it, and opens nothing.
    pub app_parameter: Option<String>,
    /// Seconds to the next end of waiting.
    pub expires_in: i64,
}

/// What a mini program sends when it was opened.
#[derive(Debug, Clone, Copy)]
pub struct ScanCall<'a> {
    /// As it came with the code, the link or the launch.
    pub scene: &'a str,
    /// Of `wx.login`.
    pub code: &'a str,
    /// How it was opened.
    pub entry: Entry<'a>,
    /// What a link or a launch carried beside the scene.
    pub half: Option<&'a str>,
}

/// Whether the phone number is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneAsk {
    /// No login without it.
    Required,
    /// The person may refuse.
    Optional,
    /// It is known already.
    Known,
    /// Not asked.
    Never,
}

impl PhoneLabel {
    fn of(caller: Caller<'_>) -> Self {
        Self {
            address: caller.address.to_string(),
            agent: shorten(caller.agent),
        }
    }
}

impl PhoneAsk {
    /// The text of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Known => "known",
            Self::Never => "never",
        }
    }

    /// What is asked of a person that WeChat named.
    pub(crate) fn of(policy: PhonePolicy, recognised: &Recognised) -> Self {
        Self::of_user(policy, recognised.user())
    }

    /// What is asked for an account.
    pub(crate) fn of_user(policy: PhonePolicy, user: Option<&User>) -> Self {
        match policy {
            PhonePolicy::Never => Self::Never,
            PhonePolicy::Required | PhonePolicy::Optional if user.is_some_and(|user| user.phone.is_some()) => {
                Self::Known
            }
            PhonePolicy::Required => Self::Required,
            PhonePolicy::Optional => Self::Optional,
        }
    }
}

impl Login {
    /// A phone has opened the mini program with a scene.
    ///
    /// # Errors
    /// A code that WeChat refused, or an answer that never came, leaves the ticket as it was.
    pub async fn scan(&self, call: ScanCall<'_>, caller: Caller<'_>) -> Result<PhoneView, LoginError> {
        let deadline = Instant::now() + BROWSER_WAITS;
        let scene = self.admit(call.scene, caller)?;
        let connection = self.connection_of(&scene).ok_or(LoginError::Unknown)?;
        if !connection.kind.gets_phone() {
            // Of a service account: no mini program opens it, and WeChat would take the question amiss.
            return Err(LoginError::Unknown);
        }
        if let Err(refusal) = call.entry.judge(&connection.kind) {
            self.refuse_entry(&scene, connection, caller);
            return Err(refusal.into());
        }
        let app = self.wechat.get(&connection.id).ok_or(LoginError::Unknown)?;
        // Before WeChat is asked: a ticket that has ended costs no call.
        let before = self.store.ticket(scene.as_str()).await?;
        self.refuse_unless_open(&scene, before.as_ref())?;

        let identity = app.code_to_session(call.code).await.map_err(|error| {
            // Nobody need be anybody to make one up, and each costs a call of WeChat's.
            if error.outcome() == Outcome::CodeInvalid {
                self.limits.forgery(caller.limit_key);
            }
            LoginError::wechat(&connection.id, error)
        })?;
        self.limits.person_call(&identity.openid)?;
        let identity = WechatIdentity {
            app_id: connection.app_id.clone(),
            openid: identity.openid,
            unionid: identity.unionid,
            open_platform: connection.open_platform.clone(),
        };
        if before
            .as_ref()
            .is_some_and(|row| row.openid != identity.openid || row.app_id != identity.app_id)
        {
            return Err(LoginError::Taken);
        }
        let recognised = self.directory.recognise(&identity).await?;
        if let Some(ending) = hopeless(&recognised) {
            self.fail_scan(&scene, connection, before.as_ref(), ending, caller.request_id)
                .await?;
            return Err(LoginError::Ended(ending));
        }

        let handle = random_text()?;
        // Subscribed before the row exists: the browser's answer to it cannot be missed.
        let mut waiter = self.waiters.subscribe(scene.as_str());
        let label = PhoneLabel::of(caller);
        self.hold(&scene, connection, &identity, &handle, call.entry.scene, label)
            .await?;
        self.take_half(&scene, call.half).await?;
        self.waiters.wake(scene.as_str());
        let mut row = self.store.ticket(scene.as_str()).await?.ok_or(LoginError::Unknown)?;
        self.audit(
            AuditKind::Scan,
            &row,
            None,
            caller.request_id,
            user_of(&recognised).map(|user| &*user.id),
            None,
        );
        while row.browser.is_none() && row.state == TicketState::Scanned {
            if timeout_at(deadline, waiter.changed()).await.is_err() {
                break;
            }
            row = self.store.ticket(scene.as_str()).await?.ok_or(LoginError::Unknown)?;
        }
        self.refuse_what_was_asked(connection, &row, &recognised, caller.request_id)
            .await?;
        let holder = handle_hash(&handle);
        let mut view = self
            .phone_view(&scene, connection, &row, &holder, &recognised, caller)
            .await?;
        view.handle = Some(handle);
        Ok(view)
    }

    /// Writes down that a ticket was opened in a way that it was not made for.
    fn refuse_entry(&self, scene: &Scene, connection: &Connection, caller: Caller<'_>) {
        // Anybody can have a scene and report any start, and what is left is a row of the audit: it counts tenfold, and a
        // repetition is no news.
        self.limits.forgery(caller.limit_key);
        if !self.limits.is_first_refusal(scene) {
            return;
        }
        // Nobody scanned, so there is no row of a ticket: the event is all that tells of it.
        self.auditor.record(AuditEvent {
            request_id: Some(caller.request_id.to_owned()),
            connection: Some(connection.id.clone()),
            ticket_hash: Some(ticket_hash(scene.as_str())),
            phone_address: Some(caller.address.to_string()),
            reason: Some("entry_refused".to_owned()),
            ..AuditEvent::new(AuditKind::LoginFailed, self.clock.now())
        });
    }

    /// The phone looks again.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] for a handle that died.
    pub async fn phone_status(&self, handle: &str, caller: Caller<'_>) -> Result<PhoneView, LoginError> {
        let (scene, row) = self.held(handle, caller).await?;
        let connection = self.connection_of(&scene).ok_or(LoginError::Unknown)?;
        if row.phone_address.is_empty() {
            // Its scan came by WeChat's servers; the phone itself comes now.
            let PhoneLabel { address, agent } = PhoneLabel::of(caller);
            self.store
                .ticket_set_phone(&row.id, &row.handle_hash, &address, &agent)
                .await?;
        }
        let recognised = self.recognise(&row).await?;
        self.refuse_what_was_asked(connection, &row, &recognised, caller.request_id)
            .await?;
        self.phone_view(&scene, connection, &row, &row.handle_hash, &recognised, caller)
            .await
    }

    /// Takes the browser's half from the link that carried it here. One that does not open is none: the page brings its
    /// own.
    async fn take_half(&self, scene: &Scene, half: Option<&str>) -> Result<(), LoginError> {
        let Some(facts) = half.and_then(|half| carried_half::open(&self.ring, half, scene)) else {
            return Ok(());
        };
        let json =
            serde_json::to_string(&facts).map_err(|_| LoginError::Seal("the browser's half cannot be written"))?;
        self.store.ticket_set_browser(scene.as_str(), &json).await?;
        Ok(())
    }

    /// Checks a scene before anybody is asked; a forged one counts tenfold.
    pub(super) fn admit(&self, scene: &str, caller: Caller<'_>) -> Result<Scene, LoginError> {
        let scene = self
            .scenes
            .check(scene)
            .inspect_err(|_| self.limits.forgery(caller.limit_key));
        scene.map_err(|_| LoginError::Unknown)
    }

    /// The ticket that this handle holds.
    pub(crate) async fn held(&self, handle: &str, caller: Caller<'_>) -> Result<(Scene, Ticket), LoginError> {
        let Some((scene, row)) = self.find_held(handle).await? else {
            self.limits.forgery(caller.limit_key);
            return Err(LoginError::Unknown);
        };
        self.limits.person_call(&row.openid)?;
        Ok((scene, row))
    }

    /// The same without counting: to look again on behalf of a call that was counted.
    pub(crate) async fn find_held(&self, handle: &str) -> Result<Option<(Scene, Ticket)>, LoginError> {
        let row = self.store.ticket_by_handle(&handle_hash(handle)).await?;
        let scene = |row: Ticket| self.scenes.check(&row.id).ok().map(|scene| (scene, row));
        Ok(row.and_then(scene))
    }

    /// What a phone that comes now is told about a ticket that is not open to it.
    pub(super) fn refuse_unless_open(&self, scene: &Scene, row: Option<&Ticket>) -> Result<(), LoginError> {
        let now = self.clock.now();
        if scene.issued_at() > now + CLOCK_TOLERANCE {
            return Err(LoginError::Unknown);
        }
        let standing = Standing::of(scene, row, self.ticket_ttl(), now);
        match (standing.status, standing.ending) {
            (Status::Pending | Status::Scanned | Status::Bind | Status::Confirmed, _) => Ok(()),
            (Status::Failed, Some(ending)) => Err(LoginError::Ended(ending)),
            (Status::Cancelled, _) => Err(LoginError::Cancelled),
            (Status::Expired, _) => Err(LoginError::Expired),
            (Status::Redeemed | Status::Failed, _) => Err(LoginError::WrongState),
        }
    }

    /// `pending → scanned`, or the same person again with a new handle.
    pub(super) async fn hold(
        &self,
        scene: &Scene,
        connection: &Connection,
        identity: &WechatIdentity,
        handle: &str,
        entry: Option<i64>,
        phone: PhoneLabel,
    ) -> Result<(), LoginError> {
        let now = self.clock.now();
        // Whoever scans again and again keeps the time of a scan, and not for ever.
        let expires_at = (now + self.ticket_ttl()).min(scene.issued_at() + LIVES * self.ticket_ttl());
        let new = NewTicket {
            id: scene.as_str().to_owned(),
            connection: connection.id.clone(),
            app_id: identity.app_id.clone(),
            openid: identity.openid.clone(),
            unionid: identity.unionid.clone(),
            handle_hash: handle_hash(handle),
            entry,
            phone_address: phone.address,
            phone_agent: phone.agent,
            created_at: scene.issued_at(),
            scanned_at: now,
            expires_at,
        };
        if self.store.ticket_scan(&new).await? {
            return Ok(());
        }
        let again = Rescan {
            app_id: new.app_id,
            openid: new.openid,
            handle_hash: new.handle_hash,
            // What was a code does not become a link by being opened again.
            entry: entry.filter(|_| !entry::is_opened_again(entry)),
            phone_address: new.phone_address,
            phone_agent: new.phone_agent,
            now,
            expires_at,
        };
        if self.store.ticket_rescan(scene.as_str(), &again).await? {
            return Ok(());
        }
        let row = self.store.ticket(scene.as_str()).await?;
        self.refuse_unless_open(scene, row.as_ref())?;
        Err(LoginError::Taken)
    }

    /// What both screens must be told at once: the person cannot log in here whatever they tap.
    pub(super) async fn fail_scan(
        &self,
        scene: &Scene,
        connection: &Connection,
        row: Option<&Ticket>,
        ending: Ending,
        request_id: &str,
    ) -> Result<(), LoginError> {
        if let Some(row) = row {
            let from = [TicketState::Scanned, TicketState::Bind];
            return self.fail(row, &from, ending, request_id).await;
        }
        let ended = self.ended(scene, connection, TicketState::Failed, Some(ending), None);
        if self.store.ticket_end_pending(&ended).await? {
            self.waiters.wake(scene.as_str());
            if let Some(row) = self.store.ticket(scene.as_str()).await? {
                let kind = AuditKind::LoginFailed;
                self.audit(kind, &row, None, request_id, None, Some(ending.as_str()));
            }
        }
        Ok(())
    }

    /// What can be said only after the browser has spoken: a link leads to the ticket of a page that was given one; who is
    /// nobody here may not come where nobody new may, unless they do not come at all, because somebody connects their own
    /// WeChat account.
    pub(super) async fn refuse_what_was_asked(
        &self,
        connection: &Connection,
        row: &Ticket,
        recognised: &Recognised,
        request_id: &str,
    ) -> Result<(), LoginError> {
        if row.state != TicketState::Scanned || row.is_leased(self.clock.now()) {
            return Ok(());
        }
        let Some(browser) = browser_facts(row) else {
            return Ok(());
        };
        if entry::judge_link(row.entry, browser.device.kind).is_err() {
            let ending = Ending::EntryRefused;
            self.fail(row, &[TicketState::Scanned], ending, request_id).await?;
            return Err(LoginError::Ended(ending));
        }
        if let Some(bind_to) = bind_to(row) {
            return self.refuse_unconnectable(connection, row, &bind_to, request_id).await;
        }
        let closed = connection.login_only && connection.association == Association::None;
        if !closed || *recognised != Recognised::Stranger {
            return Ok(());
        }
        let ending = Ending::NoAccount;
        self.fail(row, &[TicketState::Scanned], ending, request_id).await?;
        Err(LoginError::Ended(ending))
    }

    pub(super) fn ended(
        &self,
        scene: &Scene,
        connection: &Connection,
        state: TicketState,
        ending: Option<Ending>,
        reason: Option<&str>,
    ) -> EndedTicket {
        EndedTicket {
            id: scene.as_str().to_owned(),
            connection: connection.id.clone(),
            state,
            error: ending.map(|ending| ending.as_str().to_owned()),
            reason: reason.map(str::to_owned),
            created_at: scene.issued_at(),
            now: self.clock.now(),
            expires_at: scene.issued_at() + self.ticket_ttl(),
        }
    }

    async fn phone_view(
        &self,
        scene: &Scene,
        connection: &Connection,
        row: &Ticket,
        holder: &[u8],
        recognised: &Recognised,
        caller: Caller<'_>,
    ) -> Result<PhoneView, LoginError> {
        let standing = Standing::of(scene, Some(row), self.ticket_ttl(), self.clock.now());
        let browser = browser_facts(row);
        if browser.is_some() && !row.shown {
            // Should the answer be lost on its way, the phone asks again before it can confirm anything. Another scan
            // may have taken over since: what this answer shows counts for the handle that it goes to, no other.
            let account = row.user_id.as_deref();
            self.store.ticket_mark_shown(&row.id, holder, account).await?;
        }
        let owner = self.account_to_connect(row).await?;
        let account = match (&row.user_id, standing.status) {
            (_, Status::Scanned) => owner.as_ref().map(StatusUser::of),
            (Some(id), Status::Bind) => self.store.user(id).await?.as_ref().map(StatusUser::of),
            _ => None,
        };
        let login = &self.settings.login;
        let asked = login.number_matching && standing.status == Status::Scanned;
        let choices = if asked && login.number_entry == NumberEntry::Choose {
            self.scenes
                .numbers(scene, entry::opening(row.entry))
                .map_err(|_| LoginError::Unknown)?
                .choices
                .to_vec()
        } else {
            Vec::new()
        };
        Ok(PhoneView {
            handle: None,
            status: standing.status,
            ending: standing.ending,
            place: browser
                .as_ref()
                .map(|browser| Place::of(browser.address, caller.address, self.geo.as_deref())),
            connects: browser.as_ref().is_some_and(|facts| facts.bind_to.is_some()),
            browser,
            choices,
            number_entry: asked.then_some(login.number_entry),
            phone: Self::asks_for_phone(connection, recognised, owner.as_ref()),
            known: user_of(recognised).is_some(),
            account,
            connection: connection.id.clone(),
            warning: Warning::of(row.entry),
            app_parameter: matches!(connection.kind, ConnectionKind::MiniprogramLaunch(_))
                .then(|| scene.as_str().to_owned()),
            expires_in: standing.expires_in,
        })
    }
}

fn browser_facts(row: &Ticket) -> Option<BrowserFacts> {
    row.browser.as_deref().and_then(|json| serde_json::from_str(json).ok())
}

/// Nothing that the person could still do would let them in.
pub(super) fn hopeless(recognised: &Recognised) -> Option<Ending> {
    match recognised {
        Recognised::Ambiguous => Some(Ending::AmbiguousAccount),
        Recognised::Disabled(_) => Some(Ending::UserDisabled),
        Recognised::Known(_) | Recognised::Stranger => None,
    }
}

/// The user that WeChat's person is, if that is clear.
pub(crate) fn user_of(recognised: &Recognised) -> Option<&User> {
    match recognised {
        Recognised::Known(user) | Recognised::Disabled(user) => Some(user),
        Recognised::Ambiguous | Recognised::Stranger => None,
    }
}

/// The store never sees a handle.
pub(crate) fn handle_hash(handle: &str) -> Vec<u8> {
    digest(&SHA256, handle.as_bytes()).as_ref().to_vec()
}

/// A user agent is a label, and a label has an end.
fn shorten(agent: &str) -> String {
    agent.chars().take(256).collect()
}

/// Times `ticket_ttl`, from the issue time, that a ticket may be scanned again: one to be scanned, one from the scan, and
/// one for those who had to begin anew.
const LIVES: i64 = 3;
/// So long a scan waits for the browser's half.
const BROWSER_WAITS: Duration = Duration::from_secs(2);
