//! The browser's side of a ticket: made with the page, watched, redeemed or abandoned.
//!
//! All of it acts by the sealed cookie of the ticket. Who has no cookie, or one that another browser got, is told the
//! same as who made the ticket up.

use std::net::IpAddr;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::accounts::masked_user;
use crate::config::settings::ConnectionKind;
use crate::identity::person::{Authentication, Method};
use crate::login::Login;
use crate::login::browser_half::{BindTo, BrowserHalf, ReturnAddress, browser_digest};
use crate::login::codes::Picture;
use crate::login::device::{Device, Surroundings};
use crate::login::entry;
use crate::login::error::{Ending, LoginError};
use crate::login::phone::user_of;
use crate::login::scene::{Opening, Scene};
use crate::login::status::{Standing, Status};
use crate::session::seal::Purpose;
use crate::session::token::{Session, SessionId};
use crate::store::{SessionRow, Ticket, TicketState, User};
use crate::telemetry::audit::{AuditKind, ticket_hash};

/// What the page knows when a ticket is made.
#[derive(Debug, Clone)]
pub struct PageFacts<'a> {
    /// Connection id.
    pub connection: &'a str,
    /// Name of the site, for people.
    pub site: &'a str,
    /// Host that the page is on.
    pub host: &'a str,
    /// Where to go afterwards, checked.
    pub return_to: &'a str,
    /// `User-Agent`.
    pub agent: &'a str,
    /// Client address.
    pub address: IpAddr,
    /// Value of the browser cookie, if it came with the request.
    pub browser_cookie: Option<&'a [u8]>,
    /// Whose account the WeChat that scans is connected to; `None`: it logs in.
    pub bind_to: Option<BindTo>,
}

/// A fresh ticket for a page.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The ticket's id.
    pub scene: Scene,
    /// What the code looks like.
    pub picture: Picture,
    /// Seconds until it ends.
    pub expires_in: i64,
    /// The page must hand the return address back.
    pub hand_back: bool,
    /// Opens WeChat on the phone that the page is on.
    pub open_url: Option<String>,
    /// The number, where WeChat will cover the page that shows it.
    pub number: Option<u8>,
    /// `Set-Cookie` lines.
    pub cookies: Vec<String>,
}

/// The cookies of a request about a ticket.
#[derive(Debug, Clone, Copy)]
pub struct TicketCookies<'a> {
    /// The ticket's own.
    pub ticket: Option<&'a [u8]>,
    /// The browser's.
    pub browser: Option<&'a [u8]>,
    /// Who signed in here last.
    pub last_user: Option<&'a [u8]>,
}

/// A ticket that this browser may watch.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The ticket's id.
    pub scene: Scene,
    /// What the page knew.
    pub half: BrowserHalf,
    last_user: Option<String>,
}

/// The status object of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusView {
    /// State.
    pub status: &'static str,
    /// To be chosen on the phone, 10–99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u8>,
    /// Who scanned or is about to be signed in, masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<StatusUser>,
    /// Somebody else signed in here last: the page asks before it redeems.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub other_user: bool,
    /// Seconds to the next end of waiting.
    pub expires_in: i64,
    /// Why it failed; the portal adds the message.
    #[serde(skip)]
    pub ending: Option<Ending>,
    /// Why it was cancelled: `declined`, `not_me`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A person, masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusUser {
    /// `王**`, or the masked phone of a person without a name.
    pub name: String,
    /// Picture URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

/// A ticket that became a session.
#[derive(Debug, Clone)]
pub struct Redeemed {
    /// Where to go, as the page was made for it.
    pub redirect: String,
    /// `Set-Cookie` lines.
    pub cookies: Vec<String>,
    /// The session that was made.
    pub session: Session,
    /// Whose it is.
    pub user: String,
    /// Another person than last time: the application's own cookies end.
    pub other_user: bool,
}

/// What the last-user cookie holds.
#[derive(Serialize, Deserialize)]
struct LastUser {
    id: String,
}

