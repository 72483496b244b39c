//! Web login: the pages of `open.weixin.qq.com` and what their codes are exchanged for.

use serde_json::json;
use url::Url;

use super::super::{App, AppId, Snapshot};
use super::server::{APP, OTHER, Reply, SERVICE, Server};

const SITE: &str = "wxsandboxsite";
const BACK: &str = "https://login.test/.menshen/connections/web/callback";
const WECHAT: &str = "Mozilla/5.0 (iPhone) Mobile MicroMessenger/8.0.50";

async fn server(snapshot: Snapshot) -> Server {
    Server::of(|config| {
        let mut site = App::website(AppId::new(SITE).unwrap());
        site.callback_hosts = vec!["login.test".to_owned()];
        site.open_platform = Some("corp".to_owned());
        config.apps.push(site);
        let service = config
            .apps
            .iter_mut()
            .find(|app| app.app_id.as_str() == SERVICE)
            .unwrap();
        service.callback_hosts = vec!["login.test".to_owned()];
        service.open_platform = Some("corp".to_owned());
        config.quirks.snapshot = snapshot;
    })
    .await
}

fn page_of(app: &str, scope: &str) -> [(&'static str, String); 5] {
    [
        ("appid", app.to_owned()),
        ("redirect_uri", BACK.to_owned()),
        ("response_type", "code".to_owned()),
        ("scope", scope.to_owned()),
        ("state", "S7".to_owned()),
    ]
}

async fn browse(server: &Server, path: &str, query: &[(&str, String)], agent: &str, cookie: &str) -> reqwest::Response {
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let request = http.get(format!("{}{path}", server.base)).query(query);
    let request = request.header("User-Agent", agent).header("Cookie", cookie);
    request.send().await.unwrap()
}

async fn text(server: &Server, path: &str, query: &[(&str, String)]) -> String {
    browse(server, path, query, "Chrome", "").await.text().await.unwrap()
}

/// Opens a website's page; the name of its code.
async fn shown(server: &Server) -> String {
    let page = text(server, "/connect/qrconnect", &page_of(SITE, "snsapi_login")).await;
    let (_, rest) = page.split_once("data-uuid=\"").unwrap_or_else(|| panic!("{page}"));
    rest.split('"').next().unwrap().to_owned()
}

async fn decide(server: &Server, uuid: &str, allow: bool) -> u16 {
    let body = json!({ "uuid": uuid, "persona": "lilei", "allow": allow });
    let address = format!("{}/connect/confirm", server.base);
    server
        .http
        .post(address)
        .json(&body)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

async fn poll(server: &Server, uuid: &str) -> String {
    text(
        server,
        "/connect/l/qrconnect",
        &[("uuid", uuid.to_owned()), ("last", "404".to_owned())],
    )
    .await
}

async fn exchange(server: &Server, app: &str, code: &str) -> Reply {
    let secret = server.secret(app);
    let query = [
        ("appid", app),
        ("secret", &*secret),
        ("code", code),
        ("grant_type", "authorization_code"),
    ];
    server.get("/sns/oauth2/access_token", &query).await
}

async fn user_info(server: &Server, token: &str, openid: &str) -> Reply {
    server
        .get("/sns/userinfo", &[("access_token", token), ("openid", openid)])
        .await
}

/// Goes through WeChat's browser without a question; where it leads.
async fn authorized(server: &Server, scope: &str) -> Url {
    let mut query = page_of(SERVICE, scope).to_vec();
    query.push(("answer", "allow".to_owned()));
    let answer = browse(
        server,
        "/connect/oauth2/authorize",
        &query,
        WECHAT,
        "sandbox_person=lilei",
    )
    .await;
    assert_eq!(answer.status(), 302);
    answer.headers()["location"].to_str().unwrap().parse().unwrap()
}

fn code_in(url: &Url) -> String {
    let code = url.query_pairs().find(|(name, _)| name == "code");
    code.expect("a code").1.into_owned()
}

#[tokio::test]
async fn a_websites_code_is_scanned_allowed_and_exchanged_once() {
    let server = server(Snapshot::Never).await;
    let uuid = shown(&server).await;
    let picture = browse(&server, &format!("/connect/qrcode/{uuid}"), &[], "Chrome", "").await;
    let picture = picture.bytes().await.unwrap();
    let address = server.sandbox.scan(&picture).unwrap();
    assert!(address.ends_with(&format!("/connect/confirm?uuid={uuid}")), "{address}");
    server.http.get(&address).send().await.unwrap();
    let scanned = text(&server, "/connect/l/qrconnect", &[("uuid", uuid.clone())]).await;
    assert_eq!(scanned, "window.wx_errcode=404;window.wx_code='';");

    assert_eq!(decide(&server, &uuid, true).await, 204);
    assert_eq!(decide(&server, &uuid, false).await, 410, "it is decided");
    let said = poll(&server, &uuid).await;
    let code = said.strip_prefix("window.wx_errcode=405;window.wx_code='").unwrap();
    let code = code.strip_suffix("';").unwrap();
    let grant = exchange(&server, SITE, code).await;
    assert_eq!(grant.content_type, "text/plain");
    let grant = grant.json();
    assert_eq!(grant["openid"], server.sandbox.openid(SITE, "lilei"));
    assert_eq!(grant["unionid"], server.sandbox.unionid("corp", "lilei"));
    assert_eq!(grant["scope"], "snsapi_login");
    assert!(grant.get("is_snapshotuser").is_none() && grant.get("errcode").is_none());
    assert_eq!(exchange(&server, SITE, code).await.errcode(), 40163);

    let (token, openid) = (
        grant["access_token"].as_str().unwrap(),
        grant["openid"].as_str().unwrap(),
    );
    let told = user_info(&server, token, openid).await;
    assert_eq!(told.text("nickname"), "李雷");
    assert_eq!(user_info(&server, token, "another").await.errcode(), 40003);
    assert_eq!(user_info(&server, "nonsense", openid).await.errcode(), 40001);
    server.advance(7_200);
    assert_eq!(user_info(&server, token, openid).await.errcode(), 42001);
}

#[tokio::test]
async fn who_refuses_a_website_is_led_nowhere_and_a_code_runs_out() {
    let server = server(Snapshot::Never).await;
    let uuid = shown(&server).await;
    assert_eq!(decide(&server, &uuid, false).await, 204);
    assert!(poll(&server, &uuid).await.starts_with("window.wx_errcode=403;"));
    let uuid = shown(&server).await;
    server.advance(300);
    assert!(poll(&server, &uuid).await.starts_with("window.wx_errcode=402;"));
    assert_eq!(decide(&server, &uuid, true).await, 410);
}

#[tokio::test]
async fn a_poll_hears_of_the_decision_while_it_waits() {
    let server = server(Snapshot::Never).await;
    let uuid = shown(&server).await;
    let (said, ()) = tokio::join!(poll(&server, &uuid), async {
        assert_eq!(decide(&server, &uuid, true).await, 204);
    });
    assert!(said.starts_with("window.wx_errcode=405;"), "{said}");
}

#[tokio::test]
async fn pages_refuse_what_wechat_refuses() {
    let server = server(Snapshot::Never).await;
    let cases = [
        ("/connect/qrconnect", SITE, "appid", "wxsandboxnobody", "AppID"),
        ("/connect/qrconnect", SITE, "appid", APP, "10005"),
        ("/connect/qrconnect", SITE, "scope", "snsapi_base", "Scope"),
        ("/connect/qrconnect", SITE, "response_type", "token", "Scope"),
        (
            "/connect/qrconnect",
            SITE,
            "redirect_uri",
            "https://evil.test/",
            "10003",
        ),
        (
            "/connect/qrconnect",
            SITE,
            "redirect_uri",
            "https://login.test.evil.test/",
            "10003",
        ),
        (
            "/connect/qrconnect",
            SITE,
            "redirect_uri",
            "javascript:alert(1)",
            "10003",
        ),
        ("/connect/qrconnect", SITE, "state", "a-b", "state"),
        ("/connect/oauth2/authorize", SERVICE, "appid", SITE, "10005"),
        ("/connect/oauth2/authorize", SERVICE, "scope", "snsapi_login", "Scope"),
        (
            "/connect/oauth2/authorize",
            SERVICE,
            "redirect_uri",
            "https://login.test:8443/",
            "10003",
        ),
        (
            "/connect/oauth2/authorize",
            SERVICE,
            "redirect_uri",
            "https://sub.login.test/",
            "10003",
        ),
    ];
    for (path, app, name, value, expected) in cases {
        let scope = if app == SITE { "snsapi_login" } else { "snsapi_base" };
        let mut query = page_of(app, scope);
        for (known, text) in &mut query {
            if *known == name {
                value.clone_into(text);
            }
        }
        let answer = browse(&server, path, &query, WECHAT, "sandbox_person=lilei").await;
        assert_eq!(answer.status(), 200, "{name}={value}");
        let page = answer.text().await.unwrap();
        assert!(
            page.contains("class=\"error\"") && page.contains(expected),
            "{name}={value}: {page}"
        );
    }
    let long =
        page_of(SITE, "snsapi_login").map(|(name, text)| (name, if name == "state" { "x".repeat(129) } else { text }));
    assert!(
        text(&server, "/connect/qrconnect", &long)
            .await
            .contains("class=\"error\"")
    );
    let outside = text(&server, "/connect/oauth2/authorize", &page_of(SERVICE, "snsapi_base")).await;
    assert!(outside.contains("class=\"error\""), "{outside}");
}

#[tokio::test]
async fn the_silent_scope_asks_nobody_and_tells_the_openid_only() {
    let server = server(Snapshot::Never).await;
    let query = page_of(SERVICE, "snsapi_base");
    let answer = browse(
        &server,
        "/connect/oauth2/authorize",
        &query,
        WECHAT,
        "sandbox_person=lilei",
    )
    .await;
    let back: Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
    assert!(back.as_str().starts_with(BACK) && back.query().unwrap().ends_with("&state=S7"));
    let code = code_in(&back);
    let grant = exchange(&server, SERVICE, &code).await.json();
    assert_eq!(grant["openid"], server.sandbox.openid(SERVICE, "lilei"));
    assert!(grant.get("unionid").is_none());
    let (token, openid) = (
        grant["access_token"].as_str().unwrap(),
        grant["openid"].as_str().unwrap(),
    );
    assert_eq!(user_info(&server, token, openid).await.errcode(), 48001);
    // Whose WeChat it is has to be said once.
    let asked = browse(&server, "/connect/oauth2/authorize", &query, WECHAT, "").await;
    assert_eq!(asked.status(), 200);
    assert!(asked.text().await.unwrap().contains("<option value=\"lilei\">"));
}

#[tokio::test]
async fn the_profile_needs_a_yes_and_a_no_comes_back_without_a_code() {
    let server = server(Snapshot::Never).await;
    let query = page_of(SERVICE, "snsapi_userinfo");
    let asked = browse(
        &server,
        "/connect/oauth2/authorize",
        &query,
        WECHAT,
        "sandbox_person=lilei",
    )
    .await;
    assert_eq!(asked.status(), 200);
    let code = code_in(&authorized(&server, "snsapi_userinfo").await);
    let grant = exchange(&server, SERVICE, &code).await.json();
    assert_eq!(grant["unionid"], server.sandbox.unionid("corp", "lilei"));
    let mut refused = query.to_vec();
    refused.push(("answer", "refuse".to_owned()));
    let answer = browse(
        &server,
        "/connect/oauth2/authorize",
        &refused,
        WECHAT,
        "sandbox_person=lilei",
    )
    .await;
    assert_eq!(answer.headers()["location"], format!("{BACK}?state=S7"));
}

#[tokio::test]
async fn a_snapshot_is_a_virtual_person_marked_or_not() {
    for (snapshot, mark) in [(Snapshot::Marked, Some(1)), (Snapshot::Unmarked, None)] {
        let server = server(snapshot).await;
        let code = code_in(&authorized(&server, "snsapi_userinfo").await);
        let grant = exchange(&server, SERVICE, &code).await.json();
        assert_eq!(grant.get("is_snapshotuser").and_then(serde_json::Value::as_i64), mark);
        assert_ne!(grant["openid"], server.sandbox.openid(SERVICE, "lilei"));
        let (token, openid) = (
            grant["access_token"].as_str().unwrap(),
            grant["openid"].as_str().unwrap(),
        );
        assert_eq!(user_info(&server, token, openid).await.errcode(), 48001);
    }
}

#[tokio::test]
async fn a_code_belongs_to_its_app_and_its_time() {
    let server = server(Snapshot::Never).await;
    let code = code_in(&authorized(&server, "snsapi_base").await);
    assert_eq!(exchange(&server, SITE, &code).await.errcode(), 40029);
    let code = code_in(&authorized(&server, "snsapi_base").await);
    server.advance(300);
    assert_eq!(exchange(&server, SERVICE, &code).await.errcode(), 40029);
    let code = code_in(&authorized(&server, "snsapi_base").await);
    assert_eq!(
        exchange(&server, OTHER, &code).await.errcode(),
        48001,
        "a mini program has none"
    );
}
