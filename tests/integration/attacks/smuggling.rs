//! Where one request ends and the next begins (Pingora CVE-2025-4366, CVE-2026-2833, CVE-2026-2835; nghttpx
//! CVE-2026-58055; hyper RUSTSEC-2021-0020 and -0078). The request that would be smuggled names itself: wherever it
//! arrives, the gateway and somebody else have read the bytes differently.

use super::recorder::{Play, plain};
use super::stage::{ALICE, HOST, Stage};

const SMUGGLED: &str = "GET /public/smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

fn assert_nothing_smuggled(stage: &Stage, case: &str) {
    for seen in stage.upstream.taken() {
        assert!(!seen.target.contains("smuggled"), "{case}: {seen:?}");
        assert!(
            !seen.headers.0.iter().any(|(name, _)| name.contains("smuggled")),
            "{case}: {seen:?}"
        );
    }
}

/// Refused with 400 before anything reaches the upstream, and the connection ends.
async fn refused(stage: &Stage, request: &[u8], case: &str) {
    let mut wire = stage.connect().await;
    wire.send(request).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 400, "{case}: {}", answer.text());
    assert!(wire.is_closed().await, "{case}: the connection goes on");
    assert!(
        stage.upstream.taken().is_empty(),
        "{case}: something reached the upstream"
    );
}

