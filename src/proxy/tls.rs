//! TLS in front: certificates by server name.
//!
//! Without a match the first certificate answers, as operators expect of a default server; whether its names fit is
//! the client's to judge, and the host table's.

use std::path::PathBuf;
use std::sync::Arc;

use pingora::listeners::tls::Acceptor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto::aws_lc_rs};

use crate::config::settings::Certificate;

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

/// An acceptor for HTTP/2 and HTTP/1.1 with these certificates.
///
/// # Errors
/// See [`TlsError`]; also for an empty list.
pub fn acceptor(certificates: &[Certificate]) -> Result<Acceptor, TlsError> {
    let keys = certificates.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(BySni { keys }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Early data could be replayed by anybody who recorded it (CVE-2024-39321).
    config.max_early_data_size = 0;
    Ok(Acceptor::from_server_config(Arc::new(config)))
}

#[derive(Debug)]
struct BySni {
    keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let fits = |key: &&Arc<CertifiedKey>| {
            let (Some(name), Some(leaf)) = (&wanted, key.cert.first()) else {
                return false;
            };
            webpki::EndEntityCert::try_from(leaf)
                .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
        };
        self.keys.iter().find(fits).or(self.keys.first()).cloned()
    }
}

fn load(files: &Certificate) -> Result<Arc<CertifiedKey>, TlsError> {
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
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map(Arc::new)
        .map_err(|source| TlsError::Pair {
            path: files.cert.clone(),
            source,
        })
}
