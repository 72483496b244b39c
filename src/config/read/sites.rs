//! `[[sites]]` and `[[sites.routes]]`.

use std::time::Duration;

use http::Method;

use super::super::header::{parse_allowed_header, parse_cookie};
use super::super::host::{describe, parse_host_pattern};
use super::super::mistake::Fault;
use super::super::path::{parse_path, parse_path_pattern};
use super::super::reading::Reading;
use super::super::requirement::parse_requirement;
use super::super::schema::{ROUTE, SITE, UPSTREAM};
use super::super::section::Section;
use super::super::settings::{
    Access, Balance, Connection, HostPattern, Identity, Limits, PathPattern, Route, Site, UpstreamOptions,
};
use super::super::upstream::parse_upstream;
use super::super::values::{is_token, parse_request_origin};
use super::super::words::nearest;
use super::policy::{DAY, MINUTE, SECOND, read_body_limit, read_headers};

pub(super) fn read_sites(
    reading: &mut Reading<'_>,
    root: &Section<'_>,
    connections: &[Connection],
    identity: &Identity,
    limits: &Limits,
) -> Vec<Site> {
    let sections = root.tables(reading, "sites", SITE);
    if sections.is_empty() && root.has("sites") && reading.sound("sites") {
        reading.error(
            "sites",
            "there is no site",
            "add a [[sites]] table with hosts and upstreams",
        );
    }
    sections
        .iter()
        .map(|section| read_site(reading, section, connections, identity, limits))
        .collect()
}

fn read_site(
    reading: &mut Reading<'_>,
    section: &Section<'_>,
    connections: &[Connection],
    identity: &Identity,
    limits: &Limits,
) -> Site {
    let hosts = section.list(reading, "hosts", parse_host_pattern).unwrap_or_default();
    let audience = read_audience(reading, section, &hosts);
    let upstream = section.table(reading, "upstream", UPSTREAM);
    let routes = if section.has("routes") {
        section.tables(reading, "routes", ROUTE)
    } else {
        Vec::new()
    };
    let headers = section.read(reading, "headers", read_headers);
    let body_limit = read_body_limit(reading, section);
    Site {
        name: section.text(reading, "name").unwrap_or_else(|| audience.clone()),
        audience,
        upstreams: section.list(reading, "upstreams", parse_upstream).unwrap_or_default(),
        upstream: read_upstream(reading, &upstream),
        connections: read_references(reading, section, connections),
        headers: headers.unwrap_or_else(|| identity.headers.clone()),
        assertion_secret: section.secret(reading, "assertion_secret"),
        expose_wechat_ids: section.flag(reading, "expose_wechat_ids"),
        expose_phone: section.flag(reading, "expose_phone"),
        request_body: body_limit.unwrap_or(limits.request_body),
        allowed_headers: section
            .list(reading, "allowed_headers", parse_allowed_header)
            .unwrap_or_default(),
        app_cookies: section.list(reading, "app_cookies", parse_cookie).unwrap_or_default(),
        ignore_case: section.flag(reading, "ignore_case"),
        routes: routes.iter().map(|route| read_route(reading, route)).collect(),
        hosts,
    }
}

fn read_audience(reading: &mut Reading<'_>, section: &Section<'_>, hosts: &[HostPattern]) -> String {
    if section.has("audience") {
        return section.text(reading, "audience").unwrap_or_default();
    }
    let exact = hosts.iter().find(|host| matches!(host, HostPattern::Exact(_)));
    let (key, hosts_key) = (section.key("audience"), section.key("hosts"));
    if !reading.sound(&hosts_key) || !section.has("hosts") {
        return String::new();
    }
    if hosts.is_empty() {
        reading.error(
            &hosts_key,
            format!("`{hosts_key}` is empty"),
            "name at least one host, or \"*\" for whatever is left",
        );
        return String::new();
    }
    match exact {
        Some(host) => describe(host),
        None => {
            reading.error(
                &key,
                format!("a site with wildcard hosts only needs an `audience`, and `{key}` is missing"),
                "add audience = \"a-name-of-the-application\": the application checks it in the assertion",
            );
            String::new()
        }
    }
}

fn read_upstream(reading: &mut Reading<'_>, section: &Section<'_>) -> UpstreamOptions {
    let balances = [
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
        ("client_address", Balance::ClientAddress),
    ];
    UpstreamOptions {
        balance: section
            .choice(reading, "balance", &balances)
            .unwrap_or(Balance::RoundRobin),
        connect_timeout: section.duration(reading, "connect_timeout", SECOND / 10..=MINUTE * 5),
        read_timeout: section.duration(reading, "read_timeout", SECOND..=DAY),
        total_timeout: Some(section.duration(reading, "total_timeout", Duration::ZERO..=DAY))
            .filter(|limit| !limit.is_zero()),
        health_check: section.parse(reading, "health_check", parse_health_check),
        pass_host: section.flag(reading, "pass_host"),
        tls_verify: section.flag(reading, "tls_verify"),
        tls_ca: section.path(reading, "tls_ca"),
        tls_name: section.parse(reading, "tls_name", parse_tls_name),
        http2: section.flag(reading, "http2"),
    }
}

