//! Who logged in, how, from where, and what operators changed: one record in the store and one line in the log each.
//!
//! Recording never makes a request wait. Events go through a bounded queue to one task, which writes the line at once and
//! the records in batches. When the store is away the task holds what it has and tries again; when the queue is full as
//! well, an event's line is written on the spot and only its record is missing, which is counted. So an event is never
//! without its line, and at an orderly stop ([`Auditor::close`]) none is without its record while the store answers.
//! Waiting instead would let a full disk stop every login.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditKind {
    /// An identity was bound to an existing user.
    Bind,
    /// An operator issued a one-time code for binding.
    BindCodeIssued,
    /// The person declined on the phone.
    Cancel,
    /// The configuration was read anew.
    ConfigReloaded,
    /// The person agreed on the phone.
    Confirm,
    /// An operator made new keys, or wrapped the old ones anew.
    KeysRotated,
    /// A browser has a session.
    Login,
    /// A login ended without one; `reason` says why.
    LoginFailed,
    /// A person ended their own session.
    Logout,
    /// The person said that this login was not theirs.
    NotMe,
    /// A phone touched a ticket.
    Scan,
    /// Somebody else ended a session.
    SessionRevoked,
    /// An operator copied the store out.
    StoreBackedUp,
    /// An operator filled the store from a backup.
    StoreRestored,
    /// A token was handed out.
    TokenIssued,
    /// A token was ended before its time.
    TokenRevoked,
    /// An identity was taken from a user.
    Unbind,
    /// A person stopped following a service account.
    Unsubscribe,
    /// An operator changed a user; `details` names the fields.
    UserChanged,
    /// A login or an operator made a user.
    UserCreated,
    /// An operator deleted a user.
    UserDeleted,
    /// An operator disabled a user.
    UserDisabled,
    /// An operator enabled a user.
    UserEnabled,
    /// An import made or changed a user; `details` says which.
    UserImported,
    /// An operator made two users one; `details` holds what an undo needs.
    UserMerged,
    /// An operator took a merge back.
    UserMergeUndone,
}

/// One event. It has no place for phone numbers, codes, tokens or cookies; free text must not hold them either. The one
/// exception is [`AuditKind::UserMerged`], whose details restore a person and are never printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// What happened.
    pub kind: AuditKind,
    /// Unix seconds.
    pub at: i64,
    /// Request that caused it.
    pub request_id: Option<String>,
    /// Whom it is about.
    pub user_id: Option<String>,
    /// Connection id.
    pub connection: Option<String>,
    /// [`ticket_hash`] of the ticket's id.
    pub ticket_hash: Option<String>,
    /// Address of the browser.
    pub browser_address: Option<String>,
    /// Address of the phone.
    pub phone_address: Option<String>,
    /// The browser, in words.
    pub browser_device: Option<String>,
    /// The phone, in words.
    pub phone_device: Option<String>,
    /// Why: a stable error code, or an operator's word.
    pub reason: Option<String>,
    /// What else belongs to the kind of event, as JSON.
    pub details: Option<String>,
}

/// Where records end up.
#[async_trait]
pub trait AuditSink: Send + Sync + 'static {
    /// Keeps `events` in their order, all or none.
    async fn append(&self, events: &[AuditEvent]) -> Result<(), SinkFailed>;
}

/// The sink did not keep them; the texts are for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkFailed {
    /// It may keep them later.
    #[error("{0}")]
    Away(String),
    /// It will not keep these, however often it is asked.
    #[error("{0}")]
    Refused(String),
}

/// Records events. Cheap to clone; all clones share the queue.
#[derive(Debug, Clone)]
pub struct Auditor {
    queue: mpsc::Sender<AuditEvent>,
    closing: Arc<watch::Sender<bool>>,
    done: watch::Receiver<bool>,
    unrecorded: Arc<AtomicU64>,
    metrics: Option<Arc<Metrics>>,
}

