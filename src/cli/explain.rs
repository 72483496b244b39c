//! `menshen explain`: what would happen to a request, and why.
//!
//! The same functions decide here as in the gateway; only the request is made up: a URL as the operator has it, a
//! browser's navigation or a script's call, nobody signed in or a person of the directory. Nothing is sent anywhere.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;

use http::{HeaderMap, HeaderValue, Method, header};

use crate::cli::{DONE, FAILED, WRONG_USAGE, complain, operator};
use crate::config::Loaded;
use crate::config::settings::{Access, HostPattern, PathPattern, Route, Settings, Site};
use crate::gate::Gate;
use crate::gate::decide::{Credential, Decision, Forbidden, RequestView, SessionView, decide};
use crate::gate::headers::Headers;
use crate::gate::path::readings;
use crate::gate::request_class::classify;
use crate::gate::route::{Condition, Rules};
use crate::gate::site::SiteMatch;
use crate::identity::outgoing::SitePlan;
use crate::identity::person::{self, Authentication};
use crate::proxy::authority::Authority;
use crate::proxy::forward_auth::split_url;
use crate::proxy::normalise::{EncodedSlashes, Target, TargetError, normalise};
use crate::proxy::tls;
use crate::store::User;
use crate::telemetry::clock::Clock;

mod said;

use said::{ConditionSaid, Explanation, HeaderSaid, RouteSaid, SiteSaid, UserSaid};

/// The request that is asked about.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) url: String,
    /// Username or id of who is signed in.
    pub(super) user: Option<String>,
    /// Where the request comes from.
    pub(super) client: Option<IpAddr>,
    /// A script calls, not a person who looks at the answer.
    pub(super) script: bool,
    pub(super) json: bool,
}

/// Loads, decides, writes; the exit code.
pub(super) fn run(path: &Path, question: &Question, out: &mut impl Write) -> u8 {
    let Some(Loaded { settings, .. }) = operator::configuration(path) else {
        return WRONG_USAGE;
    };
    let Ok((secure, authority, target)) = split_url(question.url.as_bytes()) else {
        complain(&format!(
            "{:?} is no http or https address; write it whole, for example https://wiki.example.com/page",
            question.url
        ));
        return WRONG_USAGE;
    };
    let user = match &question.user {
        Some(name) => match operator::at_store(&settings, async |operator| operator.user(name).await) {
            Ok(user) => Some(user),
            Err(error) => {
                complain(&error.to_string());
                return FAILED;
            }
        },
        None => None,
    };
    let default_port = if secure { 443 } else { 80 };
    let authority = Authority {
        port: authority.port.filter(|port| *port != default_port),
        ..authority
    };
    let asked = Asked {
        question,
        secure,
        authority,
        user,
    };
    let explanation = match normalise(target, EncodedSlashes::Keep) {
        Ok(target) => asked.explain(&settings, &target),
        Err(error) => asked.refused(error),
    };
    let written = if question.json {
        serde_json::to_writer_pretty(&mut *out, &explanation)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        explanation.write_text(out)
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => DONE,
        Err(_) => FAILED,
    }
}

struct Asked<'q> {
    question: &'q Question,
    secure: bool,
    authority: Authority<'static>,
    user: Option<User>,
}

