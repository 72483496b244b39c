//! Which rules a request must satisfy.
//!
//! Each reading of the path (see [`super::path`]) finds its own route: an exact path before prefixes, the longest
//! prefix before shorter ones, one that lists the method before one for all methods. The request must satisfy the
//! routes of all readings together: deny before login before public, every requirement of each. So a spelling that
//! backends disagree about is as closed as its most closed reading.

use std::net::IpAddr;

use http::Method;
use smallvec::SmallVec;

use crate::config::settings::{Access, PathPattern, Requirement, Route, Site};
use crate::gate::decide::SessionView;
use crate::gate::path::{decoded_pattern, has_encoded_slash, readings, within};

/// The routes of one site, in the order in which they are tried.
#[derive(Debug, Clone)]
pub struct Routes {
    ordered: Vec<CompiledRoute>,
    ignore_case: bool,
    keeps_encoded_slashes: bool,
}

/// One route with its pattern in the form in which paths are compared.
#[derive(Debug, Clone)]
pub struct CompiledRoute {
    /// Place in `settings::Site::routes`.
    pub index: usize,
    /// What it takes.
    pub access: Access,
    /// Origins that may read answers.
    pub cors_origins: Vec<String>,
    /// Further origins that may open WebSockets.
    pub websocket_origins: Vec<String>,
    path: String,
    exact: bool,
    methods: Option<Vec<Method>>,
    require: Vec<Requirement>,
    require_all: Vec<Requirement>,
    keep_encoded_slashes: bool,
}

/// The rules that hold for one request.
#[derive(Debug, Clone)]
pub struct Rules<'s> {
    /// The route of the path as it is forwarded; `None`: no route matches, so a session is all that is asked.
    pub route: Option<&'s CompiledRoute>,
    /// The strictest access of all readings.
    pub access: Access,
    /// Whether the path holds a `%2F` that one of the routes refuses.
    pub refuses_encoded_slash: bool,
    routes: SmallVec<[&'s CompiledRoute; 2]>,
}

impl Routes {
    /// The routes of a site, compiled.
    pub fn new(site: &Site) -> Self {
        let mut ordered: Vec<CompiledRoute> = site
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| compile(index, route, site.ignore_case))
            .collect();
        ordered.sort_by_key(|route| {
            let length = std::cmp::Reverse(route.path.len());
            (
                !route.exact,
                length,
                route.methods.is_none(),
                std::cmp::Reverse(strictness(route.access)),
                route.index,
            )
        });
        let keeps_encoded_slashes = ordered.iter().any(|route| route.keep_encoded_slashes);
        Self {
            ordered,
            ignore_case: site.ignore_case,
            keeps_encoded_slashes,
        }
    }

    /// Whether any route forwards `%2F`: only then may the normaliser let it pass.
    pub fn keeps_encoded_slashes(&self) -> bool {
        self.keeps_encoded_slashes
    }

    /// What holds for a request. `path` is normalised.
    pub fn rules(&self, method: &Method, path: &str) -> Rules<'_> {
        let mut rules = Rules {
            route: None,
            access: Access::Public,
            refuses_encoded_slash: false,
            routes: SmallVec::new(),
        };
        for (place, reading) in readings(path, self.ignore_case).iter().enumerate() {
            let route = self.find(method, reading);
            if place == 0 {
                rules.route = route;
            }
            let access = route.map_or(DEFAULT_ACCESS, |route| route.access);
            if strictness(access) > strictness(rules.access) {
                rules.access = access;
            }
            rules.refuses_encoded_slash |= !route.is_some_and(|route| route.keep_encoded_slashes);
            if let Some(route) = route
                && !rules.routes.iter().any(|held| held.index == route.index)
            {
                rules.routes.push(route);
            }
        }
        rules.refuses_encoded_slash &= has_encoded_slash(path);
        rules
    }

    fn find(&self, method: &Method, reading: &str) -> Option<&CompiledRoute> {
        self.ordered.iter().find(|route| {
            let matches = if route.exact {
                reading == route.path
            } else {
                within(reading, &route.path)
            };
            matches && route.lists(method)
        })
    }
}

impl CompiledRoute {
    /// A HEAD is a GET without its body (RFC 9110 §9.3.2): a rule for GET holds for both.
    fn lists(&self, method: &Method) -> bool {
        self.methods
            .as_ref()
            .is_none_or(|listed| listed.contains(method) || (*method == Method::HEAD && listed.contains(&Method::GET)))
    }
}

impl Rules<'_> {
    /// Whether any rule has conditions beyond its access.
    pub fn have_requirements(&self) -> bool {
        self.routes
            .iter()
            .any(|route| !route.require.is_empty() || !route.require_all.is_empty())
    }

    /// Whether the requirements of every rule are met: any of `require`, and all of `require_all`. `client` is the
    /// address that network conditions see; `None`, when it is in doubt, meets none of them.
    pub fn admit(&self, session: Option<&SessionView<'_>>, client: Option<IpAddr>) -> bool {
        self.routes.iter().all(|route| {
            let holds = |requirement: &Requirement| is_met(requirement, session, client);
            (route.require.is_empty() || route.require.iter().any(holds)) && route.require_all.iter().all(holds)
        })
    }
}

fn compile(index: usize, route: &Route, ignore_case: bool) -> CompiledRoute {
    let (pattern, exact) = match &route.path {
        PathPattern::Prefix(prefix) => (prefix.trim_end_matches('/'), false),
        PathPattern::Exact(path) => (path.as_str(), true),
    };
    CompiledRoute {
        index,
        access: route.access,
        cors_origins: route.cors_origins.clone(),
        websocket_origins: route.websocket_origins.clone(),
        path: decoded_pattern(pattern, ignore_case),
        exact,
        methods: route.methods.clone(),
        require: route.require.clone(),
        require_all: route.require_all.clone(),
        keep_encoded_slashes: route.keep_encoded_slashes,
    }
}

fn is_met(requirement: &Requirement, session: Option<&SessionView<'_>>, client: Option<IpAddr>) -> bool {
    let of_person = |condition: &dyn Fn(&SessionView<'_>) -> bool| session.is_some_and(condition);
    match requirement {
        Requirement::User(user) => {
            of_person(&|session| session.user_id == user || session.username.is_some_and(|name| name == user))
        }
        Requirement::Group(group) => of_person(&|session| session.groups.iter().any(|held| held == group)),
        Requirement::Phone(phone) => of_person(&|session| session.phone.is_some_and(|held| held == phone)),
        Requirement::EmailDomain(domain) => of_person(&|session| {
            session
                .email
                .and_then(email_domain)
                .is_some_and(|held| held.eq_ignore_ascii_case(domain))
        }),
        Requirement::Connection(id) => of_person(&|session| session.connection.is_some_and(|held| held == id)),
        Requirement::Network(network) => client.is_some_and(|address| network.contains(&address)),
    }
}

/// The domain of an address with exactly one `@` and nothing odd in it: `a@evil.test@corp.test` has none
/// (oauth2-proxy CVE-2026-40574).
fn email_domain(email: &str) -> Option<&str> {
    let (local, domain) = email.split_once('@')?;
    let plain = email.bytes().all(|byte| byte.is_ascii_graphic()) && !domain.contains('@');
    (plain && !local.is_empty() && !domain.is_empty()).then_some(domain)
}

fn strictness(access: Access) -> u8 {
    match access {
        Access::Public => 0,
        Access::Login => 1,
        Access::Deny => 2,
    }
}

/// What holds where no route matches.
const DEFAULT_ACCESS: Access = Access::Login;

#[cfg(test)]
mod tests {
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
}
