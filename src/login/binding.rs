//! The state `bind`: the browser chooses an account (association `ask`), the phone accepts it.
//!
//! A new account needs no second tap: the person has agreed to log in as nobody else. An account that somebody proves in
//! the browser does, because that somebody may not be the person with the phone: the phone shows whose it is, and only
//! the handle that an answer carried this to can accept it.

use std::net::IpAddr;
use std::time::Duration;

use tracing::error;

use crate::accounts::proof::ProofError;
use crate::accounts::{ATTEMPTS_AT_A_TICKET, BindError, Choosing, Claim, Phone, Policy, ResolveError, Resolved};
use crate::config::settings::{Association, Connection};
use crate::login::Login;
use crate::login::browser::{CONFIRMED, StatusView, Watched};
use crate::login::confirm::{ConfirmCall, Confirmed};
use crate::login::connect::bind_to;
use crate::login::error::{Ending, LoginError};
use crate::login::limits::TooMany;
use crate::login::phone::{Caller, handle_hash};
use crate::login::scene::Scene;
use crate::login::status::{Standing, Status};
use crate::store::{Binding, Ticket, TicketState};
use crate::telemetry::audit::AuditKind;

/// What the browser chose.
#[derive(Clone, Copy)]
pub enum Choice<'a> {
    /// An account that it proves.
    Bind(Claim<'a>),
    /// A new one.
    Create,
}

/// The browser's request.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// What limits count by: of IPv6 the /64.
    pub limit_key: IpAddr,
    /// For the audit.
    pub request_id: &'a str,
}

impl Login {
    /// The browser chooses the account. Answers where the ticket stands then.
    ///
    /// # Errors
    /// [`LoginError::NotBound`] leaves the choice open, unless it was the last wrong proof.
    pub async fn choose_account(
        &self,
        watched: &Watched,
        choice: Choice<'_>,
        asker: Asker<'_>,
    ) -> Result<StatusView, LoginError> {
        self.limits.phone_call(asker.limit_key)?;
        let id = watched.scene.as_str();
        let row = self.store.ticket(id).await?.ok_or(LoginError::WrongState)?;
        self.refuse_unless_choosing(&watched.scene, &row)?;
        let connection = self.connection_of(&watched.scene).ok_or(LoginError::Unknown)?;
        let (policy, identity) = (Policy::of(connection), self.identity(&row));
        let choosing = Choosing {
            ticket: id,
            identity: &identity,
            policy: &policy,
            now: self.clock.now(),
        };
        let chosen = match choice {
            Choice::Bind(claim) if offers(connection, claim) => {
                self.directory.claim(&choosing, claim).await.map(|_| None)
            }
            Choice::Create if matches!(connection.association, Association::Ask { .. }) => {
                let until = choosing.now + CONFIRMED;
                self.directory.create_chosen(&choosing, until).await.map(Some)
            }
            _ => return Err(LoginError::WrongState),
        };
        match chosen {
            Ok(resolved) => {
                self.waiters.wake(id);
                if let Some(resolved) = resolved {
                    self.report_bound(&row, &resolved, asker.request_id);
                }
                self.status(watched).await
            }
            Err(error) => Err(self.unbound(&row, error, asker).await?),
        }
    }

    /// `scanned → bind`: the person agreed, and WeChat's person is nobody yet.
    pub(super) async fn begin_binding(
        &self,
        scene: &Scene,
        row: &Ticket,
        phone: Option<&Phone>,
        call: ConfirmCall<'_>,
        lease: &str,
        caller: Caller<'_>,
    ) -> Result<Confirmed, LoginError> {
        let now = self.clock.now();
        let binding = Binding {
            choice: call.choice,
            phone: phone.map(Phone::as_str),
            user_id: None,
            now,
            expires_at: now + self.bind_ttl(),
        };
        if !self.store.ticket_bind(&row.id, lease, &binding).await? {
            let row = self.store.ticket(&row.id).await?.ok_or(LoginError::Unknown)?;
            return self.settled(scene, &row, call)?.ok_or(LoginError::WrongState);
        }
        self.audit(AuditKind::Confirm, row, None, caller.request_id, None, Some("bind"));
        Ok(Confirmed::Binding)
    }

