//! TLS in front: certificates by server name.
//!
//! Without a match the first certificate answers, as operators expect of a default server; whether its names fit is
//! the client's to judge, and the host table's.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::listeners::tls::Acceptor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto::aws_lc_rs};

use crate::config::settings::{Certificate, Server};

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read or holds no PEM of this kind.
    #[error("{path}: {reason}", path = .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Key and certificate do not belong together, or the key type is unknown.
    #[error("{path}: {source}", path = .path.display())]
    Pair {
        /// The certificate.
        path: PathBuf,
        /// What the library says.
        source: rustls::Error,
    },
}

/// The certificates in use. They are replaced as a whole; open connections keep theirs.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<Vec<Held>>,
}

/// Certificates that can be used.
#[derive(Debug)]
pub struct Usable(Vec<Held>);

#[derive(Debug, Clone)]
struct Held {
    key: Arc<CertifiedKey>,
    file: String,
    /// Unix seconds.
    ends: i64,
}

/// Reads the certificates that the listeners need: none without a TLS listener.
///
/// # Errors
/// See [`TlsError`].
pub fn load(server: &Server) -> Result<Usable, TlsError> {
    if !server.listen.iter().any(|listen| listen.tls) {
        return Ok(Usable(Vec::new()));
    }
    server.tls.iter().map(read).collect::<Result<_, _>>().map(Usable)
}

/// An acceptor for HTTP/2 and HTTP/1.1 with these certificates, now and after each replacement.
pub fn acceptor(certificates: Arc<Certificates>) -> Acceptor {
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Early data could be replayed by anybody who recorded it (CVE-2024-39321).
    config.max_early_data_size = 0;
    Acceptor::from_server_config(Arc::new(config))
}

impl Certificates {
    /// These to begin with.
    pub fn new(usable: Usable) -> Self {
        Self {
            current: ArcSwap::from_pointee(usable.0),
        }
    }

    /// These from now on.
    pub fn replace(&self, usable: Usable) {
        self.current.store(Arc::new(usable.0));
    }

    /// File and end (Unix seconds) of each.
    pub fn ends(&self) -> Vec<(String, i64)> {
        let current = self.current.load();
        current.iter().map(|held| (held.file.clone(), held.ends)).collect()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let fits = |held: &&Held| {
            let (Some(name), Some(leaf)) = (&wanted, held.key.cert.first()) else {
                return false;
            };
            webpki::EndEntityCert::try_from(leaf)
                .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
        };
        let current = self.current.load();
        let held = current.iter().find(fits).or(current.first());
        held.map(|held| Arc::clone(&held.key))
    }
}

fn read(files: &Certificate) -> Result<Held, TlsError> {
    let bad = |path: &PathBuf, reason: String| TlsError::File {
        path: path.clone(),
        reason,
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(&files.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(&files.cert, "no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| bad(&files.key, error.to_string()))?;
    let ends = chain.first().and_then(|leaf| not_after(leaf)).unwrap_or_default();
    let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| TlsError::Pair {
        path: files.cert.clone(),
        source,
    })?;
    Ok(Held {
        key: Arc::new(key),
        file: files.cert.display().to_string(),
        ends,
    })
}

fn not_after(leaf: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
    Some(certificate.validity().not_after.timestamp())
}
