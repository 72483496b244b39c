//! The login page: at its own address, and in place of what was asked for.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::config::settings::{Association, BindMethod, Connection, ConnectionKind, NumberEntry};
use crate::gate::destination::{Destination, Handoff};
use crate::gate::headers::Headers;
use crate::gate::request_class::{Class, classify, mints_ticket};
use crate::gate::return_to::ReturnTo;
use crate::login::browser::{Issued, PageFacts};
use crate::login::codes::Picture;
use crate::login::device::Surroundings;
use crate::login::error::LoginError;
use crate::login::scene::Scene;
use crate::portal::account::ACCOUNT;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale, user_agent};
use crate::portal::handoff::Wish;
use crate::portal::pages::{
    CodePainter, DrawError, LandingPage, LoginPage, Shell, SiteLabel, Tab, TicketView, Way, data_uri,
};
use crate::portal::problem::Problem;
use crate::portal::query::Query;
use crate::portal::texts::RedirectProblem;
use crate::portal::{FormTargets, FrameSources, Inner};

/// Query of `GET /.menshen/login`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LoginQuery {
    rd: Option<String>,
    connection: Option<String>,
    switch: Option<String>,
    /// Opened in a window of its own by a page of this origin.
    popup: Option<String>,
}

/// `GET /.menshen/login`: with a session 303 to `rd`, unless another person wants to sign in. Only a top-level
/// navigation gets a ticket: a picture or a script of another site plants no cookie and costs no code.
pub(super) async fn login(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Query(query): Query<LoginQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<axum::body::Body>, Problem> {
    let switching = query.switch.as_deref() == Some("true");
    let parse = |rd: &str| Destination::parse(rd, &portal.gate, &context.own_origin());
    let rd = match &query.popup {
        Some(origin) => Some(Destination::Place(ReturnTo::popup(
            &portal.popup_origin(&context, origin)?,
        ))),
        None => query.rd.as_deref().map(parse),
    };
    let navigates = mints_ticket(&method, classify(&method, &Headers::of(&headers)));
    // A code for another host is written down, and counts like a page.
    let hands_on = rd.as_ref().and_then(Destination::handoff).is_some();
    if !switching
        && (navigates || !hands_on)
        && let Some(target) = portal.without_login(&context, rd.as_ref()).await?
    {
        return Ok(Redirect::to(&target).into_response());
    }
    if !navigates {
        return Err(Problem {
            login_url: Some("/.menshen/login".to_owned()),
            ..Code::LoginRequired.into()
        });
    }
    let target = rd.as_ref().map_or_else(|| "/".to_owned(), Destination::to_string);
    if !switching && let Some(page) = portal.explained_circle(&context, &headers, &target) {
        return Ok(page);
    }
    if let Some(Destination::Place(page)) = rd.as_ref().or(Some(&Destination::Place(ReturnTo::root()))) {
        let wish = Wish {
            connection: query.connection.as_deref(),
            switching,
        };
        if let Some(sent) = portal.sent_to_public_url(&context, page, wish)? {
            return Ok(sent);
        }
    }
    let asked = PageAsked {
        rd,
        connection: query.connection.as_deref(),
        switching,
        status: StatusCode::OK,
    };
    portal.login_page(&context, &headers, asked).await
}

/// Whether who scans is told by the account in the chat, instead of a mini program that opens.
pub(super) fn comes_by_message(connection: &Connection) -> bool {
    matches!(connection.kind, ConnectionKind::OfficialAccountQr(_))
}

/// How an account can be proven at a connection; not at all, unless its association is `ask`.
pub(super) fn bind_methods(connection: &Connection) -> &[BindMethod] {
    match &connection.association {
        Association::Ask { methods } => methods,
        Association::None | Association::Field => &[],
    }
}

/// What the login page is made for.
#[derive(Debug)]
pub struct PageAsked<'a> {
    /// Where to go afterwards; `None`: where the connection says.
    pub rd: Option<Destination>,
    /// Which connection; `None`: the first.
    pub connection: Option<&'a str>,
    /// Another person may sign in.
    pub switching: bool,
    /// 200 at its own address, 401 in place of something else.
    pub status: StatusCode,
}