#[tokio::test]
async fn heads_with_two_readings_are_refused_and_the_connection_ends() {
    let stage = Stage::plain().await;
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    let lengths: &[(&str, &str)] = &[
        ("CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n"),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n"),
        ("CL.TE unknown", "Content-Length: 6\r\nTransfer-Encoding: x\r\n"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("the same twice", "Content-Length: 5\r\nContent-Length: 5\r\n"),
        ("a list", "Content-Length: 5, 5\r\n"),
        ("plus", "Content-Length: +5\r\n"),
        ("minus", "Content-Length: -5\r\n"),
        ("hex", "Content-Length: 0x5\r\n"),
        ("fraction", "Content-Length: 5.0\r\n"),
        ("two numbers", "Content-Length: 5 5\r\n"),
        ("letters", "Content-Length: five\r\n"),
        ("empty", "Content-Length:\r\n"),
        ("overflow", "Content-Length: 18446744073709551621\r\n"),
        ("beyond i64", "Content-Length: 9999999999999999999\r\n"),
        ("TE unknown", "Transfer-Encoding: xchunked\r\n"),
        ("TE identity", "Transfer-Encoding: identity\r\n"),
        ("TE gzip", "Transfer-Encoding: gzip, chunked\r\n"),
        ("TE after chunked", "Transfer-Encoding: chunked, identity\r\n"),
        ("TE twice in a line", "Transfer-Encoding: chunked, chunked\r\n"),
        (
            "TE twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "TE two lines",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        ),
        ("TE parameter", "Transfer-Encoding: chunked;q=1\r\n"),
        ("TE quoted", "Transfer-Encoding: \"chunked\"\r\n"),
        ("TE vertical tab", "Transfer-Encoding: \x0bchunked\r\n"),
        ("TE empty", "Transfer-Encoding:\r\n"),
        ("TE space before colon", "Transfer-Encoding : chunked\r\n"),
        ("TE folded", "Transfer-Encoding:\r\n chunked\r\n"),
        ("CL space before colon", "Content-Length : 5\r\n"),
        ("folded value", "X-A: b\r\n Content-Length: 5\r\n"),
        ("fold at the start", " X-A: b\r\n"),
        ("tab at the start", "\tContent-Length: 5\r\n"),
        ("bare line feed", "X-A: b\nContent-Length: 5\r\n"),
        ("bare carriage return", "X-A: b\rContent-Length: 5\r\n"),
        ("two carriage returns", "X-A: b\r\r\n"),
        ("NUL", "X-A: b\0c\r\n"),
        ("NUL in a name", "X-\0A: b\r\n"),
        ("no colon", "X-A\r\n"),
        ("no name", ": b\r\n"),
        ("space in a name", "X A: b\r\n"),
        (
            "nomination of the length",
            "Connection: Content-Length\r\nContent-Length: 5\r\n",
        ),
        (
            "nomination of the encoding",
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
        ),
    ];
    for (case, lines) in lengths {
        let request = format!("POST /public/ HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n{chunked}");
        refused(&stage, request.as_bytes(), case).await;
    }
    for (case, request) in [
        (
            "TE in 1.0",
            format!("POST /public/ HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        ),
        ("1.2", format!("GET /public/ HTTP/1.2\r\nHost: {HOST}\r\n\r\n")),
        ("2.0", format!("GET /public/ HTTP/2.0\r\nHost: {HOST}\r\n\r\n")),
        ("lower case", format!("GET /public/ http/1.1\r\nHost: {HOST}\r\n\r\n")),
        ("a tab", format!("GET\t/public/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n")),
        (
            "PROXY preamble",
            format!("PROXY TCP4 10.1.1.1 10.1.1.2 1 2\r\nGET /public/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        ),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
    ] {
        refused(&stage, request.as_bytes(), case).await;
    }
    // A head without a single CR LF never ends.
    let mut wire = stage.connect().await;
    wire.send(format!("GET /public/ HTTP/1.1\nHost: {HOST}\n\n{SMUGGLED}"))
        .await;
    wire.finish().await;
    let rest = String::from_utf8_lossy(&wire.rest().await).into_owned();
    assert!(!rest.contains(" 200 "), "{rest}");
    assert!(stage.upstream.taken().is_empty());
}

/// The parser escapes spaces in targets: decided on and sent on is then the escaped spelling.
#[tokio::test]
async fn spaces_in_a_request_line_make_no_second_target() {
    let stage = Stage::plain().await;
    for line in [
        "GET  /public/ HTTP/1.1",
        "GET /secret /public/ HTTP/1.1",
        "GET /public/ HTTP/1.1 HTTP/1.1",
        "GET /public/ HTTP/1.1 ",
        "GET /public/ HTTP/1.1 x",
    ] {
        let mut wire = stage.connect().await;
        wire.send(format!("{line}\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"))
            .await;
        let status = wire.answer().await.status;
        match stage.upstream.taken().as_slice() {
            [] => assert!(matches!(status, 400 | 401), "{line}: {status}"),
            [seen] => {
                assert!(seen.target.starts_with("/public/%20"), "{line}: {}", seen.target);
                assert_eq!(seen.version, "HTTP/1.1");
            }
            more => panic!("{line}: {more:?}"),
        }
    }
}

/// The head was fine and may be at the upstream already; the end of the message then never comes.
#[tokio::test]
async fn bodies_that_break_their_framing_end_the_exchange() {
    let stage = Stage::plain().await;
    for (case, body) in [
        ("hex prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("plus", "+5\r\nhello\r\n0\r\n\r\n"),
        ("minus", "-5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("letters", "five\r\nhello\r\n0\r\n\r\n"),
        ("overflow", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
        ("longer than it says", "5\r\nhello!\r\n0\r\n\r\n"),
        ("bare line feed after the chunk", "5\r\nhello\n0\r\n\r\n"),
        ("bare line feed after the size", "5\nhello\r\n0\r\n\r\n"),
        ("bare line feed in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ] {
        let mut wire = stage.connect().await;
        let head = format!("POST /public/ HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
        wire.send(format!("{head}{body}{SMUGGLED}")).await;
        wire.finish().await;
        let answers = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(!answers.contains(" 200 "), "{case}: {answers}");
        for seen in stage.upstream.taken() {
            assert!(!seen.complete && !seen.target.contains("smuggled"), "{case}: {seen:?}");
        }
    }
    for (case, body) in [
        ("extension", "5;a=b\r\nhello\r\n0\r\n\r\n"),
        ("leading zeros", "0005\r\nhello\r\n000\r\n\r\n"),
    ] {
        let head = format!("POST /public/good HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(stage.send(format!("{head}{body}")).await.status, 200, "{case}");
        // What was cut off above may be noticed only now.
        let mut seen = stage.upstream.taken();
        seen.retain(|seen| seen.target == "/public/good");
        assert_eq!((seen.len(), seen[0].body.as_slice()), (1, &b"hello"[..]), "{case}");
    }
}

/// Pingora CVE-2026-2833, nghttpx CVE-2026-58055.
#[tokio::test]
async fn an_upgrade_opens_no_tunnel_that_the_upstream_has_not_opened() {
    let stage = Stage::plain().await;
    let handshake = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    // The upstream answers 200: what follows is not a tunnel.
    let mut wire = stage.connect().await;
    let smuggled = "GET /secret-smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
    wire.send(format!(
        "GET /public/ws HTTP/1.1\r\nHost: {HOST}\r\n{handshake}\r\n{smuggled}"
    ))
    .await;
    assert_eq!(wire.answer().await.status, 200);
    wire.finish().await;
    let rest = String::from_utf8_lossy(&wire.rest().await).into_owned();
    assert!(!rest.contains(" 200 "), "{rest}");
    assert_nothing_smuggled(&stage, "bytes after an upgrade");
    // Upgrades with bodies, to other things, or without a handshake.
    let with_body =
        format!("GET /public/ HTTP/1.1\r\nHost: {HOST}\r\n{handshake}Content-Length: 4\r\n\r\nbody{SMUGGLED}");
    refused(&stage, with_body.as_bytes(), "body").await;
    let chunked = format!(
        "GET /public/ HTTP/1.1\r\nHost: {HOST}\r\n{handshake}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    refused(&stage, chunked.as_bytes(), "chunked body").await;
    for lines in [
        "Upgrade: foo\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
        "Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
    ] {
        let request = format!("GET /public/ HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n{SMUGGLED}");
        refused(&stage, request.as_bytes(), lines).await;
    }
    // An offer of h2c is ignored, and so is not sent on.
    let h2c = "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(stage.get("/public/", h2c).await.status, 200);
    let seen = stage.upstream.only();
    assert!(
        !seen.headers.has("upgrade") && !seen.headers.has("http2-settings"),
        "{seen:?}"
    );
}

/// Pingora CVE-2025-4366: an answer before the body was read must not leave the body to be read as a request.
#[tokio::test]
async fn the_unread_body_of_a_refused_request_is_never_a_request() {
    let stage = Stage::plain().await;
    let length = SMUGGLED.len();
    for (case, target, lines) in [
        ("login required", "/secret", "Content-Type: text/plain\r\n"),
        ("denied", "/denied/", ""),
        ("ambiguous", "/public/%2f", ""),
        ("portal", "/.menshen/nothing", ""),
        ("portal call", "/.menshen/tickets", "Content-Type: application/json\r\n"),
    ] {
        let mut wire = stage.connect().await;
        wire.send(format!(
            "POST {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}Content-Length: {length}\r\n\r\n{SMUGGLED}"
        ))
        .await;
        let first = wire.answer().await;
        assert!(first.status >= 400, "{case}: {}", first.status);
        wire.send(format!(
            "GET /public/second HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let rest = String::from_utf8_lossy(&wire.rest().await).into_owned();
        let seen = stage.upstream.taken();
        match seen.as_slice() {
            [] => assert!(rest.is_empty(), "{case}: {rest}"),
            [second] => assert_eq!(second.target, "/public/second", "{case}"),
            more => panic!("{case}: {more:?}"),
        }
    }
    // The same when it is the upstream that does not wait for the body.
    stage
        .upstream
        .on("/public/early", Play::AnswerEarly(plain(413, "", "no")));
    let mut wire = stage.connect().await;
    wire.send(format!(
        "POST /public/early HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.answer().await.status, 413);
    wire.send(SMUGGLED).await;
    wire.finish().await;
    let rest = String::from_utf8_lossy(&wire.rest().await).into_owned();
    assert!(!rest.contains("HTTP/1."), "{rest}");
    assert_nothing_smuggled(&stage, "early answer");
}

#[tokio::test]
async fn bodies_end_where_they_say_whatever_the_method() {
    let stage = Stage::plain().await;
    for method in ["GET", "DELETE", "OPTIONS", "POST", "PUT", "PATCH", "PROPFIND"] {
        let length = SMUGGLED.len();
        let request =
            format!("{method} /public/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}");
        assert_eq!(stage.send(&request).await.status, 200, "{method}");
        let seen = stage.upstream.only();
        assert_eq!(
            (seen.method.as_str(), seen.body.as_slice()),
            (method, SMUGGLED.as_bytes())
        );
    }
}

/// Connection-state attacks: the second request on a connection is as anonymous as it says.
#[tokio::test]
async fn each_request_of_a_connection_is_authenticated_on_its_own() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    let mut wire = stage.connect().await;
    for (lines, status) in [
        (format!("Cookie: {cookie}\r\n"), 200),
        (String::new(), 401),
        (format!("Cookie: {cookie}\r\n"), 200),
    ] {
        wire.send(format!("GET /page HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"))
            .await;
        assert_eq!(wire.answer().await.status, status);
    }
    // Nor is a connection to the upstream anybody's.
    stage.upstream.taken();
    wire.send(format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    assert_eq!(wire.answer().await.status, 200);
    assert!(!stage.upstream.only().headers.has("remote-user"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_or_not_at_all() {
    let stage = Stage::plain().await;
    stage.upstream.on("/public/1", Play::Answer(plain(200, "", "one")));
    stage.upstream.on("/public/2", Play::Answer(plain(200, "", "two")));
    let mut wire = stage.connect().await;
    wire.send(format!(
        "GET /public/1 HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET /public/2 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.answer().await.text(), "one");
    wire.finish().await;
    let rest = String::from_utf8_lossy(&wire.rest().await).into_owned();
    assert!(rest.is_empty() || rest.ends_with("two"), "{rest}");
}

/// Expect-based desynchronisation (2025).
#[tokio::test]
async fn expectations_are_met_by_who_is_served_and_refused_otherwise() {
    let stage = Stage::plain().await;
    let mut wire = stage.connect().await;
    let expect = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    wire.send(format!("POST /secret HTTP/1.1\r\nHost: {HOST}\r\n{expect}\r\n"))
        .await;
    assert_eq!(wire.answer().await.status, 401);
    assert!(wire.interim.is_empty(), "an anonymous body was asked for");
    // Nothing but the end, or the body is skipped: it is no request.
    wire.send("GET /public/smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await;
    wire.finish().await;
    wire.rest().await;
    let mut wire = stage.connect().await;
    wire.send(format!("POST /public/ HTTP/1.1\r\nHost: {HOST}\r\n{expect}\r\n"))
        .await;
    assert_eq!(wire.head().await.status, 100);
    wire.send("hello").await;
    assert_eq!(wire.answer().await.status, 200);
    stage.upstream.taken().retain(|seen| seen.target == "/public/");
    for expectation in ["200-ok", "100-continue, x", ""] {
        let request =
            format!("POST /public/ HTTP/1.1\r\nHost: {HOST}\r\nExpect: {expectation}\r\nContent-Length: 0\r\n\r\n");
        let answer = stage.send(request).await;
        assert!(matches!(answer.status, 400 | 417), "{expectation:?}: {}", answer.status);
    }
    assert!(stage.upstream.taken().is_empty());
}

/// Ambiguous answers stay on their exchange, and their connection is not used again.
#[tokio::test]
async fn an_upstreams_broken_framing_reaches_nobody_else() {
    let stage = Stage::plain().await;
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let bodies: [(&str, String); 6] = [
        (
            "more than it says",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{poison}"),
        ),
        ("after 204", format!("HTTP/1.1 204 No Content\r\n\r\n{poison}")),
        ("after 304", format!("HTTP/1.1 304 Not Modified\r\n\r\n{poison}")),
        (
            "two lengths",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 60\r\n\r\nok{poison}"),
        ),
        (
            "after chunks",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{poison}"),
        ),
        (
            "unasked 101",
            format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n{poison}"),
        ),
    ];
    for (case, bytes) in bodies {
        stage.upstream.on("/public/bad", Play::Answer(bytes.into_bytes()));
        let mut wire = stage.connect().await;
        wire.send(format!(
            "GET /public/bad HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let all = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(!all.contains("poison"), "{case}: {all}");
        for _ in 0..3 {
            let next = stage.get("/public/good", "").await;
            assert_eq!((next.status, next.text()), (200, "upstream".to_owned()), "{case}");
        }
    }
}
