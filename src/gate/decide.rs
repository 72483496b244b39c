//! What happens to a request.
//!
//! [`decide`] is pure: it sees a view of the request, the compiled configuration and what the credential turned out to
//! be. Hooks collect, this decides, others apply. The order is fixed: what nobody may have (lookalikes of the portal,
//! unknown hosts), what Menshen answers itself, then the rules of the site; and within a rule deny before transport
//! before login before requirements.

use std::net::IpAddr;

use http::Method;

use crate::config::settings::{Access, LoginAnswer};
use crate::gate::Gate;
use crate::gate::origin::{OwnOrigin, is_listed, websocket_origin_allowed};
use crate::gate::path::{PortalMatch, portal_match};
use crate::gate::request_class::Class;
use crate::gate::route::Rules;
use crate::gate::site::SiteMatch;

/// What deciding needs of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// Of the request line.
    pub method: &'a Method,
    /// What the client called the host: lower case, no trailing dot, IPv6 in brackets.
    pub host: &'a str,
    /// What the client called the port; `None` is the scheme's default.
    pub port: Option<u16>,
    /// The client used HTTPS.
    pub secure: bool,
    /// One of the gateway's certificates covers this host, so that plain HTTP is a downgrade.
    pub certified: bool,
    /// Normalised, without the query.
    pub path: &'a str,
    /// What kind of client asks.
    pub class: Class,
    /// `Origin`, `null` when repeated.
    pub origin: Option<&'a [u8]>,
    /// What a CORS preflight asks for: see [`super::request_class::preflight_for`].
    pub preflight_for: Option<&'a Method>,
    /// The client's address; `None` when it is in doubt, which meets no network condition.
    pub client: Option<IpAddr>,
}

/// What the credential of a request turned out to be.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    /// None, or a cookie that is forged, expired, revoked or repeated with different values.
    None,
    /// A valid session or token.
    Session(SessionView<'a>),
    /// A bearer token of Menshen's form that is unknown, expired or revoked. It decides alone: no fallback to a cookie.
    InvalidToken,
    /// There is one, but whether it holds cannot be known now: the store is down for too long, or was never read.
    Unverifiable,
}

/// What deciding needs of a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionView<'a> {
    /// `u_…`
    pub user_id: &'a str,
    /// Username.
    pub username: Option<&'a str>,
    /// Groups.
    pub groups: &'a [String],
    /// E.164.
    pub phone: Option<&'a str>,
    /// E-mail address.
    pub email: Option<&'a str>,
    /// Id of the connection of the login; `None` for tokens that no login made.
    pub connection: Option<&'a str>,
    /// Audiences of the sites that a token is for; `None`: every site.
    pub sites: Option<&'a [String]>,
    /// It came by cookie, so browsers send it unasked.
    pub by_cookie: bool,
}

/// Where in the configuration a decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Place in `Settings::sites`.
    pub site: usize,
    /// Place in the site's routes; `None`: no route matches.
    pub route: Option<usize>,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// To the upstream; with identity headers and assertion when `identified`.
    Forward {
        /// Where.
        at: At,
        /// The session is valid here and shown to the application.
        identified: bool,
    },
    /// 204: an allowed origin asks whether it may; the gateway answers, since browsers send no cookie with it.
    Preflight {
        /// Where.
        at: At,
        /// For `Access-Control-Allow-Origin`.
        origin: String,
    },
    /// 401 with the login page in place.
    LoginPage {
        /// Where.
        at: At,
    },
    /// 302 to the login page.
    LoginRedirect {
        /// Where.
        at: At,
    },
    /// 401 in JSON.
    Unauthorized {
        /// Where.
        at: At,
        /// Which code it carries.
        reason: Unauthorized,
        /// For `Access-Control-Allow-Origin`.
        cors_origin: Option<String>,
    },
    /// gRPC status 16.
    GrpcUnauthenticated {
        /// Where.
        at: At,
    },
    /// 403 `forbidden`; for gRPC status 7.
    Forbidden {
        /// Where.
        at: At,
        /// For the log and `explain`.
        reason: Forbidden,
        /// For `Access-Control-Allow-Origin`.
        cors_origin: Option<String>,
    },
    /// 403 `cross_origin`: a WebSocket by cookie from a foreign origin.
    CrossOrigin {
        /// Where.
        at: At,
    },
    /// 503: there is a credential, and nobody can say whether it holds.
    Unavailable {
        /// Where.
        at: At,
    },
    /// To the same address over HTTPS.
    SecureRedirect {
        /// Where.
        at: At,
    },
    /// Menshen answers below `/.menshen`.
    Portal {
        /// Site of the host.
        site: Option<usize>,
        /// At `public_url`'s host.
        public_host: bool,
        /// The host is HTTPS and this request is not: nothing that makes or reads a session may answer.
        downgraded: bool,
    },
    /// One of `verification_files`.
    VerificationFile {
        /// Its name.
        name: String,
    },
    /// The page for link codes that another scanner opened.
    Landing,
    /// The root of `public_url`: leads to the login page.
    Start,
    /// 404: `public_url`'s host has nothing else.
    NotFound,
    /// 404: no site has this host.
    UnknownHost,
    /// 400: a path that could be taken for another.
    Ambiguous,
}

