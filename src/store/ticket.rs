//! What a ticket looks like.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::StoreError;

/// Where a ticket is. `pending` has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TicketState {
    /// The browser chooses between a new user and binding an existing one.
    Bind,
    /// Ended by the person.
    Cancelled,
    /// The person agreed; the browser may redeem.
    Confirmed,
    /// Ended by time.
    Expired,
    /// Ended by a refusal; `error` says which.
    Failed,
    /// The browser has its session.
    Redeemed,
    /// A phone holds it.
    Scanned,
}

/// A ticket that a phone has touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The scene: 32 characters.
    pub id: String,
    /// Connection id.
    pub connection: String,
    /// Where it is.
    pub state: TicketState,
    /// App that `openid` belongs to; empty if it ended before a scan.
    pub app_id: String,
    /// Who scanned; empty if it ended before a scan.
    pub openid: String,
    /// Who scanned, across the apps of one Open Platform account.
    pub unionid: Option<String>,
    /// What the phone must show (JSON), added by the node that holds the browser.
    pub browser: Option<String>,
    /// An answer to the present handle has carried `browser`.
    pub shown: bool,
    /// SHA-256 of the phone's handle; empty if it ended before a scan.
    pub handle_hash: Vec<u8>,
    /// Launch scene number of the mini program.
    pub entry: Option<i64>,
    /// Who was confirmed; in `bind` the account that was proven and waits for the phone.
    pub user_id: Option<String>,
    /// The number that was tapped.
    pub choice: Option<i64>,
    /// What became of the phone number (`taken`), if both screens should say so.
    pub phone_note: Option<String>,
    /// Stable error code of a ticket that failed.
    pub error: Option<String>,
    /// Why it ended, for the audit.
    pub reason: Option<String>,
    /// Address of the phone.
    pub phone_address: String,
    /// `User-Agent` of the phone.
    pub phone_agent: String,
    /// Issue time in the scene.
    pub created_at: i64,
    /// First scan.
    pub scanned_at: i64,
    /// When the person agreed.
    pub confirmed_at: Option<i64>,
    /// When it ended: redeemed, cancelled, expired, or failed.
    pub ended_at: Option<i64>,
    /// When the present state runs out.
    pub expires_at: i64,
    /// The session that it became.
    pub session_id: Option<String>,
    /// Who is confirming now.
    pub lease: Option<String>,
    /// Until when that counts.
    pub lease_until: Option<i64>,
    /// Wrong proofs of accounts, with those that are being looked at.
    pub proof_failures: i64,
}

/// A first scan.
#[derive(Debug, Clone)]
pub struct NewTicket {
    /// The scene.
    pub id: String,
    /// Connection id.
    pub connection: String,
    /// App of the code that was exchanged.
    pub app_id: String,
    /// Who scans.
    pub openid: String,
    /// Who scans, across apps.
    pub unionid: Option<String>,
    /// SHA-256 of the handle that the phone gets.
    pub handle_hash: Vec<u8>,
    /// Launch scene number of the mini program.
    pub entry: Option<i64>,
    /// Address of the phone.
    pub phone_address: String,
    /// `User-Agent` of the phone.
    pub phone_agent: String,
    /// Issue time in the scene.
    pub created_at: i64,
    /// Now.
    pub scanned_at: i64,
    /// When the scan runs out.
    pub expires_at: i64,
}

/// The same person scans again.
#[derive(Debug, Clone)]
pub struct Rescan {
    /// App of the code that was exchanged.
    pub app_id: String,
    /// Who scans.
    pub openid: String,
    /// SHA-256 of the new handle.
    pub handle_hash: Vec<u8>,
    /// Launch scene number of the mini program; `None`: what the scan before reported stays.
    pub entry: Option<i64>,
    /// Address of the phone.
    pub phone_address: String,
    /// `User-Agent` of the phone.
    pub phone_agent: String,
    /// Now.
    pub now: i64,
    /// When the scan runs out; counts while the ticket is `scanned`, later states keep their own end.
    pub expires_at: i64,
}