impl Asked<'_> {
    /// Refused by the normaliser: no rule is asked.
    fn refused(&self, error: TargetError) -> Explanation {
        Explanation {
            status: Some(if error == TargetError::TooLong { 414 } else { 400 }),
            ..self.bare("refused", error.to_string())
        }
    }

    fn explain(&self, settings: &Settings, target: &Target<'_>) -> Explanation {
        let gate = Gate::new(settings);
        let found = gate.site(&self.authority.host);
        let site = found.and_then(|found| settings.sites.get(found.index));
        let connection = site
            .and_then(|site| settings.connections.get(*site.connections.first()?))
            .map(|connection| connection.id.as_str());
        let signed_in = self.user.as_ref().filter(|user| !user.disabled);
        let session = signed_in.map(|user| SessionView {
            user_id: &user.id,
            username: user.username.as_deref(),
            groups: &user.groups,
            phone: user.phone.as_deref(),
            email: user.email.as_deref(),
            connection,
            sites: None,
            by_cookie: true,
        });
        let class = classify(&self.question.method, &Headers::of(&self.headers()));
        let view = RequestView {
            method: &self.question.method,
            host: &self.authority.host,
            port: self.authority.port,
            secure: self.secure,
            certified: !self.secure && tls::load(&settings.server).is_ok_and(|held| held.cover(&self.authority.host)),
            path: &target.path,
            class,
            origin: None,
            preflight_for: None,
            client: self.question.client,
        };
        let credential = session.map_or(Credential::None, Credential::Session);
        let decision = decide(&view, &gate, &credential);
        let mut explanation = Explanation {
            path: Some(target.path.clone().into_owned()),
            status: status(&decision),
            user: self.user.as_ref().map(|user| UserSaid {
                id: user.id.clone(),
                username: user.username.clone(),
                groups: user.groups.clone(),
                connection: connection.map(str::to_owned),
                disabled: user.disabled,
            }),
            ..self.bare(decision.name(), String::new())
        };
        let mut rules = None;
        if let (Some(found), Some(site)) = (&found, site) {
            explanation.site = Some(site_said(found, site, &self.authority.host));
            let ways = readings(&target.path, site.ignore_case);
            if ways.len() > 1 {
                explanation.readings = ways.iter().map(|way| way.clone().into_owned()).collect();
            }
            if is_of_rules(&decision) {
                let held = found.site.routes.rules(&self.question.method, &target.path);
                explanation.say_rules(&held, site, session.as_ref(), self.question.client);
                rules = Some(held);
            }
            if may_reach_upstream(&decision) {
                explanation.upstreams = site.upstreams.iter().map(ToString::to_string).collect();
                explanation.headers = self.headers_out(settings, site, signed_in, connection);
            }
        }
        explanation.reason = self.reason(&decision, rules.as_ref(), &gate);
        explanation
    }

    fn bare(&self, decision: &'static str, reason: String) -> Explanation {
        Explanation {
            method: self.question.method.to_string(),
            url: self.question.url.clone(),
            path: None,
            readings: Vec::new(),
            site: None,
            route: None,
            access: None,
            conditions: Vec::new(),
            user: None,
            client: self.question.client,
            decision,
            status: None,
            reason,
            upstreams: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// What a browser would send.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !self.question.script {
            headers.insert(header::ACCEPT, HeaderValue::from_static("text/html"));
        }
        headers
    }

    fn headers_out(
        &self,
        settings: &Settings,
        site: &Site,
        user: Option<&User>,
        connection: Option<&str>,
    ) -> Vec<HeaderSaid> {
        let known = |name: &str, value: String| HeaderSaid {
            name: name.to_owned(),
            value: Some(value),
            note: None,
        };
        let open = |name: &str, note| HeaderSaid {
            name: name.to_owned(),
            value: None,
            note: Some(note),
        };
        let host = self.authority.port.map_or_else(
            || self.authority.host.clone().into_owned(),
            |port| format!("{}:{port}", self.authority.host),
        );
        let port = self.authority.port.unwrap_or(if self.secure { 443 } else { 80 });
        let mut headers = vec![
            match self.question.client {
                Some(client) => known("X-Forwarded-For", client.to_string()),
                None => open("X-Forwarded-For", "the client's address"),
            },
            known(
                "X-Forwarded-Proto",
                if self.secure { "https" } else { "http" }.to_owned(),
            ),
            known("X-Forwarded-Host", host),
            known("X-Forwarded-Port", port.to_string()),
            open("X-Request-Id", "one for each request"),
        ];
        let Ok(plan) = SitePlan::of(settings, site) else {
            return headers;
        };
        let assertion = header_name(&settings.identity.assertion_header);
        let identity = user.map(|user| {
            let authentication = Authentication {
                connection: connection.unwrap_or_default().to_owned(),
                method: person::Method::MiniProgram,
                time: Clock::default().now(),
                app_id: String::new(),
                openid: String::new(),
                unionid: None,
            };
            plan.identity(&user.clone().into(), &authentication, "")
        });
        for name in plan.names() {
            let shown = header_name(name.as_str());
            let value = identity
                .as_ref()
                .and_then(|identity| identity.iter().find(|(held, _)| held == name))
                .and_then(|(_, value)| value.to_str().ok());
            headers.push(match (value, &identity) {
                (Some(value), _) => known(&shown, value.to_owned()),
                _ if shown == assertion => open(&shown, "a signed JWT, with a session"),
                (None, None) => open(&shown, "with a session"),
                (None, Some(_)) => open(&shown, "absent: this person has none"),
            });
        }
        headers
    }

    fn reason(&self, decision: &Decision, rules: Option<&Rules<'_>>, gate: &Gate) -> String {
        let nobody = match &self.user {
            Some(user) if user.disabled => "the user is disabled, so no session of theirs holds".to_owned(),
            _ => "nobody is signed in".to_owned(),
        };
        let open = rules.is_some_and(|rules| rules.access == Access::Public);
        let needs = match rules {
            Some(rules) if rules.access == Access::Public => {
                "the conditions of the route are not met without a session"
            }
            Some(rules) if rules.route.is_none() => "no route matches, so a login is needed",
            _ => "the route needs a login",
        };
        match decision {
            Decision::Forward { identified: true, .. } => "the session holds and every condition is met".to_owned(),
            Decision::Forward { identified: false, .. } if self.user.is_none() => "the route is public".to_owned(),
            Decision::Forward { identified: false, .. } if open => {
                "the route is public; the person is not shown to the application".to_owned()
            }
            Decision::Forward { identified: false, .. } => "the application sees no person".to_owned(),
            Decision::LoginPage { .. }
            | Decision::LoginRedirect { .. }
            | Decision::Unauthorized { .. }
            | Decision::GrpcUnauthenticated { .. }
                if self.is_downgraded(gate) =>
            {
                "no session is served over plain HTTP where public_url is https".to_owned()
            }
            Decision::LoginPage { .. }
            | Decision::LoginRedirect { .. }
            | Decision::Unauthorized { .. }
            | Decision::GrpcUnauthenticated { .. } => format!("{nobody}, and {needs}"),
            Decision::Forbidden { reason, .. } => match reason {
                Forbidden::RouteDenied => "the route lets nobody pass",
                Forbidden::RequirementsUnmet => "the conditions of the route are not met",
            }
            .to_owned(),
            Decision::SecureRedirect { .. } => {
                "public_url is https: over plain HTTP the same address is asked for again".to_owned()
            }
            Decision::Portal { .. } => "Menshen answers everything below /.menshen/ itself".to_owned(),
            Decision::VerificationFile { .. } => "server.verification_files has this file".to_owned(),
            Decision::Landing => "below a link_prefix: the page for other scanners".to_owned(),
            Decision::Start => "the root of public_url leads to the login page".to_owned(),
            Decision::NotFound => "public_url's host has no site, only the portal".to_owned(),
            Decision::UnknownHost => "no site has this host".to_owned(),
            Decision::Ambiguous if rules.is_some_and(|rules| rules.refuses_encoded_slash) => {
                "the path holds an encoded slash, and a route of it does not say encoded_slashes = \"keep\"".to_owned()
            }
            Decision::Ambiguous => "a backend could take this path for one below /.menshen/".to_owned(),
            Decision::Preflight { .. } => "an allowed origin asks whether it may".to_owned(),
            Decision::CrossOrigin { .. } => "a WebSocket from a foreign origin".to_owned(),
            Decision::Unavailable { .. } => "nobody can say whether the session holds".to_owned(),
        }
    }

    fn is_downgraded(&self, gate: &Gate) -> bool {
        gate.https() && !self.secure
    }
}

