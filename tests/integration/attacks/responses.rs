//! What every answer of the gateway's own carries, and what is not in a page (mod_auth_openidc CVE-2017-6059, Authelia
//! CVE-2026-33525; Pingora CVE-2026-2836 for caches).

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::recorder::{Play, plain};
use super::stage::{ALICE, BOB, HOST, NAVIGATION, Plan, Stage};
use super::wire::Answer;

const SCRIPTS: &[&str] = &[
    "\"><script>alert(1)</script>",
    "'><img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "{{7*7}}${7*7}",
    "\u{2028}alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\" onmouseover=\"alert(1)",
];

fn assert_own_headers(answer: &Answer, case: &str) {
    assert_eq!(answer.headers.one("cache-control"), Some("no-store"), "{case}");
    assert_eq!(answer.headers.one("x-content-type-options"), Some("nosniff"), "{case}");
    assert_eq!(answer.headers.one("referrer-policy"), Some("same-origin"), "{case}");
    assert!(
        answer.headers.one("x-request-id").is_some_and(|id| id.len() == 32),
        "{case}"
    );
    assert!(
        !answer.headers.has("server"),
        "{case}: {:?}",
        answer.headers.all("server")
    );
    if answer
        .headers
        .one("content-type")
        .is_some_and(|text| text.starts_with("text/html"))
    {
        let policy = answer.headers.one("content-security-policy").expect(case);
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{case}"
        );
        assert!(!policy.contains("unsafe"), "{case}: {policy}");
        assert_eq!(answer.headers.one("x-frame-options"), Some("DENY"), "{case}");
        assert!(answer.headers.all("vary").join(",").contains("Cookie"), "{case}");
    }
}

#[tokio::test]
async fn every_answer_of_its_own_is_kept_by_nobody_and_framed_by_nobody() {
    let stage = Stage::https().await;
    let cookie = stage.login(BOB).await;
    let ticket = stage.ticket("/page").await;
    assert_own_headers(&ticket.page, "login page in place");
    stage.upstream.on("/public/bad", Play::Close);
    let asked = |target: &str, lines: &str| (target.to_owned(), lines.to_owned());
    for (target, lines) in [
        asked("/.menshen/login", NAVIGATION),
        asked("/.menshen/login", ""),
        asked("/.menshen/logout", NAVIGATION),
        asked("/.menshen/logout?done", NAVIGATION),
        asked("/.menshen/userinfo", ""),
        asked("/.menshen/nothing", ""),
        asked("/.menshen/nothing", NAVIGATION),
        asked("/.menshen/login?rd=a&rd=b", NAVIGATION),
        asked("/secret", ""),
        asked("/secret", NAVIGATION),
        asked("/denied/", ""),
        asked("/denied/", NAVIGATION),
        asked("/public/%2f", NAVIGATION),
        asked("/public/bad", NAVIGATION),
        asked("/public/bad", ""),
        asked("/.menshen/tickets/x", ""),
        asked(
            &format!("/.menshen/tickets/{}", ticket.id),
            &format!("Cookie: {}\r\n", ticket.cookies),
        ),
        asked(
            &format!("/.menshen/tickets/{}/page", ticket.id),
            &format!("{NAVIGATION}Cookie: {}\r\n", ticket.cookies),
        ),
        asked(
            &format!("/.menshen/tickets/{}/qr", ticket.id),
            &format!("Cookie: {}\r\n", ticket.cookies),
        ),
        asked("/admin/", &format!("{NAVIGATION}Cookie: {cookie}\r\n")),
        asked("/.menshen/userinfo", &format!("Cookie: {cookie}\r\n")),
        asked("/.menshen/login?rd=/x", &format!("{NAVIGATION}Cookie: {cookie}\r\n")),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = stage
                .send(format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"))
                .await;
            assert_own_headers(&answer, &format!("{method} {target} {lines:?} {}", answer.status));
            assert!(answer.headers.has("strict-transport-security"), "{method} {target}");
        }
    }
    let keys = stage.get("/.menshen/jwks.json", "").await;
    assert_eq!(keys.headers.one("cache-control"), Some("public, max-age=3600"));
    let keys = keys.json();
    for key in keys["keys"].as_array().unwrap() {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none(), "{private} is published");
        }
    }
    let refused = stage.send("GET /public/ HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    assert_own_headers(&refused, "unknown host");
}

