//! What can only be said about several keys together.
//!
//! Each check reads the settings and asks the [`Reading`] whether the keys that it compares were themselves sound.

mod certificates;
mod connections;
mod listeners;
mod routes;
mod sites;
mod upstreams;

use secrecy::ExposeSecret as _;

use super::header::{fold, names};
use super::reading::Reading;
use super::settings::{HeaderSet, Settings};
use super::values::{describe_duration, is_loopback};

/// Runs every check.
pub(super) fn check(reading: &mut Reading<'_>, settings: &Settings) {
    listeners::check(reading, settings);
    certificates::check(reading, settings);
    check_keys_at_rest(reading, settings);
    check_session(reading, settings);
    check_login(reading, settings);
    check_identity(reading, settings);
    connections::check(reading, settings);
    sites::check(reading, settings);
    upstreams::check(reading, settings);
    routes::check(reading, settings);
}

fn check_keys_at_rest(reading: &mut Reading<'_>, settings: &Settings) {
    if settings.server.secret.is_none() && reading.sound("server.secret") && reading.written("server") {
        reading.warn(
            "server.secret",
            "without `server.secret` the signing and sealing keys stand in the store in the clear",
            "make one with `menshen keys secret`, keep it outside the store, and write secret = { file = \"…\" }",
        );
    }
    let url = settings.store.url.expose_secret();
    let remote = url::Url::parse(url).is_ok_and(|url| {
        let encrypted = url
            .query_pairs()
            .any(|(name, value)| name == "sslmode" && (value == "require" || value.starts_with("verify")));
        url.scheme().starts_with("postgres")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && !is_loopback(&url)
            && !encrypted
    });
    if remote {
        reading.warn(
            "store.url",
            "the way to the store is not certain to be encrypted",
            "add ?sslmode=verify-full to the address, or keep the store on this machine",
        );
    }
}

fn check_session(reading: &mut Reading<'_>, settings: &Settings) {
    let session = &settings.session;
    let sound = reading.sound("session.idle_timeout") && reading.sound("session.lifetime");
    if sound && session.idle_timeout > session.lifetime {
        let (idle, life) = (
            describe_duration(session.idle_timeout),
            describe_duration(session.lifetime),
        );
        let key = if reading.written("session.idle_timeout") {
            "session.idle_timeout"
        } else {
            "session.lifetime"
        };
        reading.error(
            key,
            format!("`session.idle_timeout` ({idle}) is longer than `session.lifetime` ({life})"),
            format!("write idle_timeout = \"{life}\" or less"),
        );
    }
    // The gateway keeps two cookies of its own beside the session's.
    if ["menshen-browser", "menshen-handoff"].contains(&session.cookie_name.to_ascii_lowercase().as_str()) {
        reading.error(
            "session.cookie_name",
            format!("`{}` is the name of another cookie of the gateway", session.cookie_name),
            "choose another name, or leave the key out",
        );
    }
}

fn check_login(reading: &mut Reading<'_>, settings: &Settings) {
    let login = &settings.login;
    if !login.number_matching && reading.sound("login.number_matching") {
        reading.warn(
            "login.number_matching",
            "without number matching, whoever sends somebody a code can be logged in as them by one careless tap",
            "leave `number_matching` at true",
        );
    }
}

fn check_identity(reading: &mut Reading<'_>, settings: &Settings) {
    let identity = &settings.identity;
    if !reading.sound("identity.assertion_header") {
        return;
    }
    let assertion = fold(&identity.assertion_header);
    let sites = settings
        .sites
        .iter()
        .enumerate()
        .map(|(index, site)| (format!("sites[{index}].headers"), &site.headers));
    let sets = std::iter::once(("identity.headers".to_owned(), &identity.headers)).chain(sites);
    for (key, set) in sets.collect::<Vec<(String, &HeaderSet)>>() {
        let written_here = reading.written(&key) || key == "identity.headers";
        let place = if reading.written(&key) {
            key.as_str()
        } else {
            "identity.assertion_header"
        };
        if written_here && names(set).iter().any(|name| fold(name) == assertion) {
            reading.error(
                place,
                format!(
                    "`{}` carries the assertion and an identity header at once",
                    identity.assertion_header
                ),
                "give one of them another name",
            );
        }
    }
}
