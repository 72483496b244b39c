//! Certificates: they can be read, fit their keys, have not ended, and cover the hosts that are served.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::super::host::describe;
use super::super::reading::Reading;
use super::super::settings::{HostPattern, Settings};

pub(super) fn check(reading: &mut Reading<'_>, settings: &Settings) {
    for (index, site) in settings.sites.iter().enumerate() {
        if let Some(authorities) = &site.upstream.tls_ca {
            read_chain(reading, &format!("sites[{index}].upstream.tls_ca"), authorities);
        }
    }
    let certificates = &settings.server.tls;
    if certificates.is_empty() || !reading.sound("server.tls") {
        return;
    }
    let mut leaves = Vec::new();
    for (index, certificate) in certificates.iter().enumerate() {
        let key = if reading.written("server.tls[0]") {
            format!("server.tls[{index}]")
        } else {
            "server.tls".to_owned()
        };
        let chain = read_chain(reading, &format!("{key}.cert"), &certificate.cert);
        let private = read_key(reading, &format!("{key}.key"), &certificate.key);
        let (Some(chain), Some(private)) = (chain, private) else {
            continue;
        };
        check_validity(reading, &format!("{key}.cert"), &certificate.cert, chain.first());
        leaves.extend(chain.first().cloned());
        if let Err(error) = CertifiedKey::from_der(chain, private, &default_provider()) {
            let (message, remedy) = match error {
                rustls::Error::InconsistentKeys(_) => (
                    format!(
                        "`{}` is not the key of `{}`",
                        certificate.key.display(),
                        certificate.cert.display()
                    ),
                    "name the two files that were issued together; the chain begins with the server's own certificate",
                ),
                _ => (
                    format!(
                        "`{}` and `{}` cannot be used: {error}",
                        certificate.cert.display(),
                        certificate.key.display()
                    ),
                    "use an RSA, ECDSA or Ed25519 certificate and its key",
                ),
            };
            reading.error(&format!("{key}.key"), message, remedy);
        }
    }
    if reading.sound("server.tls") {
        check_coverage(reading, settings, &leaves);
    }
}

fn read_chain(reading: &mut Reading<'_>, key: &str, path: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let bytes = reading.read_file(key, path, LARGEST_PEM)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Some(chain),
        _ => {
            reading.error(
                key,
                format!("`{}` holds no certificate in PEM", path.display()),
                "name the full chain, which begins with -----BEGIN CERTIFICATE-----",
            );
            None
        }
    }
}

fn read_key(reading: &mut Reading<'_>, key: &str, path: &Path) -> Option<PrivateKeyDer<'static>> {
    let bytes = zeroize::Zeroizing::new(reading.read_file(key, path, LARGEST_PEM)?);
    let Ok(private) = PrivateKeyDer::from_pem_slice(&bytes) else {
        let encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let remedy = if encrypted {
            "it is encrypted: remove the pass phrase (openssl pkey -in … -out …) and guard the file by its mode"
        } else {
            "name the key, which begins with -----BEGIN PRIVATE KEY-----"
        };
        reading.error(key, format!("`{}` holds no private key in PEM", path.display()), remedy);
        return None;
    };
    if reading.surroundings.world_readable(path) {
        reading.warn(
            key,
            format!("every user of this machine can read `{}`", path.display()),
            format!("chmod o-r {}", path.display()),
        );
    }
    Some(private)
}

fn check_validity(reading: &mut Reading<'_>, key: &str, path: &Path, leaf: Option<&CertificateDer<'_>>) {
    let Some((_, leaf)) = leaf.and_then(|leaf| X509Certificate::from_der(leaf).ok()) else {
        return;
    };
    let now = reading
        .surroundings
        .now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let (begins, ends) = (
        leaf.validity().not_before.timestamp(),
        leaf.validity().not_after.timestamp(),
    );
    // A warning: to refuse the file would take down what still runs with the old certificate.
    if ends <= now {
        reading.warn(
            key,
            format!("the certificate in `{}` has ended", path.display()),
            "renew it: browsers refuse it",
        );
    } else if begins > now {
        reading.warn(
            key,
            format!("the certificate in `{}` is not valid yet", path.display()),
            "wait, or set this machine's clock: browsers refuse it",
        );
    } else if ends - now < i64::try_from(SOON.as_secs()).unwrap_or(i64::MAX) {
        let days = (ends - now) / 86_400;
        reading.warn(
            key,
            format!("the certificate in `{}` ends in {days} days", path.display()),
            "renew it",
        );
    }
}

fn check_coverage(reading: &mut Reading<'_>, settings: &Settings, leaves: &[CertificateDer<'static>]) {
    let leaves: Vec<_> = leaves
        .iter()
        .filter_map(|leaf| ParsedCertificate::try_from(leaf).ok())
        .collect();
    let covered = |host: &str| {
        // Whatever cannot be a name in a certificate is not judged.
        ServerName::try_from(host.trim_matches(['[', ']'])).map_or(true, |name| {
            leaves.iter().any(|leaf| verify_server_name(leaf, &name).is_ok())
        })
    };
    if reading.sound("server.public_url")
        && settings.https()
        && let Some(host) = settings.server.public_url.host_str()
        && !covered(host)
    {
        reading.warn(
            "server.public_url",
            format!("no certificate of `server.tls` covers `{host}`"),
            "add one that does, unless a proxy in front has it",
        );
    }
    for (index, site) in settings.sites.iter().enumerate() {
        if !reading.sound(&format!("sites[{index}].hosts")) {
            continue;
        }
        for (position, pattern) in site.hosts.iter().enumerate() {
            let sample = match pattern {
                HostPattern::Exact(host) => host.clone(),
                HostPattern::Suffix(suffix) => format!("x.{suffix}"),
                HostPattern::Any => continue,
            };
            if !covered(&sample) {
                reading.warn(
                    &format!("sites[{index}].hosts[{position}]"),
                    format!("no certificate of `server.tls` covers `{}`", describe(pattern)),
                    "add one that does, unless a proxy in front has it",
                );
            }
        }
    }
}

/// A chain of ten large certificates is a tenth of this.
const LARGEST_PEM: u64 = 256 << 10;

/// Automatic renewal happens well before; if it did not, something is broken.
const SOON: Duration = Duration::from_secs(7 * 86_400);
