//! A further WeChat account on the person's own page: a code that connects whoever scans it, and the end of it.
//!
//! The code is asked for with a fresh login, like everything there. What became of it is watched and finished at the
//! ticket's own addresses; only the session that asked can finish, and it is asked once more before.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::{Html, IntoResponse, Redirect};
use axum::{Extension, Json};
use serde::Deserialize;

use crate::config::settings::Connection;
use crate::login::browser::{Issued, PageFacts, StatusUser, Watched};
use crate::login::browser_half::BindTo;
use crate::login::device::Surroundings;
use crate::login::error::LoginError;
use crate::portal::Inner;
use crate::portal::account::{ACCOUNT, Entering};
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale, user_agent};
use crate::portal::login_page::{comes_by_message, set_cookies};
use crate::portal::pages::{AccountNote, Connecting, LoginPage, TicketView, Way, page_url};
use crate::portal::problem::Problem;
use crate::portal::tickets::{Created, go_to, json_or_form};
use crate::store::{IdentityRow, User};

/// Where a code is asked for.
const CONNECT: &str = "/.menshen/account/connect";

type Answer = Result<Response<Body>, Problem>;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    connection: String,
}

/// `POST /.menshen/account/connect`: the page with the code for a form, the next code for the page's script.
pub(super) async fn create(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let entering = portal.act(&context)?;
    let (wanted, form): (Wanted, bool) = json_or_form(&headers, &body)?;
    let cached = match entering {
        Entering::Fresh(cached) => cached,
        Entering::Login(login) if form => return Ok(Redirect::to(login).into_response()),
        Entering::Login(login) => {
            return Err(Problem {
                login_url: Some(login.to_owned()),
                ..Code::LoginRequired.into()
            });
        }
    };
    let login = &portal.login;
    login.limits.login_page(context.limit_key).map_err(LoginError::from)?;
    let person = &cached.session.person;
    let user = login.directory.user(&person.id).await?.ok_or(Code::NoAccount)?;
    let connections = portal.connections_of(&context, None);
    let connection = connections.iter().find(|known| known.id == wanted.connection);
    let connection = *connection.ok_or(Code::NotFound)?;
    if !is_free(connection, &login.store.identities_of(&user.id).await?) {
        return Err(Code::AccountBound.into());
    }
    let facts = PageFacts {
        connection: &connection.id,
        site: &portal.settings.branding.title,
        host: &context.host,
        return_to: ACCOUNT,
        agent: user_agent(&headers),
        address: context.address,
        browser_cookie: context.cookies.browser.as_deref(),
        bind_to: Some(BindTo {
            user_id: user.id.clone(),
            session_id: cached.session.id.to_text(),
        }),
    };
    portal.admit_code(&context, connection)?;
    let issued = login.issue(&facts).await?;
    let mut response = if form {
        portal
            .connect_page(&context, &headers, connection, &issued, &user)?
            .into_response()
    } else {
        (StatusCode::CREATED, Json(Created::of(&issued, connection))).into_response()
    };
    set_cookies(response.headers_mut(), &issued.cookies);
    Ok(response)
}

impl Inner {
    /// Connections by which the person has no WeChat account yet.
    pub(super) fn connectable(&self, context: &RequestContext, identities: &[IdentityRow]) -> Vec<&Connection> {
        let mut connections = self.connections_of(context, None);
        connections.retain(|connection| is_free(connection, identities));
        connections
    }

    /// The last step, by the browser: JSON for the script, a redirect for a form.
    pub(super) async fn finish_connecting(&self, context: &RequestContext, watched: &Watched, form: bool) -> Answer {
        context.require_verifiable()?;
        let session = self.signed_in(context).map(|cached| &cached.session);
        match self.login.connect(watched, session, &context.request_id).await {
            Ok(()) => {
                let note = AccountNote::Connected.as_str();
                Ok(go_to(&format!("{ACCOUNT}?note={note}"), form))
            }
            // The ticket's page says what became of it.
            Err(LoginError::Ended(_) | LoginError::Cancelled | LoginError::Expired | LoginError::WrongState)
                if form =>
            {
                Ok(Redirect::to(&page_url(watched.scene.as_str(), None)).into_response())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Masked name of the account that a ticket connects to; `None` when it logs in.
    pub(super) async fn connecting_name(&self, watched: &Watched) -> Result<Option<String>, Problem> {
        let Some(bind_to) = &watched.half.bind_to else {
            return Ok(None);
        };
        let user = self.login.directory.user(&bind_to.user_id).await?;
        Ok(Some(
            user.map_or_else(|| "?".to_owned(), |user| StatusUser::of(&user).name),
        ))
    }

    fn connect_page(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        connection: &Connection,
        issued: &Issued,
        user: &User,
    ) -> Result<Html<String>, Problem> {
        let surroundings = Surroundings::of(user_agent(headers));
        let name = StatusUser::of(user).name;
        let simulated_phone = self.simulated_phone(connection, &issued.scene);
        let page = LoginPage {
            shell: self.shell(context, locale(headers, self.settings.branding.locale)),
            tabs: &[],
            connection: &connection.id,
            way: Way::Code(TicketView {
                id: issued.scene.as_str(),
                expires_in: u64::try_from(issued.expires_in).unwrap_or_default(),
                qr: &self.qr_source(connection, issued)?,
                open_url: None,
                number: None,
            }),
            rd: ACCOUNT,
            hand_back_rd: false,
            number_entry: self.number_entry(),
            in_wechat: surroundings == Surroundings::WechatOnPhone,
            mobile: surroundings == Surroundings::PhoneBrowser,
            // Somebody is signed in, which is no news here.
            switching: true,
            simulated_phone_url: simulated_phone.as_deref(),
            by_message: comes_by_message(connection),
            connecting: Some(connecting(&name)),
            missed: None,
        };
        Ok(Html(page.render()))
    }
}

/// What a page says while it connects to the account of this name.
pub(super) fn connecting(name: &str) -> Connecting<'_> {
    Connecting {
        name,
        create_url: CONNECT,
        account_url: ACCOUNT,
    }
}

/// Whether the person has no WeChat account of the connection's app.
fn is_free(connection: &Connection, identities: &[IdentityRow]) -> bool {
    identities.iter().all(|row| row.app_id != connection.app_id)
}