/// What a page shows.
struct Shown<'a> {
    connection: &'a Connection,
    destination: Destination,
    prepared: Prepared,
    /// The one that was wanted, and gives no code at the moment.
    missed: Option<&'a Connection>,
}

/// How the chosen connection logs in on this page.
enum Prepared {
    Code {
        issued: Issued,
        qr: String,
        simulated_phone: Option<String>,
    },
    Frame {
        src: String,
        start_url: String,
        cookies: [String; 1],
    },
    Start {
        start_url: String,
    },
}

impl Prepared {
    fn way<'a>(&'a self, renew_url: &'a str) -> Way<'a> {
        match self {
            Self::Code { issued, qr, .. } => Way::Code(TicketView {
                id: issued.scene.as_str(),
                expires_in: u64::try_from(issued.expires_in).unwrap_or_default(),
                qr,
                open_url: issued.open_url.as_deref(),
                number: issued.number,
            }),
            Self::Frame { src, start_url, .. } => Way::Frame {
                src,
                start_url,
                renew_url,
            },
            Self::Start { start_url } => Way::Start { url: start_url },
        }
    }

    fn hand_back(&self) -> bool {
        matches!(self, Self::Code { issued, .. } if issued.hand_back)
    }

    fn simulated_phone(&self) -> Option<&str> {
        match self {
            Self::Code { simulated_phone, .. } => simulated_phone.as_deref(),
            Self::Frame { .. } | Self::Start { .. } => None,
        }
    }

    fn cookies(&self) -> &[String] {
        match self {
            Self::Code { issued, .. } => &issued.cookies,
            Self::Frame { cookies, .. } => cookies,
            Self::Start { .. } => &[],
        }
    }
}

impl Inner {
    /// The login page in place of what was asked for: 401.
    ///
    /// # Errors
    /// What keeps a ticket from being made.
    pub async fn login_in_place(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        class: Class,
        target: &str,
    ) -> Result<Response<axum::body::Body>, Problem> {
        if let Some(page) = self.explained_circle(context, headers, target) {
            return Ok(page);
        }
        let referer = headers.get(header::REFERER).and_then(|value| value.to_str().ok());
        let rd = ReturnTo::after_login(target, class, referer, &self.gate, &context.own_origin());
        if let Some(sent) = self.sent_to_public_url(context, &rd, Wish::default())? {
            return Ok(sent);
        }
        let asked = PageAsked {
            rd: Some(Destination::Place(rd)),
            connection: None,
            switching: false,
            status: StatusCode::UNAUTHORIZED,
        };
        self.login_page(context, headers, asked).await
    }

