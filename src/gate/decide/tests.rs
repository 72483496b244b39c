//! Every rule of the decision, by table.

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
    let mut erase = route("/write/", Access::Deny);
    erase.methods = Some(vec![Method::DELETE]);
    erase.cors_origins = vec!["https://spa.test".to_owned()];
    site(
        &["app.test"],
        vec![
            route("/public/", Access::Public), // 0
            route("/closed/", Access::Deny),   // 1
            api,                               // 2
            ops,                               // 3
            inside,                            // 4
            write,                             // 5
            erase,                             // 6
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
            unauthorized(None, Unauthorized::TokenForOtherSites),
        ),
        (
            SessionView {
                sites: Some(&[]),
                ..service
            },
            unauthorized(None, Unauthorized::TokenForOtherSites),
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
    // A token decides alone: where it is good for nothing, the route is not asked.
    let guests_token = SessionView {
        by_cookie: false,
        ..guest
    };
    assert_eq!(
        decide(&open, &gate, &Credential::Session(guests_token)),
        unauthorized(Some(0), Unauthorized::TokenForOtherSites)
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
    for hosts in [&["*", "wiki.test"][..], &["*.test"]] {
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
fn an_installation_that_names_no_host_has_its_application_on_its_only_one() {
    let gate = gate(vec![site(&["*"], vec![route("/", Access::Public)])]);
    for host in ["login.test", "app.test"] {
        let decision = decide(&navigation(host, "/x"), &gate, &Credential::None);
        assert_eq!(decision, forward(Some(0), false), "{host}");
    }
    let portal = decide(&navigation("login.test", "/.menshen/login"), &gate, &Credential::None);
    assert!(matches!(portal, Decision::Portal { public_host: true, .. }));
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
    assert_eq!(
        decide(&options("/write/x", &Method::DELETE), &gate, &Credential::None),
        refused
    );
    let closed = forbidden(Some(1), Forbidden::RouteDenied);
    assert_eq!(
        decide(&options("/closed/x", &Method::GET), &gate, &Credential::None),
        closed
    );
}
