//! Rules by table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::gate::fixture::{alice, route, site};

fn routes(list: Vec<Route>) -> Routes {
    Routes::new(&site(&["a.test"], list))
}

fn found(routes: &Routes, method: &Method, path: &str) -> Option<usize> {
    routes.rules(method, path).route.map(|route| route.index)
}

#[test]
fn the_closest_route_wins_whatever_the_order() {
    let mut post = route("/api/", Access::Deny);
    post.methods = Some(vec![Method::POST]);
    let mut read = route("/feed/", Access::Public);
    read.methods = Some(vec![Method::GET]);
    let routes = routes(vec![
        route("/", Access::Public),
        route("/api/", Access::Login),
        post,
        route("/api/open/", Access::Public),
        route("= /api/open/x", Access::Deny),
        read,
        route("/\u{6587}\u{6863}/", Access::Deny),
    ]);
    for (method, path, expected) in [
        (Method::GET, "/", Some(0)),
        (Method::GET, "/other", Some(0)),
        (Method::GET, "/api", Some(1)),
        (Method::GET, "/api/", Some(1)),
        (Method::GET, "/api/x", Some(1)),
        (Method::GET, "/apix", Some(0)),
        (Method::POST, "/api/x", Some(2)),
        (Method::POST, "/api/open/y", Some(3)),
        (Method::GET, "/api/open/x", Some(4)),
        (Method::GET, "/api/open/x/y", Some(3)),
        (Method::GET, "/api/open/x/", Some(3)),
        (Method::GET, "/feed/a", Some(5)),
        (Method::HEAD, "/feed/a", Some(5)),
        (Method::POST, "/feed/a", Some(0)),
        (Method::from_bytes(b"get").unwrap(), "/feed/a", Some(0)),
        (Method::GET, "/%E6%96%87%E6%A1%A3/x", Some(6)),
        (Method::GET, "/%e6%96%87%e6%a1%a3", Some(6)),
    ] {
        assert_eq!(found(&routes, &method, path), expected, "{method} {path}");
    }
}

#[test]
fn without_a_route_a_session_is_asked_for() {
    let rules_of = routes(vec![route("/public/", Access::Public)]);
    for path in ["/", "/publicx", "/publi", "/PUBLIC", "/x/public/"] {
        let rules = rules_of.rules(&Method::GET, path);
        assert!(rules.route.is_none(), "{path}");
        assert_eq!(rules.access, Access::Login, "{path}");
    }
}

#[test]
fn the_strictest_reading_holds() {
    let mut kept = route("/kept/", Access::Public);
    kept.keep_encoded_slashes = true;
    let rules_of = routes(vec![
        route("/admin/", Access::Deny),
        route("/public/", Access::Public),
        route("/public/inner/", Access::Login),
        kept,
        route("/kept/inner/", Access::Deny),
    ]);
    for (path, access) in [
        ("/admin;x", Access::Deny),
        ("/admin;x/y", Access::Deny),
        ("/admin%3Bx", Access::Deny),
        ("/admin%3Fx", Access::Deny),
        ("/admin%23/public/", Access::Deny),
        ("/;/admin", Access::Deny),
        ("/public/x;y", Access::Public),
        ("/public;x/y", Access::Login),
        ("/public%3Fx/y", Access::Login),
        ("/public/inner;x", Access::Login),
        ("/public/inner;x/y", Access::Login),
        ("/kept/a%2Fb", Access::Public),
        ("/kept/inner%2Fb", Access::Deny),
        ("/kept%2Finner/b", Access::Deny),
        ("/kept%2Fb", Access::Login),
    ] {
        assert_eq!(rules_of.rules(&Method::GET, path).access, access, "{path}");
    }
}

#[test]
fn an_encoded_slash_passes_only_where_every_reading_keeps_it() {
    let mut kept = route("/kept/", Access::Public);
    kept.keep_encoded_slashes = true;
    let rules_of = routes(vec![
        kept,
        route("/kept/inner/", Access::Public),
        route("/", Access::Public),
    ]);
    assert!(rules_of.keeps_encoded_slashes());
    for (path, refuses) in [
        ("/kept/a%2Fb", false),
        ("/kept/a%2fb", false),
        ("/kept/inner%2Fb", true),
        ("/kept/inner/a%2Fb", true),
        ("/kept%2Fb", true),
        ("/x%2Fkept/", true),
        ("/other%2Fb", true),
        ("/other/b", false),
    ] {
        assert_eq!(
            rules_of.rules(&Method::GET, path).refuses_encoded_slash,
            refuses,
            "{path}"
        );
    }
}

