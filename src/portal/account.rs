//! A person's own page, at `public_url`'s host only: a site's host shares its origin with the application, whose scripts
//! must not reach this. Everything here needs a login that is a few minutes old at most, so that a browser that was left
//! open gives away nothing; everything but looking needs a page of this origin.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::response::{Html, IntoResponse, Redirect};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::accounts::{Holder, Phone, UnbindError, may_unbind};
use crate::config::settings::Locale;
use crate::login::device::Device;
use crate::login::place::first_half;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale};
use crate::portal::login_page::set_cookies;
use crate::portal::pages::{AccountNote, AccountPage, Connectable, IdentityView, Moment, PersonView, SignInView};
use crate::portal::problem::Problem;
use crate::portal::query::Query;
use crate::portal::tickets::json_or_form;
use crate::portal::{Inner, require_same_origin};
use crate::session::cached::CachedSession;
use crate::store::{IdentityRow, SessionFilter, SessionRow, User, public_session_id};
use crate::telemetry::audit::{AuditEvent, AuditKind};

/// Where it is.
pub(super) const ACCOUNT: &str = "/.menshen/account";

type Answer = Result<Response<Body>, Problem>;

#[derive(Debug, Deserialize)]
pub(super) struct AccountQuery {
    note: Option<String>,
}

/// The id of a session or of an identity, as the page's forms have it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Which {
    id: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Language {
    language: String,
}

/// Who comes to the account page.
pub(super) enum Entering<'c> {
    /// With a fresh login.
    Fresh(&'c Arc<CachedSession>),
    /// Has to log in, and comes back by itself: who is signed in is led from this host's start page to this one.
    Login(&'static str),
}

/// `GET /.menshen/account`
pub(super) async fn page(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Query(query): Query<AccountQuery>,
    headers: HeaderMap,
) -> Answer {
    let cached = match portal.enter(&context)? {
        Entering::Fresh(cached) => cached,
        Entering::Login(login) => return Ok(Redirect::to(login).into_response()),
    };
    let user = portal.login.directory.user(&cached.session.person.id).await?;
    let user = user.ok_or(Code::NoAccount)?;
    let (rows, more) = portal.sign_ins(&user.id).await?;
    let identities = portal.login.store.identities_of(&user.id).await?;
    let this = cached.session.id.to_text();
    let sign_ins: Vec<SignInView<'_>> = rows.iter().map(|row| sign_in(row, row.id == this)).collect();
    let shown: Vec<IdentityView<'_>> = identities.iter().map(|row| portal.identity(row, &identities)).collect();
    let connectable = portal.connectable(&context, &identities);
    let connectable: Vec<Connectable<'_>> = connectable
        .iter()
        .map(|connection| Connectable {
            id: &connection.id,
            name: &connection.display_name,
        })
        .collect();
    let phone = user.phone.as_deref().and_then(|phone| Phone::parse(phone).ok());
    let (phone, groups) = (phone.map(|phone| phone.masked()), user.groups.join(", "));
    let page = AccountPage {
        shell: portal.shell(&context, locale(&headers, portal.settings.branding.locale)),
        note: query.note.as_deref().and_then(AccountNote::parse),
        person: person(&user, phone.as_deref(), &groups),
        sign_ins: &sign_ins,
        more_sign_ins: more,
        identities: &shown,
        connectable: &connectable,
        may_choose_language: portal.settings.branding.locale.is_none(),
    };
    Ok(Html(page.render()).into_response())
}

/// `POST /.menshen/account/sessions`: ends another session of the person.
pub(super) async fn sign_out_there(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let cached = match portal.act(&context)? {
        Entering::Fresh(cached) => cached,
        Entering::Login(login) => return Ok(Redirect::to(login).into_response()),
    };
    let (which, _): (Which, _) = json_or_form(&headers, &body)?;
    let person = &cached.session.person;
    let row = portal.login.store.session_by_public_id(&which.id).await?;
    // Of somebody else, and of nobody: one answer.
    let row = row.filter(|row| row.user_id == person.id).ok_or(Code::NotFound)?;
    if portal.registry.end_listed(&row, "self").await? {
        portal.login.auditor.record(AuditEvent {
            connection: Some(row.connection.clone()),
            browser_device: device(&row),
            ..portal.own_event(AuditKind::SessionRevoked, &context, &person.id)
        });
    }
    Ok(back(AccountNote::SignedOut))
}

/// `POST /.menshen/account/identities`: takes an identity from the person, but never the last way to log in.
pub(super) async fn unbind(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let cached = match portal.act(&context)? {
        Entering::Fresh(cached) => cached,
        Entering::Login(login) => return Ok(Redirect::to(login).into_response()),
    };
    let (which, _): (Which, _) = json_or_form(&headers, &body)?;
    let login = &portal.login;
    let user_id = &*cached.session.person.id;
    let identities = login.store.identities_of(user_id).await?;
    let row = identities
        .iter()
        .find(|row| identity_id(row) == which.id)
        .ok_or(Code::NotFound)?;
    let holder = Holder {
        user_id,
        session_id: &cached.session.id.to_text(),
    };
    let usable = |row: &IdentityRow| portal.connection_name(row).is_some();
    let now = login.clock.now();
    match login
        .directory
        .unbind_own(holder, &row.app_id, &row.openid, usable, now)
        .await
    {
        Ok(ended) => portal.registry.ended_elsewhere("unbound", ended),
        Err(UnbindError::Last) => return Ok(back(AccountNote::LastIdentity)),
        Err(UnbindError::NotTheirs) => return Err(Code::NotFound.into()),
        Err(UnbindError::Store(error)) => return Err(error.into()),
    }
    let of_app = |id: &&crate::config::settings::Connection| id.app_id == row.app_id;
    let connection = portal.settings.connections.iter().find(of_app);
    login.auditor.record(AuditEvent {
        connection: connection.map(|connection| connection.id.clone()),
        ..portal.own_event(AuditKind::Unbind, &context, user_id)
    });
    Ok(back(AccountNote::Unbound))
}

/// `POST /.menshen/account/language`: the language of Menshen's pages on this host, in this browser.
pub(super) async fn language(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    portal.require_account_host(&context)?;
    require_same_origin(&context)?;
    let (chosen, _): (Language, _) = json_or_form(&headers, &body)?;
    let locale = Locale::of_tag(&chosen.language).ok_or(Code::BadRequest)?;
    let mut response = Redirect::to(ACCOUNT).into_response();
    set_cookies(response.headers_mut(), &[portal.cookies.set_language(locale.tag())]);
    Ok(response)
}

impl Inner {
    /// Whether the account page is at this host: `public_url`'s, unless it is a site's too.
    pub(super) fn has_account_page(&self, context: &RequestContext) -> bool {
        context.public_host && context.site.is_none()
    }

    fn require_account_host(&self, context: &RequestContext) -> Result<(), Problem> {
        if self.has_account_page(context) {
            Ok(())
        } else {
            Err(Code::NotFound.into())
        }
    }

    fn enter<'c>(&self, context: &'c RequestContext) -> Result<Entering<'c>, Problem> {
        self.require_account_host(context)?;
        context.require_verifiable()?;
        let Some(cached) = self.signed_in(context) else {
            return Ok(Entering::Login("/.menshen/login?rd=%2F"));
        };
        let age = self
            .login
            .clock
            .now()
            .saturating_sub(cached.session.authentication.time);
        Ok(if age <= FRESH {
            Entering::Fresh(cached)
        } else {
            Entering::Login("/.menshen/login?switch=true&rd=%2F")
        })
    }

    /// The same for what changes something.
    pub(super) fn act<'c>(&self, context: &'c RequestContext) -> Result<Entering<'c>, Problem> {
        self.require_account_host(context)?;
        require_same_origin(context)?;
        self.enter(context)
    }

    /// A person's sessions that can still be used, and whether there are more.
    async fn sign_ins(&self, user_id: &str) -> Result<(Vec<SessionRow>, bool), Problem> {
        let now = self.login.clock.now();
        let filter = SessionFilter {
            user_id: Some(user_id),
            now,
            used_after: now.saturating_sub(self.registry.limits().idle_timeout),
            after: None,
            limit: SHOWN + 1,
        };
        let mut rows = self.login.store.list_sessions(&filter).await?;
        let more = rows.len() > SHOWN as usize;
        rows.truncate(SHOWN as usize);
        Ok((rows, more))
    }

    fn identity<'a>(&'a self, row: &IdentityRow, all: &[IdentityRow]) -> IdentityView<'a> {
        let usable = |row: &IdentityRow| self.connection_name(row).is_some();
        IdentityView {
            id: identity_id(row),
            connection: self.connection_name(row),
            since: Moment::of(row.created_at),
            may_unbind: may_unbind(all, &row.app_id, &row.openid, usable) == Some(true),
        }
    }

    /// What people call the connection of an identity; `None` when its app is not in the configuration any more.
    fn connection_name(&self, row: &IdentityRow) -> Option<&str> {
        let mut connections = self.settings.connections.iter();
        let connection = connections.find(|connection| connection.app_id == row.app_id)?;
        Some(&connection.display_name)
    }

    fn own_event(&self, kind: AuditKind, context: &RequestContext, user_id: &str) -> AuditEvent {
        AuditEvent {
            request_id: Some(context.request_id.to_string()),
            user_id: Some(user_id.to_owned()),
            browser_address: Some(context.address.to_string()),
            reason: Some("self".to_owned()),
            ..AuditEvent::new(kind, self.login.clock.now())
        }
    }
}

