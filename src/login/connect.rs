//! A further WeChat account for somebody who is signed in: the ticket's browser half says for whom, and it ends without a
//! session.
//!
//! On the phone it is a binding whose account needs no proof: the number is chosen, the phone is shown the account, and
//! only the handle that an answer carried it to can accept it (`binding`). Nothing is bound by that. Whoever sees a screen
//! can scan its code first, so the last word is the browser's, asked there again, and it counts only from the session that
//! asked for the code.

use crate::accounts::{
    Connecting, Holder, Phone, PhoneNote, Policy, Recognised, ResolveError, UnbindError, WechatIdentity,
};
use crate::config::settings::Connection;
use crate::login::Login;
use crate::login::browser::{CONFIRMED, Watched};
use crate::login::browser_half::{BindTo, BrowserFacts};
use crate::login::confirm::{ConfirmCall, Confirmed};
use crate::login::error::{Ending, LoginError};
use crate::login::phone::{Caller, PhoneAsk, handle_hash};
use crate::login::scene::Scene;
use crate::session::token::Session;
use crate::store::{Binding, Bound, Ticket, TicketState, User};
use crate::telemetry::audit::AuditKind;

/// For whom the ticket of this row connects, as far as its browser has spoken.
pub(super) fn bind_to(row: &Ticket) -> Option<BindTo> {
    let facts: BrowserFacts = serde_json::from_str(row.browser.as_deref()?).ok()?;
    facts.bind_to
}

impl Login {
    /// The account that the ticket of this row connects to; `None` when it logs in, or nobody is left to connect to.
    pub(super) async fn account_to_connect(&self, row: &Ticket) -> Result<Option<User>, LoginError> {
        match bind_to(row) {
            Some(bind_to) => Ok(self.store.user(&bind_to.user_id).await?),
            None => Ok(None),
        }
    }

    /// Ends what cannot come to anything before a number is chosen, or money spent on one.
    pub(super) async fn refuse_unconnectable(
        &self,
        connection: &Connection,
        row: &Ticket,
        bind_to: &BindTo,
        request_id: &str,
    ) -> Result<(), LoginError> {
        self.require_session(row, bind_to, request_id).await?;
        let (policy, identity) = (Policy::of(connection), self.identity(row));
        let connecting = connecting(&row.id, bind_to, &identity, &policy, self.clock.now());
        match self.directory.may_connect(&connecting, None).await {
            // It may yet be given.
            Ok(_) | Err(ResolveError::PhoneRequired) => Ok(()),
            Err(error) => Err(self.unconnected(row, error, request_id).await?),
        }
    }

    /// `scanned → bind`: the number was right, and the account is the one that asked.
    pub(super) async fn propose_connection(
        &self,
        scene: &Scene,
        row: &Ticket,
        phone: Option<&Phone>,
        call: ConfirmCall<'_>,
        lease: &str,
        caller: Caller<'_>,
    ) -> Result<Confirmed, LoginError> {
        let connection = self.connection_of(scene).ok_or(LoginError::Unknown)?;
        let bind_to = &bind_to(row).ok_or(LoginError::WrongState)?;
        self.require_session(row, bind_to, caller.request_id).await?;
        let (policy, identity) = (Policy::of(connection), self.identity(row));
        let now = self.clock.now();
        let connecting = connecting(&row.id, bind_to, &identity, &policy, now);
        if let Err(error) = self.directory.may_connect(&connecting, phone).await {
            return Err(self.unconnected(row, error, caller.request_id).await?);
        }
        let binding = Binding {
            choice: call.choice,
            phone: phone.map(Phone::as_str),
            user_id: Some(&bind_to.user_id),
            now,
            expires_at: now + self.ticket_ttl(),
        };
        if !self.store.ticket_bind(&row.id, lease, &binding).await? {
            let row = self.store.ticket(&row.id).await?.ok_or(LoginError::Unknown)?;
            return self.settled(scene, &row, call)?.ok_or(LoginError::WrongState);
        }
        let (kind, user) = (AuditKind::Confirm, Some(&*bind_to.user_id));
        self.audit(kind, row, None, caller.request_id, user, Some("bind"));
        Ok(Confirmed::Binding)
    }

