//! HTTP/2 over TLS: the same rules, in another framing (RUSTSEC-2024-0332, Envoy CVE-2026-47774, gRPC-Go
//! CVE-2026-33186).

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, StatusCode, Version};
use tokio::sync::mpsc;

use super::recorder::{Play, plain};
use super::stage::{ALICE, HOST, NAVIGATION, PORTAL, Stage};
use super::wire::{PATIENCE, tls};

struct Client {
    send: SendRequest<Bytes>,
}

struct Got {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Client {
    async fn open(stage: &Stage) -> Self {
        let authority = stage.authority.as_ref().unwrap();
        let stream = tls(stage.address, HOST, authority, &[b"h2"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { send }
    }

    /// Sends a head; the body, if there is one, in one piece.
    async fn start(&mut self, request: http::request::Builder, body: Option<&'static [u8]>) -> ResponseFuture {
        let mut send = self.send.clone().ready().await.unwrap();
        let request = request.version(Version::HTTP_2).body(()).unwrap();
        let (response, mut stream) = send.send_request(request, body.is_none()).unwrap();
        if let Some(body) = body {
            stream.send_data(Bytes::from_static(body), true).unwrap();
        }
        response
    }

    async fn ask(&mut self, request: http::request::Builder, body: Option<&'static [u8]>) -> Result<Got, h2::Error> {
        let response = self.start(request, body).await;
        let response = tokio::time::timeout(PATIENCE, response)
            .await
            .expect("an answer in time")?;
        let (parts, mut stream) = response.into_parts();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data?;
            let _ = stream.flow_control().release_capacity(data.len());
            body.extend_from_slice(&data);
        }
        Ok(Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }
}

fn get(target: &str) -> http::request::Builder {
    Request::get(format!("https://{HOST}{target}"))
}

#[tokio::test]
async fn split_cookies_are_one_line_for_the_upstream_and_ours_is_not_in_it() {
    let stage = Stage::https().await;
    let cookie = stage.login(ALICE).await;
    let mut client = Client::open(&stage).await;
    let request = get("/page?x=1")
        .header("cookie", "a=1")
        .header("cookie", &cookie)
        .header("cookie", "b=2")
        .header("remote-user", "forged-admin")
        .header("remote_user", "forged-admin")
        .header("x-forwarded-for", "10.1.1.1");
    let got = client.ask(request, None).await.unwrap();
    assert_eq!((got.status, got.body.as_slice()), (200, &b"upstream"[..]));
    assert!(got.headers.contains_key("strict-transport-security"));
    let seen = stage.upstream.only();
    assert_eq!((seen.target.as_str(), seen.version.as_str()), ("/page?x=1", "HTTP/1.1"));
    assert_eq!(seen.headers.one("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.headers.one("remote-user"), Some("alice"));
    assert_eq!(seen.headers.one("host"), Some(HOST));
    assert_eq!(seen.headers.one("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.headers.one("x-forwarded-port"), Some("443"));
    assert_eq!(seen.headers.one("x-forwarded-for"), Some("127.0.0.1"));
    assert!(seen.headers.0.iter().all(|(_, value)| value != "forged-admin"));
    // A session that is split over crumbs in two values is none.
    let request = get("/page")
        .header("cookie", &cookie)
        .header("cookie", "__Host-menshen=x");
    assert_eq!(client.ask(request, None).await.unwrap().status, 401);
}

#[tokio::test]
async fn bodies_and_answers_without_bodies_pass() {
    let stage = Stage::https().await;
    let mut client = Client::open(&stage).await;
    let post = Request::post(format!("https://{HOST}/public/"));
    let got = client.ask(post, Some(b"hello")).await.unwrap();
    assert_eq!(got.status, 200);
    let seen = stage.upstream.only();
    assert_eq!((seen.body.as_slice(), seen.complete), (&b"hello"[..], true));
    let post = Request::post(format!("https://{HOST}/public/")).header("content-length", "5");
    assert_eq!(client.ask(post, Some(b"hello")).await.unwrap().status, 200);
    assert_eq!(stage.upstream.only().headers.one("content-length"), Some("5"));
    stage.upstream.on(
        "/public/",
        Play::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec()),
    );
    let head = client
        .ask(Request::head(format!("https://{HOST}/public/")), None)
        .await
        .unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], "9");
    for (status, line) in [(204, "No Content"), (304, "Not Modified")] {
        stage.upstream.on(
            "/public/",
            Play::Answer(format!("HTTP/1.1 {status} {line}\r\n\r\n").into_bytes()),
        );
        let got = client.ask(get("/public/"), None).await.unwrap();
        assert_eq!((got.status, got.body.len()), (status, 0));
    }
    // Our own answers, on the same connection.
    for target in ["/secret", "/denied/", "/.menshen/nothing", "/public/%2f"] {
        let head = client
            .ask(Request::head(format!("https://{HOST}{target}")), None)
            .await
            .unwrap();
        assert!(head.status >= 400 && head.body.is_empty(), "{target}");
        let got = client.ask(get(target), None).await.unwrap();
        assert_eq!(got.status, head.status, "{target}");
        assert!(!got.body.is_empty(), "{target}");
    }
    let mut page = get("/page");
    for line in NAVIGATION.trim_end().split("\r\n") {
        let (name, value) = line.split_once(": ").unwrap();
        page = page.header(name, value);
    }
    let page = client.ask(page, None).await.unwrap();
    assert_eq!(page.status, 401);
    assert!(page.body.starts_with(b"<!doctype html>"));
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let stage = Stage::https().await;
    let (pieces, play) = mpsc::channel(1);
    stage.upstream.on("/public/events", Play::Stream(play));
    let mut client = Client::open(&stage).await;
    let response = client.start(get("/public/events"), None).await;
    let mut stream = response.await.unwrap().into_body();
    for number in 0..3 {
        let event = format!("data: {number}\n\n").into_bytes();
        pieces.send(event.clone()).await.unwrap();
        let data = tokio::time::timeout(PATIENCE, stream.data())
            .await
            .expect("an event in time");
        assert_eq!(data.unwrap().unwrap(), event);
    }
    drop(pieces);
    // The stream may end with an empty frame.
    while let Some(data) = stream.data().await {
        assert!(data.unwrap().is_empty());
    }
}

/// A page waits on one stream of a connection, of which others are used.
#[tokio::test]
async fn a_waiting_page_is_told_and_the_connection_goes_on() {
    let stage = Stage::https().await;
    let ticket = stage.ticket("/").await;
    let mut client = Client::open(&stage).await;
    let target = format!("/.menshen/tickets/{}/events", ticket.id);
    let events = get(&target).header("cookie", &ticket.cookies);
    let response = client.start(events.header("accept", "text/event-stream"), None).await;
    let (head, mut stream) = response.await.unwrap().into_parts();
    assert_eq!(head.status, 200);
    assert!(!head.headers.contains_key("transfer-encoding") && !head.headers.contains_key("connection"));
    let cancel = Request::post(format!("https://{HOST}/.menshen/tickets/{}/cancel", ticket.id))
        .header("cookie", &ticket.cookies)
        .header("content-type", "application/json")
        .header("sec-fetch-site", "same-origin");
    let app = stage.world.app_id();
    let code = stage.world.sandbox.login_code(app, ALICE).unwrap();
    let scan = serde_json::json!({ "scene": ticket.id, "code": code });
    let portal = stage.world.authority(PORTAL);
    let scanned = stage.post(&portal, "/.menshen/phone/scan", "", &scan).await;
    assert_eq!(scanned.status, 200, "{}", scanned.text());
    assert_eq!(client.ask(cancel, Some(b"{}")).await.unwrap().status, 204);
    let mut told = String::new();
    while let Some(data) = tokio::time::timeout(PATIENCE, stream.data())
        .await
        .expect("an end in time")
    {
        let data = data.unwrap();
        let _ = stream.flow_control().release_capacity(data.len());
        told += &String::from_utf8_lossy(&data);
    }
    let at = ["pending", "scanned", "cancelled"].map(|status| told.find(&format!("\"status\":\"{status}\"")));
    assert!(at.is_sorted() && at.iter().all(Option::is_some), "{told}");
    assert_eq!(client.ask(get("/public/"), None).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_the_connection_goes_on() {
    let stage = Stage::https().await;
    let cookie = stage.login(ALICE).await;
    let (_pieces, play) = mpsc::channel(1);
    stage.upstream.on("/events", Play::Stream(play));
    let mut client = Client::open(&stage).await;
    let response = client.start(get("/events").header("cookie", &cookie), None).await;
    let mut stream = response.await.unwrap().into_body();
    let logout = Request::post(format!("https://{HOST}/.menshen/logout"))
        .header("cookie", &cookie)
        .header("sec-fetch-site", "same-origin");
    assert_eq!(client.ask(logout, None).await.unwrap().status, 303);
    let ended = tokio::time::timeout(PATIENCE, stream.data())
        .await
        .expect("an end in time");
    assert!(!matches!(ended, Some(Ok(data)) if !data.is_empty()));
    assert_eq!(client.ask(get("/public/"), None).await.unwrap().status, 200);
}

/// What the frames of HTTP/2 can say and a line of HTTP/1.1 cannot.
#[tokio::test]
async fn what_an_upstream_of_1_1_could_read_differently_is_refused() {
    let stage = Stage::https().await;
    let mut client = Client::open(&stage).await;
    let got = client.ask(get("/public/").header("expect", "200-ok"), None).await;
    assert!(got.is_err() || got.is_ok_and(|got| got.status == 400));
    for target in [
        "/public/%2e%2e/secret",
        "/public/..;/secret",
        "/public/%00",
        "/public/%5c",
        "/public/%252e",
    ] {
        let got = client.ask(get(target), None).await.unwrap();
        assert_eq!(got.status, 400, "{target}");
    }
    // Another host than the one that the request names besides.
    let got = client.ask(get("/public/").header("host", "other.test"), None).await;
    assert!(got.is_err() || got.is_ok_and(|got| got.status == 400));
    let unknown = client
        .ask(Request::get("https://evil.test/public/"), None)
        .await
        .unwrap();
    assert_eq!(unknown.status, 404);
    // A body of another length than declared.
    let post = Request::post(format!("https://{HOST}/public/")).header("content-length", "3");
    let got = client.ask(post, Some(b"GET /public/smuggled HTTP/1.1\r\n\r\n")).await;
    assert!(got.is_err() || got.is_ok_and(|got| got.status != 200));
    for seen in stage.upstream.taken() {
        assert!(!seen.complete, "{seen:?}");
    }
    // Three hundred cookies are too many however they are split.
    let mut crumbs = get("/public/crumbs");
    for number in 0..300 {
        crumbs = crumbs.header("cookie", format!("c{number}=1"));
    }
    let got = client.ask(crumbs, None).await;
    assert!(got.is_err() || got.is_ok_and(|got| got.status == 431));
    let seen = stage.upstream.taken();
    assert!(
        seen.iter().all(|seen| seen.target == "/public/" && !seen.complete),
        "{seen:?}"
    );
}

/// Many requests at once on one connection: each is its own (Tinyauth CVE-2026-33544).
#[tokio::test]
async fn requests_of_one_connection_are_not_mixed_up() {
    let stage = Stage::https().await;
    let cookie = stage.login(ALICE).await;
    let client = Client::open(&stage).await;
    let mut asked = Vec::new();
    for number in 0..40 {
        stage.upstream.on(
            &format!("/n{number}"),
            Play::Answer(plain(200, "", &format!("body {number}"))),
        );
        let (send, cookie) = (client.send.clone(), cookie.clone());
        asked.push(tokio::spawn(async move {
            let mut client = Client { send };
            let mut request = get(&format!("/n{number}"));
            if number % 2 == 0 {
                request = request.header("cookie", cookie);
            }
            (number, client.ask(request, None).await.unwrap())
        }));
    }
    for task in asked {
        let (number, got) = task.await.unwrap();
        match number % 2 {
            0 => assert_eq!(got.body, format!("body {number}").into_bytes()),
            _ => assert_eq!(got.status, StatusCode::UNAUTHORIZED.as_u16(), "{number}"),
        }
    }
    for seen in stage.upstream.taken() {
        assert_eq!(seen.headers.one("remote-user"), Some("alice"), "{}", seen.target);
    }
}

/// gRPC reads the status of a call without answers from a head that ends the stream; another head is a broken answer.
#[tokio::test]
async fn a_refused_grpc_call_ends_with_its_head() {
    let stage = Stage::https().await;
    let mut client = Client::open(&stage).await;
    let call = Request::post(format!("https://{HOST}/a.Service/Method"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let response = client.start(call, Some(b"\0\0\0\0\0")).await.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "16");
    assert!(response.body().is_end_stream(), "data follows the status");
}

/// A session that ended while somebody filled in a form with a file: they are told so.
#[tokio::test]
async fn a_refused_upload_is_answered_and_not_reset() {
    let stage = Stage::https().await;
    let client = Client::open(&stage).await;
    let mut send = client.send.clone().ready().await.unwrap();
    let upload = Request::post(format!("https://{HOST}/upload")).version(Version::HTTP_2);
    let (response, mut body) = send.send_request(upload.body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from(vec![b'x'; 30_000]), false).unwrap();
    let (parts, mut answer) = response.await.unwrap().into_parts();
    assert_eq!(parts.status, StatusCode::UNAUTHORIZED);
    let mut text = Vec::new();
    while let Some(data) = answer.data().await {
        text.extend_from_slice(&data.unwrap());
    }
    assert!(String::from_utf8(text).unwrap().contains("login_required"));
    // The rest of the upload is taken and thrown away, far beyond what the window holds.
    let mut left = 1_000_000;
    while left > 0 {
        body.reserve_capacity(left);
        let granted = std::future::poll_fn(|context| body.poll_capacity(context)).await;
        let granted = granted.expect("an open stream").expect("no reset").min(left);
        body.send_data(Bytes::from(vec![b'x'; granted]), left == granted)
            .unwrap();
        left -= granted;
    }
    assert_eq!(stage.get("/public/", "").await.status, 200);
}
