//! TLS in front: certificates by server name.
//!
//! Without a match the first certificate answers, as operators expect of a default server; whether its names fit is
//! the client's to judge, and the host table's.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::tls::server::handshake_with_callback;
use pingora::protocols::tls::{TlsRef, TlsStream};
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
    current: ArcSwap<Usable>,
}

/// TLS on a listener.
pub struct Tls {
    acceptor: Acceptor,
    certificates: Arc<Certificates>,
}

/// Certificates that can be used.
#[derive(Debug, Default)]
pub struct Usable(Vec<Held>);

/// What a client asked for in its TLS handshake, and what it was shown; found in the connection's `SslDigest`.
#[derive(Debug)]
pub struct Handshake {
    name: String,
    shown: Arc<CertifiedKey>,
}

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

impl Tls {
    /// For HTTP/2 and HTTP/1.1 with these certificates, now and after each replacement.
    pub fn new(certificates: Arc<Certificates>) -> Self {
        let resolver = Arc::clone(&certificates);
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Early data could be replayed by anybody who recorded it (CVE-2024-39321).
        config.max_early_data_size = 0;
        Self {
            acceptor: Acceptor::from_server_config(Arc::new(config)),
            certificates,
        }
    }

    /// The handshake with one client; its [`Handshake`] is then in the connection's `SslDigest`.
    ///
    /// # Errors
    /// Pingora's, for the log: usually a client that trusts nothing here, or no client at all.
    pub async fn accept(&self, stream: TcpStream) -> pingora::Result<TlsStream<TcpStream>> {
        handshake_with_callback(&self.acceptor, stream, &*self.certificates).await
    }
}

impl Certificates {
    /// These to begin with.
    pub fn new(usable: Usable) -> Self {
        Self {
            current: ArcSwap::from_pointee(usable),
        }
    }

    /// These from now on.
    pub fn replace(&self, usable: Arc<Usable>) {
        self.current.store(usable);
    }

    /// Those in use.
    pub fn current(&self) -> Arc<Usable> {
        self.current.load_full()
    }

    /// File and end (Unix seconds) of each.
    pub fn ends(&self) -> Vec<(String, i64)> {
        let current = self.current.load();
        current.0.iter().map(|held| (held.file.clone(), held.ends)).collect()
    }
}

impl Usable {
    /// Whether one of them is for this host, in the form of [`crate::gate::decide::RequestView::host`].
    pub fn cover(&self, host: &str) -> bool {
        server_name(host).is_some_and(|name| self.0.iter().any(|held| is_for(&held.key, &name)))
    }

    fn choose(&self, wanted: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let wanted = wanted.and_then(server_name);
        let fits = |held: &&Held| wanted.as_ref().is_some_and(|name| is_for(&held.key, name));
        self.0.iter().find(fits).or(self.0.first()).map(|held| &held.key)
    }
}

impl Handshake {
    /// The server name that the client wants (SNI).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the certificate that it was shown is for this host too, so that it may ask for it over this connection
    /// (RFC 9113 §9.1.1).
    pub fn covers(&self, host: &str) -> bool {
        server_name(host).is_some_and(|name| is_for(&self.shown, &name))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load().choose(hello.server_name()).cloned()
    }
}

#[async_trait]
impl TlsAccept for Certificates {
    async fn handshake_complete_callback(&self, tls: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let name = tls.server_name()?.trim_end_matches('.').to_ascii_lowercase();
        let shown = Arc::clone(self.current.load().choose(Some(&name))?);
        Some(Arc::new(Handshake { name, shown }))
    }
}

fn server_name(host: &str) -> Option<ServerName<'_>> {
    ServerName::try_from(host.trim_matches(['[', ']'])).ok()
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.cert.first().is_some_and(|leaf| {
        webpki::EndEntityCert::try_from(leaf)
            .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
    })
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