    /// The last tap: the phone accepts the account that the browser proved.
    pub(super) async fn accept_account(
        &self,
        scene: &Scene,
        row: &Ticket,
        call: ConfirmCall<'_>,
        caller: Caller<'_>,
    ) -> Result<Confirmed, LoginError> {
        if let Some(bind_to) = bind_to(row) {
            return self.accept_connection(scene, row, &bind_to, call, caller).await;
        }
        let user_id = row.user_id.as_deref().ok_or(LoginError::WrongState)?;
        let connection = self.connection_of(scene).ok_or(LoginError::Unknown)?;
        let (policy, identity) = (Policy::of(connection), self.identity(row));
        let choosing = Choosing {
            ticket: &row.id,
            identity: &identity,
            policy: &policy,
            now: self.clock.now(),
        };
        let until = choosing.now + CONFIRMED;
        let handle = handle_hash(call.handle);
        match self.directory.accept(&choosing, user_id, &handle, until).await {
            Ok(resolved) => {
                self.waiters.wake(&row.id);
                self.report_bound(row, &resolved, caller.request_id);
                Ok(Confirmed::Session {
                    phone_taken: resolved.phone_note.is_some(),
                })
            }
            // Another tap of the same phone was quicker, or the ticket ended.
            Err(BindError::Closed) => {
                let row = self.store.ticket(&row.id).await?.ok_or(LoginError::Unknown)?;
                match self.settled(scene, &row, call)? {
                    Some(answer) => Ok(answer),
                    None => Err(LoginError::BrowserAbsent),
                }
            }
            Err(error) => {
                let asker = Asker {
                    limit_key: caller.limit_key,
                    request_id: caller.request_id,
                };
                match self.unbound(row, error, asker).await? {
                    // Nothing is left to choose for this phone: both screens say why.
                    LoginError::NotBound(ending) => {
                        self.fail(row, &[TicketState::Bind], ending, caller.request_id).await?;
                        Err(LoginError::Ended(ending))
                    }
                    error => Err(error),
                }
            }
        }
    }

    fn refuse_unless_choosing(&self, scene: &Scene, row: &Ticket) -> Result<(), LoginError> {
        let standing = Standing::of(scene, Some(row), self.ticket_ttl(), self.clock.now());
        match (standing.status, standing.ending) {
            (Status::Bind, _) if row.user_id.is_none() => Ok(()),
            (Status::Failed, Some(ending)) => Err(LoginError::Ended(ending)),
            (Status::Cancelled, _) => Err(LoginError::Cancelled),
            (Status::Expired, _) => Err(LoginError::Expired),
            _ => Err(LoginError::WrongState),
        }
    }

    /// What a refusal means for the ticket, and what is to be said about it.
    async fn unbound(&self, row: &Ticket, error: BindError, asker: Asker<'_>) -> Result<LoginError, LoginError> {
        let refused = |ending| Ok(LoginError::NotBound(ending));
        match error {
            BindError::Wrong { account, locked, last } => {
                self.limits.forgery(asker.limit_key);
                let reason = if locked { "proof_locked" } else { "proof_wrong" };
                let (kind, request) = (AuditKind::LoginFailed, asker.request_id);
                self.audit(kind, row, None, request, account.as_deref(), Some(reason));
                if last {
                    self.end_for_proofs(row).await?;
                }
                refused(Ending::ProofWrong)
            }
            BindError::Closed => {
                // Attempts that were counted and never came to an end, a crash between: they count.
                let now = self.store.ticket(&row.id).await?.ok_or(LoginError::Unknown)?;
                if now.state == TicketState::Bind && now.proof_failures >= ATTEMPTS_AT_A_TICKET {
                    self.end_for_proofs(&now).await?;
                    return refused(Ending::ProofWrong);
                }
                Ok(LoginError::WrongState)
            }
            BindError::Proof(ProofError::Busy) => Ok(LoginError::TooMany(TooMany {
                retry_after: Duration::from_secs(5),
            })),
            BindError::Proof(cause @ ProofError::System) => {
                error!(%cause, "a proof was not looked at");
                Ok(LoginError::Seal("a proof cannot be hashed"))
            }
            BindError::Resolve(error) => match error {
                ResolveError::AccountBound => refused(Ending::AccountBound),
                ResolveError::NoAccount => refused(Ending::NoAccount),
                ResolveError::PhoneTaken => refused(Ending::PhoneTaken),
                ResolveError::UserDisabled => refused(Ending::UserDisabled),
                ResolveError::AmbiguousAccount => {
                    let ending = Ending::AmbiguousAccount;
                    self.fail(row, &[TicketState::Bind], ending, asker.request_id).await?;
                    Ok(LoginError::Ended(ending))
                }
                ResolveError::PhoneRequired => Ok(LoginError::PhoneRequired),
                ResolveError::BindingNeeded { .. } => Ok(LoginError::WrongState),
                ResolveError::Random(_) => Ok(LoginError::Seal("no randomness")),
                ResolveError::Store(error) => Ok(LoginError::Store(error)),
            },
        }
    }

    /// Each wrong proof has been recorded; the end itself adds nothing.
    async fn end_for_proofs(&self, row: &Ticket) -> Result<(), LoginError> {
        let (from, error) = ([TicketState::Bind], Some(Ending::ProofWrong.as_str()));
        let now = self.clock.now();
        if self
            .store
            .ticket_end(&row.id, &from, TicketState::Failed, error, None, now)
            .await?
        {
            self.waiters.wake(&row.id);
        }
        Ok(())
    }

    fn report_bound(&self, row: &Ticket, resolved: &Resolved, request_id: &str) {
        let kind = if resolved.created {
            AuditKind::UserCreated
        } else {
            AuditKind::Bind
        };
        self.audit(kind, row, None, request_id, Some(&resolved.user.id), None);
    }
}

/// Whether the page offered this: a method that the operator took out of the list proves nothing.
fn offers(connection: &Connection, claim: Claim<'_>) -> bool {
    matches!(&connection.association, Association::Ask { methods } if methods.contains(&claim.method))
}