/// What a certificate can be for: a DNS name or an address.
fn parse_tls_name(text: &str) -> Result<String, Fault> {
    match rustls::pki_types::ServerName::try_from(text) {
        Ok(_) => Ok(text.to_ascii_lowercase()),
        Err(_) => Err(Fault::new(
            format!("`{text}` is no name that a certificate can have"),
            "write a host name, without port and scheme",
        )),
    }
}

/// A path and, unlike in rules, a query.
fn parse_health_check(text: &str) -> Result<String, Fault> {
    let (path, query) = text
        .split_once('?')
        .map_or((text, None), |(path, query)| (path, Some(query)));
    let path = parse_path(path)?;
    if query.is_some_and(|query| query.contains('#') || !query.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(Fault::new(
            format!("`{text}` has a query that cannot be sent"),
            "percent-encode it",
        ));
    }
    Ok(query.map_or(path.clone(), |query| format!("{path}?{query}")))
}

/// `connections` as indices; all of them when the key is left out.
fn read_references(reading: &mut Reading<'_>, section: &Section<'_>, connections: &[Connection]) -> Vec<usize> {
    if !section.has("connections") {
        return (0..connections.len()).collect();
    }
    // With a mistaken id among them, a reference to it would be reported for the wrong reason.
    let complete = (0..connections.len()).all(|index| reading.sound(&format!("connections[{index}].id")));
    let ids = section.list(reading, "connections", |text| {
        match connections.iter().position(|connection| connection.id == text) {
            Some(index) => Ok(Some(index)),
            None if !complete => Ok(None),
            None => Err(Fault::new(
                format!("there is no connection `{text}`"),
                match nearest(text, connections.iter().map(|connection| connection.id.as_str())) {
                    Some(id) => format!("did you mean \"{id}\"?"),
                    None => format!(
                        "write an id of [[connections]], or leave the key out for all {}",
                        connections.len()
                    ),
                },
            )),
        }
    });
    let indices: Vec<usize> = ids.unwrap_or_default().into_iter().flatten().collect();
    let key = section.key("connections");
    if indices.is_empty() && complete && reading.sound(&key) {
        reading.error(
            &key,
            format!("`{key}` is empty, so nobody could log in"),
            "name one, or leave the key out for all",
        );
    }
    for (position, index) in indices.iter().enumerate() {
        if indices[..position].contains(index) {
            reading.error(
                &format!("{key}[{position}]"),
                format!("`{}` stands here twice", connections[*index].id),
                "remove one",
            );
        }
    }
    indices
}

fn read_route(reading: &mut Reading<'_>, section: &Section<'_>) -> Route {
    let accesses = [
        ("login", Access::Login),
        ("public", Access::Public),
        ("deny", Access::Deny),
    ];
    let access = section.choice(reading, "access", &accesses).unwrap_or(Access::Login);
    let require = section.list(reading, "require", parse_requirement).unwrap_or_default();
    let require_all = section
        .list(reading, "require_all", parse_requirement)
        .unwrap_or_default();
    for (name, requirements) in [("require", &require), ("require_all", &require_all)] {
        let key = section.key(name);
        if section.has(name) && requirements.is_empty() && reading.sound(&key) {
            reading.error(
                &key,
                format!("`{key}` is empty"),
                "write access = \"deny\" to let nobody in, or leave the key out to let everybody in",
            );
        }
        if access != Access::Login && !requirements.is_empty() {
            let word = if access == Access::Public { "public" } else { "deny" };
            reading.error(
                &key,
                format!("`{name}` does nothing on a route with access = \"{word}\""),
                "remove one of the two",
            );
        }
    }
    let methods = read_methods(reading, section);
    Route {
        path: section
            .parse(reading, "path", parse_path_pattern)
            .unwrap_or(PathPattern::Exact(String::new())),
        methods,
        access,
        require,
        require_all,
        keep_encoded_slashes: section
            .choice(reading, "encoded_slashes", &[("refuse", false), ("keep", true)])
            .unwrap_or(false),
        cors_origins: section
            .list(reading, "cors_origins", parse_request_origin)
            .unwrap_or_default(),
        websocket_origins: section
            .list(reading, "websocket_origins", parse_request_origin)
            .unwrap_or_default(),
    }
}

fn read_methods(reading: &mut Reading<'_>, section: &Section<'_>) -> Option<Vec<Method>> {
    let methods = section.list(reading, "methods", |text| {
        let upper = text.to_ascii_uppercase();
        let method = Method::from_bytes(text.as_bytes()).ok().filter(|_| is_token(text));
        match method {
            Some(method) if text == upper => Ok(method),
            Some(_) => Err(Fault::new(
                format!("`{text}` is not a method: they are written in capitals"),
                format!("write \"{upper}\""),
            )),
            None if text == "*" => Err(Fault::new("`*` is not a method", "leave `methods` out for all")),
            None => Err(Fault::new(
                format!("`{text}` is not a method"),
                "write \"GET\", \"POST\" and the like",
            )),
        }
    })?;
    if methods.is_empty() {
        let key = section.key("methods");
        reading.error(
            &key,
            format!("`{key}` is empty, so the route holds for nothing"),
            "leave the key out for all methods",
        );
    }
    Some(methods)
}
