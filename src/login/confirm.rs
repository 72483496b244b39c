//! The tap that counts: number first, then the phone number, then who this is.
//!
//! The order saves money and prevents harm: a wrong number ends the ticket before the phone code is spent, and the phone
//! code is spent under a lease, so that a doubled call cannot spend it twice. A repeated call gets the same answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::accounts::{Phone, Policy, ResolveError, Resolved};
use crate::config::settings::{Connection, PhonePolicy};
use crate::login::Login;
use crate::login::browser::{CONFIRMED, random_text};
use crate::login::connect::bind_to;
use crate::login::entry;
use crate::login::error::{Ending, LoginError};
use crate::login::phone::{Caller, PhoneAsk, handle_hash};
use crate::login::scene::Scene;
use crate::login::status::{Standing, Status};
use crate::store::{Confirmation, Ticket, TicketState};
use crate::telemetry::audit::AuditKind;
use crate::wechat::Outcome;

/// What the phone sends.
#[derive(Debug, Clone, Copy)]
pub struct ConfirmCall<'a> {
    /// Of the last scan.
    pub handle: &'a str,
    /// The number that was tapped or typed.
    pub choice: Option<i64>,
    /// Of WeChat's phone button.
    pub phone_code: Option<&'a str>,
    /// What WeChat's phone button failed with.
    pub phone_errno: Option<i64>,
    /// The last tap: the person accepts the account that was shown.
    pub accept: bool,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// The browser chooses an account now.
    Binding,
    /// The browser may redeem.
    Session {
        /// The number belongs to somebody else and was not written.
        phone_taken: bool,
    },
}

impl Login {
    /// The person agrees.
    ///
    /// # Errors
    /// A wrong number ends the ticket; whatever WeChat or the store failed with leaves it as it was.
    pub async fn confirm(&self, call: ConfirmCall<'_>, caller: Caller<'_>) -> Result<Confirmed, LoginError> {
        let (scene, row) = self.held(call.handle, caller).await?;
        if let Some(answer) = self.settled(&scene, &row, call)? {
            return Ok(answer);
        }
        if row.browser.is_none() || !row.shown {
            return Err(LoginError::BrowserAbsent);
        }
        if call.accept {
            return self.accept_account(&scene, &row, call, caller).await;
        }
        self.check_number(&scene, &row, call.choice, caller).await?;
        let connection = self.connection_of(&scene).ok_or(LoginError::Unknown)?;
        let account = self.account_to_connect(&row).await?;
        let ask = Self::asks_for_phone(connection, &self.recognise(&row).await?, account.as_ref());
        self.note_errno(&connection.id, ask, call.phone_errno).await;
        let phone_code = call
            .phone_code
            .filter(|_| matches!(ask, PhoneAsk::Required | PhoneAsk::Optional));
        if ask == PhoneAsk::Required && phone_code.is_none() {
            return Err(LoginError::PhoneRequired);
        }

        let lease = random_text()?;
        let until = self.clock.now() + LEASE;
        if !self
            .store
            .ticket_lease(&row.id, &handle_hash(call.handle), &lease, until, self.clock.now())
            .await?
        {
            return self.wait_for_the_other(&scene, call).await;
        }
        let outcome = self
            .agree(&scene, &row, connection, phone_code, call, &lease, caller)
            .await;
        if outcome.is_err() {
            self.store.ticket_release(&row.id, &lease).await?;
        }
        self.waiters.wake(&row.id);
        outcome
    }

    /// The answer to a ticket that is beyond this tap; `None` while the tap is what it waits for.
    pub(super) fn settled(
        &self,
        scene: &Scene,
        row: &Ticket,
        call: ConfirmCall<'_>,
    ) -> Result<Option<Confirmed>, LoginError> {
        let standing = Standing::of(scene, Some(row), self.ticket_ttl(), self.clock.now());
        // Whoever accepts an account has chosen the number before, and need not say it again.
        let same = row.choice == call.choice || (call.accept && call.choice.is_none());
        match (standing.status, standing.ending) {
            (Status::Pending | Status::Scanned, _) if !call.accept => Ok(None),
            (Status::Bind, _) if same && !call.accept => Ok(Some(Confirmed::Binding)),
            (Status::Bind, _) if same && row.user_id.is_some() => Ok(None),
            (Status::Confirmed | Status::Redeemed, _) if same => Ok(Some(Confirmed::Session {
                phone_taken: row.phone_note.is_some(),
            })),
            (Status::Pending | Status::Scanned | Status::Confirmed | Status::Redeemed | Status::Bind, _) => {
                Err(LoginError::WrongState)
            }
            (Status::Failed, Some(ending)) => Err(LoginError::Ended(ending)),
            (Status::Failed, None) => Err(LoginError::WrongState),
            (Status::Cancelled, _) => Err(LoginError::Cancelled),
            (Status::Expired, _) => Err(LoginError::Expired),
        }
    }

    /// One wrong tap ends the ticket.
    async fn check_number(
        &self,
        scene: &Scene,
        row: &Ticket,
        choice: Option<i64>,
        caller: Caller<'_>,
    ) -> Result<(), LoginError> {
        let right = self.number(scene, entry::opening(row.entry))?;
        if right.is_none_or(|right| choice == Some(i64::from(right))) {
            return Ok(());
        }
        self.limits.forgery(caller.limit_key);
        self.fail(row, &[TicketState::Scanned], Ending::WrongNumber, caller.request_id)
            .await?;
        Err(LoginError::Ended(Ending::WrongNumber))
    }

