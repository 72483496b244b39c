//! `[server]` and `[store]`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use toml::de::DeValue;
use url::Url;

use super::super::mistake::Fault;
use super::super::node::Node;
use super::super::reading::Reading;
use super::super::schema::{CERTIFICATE, LISTEN};
use super::super::secret::read_secret;
use super::super::section::Section;
use super::super::settings::{Certificate, Listen, Server, Store};
use super::super::values::{parse_listen_address, parse_network, parse_origin};
use super::policy::DAY;

pub(super) fn read_server(reading: &mut Reading<'_>, section: &Section<'_>) -> Server {
    let tls = read_tls(reading, section);
    // Whether there is to be TLS, even if the certificates are written wrongly.
    let has_tls = section.has("tls");
    let listen = section
        .read(reading, "listen", |reading, node| read_listen(reading, node, has_tls))
        .unwrap_or_default();
    let secret = section.secret(reading, "secret");
    if secret
        .as_ref()
        .is_some_and(|secret| secret.expose_secret().len() < SHORTEST_SECRET)
    {
        reading.error(
            "server.secret",
            format!("`server.secret` is shorter than {SHORTEST_SECRET} characters"),
            "make one with `menshen keys secret`",
        );
    }
    Server {
        listen,
        tls,
        admin_listen: section.parse(reading, "admin_listen", parse_admin_listen).flatten(),
        public_url: section
            .parse(reading, "public_url", parse_origin)
            .unwrap_or_else(stand_in_url),
        trusted_proxies: section
            .list(reading, "trusted_proxies", parse_network)
            .unwrap_or_default(),
        data_dir: section.path(reading, "data_dir").unwrap_or_default(),
        secret,
        threads: usize::try_from(section.number(reading, "threads", 1..=1024)).unwrap_or(1),
        grace_period: section.duration(reading, "grace_period", Duration::ZERO..=Duration::from_secs(3_600)),
        hsts: Some(section.duration(reading, "hsts", Duration::ZERO..=DAY * 730)).filter(|age| !age.is_zero()),
        verification_files: section
            .read(reading, "verification_files", read_verification_files)
            .unwrap_or_default(),
    }
}

pub(super) fn read_store(reading: &mut Reading<'_>, section: &Section<'_>, data_dir: &Path) -> Store {
    let url = section.read(reading, "url", |reading, node| {
        let text = read_store_url(reading, node)?;
        resolve_store(&text, data_dir)
            .map_err(|fault| reading.fault(&node.key, fault))
            .ok()
    });
    Store {
        url: SecretString::from(url.unwrap_or_default()),
    }
}

/// What stands in for a URL that was refused.
pub(super) fn stand_in_url() -> Url {
    const TEXT: &str = "http://stand-in.invalid";
    match Url::parse(TEXT) {
        Ok(url) => url,
        // The literal above is a URL.
        Err(_) => unreachable!("{TEXT}"),
    }
}

fn read_tls(reading: &mut Reading<'_>, section: &Section<'_>) -> Vec<Certificate> {
    let Some(node) = section.node("tls") else {
        return Vec::new();
    };
    let sections = match node.value {
        DeValue::Array(_) => {
            let elements = node.elements(reading).unwrap_or_default();
            if elements.is_empty() {
                reading.error(
                    &node.key,
                    "`server.tls` is empty",
                    "write { cert = \"…\", key = \"…\" }, or leave the key out",
                );
            }
            elements
                .iter()
                .map(|element| element.section(reading, CERTIFICATE))
                .collect()
        }
        _ => vec![node.section(reading, CERTIFICATE)],
    };
    let mut certificates = Vec::new();
    for section in sections {
        let cert = section.path(reading, "cert");
        let key = section.path(reading, "key");
        certificates.push(Certificate {
            cert: cert.unwrap_or_default(),
            key: key.unwrap_or_default(),
        });
    }
    certificates
}

fn read_listen(reading: &mut Reading<'_>, node: &Node<'_>, has_tls: bool) -> Option<Vec<Listen>> {
    let elements = match node.value {
        // One listener needs no brackets to be understood, but one spelling is enough.
        DeValue::Table(_) => {
            node.mistyped(reading, "a list", "put square brackets around it");
            return None;
        }
        _ => node.elements(reading)?,
    };
    if elements.is_empty() {
        reading.error(
            &node.key,
            "`server.listen` is empty",
            "write at least one address, for example [\"0.0.0.0:443\"]",
        );
        return None;
    }
    let listeners: Vec<_> = elements
        .iter()
        .map(|element| read_listener(reading, element, has_tls))
        .collect();
    listeners.into_iter().collect()
}