    /// `bind → confirmed`: the phone accepts the account that it was shown. What follows is the browser's.
    pub(super) async fn accept_connection(
        &self,
        scene: &Scene,
        row: &Ticket,
        bind_to: &BindTo,
        call: ConfirmCall<'_>,
        caller: Caller<'_>,
    ) -> Result<Confirmed, LoginError> {
        let connection = self.connection_of(scene).ok_or(LoginError::Unknown)?;
        self.require_session(row, bind_to, caller.request_id).await?;
        let (policy, identity) = (Policy::of(connection), self.identity(row));
        let now = self.clock.now();
        let connecting = connecting(&row.id, bind_to, &identity, &policy, now);
        let phone_note = match self.directory.may_still_connect(&connecting).await {
            Ok(note) => note,
            Err(error) => return Err(self.unconnected(row, error, caller.request_id).await?),
        };
        let bound = Bound {
            user_id: &bind_to.user_id,
            accepted_by: Some(&handle_hash(call.handle)),
            phone_note: phone_note.map(PhoneNote::as_str),
            now,
            expires_at: now + CONFIRMED,
        };
        if self.store.ticket_agree(&row.id, &bound).await? {
            self.waiters.wake(&row.id);
            let user = Some(&*bind_to.user_id);
            self.audit(AuditKind::Confirm, row, None, caller.request_id, user, Some("connect"));
            return Ok(Confirmed::Session {
                phone_taken: phone_note.is_some(),
            });
        }
        // Another tap of the same phone was quicker, the ticket ended, or this handle was not shown the account.
        let row = self.store.ticket(&row.id).await?.ok_or(LoginError::Unknown)?;
        self.settled(scene, &row, call)?.ok_or(LoginError::BrowserAbsent)
    }

    /// `confirmed → redeemed`: the browser finishes what it asked for, by the very session that it asked by. Again, by the
    /// same session, is answered like the first time.
    ///
    /// # Errors
    /// [`LoginError::SessionEnded`] for any other session; nothing is bound then.
    pub async fn connect(
        &self,
        watched: &Watched,
        session: Option<&Session>,
        request_id: &str,
    ) -> Result<(), LoginError> {
        let bind_to = watched.half.bind_to.as_ref().ok_or(LoginError::WrongState)?;
        let same =
            |session: &&Session| session.person.id == bind_to.user_id && session.id.to_text() == bind_to.session_id;
        if session.filter(same).is_none() {
            return Err(LoginError::SessionEnded);
        }
        let id = watched.scene.as_str();
        let now = self.clock.now();
        let row = self.store.ticket(id).await?.ok_or(LoginError::WrongState)?;
        if row.state == TicketState::Redeemed {
            return Ok(());
        }
        self.refuse_unless_confirmed(&watched.scene, &row, now)?;
        let connection = self.connection_of(&watched.scene).ok_or(LoginError::Unknown)?;
        let (policy, identity) = (Policy::of(connection), self.identity(&row));
        let connecting = connecting(id, bind_to, &identity, &policy, now);
        match self.directory.connect(&connecting).await {
            Ok(Some(resolved)) => {
                self.waiters.wake(id);
                let (half, user) = (Some(&watched.half), Some(&*resolved.user.id));
                self.audit(AuditKind::Bind, &row, half, request_id, user, Some("self"));
                Ok(())
            }
            Ok(None) => {
                let row = self.store.ticket(id).await?.ok_or(LoginError::WrongState)?;
                if row.state == TicketState::Redeemed {
                    return Ok(());
                }
                self.refuse_unless_confirmed(&watched.scene, &row, now)?;
                Err(LoginError::SessionEnded)
            }
            Err(error) => Err(self.unconnected(&row, error, request_id).await?),
        }
    }