    async fn login_page(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        asked: PageAsked<'_>,
    ) -> Result<Response<axum::body::Body>, Problem> {
        self.login
            .limits
            .login_page(context.limit_key)
            .map_err(LoginError::from)?;
        let handoff = asked.rd.as_ref().and_then(Destination::handoff).cloned();
        let agent = user_agent(headers);
        let connections = self.ways_for(context, handoff.as_ref(), agent);
        let chosen = match asked.connection {
            Some(id) => connections.iter().find(|connection| connection.id == id),
            None => connections.first(),
        };
        let Some(wanted) = chosen else {
            let asked_for = |connection: &&Connection| asked.connection.is_none_or(|id| connection.id == id);
            let elsewhere = self.ways_of(context, handoff.as_ref());
            let opened_by_apps = |connection: &&Connection| {
                asked_for(connection) && matches!(connection.kind, ConnectionKind::MiniprogramLaunch(_))
            };
            let problem = if elsewhere.iter().any(asked_for) {
                RedirectProblem::OnlyInWechat
            } else if self.listed(context, handoff.as_ref()).iter().any(opened_by_apps) {
                RedirectProblem::OnlyInApplication
            } else {
                return Err(Code::NotFound.into());
            };
            let mut response = self.redirect_page(context, headers, problem, None);
            note_status(&mut response, asked.status);
            return Ok(response);
        };
        let Shown {
            connection,
            destination,
            prepared,
            missed,
        } = self
            .prepare_one_of(context, headers, &connections, wanted, asked.rd.as_ref())
            .await?;
        let rd = destination.to_string();
        let surroundings = Surroundings::of(agent);
        let url = |other: &&Connection| login_url(&other.id, &rd, asked.switching);
        let urls: Vec<String> = connections.iter().map(url).collect();
        let tabs: Vec<Tab<'_>> = connections
            .iter()
            .zip(&urls)
            .map(|(other, url)| Tab {
                id: &other.id,
                display_name: &other.display_name,
                url,
                bind_methods: bind_methods(other),
                may_create: !other.login_only,
            })
            .collect();
        let renew_url = login_url(&connection.id, &rd, asked.switching);
        let page = LoginPage {
            shell: self.shell_for(
                context,
                locale(headers, self.settings.branding.locale),
                handoff.as_ref(),
            ),
            tabs: &tabs,
            connection: &connection.id,
            way: prepared.way(&renew_url),
            rd: &rd,
            hand_back_rd: prepared.hand_back(),
            number_entry: self.number_entry(),
            in_wechat: surroundings == Surroundings::WechatOnPhone,
            mobile: surroundings == Surroundings::PhoneBrowser,
            switching: asked.switching,
            simulated_phone_url: prepared.simulated_phone(),
            by_message: comes_by_message(connection),
            connecting: None,
            missed: missed.map(|missed| &*missed.display_name),
        };
        let mut response = Html(page.render()).into_response();
        note_status(&mut response, asked.status);
        self.allow_form_to(&mut response, &destination);
        self.note_popup(context, headers, &destination, &mut response);
        if matches!(prepared, Prepared::Frame { .. }) {
            let origin = self.settings.wechat.open_base.origin().ascii_serialization();
            response.extensions_mut().insert(FrameSources(vec![origin]));
        }
        let headers = response.headers_mut();
        set_cookies(headers, prepared.cookies());
        if context.dead_session {
            set_cookies(headers, &[self.cookies.clear_session()]);
        }
        Ok(response)
    }