/// The beginning of the SHA-256 of a ticket's id: events of one login can be put together, and nobody can redeem it.
#[must_use]
pub fn ticket_hash(id: &str) -> String {
    let digest = digest(&SHA256, id.as_bytes());
    digest
        .as_ref()
        .iter()
        .take(8)
        .fold(String::with_capacity(16), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

impl AuditKind {
    /// Every kind, for documentation and tests.
    pub const ALL: [Self; 26] = [
        Self::Bind,
        Self::BindCodeIssued,
        Self::Cancel,
        Self::ConfigReloaded,
        Self::Confirm,
        Self::KeysRotated,
        Self::Login,
        Self::LoginFailed,
        Self::Logout,
        Self::NotMe,
        Self::Scan,
        Self::SessionRevoked,
        Self::StoreBackedUp,
        Self::StoreRestored,
        Self::TokenIssued,
        Self::TokenRevoked,
        Self::Unbind,
        Self::Unsubscribe,
        Self::UserChanged,
        Self::UserCreated,
        Self::UserDeleted,
        Self::UserDisabled,
        Self::UserEnabled,
        Self::UserImported,
        Self::UserMerged,
        Self::UserMergeUndone,
    ];

    /// The stable name, in records and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::BindCodeIssued => "bind_code_issued",
            Self::Cancel => "cancel",
            Self::ConfigReloaded => "config_reloaded",
            Self::Confirm => "confirm",
            Self::KeysRotated => "keys_rotated",
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::Logout => "logout",
            Self::NotMe => "not_me",
            Self::Scan => "scan",
            Self::SessionRevoked => "session_revoked",
            Self::StoreBackedUp => "store_backed_up",
            Self::StoreRestored => "store_restored",
            Self::TokenIssued => "token_issued",
            Self::TokenRevoked => "token_revoked",
            Self::Unbind => "unbind",
            Self::Unsubscribe => "unsubscribe",
            Self::UserChanged => "user_changed",
            Self::UserCreated => "user_created",
            Self::UserDeleted => "user_deleted",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
            Self::UserImported => "user_imported",
            Self::UserMerged => "user_merged",
            Self::UserMergeUndone => "user_merge_undone",
        }
    }
}

impl AuditEvent {
    /// An event with nothing but its kind and time.
    #[must_use]
    pub const fn new(kind: AuditKind, at: i64) -> Self {
        Self {
            kind,
            at,
            request_id: None,
            user_id: None,
            connection: None,
            ticket_hash: None,
            browser_address: None,
            phone_address: None,
            browser_device: None,
            phone_device: None,
            reason: None,
            details: None,
        }
    }

    /// One line; a log in JSON keeps the fields apart.
    fn log(&self) {
        tracing::info!(
            target: "audit",
            kind = self.kind.as_str(),
            at = self.at,
            request_id = self.request_id,
            user_id = self.user_id,
            connection = self.connection,
            ticket_hash = self.ticket_hash,
            browser_address = self.browser_address,
            phone_address = self.phone_address,
            browser_device = self.browser_device,
            phone_device = self.phone_device,
            reason = self.reason,
            details = self.details,
        );
    }
}

impl Auditor {
    /// Starts the writing task on the present runtime.
    #[must_use]
    pub fn start(sink: impl AuditSink) -> Self {
        Self::with_limits(sink, QUEUE, CLOSE_LIMIT)
    }

