//! Where a ticket stands, as the browser is told. Pure: a row, a scene and a clock in, words out.

use crate::login::error::Ending;
use crate::login::scene::Scene;
use crate::store::{Ticket, TicketState};

/// The states of the contract, `pending` among them, which has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Nobody has scanned.
    Pending,
    /// A phone has it.
    Scanned,
    /// The browser chooses an account.
    Bind,
    /// The person agreed.
    Confirmed,
    /// The browser has its session.
    Redeemed,
    /// The person refused, here or there.
    Cancelled,
    /// Too late.
    Expired,
    /// Refused; the ending says why.
    Failed,
}

/// A ticket at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// State.
    pub status: Status,
    /// Seconds to the next end of waiting; 0 for an end.
    pub expires_in: i64,
    /// Why it failed.
    pub ending: Option<Ending>,
}

impl Status {
    /// The text of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scanned => "scanned",
            Self::Bind => "bind",
            Self::Confirmed => "confirmed",
            Self::Redeemed => "redeemed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }
}

impl Standing {
    /// Of a scene and the row that a phone may have made of it.
    pub fn of(scene: &Scene, row: Option<&Ticket>, ticket_ttl: i64, now: i64) -> Self {
        let Some(row) = row else {
            return Self::waiting(Status::Pending, scene.issued_at() + ticket_ttl, now);
        };
        match row.state {
            TicketState::Scanned if row.is_leased(now) => {
                Self::waiting(Status::Scanned, row.expires_at.max(now + 1), now)
            }
            TicketState::Scanned => Self::waiting(Status::Scanned, row.expires_at, now),
            TicketState::Bind => Self::waiting(Status::Bind, row.expires_at, now),
            TicketState::Confirmed => Self::waiting(Status::Confirmed, row.expires_at, now),
            TicketState::Redeemed => Self::ended(Status::Redeemed, None),
            TicketState::Cancelled => Self::ended(Status::Cancelled, None),
            TicketState::Expired => Self::ended(Status::Expired, None),
            TicketState::Failed => Self::ended(Status::Failed, row.error.as_deref().and_then(Ending::parse)),
        }
    }

    fn waiting(status: Status, until: i64, now: i64) -> Self {
        if until > now {
            Self {
                status,
                expires_in: until - now,
                ending: None,
            }
        } else {
            Self::ended(Status::Expired, None)
        }
    }

    fn ended(status: Status, ending: Option<Ending>) -> Self {
        Self {
            status,
            expires_in: 0,
            ending,
        }
    }
}