    /// The wanted connection; where that gives no code at the moment, the next one that works.
    async fn prepare_one_of<'a>(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        connections: &[&'a Connection],
        wanted: &'a Connection,
        rd: Option<&Destination>,
    ) -> Result<Shown<'a>, Problem> {
        let others = connections.iter().copied().filter(|other| other.id != wanted.id);
        let mut refused = None;
        for connection in std::iter::once(wanted).chain(others) {
            let destination = rd.cloned().unwrap_or_else(|| {
                let place = ReturnTo::parse(&connection.callback_url, &self.gate, &context.own_origin());
                Destination::Place(place)
            });
            match self.prepare(context, headers, connection, &destination).await {
                Ok(prepared) => {
                    return Ok(Shown {
                        connection,
                        destination,
                        prepared,
                        missed: refused.is_some().then_some(wanted),
                    });
                }
                // Why the wanted one does not work says more than why the last one does not.
                Err(problem) => refused = refused.or(Some(problem)),
            }
        }
        Err(refused.unwrap_or_else(|| Code::NotFound.into()))
    }

    /// What the page of a connection needs before it is drawn.
    async fn prepare(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        connection: &Connection,
        destination: &Destination,
    ) -> Result<Prepared, Problem> {
        let Some(app) = self.login.redirects.get(&connection.id) else {
            let issued = self.issue(context, headers, connection, destination).await?;
            return Ok(Prepared::Code {
                qr: self.qr_source(connection, &issued)?,
                simulated_phone: self.simulated_phone(connection, &issued.scene),
                issued,
            });
        };
        let start_url = Self::start_url(connection, &destination.to_string());
        if !matches!(connection.kind, ConnectionKind::WebsiteQr { embedded: true }) {
            return Ok(Prepared::Start { start_url });
        }
        let start = self.begin_redirect(context, connection, destination)?;
        let src = app.frame_url(&self.callback_url(connection), start.state.as_str());
        Ok(match src {
            Some(src) => Prepared::Frame {
                src,
                start_url,
                cookies: [start.cookie],
            },
            None => Prepared::Start { start_url },
        })
    }

    /// A ticket for a page of this host.
    ///
    /// # Errors
    /// What keeps WeChat from drawing a code.
    pub(super) async fn issue(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        connection: &Connection,
        destination: &Destination,
    ) -> Result<Issued, Problem> {
        self.admit_code(context, connection)?;
        // What is logged in to, though the session is made here first.
        let asking = destination.handoff().map(|handoff| handoff.site);
        let facts = PageFacts {
            connection: &connection.id,
            site: self.site_name(asking.or(context.site)),
            host: &context.host,
            return_to: &destination.to_string(),
            agent: user_agent(headers),
            address: context.address,
            browser_cookie: context.cookies.browser.as_deref(),
            bind_to: None,
        };
        Ok(self.login.issue(&facts).await?)
    }

    /// A code of a service account costs a call: so many for each address.
    pub(super) fn admit_code(&self, context: &RequestContext, connection: &Connection) -> Result<(), Problem> {
        if comes_by_message(connection) {
            let limits = &self.login.limits;
            limits.account_code(context.limit_key).map_err(LoginError::from)?;
        }
        Ok(())
    }

    /// The connections with a code, in their order, that this host or the one that asks it for a login may log in with.
    pub(super) fn connections_of(&self, context: &RequestContext, handoff: Option<&Handoff>) -> Vec<&Connection> {
        self.listed(context, handoff)
            .into_iter()
            .filter(|connection| {
                matches!(
                    connection.kind,
                    ConnectionKind::MiniprogramQr(_) | ConnectionKind::OfficialAccountQr(_)
                )
            })
            .collect()
    }

    /// The connections that this host, or the one that asks it for a login, lists.
    pub(super) fn listed(&self, context: &RequestContext, handoff: Option<&Handoff>) -> Vec<&Connection> {
        let all = &self.settings.connections;
        let of_site = handoff
            .map(|handoff| handoff.site)
            .or(context.site)
            .and_then(|site| self.settings.sites.get(site))
            .map(|site| &site.connections);
        match of_site {
            Some(indices) => indices.iter().filter_map(|index| all.get(*index)).collect(),
            None => all.iter().collect(),
        }
    }

    /// Where somebody goes who is signed in here already, and need not log in for what they want.
    async fn without_login(
        &self,
        context: &RequestContext,
        wanted: Option<&Destination>,
    ) -> Result<Option<String>, Problem> {
        let Some(signed_in) = self.signed_in(context) else {
            return Ok(None);
        };
        Ok(match wanted {
            Some(Destination::Handoff(handoff)) => {
                let connection = &signed_in.session.authentication.connection;
                let site = self.gate.sites().at(handoff.site);
                if site.is_none_or(|site| !site.connections.iter().any(|listed| listed == connection)) {
                    return Ok(None);
                }
                self.login
                    .limits
                    .login_page(context.limit_key)
                    .map_err(LoginError::from)?;
                Some(self.login.hand_on(&signed_in.session, handoff).await?)
            }
            // The portal's own host has no page behind its root but the person's own.
            Some(Destination::Place(place)) if context.site.is_some() || !place.is_local() || place.is_popup() => {
                Some(place.to_string())
            }
            None if context.site.is_some() => Some("/".to_owned()),
            _ if self.has_account_page(context) => Some(ACCOUNT.to_owned()),
            _ => Some("/.menshen/logout".to_owned()),
        })
    }

    /// Lets the form of a page without a script lead to another host.
    pub(super) fn allow_form_to(&self, response: &mut Response<axum::body::Body>, destination: &Destination) {
        let origin = match destination {
            Destination::Handoff(handoff) => Some(handoff.origin.clone()),
            Destination::Place(place) if place.is_local() => None,
            Destination::Place(place) => url::Url::parse(place.as_str())
                .ok()
                .map(|url| url.origin().ascii_serialization()),
        };
        if let Some(origin) = origin {
            response.extensions_mut().insert(FormTargets(vec![origin]));
        }
    }

    /// The shell that names the site which is logged in to.
    pub(super) fn shell_for<'a>(
        &'a self,
        context: &'a RequestContext,
        locale: crate::config::settings::Locale,
        handoff: Option<&'a Handoff>,
    ) -> Shell<'a> {
        let shell = self.shell(context, locale);
        match handoff.and_then(|handoff| Some((handoff, self.settings.sites.get(handoff.site)?))) {
            Some((handoff, site)) => Shell {
                site: Some(SiteLabel {
                    name: &site.name,
                    host: &handoff.host,
                }),
                ..shell
            },
            None => shell,
        }
    }

    /// How the phone is asked for the number, where it is.
    pub(super) fn number_entry(&self) -> Option<NumberEntry> {
        let login = &self.settings.login;
        login.number_matching.then_some(login.number_entry)
    }

    /// Somebody opened a link code with something that is not WeChat.
    pub fn landing(&self, context: &RequestContext, headers: &HeaderMap) -> Response<axum::body::Body> {
        let shell = self.shell(context, locale(headers, self.settings.branding.locale));
        self.finish(
            context,
            Html(LandingPage { shell, open_url: None }.render()).into_response(),
        )
    }

    pub(super) fn qr_source(&self, connection: &Connection, issued: &Issued) -> Result<String, Problem> {
        match &issued.picture {
            Picture::Wechat(image) => Ok(data_uri(image.media_type, &image.bytes)),
            Picture::Link(text) => self.draw_link(connection, text, CodePainter::data_uri),
            Picture::Later => Ok(format!("/.menshen/tickets/{}/qr", issued.scene.as_str())),
        }
    }

    /// An ordinary code with the connection's logo in its centre, as an SVG document or as a `data:` URI of one.
    pub(super) fn draw_link(
        &self,
        connection: &Connection,
        text: &str,
        draw: fn(&CodePainter, &str) -> Result<String, DrawError>,
    ) -> Result<String, Problem> {
        let painter = self.painters.get(&connection.id).ok_or(Code::NotFound)?;
        draw(painter, text).map_err(|error| {
            tracing::error!(connection = connection.id, %error, "link code not drawn");
            Problem::new(Code::WechatMisconfigured)
        })
    }

    /// The sandbox's phone for a ticket. Its AppIDs exist nowhere else.
    pub(super) fn simulated_phone(&self, connection: &Connection, scene: &Scene) -> Option<String> {
        if self.talks_to_wechat() || !connection.app_id.starts_with("wxsandbox") {
            return None;
        }
        let path = match connection.kind {
            ConnectionKind::MiniprogramQr(_) => "/phone",
            ConnectionKind::OfficialAccountQr(_) => "/chat",
            _ => return None,
        };
        let mut url = self.settings.wechat.api_base.join(path).ok()?;
        url.query_pairs_mut()
            .append_pair("appid", &connection.app_id)
            .append_pair("scene", scene.as_str());
        if let ConnectionKind::MiniprogramQr(kind) = &connection.kind {
            url.query_pairs_mut()
                .append_pair("page", &kind.page)
                .append_pair("env", kind.env_version.as_str());
        }
        Some(url.into())
    }
}

/// 200 at the page's own address, 401 in place of another.
fn note_status(response: &mut Response<axum::body::Body>, status: StatusCode) {
    *response.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"menshen\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
}

/// The login page of a connection; with `switching` also for who is signed in.
pub(super) fn login_url(connection: &str, rd: &str, switching: bool) -> String {
    let switch = if switching { "&switch=true" } else { "" };
    format!(
        "/.menshen/login?connection={connection}&rd={}{switch}",
        encode_query(rd)
    )
}

/// A value in a query.
pub fn encode_query(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Adds `Set-Cookie` lines.
pub fn set_cookies(headers: &mut HeaderMap, cookies: &[String]) {
    for cookie in cookies {
        if let Ok(mut value) = HeaderValue::try_from(cookie) {
            value.set_sensitive(true);
            headers.append(header::SET_COOKIE, value);
        }
    }
}
