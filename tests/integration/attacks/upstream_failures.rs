//! Upstreams that are away, slow or broken: an honest status with a request id, once, and nothing of the details.

use std::time::Duration;

use tokio::sync::mpsc;

use super::recorder::{Play, plain};
use super::stage::{ALICE, HOST, NAVIGATION, Stage};
use super::wire::PATIENCE;

fn site(upstream: &str) -> String {
    format!(
        "[[sites]]\nhosts = [\"app.test\"]\nupstreams = [\"{upstream}\"]\n\
         upstream = {{ connect_timeout = \"1s\", read_timeout = \"1s\" }}\n\
         [[sites.routes]]\npath = \"/public/\"\naccess = \"public\"\n"
    )
}

#[tokio::test]
async fn each_failure_has_its_status_and_a_request_id() {
    let stage = Stage::with_sites(&site("UPSTREAM")).await;
    for (case, play, status, code) in [
        ("closes", Play::Close, 502, "upstream_failed"),
        (
            "garbage",
            Play::AnswerAndClose(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
            502,
            "upstream_failed",
        ),
        (
            "half a head",
            Play::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-".to_vec()),
            502,
            "upstream_failed",
        ),
        (
            "no status",
            Play::AnswerAndClose(b"HTTP/1.1 abc\r\n\r\n".to_vec()),
            502,
            "upstream_failed",
        ),
        (
            "unasked 101",
            Play::Answer(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec()),
            502,
            "upstream_failed",
        ),
        ("silence", Play::Silence, 504, "upstream_timeout"),
    ] {
        stage.upstream.on("/public/", play);
        let answer = stage.get("/public/?secret=1", "").await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{case}: {}", answer.text());
        let id = answer
            .headers
            .one("x-request-id")
            .unwrap_or_else(|| panic!("{case}: no request id"));
        assert_eq!(answer.json()["error"]["request_id"], id, "{case}");
        assert_eq!(answer.headers.one("cache-control"), Some("no-store"), "{case}");
        for text in [&answer.text(), &format!("{:?}", answer.headers)] {
            assert!(
                !text.contains("127.0.0.1") && !text.contains("secret=1"),
                "{case}: {text}"
            );
        }
        let seen = stage.upstream.taken();
        assert!(
            seen.iter().all(|seen| seen.headers.one("x-request-id") == Some(id)),
            "{case}"
        );
    }
    // A person gets a page.
    stage.upstream.on("/public/", Play::Close);
    let page = stage.get("/public/", NAVIGATION).await;
    assert_eq!(page.status, 502);
    assert!(page.headers.one("content-type").unwrap().starts_with("text/html"));
    assert!(page.text().contains(page.headers.one("x-request-id").unwrap()));
    // And afterwards everything is as before.
    stage.upstream.on("/public/", Play::Answer(plain(200, "", "back")));
    assert_eq!(stage.get("/public/", "").await.text(), "back");
}

#[tokio::test]
async fn an_upstream_that_is_away_is_unavailable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let stage = Stage::with_sites(&site(&format!("http://{address}"))).await;
    let answer = stage.get("/public/", "").await;
    assert_eq!(answer.refusal(), (503, "upstream_unavailable".to_owned()));
    assert!(answer.headers.has("x-request-id"));
    // Who may not know is told nothing about it.
    assert_eq!(stage.get("/secret", "").await.status, 401);
}

/// What may have happened must not happen twice.
#[tokio::test]
async fn a_request_that_reached_the_upstream_is_not_sent_again() {
    let stage = Stage::with_sites(&site("UPSTREAM")).await;
    for method in ["POST", "PATCH"] {
        // A pooled connection first, so that a retry would be tempting.
        assert_eq!(stage.get("/public/warm", "").await.status, 200);
        stage.upstream.taken();
        stage.upstream.on("/public/pay", Play::Close);
        let request = format!("{method} /public/pay HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(stage.send(request).await.refusal().0, 502, "{method}");
        assert_eq!(stage.upstream.taken().len(), 1, "{method} was sent again");
    }
}

/// A cut answer is cut for the client too: never a complete one that is shorter.
#[tokio::test]
async fn a_body_that_ends_too_early_is_not_made_whole() {
    let stage = Stage::with_sites(&site("UPSTREAM")).await;
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ] {
        stage
            .upstream
            .on("/public/", Play::AnswerAndClose(bytes.as_bytes().to_vec()));
        let mut wire = stage.connect().await;
        wire.send(format!("GET /public/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
            .await;
        let all = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(!all.contains("\r\n0\r\n\r\n"), "{all}");
        assert!(all.matches("HTTP/1.1").count() <= 1, "{all}");
        assert!(!all.contains("Content-Length: 5\r\n"), "{all}");
    }
}

#[tokio::test]
async fn the_applications_own_errors_are_its_own() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    for status in [400, 401, 403, 404, 418, 500, 503] {
        stage.upstream.on(
            "/page",
            Play::Answer(plain(status, "WWW-Authenticate: Basic realm=\"app\"\r\n", "mine")),
        );
        let answer = stage.get("/page", &format!("Cookie: {cookie}\r\n")).await;
        assert_eq!((answer.status, answer.text()), (status, "mine".to_owned()));
        assert_eq!(answer.headers.one("www-authenticate"), Some("Basic realm=\"app\""));
        assert!(answer.set_cookie("menshen").is_none(), "{status} ends the session");
    }
}

/// Drops that come often enough to satisfy every other limit.
#[tokio::test]
async fn an_answer_that_never_ends_is_cut_and_an_event_stream_is_not() {
    let sites = site("UPSTREAM").replace("read_timeout = \"1s\"", "total_timeout = \"1s\"");
    let stage = Stage::with_sites(&sites).await;
    let (events, play) = mpsc::channel(1);
    stage.upstream.on("/public/events", Play::Stream(play));
    let (drops, play) = mpsc::channel(1);
    stage.upstream.on("/public/drops", Play::Stream(play));

    let mut stream = stage.connect().await;
    stream
        .send(format!(
            "GET /public/events HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/event-stream\r\n\r\n"
        ))
        .await;
    assert_eq!(stream.head().await.status, 200);
    let mut cut = stage.connect().await;
    cut.send(format!("GET /public/drops HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    assert_eq!(cut.head().await.status, 200);
    let dripping = tokio::spawn(async move {
        // Fails as soon as nobody reads on.
        while drops.send(b"drop".to_vec()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let rest = tokio::time::timeout(PATIENCE, cut.rest())
        .await
        .expect("an end in time");
    assert!(!rest.is_empty() && !rest.ends_with(b"0\r\n\r\n"), "made whole");
    tokio::time::timeout(PATIENCE, dripping)
        .await
        .expect("the upstream is let go")
        .unwrap();

    events.send(b"data: still\n\n".to_vec()).await.unwrap();
    assert_eq!(stream.chunk().await, Some(b"data: still\n\n".to_vec()));

    stage.upstream.on("/public/", Play::Silence);
    assert_eq!(
        stage.get("/public/", "").await.refusal(),
        (504, "upstream_timeout".to_owned())
    );
}