/// The person agreed.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// Who they turned out to be.
    pub user_id: String,
    /// The number that was tapped.
    pub choice: Option<i64>,
    /// What became of the phone number.
    pub phone_note: Option<String>,
    /// Now.
    pub confirmed_at: i64,
    /// Until when the browser may redeem.
    pub expires_at: i64,
}

/// A ticket that ends before anybody scanned it.
#[derive(Debug, Clone)]
pub struct EndedTicket {
    /// The scene.
    pub id: String,
    /// Connection id.
    pub connection: String,
    /// `Cancelled` or `Failed`.
    pub state: TicketState,
    /// Stable error code of a ticket that failed.
    pub error: Option<String>,
    /// Why it ended, for the audit.
    pub reason: Option<String>,
    /// Issue time in the scene.
    pub created_at: i64,
    /// Now.
    pub now: i64,
    /// When the scene itself ends; the row must not be swept before.
    pub expires_at: i64,
}

impl TicketState {
    const ALL: [Self; 7] = [
        Self::Bind,
        Self::Cancelled,
        Self::Confirmed,
        Self::Expired,
        Self::Failed,
        Self::Redeemed,
        Self::Scanned,
    ];

    /// As it is stored, and as the browser reads it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cancelled => "cancelled",
            Self::Confirmed => "confirmed",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Redeemed => "redeemed",
            Self::Scanned => "scanned",
        }
    }
}

impl Ticket {
    /// Whether somebody is confirming it now.
    #[must_use]
    pub fn is_leased(&self, now: i64) -> bool {
        self.lease.is_some() && self.lease_until.is_some_and(|until| until > now)
    }
}

pub(super) fn from_row(row: &AnyRow) -> Result<Ticket, StoreError> {
    let state: &str = row.try_get("state")?;
    let state = TicketState::ALL.into_iter().find(|known| known.as_str() == state);
    Ok(Ticket {
        id: row.try_get("id")?,
        connection: row.try_get("connection")?,
        state: state.ok_or_else(|| StoreError::Broken("a ticket in an unknown state".to_owned()))?,
        app_id: row.try_get("app_id")?,
        openid: row.try_get("openid")?,
        unionid: row.try_get("unionid")?,
        browser: row.try_get("browser")?,
        shown: row.try_get::<i64, _>("shown")? != 0,
        handle_hash: row.try_get::<Option<Vec<u8>>, _>("handle_hash")?.unwrap_or_default(),
        entry: row.try_get("entry")?,
        user_id: row.try_get("user_id")?,
        choice: row.try_get("choice")?,
        phone_note: row.try_get("phone_note")?,
        error: row.try_get("error")?,
        reason: row.try_get("reason")?,
        phone_address: row.try_get("phone_address")?,
        phone_agent: row.try_get("phone_agent")?,
        created_at: row.try_get("created_at")?,
        scanned_at: row.try_get("scanned_at")?,
        confirmed_at: row.try_get("confirmed_at")?,
        ended_at: row.try_get("ended_at")?,
        expires_at: row.try_get("expires_at")?,
        session_id: row.try_get("session_id")?,
        lease: row.try_get("lease")?,
        lease_until: row.try_get("lease_until")?,
        proof_failures: row.try_get("proof_failures")?,
    })
}

/// Written out, not `*`: a column that a newer node adds must not upset this node's prepared statements.
macro_rules! select_where {
    ($condition:literal) => {
        concat!(
            "SELECT id, connection, state, app_id, openid, unionid, browser, shown, handle_hash, entry, user_id,
             choice, phone_note, error, reason, phone_address, phone_agent, created_at, scanned_at, confirmed_at,
             ended_at, expires_at, session_id, lease, lease_until, proof_failures FROM tickets WHERE ",
            $condition
        )
    };
}

pub(super) const SELECT_BY_ID: &str = select_where!("id = $1");
pub(super) const SELECT_BY_HANDLE: &str = select_where!("handle_hash = $1");
