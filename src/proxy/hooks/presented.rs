//! What a client presented, and what that is to the decision.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;

use crate::gate::decide::{Credential, SessionView};
use crate::gate::headers::Headers;
use crate::login::limits::TooMany;
use crate::portal::context::{Bearer, RequestContext};
use crate::proxy::cookies::{self, Found};
use crate::proxy::outgoing::own_bearer;
use crate::proxy::snapshot::Snapshot;
use crate::session::bearer::TokenHash;
use crate::session::cached::CachedSession;
use crate::session::registry::Lookup;
use crate::session::tokens::{LookedUp, Recalled};

/// What a client presented.
pub(in crate::proxy) enum Presented {
    None,
    /// A session cookie that is none, to be cleared.
    DeadCookie,
    Session(Arc<CachedSession>),
    Token(Arc<CachedSession>),
    InvalidToken,
    /// A token that is not looked at: too many that were none came from this address.
    LimitedToken(Duration),
    Unverifiable,
}

/// The token of a request or, only without one, the session of its cookie at the host of `context`.
pub(in crate::proxy) async fn present(
    snapshot: &Snapshot,
    headers: &Headers<'_>,
    context: &RequestContext,
) -> Presented {
    if let Some(token) = headers.get(&AUTHORIZATION).and_then(own_bearer) {
        return present_token(snapshot, token, context).await;
    }
    match cookies::find(headers.map(), snapshot.names.session.as_bytes()) {
        Found::Absent => Presented::None,
        Found::Conflict => Presented::DeadCookie,
        Found::Value(value) => match snapshot.registry.find(&context.host, value).await {
            Lookup::Live(cached) => Presented::Session(cached),
            Lookup::Dead => Presented::DeadCookie,
            Lookup::Unverifiable => Presented::Unverifiable,
        },
    }
}

/// What memory vouches for is not counted; whatever else comes as a token is, and tenfold if it is none.
async fn present_token(snapshot: &Snapshot, token: &[u8], context: &RequestContext) -> Presented {
    if !snapshot.registry.is_ready() {
        return Presented::Unverifiable;
    }
    let limits = &snapshot.portal.inner().login.limits;
    let address = context.limit_key;
    let limited = |TooMany { retry_after }| Presented::LimitedToken(retry_after);
    match snapshot.registry.tokens().recall(token).await {
        Recalled::Live(cached) => Presented::Token(cached),
        Recalled::Outdated(hash) => look_up(snapshot, hash, context).await,
        Recalled::Nothing(hash) => match limits.token_lookup(address) {
            Ok(()) => look_up(snapshot, hash, context).await,
            Err(too_many) => limited(too_many),
        },
        // Counted once: a client that repeats itself learns nothing and costs nothing.
        Recalled::Refused => match limits.token_lookup(address) {
            Ok(()) => Presented::InvalidToken,
            Err(too_many) => limited(too_many),
        },
        Recalled::Malformed => match limits.token_lookup(address) {
            Ok(()) => {
                limits.wrong_token(address);
                Presented::InvalidToken
            }
            Err(too_many) => limited(too_many),
        },
    }
}

async fn look_up(snapshot: &Snapshot, hash: TokenHash, context: &RequestContext) -> Presented {
    match snapshot.registry.tokens().look_up(hash).await {
        LookedUp::Live(cached) => Presented::Token(cached),
        LookedUp::Refused => {
            snapshot.portal.inner().login.limits.wrong_token(context.limit_key);
            Presented::InvalidToken
        }
        LookedUp::Unverifiable => Presented::Unverifiable,
    }
}

impl Presented {
    /// Notes it down for whoever answers.
    pub(in crate::proxy) fn tell(&self, context: &mut RequestContext) {
        context.dead_session = matches!(self, Self::DeadCookie);
        context.session_in_doubt = matches!(self, Self::Unverifiable);
        match self {
            Self::Session(cached) => context.session = Some(Arc::clone(cached)),
            Self::Token(cached) => context.bearer = Bearer::Good(Arc::clone(cached)),
            Self::InvalidToken => context.bearer = Bearer::Refused,
            Self::LimitedToken(retry_after) => context.bearer = Bearer::Limited(*retry_after),
            Self::None | Self::DeadCookie | Self::Unverifiable => {}
        }
    }

    /// The same for the decision.
    pub(in crate::proxy) fn credential(&self) -> Credential<'_> {
        match self {
            Self::None | Self::DeadCookie => Credential::None,
            Self::Session(cached) | Self::Token(cached) => Credential::Session(view(cached)),
            Self::InvalidToken | Self::LimitedToken(_) => Credential::InvalidToken,
            Self::Unverifiable => Credential::Unverifiable,
        }
    }
}

fn view(cached: &CachedSession) -> SessionView<'_> {
    let person = &cached.session.person;
    let connection = &*cached.session.authentication.connection;
    SessionView {
        user_id: &person.id,
        username: person.username.as_deref(),
        groups: &person.groups,
        phone: person.phone.as_deref(),
        email: person.email.as_deref(),
        connection: (!connection.is_empty()).then_some(connection),
        sites: cached.bearer.as_ref().and_then(|bearer| bearer.sites.as_deref()),
        by_cookie: cached.bearer.is_none(),
    }
}
