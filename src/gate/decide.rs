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
    /// `token_invalid`
    TokenInvalid,
}

/// Why a request is 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// The route lets nobody pass.
    RouteDenied,
    /// The person or the address does not meet the requirements.
    RequirementsUnmet,
    /// The token is for other sites.
    TokenForOtherSites,
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
            session
                .connection
                .is_none_or(|id| found.site.connections.iter().any(|listed| listed == id))
                .then_some(session)
        }
        Credential::Session(_) => return refused(Forbidden::TokenForOtherSites),
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::config::settings::{Requirement, Site};
    use crate::gate::fixture::{alice, gate, navigation, route, session, settings, site};

    const ORIGIN: &[u8] = b"https://spa.test";

    fn app() -> Site {
        let mut api = route("/api/", Access::Login);
        api.cors_origins = vec!["https://spa.test".to_owned()];
        api.websocket_origins = vec!["https://spa.test".to_owned()];
        let mut ops = route("/ops/", Access::Login);
        ops.require = vec![Requirement::Group("ops".to_owned())];
        let mut inside = route("/inside/", Access::Public);
        inside.require_all = vec![Requirement::Network("10.0.0.0/8".parse().unwrap())];
        let mut write = route("/write/", Access::Public);
        write.methods = Some(vec![Method::POST]);
        write.cors_origins = vec!["https://spa.test".to_owned()];
        site(
            &["app.test"],
            vec![
                route("/public/", Access::Public), // 0
                route("/closed/", Access::Deny),   // 1
                api,                               // 2
                ops,                               // 3
                inside,                            // 4
                write,                             // 5
            ],
        )
    }

    fn at(route: Option<usize>) -> At {
        At { site: 0, route }
    }

    fn forward(route: Option<usize>, identified: bool) -> Decision {
        Decision::Forward {
            at: at(route),
            identified,
        }
    }

    fn unauthorized(route: Option<usize>, reason: Unauthorized) -> Decision {
        Decision::Unauthorized {
            at: at(route),
            reason,
            cors_origin: None,
        }
    }

    fn forbidden(route: Option<usize>, reason: Forbidden) -> Decision {
        Decision::Forbidden {
            at: at(route),
            reason,
            cors_origin: None,
        }
    }

    #[test]
    fn access_and_credential_decide() {
        let gate = gate(vec![app()]);
        let none = Credential::None;
        let login = |route| Decision::LoginPage { at: at(route) };
        let unavailable = |route| Decision::Unavailable { at: at(route) };
        for (path, credential, expected) in [
            ("/", none, login(None)),
            ("/", session(), forward(None, true)),
            (
                "/",
                Credential::InvalidToken,
                unauthorized(None, Unauthorized::TokenInvalid),
            ),
            ("/", Credential::Unverifiable, unavailable(None)),
            ("/public/x", none, forward(Some(0), false)),
            ("/public/x", session(), forward(Some(0), true)),
            (
                "/public/x",
                Credential::InvalidToken,
                unauthorized(Some(0), Unauthorized::TokenInvalid),
            ),
            ("/public/x", Credential::Unverifiable, forward(Some(0), false)),
            ("/closed/x", none, forbidden(Some(1), Forbidden::RouteDenied)),
            ("/closed/x", session(), forbidden(Some(1), Forbidden::RouteDenied)),
            (
                "/closed/x",
                Credential::Unverifiable,
                forbidden(Some(1), Forbidden::RouteDenied),
            ),
            ("/ops/x", none, login(Some(3))),
            ("/ops/x", session(), forbidden(Some(3), Forbidden::RequirementsUnmet)),
            (
                "/ops/x",
                Credential::Session(alice(&["ops".to_owned()])),
                forward(Some(3), true),
            ),
            // A public route that only a network may see asks everybody else to log in, which does not help them.
            ("/inside/x", none, login(Some(4))),
            ("/inside/x", session(), forbidden(Some(4), Forbidden::RequirementsUnmet)),
            ("/a%2Fb", session(), Decision::Ambiguous),
        ] {
            assert_eq!(
                decide(&navigation("app.test", path), &gate, &credential),
                expected,
                "{path} {credential:?}"
            );
        }
    }

    #[test]
    fn a_network_condition_sees_only_an_address_that_is_not_in_doubt() {
        let gate = gate(vec![app()]);
        let mut request = navigation("app.test", "/inside/x");
        request.client = Some(IpAddr::from([10, 1, 1, 1]));
        assert_eq!(decide(&request, &gate, &Credential::None), forward(Some(4), false));
        assert_eq!(decide(&request, &gate, &session()), forward(Some(4), true));
        request.client = None;
        assert_eq!(
            decide(&request, &gate, &Credential::None),
            Decision::LoginPage { at: at(Some(4)) }
        );
    }

    #[test]
    fn everybody_is_refused_in_a_form_that_they_understand() {
        let gate = gate(vec![app()]);
        for (class, expected) in [
            (Class::Navigation, Decision::LoginPage { at: at(None) }),
            (Class::Submission, Decision::LoginPage { at: at(None) }),
            (Class::Script, unauthorized(None, Unauthorized::LoginRequired)),
            (Class::WebSocket, unauthorized(None, Unauthorized::LoginRequired)),
            (Class::Grpc, Decision::GrpcUnauthenticated { at: at(None) }),
        ] {
            let request = RequestView {
                class,
                ..navigation("app.test", "/x")
            };
            assert_eq!(decide(&request, &gate, &Credential::None), expected, "{class:?}");
        }
        let mut configured = settings("https://login.test", vec![app()]);
        configured.login.answer = LoginAnswer::Redirect;
        let redirecting = Gate::new(&configured);
        let decision = decide(&navigation("app.test", "/x"), &redirecting, &Credential::None);
        assert_eq!(decision, Decision::LoginRedirect { at: at(None) });
    }

    #[test]
    fn a_session_counts_only_where_it_may_be_used() {
        let gate = gate(vec![app()]);
        let request = navigation("app.test", "/x");
        let guest = SessionView {
            connection: Some("guests"),
            ..alice(&[])
        };
        let service = SessionView {
            connection: None,
            by_cookie: false,
            ..alice(&[])
        };
        let here = ["app.test".to_owned()];
        let elsewhere = ["other.test".to_owned()];
        for (session, expected) in [
            (guest, Decision::LoginPage { at: at(None) }),
            (service, forward(None, true)),
            (
                SessionView {
                    sites: Some(&here),
                    ..service
                },
                forward(None, true),
            ),
            (
                SessionView {
                    sites: Some(&elsewhere),
                    ..service
                },
                forbidden(None, Forbidden::TokenForOtherSites),
            ),
            (
                SessionView {
                    sites: Some(&[]),
                    ..service
                },
                forbidden(None, Forbidden::TokenForOtherSites),
            ),
        ] {
            assert_eq!(
                decide(&request, &gate, &Credential::Session(session)),
                expected,
                "{session:?}"
            );
        }
        let open = navigation("app.test", "/public/x");
        assert_eq!(
            decide(&open, &gate, &Credential::Session(guest)),
            forward(Some(0), false)
        );
    }

    #[test]
    fn hosts_and_paths_lead_to_the_portal_the_public_pages_or_nowhere() {
        let gate = gate(vec![app(), site(&["*.wild.test"], vec![])]);
        let portal = |site, public_host| Decision::Portal {
            site,
            public_host,
            downgraded: false,
        };
        let file = || Decision::VerificationFile {
            name: "MP_verify_abc.txt".to_owned(),
        };
        for (host, path, expected) in [
            ("evil.test", "/", Decision::UnknownHost),
            ("evil.test", "/.menshen/login", Decision::UnknownHost),
            ("", "/", Decision::UnknownHost),
            ("app.test", "/.menshen/login", portal(Some(0), false)),
            ("app.test", "/.menshen", portal(Some(0), false)),
            ("a.wild.test", "/.menshen/login", portal(Some(1), false)),
            ("login.test", "/.menshen/phone/scan", portal(None, true)),
            ("app.test", "/.Menshen/login", Decision::Ambiguous),
            ("app.test", "/.menshen;x/login", Decision::Ambiguous),
            ("app.test", "/.menshen%2Flogin", Decision::Ambiguous),
            ("login.test", "/;/.menshen/login", Decision::Ambiguous),
            ("login.test", "/", Decision::Start),
            ("login.test", "/x", Decision::NotFound),
            ("login.test", "/m", Decision::Landing),
            ("login.test", "/m/SCENE", Decision::Landing),
            ("login.test", "/mx", Decision::NotFound),
            ("login.test", "/MP_verify_abc.txt", file()),
            ("login.test", "/m/MP_verify_abc.txt", file()),
            ("login.test", "/MP_verify_other.txt", Decision::NotFound),
            ("login.test", "/x/MP_verify_abc.txt", Decision::NotFound),
        ] {
            assert_eq!(
                decide(&navigation(host, path), &gate, &Credential::None),
                expected,
                "{host} {path}"
            );
        }
        // On a site's host they are the application's.
        let decision = decide(&navigation("app.test", "/MP_verify_abc.txt"), &gate, &session());
        assert_eq!(decision, forward(None, true));
    }

    #[test]
    fn a_wildcard_does_not_take_the_portals_own_host() {
        for hosts in [&["*"][..], &["*.test"]] {
            let gate = gate(vec![site(hosts, vec![route("/", Access::Public)])]);
            assert_eq!(
                decide(&navigation("login.test", "/x"), &gate, &Credential::None),
                Decision::NotFound
            );
            assert_eq!(
                decide(&navigation("app.test", "/x"), &gate, &Credential::None),
                forward(Some(0), false)
            );
        }
        let named = gate(vec![site(&["login.test"], vec![route("/", Access::Public)])]);
        assert_eq!(
            decide(&navigation("login.test", "/x"), &named, &Credential::None),
            forward(Some(0), false)
        );
        assert_eq!(
            decide(&navigation("login.test", "/m/x"), &named, &Credential::None),
            Decision::Landing
        );
    }

    #[test]
    fn a_host_of_https_serves_no_session_over_plain_http() {
        let secure = gate(vec![app()]);
        let plain = Gate::new(&settings("http://login.test", vec![app()]));
        for (gate, certified, path, class, expected) in [
            (
                &secure,
                false,
                "/x",
                Class::Navigation,
                Decision::SecureRedirect { at: at(None) },
            ),
            (
                &secure,
                false,
                "/x",
                Class::Submission,
                Decision::SecureRedirect { at: at(None) },
            ),
            (
                &secure,
                false,
                "/x",
                Class::Script,
                unauthorized(None, Unauthorized::LoginRequired),
            ),
            (&secure, false, "/public/x", Class::Script, forward(Some(0), false)),
            (
                &secure,
                false,
                "/closed/x",
                Class::Script,
                forbidden(Some(1), Forbidden::RouteDenied),
            ),
            (
                &plain,
                true,
                "/x",
                Class::Navigation,
                Decision::SecureRedirect { at: at(None) },
            ),
            (&plain, true, "/public/x", Class::Navigation, forward(Some(0), false)),
            (&plain, false, "/x", Class::Navigation, forward(None, true)),
        ] {
            let request = RequestView {
                secure: false,
                certified,
                class,
                ..navigation("app.test", path)
            };
            assert_eq!(
                decide(&request, gate, &session()),
                expected,
                "{path} {class:?} {certified}"
            );
        }
        let request = RequestView {
            secure: false,
            ..navigation("app.test", "/.menshen/login")
        };
        let expected = Decision::Portal {
            site: Some(0),
            public_host: false,
            downgraded: true,
        };
        assert_eq!(decide(&request, &secure, &session()), expected);
    }

    #[test]
    fn a_websocket_by_cookie_needs_an_origin_that_may_open_it() {
        let gate = gate(vec![app()]);
        let token = Credential::Session(SessionView {
            by_cookie: false,
            ..alice(&[])
        });
        let own: &[u8] = b"https://app.test";
        for (path, origin, credential, expected) in [
            ("/x", Some(own), session(), forward(None, true)),
            ("/x", Some(ORIGIN), session(), Decision::CrossOrigin { at: at(None) }),
            (
                "/x",
                Some(&b"null"[..]),
                session(),
                Decision::CrossOrigin { at: at(None) },
            ),
            (
                "/x",
                Some(&b"http://app.test"[..]),
                session(),
                Decision::CrossOrigin { at: at(None) },
            ),
            ("/x", None, session(), Decision::CrossOrigin { at: at(None) }),
            ("/x", None, token, forward(None, true)),
            ("/x", Some(ORIGIN), token, forward(None, true)),
            ("/api/x", Some(ORIGIN), session(), forward(Some(2), true)),
            ("/public/x", Some(ORIGIN), session(), forward(Some(0), false)),
            ("/public/x", Some(own), session(), forward(Some(0), true)),
            (
                "/ops/x",
                Some(ORIGIN),
                session(),
                forbidden(Some(3), Forbidden::RequirementsUnmet),
            ),
        ] {
            let request = RequestView {
                class: Class::WebSocket,
                origin,
                ..navigation("app.test", path)
            };
            assert_eq!(
                decide(&request, &gate, &credential),
                expected,
                "{path} {origin:?} {credential:?}"
            );
        }
    }

    #[test]
    fn a_listed_origin_may_read_refusals_and_ask_beforehand() {
        let gate = gate(vec![app()]);
        let script = |path, origin| RequestView {
            class: Class::Script,
            origin: Some(origin),
            ..navigation("app.test", path)
        };
        let refusal = |cors_origin: Option<&str>| Decision::Unauthorized {
            at: at(Some(2)),
            reason: Unauthorized::LoginRequired,
            cors_origin: cors_origin.map(str::to_owned),
        };
        let allowed = Some("https://spa.test");
        assert_eq!(
            decide(&script("/api/x", ORIGIN), &gate, &Credential::None),
            refusal(allowed)
        );
        assert_eq!(
            decide(&script("/api/x", b"https://evil.test"), &gate, &Credential::None),
            refusal(None)
        );

        let options = |path, asked| RequestView {
            method: &Method::OPTIONS,
            preflight_for: Some(asked),
            ..script(path, ORIGIN)
        };
        let granted = |route| Decision::Preflight {
            at: at(Some(route)),
            origin: "https://spa.test".to_owned(),
        };
        assert_eq!(
            decide(&options("/api/x", &Method::PUT), &gate, &Credential::None),
            granted(2)
        );
        // The route of the asked method answers; the OPTIONS itself reaches nobody.
        assert_eq!(
            decide(&options("/write/x", &Method::POST), &gate, &Credential::None),
            granted(5)
        );
        let refused = unauthorized(None, Unauthorized::LoginRequired);
        assert_eq!(
            decide(&options("/write/x", &Method::PUT), &gate, &Credential::None),
            refused
        );
        assert_eq!(decide(&options("/x", &Method::GET), &gate, &Credential::None), refused);
        let closed = forbidden(Some(1), Forbidden::RouteDenied);
        assert_eq!(
            decide(&options("/closed/x", &Method::GET), &gate, &Credential::None),
            closed
        );
    }
}
