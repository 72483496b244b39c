//! What two nodes compare to see whether they run on the same configuration, without showing it to each other.
//!
//! Each section has a fingerprint of its own, so that a difference has a name. What belongs to a machine (listeners,
//! files, directories, threads, egress) is left out: it may differ. Secrets are compared under `server.secret`, since a
//! plain hash of a short one could be guessed from the store; without `server.secret` they are not compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};

use super::Settings;
use super::settings::{ConnectionKind, Login, Wechat};

/// Section → fingerprint.
pub type Fingerprints = BTreeMap<String, String>;

/// The fingerprints of settings.
pub fn fingerprints(settings: &Settings) -> Fingerprints {
    let Settings {
        server,
        store: _,
        session,
        identity,
        login,
        limits,
        branding,
        log: _,
        audit,
        wechat,
        connections,
        sites,
    } = settings;
    let Wechat {
        api_base,
        open_base,
        mp_base,
        ..
    } = wechat;
    let mut connections = connections.clone();
    for connection in &mut connections {
        connection.logo = None;
    }
    let mut sites = sites.clone();
    for site in &mut sites {
        site.upstream.tls_ca = None;
    }
    let login = Login {
        geo_database: None,
        ..login.clone()
    };
    let shared = (
        &server.public_url,
        &server.trusted_proxies,
        server.hsts,
        &server.verification_files,
    );
    let mut prints: Fingerprints = [
        ("server", format!("{shared:?}")),
        ("session", format!("{session:?}")),
        ("identity", format!("{identity:?}")),
        ("login", format!("{login:?}")),
        ("limits", format!("{limits:?}")),
        ("branding", format!("{:?} {:?}", branding.title, branding.locale)),
        ("audit", format!("{audit:?}")),
        ("wechat", format!("{api_base} {open_base} {mp_base}")),
        ("connections", format!("{connections:?}")),
        ("sites", format!("{sites:?}")),
    ]
    .into_iter()
    .map(|(section, text)| {
        (
            section.to_owned(),
            shortened(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()),
        )
    })
    .collect();
    if let Some(secret) = &server.secret {
        prints.insert("secrets".to_owned(), of_secrets(settings, secret));
    }
    prints
}

fn of_secrets(settings: &Settings, under: &SecretString) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, under.expose_secret().as_bytes());
    let mut signing = hmac::Context::with_key(&key);
    let mut add = |secret: Option<&SecretString>| {
        let text = secret.map(ExposeSecret::expose_secret).unwrap_or_default();
        // The length first: two secrets must not run together into two others.
        signing.update(&(text.len() as u64).to_be_bytes());
        signing.update(text.as_bytes());
    };
    for connection in &settings.connections {
        add(Some(&connection.app_secret));
        if let ConnectionKind::OfficialAccountQr(account) = &connection.kind {
            add(Some(&account.token));
            add(account.encoding_aes_key.as_ref());
            add(account.relay_token.as_ref());
            add(account.relay_encoding_aes_key.as_ref());
        }
    }
    for site in &settings.sites {
        add(site.assertion_secret.as_ref());
    }
    shortened(signing.sign().as_ref())
}

/// Enough to tell configurations apart; nobody is kept out by it.
fn shortened(hash: &[u8]) -> String {
    hash.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::path::Path;

    use super::*;
    use crate::config::{System, parse};

    const BASE: &str = r#"
[server]
public_url = "http://127.0.0.1:8080"
secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
[limits]
login_pages = "600/min"
[[connections]]
id = "staff"
kind = "miniprogram-qr"
app_id = "wx0123456789abcdef"
app_secret = "0123456789abcdef0123456789abcdef"
[[sites]]
hosts = ["wiki.example.com"]
upstreams = ["http://10.0.0.5:8080"]
"#;

    fn of(text: &str) -> Fingerprints {
        let loaded = parse(Path::new("/etc/menshen/menshen.toml"), text, &System);
        fingerprints(&loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).settings)
    }

    /// Sections whose fingerprints change when `from` is replaced.
    fn changed(from: &str, to: &str) -> Vec<String> {
        assert!(BASE.contains(from), "{from}");
        let (one, other) = (of(BASE), of(&BASE.replace(from, to)));
        let names = one
            .keys()
            .chain(other.keys())
            .cloned()
            .collect::<std::collections::BTreeSet<_>>();
        names
            .into_iter()
            .filter(|name| one.get(name) != other.get(name))
            .collect()
    }

    #[test]
    fn a_difference_has_the_name_of_its_section() {
        assert_eq!(changed("600/min", "601/min"), ["limits"]);
        assert_eq!(changed("10.0.0.5", "10.0.0.6"), ["sites"]);
        assert_eq!(changed("\"staff\"", "\"guests\""), ["connections"]);
        assert_eq!(
            changed("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdee"),
            ["secrets"]
        );
        assert_eq!(changed("secret = \"c2Vj", "secret = \"c3Vj"), ["secrets"]);
        assert_eq!(changed("127.0.0.1:8080", "127.0.0.1:8081"), ["server"]);
    }

    #[test]
    fn what_belongs_to_a_machine_is_not_compared() {
        let of_a_machine =
            "[server]\nlisten = [\"127.0.0.1:9\"]\nadmin_listen = \"off\"\nthreads = 7\ndata_dir = \"/srv\"";
        assert_eq!(changed("[server]", of_a_machine), Vec::<String>::new());
        assert_eq!(
            changed("[limits]", "[wechat]\ntimeout = \"7s\"\n[limits]"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn without_a_secret_of_the_installation_no_other_one_is_compared() {
        let bare = BASE.replace("secret = \"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I\"", "");
        assert!(!of(&bare).contains_key("secrets"));
        let other = bare.replace("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdee");
        assert_eq!(of(&bare), of(&other));
    }
}
