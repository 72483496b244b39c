//! WebSockets: authenticated like any request, opened by this host's own pages only, and then out of the way.

use super::recorder::{Play, accept_key};
use super::stage::{ALICE, HOST, Stage};
use super::wire::{Answer, Wire, frame};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

async fn open(stage: &Stage, target: &str, lines: &str) -> (Wire, Answer) {
    let mut wire = stage.connect().await;
    wire.send(format!(
        "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
    ))
    .await;
    let answer = wire.answer().await;
    (wire, answer)
}

#[tokio::test]
async fn frames_pass_both_ways_after_a_login() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    let lines = "X-Of-Upstream: 1\r\nSec-WebSocket-Protocol: chat\r\n".to_owned();
    stage.upstream.on("/ws", Play::WebSocket { lines });
    let lines = format!(
        "Cookie: {cookie}; a=1\r\nOrigin: http://app.test\r\nSec-WebSocket-Protocol: chat\r\nRemote-User: x\r\n"
    );
    let (mut wire, answer) = open(&stage, "/ws?room=1", &lines).await;
    assert_eq!(answer.status, 101, "{}", answer.text());
    assert_eq!(answer.headers.one("sec-websocket-accept"), Some(&*accept_key(KEY)));
    assert_eq!(answer.headers.one("sec-websocket-protocol"), Some("chat"));
    assert_eq!(answer.headers.one("x-of-upstream"), Some("1"));
    let seen = stage.upstream.next().await;
    assert_eq!(seen.target, "/ws?room=1");
    assert_eq!(seen.headers.one("remote-user"), Some("alice"));
    assert_eq!(seen.headers.one("cookie"), Some("a=1"));
    assert!(seen.headers.one("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
    // The upstream sends every byte back as it came.
    for (opcode, payload) in [(1, b"hello".as_slice()), (2, &[0, 255, 13, 10]), (9, b"ping"), (1, b"")] {
        let sent = frame(opcode, payload, Some([1, 2, 3, 4]));
        wire.send(&sent).await;
        assert_eq!(wire.take(sent.len()).await, sent, "{payload:?}");
    }
    let close = frame(8, &1000_u16.to_be_bytes(), Some([9, 8, 7, 6]));
    wire.send(&close).await;
    assert_eq!(wire.take(close.len()).await, close);
    wire.finish().await;
    assert!(wire.is_closed().await);
}

/// Pomerium's websocket-upgrade suite: no page and no redirect, which no WebSocket could follow.
#[tokio::test]
async fn no_session_no_socket() {
    let stage = Stage::plain().await;
    for lines in [
        "",
        "Origin: http://app.test\r\n",
        "Cookie: menshen=x\r\nOrigin: http://app.test\r\n",
        super::stage::NAVIGATION,
    ] {
        let (_, answer) = open(&stage, "/ws", lines).await;
        assert_eq!(answer.refusal(), (401, "login_required".to_owned()), "{lines}");
        assert!(answer.set_cookie("menshen-ticket").is_none(), "{lines}");
    }
    assert!(stage.upstream.taken().is_empty());
}

/// Cross-site WebSocket hijacking: the cookie comes along whoever opens the socket.
#[tokio::test]
async fn a_socket_by_cookie_is_opened_by_this_origin_or_a_listed_one() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    for target in ["/ws", "/api/ws"] {
        stage.upstream.on(target, Play::WebSocket { lines: String::new() });
        for (origin, opens) in [
            ("Origin: http://app.test\r\n", true),
            ("Origin: https://spa.test\r\n", target == "/api/ws"),
            ("", false),
            ("Origin: null\r\n", false),
            ("Origin: https://evil.test\r\n", false),
            ("Origin: https://app.test\r\n", false),
            ("Origin: http://app.test:81\r\n", false),
            ("Origin: http://app.test.evil.test\r\n", false),
            ("Origin: http://x.app.test\r\n", false),
            ("Origin: http://spa.test\r\n", false),
            ("Origin: http://app.test\r\nOrigin: https://evil.test\r\n", false),
            ("Origin: https://evil.test\r\nSec-Fetch-Site: same-origin\r\n", false),
        ] {
            let (_, answer) = open(&stage, target, &format!("Cookie: {cookie}\r\n{origin}")).await;
            if opens {
                assert_eq!(answer.status, 101, "{target} {origin}");
                stage.upstream.next().await;
            } else {
                assert_eq!(answer.refusal(), (403, "cross_origin".to_owned()), "{target} {origin}");
                assert!(stage.upstream.taken().is_empty(), "{target} {origin}");
            }
        }
    }
    // On a public route anybody may, so a foreign page gets what anybody gets: nobody's identity.
    stage
        .upstream
        .on("/public/ws", Play::WebSocket { lines: String::new() });
    let (_, answer) = open(
        &stage,
        "/public/ws",
        &format!("Cookie: {cookie}\r\nOrigin: https://evil.test\r\n"),
    )
    .await;
    assert_eq!(answer.status, 101);
    assert!(!stage.upstream.next().await.headers.has("remote-user"));
}

#[tokio::test]
async fn a_refused_handshake_is_an_ordinary_answer() {
    let stage = Stage::plain().await;
    stage
        .upstream
        .on("/public/ws", Play::Answer(super::recorder::plain(403, "", "no")));
    let (_, answer) = open(&stage, "/public/ws", "").await;
    assert_eq!((answer.status, answer.text()), (403, "no".to_owned()));
}

/// oauth2-proxy #2996: what was opened by a session does not outlive it, however it ends and whatever is sent on it.
#[tokio::test]
async fn sockets_and_streams_end_with_their_session() {
    for ending in ["logout", "absolute end", "disabled elsewhere"] {
        let stage = Stage::plain().await;
        let cookie = stage.login(ALICE).await;
        let own = format!("Cookie: {cookie}\r\nOrigin: http://app.test\r\n");
        stage.upstream.on("/ws", Play::WebSocket { lines: String::new() });
        stage
            .upstream
            .on("/public/ws", Play::WebSocket { lines: String::new() });
        let (_pieces, play) = tokio::sync::mpsc::channel(1);
        stage.upstream.on("/events", Play::Stream(play));
        let (mut socket, answer) = open(&stage, "/ws", &own).await;
        assert_eq!(answer.status, 101);
        let (mut anonymous, answer) = open(&stage, "/public/ws", "").await;
        assert_eq!(answer.status, 101);
        let mut events = stage.connect().await;
        events
            .send(format!("GET /events HTTP/1.1\r\nHost: {HOST}\r\n{own}\r\n"))
            .await;
        assert_eq!(events.head().await.status, 200);
        if ending == "disabled elsewhere" {
            // As another node does it: this one reads it from the store.
            let store = stage.world.store().await;
            let alice = store.user_by_username("alice").await.unwrap().unwrap();
            let now = stage.world.clock.now();
            assert!(store.set_disabled(&alice.id, true, "left", now).await.unwrap());
        } else if ending == "logout" {
            let lines = format!("{own}Sec-Fetch-Site: same-origin\r\n");
            let answer = stage
                .post(HOST, "/.menshen/logout", &lines, &serde_json::json!({}))
                .await;
            assert_eq!(answer.status, 303);
        } else {
            // The absolute end.
            stage.world.clock.advance(15 * 24 * 60 * 60);
        }
        assert!(socket.is_closed().await, "{ending}");
        assert!(events.is_closed().await, "{ending}");
        let sent = frame(1, b"still here", Some([1, 2, 3, 4]));
        anonymous.send(&sent).await;
        assert_eq!(anonymous.take(sent.len()).await, sent, "nobody's session ended here");
    }
}