    #[allow(clippy::too_many_arguments)] // The facts of one tap; a struct would be made and taken apart at one place.
    async fn agree(
        &self,
        scene: &Scene,
        row: &Ticket,
        connection: &Connection,
        phone_code: Option<&str>,
        call: ConfirmCall<'_>,
        lease: &str,
        caller: Caller<'_>,
    ) -> Result<Confirmed, LoginError> {
        let phone = match phone_code {
            Some(code) => self.ask_wechat_for_phone(connection, code, &row.openid).await?,
            None => None,
        };
        let row = &self.learn_unionid(connection, row.clone()).await?;
        if bind_to(row).is_some() {
            return self
                .propose_connection(scene, row, phone.as_ref(), call, lease, caller)
                .await;
        }
        let policy = Policy::of(connection);
        let now = self.clock.now();
        let resolved = match self
            .directory
            .resolve(&self.identity(row), &policy, phone.as_ref(), now)
            .await
        {
            Ok(resolved) => resolved,
            Err(ResolveError::BindingNeeded { .. }) => {
                return self
                    .begin_binding(scene, row, phone.as_ref(), call, lease, caller)
                    .await;
            }
            Err(error) => return self.unresolved(row, error, caller).await,
        };
        let confirmation = Confirmation {
            user_id: resolved.user.id.clone(),
            choice: call.choice,
            phone_note: resolved.phone_note.as_ref().map(|_| "taken".to_owned()),
            confirmed_at: now,
            expires_at: now + CONFIRMED,
        };
        if !self.store.ticket_confirm(&row.id, lease, &confirmation).await? {
            let row = self.store.ticket(&row.id).await?.ok_or(LoginError::Unknown)?;
            return self.settled(scene, &row, call)?.ok_or(LoginError::WrongState);
        }
        self.report(row, &resolved, caller);
        Ok(Confirmed::Session {
            phone_taken: confirmation.phone_note.is_some(),
        })
    }

    async fn ask_wechat_for_phone(
        &self,
        connection: &Connection,
        code: &str,
        openid: &str,
    ) -> Result<Option<Phone>, LoginError> {
        let app = self.wechat.get(&connection.id).ok_or(LoginError::Unknown)?;
        match app.phone_number(code, openid).await {
            Ok(number) => {
                self.note_number(&connection.id).await;
                Ok(Phone::parse(number.as_str()).ok())
            }
            // Whoever need not give a number is not kept out because WeChat would not tell it.
            Err(error) if connection.phone == PhonePolicy::Optional && error.outcome() == Outcome::Misconfigured => {
                let _ = LoginError::wechat(&connection.id, Arc::new(error));
                Ok(None)
            }
            Err(error) => Err(LoginError::wechat(&connection.id, error)),
        }
    }

    /// What the directory refused ends the ticket, so that both screens say why.
    async fn unresolved(&self, row: &Ticket, error: ResolveError, caller: Caller<'_>) -> Result<Confirmed, LoginError> {
        let ending = match error {
            ResolveError::AccountBound => Ending::AccountBound,
            ResolveError::AmbiguousAccount => Ending::AmbiguousAccount,
            ResolveError::NoAccount => Ending::NoAccount,
            ResolveError::PhoneTaken => Ending::PhoneTaken,
            ResolveError::UserDisabled => Ending::UserDisabled,
            ResolveError::PhoneRequired => return Err(LoginError::PhoneRequired),
            ResolveError::Random(_) => return Err(LoginError::Seal("no randomness")),
            ResolveError::Store(error) => return Err(LoginError::Store(error)),
            // Not a refusal: answered where it arises.
            ResolveError::BindingNeeded { .. } => return Err(LoginError::WrongState),
        };
        self.fail(row, &[TicketState::Scanned], ending, caller.request_id)
            .await?;
        Err(LoginError::Ended(ending))
    }

    fn report(&self, row: &Ticket, resolved: &Resolved, caller: Caller<'_>) {
        let user = Some(&*resolved.user.id);
        if resolved.created {
            self.audit(AuditKind::UserCreated, row, None, caller.request_id, user, None);
        }
        if resolved.bound {
            self.audit(AuditKind::Bind, row, None, caller.request_id, user, None);
        }
        self.audit(AuditKind::Confirm, row, None, caller.request_id, user, None);
    }

    /// Another call confirms this ticket at this moment: its answer is ours.
    async fn wait_for_the_other(&self, scene: &Scene, call: ConfirmCall<'_>) -> Result<Confirmed, LoginError> {
        let deadline = Instant::now() + Duration::from_secs(LEASE.unsigned_abs());
        loop {
            let mut waiter = self.waiters.subscribe(scene.as_str());
            let (scene, row) = self.find_held(call.handle).await?.ok_or(LoginError::Unknown)?;
            if let Some(answer) = self.settled(&scene, &row, call)? {
                return Ok(answer);
            }
            // The other one failed, and says so to its own caller; or it works at another node, which is looked at again.
            if !row.is_leased(self.clock.now()) {
                return Err(LoginError::WrongState);
            }
            let again = (Instant::now() + OTHER_NODE).min(deadline);
            if timeout_at(again, waiter.changed()).await.is_err() && Instant::now() >= deadline {
                return Err(LoginError::WrongState);
            }
        }
    }
}

/// Seconds that one confirmation may take: longer than WeChat's answer to a phone code.
const LEASE: i64 = 15;
/// So often a confirmation that runs at another node is looked at.
const OTHER_NODE: Duration = Duration::from_millis(500);
