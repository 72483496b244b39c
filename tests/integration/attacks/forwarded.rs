//! Who says who the client is (oauth2-proxy CVE-2026-40575, Traefik CVE-2026-35051, authentik CVE-2023-36456 and
//! CVE-2024-47070): forwarded headers count from trusted peers only, and the URL is never read from a header.

use super::stage::{ALICE, BOB, HOST, NAVIGATION, Plan, Stage};
use super::wire::Wire;

const CLAIMS: &str = "X-Forwarded-For: 198.51.100.7, 10.1.1.1\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 4444\r\nX-Forwarded-Prefix: /evil\r\n\
                      X-Forwarded-Uri: /public/evil\r\nX-Forwarded-Method: EVIL\r\nX-Forwarded-Server: evil\r\n\
                      X-Forwarded-Ssl: evil\r\nX-Forwarded-Scheme: evil\r\nForwarded: for=198.51.100.7;host=evil.test\r\n\
                      X-Real-IP: 198.51.100.7\r\nTrue-Client-IP: 198.51.100.7\r\nCF-Connecting-IP: 198.51.100.7\r\n\
                      X-Client-IP: 198.51.100.7\r\nX-Request-Id: evil-id\r\nX-Scheme: evil\r\nFront-End-Https: evil\r\n";

const TRUSTING: &str = "[server]\ntrusted_proxies = [\"127.0.0.1/32\", \"10.9.0.0/16\"]";

/// A route that is for one network.
const LAN: &str = r#"
[[sites]]
hosts = ["app.test"]
upstreams = ["UPSTREAM"]

[[sites.routes]]
path = "/lan/"
require_all = ["network:10.0.0.0/8"]

[[sites.routes]]
path = "/public/"
access = "public"
"#;

async fn trusting(sites: Option<&str>) -> Stage {
    let plan = Plan {
        settings: TRUSTING,
        sites,
        ..Plan::default()
    };
    Stage::start(plan).await
}

#[tokio::test]
async fn what_a_stranger_claims_is_replaced() {
    let stage = Stage::plain().await;
    let answer = stage.get("/public/x", CLAIMS).await;
    assert_eq!(answer.status, 200);
    let seen = stage.upstream.only();
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", HOST),
        ("x-forwarded-port", "80"),
        ("host", HOST),
    ] {
        assert_eq!(seen.headers.one(name), Some(value), "{name}");
    }
    for (name, value) in &seen.headers.0 {
        assert!(
            !value.contains("evil") && !value.contains("198.51.100.7"),
            "{name}: {value}"
        );
    }
    let id = seen.headers.one("x-request-id").expect("a request id");
    assert_eq!(answer.headers.one("x-request-id"), Some(id));
}

