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

/// One condition of a rule that holds for a request, for explanations.
#[derive(Debug, Clone, Copy)]
pub struct Condition<'s> {
    /// Place of the route in `settings::Site::routes`.
    pub route: usize,
    /// Of `require_all`; else one of `require`, of which any is enough.
    pub all: bool,
    /// What is asked.
    pub requirement: &'s Requirement,
    /// Whether it is so.
    pub met: bool,
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

    /// Whether any route lets the scripts of this origin read its answers.
    pub fn lists_cors_origin(&self, origin: &str) -> bool {
        let mut listed = self.ordered.iter().flat_map(|route| &route.cors_origins);
        listed.any(|listed| listed == origin)
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

    /// Every condition of every rule, each with whether it is met; see [`Rules::admit`].
    pub fn conditions<'s>(&'s self, session: Option<&SessionView<'_>>, client: Option<IpAddr>) -> Vec<Condition<'s>> {
        let of = |route: &'s CompiledRoute, all: bool, requirements: &'s [Requirement]| -> Vec<Condition<'s>> {
            let condition = |requirement| Condition {
                route: route.index,
                all,
                requirement,
                met: is_met(requirement, session, client),
            };
            requirements.iter().map(condition).collect()
        };
        self.routes
            .iter()
            .flat_map(|route| [of(route, false, &route.require), of(route, true, &route.require_all)])
            .flatten()
            .collect()
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
mod tests;