#[test]
fn a_site_that_ignores_case_folds_patterns_and_paths() {
    let mut folding = site(
        &["a.test"],
        vec![route("/Admin/", Access::Deny), route("/\u{c4}/", Access::Deny)],
    );
    let exact = Routes::new(&folding);
    folding.ignore_case = true;
    let folded = Routes::new(&folding);
    for path in ["/admin", "/ADMIN/x", "/aDmIn;x", "/ADMIN%3bx", "/%C3%A4", "/%c3%84/x"] {
        assert_eq!(folded.rules(&Method::GET, path).access, Access::Deny, "{path}");
    }
    assert_eq!(exact.rules(&Method::GET, "/ADMIN").access, Access::Login);
    assert_eq!(exact.rules(&Method::GET, "/Admin").access, Access::Deny);
}

#[test]
fn requirements_are_met_by_any_of_one_list_and_all_of_the_other() {
    let group = |name: &str| Requirement::Group(name.to_owned());
    let network = |text: &str| Requirement::Network(text.parse().unwrap());
    let inside = Some(IpAddr::from([10, 1, 2, 3]));
    let outside = Some(IpAddr::from([192, 0, 2, 1]));
    let groups = ["ops".to_owned(), "staff".to_owned()];
    let cases = [
        (vec![], vec![], outside, true),
        (vec![group("ops")], vec![], outside, true),
        (vec![group("op")], vec![], outside, false),
        (
            vec![group("none"), Requirement::User("alice".to_owned())],
            vec![],
            outside,
            true,
        ),
        (
            vec![Requirement::User("u_abcdefghijklmnopqrstuvwxyz".to_owned())],
            vec![],
            outside,
            true,
        ),
        (vec![Requirement::User("Alice".to_owned())], vec![], outside, false),
        (
            vec![Requirement::Phone("+8613800000000".to_owned())],
            vec![],
            outside,
            true,
        ),
        (
            vec![Requirement::EmailDomain("corp.test".to_owned())],
            vec![],
            outside,
            true,
        ),
        (
            vec![Requirement::EmailDomain("test".to_owned())],
            vec![],
            outside,
            false,
        ),
        (vec![Requirement::Connection("staff".to_owned())], vec![], outside, true),
        (
            vec![Requirement::Connection("guests".to_owned())],
            vec![],
            outside,
            false,
        ),
        (vec![], vec![group("ops"), group("staff")], outside, true),
        (vec![], vec![group("ops"), group("none")], outside, false),
        (vec![group("ops")], vec![network("10.0.0.0/8")], inside, true),
        (vec![group("ops")], vec![network("10.0.0.0/8")], outside, false),
        (vec![group("none")], vec![network("10.0.0.0/8")], inside, false),
        (vec![], vec![network("0.0.0.0/0")], None, false),
    ];
    for (require, require_all, client, admitted) in cases {
        let mut only = route("/", Access::Login);
        only.require = require;
        only.require_all = require_all;
        let description = format!("{only:?} {client:?}");
        let compiled = routes(vec![only]);
        let rules = compiled.rules(&Method::GET, "/x");
        assert_eq!(rules.admit(Some(&alice(&groups)), client), admitted, "{description}");
    }
}

#[test]
fn requirements_of_every_reading_hold() {
    let mut ops = route("/admin/", Access::Login);
    ops.require = vec![Requirement::Group("ops".to_owned())];
    let rules_of = routes(vec![ops, route("/", Access::Login)]);
    let groups = ["ops".to_owned()];
    for path in ["/admin/x", "/admin;y/x", "/admin%3Fy", "/;/admin"] {
        let rules = rules_of.rules(&Method::GET, path);
        assert!(!rules.admit(Some(&alice(&[])), None), "{path}");
        assert!(rules.admit(Some(&alice(&groups)), None), "{path}");
    }
}

#[test]
fn an_address_with_several_at_signs_has_no_domain() {
    assert_eq!(email_domain("a@corp.test"), Some("corp.test"));
    for email in [
        "a@evil.test@corp.test",
        "@corp.test",
        "a@",
        "a",
        "a @corp.test",
        "a@corp.test ",
        "\u{e4}@corp.test",
    ] {
        assert_eq!(email_domain(email), None, "{email}");
    }
}
