//! Upstreams behind TLS, with an authority of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::World;
use crate::support::upstream::MARK;
use crate::support::world::install_crypto;

/// An application that speaks HTTPS under the name `wiki.internal`, and its authority in a file.
async fn application(authority_file: &Path) -> SocketAddr {
    install_crypto();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(authority_file, authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["wiki.internal".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![leaf.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Whoever does not trust the certificate hangs up here.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let answer =
                    format!("HTTP/1.1 200 OK\r\n{MARK}: 1\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret");
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    address
}

#[tokio::test]
async fn an_upstream_is_verified_by_its_own_authority_and_name() {
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("authority.pem");
    let address = application(&authority).await;
    let authority = authority.to_str().unwrap();
    let ours = [("tls_ca", authority), ("tls_name", "wiki.internal")];
    for (options, status) in [
        (&ours[..], 200),
        // The machine does not know this authority.
        (&ours[1..], 503),
        // The certificate is for another name than the address.
        (&ours[..1], 503),
        (&[("tls_ca", authority), ("tls_name", "other.internal")], 503),
    ] {
        let mut plan = World::plan().set("sites.0.upstreams", vec![format!("https://{address}")]);
        for (name, value) in options {
            plan = plan.set(&format!("sites.0.upstream.{name}"), *value);
        }
        let world = plan.start().await;
        let mut browser = world.browser();
        browser.log_in("lilei").await;
        let answer = browser.fetch("GET", "/").await;
        assert_eq!(answer.status, status, "{options:?}");
        if status == 503 {
            assert_eq!(answer.json()["error"]["code"], "upstream_unavailable", "{options:?}");
        }
    }
}