impl Watched {
    /// A ticket that is watched by what its holder knows, without cookies.
    pub(super) fn without_browser(scene: Scene, half: BrowserHalf) -> Self {
        Self {
            scene,
            half,
            last_user: None,
        }
    }
}

impl StatusUser {
    /// As both screens show a user. Whoever has neither name nor number is known by the end of the id.
    pub(crate) fn of(user: &User) -> Self {
        let end = user.id.chars().rev().take(4).collect::<Vec<_>>();
        Self {
            name: masked_user(user).unwrap_or_else(|| format!("u_****{}", end.iter().rev().collect::<String>())),
            picture: user.picture.clone(),
        }
    }
}

impl Login {
    /// Makes a ticket for a page. Writes nothing to the store.
    ///
    /// # Errors
    /// When the connection is unknown or WeChat draws no code.
    pub async fn issue(&self, facts: &PageFacts<'_>) -> Result<Issued, LoginError> {
        let (scene, picture) = self.take_code(facts.connection).await?;
        let now = self.clock.now();
        let browser = match facts.browser_cookie {
            Some(value) if value.len() == BROWSER_CHARS => String::from_utf8_lossy(value).into_owned(),
            _ => random_text()?,
        };
        let half = BrowserHalf {
            site: facts.site.to_owned(),
            host: facts.host.to_owned(),
            return_to: ReturnAddress::keep(facts.return_to),
            device: Device::of(facts.agent),
            address: facts.address,
            time: now,
            browser: browser_digest(browser.as_bytes()),
            bind_to: facts.bind_to.clone(),
        };
        let token = half
            .seal(&self.ring, &self.cookies.ticket, &scene, now)
            .map_err(|_| LoginError::Seal("no sealing key is active"))?;
        // The cookie outlives every state that the ticket can reach; the ticket says when it ends.
        let max_age = self.ticket_ttl() * 2 + self.bind_ttl() + CONFIRMED;
        let open_url = match Surroundings::of(facts.agent) {
            Surroundings::PhoneBrowser => self.open_url(facts.connection, &scene, &half).await,
            _ => None,
        };
        let number = match open_url {
            Some(_) => self.number(&scene, Opening::Ahead)?,
            None => None,
        };
        self.metrics.ticket_issued();
        Ok(Issued {
            open_url,
            number,
            expires_in: scene.issued_at() + self.ticket_ttl() - now,
            hand_back: half.return_to.is_handed_back(),
            cookies: vec![
                self.cookies.set_ticket(scene.as_str(), token, max_age),
                self.cookies.set_browser(browser),
            ],
            picture,
            scene,
        })
    }

    /// The number to be chosen on a phone that comes like this, where one is asked for.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] when the key of the scene is gone.
    pub fn number(&self, scene: &Scene, opening: Opening) -> Result<Option<u8>, LoginError> {
        if !self.settings.login.number_matching {
            return Ok(None);
        }
        let numbers = self.scenes.numbers(scene, opening).map_err(|_| LoginError::Unknown)?;
        Ok(Some(numbers.right))
    }

    /// Admits a browser to a ticket.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] for every ticket that is not this browser's.
    pub fn watch(&self, id: &str, cookies: TicketCookies<'_>) -> Result<Watched, LoginError> {
        let scene = self.scenes.check(id).map_err(|_| LoginError::Unknown)?;
        let token = cookies.ticket.ok_or(LoginError::Unknown)?;
        let half = BrowserHalf::open(&self.ring, &self.cookies.ticket, &scene, token).ok_or(LoginError::Unknown)?;
        // Over HTTPS the browser cookie cannot be planted by a sibling host; over HTTP it proves nothing.
        if self.settings.https() && !cookies.browser.is_some_and(|value| half.is_bound_to(value)) {
            return Err(LoginError::Unknown);
        }
        let last_user = cookies
            .last_user
            .and_then(|token| self.open_last_user(&half.host, token));
        Ok(Watched { scene, half, last_user })
    }

