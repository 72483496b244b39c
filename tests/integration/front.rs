//! What happens before HTTP, and what a listener is for: PROXY protocol, TLS, `serves`.

use std::path::Path;

use bytes::Bytes;
use http::Version;
use menshen::config::Settings;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::attacks::stage::{ALICE, HOST, NAVIGATION, PORTAL, Plan, Stage};
use crate::attacks::wire::{PATIENCE, Wire, exchange, tls_over};

const BALANCED: &str = "[server]\nlisten = [{ address = \"127.0.0.1:0\", proxy_protocol = true }]\n\
                        trusted_proxies = [\"127.0.0.1/32\", \"10.9.0.0/16\"]";
const REQUEST: &str = "GET /public/x HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 203.0.113.9\r\n";
const LINE: &str = "PROXY TCP4 198.51.100.7 192.0.2.1 56324 443\r\n";

async fn with(settings: &str) -> Stage {
    let plan = Plan {
        settings,
        ..Plan::default()
    };
    Stage::start(plan).await
}

/// Version 2 with the client's address and one TLV.
fn binary(command: u8, client: [u8; 4]) -> Vec<u8> {
    let start = b"\r\n\r\n\0\r\nQUIT\n";
    let rest = [192, 0, 2, 1, 0xdc, 0x04, 0x01, 0xbb, 4, 0, 2, 0, 0];
    [&start[..], &[command, 0x11, 0, 17], &client, &rest].concat()
}

