//! Identity headers that a client writes itself (mod_auth_openidc CVE-2017-6062, Traefik CVE-2026-33433, Caddy
//! CVE-2026-30851), in every spelling that an application could fold (oauth2-proxy CVE-2025-64484), and their removal
//! through `Connection` (Traefik CVE-2024-45410).

use super::recorder::Seen;
use super::stage::{ALICE, BOB, HOST, Stage};

/// Names that an application could believe, each with a value that nobody has.
fn spoofed() -> Vec<&'static str> {
    vec![
        // The preset in use and the others.
        "Remote-User",
        "Remote-Name",
        "Remote-Groups",
        "Remote-Email",
        "Remote-Phone",
        "X-Forwarded-User",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Groups",
        "X-Forwarded-Email",
        "X-Forwarded-Phone",
        "X-Auth-Request-User",
        "X-Auth-Request-Preferred-Username",
        "X-Auth-Request-Groups",
        "X-Auth-Request-Email",
        "X-Menshen-Assertion",
        // Other letter case.
        "REMOTE-USER",
        "rEmOtE-uSeR",
        "x-menshen-assertion",
        // What CGI, WSGI and PHP fold.
        "Remote_User",
        "REMOTE_USER",
        "Remote.User",
        "Remote~User",
        "Remote+User",
        "X_Forwarded_User",
        "X-Forwarded_User",
        "X_Menshen_Assertion",
        "X.Menshen.Assertion",
        "X'Menshen'Assertion",
        // Other gateways'.
        "X-Goog-Authenticated-User-Email",
        "X-Goog-IAP-JWT-Assertion",
        "X-MS-Client-Principal",
        "X-MS-Client-Principal-Name",
        "X-Amzn-Oidc-Identity",
        "X-Amzn-Oidc-Data",
        "Cf-Access-Authenticated-User-Email",
        "Cf-Access-Jwt-Assertion",
        "X-Pomerium-Jwt-Assertion",
        "X-Pomerium-Claim-Email",
        "X-authentik-username",
        "X-Vouch-User",
        "X-WEBAUTH-USER",
        "OIDC_CLAIM_sub",
        "OIDC-Claim-Sub",
        "X-Remote-User",
        "X-Consumer-Username",
        "X-Credential-Identifier",
        "Tailscale-User-Login",
        "X-Forwarded-Client-Cert",
        "X-SSL-Client-S-DN",
        "SSL-Client-Verify",
        "X-Userinfo",
        "X-WX-OPENID",
        "X-WX-UNIONID",
        "X-Client-DN",
        "X-Authenticated-User",
        "X-Forwarded-Tls-Client-Cert",
        "X-Forwarded-Access-Token",
        "X-Tcb-Source",
    ]
}

fn spoofed_lines() -> String {
    let lines = spoofed();
    lines.iter().map(|name| format!("{name}: {FORGED}\r\n")).collect()
}

/// Nothing that the client forged is anywhere in the request.
fn assert_clean(seen: &Seen, case: &str) {
    for (name, value) in &seen.headers.0 {
        assert!(!value.contains(FORGED), "{case}: {name}: {value} reached the upstream");
    }
    assert!(!seen.target.contains(FORGED), "{case}");
}

const FORGED: &str = "forged-admin";

/// Where an anonymous client reaches the upstream at all.
#[tokio::test]
async fn forged_identities_of_anonymous_clients_never_arrive() {
    let stage = Stage::plain().await;
    let lines = spoofed_lines();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                   Sec-WebSocket-Version: 13\r\n";
    for (case, request) in [
        (
            "public",
            format!("GET /public/page HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"),
        ),
        ("exact", format!("GET /exact HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n")),
        (
            "other preset",
            format!("GET / HTTP/1.1\r\nHost: other.test\r\n{lines}\r\n"),
        ),
        (
            "preflight",
            format!(
                "OPTIONS /public/x HTTP/1.1\r\nHost: {HOST}\r\nOrigin: https://spa.test\r\n\
                               Access-Control-Request-Method: POST\r\n{lines}\r\n"
            ),
        ),
        (
            "http/1.0",
            format!("GET /public/page HTTP/1.0\r\nHost: {HOST}\r\n{lines}\r\n"),
        ),
        (
            "post",
            format!("POST /public/page HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n{lines}\r\nhi"),
        ),
        (
            "upgrade",
            format!("GET /public/ws HTTP/1.1\r\nHost: {HOST}\r\n{upgrade}{lines}\r\n"),
        ),
        (
            "forged cookie",
            format!("GET /public/page HTTP/1.1\r\nHost: {HOST}\r\nCookie: menshen=x\r\n{lines}\r\n"),
        ),
    ] {
        let answer = stage.send(&request).await;
        assert_eq!(answer.status, 200, "{case}: {}", answer.text());
        let seen = stage.upstream.only();
        assert_clean(&seen, case);
        for name in ["remote-user", "x-menshen-assertion", "x-forwarded-user"] {
            assert!(!seen.headers.has(name), "{case}: an anonymous request carries {name}");
        }
    }
}