    /// "This was not me" on the phone after the browser has finished: the identity is taken away again.
    pub(super) async fn take_connection_back(
        &self,
        row: &Ticket,
        bind_to: &BindTo,
        caller: Caller<'_>,
    ) -> Result<(), LoginError> {
        let usable = |app_id: &str| self.settings.connections.iter().any(|known| known.app_id == app_id);
        let unbound = self
            .directory
            .unbind_own(
                holder(bind_to),
                &row.app_id,
                &row.openid,
                |other| usable(&other.app_id),
                self.clock.now(),
            )
            .await;
        match unbound {
            Ok(ended) => {
                self.revocations_changed.notify_one();
                self.metrics.sessions_ended("not_me", ended);
                for kind in [AuditKind::NotMe, AuditKind::Unbind] {
                    let user = Some(&*bind_to.user_id);
                    self.audit(kind, row, None, caller.request_id, user, Some("phone"));
                }
                Ok(())
            }
            Err(UnbindError::NotTheirs) => Ok(()),
            Err(UnbindError::Last) => Err(LoginError::WrongState),
            Err(UnbindError::Store(error)) => Err(error.into()),
        }
    }

    /// Whether the number is asked for: by what is known of whose account it will be.
    pub(super) fn asks_for_phone(connection: &Connection, recognised: &Recognised, account: Option<&User>) -> PhoneAsk {
        match account {
            Some(user) => PhoneAsk::of_user(connection.phone, Some(user)),
            None => PhoneAsk::of(connection.phone, recognised),
        }
    }

    /// The session that asked has to live: else nothing can come of this, and both screens say so.
    async fn require_session(&self, row: &Ticket, bind_to: &BindTo, request_id: &str) -> Result<(), LoginError> {
        let now = self.clock.now();
        let session = self.store.session(&bind_to.session_id).await?;
        if session.is_some_and(|session| session.ended_at.is_none() && now < session.expires_at) {
            return Ok(());
        }
        let disabled = self
            .store
            .user(&bind_to.user_id)
            .await?
            .is_some_and(|user| user.disabled);
        let from = [TicketState::Scanned, TicketState::Bind];
        if disabled {
            self.fail(row, &from, Ending::UserDisabled, request_id).await?;
            return Err(LoginError::Ended(Ending::UserDisabled));
        }
        let reason = Some("session_ended");
        if self
            .store
            .ticket_end(&row.id, &from, TicketState::Cancelled, None, reason, now)
            .await?
        {
            self.waiters.wake(&row.id);
            let user = Some(&*bind_to.user_id);
            self.audit(AuditKind::Cancel, row, None, request_id, user, reason);
        }
        Err(LoginError::Cancelled)
    }

    /// What the directory refused ends the ticket, so that both screens say why.
    async fn unconnected(&self, row: &Ticket, error: ResolveError, request_id: &str) -> Result<LoginError, LoginError> {
        let ending = match error {
            ResolveError::AccountBound => Ending::AccountBound,
            ResolveError::AmbiguousAccount => Ending::AmbiguousAccount,
            ResolveError::NoAccount => Ending::NoAccount,
            ResolveError::PhoneTaken => Ending::PhoneTaken,
            ResolveError::UserDisabled => Ending::UserDisabled,
            ResolveError::PhoneRequired => return Ok(LoginError::PhoneRequired),
            ResolveError::BindingNeeded { .. } => return Ok(LoginError::WrongState),
            ResolveError::Random(_) => return Ok(LoginError::Seal("no randomness")),
            ResolveError::Store(error) => return Ok(LoginError::Store(error)),
        };
        let from = [TicketState::Scanned, TicketState::Bind, TicketState::Confirmed];
        self.fail(row, &from, ending, request_id).await?;
        Ok(LoginError::Ended(ending))
    }
}

fn connecting<'c>(
    ticket: &'c str,
    bind_to: &'c BindTo,
    identity: &'c WechatIdentity,
    policy: &'c Policy,
    now: i64,
) -> Connecting<'c> {
    Connecting {
        ticket,
        holder: holder(bind_to),
        identity,
        policy,
        now,
    }
}

fn holder(bind_to: &BindTo) -> Holder<'_> {
    Holder {
        user_id: &bind_to.user_id,
        session_id: &bind_to.session_id,
    }
}