/// A certificate for these names in `cert.pem` and `key.pem`.
fn certify(directory: &Path, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn files(directory: &Path) -> String {
    let directory = directory.display();
    format!("tls = {{ cert = \"{directory}/cert.pem\", key = \"{directory}/key.pem\" }}")
}

#[tokio::test]
async fn the_client_of_a_preamble_is_the_next_hop() {
    let stage = with(BALANCED).await;
    for (preamble, forwarded) in [
        (LINE.as_bytes().to_vec(), "198.51.100.7"),
        (binary(0x21, [198, 51, 100, 7]), "198.51.100.7"),
        // A trusted proxy between balancer and client: its header counts.
        (binary(0x21, [10, 9, 0, 5]), "203.0.113.9, 10.9.0.5"),
        (binary(0x20, [198, 51, 100, 7]), "203.0.113.9, 127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "203.0.113.9, 127.0.0.1"),
    ] {
        let mut wire = Wire::plain(stage.address).await;
        wire.send([&preamble, REQUEST.as_bytes(), b"\r\n"].concat()).await;
        for _ in 0..2 {
            assert_eq!(wire.answer().await.status, 200, "{preamble:?}");
            let seen = stage.upstream.only();
            assert_eq!(seen.headers.one("x-forwarded-for"), Some(forwarded), "{preamble:?}");
            wire.send(format!("{REQUEST}\r\n")).await;
        }
        assert_eq!(wire.answer().await.status, 200);
        stage.upstream.taken();
    }
}

#[tokio::test]
async fn a_preamble_may_come_in_pieces() {
    let stage = with(BALANCED).await;
    let bytes = [&binary(0x21, [198, 51, 100, 7]), REQUEST.as_bytes(), b"\r\n"].concat();
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in bytes {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(Wire::over(stream).answer().await.status, 200);
    let seen = stage.upstream.only();
    assert_eq!(seen.headers.one("x-forwarded-for"), Some("198.51.100.7"));
}

/// CVE-2026-47692: whoever is not the balancer must not say who he is, and no connection is served without a preamble.
#[tokio::test]
async fn a_connection_without_the_preamble_of_a_trusted_proxy_is_closed_unanswered() {
    let elsewhere = BALANCED.replace("\"127.0.0.1/32\", ", "");
    let (stage, strangers) = (with(BALANCED).await, with(&elsewhere).await);
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    for (stage, preamble) in [
        (&stage, ""),
        (&stage, "PROXY TCP4 198.51.100.7 192.0.2.1 56324\r\n"),
        (&stage, "PROXY TCP4 198.51.100.7 192.0.2.1 56324 443\n"),
        (&stage, "PROXY UDP4 198.51.100.7 192.0.2.1 56324 443\r\n"),
        (&stage, "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04aaaa"),
        (&stage, "\r\n\r\n\0\r\nQUIT\n\x20\x00\x7f\x7f"),
        (&stage, &*long),
        (&strangers, LINE),
    ] {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        // It may be closed before all of this is sent.
        let _ = stream.write_all(format!("{preamble}{REQUEST}\r\n").as_bytes()).await;
        let mut answer = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{preamble:?}: stays open");
        assert!(answer.is_empty(), "{preamble:?}: {}", answer.escape_ascii());
        assert!(stage.upstream.taken().is_empty(), "{preamble:?}");
    }
}

#[tokio::test]
async fn on_an_ordinary_listener_a_preamble_is_a_bad_request() {
    let stage = with("[server]\ntrusted_proxies = [\"127.0.0.1/32\"]").await;
    for preamble in [LINE.as_bytes().to_vec(), binary(0x21, [198, 51, 100, 7])] {
        let request = [&preamble, REQUEST.as_bytes(), b"\r\n"].concat();
        assert_eq!(exchange(stage.address, request).await.status, 400, "{preamble:?}");
    }
    assert!(stage.upstream.taken().is_empty());
}

#[tokio::test]
async fn a_preamble_precedes_tls() {
    let plan = Plan {
        https: true,
        settings: BALANCED,
        ..Plan::default()
    };
    let stage = Stage::start(plan).await;
    let authority = stage.authority.as_ref().unwrap();
    for preamble in [LINE.as_bytes().to_vec(), binary(0x21, [198, 51, 100, 7])] {
        let connect = async |protocol| {
            let mut stream = TcpStream::connect(stage.address).await.unwrap();
            stream.write_all(&preamble).await.unwrap();
            tls_over(stream, HOST, authority, &[protocol]).await
        };
        let mut wire = Wire::over(connect(b"http/1.1").await);
        wire.send(format!("{REQUEST}\r\n")).await;
        assert_eq!(wire.answer().await.status, 200);
        let seen = stage.upstream.only();
        assert_eq!(seen.headers.one("x-forwarded-for"), Some("198.51.100.7"));
        assert_eq!(seen.headers.one("x-forwarded-proto"), Some("https"));

        let (mut send, connection) = h2::client::handshake(connect(b"h2").await).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("https://app.test/public/x").version(Version::HTTP_2);
        let (answer, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
        let answer: http::Response<h2::RecvStream> = timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        let seen = stage.upstream.only();
        assert_eq!(seen.headers.one("x-forwarded-for"), Some("198.51.100.7"));
        let _: h2::client::SendRequest<Bytes> = send;
    }
}

#[tokio::test]
async fn a_listener_for_the_public_url_knows_no_other_host() {
    let stage =
        with("[server]\nlisten = [\"127.0.0.1:0\", { address = \"127.0.0.1:0\", serves = \"public_url\" }]").await;
    let cookie = stage.login(ALICE).await;
    let narrow = stage.world.addresses()[1];
    for (host, target, status) in [
        (PORTAL, "/.menshen/jwks.json", 200),
        (PORTAL, "/", 303),
        (HOST, "/public/x", 404),
        (HOST, "/page", 404),
        (HOST, "/.menshen/login", 404),
        (HOST, "/.menshen/jwks.json", 404),
        (HOST, "/.menshen/verify", 404),
        ("evil.test", "/", 404),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
        let answer = exchange(narrow, request).await;
        assert_eq!(answer.status, status, "{host}{target}");
        if status == 404 {
            assert_eq!(answer.refusal().1, "unknown_host", "{host}{target}");
        }
    }
    assert!(stage.upstream.taken().is_empty());
    assert_eq!(stage.get("/page", &format!("Cookie: {cookie}\r\n")).await.status, 200);
}

/// A connection for one site must not reach another by its Host (Caddy CVE-2018-21246, Traefik CVE-2022-23632), unless
/// the certificate that it was opened with is for both (RFC 9113 §9.1.1).
#[tokio::test]
async fn a_tls_connection_serves_the_hosts_of_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let own = certify(directory.path(), &["app.test", PORTAL, "cdn.test"]);
    let settings = format!(
        "[server]\npublic_url = \"https://{PORTAL}\"\n{}",
        files(directory.path())
    );
    let both = tempfile::tempdir().unwrap();
    let shared = certify(both.path(), &["app.test", "other.test", PORTAL]);
    let trusting = format!("{settings}\ntrusted_proxies = [\"127.0.0.1/32\"]");
    let sharing = format!("[server]\npublic_url = \"https://{PORTAL}\"\n{}", files(both.path()));
    for (settings, authority, name, host, status) in [
        (&settings, &own, "app.test", "app.test", 200),
        (&settings, &own, "app.test", "APP.test.", 200),
        (&settings, &own, "app.test", "other.test", 421),
        (&settings, &own, PORTAL, "other.test", 421),
        (&settings, &own, PORTAL, "app.test", 200),
        // A name that is no site's is nobody's: the host decides.
        (&settings, &own, "cdn.test", "other.test", 200),
        (&settings, &own, "app.test", "evil.test", 404),
        (&sharing, &shared, "app.test", "other.test", 200),
        // The name is a proxy's own choice.
        (&trusting, &own, "app.test", "other.test", 200),
    ] {
        let stage = with(settings).await;
        let mut wire = Wire::tls(stage.address, name, authority).await;
        wire.send(format!("GET /public/x HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, status, "{name} then {host}");
        if status != 200 {
            assert_eq!(answer.refusal().1, "unknown_host");
        }
        assert_eq!(
            stage.upstream.taken().len(),
            usize::from(status == 200),
            "{name} then {host}"
        );
    }
}

/// Whoever has a certificate has HTTPS, whatever `public_url` says; and the certificates are those in use.
#[tokio::test]
async fn a_host_with_a_certificate_serves_no_session_over_plain_http() {
    let directory = tempfile::tempdir().unwrap();
    certify(directory.path(), &[HOST]);
    let settings = format!(
        "[server]\nlisten = [{{ address = \"127.0.0.1:0\", tls = false }}, \"127.0.0.1:0\"]\n{}",
        files(directory.path())
    );
    let stage = with(&settings).await;
    let page = async |host: &str| {
        let request = format!("GET /page?x=1 HTTP/1.1\r\nHost: {host}\r\n{NAVIGATION}\r\n");
        exchange(stage.address, request).await
    };
    let answer = page(HOST).await;
    assert_eq!(answer.status, 302);
    assert_eq!(answer.headers.one("location"), Some("https://app.test/page?x=1"));
    assert_eq!(page("other.test").await.status, 200);

    certify(directory.path(), &["other.test"]);
    let gateway = stage.world.gateway();
    let same = Settings::clone(&gateway.snapshot().settings);
    gateway.reloader().apply(same).await.unwrap();
    let answer = page(HOST).await;
    assert_eq!((answer.status, answer.headers.has("location")), (401, false));
    stage.upstream.taken();
    // It is public: it goes on without a session.
    assert_eq!(page("other.test").await.status, 200);
}
