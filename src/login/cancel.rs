//! The phone says no: declines, or was not the person's own.

use crate::login::Login;
use crate::login::connect::bind_to;
use crate::login::error::LoginError;
use crate::login::phone::Caller;
use crate::login::scene::Scene;
use crate::login::status::{Standing, Status};
use crate::store::{Ticket, TicketState};
use crate::telemetry::audit::AuditKind;

/// What a cancel is about.
#[derive(Debug, Clone, Copy)]
pub enum CancelTarget<'a> {
    /// By the handle of a scan.
    Handle(&'a str),
    /// By the scene alone: ends a ticket that nobody has scanned.
    Scene(&'a str),
}

impl Login {
    /// The person says no, or "this was not me".
    ///
    /// # Errors
    /// [`LoginError::WrongState`] for what cannot be taken back any more.
    pub async fn cancel(
        &self,
        target: CancelTarget<'_>,
        not_me: bool,
        phone_errno: Option<i64>,
        caller: Caller<'_>,
    ) -> Result<(), LoginError> {
        let reason = if not_me { "not_me" } else { "declined" };
        let kind = if not_me { AuditKind::NotMe } else { AuditKind::Cancel };
        let now = self.clock.now();
        match target {
            CancelTarget::Scene(text) => {
                let scene = self.admit(text, caller)?;
                // Anybody can have a scene, and what ends here is a row and an audit record: it counts tenfold.
                self.limits.forgery(caller.limit_key);
                let connection = self.connection_of(&scene).ok_or(LoginError::Unknown)?;
                let row = self.store.ticket(scene.as_str()).await?;
                self.refuse_unless_open(&scene, row.as_ref())?;
                let ended = self.ended(&scene, connection, TicketState::Cancelled, None, Some(reason));
                if row.is_some() || !self.store.ticket_end_pending(&ended).await? {
                    return Err(LoginError::WrongState);
                }
                self.waiters.wake(scene.as_str());
                if let Some(row) = self.store.ticket(scene.as_str()).await? {
                    self.audit(kind, &row, None, caller.request_id, None, Some("phone"));
                }
                Ok(())
            }
            CancelTarget::Handle(handle) => {
                let (scene, row) = self.held(handle, caller).await?;
                self.note_button(&scene, &row, phone_errno).await?;
                let from: &[TicketState] = if not_me {
                    &[TicketState::Scanned, TicketState::Bind, TicketState::Confirmed]
                } else {
                    &[TicketState::Scanned, TicketState::Bind]
                };
                if self
                    .store
                    .ticket_end(&row.id, from, TicketState::Cancelled, None, Some(reason), now)
                    .await?
                {
                    self.waiters.wake(&row.id);
                    self.audit(
                        kind,
                        &row,
                        None,
                        caller.request_id,
                        row.user_id.as_deref(),
                        Some("phone"),
                    );
                    return Ok(());
                }
                self.take_back(&row.id, not_me, caller).await
            }
        }
    }

    /// Why the phone button gave nothing, of a phone that still has the ticket and was asked.
    async fn note_button(&self, scene: &Scene, row: &Ticket, errno: Option<i64>) -> Result<(), LoginError> {
        let standing = Standing::of(scene, Some(row), self.ticket_ttl(), self.clock.now());
        if errno.is_none() || standing.status != Status::Scanned {
            return Ok(());
        }
        let connection = self.connection_of(scene).ok_or(LoginError::Unknown)?;
        let account = self.account_to_connect(row).await?;
        let ask = Self::asks_for_phone(connection, &self.recognise(row).await?, account.as_ref());
        self.note_errno(&connection.id, ask, errno).await;
        Ok(())
    }

    /// After the browser was quicker: "not me" still ends the session that was just made, and takes back what was connected.
    async fn take_back(&self, id: &str, not_me: bool, caller: Caller<'_>) -> Result<(), LoginError> {
        let row = self.store.ticket(id).await?.ok_or(LoginError::Unknown)?;
        match (row.state, &row.session_id) {
            (TicketState::Cancelled, _) => Ok(()),
            (TicketState::Redeemed, Some(session)) if not_me => {
                if self.store.end_session(session, "not_me", self.clock.now()).await? {
                    self.revocations_changed.notify_one();
                    self.metrics.sessions_ended("not_me", 1);
                }
                self.audit(
                    AuditKind::NotMe,
                    &row,
                    None,
                    caller.request_id,
                    row.user_id.as_deref(),
                    Some("phone"),
                );
                Ok(())
            }
            (TicketState::Redeemed, None) if not_me => match bind_to(&row) {
                Some(bind_to) => self.take_connection_back(&row, &bind_to, caller).await,
                None => Err(LoginError::WrongState),
            },
            _ => Err(LoginError::WrongState),
        }
    }
}