#[tokio::test]
async fn with_a_session_only_the_gateways_own_values_arrive_once_each() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    for (case, target) in [
        ("login", "/page"),
        ("public", "/public/page"),
        ("requirements", "/admin/x"),
    ] {
        let lines = format!("Cookie: {cookie}\r\n{}", spoofed_lines());
        assert_eq!(stage.get(target, &lines).await.status, 200, "{case}");
        let seen = stage.upstream.only();
        assert_clean(&seen, case);
        assert_eq!(seen.headers.one("remote-user"), Some("alice"), "{case}");
        assert_eq!(seen.headers.one("remote-groups"), Some("staff,ops"), "{case}");
        assert_eq!(
            seen.headers.one("remote-name"),
            Some("%E7%8E%8B%E5%B0%8F%E6%98%8E"),
            "{case}"
        );
        assert_eq!(seen.headers.one("remote-phone"), Some("+8613800138000"), "{case}");
        let assertion = seen.headers.one("x-menshen-assertion").unwrap();
        assert_eq!(assertion.split('.').count(), 3, "{case}: {assertion}");
    }
}

/// Caddy CVE-2026-30851: who has no such claim fills the gap with a header of their own.
#[tokio::test]
async fn a_claim_that_the_person_lacks_stays_absent() {
    let stage = Stage::plain().await;
    let cookie = stage.login(BOB).await;
    let lines = format!("Cookie: {cookie}\r\n{}", spoofed_lines());
    assert_eq!(stage.get("/page", &lines).await.status, 200);
    let seen = stage.upstream.only();
    assert_clean(&seen, "gap");
    assert!(seen.headers.one("remote-user").unwrap().starts_with("u_"));
    for name in ["remote-groups", "remote-email", "remote-name"] {
        assert!(!seen.headers.has(name), "{name}");
    }
}

/// Traefik CVE-2024-45410, Fabio CVE-2025-48865: hop-by-hop processing after the insertion removes what was inserted.
#[tokio::test]
async fn connection_cannot_nominate_the_gateways_headers() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    for nomination in [
        "close, Remote-User, X-Menshen-Assertion, Remote-Groups",
        "keep-alive, remote-user",
        "X-Request-Id, Remote-User",
        "Remote_User",
    ] {
        let answer = stage
            .get("/page", &format!("Cookie: {cookie}\r\nConnection: {nomination}\r\n"))
            .await;
        assert_eq!(answer.status, 200, "{nomination}: {}", answer.text());
        let seen = stage.upstream.only();
        assert_eq!(seen.headers.one("remote-user"), Some("alice"), "{nomination}");
        assert!(seen.headers.has("x-menshen-assertion"), "{nomination}");
        assert!(seen.headers.has("x-request-id"), "{nomination}");
        let connection = seen.headers.all("connection").join(",").to_lowercase();
        assert!(
            !connection.contains("remote") && !connection.contains("x-"),
            "{nomination}: {connection}"
        );
    }
    // Cookies and credentials of the application are the client's to lose, the frame of the message is not.
    for nomination in [
        "Host",
        "Content-Length",
        "X-Forwarded-For",
        "Transfer-Encoding",
        "X-Forwarded-Proto",
    ] {
        let lines = format!("Cookie: {cookie}\r\nConnection: close, {nomination}\r\n");
        let answer = stage.get("/page", &lines).await;
        let seen = stage.upstream.taken();
        match answer.status {
            400 => assert!(seen.is_empty(), "{nomination}"),
            200 => {
                assert_eq!(seen[0].headers.one("host"), Some(HOST), "{nomination}");
                assert_eq!(
                    seen[0].headers.one("x-forwarded-for"),
                    Some("127.0.0.1"),
                    "{nomination}"
                );
                assert_eq!(seen[0].headers.one("x-forwarded-proto"), Some("http"), "{nomination}");
            }
            other => panic!("{nomination}: {other}"),
        }
    }
}