/// Why a request is 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthorized {
    /// `login_required`
    LoginRequired,
    /// `token_invalid`: unknown, expired or revoked.
    TokenInvalid,
    /// `token_invalid`: a good token, for other sites. Its holder is told no more than that it is none here.
    TokenForOtherSites,
}

/// Why a request is 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// The route lets nobody pass.
    RouteDenied,
    /// The person or the address does not meet the requirements.
    RequirementsUnmet,
}

impl Decision {
    /// One word, for logs and `explain`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Forward { identified: true, .. } => "forward",
            Self::Forward { identified: false, .. } => "forward_anonymous",
            Self::Preflight { .. } => "preflight",
            Self::LoginPage { .. } => "login_page",
            Self::LoginRedirect { .. } => "login_redirect",
            Self::Unauthorized { .. } => "unauthorized",
            Self::GrpcUnauthenticated { .. } => "grpc_unauthenticated",
            Self::Forbidden { .. } => "forbidden",
            Self::CrossOrigin { .. } => "cross_origin",
            Self::Unavailable { .. } => "unavailable",
            Self::SecureRedirect { .. } => "https_redirect",
            Self::Portal { .. } => "portal",
            Self::VerificationFile { .. } => "verification_file",
            Self::Landing => "landing",
            Self::Start => "start",
            Self::NotFound => "not_found",
            Self::UnknownHost => "unknown_host",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// What happens to this request.
pub fn decide(request: &RequestView<'_>, gate: &Gate, credential: &Credential<'_>) -> Decision {
    let site = gate.site(request.host);
    let public_host = gate.is_public_host(request.host);
    if site.is_none() && !public_host && !gate.has_link_prefix(request.host) {
        return Decision::UnknownHost;
    }
    let downgraded = !request.secure && (gate.https() || request.certified);
    match portal_match(request.path) {
        PortalMatch::Lookalike => return Decision::Ambiguous,
        PortalMatch::Portal => {
            let site = site.map(|found| found.index);
            return Decision::Portal {
                site,
                public_host,
                downgraded,
            };
        }
        PortalMatch::Elsewhere => {}
    }
    if let Some(page) = gate.public_page(request.host, request.path) {
        return page;
    }
    match site {
        Some(found) => decide_site(request, gate, &found, credential, downgraded),
        None if public_host && request.path == "/" => Decision::Start,
        None => Decision::NotFound,
    }
}

fn decide_site(
    request: &RequestView<'_>,
    gate: &Gate,
    found: &SiteMatch<'_>,
    credential: &Credential<'_>,
    downgraded: bool,
) -> Decision {
    let rules = found.site.routes.rules(request.method, request.path);
    let at = At {
        site: found.index,
        route: rules.route.map(|route| route.index),
    };
    if rules.refuses_encoded_slash {
        return Decision::Ambiguous;
    }
    let refused = |reason| Decision::Forbidden {
        at,
        reason,
        cors_origin: cors_origin(request, &rules),
    };
    if rules.access == Access::Deny {
        return refused(Forbidden::RouteDenied);
    }
    let open = rules.access == Access::Public && (!rules.have_requirements() || rules.admit(None, request.client));
    if downgraded {
        return match open {
            true => Decision::Forward { at, identified: false },
            false if request.class.is_page() => Decision::SecureRedirect { at },
            false => unauthenticated(request, gate, at, &rules, Unauthorized::LoginRequired),
        };
    }
    let session = match credential {
        Credential::InvalidToken => return unauthenticated(request, gate, at, &rules, Unauthorized::TokenInvalid),
        Credential::Unverifiable if open => None,
        Credential::Unverifiable => return Decision::Unavailable { at },
        Credential::None => None,
        Credential::Session(session) if session.is_for(&found.site.audience) => {
            // A session of a connection that the site does not list is none here; logging in again can help.
            let listed = session
                .connection
                .is_none_or(|id| found.site.connections.iter().any(|listed| listed == id));
            if !listed && !session.by_cookie {
                return unauthenticated(request, gate, at, &rules, Unauthorized::TokenForOtherSites);
            }
            listed.then_some(session)
        }
        Credential::Session(_) => return unauthenticated(request, gate, at, &rules, Unauthorized::TokenForOtherSites),
    };
    let own = OwnOrigin {
        secure: request.secure,
        host: request.host,
        port: request.port,
    };
    let listed = rules.route.map_or(&[][..], |route| &route.websocket_origins);
    let cross_origin = request.class == Class::WebSocket
        && session.is_some_and(|session| session.by_cookie)
        && !websocket_origin_allowed(request.origin, &own, listed);
    match session {
        Some(session) if rules.admit(Some(session), request.client) => match (cross_origin, open) {
            (false, _) => Decision::Forward { at, identified: true },
            // The application sees what anybody could have sent.
            (true, true) => Decision::Forward { at, identified: false },
            (true, false) => Decision::CrossOrigin { at },
        },
        None | Some(_) if open => Decision::Forward { at, identified: false },
        Some(_) => refused(Forbidden::RequirementsUnmet),
        None => preflight(request, found)
            .unwrap_or_else(|| unauthenticated(request, gate, at, &rules, Unauthorized::LoginRequired)),
    }
}

/// A preflight asks on behalf of the request that will follow, by the rules of that request. The gateway answers it and
/// no upstream sees it, so that the exemption is no tunnel.
fn preflight(request: &RequestView<'_>, found: &SiteMatch<'_>) -> Option<Decision> {
    let rules = found.site.routes.rules(request.preflight_for?, request.path);
    let origin = cors_origin(request, &rules)?;
    let at = At {
        site: found.index,
        route: rules.route.map(|route| route.index),
    };
    (rules.access != Access::Deny && !rules.refuses_encoded_slash).then_some(Decision::Preflight { at, origin })
}

fn unauthenticated(
    request: &RequestView<'_>,
    gate: &Gate,
    at: At,
    rules: &Rules<'_>,
    reason: Unauthorized,
) -> Decision {
    match (request.class, reason) {
        (Class::Grpc, _) => Decision::GrpcUnauthenticated { at },
        (Class::Navigation | Class::Submission, Unauthorized::LoginRequired) => match gate.login_answer() {
            LoginAnswer::Page => Decision::LoginPage { at },
            LoginAnswer::Redirect => Decision::LoginRedirect { at },
        },
        _ => Decision::Unauthorized {
            at,
            reason,
            cors_origin: cors_origin(request, rules),
        },
    }
}

/// The origin of the request when the route lets it read answers.
fn cors_origin(request: &RequestView<'_>, rules: &Rules<'_>) -> Option<String> {
    let origin = request.origin?;
    let route = rules.route?;
    is_listed(origin, &route.cors_origins).then(|| std::str::from_utf8(origin).ok().map(str::to_owned))?
}

impl SessionView<'_> {
    fn is_for(&self, audience: &str) -> bool {
        self.sites.is_none_or(|sites| sites.iter().any(|site| site == audience))
    }
}

#[cfg(test)]
mod tests;