    fn with_limits(sink: impl AuditSink, queue: usize, close_limit: Duration) -> Self {
        let (sender, receiver) = mpsc::channel(queue);
        let (closing, closed) = watch::channel(false);
        let (finished, done) = watch::channel(false);
        let unrecorded = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            sink,
            receiver,
            closed,
            close_limit,
            deadline: None,
            unrecorded: Arc::clone(&unrecorded),
        };
        tokio::spawn(async move {
            writer.run().await;
            finished.send_replace(true);
        });
        Self {
            queue: sender,
            closing: Arc::new(closing),
            done,
            unrecorded,
            metrics: None,
        }
    }

    /// Counts from now on what it records.
    #[must_use]
    pub fn counted_by(self, metrics: Arc<Metrics>) -> Self {
        Self {
            metrics: Some(metrics),
            ..self
        }
    }

    /// Records an event, without waiting.
    pub fn record(&self, event: AuditEvent) {
        if let Some(metrics) = &self.metrics {
            metrics.audited(&event);
        }
        traces::note(&event);
        if let Err(mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event)) =
            self.queue.try_send(event)
        {
            event.log();
            self.unrecorded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events have a line in the log but no record, since the start.
    #[must_use]
    pub fn unrecorded(&self) -> u64 {
        self.unrecorded.load(Ordering::Relaxed)
    }

    /// Writes what has been recorded so far and stops. Returns when that is done, or when a store that does not answer
    /// has had five seconds to come back. Events after this have a line only.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        // An error means that the task is gone, which is as done as it gets.
        let _ = self.done.clone().wait_for(|done| *done).await;
    }
}

/// The task behind an [`Auditor`].
struct Writer<S> {
    sink: S,
    receiver: mpsc::Receiver<AuditEvent>,
    closed: watch::Receiver<bool>,
    close_limit: Duration,
    /// When closing gives up on a sink that is away.
    deadline: Option<Instant>,
    unrecorded: Arc<AtomicU64>,
}

impl<S: AuditSink> Writer<S> {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                _ = self.receiver.recv_many(&mut batch, BATCH) => {}
                () = told_to_close(&mut self.closed) => {
                    // From here on nothing new comes in, and what is in comes out.
                    self.receiver.close();
                    self.receiver.recv_many(&mut batch, BATCH).await;
                }
            }
            if batch.is_empty() {
                return;
            }
            batch.iter().for_each(AuditEvent::log);
            if self.keep(&batch).await.is_err() {
                // One event that cannot be kept must not take its neighbours along, nor hold up all that follow.
                for event in &batch {
                    if let Err(reason) = self.keep(std::slice::from_ref(event)).await {
                        self.give_up(1, &reason);
                    }
                }
            }
            batch.clear();
        }
    }

    /// Tries until the sink has taken the batch or refused it, or the time to close is over.
    async fn keep(&mut self, batch: &[AuditEvent]) -> Result<(), String> {
        let mut delay = FIRST_DELAY;
        loop {
            let reason = match self.sink.append(batch).await {
                Ok(()) => return Ok(()),
                Err(SinkFailed::Refused(reason)) => return Err(reason),
                Err(SinkFailed::Away(reason)) => reason,
            };
            let closing = *self.closed.borrow();
            if closing {
                let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.close_limit);
                if Instant::now() + FIRST_DELAY > deadline {
                    self.give_up(batch.len() as u64, &reason);
                    return Ok(());
                }
                tokio::time::sleep(FIRST_DELAY).await;
            } else {
                tracing::warn!(reason, events = batch.len(), "audit records wait for the store");
                // Being told to close ends the wait: there is a last chance now.
                let _ = tokio::time::timeout(delay, told_to_close(&mut self.closed)).await;
                delay = (delay * 2).min(LAST_DELAY);
            }
        }
    }

    fn give_up(&self, events: u64, reason: &str) {
        tracing::error!(
            reason,
            events,
            "audit events have no record, only their lines in the log"
        );
        self.unrecorded.fetch_add(events, Ordering::Relaxed);
    }
}

/// Returns when [`Auditor::close`] was called. When every auditor is gone without it, the queue ends by itself.
async fn told_to_close(closed: &mut watch::Receiver<bool>) {
    if closed.wait_for(|closed| *closed).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Room for a minute of the busiest logins while the store is away.
const QUEUE: usize = 4096;

/// Records in one transaction.
const BATCH: usize = 64;

/// First and last pause between attempts while the store is away.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LAST_DELAY: Duration = Duration::from_secs(30);

/// How long a stop waits for a store that does not answer.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