fn read_listener(reading: &mut Reading<'_>, node: &Node<'_>, has_tls: bool) -> Option<Listen> {
    if node.value.is_str() {
        let address = node.parse(reading, parse_listen_address)?;
        return Some(Listen {
            address,
            tls: has_tls,
            redirect_to_https: false,
            proxy_protocol: false,
            public_url_only: false,
        });
    }
    let section = node.section(reading, LISTEN);
    let redirect_to_https =
        section.has("redirect") && section.choice(reading, "redirect", &[("https", true)]).unwrap_or(true);
    let listen = Listen {
        address: section
            .parse(reading, "address", parse_listen_address)
            .unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into()),
        tls: if section.has("tls") {
            section.flag(reading, "tls")
        } else {
            has_tls && !redirect_to_https
        },
        redirect_to_https,
        proxy_protocol: section.flag(reading, "proxy_protocol"),
        public_url_only: section
            .choice(reading, "serves", &[("all", false), ("public_url", true)])
            .unwrap_or(false),
    };
    reading.sound(&node.key).then_some(listen)
}

fn parse_admin_listen(text: &str) -> Result<Option<SocketAddr>, Fault> {
    if text == "off" {
        Ok(None)
    } else {
        parse_listen_address(text).map(Some)
    }
}

fn read_verification_files(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for (name, value) in node.entries(reading)? {
        let plain = !name.starts_with('.')
            && (1..=128).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !plain {
            reading.error(
                &value.key,
                format!("`{name}` is not a plain file name"),
                "write the name that WeChat's console gives, for example \"MP_verify_abc.txt\"",
            );
            continue;
        }
        let Some(content) = value.text(reading) else { continue };
        if content.is_empty() || content.len() > 4_096 {
            reading.error(
                &value.key,
                format!("the content of `{name}` is empty or longer than 4096 bytes"),
                "write what the file holds",
            );
            continue;
        }
        files.insert(name.to_owned(), content.to_owned());
    }
    Some(files)
}

/// A store URL without a password may stand in the open.
fn read_store_url(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<String> {
    match node.value {
        DeValue::String(text) if !has_password(text) => Some(text.trim().to_owned()),
        _ => read_secret(reading, node),
    }
}

fn has_password(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.password().is_some())
}

/// The store URL with an absolute path. Messages repeat nothing of it, for it may hold a password.
fn resolve_store(text: &str, data_dir: &Path) -> Result<String, Fault> {
    const SHAPES: &str = "write \"sqlite:menshen.db\", or \"postgres://user:password@host/database\" for several nodes";
    if let Some(path) = text.strip_prefix("sqlite:") {
        if path.contains(":memory:") {
            return Err(Fault::new(
                "a store in memory forgets everybody at each start",
                "write \"sqlite:menshen.db\", a file below server.data_dir",
            ));
        }
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.contains('?') {
            return Err(Fault::new(
                "options of the embedded store cannot be set",
                "remove the ? and all behind it",
            ));
        }
        if path.is_empty() || path.ends_with('/') {
            return Err(Fault::new(
                "the store's file has no name",
                "write \"sqlite:menshen.db\"",
            ));
        }
        let path: PathBuf = data_dir.join(path);
        let path = path
            .to_str()
            .ok_or_else(|| Fault::new("the store's path is not UTF-8", "choose another server.data_dir"))?;
        return Ok(format!("sqlite:{}", utf8_percent_encode(path, NOT_IN_SQLITE_URL)));
    }
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => {
            // A Unix socket is named in the query: postgres:///menshen?host=/run/postgresql.
            let socket = url.query_pairs().any(|(name, _)| name == "host");
            if url.host_str().is_none_or(str::is_empty) && !socket {
                return Err(Fault::new("the store's address has no host", SHAPES));
            }
            if url.path().trim_matches('/').is_empty() {
                return Err(Fault::new("the store's address names no database", SHAPES));
            }
            Ok(text.to_owned())
        }
        Ok(url) if !url.scheme().is_empty() && text.contains("://") => Err(Fault::new(
            format!("there is no store of the kind `{}`", url.scheme()),
            SHAPES,
        )),
        _ => Err(Fault::new("`store.url` is not the address of a store", SHAPES)),
    }
}

/// What would end or change the path of a `sqlite:` URL.
const NOT_IN_SQLITE_URL: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// 32 bytes in base64url are 43 characters, in hex 64; anything below 32 characters was typed by hand.
const SHORTEST_SECRET: usize = 32;