#[tokio::test]
async fn hop_by_hop_headers_end_at_the_gateway() {
    let stage = Stage::plain().await;
    let lines = "Connection: X-Hop, TE\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\n\
                 TE: trailers\r\nProxy-Authorization: Basic eA==\r\nX-End: 2\r\n";
    assert_eq!(stage.get("/public/", lines).await.status, 200);
    let seen = stage.upstream.only();
    for name in ["x-hop", "keep-alive", "proxy-connection", "proxy-authorization", "te"] {
        assert!(!seen.headers.has(name), "{name}: {seen:?}");
    }
    assert_eq!(seen.headers.one("x-end"), Some("2"));
}

/// oauth2-proxy CVE-2025-64484, Traefik CVE-2026-54763.
#[tokio::test]
async fn names_with_underscores_pass_where_the_site_lists_them_only() {
    let stage = Stage::with_sites(
        r#"
[[sites]]
hosts = ["app.test"]
upstreams = ["UPSTREAM"]
allowed_headers = ["X_Legacy"]
[[sites.routes]]
path = "/public/"
access = "public"

[[sites]]
hosts = ["other.test"]
upstreams = ["UPSTREAM"]
[[sites.routes]]
path = "/public/"
access = "public"
"#,
    )
    .await;
    let lines = "X_Legacy: 1\r\nx_other: 2\r\nX-Legacy_: 3\r\nRemote_User: forged-admin\r\n\
                 Content_Length: 99\r\nX_Forwarded_For: 1.2.3.4\r\nX-Ordinary: 4\r\n";
    for (host, passes) in [(HOST, true), ("other.test", false)] {
        let answer = stage
            .send(format!("GET /public/ HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"))
            .await;
        assert_eq!(answer.status, 200);
        let seen = stage.upstream.only();
        let odd: Vec<&str> = seen
            .headers
            .0
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| name.contains('_'))
            .collect();
        assert_eq!(odd, if passes { vec!["X_Legacy"] } else { vec![] }, "{host}");
        assert_eq!(seen.headers.one("x-ordinary"), Some("4"));
    }
}

/// httpoxy (CVE-2016-5385), URL and method overrides, switches of frameworks (Next.js CVE-2025-29927).
#[tokio::test]
async fn headers_that_change_what_was_decided_on_are_removed() {
    let stage = Stage::plain().await;
    let names = [
        "Proxy",
        "X-Original-URL",
        "X-Original-Host",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Middleware-Subrequest",
        "X-Accel-Redirect",
        "X-Envoy-Original-Path",
        "X-Override-URL",
        "HTTP2-Settings",
        "X_HTTP_Method_Override",
        "Proxy-Authenticate",
    ];
    let lines: String = names.iter().map(|name| format!("{name}: {FORGED}\r\n")).collect();
    assert_eq!(stage.get("/public/", &lines).await.status, 200);
    assert_clean(&stage.upstream.only(), "overrides");
}

/// Traefik's regression of trailers merged into headers.
#[tokio::test]
async fn trailers_of_a_client_do_not_reach_the_upstream() {
    let stage = Stage::plain().await;
    let request = format!(
        "POST /public/ HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nTrailer: Remote-User\r\n\r\n\
         5\r\nhello\r\n0\r\nRemote-User: {FORGED}\r\nX-Menshen-Assertion: {FORGED}\r\n\r\n"
    );
    let answer = stage.send(&request).await;
    assert_eq!(answer.status, 200);
    let seen = stage.upstream.only();
    assert_eq!(seen.body, b"hello");
    assert_eq!(seen.trailers, b"");
    assert_clean(&seen, "trailers");
}

/// An upstream cannot speak in the gateway's name either.
#[tokio::test]
async fn identity_headers_of_an_answer_are_dropped() {
    let stage = Stage::plain().await;
    let lines = "Remote-User: someone\r\nX-Menshen-Assertion: a.b.c\r\nX-Auth-Request-User: someone\r\nX-Mine: 1\r\n";
    stage.upstream.on(
        "/public/",
        super::recorder::Play::Answer(super::recorder::plain(200, lines, "ok")),
    );
    let answer = stage.get("/public/", "").await;
    for name in ["remote-user", "x-menshen-assertion", "x-auth-request-user"] {
        assert!(!answer.headers.has(name), "{name}");
    }
    assert_eq!(answer.headers.one("x-mine"), Some("1"));
}
