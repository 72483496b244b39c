//! What a client presented, and what that is to the decision.

use std::sync::Arc;

use pingora::http::RequestHeader;

use crate::gate::decide::{Credential, SessionView};
use crate::portal::context::RequestContext;
use crate::proxy::cookies::{self, Found};
use crate::proxy::outgoing::has_own_bearer;
use crate::proxy::snapshot::Snapshot;
use crate::session::cache::CachedSession;
use crate::session::registry::Lookup;

/// The session of the cookie at the host of `context`, and whether there is a cookie that is none.
pub(in crate::proxy) async fn find_session(
    snapshot: &Snapshot,
    request: &RequestHeader,
    context: &RequestContext,
) -> (Presented, bool) {
    if has_own_bearer(&request.headers) {
        return (Presented::InvalidToken, false);
    }
    match cookies::find(&request.headers, snapshot.names.session.as_bytes()) {
        Found::Absent => (Presented::None, false),
        Found::Conflict => (Presented::None, true),
        Found::Value(value) => match snapshot.registry.find(&context.host, value).await {
            Lookup::Live(cached) => (Presented::Session(cached), false),
            Lookup::Dead => (Presented::None, true),
            Lookup::Unverifiable => (Presented::Unverifiable, false),
        },
    }
}

/// What a client presented.
pub(in crate::proxy) enum Presented {
    None,
    Session(Arc<CachedSession>),
    InvalidToken,
    Unverifiable,
}

impl Presented {
    pub(in crate::proxy) fn session(&self) -> Option<&Arc<CachedSession>> {
        match self {
            Self::Session(cached) => Some(cached),
            _ => None,
        }
    }
}

/// The same for the decision.
pub(in crate::proxy) fn credential(presented: &Presented) -> Credential<'_> {
    match presented {
        Presented::None => Credential::None,
        Presented::Session(cached) => Credential::Session(view(cached)),
        Presented::InvalidToken => Credential::InvalidToken,
        Presented::Unverifiable => Credential::Unverifiable,
    }
}

fn view(cached: &CachedSession) -> SessionView<'_> {
    let person = &cached.session.person;
    SessionView {
        user_id: &person.id,
        username: person.username.as_deref(),
        groups: &person.groups,
        phone: person.phone.as_deref(),
        email: person.email.as_deref(),
        connection: Some(&cached.session.authentication.connection),
        sites: None,
        by_cookie: true,
    }
}
