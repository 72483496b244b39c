//! Upstreams of every kind: several of one site, on a Unix socket, behind TLS, HTTP/1.0, HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::support::upstream::{MARK, Upstream};
use crate::support::world::{SITE, World};

async fn with_a_dead_one_first() -> (World, Upstream) {
    let second = Upstream::start().await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let upstreams = vec![format!("http://{dead}"), format!("http://{}", second.address())];
    let world = World::plan().set("sites.0.upstreams", upstreams).start().await;
    (world, second)
}

#[tokio::test]
async fn a_request_that_one_upstream_refuses_goes_to_another_whatever_its_method() {
    let (world, second) = with_a_dead_one_first().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    for number in 0..8 {
        let answer = browser
            .fetch_json(&format!("/orders/{number}"), &json!({ "number": number }))
            .await;
        assert_eq!(answer.status, 200, "order {number}");
    }
    let orders = second
        .requests()
        .into_iter()
        .filter(|request| request.target.starts_with("/orders/"))
        .count();
    assert_eq!(orders, 8, "each order arrived exactly once");
}

#[tokio::test]
async fn requests_are_shared_out_in_turn() {
    let second = Upstream::start().await;
    let first = Upstream::start().await;
    let upstreams = vec![
        format!("http://{}", first.address()),
        format!("http://{}", second.address()),
    ];
    let world = World::plan().set("sites.0.upstreams", upstreams).start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    for number in 0..10 {
        browser.fetch("GET", &format!("/page/{number}")).await;
    }
    let pages = |upstream: &Upstream| {
        upstream
            .requests()
            .iter()
            .filter(|it| it.target.starts_with("/page/"))
            .count()
    };
    assert_eq!((pages(&first), pages(&second)), (5, 5));
}

#[tokio::test]
async fn an_application_on_a_unix_socket_gets_what_any_other_gets() {
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let behind = upstream.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(relay(stream, behind.clone()));
        }
    });
    let world = World::plan()
        .set("sites.0.upstreams", vec![format!("unix:{}", path.display())])
        .start()
        .await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let answer = browser.submit("/form?a=1", &[("title", "会议")]).await.expect(200);
    assert_eq!(answer.text(), "hello from the application");
    let received = upstream.last();
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        ("POST", "/form?a=1")
    );
    assert_eq!(received.header("host"), Some(world.authority(SITE)));
    assert_eq!(received.body, b"title=%E4%BC%9A%E8%AE%AE");
    assert!(
        received
            .header("remote-user")
            .is_some_and(|user| user.starts_with("u_"))
    );
}

/// Nobody who can answer for the application's address may read identities: closed, unless the operator says otherwise.
#[tokio::test]
async fn a_self_signed_certificate_is_refused_unless_it_is_not_verified() {
    for verify in [true, false] {
        let upstream = Upstream::start().await;
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = World::plan()
            .set("sites.0.upstreams", vec![format!("https://{address}")])
            .set("sites.0.upstream.tls_verify", verify)
            .start()
            .await;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let behind = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        relay(stream, behind).await;
                    }
                });
            }
        });
        let mut browser = world.browser();
        browser.log_in("lilei").await;
        let answer = browser.fetch("GET", "/page").await;
        if verify {
            answer.refused(503, "upstream_unavailable");
            assert!(upstream.requests().is_empty(), "something was sent to a stranger");
        } else {
            assert_eq!(answer.expect(200).text(), "hello from the application");
            assert!(upstream.last().header("remote-user").is_some());
        }
    }
}

/// `python3 -m http.server`, wsgiref and old CGI servers: the connection ends with the answer, and the version is
/// theirs alone (RFC 9110 §2.5).
#[tokio::test]
async fn an_http_1_0_application_is_answered_for_in_http_1_1() {
    for (case, answer, body) in [
        ("measured", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (
            "ends with the connection",
            "HTTP/1.0 200 OK\r\n\r\nuntil the end",
            "until the end",
        ),
        ("has no body", "HTTP/1.0 304 Not Modified\r\nETag: \"1\"\r\n\r\n", ""),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|length| length > 0) {}
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let world = World::plan()
            .set("sites.0.upstreams", vec![format!("http://{address}")])
            .start()
            .await;
        let mut connection = TcpStream::connect(world.address).await.unwrap();
        let request = format!(
            "GET /public/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            world.authority(SITE)
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut came = String::new();
        connection.read_to_string(&mut came).await.unwrap();
        assert!(came.starts_with("HTTP/1.1 "), "{case}: {came}");
        assert!(came.contains(body), "{case}: {came}");
    }
}

#[tokio::test]
async fn an_http_2_application_without_tls_gets_bodies_and_identities() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo_http_2(stream, tell.clone()));
        }
    });
    let world = World::plan()
        .set("sites.0.upstreams", vec![format!("http://{address}")])
        .set("sites.0.upstream.http2", true)
        .start()
        .await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let sent = json!({ "text": "x".repeat(200_000) });
    let answer = browser.fetch_json("/orders?a=1", &sent).await.expect(200);
    assert!(answer.json() == sent, "the body came back changed");
    let head = told.recv().await.unwrap();
    assert_eq!(head.version, http::Version::HTTP_2);
    assert_eq!(head.uri.path_and_query().unwrap().as_str(), "/orders?a=1");
    assert_eq!(head.uri.authority().unwrap().as_str(), world.authority(SITE));
    let users: Vec<_> = head.headers.get_all("remote-user").iter().collect();
    assert!(users.len() == 1 && users[0].as_bytes().starts_with(b"u_"), "{users:?}");
    assert!(!head.headers.contains_key("cookie"));
}

/// Hands one connection on to a recording application.
async fn relay(mut stream: impl AsyncRead + AsyncWrite + Unpin, upstream: Upstream) {
    let mut behind = TcpStream::connect(upstream.address()).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
}

/// Sends every body back, and tells which heads came.
async fn echo_http_2(stream: TcpStream, tell: mpsc::UnboundedSender<http::request::Parts>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let tell = tell.clone();
        tokio::spawn(async move {
            let (head, mut body) = request.into_parts();
            let _ = tell.send(head);
            let mut all = Vec::new();
            while let Some(Ok(chunk)) = body.data().await {
                let _ = body.flow_control().release_capacity(chunk.len());
                all.extend_from_slice(&chunk);
            }
            let head = http::Response::builder()
                .header("content-type", "application/json")
                .header(MARK, "1")
                .body(())
                .unwrap();
            let mut send = respond.send_response(head, false).unwrap();
            send.send_data(Bytes::from(all), true).unwrap();
        });
    }
}