impl Explanation {
    fn say_rules(&mut self, rules: &Rules<'_>, site: &Site, session: Option<&SessionView<'_>>, client: Option<IpAddr>) {
        let route = rules.route.and_then(|route| site.routes.get(route.index));
        self.route = route.map(|route| RouteSaid {
            path: pattern(route),
            methods: route.methods.iter().flatten().map(ToString::to_string).collect(),
        });
        self.access = Some(match rules.access {
            Access::Public => "public",
            Access::Login => "login",
            Access::Deny => "deny",
        });
        let said = |condition: Condition<'_>| ConditionSaid {
            route: site.routes.get(condition.route).map(pattern).unwrap_or_default(),
            list: if condition.all { "require_all" } else { "require" },
            condition: condition.requirement.to_string(),
            met: condition.met,
        };
        self.conditions = rules.conditions(session, client).into_iter().map(said).collect();
    }
}

fn site_said(found: &SiteMatch<'_>, site: &Site, host: &str) -> SiteSaid {
    use crate::gate::site::MatchedBy;
    let suffix = || {
        let mut matching: Vec<&String> = site
            .hosts
            .iter()
            .filter_map(|pattern| match pattern {
                HostPattern::Suffix(suffix) if host.ends_with(&format!(".{suffix}")) => Some(suffix),
                _ => None,
            })
            .collect();
        matching.sort_by_key(|suffix| std::cmp::Reverse(suffix.len()));
        matching
            .first()
            .map_or_else(String::new, |suffix| format!("*.{suffix}"))
    };
    SiteSaid {
        name: site.name.clone(),
        host: match found.by {
            MatchedBy::Exact => host.to_owned(),
            MatchedBy::Suffix => suffix(),
            MatchedBy::Any => "*".to_owned(),
        },
        audience: site.audience.clone(),
    }
}