    /// Where the ticket stands. Adds the browser's half to the row if a phone waits for it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn status(&self, watched: &Watched) -> Result<StatusView, LoginError> {
        let id = watched.scene.as_str();
        let row = self.store.ticket(id).await?;
        if let Some(row) = &row
            && row.state == TicketState::Scanned
            && row.browser.is_none()
        {
            self.show_to_phone(watched).await?;
        }
        self.view(watched, row.as_ref()).await
    }

    async fn show_to_phone(&self, watched: &Watched) -> Result<(), LoginError> {
        let json = serde_json::to_string(&watched.half.facts())
            .map_err(|_| LoginError::Seal("the browser's half cannot be written"))?;
        let id = watched.scene.as_str();
        if self.store.ticket_set_browser(id, &json).await? {
            debug!(ticket = %ticket_hash(id), "browser's half added");
            self.waiters.wake(id);
        }
        Ok(())
    }

    async fn view(&self, watched: &Watched, row: Option<&Ticket>) -> Result<StatusView, LoginError> {
        let now = self.clock.now();
        let standing = Standing::of(&watched.scene, row, self.ticket_ttl(), now);
        let user = match (row, standing.status) {
            (Some(row), Status::Scanned | Status::Bind | Status::Confirmed) => self.who(row).await?,
            _ => None,
        };
        let number = match (row, standing.status) {
            (Some(row), Status::Scanned) => self.number(&watched.scene, entry::opening(row.entry))?,
            _ => None,
        };
        Ok(StatusView {
            status: standing.status.as_str(),
            number,
            other_user: standing.status == Status::Confirmed
                && matches!((&user, &watched.last_user), (Some(user), Some(last)) if user.id != *last),
            // Who is about to be bound is always named; who scanned, as far as there is a name.
            user: user
                .filter(|user| standing.status == Status::Bind || masked_user(user).is_some())
                .map(|user| StatusUser::of(&user))
                // Whoever merely scanned has not said that this page may see them.
                .map(|user| match standing.status {
                    Status::Confirmed => user,
                    _ => StatusUser { picture: None, ..user },
                }),
            expires_in: standing.expires_in,
            ending: standing.ending,
            reason: row
                .filter(|_| standing.status == Status::Cancelled)
                .and_then(|row| row.reason.clone()),
        })
    }

    /// The user that a ticket is about, as far as that is known.
    async fn who(&self, row: &Ticket) -> Result<Option<User>, LoginError> {
        if let Some(id) = &row.user_id {
            return Ok(self.store.user(id).await?);
        }
        Ok(user_of(&self.recognise(row).await?).cloned())
    }

    /// Turns a confirmed ticket into a session, exactly once.
    ///
    /// # Errors
    /// [`LoginError::WrongState`] when it is not confirmed, was redeemed before, or logs nobody in ([`Login::connect`]).
    pub async fn redeem(
        &self,
        watched: &Watched,
        handed_back: Option<&str>,
        request_id: &str,
    ) -> Result<Redeemed, LoginError> {
        if watched.half.bind_to.is_some() {
            return Err(LoginError::WrongState);
        }
        let id = watched.scene.as_str();
        let now = self.clock.now();
        let row = self.store.ticket(id).await?.ok_or(LoginError::WrongState)?;
        self.refuse_unless_confirmed(&watched.scene, &row, now)?;
        let redirect = watched.half.return_to.resolve(handed_back).unwrap_or("/").to_owned();
        let user_id = row.user_id.as_deref().ok_or(LoginError::WrongState)?;
        let user = self
            .store
            .user(user_id)
            .await?
            .ok_or(LoginError::Ended(Ending::NoAccount))?;
        if user.disabled {
            self.fail(&row, &[TicketState::Confirmed], Ending::UserDisabled, request_id)
                .await?;
            return Err(LoginError::Ended(Ending::UserDisabled));
        }
        let session = self.new_session(&row, &user, now)?;
        let registry = registry_row(&session, watched, now);
        let token = session
            .seal(&self.ring, &self.cookies.session, &watched.half.host, now)
            .map_err(|_| LoginError::Seal("the session does not fit or no key is active"))?;
        let last_user = self.seal_last_user(&watched.half.host, &user.id, now)?;
        if !self.store.ticket_redeem(id, now, &registry).await? {
            return Err(LoginError::WrongState);
        }
        self.waiters.wake(id);
        self.audit(
            AuditKind::Login,
            &row,
            Some(&watched.half),
            request_id,
            Some(&user.id),
            None,
        );
        Ok(Redeemed {
            redirect,
            user: user.id.clone(),
            cookies: vec![
                self.cookies.set_session(token, session.expires_at - now),
                self.cookies.set_last_user(last_user),
                // The ticket's cookie stays until it ends by itself: were the answer lost behind its head, this browser
                // could not ask again.
            ],
            other_user: watched.last_user.as_ref().is_some_and(|last| *last != user.id),
            session,
        })
    }

    pub(super) fn refuse_unless_confirmed(&self, scene: &Scene, row: &Ticket, now: i64) -> Result<(), LoginError> {
        let standing = Standing::of(scene, Some(row), self.ticket_ttl(), now);
        match (standing.status, standing.ending) {
            (Status::Confirmed, _) => Ok(()),
            (Status::Failed, Some(ending)) => Err(LoginError::Ended(ending)),
            (Status::Cancelled, _) => Err(LoginError::Cancelled),
            (Status::Expired, _) => Err(LoginError::Expired),
            _ => Err(LoginError::WrongState),
        }
    }

    pub(super) fn new_session(&self, row: &Ticket, user: &User, now: i64) -> Result<Session, LoginError> {
        let lifetime = i64::try_from(self.settings.session.lifetime.as_secs()).unwrap_or(i64::MAX / 2);
        Ok(Session {
            id: SessionId::random().map_err(|_| LoginError::Seal("no randomness"))?,
            person: user.clone().into(),
            authentication: Authentication {
                connection: row.connection.clone(),
                method: self.method_of(&row.connection),
                time: now,
                app_id: row.app_id.clone(),
                openid: row.openid.clone(),
                unionid: row.unionid.clone(),
            },
            expires_at: now.saturating_add(lifetime),
            renewed_at: now,
            groups_left_out: false,
            known_at: now,
        })
    }

    pub(crate) fn open_last_user(&self, host: &str, token: &[u8]) -> Option<String> {
        let opened = self
            .ring
            .open(Purpose::LastUser, &[&self.cookies.last_user, host], token)?;
        postcard::from_bytes::<LastUser>(&opened).ok().map(|last| last.id)
    }

    pub(crate) fn seal_last_user(&self, host: &str, id: &str, now: i64) -> Result<String, LoginError> {
        let bytes = postcard::to_stdvec(&LastUser { id: id.to_owned() })
            .map_err(|_| LoginError::Seal("the last user cannot be written"))?;
        self.ring
            .seal(Purpose::LastUser, &[&self.cookies.last_user, host], &bytes, now)
            .map_err(|_| LoginError::Seal("no sealing key is active"))
    }

    /// The browser gives the ticket up: "not me", or another code is wanted.
    ///
    /// # Errors
    /// When the store does not answer. A ticket that has ended is left as it is.
    pub async fn abandon(&self, watched: &Watched, reason: &str, request_id: &str) -> Result<(), LoginError> {
        let id = watched.scene.as_str();
        let now = self.clock.now();
        // A ticket that no phone has touched has no row, and an anonymous visitor makes none: it ends by itself.
        let from = [TicketState::Scanned, TicketState::Bind, TicketState::Confirmed];
        let ended = self
            .store
            .ticket_end(id, &from, TicketState::Cancelled, None, Some(reason), now)
            .await?;
        if ended {
            self.waiters.wake(id);
            if let Some(row) = self.store.ticket(id).await? {
                let kind = if reason == "not_me" {
                    AuditKind::NotMe
                } else {
                    AuditKind::Cancel
                };
                self.audit(kind, &row, Some(&watched.half), request_id, None, Some("browser"));
            }
        }
        Ok(())
    }

    /// Ends a ticket for a reason that both screens say.
    pub(crate) async fn fail(
        &self,
        row: &Ticket,
        from: &[TicketState],
        ending: Ending,
        request_id: &str,
    ) -> Result<(), LoginError> {
        let now = self.clock.now();
        if self
            .store
            .ticket_end(&row.id, from, TicketState::Failed, Some(ending.as_str()), None, now)
            .await?
        {
            self.waiters.wake(&row.id);
            self.audit(
                AuditKind::LoginFailed,
                row,
                None,
                request_id,
                None,
                Some(ending.as_str()),
            );
        }
        Ok(())
    }

    /// A place in the waiting room, to be taken before the status is read.
    pub fn wait(&self, watched: &Watched) -> crate::login::waiters::Waiter {
        self.waiters.subscribe(watched.scene.as_str())
    }

    /// Whether a phone that has not scanned yet still can.
    pub fn can_be_scanned(&self, watched: &Watched) -> bool {
        self.clock.now() < watched.scene.issued_at() + self.ticket_ttl()
    }

    /// Whether WeChat has to be asked for the picture: such calls count like pages.
    pub fn picture_costs_a_call(&self, watched: &Watched) -> bool {
        let Some(connection) = self.connection_of(&watched.scene) else {
            return false;
        };
        match (self.codes.get(&connection.id), self.accounts.get(&connection.id)) {
            (Some(codes), _) => codes.costs_a_call(&watched.scene),
            (None, Some(account)) => account.codes.costs_a_call(&watched.scene),
            (None, None) => false,
        }
    }

    /// The picture of a ticket's code.
    ///
    /// # Errors
    /// What keeps WeChat from drawing.
    pub async fn picture(&self, watched: &Watched) -> Result<Picture, LoginError> {
        let connection = self.connection_of(&watched.scene).ok_or(LoginError::Unknown)?;
        match (self.codes.get(&connection.id), self.accounts.get(&connection.id)) {
            (Some(codes), _) => codes.picture(&watched.scene).await,
            (None, Some(account)) => account.codes.picture(&watched.scene).await,
            (None, None) => Err(LoginError::Unknown),
        }
    }

    /// A scene with its picture, as the kind of the connection has them.
    async fn take_code(&self, connection: &str) -> Result<(Scene, Picture), LoginError> {
        match (self.codes.get(connection), self.accounts.get(connection)) {
            (Some(codes), _) => codes.take().await,
            (None, Some(account)) => account.codes.take().await,
            (None, None) => Err(LoginError::Unknown),
        }
    }

    /// How somebody logs in by a ticket of this connection, as `amr` says it.
    fn method_of(&self, connection: &str) -> Method {
        let kind = self.settings.connection(connection).map(|connection| &connection.kind);
        match kind {
            Some(ConnectionKind::OfficialAccountQr(_)) => Method::OfficialAccount,
            _ => Method::MiniProgram,
        }
    }
}

/// A session as the registry will know it.
pub(super) fn registry_row(session: &Session, watched: &Watched, now: i64) -> SessionRow {
    let half = &watched.half;
    SessionRow {
        id: session.id.to_text(),
        user_id: session.person.id.clone(),
        connection: session.authentication.connection.clone(),
        site: half.site.clone(),
        host: half.host.clone(),
        device: serde_json::to_string(&half.device).unwrap_or_default(),
        address: half.address.to_string(),
        place: None,
        ticket: Some(ticket_hash(watched.scene.as_str())),
        created_at: now,
        auth_time: now,
        expires_at: session.expires_at,
        last_used_at: now,
        ended_at: None,
        parent: None,
    }
}

/// 256 random bits.
pub(crate) fn random_text() -> Result<String, LoginError> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| LoginError::Seal("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Seconds that a confirmed ticket waits to be redeemed.
pub const CONFIRMED: i64 = 60;
/// 256 bits in base64url.
const BROWSER_CHARS: usize = 43;