#[tokio::test]
async fn what_was_made_for_one_person_is_kept_by_no_shared_cache() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    for (sent, returned) in [
        ("Cache-Control: public, max-age=60\r\n", vec!["private, max-age=60"]),
        ("Cache-Control: s-maxage=60\r\n", vec!["private"]),
        (
            "Cache-Control: max-age=60\r\nCache-Control: PUBLIC\r\n",
            vec!["private, max-age=60"],
        ),
        ("Cache-Control: no-store\r\n", vec!["no-store"]),
        ("", vec!["private"]),
    ] {
        stage.upstream.on("/page", Play::Answer(plain(200, sent, "x")));
        let answer = stage.get("/page", &format!("Cookie: {cookie}\r\n")).await;
        assert_eq!(answer.headers.all("cache-control"), returned, "{sent:?}");
        stage.upstream.on("/public/", Play::Answer(plain(200, sent, "x")));
        let public = stage.get("/public/", "").await;
        let untouched: Vec<&str> = sent
            .split("\r\n")
            .filter_map(|line| line.strip_prefix("Cache-Control: "))
            .collect();
        assert_eq!(public.headers.all("cache-control"), untouched, "{sent:?}");
    }
}

/// Nothing of a request is markup in a page.
#[tokio::test]
async fn what_a_client_sends_is_text_in_a_page() {
    let stage = Stage::plain().await;
    for script in SCRIPTS {
        let encoded = utf8_percent_encode(script, NON_ALPHANUMERIC).to_string();
        for target in [
            format!("/page?q={encoded}"),
            format!("/.menshen/login?rd=/{encoded}"),
            format!("/.menshen/login?connection={encoded}"),
            format!("/.menshen/{encoded}"),
            format!("/denied/{encoded}"),
            format!("/.menshen/logout?done={encoded}"),
        ] {
            let lines = format!(
                "{NAVIGATION}Accept-Language: {}\r\nReferer: http://app.test/{encoded}\r\n",
                "<script>"
            );
            let page = stage.get(&target, &lines).await;
            let text = page.text();
            let scripts = text.matches("<script").count();
            let known = text.matches("<script src=\"/.menshen/").count()
                + text
                    .matches("<script type=\"application/json\" id=\"menshen\">")
                    .count();
            assert_eq!(scripts, known, "{target}: {script}");
            for harmful in ["<img src=x", "onmouseover=\"alert", "<!--<script"] {
                assert!(!text.contains(harmful), "{target}: {script}");
            }
        }
    }
    // The host of a problem page is not echoed before it is known.
    let answer = stage
        .send(format!("GET / HTTP/1.1\r\nHost: \"><script>\r\n{NAVIGATION}\r\n"))
        .await;
    assert_eq!(answer.status, 400);
    assert!(!answer.text().contains("<script>"));
}

/// Names come from configuration and directory, and are text all the same.
#[tokio::test]
async fn names_are_text_in_a_page() {
    let plan = Plan {
        settings: "[branding]\ntitle = \"<script>alert(1)</script>\"\n[connections.0]\ndisplay_name = \"<b>x</b>\"",
        sites: Some(
            "[[sites]]\nname = \"</script><script>alert(2)</script>\"\nhosts = [\"app.test\"]\nupstreams = [\"UPSTREAM\"]\n",
        ),
        ..Plan::default()
    };
    let stage = Stage::start(plan).await;
    let cookie = stage.login(ALICE).await;
    for (target, lines) in [
        ("/page", NAVIGATION.to_owned()),
        ("/.menshen/login", NAVIGATION.to_owned()),
        ("/.menshen/logout", format!("{NAVIGATION}Cookie: {cookie}\r\n")),
        (
            "/.menshen/login?switch=true",
            format!("{NAVIGATION}Cookie: {cookie}\r\n"),
        ),
    ] {
        let text = stage.get(target, &lines).await.text();
        assert!(text.contains("alert("), "{target}: the names are not there");
        for markup in ["<script>alert", "</script><script>", "<b>x</b>"] {
            assert!(!text.contains(markup), "{target}: {markup}");
        }
    }
}