#[tokio::test]
async fn a_trusted_peer_is_believed_from_the_right() {
    let stage = trusting(None).await;
    for (claimed, forwarded) in [
        ("203.0.113.9", "203.0.113.9, 127.0.0.1"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9, 127.0.0.1"),
        ("6.6.6.6, 203.0.113.9, 10.9.0.5", "203.0.113.9, 10.9.0.5, 127.0.0.1"),
        ("::ffff:203.0.113.9", "203.0.113.9, 127.0.0.1"),
        ("203.0.113.9, nonsense", "127.0.0.1"),
    ] {
        let lines = format!("X-Forwarded-For: {claimed}\r\nX-Forwarded-Prefix: /evil\r\n");
        assert_eq!(stage.get("/public/x", &lines).await.status, 200, "{claimed}");
        let seen = stage.upstream.only();
        assert_eq!(seen.headers.one("x-forwarded-for"), Some(forwarded), "{claimed}");
        assert!(!seen.headers.has("x-forwarded-prefix"), "{claimed}");
    }
}

/// Traceable across hops, but never a way to write into a log or an answer (CVE-2024-45808).
#[tokio::test]
async fn a_request_id_counts_from_a_trusted_peer_and_only_if_it_is_one() {
    let stage = trusting(None).await;
    let long = "x".repeat(129);
    for (id, kept) in [
        ("edge-7f.3_a", true),
        ("a b", false),
        ("a\"b", false),
        (&*long, false),
        ("", false),
    ] {
        let answer = stage.get("/public/x", &format!("X-Request-Id: {id}\r\n")).await;
        let seen = stage.upstream.only();
        let sent = seen.headers.one("x-request-id").unwrap();
        assert_eq!(sent == id, kept, "{id:?} became {sent:?}");
        assert_eq!(answer.headers.one("x-request-id"), Some(sent), "{id:?}");
    }
    let refused = stage.get("/secret", "X-Request-Id: edge-8\r\n").await;
    assert_eq!(refused.json()["error"]["request_id"], "edge-8");
}

/// authentik CVE-2024-47070: an address that cannot be read must not open what an address opens.
#[tokio::test]
async fn a_network_rule_is_met_by_addresses_that_are_certain() {
    let stage = trusting(Some(LAN)).await;
    let cookie = format!("Cookie: {}\r\n", stage.login(BOB).await);
    for (lines, status) in [
        ("X-Forwarded-For: 10.1.1.1\r\n", 200),
        ("X-Forwarded-For: ::ffff:10.1.1.1\r\n", 200),
        ("X-Forwarded-For: 203.0.113.9, 10.1.1.1\r\n", 200),
        ("X-Forwarded-For: 10.1.1.1, 203.0.113.9\r\n", 403),
        ("X-Forwarded-For: 10.1.1.1\r\nX-Forwarded-For: 203.0.113.9\r\n", 403),
        ("X-Forwarded-For: 10.1.1.1, nonsense\r\n", 403),
        ("X-Forwarded-For: 10.1.1\r\n", 403),
        ("X-Forwarded-For: 012.1.1.1\r\n", 403),
        ("X-Forwarded-For: 10.1.1.1%eth0\r\n", 403),
        ("X-Forwarded-For:\r\n", 403),
        ("X-Real-IP: 10.1.1.1\r\n", 403),
        ("X-Forwarded-For: 203.0.113.9\r\nForwarded: for=10.1.1.1\r\n", 403),
        ("", 403),
    ] {
        let answer = stage.get("/lan/x", &format!("{cookie}{lines}")).await;
        assert_eq!(answer.status, status, "{lines:?}");
        assert_eq!(stage.upstream.taken().len(), usize::from(status == 200), "{lines:?}");
    }
    let strangers = Stage::with_sites(LAN).await;
    let cookie = format!("Cookie: {}\r\n", strangers.login(BOB).await);
    for lines in [
        "X-Forwarded-For: 10.1.1.1\r\n",
        "Forwarded: for=10.1.1.1\r\n",
        "X-Real-IP: 10.1.1.1\r\n",
    ] {
        assert_eq!(
            strangers.get("/lan/x", &format!("{cookie}{lines}")).await.status,
            403,
            "{lines:?}"
        );
    }
    assert!(strangers.upstream.taken().is_empty());
}

/// oauth2-proxy CVE-2026-40575, Authelia CVE-2021-32637: the policy's path is the one that is sent on.
#[tokio::test]
async fn no_header_changes_host_path_or_method_of_what_is_decided() {
    for stage in [Stage::plain().await, trusting(None).await] {
        for lines in [
            "X-Forwarded-Uri: /public/x\r\n",
            "X-Forwarded-Path: /public/x\r\n",
            "X-Original-URL: /public/x\r\n",
            "X-Original-URI: /public/x\r\n",
            "X-Rewrite-URL: /public/x\r\n",
            "X-Forwarded-Host: other.test\r\n",
            "X-Host: other.test\r\n",
            "X-Forwarded-Prefix: /public\r\n",
            "X-Forwarded-Method: OPTIONS\r\n",
            "User-Agent: GoogleHC/1.0\r\n",
            "X-Middleware-Subrequest: middleware\r\n",
        ] {
            let answer = stage.get("/secret", lines).await;
            assert_eq!(answer.refusal(), (401, "login_required".to_owned()), "{lines:?}");
        }
        assert!(stage.upstream.taken().is_empty());
    }
}

/// A forwarded scheme decides about Secure cookies, so it is read strictly (Oathkeeper CVE-2026-33495).
#[tokio::test]
async fn a_forwarded_scheme_is_one_word_or_the_request_is_refused() {
    let plan = Plan {
        settings: "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\npublic_url = \"https://login.test\"",
        ..Plan::default()
    };
    let stage = Stage::start(plan).await;
    for (lines, status) in [
        ("X-Forwarded-Proto: https\r\n", 401),
        ("X-Forwarded-Proto: http\r\n", 302),
        ("", 302),
        ("X-Forwarded-Proto: https, http\r\n", 302),
        ("X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n", 302),
        ("X-Forwarded-Proto: ftp\r\n", 400),
        ("X-Forwarded-Proto: \"https\"\r\n", 400),
    ] {
        let answer = stage.get("/page?x=1", &format!("{NAVIGATION}{lines}")).await;
        assert_eq!(answer.status, status, "{lines:?}");
        if status == 302 {
            assert_eq!(answer.headers.one("location"), Some("https://app.test/page?x=1"));
            assert!(!answer.headers.has("set-cookie"));
        }
        for cookie in answer.headers.all("set-cookie") {
            assert!(cookie.contains("; Secure"), "{cookie}");
        }
    }
}

#[tokio::test]
async fn a_host_with_https_serves_no_session_over_plain_http() {
    let plan = Plan {
        https: true,
        settings: "[server]\nlisten = [\"127.0.0.1:0\", { address = \"127.0.0.1:0\", tls = false }]\n\
                   trusted_proxies = [\"127.0.0.1/32\"]",
        ..Plan::default()
    };
    let stage = Stage::start(plan).await;
    let cookie = stage.login(ALICE).await;
    assert_eq!(stage.get("/page", &format!("Cookie: {cookie}\r\n")).await.status, 200);
    stage.upstream.taken();
    let plain = stage.world.addresses()[1];
    let page = format!("GET /page HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n");
    for (lines, status) in [("", 401), (NAVIGATION, 302), ("X-Forwarded-Proto: http\r\n", 401)] {
        let mut wire = Wire::plain(plain).await;
        wire.send(format!("{page}{lines}\r\n")).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, status, "{lines:?}");
    }
    assert!(stage.upstream.taken().is_empty());
    let mut wire = Wire::plain(plain).await;
    wire.send(format!(
        "GET /public/x HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.answer().await.status, 200);
    assert!(
        !stage.upstream.only().headers.has("remote-user"),
        "a session over plain HTTP"
    );
}
