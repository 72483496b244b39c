//! Sites among themselves: hosts, audiences, secrets, headers.

use secrecy::ExposeSecret as _;

use super::super::header::{PRESETS, fold, names};
use super::super::host::{describe, matches};
use super::super::reading::Reading;
use super::super::settings::{Algorithm, HostPattern, Settings, Site};
use super::super::values::is_loopback;

pub(super) fn check(reading: &mut Reading<'_>, settings: &Settings) {
    check_hosts(reading, settings);
    check_public_host(reading, settings);
    check_audiences(reading, settings);
    for (index, site) in settings.sites.iter().enumerate() {
        check_assertion_secret(reading, settings, index, site);
        check_allowed_headers(reading, settings, index, site);
        check_app_cookies(reading, settings, index, site);
        if site.upstreams.is_empty()
            && reading.sound(&format!("sites[{index}].upstreams"))
            && settings.server.trusted_proxies.is_empty()
            && reading.sound("server.trusted_proxies")
        {
            reading.error(
                &format!("sites[{index}].upstreams"),
                "a site without upstreams is for forward-auth, which answers `trusted_proxies` only, and that is empty",
                "add an upstream, or trusted_proxies = [\"10.0.0.2/32\"] with the address of the proxy that asks",
            );
        }
    }
}

fn check_hosts(reading: &mut Reading<'_>, settings: &Settings) {
    let mut seen: Vec<(&HostPattern, usize)> = Vec::new();
    for (index, site) in settings.sites.iter().enumerate() {
        for (position, pattern) in site.hosts.iter().enumerate() {
            let key = format!("sites[{index}].hosts[{position}]");
            if let Some((_, other)) = seen.iter().find(|(other, _)| *other == pattern) {
                let message = match (pattern, *other == index) {
                    (_, true) => format!("`{}` stands here twice", describe(pattern)),
                    (HostPattern::Any, false) => "two sites take `*`, and only one can have what is left".to_owned(),
                    (_, false) => format!(
                        "`{}` belongs to the site `{}` already",
                        describe(pattern),
                        settings.sites[*other].name
                    ),
                };
                reading.error(&key, message, "remove one");
            }
            seen.push((pattern, index));
        }
    }
}

/// On a site's host the application's scripts share the portal's origin.
fn check_public_host(reading: &mut Reading<'_>, settings: &Settings) {
    let url = &settings.server.public_url;
    // On one machine's loopback there is only one host to have.
    let Some(host) = url
        .host_str()
        .filter(|_| reading.sound("server.public_url") && !is_loopback(url))
    else {
        return;
    };
    for (index, site) in settings.sites.iter().enumerate() {
        if let Some(position) = site.hosts.iter().position(|pattern| matches(pattern, host)) {
            reading.warn(
                &format!("sites[{index}].hosts[{position}]"),
                format!(
                    "`{}` takes in the host of `public_url` ({host}), where the application's scripts then share the \
                     portal's origin: the account pages are off",
                    describe(&site.hosts[position])
                ),
                "give `public_url` a host of its own, for example https://login.example.com",
            );
            return;
        }
    }
}

fn check_audiences(reading: &mut Reading<'_>, settings: &Settings) {
    for (index, site) in settings.sites.iter().enumerate() {
        let Some(other) = settings.sites[..index]
            .iter()
            .find(|other| other.audience == site.audience && !site.audience.is_empty())
        else {
            continue;
        };
        reading.warn(
            &format!("sites[{index}].audience"),
            format!(
                "the site of `{}` has the audience `{}` already: an assertion for one is good at the other",
                other.hosts.first().map(describe).unwrap_or_default(),
                site.audience
            ),
            "give each an `audience` of its own",
        );
    }
}

fn check_assertion_secret(reading: &mut Reading<'_>, settings: &Settings, index: usize, site: &Site) {
    let key = format!("sites[{index}].assertion_secret");
    if !reading.sound(&key) || !reading.sound("identity.algorithm") {
        return;
    }
    match (&site.assertion_secret, settings.identity.algorithm == Algorithm::Hs256) {
        (None, true) => reading.error(
            &key,
            format!(
                "`identity.algorithm` is HS256, and the site `{}` has no `assertion_secret`",
                site.name
            ),
            "add assertion_secret = { env = \"…\" } of at least 32 bytes, or use ES256, which needs none",
        ),
        (Some(_), false) => reading.error(
            &key,
            "`assertion_secret` is for HS256 only",
            "remove it, or write algorithm = \"HS256\" in [identity]; for others applications read /.menshen/jwks.json",
        ),
        (Some(secret), true) if secret.expose_secret().len() < SHORTEST_HMAC_KEY => reading.error(
            &key,
            format!("`assertion_secret` is shorter than {SHORTEST_HMAC_KEY} bytes"),
            "make one with `menshen keys secret`",
        ),
        (Some(secret), true) => {
            let shared = settings.sites[..index].iter().any(|other| {
                other
                    .assertion_secret
                    .as_ref()
                    .is_some_and(|other| other.expose_secret() == secret.expose_secret())
            });
            if shared {
                reading.warn(
                    &key,
                    format!(
                        "the site `{}` has the `assertion_secret` of another: each can forge assertions for the other",
                        site.name
                    ),
                    "give each a secret of its own",
                );
            }
        }
        (None, false) => {}
    }
}

/// A name with `_` that a backend reads as one of the gateway's own would let clients write it.
fn check_allowed_headers(reading: &mut Reading<'_>, settings: &Settings, index: usize, site: &Site) {
    let sets = settings
        .sites
        .iter()
        .map(|site| &site.headers)
        .chain([&settings.identity.headers])
        .chain(&PRESETS);
    let mut managed: Vec<String> = sets.flat_map(names).map(fold).collect();
    managed.push(fold(&settings.identity.assertion_header));
    for (position, name) in site.allowed_headers.iter().enumerate() {
        if managed.contains(&fold(name)) {
            reading.error(
                &format!("sites[{index}].allowed_headers[{position}]"),
                format!(
                    "a backend may read `{name}` as the identity header `{}`, which clients must not write",
                    fold(name)
                ),
                "remove it from the list",
            );
        }
    }
}

fn check_app_cookies(reading: &mut Reading<'_>, settings: &Settings, index: usize, site: &Site) {
    let own = settings.session.cookie_name.to_ascii_lowercase();
    for (position, name) in site.app_cookies.iter().enumerate() {
        let lower = name.to_ascii_lowercase();
        let bare = lower.strip_prefix("__host-").unwrap_or(&lower);
        if bare == own || bare == "menshen-browser" || bare == "menshen-handoff" {
            reading.error(
                &format!("sites[{index}].app_cookies[{position}]"),
                format!("`{name}` is a cookie of the gateway"),
                "remove it: name the cookies of the application",
            );
        }
    }
}

/// RFC 7518 §3.2: a key of at least the size of the hash.
const SHORTEST_HMAC_KEY: usize = 32;
