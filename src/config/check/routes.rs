//! Rules of one site among themselves.

use std::collections::BTreeSet;

use super::super::reading::Reading;
use super::super::settings::{Access, ConnectionKind, PathPattern, QrKind, Requirement, Route, Settings, Site};

pub(super) fn check(reading: &mut Reading<'_>, settings: &Settings) {
    for (index, site) in settings.sites.iter().enumerate() {
        check_duplicates(reading, index, site);
        check_connections(reading, settings, index, site);
        check_everything_public(reading, index, site);
    }
    check_public_paths(reading, settings);
}

/// Two rules for one path and one method: which of them holds would depend on their order.
fn check_duplicates(reading: &mut Reading<'_>, index: usize, site: &Site) {
    for (position, route) in site.routes.iter().enumerate() {
        let key = format!("sites[{index}].routes[{position}]");
        if !reading.sound(&key) {
            continue;
        }
        let earlier = site.routes[..position].iter().enumerate().find(|(other, earlier)| {
            reading.sound(&format!("sites[{index}].routes[{other}]"))
                && same_path(&earlier.path, &route.path, site.ignore_case)
                && share_a_method(earlier, route)
        });
        if earlier.is_some() {
            reading.error(
                &format!("{key}.path"),
                format!(
                    "the path `{}` has a rule for these methods already",
                    describe(&route.path)
                ),
                "make one rule of the two, or give each `methods` of its own",
            );
        }
        // A rule with methods says nothing about the others, which then fall to a shorter prefix.
        let covered = site
            .routes
            .iter()
            .any(|other| other.methods.is_none() && same_path(&other.path, &route.path, site.ignore_case));
        if route.methods.is_some() && route.access != Access::Public && !covered && weaker_above(site, route) {
            reading.warn(
                &format!("{key}.methods"),
                format!(
                    "other methods on `{}` fall to a rule above it that asks for less",
                    describe(&route.path)
                ),
                "add a rule for the same path without `methods`",
            );
        }
    }
}

/// `connection:` names one that this site accepts.
fn check_connections(reading: &mut Reading<'_>, settings: &Settings, index: usize, site: &Site) {
    let ids_sound =
        (0..settings.connections.len()).all(|connection| reading.sound(&format!("connections[{connection}].id")));
    if !ids_sound || !reading.sound(&format!("sites[{index}].connections")) {
        return;
    }
    let accepted: BTreeSet<&str> = site
        .connections
        .iter()
        .map(|connection| settings.connections[*connection].id.as_str())
        .collect();
    for (position, route) in site.routes.iter().enumerate() {
        for (name, requirements) in [("require", &route.require), ("require_all", &route.require_all)] {
            for (entry, requirement) in requirements.iter().enumerate() {
                let Requirement::Connection(id) = requirement else {
                    continue;
                };
                if accepted.contains(id.as_str()) {
                    continue;
                }
                let known = settings.connection(id).is_some();
                reading.error(
                    &format!("sites[{index}].routes[{position}].{name}[{entry}]"),
                    if known {
                        format!("this site does not accept the connection `{id}`")
                    } else {
                        format!("there is no connection `{id}`")
                    },
                    format!(
                        "write one of {}",
                        accepted
                            .iter()
                            .map(|id| format!("\"connection:{id}\""))
                            .collect::<Vec<_>>()
                            .join(", ")
                    ),
                );
            }
        }
    }
}

fn check_everything_public(reading: &mut Reading<'_>, index: usize, site: &Site) {
    for (position, route) in site.routes.iter().enumerate() {
        if route.path == PathPattern::Prefix(String::new()) && route.access == Access::Public {
            reading.warn(
                &format!("sites[{index}].routes[{position}].access"),
                format!(
                    "everything on `{}` that no other rule covers is open to everybody",
                    site.name
                ),
                "name the public paths instead, and leave `/` to the default",
            );
        }
    }
}

/// Paths that the gateway answers itself at `public_url` before any site is asked.
fn check_public_paths(reading: &mut Reading<'_>, settings: &Settings) {
    for (index, connection) in settings.connections.iter().enumerate() {
        let ConnectionKind::MiniprogramQr(miniprogram) = &connection.kind else {
            continue;
        };
        let (QrKind::Link { prefix } | QrKind::Wxacode { fallback: Some(prefix) }) = &miniprogram.qr else {
            continue;
        };
        let Some(host) = prefix.host_str() else { continue };
        let shadowed = settings.sites.iter().find(|site| {
            site.hosts
                .contains(&super::super::settings::HostPattern::Exact(host.to_owned()))
                && settings.server.public_url.host_str() != Some(host)
        });
        if let Some(site) = shadowed {
            reading.warn(
                &format!("connections[{index}].link_prefix"),
                format!(
                    "`{prefix}` lies on a host of the site `{}`, which answers it",
                    site.name
                ),
                "put the prefix on the host of `public_url`",
            );
        }
    }
}

/// Whether a request that this rule leaves over would meet a rule that asks for less.
fn weaker_above(site: &Site, route: &Route) -> bool {
    let path = text(&route.path);
    let above = site
        .routes
        .iter()
        .filter(|other| match &other.path {
            PathPattern::Prefix(prefix) => {
                prefix != path
                    && path
                        .strip_prefix(prefix.as_str())
                        .is_some_and(|rest| rest.starts_with('/'))
            }
            PathPattern::Exact(_) => false,
        })
        .max_by_key(|other| text(&other.path).len());
    let demanding = !route.require.is_empty() || !route.require_all.is_empty() || route.access == Access::Deny;
    match above {
        Some(above) if above.access == Access::Public => true,
        Some(above) => {
            demanding && above.access == Access::Login && above.require.is_empty() && above.require_all.is_empty()
        }
        None => demanding,
    }
}

fn same_path(one: &PathPattern, other: &PathPattern, ignore_case: bool) -> bool {
    let same_kind = matches!(
        (one, other),
        (PathPattern::Prefix(_), PathPattern::Prefix(_)) | (PathPattern::Exact(_), PathPattern::Exact(_))
    );
    same_kind
        && if ignore_case {
            text(one).eq_ignore_ascii_case(text(other))
        } else {
            text(one) == text(other)
        }
}

fn share_a_method(one: &Route, other: &Route) -> bool {
    match (&one.methods, &other.methods) {
        // A rule with methods is the exception to one without.
        (None, None) => true,
        (Some(one), Some(other)) => one.iter().any(|method| other.contains(method)),
        _ => false,
    }
}

fn text(path: &PathPattern) -> &str {
    match path {
        PathPattern::Prefix(path) | PathPattern::Exact(path) => path,
    }
}

fn describe(path: &PathPattern) -> String {
    match path {
        PathPattern::Prefix(path) => format!("{path}/"),
        PathPattern::Exact(path) => format!("= {path}"),
    }
}