/// As it is written in a file.
fn pattern(route: &Route) -> String {
    match &route.path {
        PathPattern::Prefix(prefix) => format!("{prefix}/"),
        PathPattern::Exact(path) => format!("= {path}"),
    }
}

/// `remote-user` as `Remote-User`.
fn header_name(name: &str) -> String {
    name.split('-')
        .map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            first
                .into_iter()
                .chain(letters.map(|letter| letter.to_ascii_lowercase()))
                .collect()
        })
        .collect::<Vec<String>>()
        .join("-")
}

/// Whether the rules of the site were asked.
fn is_of_rules(decision: &Decision) -> bool {
    !matches!(
        decision,
        Decision::Portal { .. }
            | Decision::VerificationFile { .. }
            | Decision::Landing
            | Decision::Start
            | Decision::NotFound
            | Decision::UnknownHost
    )
}

/// Whether the request goes to the application, at once or after a login.
fn may_reach_upstream(decision: &Decision) -> bool {
    is_of_rules(decision) && !matches!(decision, Decision::Ambiguous | Decision::Forbidden { .. })
}

/// Of Menshen's own answer.
fn status(decision: &Decision) -> Option<u16> {
    match decision {
        Decision::Forward { .. } | Decision::Portal { .. } => None,
        Decision::Preflight { .. } => Some(204),
        Decision::LoginPage { .. } | Decision::Unauthorized { .. } => Some(401),
        Decision::GrpcUnauthenticated { .. } | Decision::VerificationFile { .. } | Decision::Landing => Some(200),
        Decision::LoginRedirect { .. } | Decision::SecureRedirect { .. } => Some(302),
        Decision::Start => Some(303),
        Decision::Ambiguous => Some(400),
        Decision::Forbidden { .. } | Decision::CrossOrigin { .. } => Some(403),
        Decision::NotFound | Decision::UnknownHost => Some(404),
        Decision::Unavailable { .. } => Some(503),
    }
}

#[cfg(test)]
mod tests;