fn person<'a>(user: &'a User, phone: Option<&'a str>, groups: &'a str) -> PersonView<'a> {
    PersonView {
        name: user.name.as_deref(),
        username: user.username.as_deref(),
        phone,
        email: user.email.as_deref(),
        groups: Some(groups).filter(|groups| !groups.is_empty()),
    }
}

fn sign_in(row: &SessionRow, is_this: bool) -> SignInView<'_> {
    let address = || row.address.parse().map(first_half).ok();
    SignInView {
        id: public_session_id(&row.id),
        device: device(row).unwrap_or_else(|| "?".to_owned()),
        site: &row.site,
        host: &row.host,
        place: row.place.clone().or_else(address).unwrap_or_else(|| "?".to_owned()),
        since: Moment::of(row.created_at),
        last_used: Moment::of(row.last_used_at),
        is_this,
    }
}

fn device(row: &SessionRow) -> Option<String> {
    serde_json::from_str::<Device>(&row.device)
        .map(|device| device.text)
        .ok()
}

/// What the page's form calls an identity: neither AppID nor openid.
fn identity_id(row: &IdentityRow) -> String {
    let named = [b"menshen/identity", row.app_id.as_bytes(), b"/", row.openid.as_bytes()].concat();
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, &named).as_ref()[..16])
}

fn back(note: AccountNote) -> Response<Body> {
    Redirect::to(&format!("{ACCOUNT}?note={}", note.as_str())).into_response()
}

/// Seconds.
const FRESH: i64 = 300;
/// More sign-ins than anybody reads.
const SHOWN: u32 = 100;
