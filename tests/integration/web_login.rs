//! Logins that send the browser to WeChat and back: `website-qr` and `official-account-web`.

use menshen::sandbox::{Effect, Endpoint, Fault, SERVICE_APP, Snapshot, WEBSITE_APP};
use menshen::store::UserChange;
use serde_json::json;
use url::Url;

use crate::support::assertion::verify;
use crate::support::browser::{Cookie, between, unescape};
use crate::support::wire::Request;
use crate::support::world::{PUBLIC_HOST, Plan, SITE};
use crate::support::{Answer, Browser, World};

const FILES: &str = "files.test";
const HANDOFF: &str = "__Host-menshen-handoff";
const WECHAT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 \
    MicroMessenger/8.0.50";

/// Connections: the mini program `staff`, the website application `site`, the service account `web`.
fn plan(more: &str) -> Plan {
    let connections = format!(
        "[[connections]]\nid = \"site\"\nkind = \"website-qr\"\ndisplay_name = \"Website\"\napp_id = \"{WEBSITE_APP}\"\n\
         app_secret = \"{SECRET}\"\nopen_platform = \"corp\"\n{more}\n\
         [[connections]]\nid = \"web\"\nkind = \"official-account-web\"\ndisplay_name = \"In WeChat\"\n\
         app_id = \"{SERVICE_APP}\"\napp_secret = \"{SECRET}\"\nopen_platform = \"corp\"\nscope = \"snsapi_userinfo\"\n"
    );
    World::plan_https().append(&connections).wechat(|config| {
        for app in &mut config.apps {
            if app.app_id.as_str() == WEBSITE_APP || app.app_id.as_str() == SERVICE_APP {
                app.secret = SECRET.into();
                app.callback_hosts = vec![PUBLIC_HOST.to_owned()];
                app.open_platform = Some("corp".to_owned());
            }
        }
    })
}

async fn world() -> World {
    plan("").start().await
}

/// With a second site before the same application, which lists `site` only.
async fn two_sites(plan: Plan) -> World {
    let mut world = plan
        .append(&format!(
            "[[sites]]\nname = \"Files\"\nhosts = [\"{FILES}\"]\nupstreams = [\"http://127.0.0.1:9\"]\n\
             connections = [\"site\"]\n"
        ))
        .build()
        .await;
    let application = world.upstream.address();
    world.change("sites.1.upstreams", vec![format!("http://{application}")]);
    world.start_gateway().await;
    world
}

/// A browser's way to WeChat, as far as WeChat's page.
struct Away {
    page: Url,
}

impl Away {
    /// Begins at a host; outside of WeChat's browser unless `agent` says otherwise.
    async fn begin(browser: &mut Browser<'_>, connection: &str, rd: &str, agent: Option<&str>) -> Self {
        let target = format!("/.menshen/connections/{connection}/start?rd={}", encode(rd));
        let answer = navigate(browser, &target, agent).await.expect(303);
        Self {
            page: answer.header("location").unwrap().parse().unwrap(),
        }
    }

    fn parameter(&self, name: &str) -> String {
        let found = self.page.query_pairs().find(|(known, _)| known == name);
        found
            .unwrap_or_else(|| panic!("{name} in {}", self.page))
            .1
            .into_owned()
    }

    fn state(&self) -> String {
        self.parameter("state")
    }

    /// Scans and allows, as `persona`: the address that WeChat sends the browser to.
    async fn scanned_by(&self, world: &World, persona: &str) -> Url {
        let http = client();
        let page = http.get(self.page.as_str()).send().await.unwrap().text().await.unwrap();
        let uuid = between(&page, "data-uuid=\"", "\"").unwrap_or_else(|| panic!("{page}"));
        let back = unescape(between(&page, "data-back=\"", "\"").unwrap());
        let base = world.sandbox.base_url().unwrap();
        let decision = json!({ "uuid": uuid, "persona": persona, "allow": true });
        let confirm = base.join("/connect/confirm").unwrap();
        assert_eq!(http.post(confirm).json(&decision).send().await.unwrap().status(), 204);
        let poll = base
            .join(&format!("/connect/l/qrconnect?uuid={uuid}&last=404"))
            .unwrap();
        let said = http.get(poll).send().await.unwrap().text().await.unwrap();
        let code = between(&said, "window.wx_code='", "'").unwrap();
        assert!(said.contains("wx_errcode=405"), "{said}");
        world.keep_secret(code);
        let mut back = Url::parse(&back).unwrap();
        back.query_pairs_mut()
            .append_pair("code", code)
            .append_pair("state", &self.state());
        back
    }

    /// Answers inside WeChat's browser.
    async fn answered(&self, world: &World, persona: &str, answer: &str) -> Url {
        let mut page = self.page.clone();
        page.set_fragment(None);
        page.query_pairs_mut()
            .append_pair("persona", persona)
            .append_pair("answer", answer);
        let answered = client().get(page).header("User-Agent", WECHAT).send().await.unwrap();
        assert_eq!(answered.status(), 302, "{}", answered.text().await.unwrap());
        let back: Url = answered.headers()["location"].to_str().unwrap().parse().unwrap();
        if let Some((_, code)) = back.query_pairs().find(|(name, _)| name == "code") {
            world.keep_secret(&code);
        }
        back
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn path_of(url: &Url) -> String {
    url[url::Position::BeforePath..].to_owned()
}

fn navigation(browser: &Browser<'_>, target: &str, agent: Option<&str>) -> Request {
    let request = browser.navigation("GET", target).header("Sec-Fetch-Site", "none");
    match agent {
        Some(agent) => request.without("User-Agent").header("User-Agent", agent),
        None => request,
    }
}

async fn navigate(browser: &mut Browser<'_>, target: &str, agent: Option<&str>) -> Answer {
    let request = navigation(browser, target, agent);
    browser.send(request).await
}

/// WeChat's address at `public_url`, by a browser that need not be known there.
async fn callback(world: &World, back: &Url) -> Answer {
    assert_eq!(back.host_str(), Some(PUBLIC_HOST));
    world.browser_at(PUBLIC_HOST).open(&path_of(back)).await
}

/// Where an answer leads, as a path of `host`.
#[track_caller]
fn led_to(answer: &Answer, host: &str) -> String {
    let location = answer.header("location").unwrap_or_else(|| panic!("{}", answer.head()));
    let url = Url::parse(location).unwrap();
    assert_eq!(
        (url.scheme(), url.host_str(), url.port()),
        ("https", Some(host), None),
        "{url}"
    );
    path_of(&url)
}

/// The whole login by the website application; where it leads.
async fn log_in(world: &World, browser: &mut Browser<'_>, rd: &str, persona: &str) -> Answer {
    let away = Away::begin(browser, "site", rd, None).await;
    let back = away.scanned_by(world, persona).await;
    let taking = led_to(&callback(world, &back).await.expect(303), &browser.host.clone());
    browser.open(&taking).await
}

#[tokio::test]
async fn a_website_login_ends_as_a_session_of_the_host_that_began() {
    let world = world().await;
    let mut browser = world.browser();
    let away = Away::begin(&mut browser, "site", "/reports?month=3&q=%E4%B8%AD", None).await;
    assert_eq!(away.page.path(), "/connect/qrconnect");
    assert_eq!(away.page.fragment(), Some("wechat_redirect"));
    assert_eq!(
        away.parameter("redirect_uri"),
        format!("https://{PUBLIC_HOST}/.menshen/connections/site/callback")
    );
    assert_eq!(away.parameter("lang"), "en");
    let state = away.state();
    assert!(
        state.len() <= 128 && state.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{state}"
    );
    let kept = browser.cookie(HANDOFF).unwrap().to_owned();
    assert!(
        !away.page.as_str().contains(kept.split('.').next().unwrap()),
        "only its hash travels"
    );

    let back = away.scanned_by(&world, "lilei").await;
    let answer = callback(&world, &back).await.expect(303);
    assert_eq!(answer.header("set-cookie"), None, "no session stays at public_url");
    let taken = browser.open(&led_to(&answer, SITE)).await.expect(303);
    assert_eq!(taken.header("location"), Some("/reports?month=3&q=%E4%B8%AD"));
    browser.open("/reports").await.expect(200);
    let me = browser.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    assert_eq!((&me["name"], &me["connection"]), (&"李雷".into(), &"site".into()));
    assert_eq!(me["picture"], "https://thirdwx.qlogo.cn/mmopen/vi_32/lilei/132");
    let amr = assertion(&world).await["amr"].clone();
    assert_eq!(amr, json!(["wechat_website"]));
    assert_eq!(world.sandbox.calls(Endpoint::OauthToken), 1);
    let user = me["sub"].as_str().unwrap();
    let identity = world.store().await.identities_of(user).await.unwrap().remove(0);
    assert_eq!(
        identity.unionid.as_deref(),
        Some(&*world.sandbox.unionid("corp", "lilei"))
    );
    let page = world.browser_at(PUBLIC_HOST).open("/.menshen/login").await.expect(200);
    assert!(page.text().contains("Website"), "the portal knows nobody");
}

/// The claims of the assertion that the application got last.
async fn assertion(world: &World) -> serde_json::Value {
    let seen = world.upstream.last();
    let token = seen.header("x-menshen-assertion").expect("an assertion").clone();
    let request = world.browser_at(PUBLIC_HOST).script("GET", "/.menshen/jwks.json");
    let keys = world.send(&request).await.expect(200).json();
    verify(
        &token,
        &keys,
        &format!("https://{PUBLIC_HOST}"),
        SITE,
        world.clock.now(),
    )
    .1
}

#[tokio::test]
async fn inside_wechat_it_is_the_first_way_and_a_tap_begins_it() {
    let world = world().await;
    let mut browser = world.browser();
    let page = navigate(&mut browser, "/a", Some(WECHAT)).await.expect(401);
    assert!(
        page.text().contains("/.menshen/connections/web/start?rd=%2Fa"),
        "{}",
        page.text()
    );
    assert_eq!(
        page.header("location"),
        None,
        "never by itself: WeChat would show a snapshot"
    );
    let away = Away::begin(&mut browser, "web", "/a", Some(WECHAT)).await;
    assert_eq!(away.page.path(), "/connect/oauth2/authorize");
    assert_eq!(away.parameter("scope"), "snsapi_userinfo");
    let back = away.answered(&world, "hanmeimei", "allow").await;
    let taking = led_to(&callback(&world, &back).await.expect(303), SITE);
    let taken = navigate(&mut browser, &taking, Some(WECHAT)).await.expect(303);
    assert_eq!(taken.header("location"), Some("/a"));
    navigate(&mut browser, "/a", Some(WECHAT)).await.expect(200);
    assert_eq!(assertion(&world).await["amr"], json!(["wechat_web"]));
    assert_eq!(assertion(&world).await["name"], "韩梅梅");
}

#[tokio::test]
async fn outside_of_wechat_there_is_no_such_way() {
    let world = world().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.expect(401).text();
    assert!(
        page.contains("connection=site") && !page.contains("connection=web"),
        "{page}"
    );
    for target in ["/.menshen/connections/web/start", "/.menshen/login?connection=web"] {
        let answer = browser.open(target).await;
        assert!(answer.text().contains("open this page in WeChat"), "{}", answer.text());
        assert!(!answer.text().contains("/connect/oauth2"));
    }
}

#[tokio::test]
async fn a_site_with_nothing_but_that_way_says_where_to_open_it() {
    let world = plan("").set("sites.0.connections", vec!["web"]).start().await;
    let answer = world.browser().open("/").await.refused_page(401);
    assert!(answer.text().contains("open this page in WeChat"), "{}", answer.text());
    assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"menshen\""));
}

#[tokio::test]
async fn one_person_is_one_user_whichever_way_they_come() {
    let world = world().await;
    let mut desktop = world.browser();
    log_in(&world, &mut desktop, "/", "lilei").await.expect(303);
    let first = desktop.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    let mut phone = world.browser();
    let away = Away::begin(&mut phone, "web", "/", Some(WECHAT)).await;
    let back = away.answered(&world, "lilei", "allow").await;
    let taking = led_to(&callback(&world, &back).await.expect(303), SITE);
    navigate(&mut phone, &taking, Some(WECHAT)).await.expect(303);
    let second = phone.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    assert_eq!(first["sub"], second["sub"], "known by the unionid");
}

#[tokio::test]
async fn what_an_operator_called_somebody_stays() {
    let world = world().await;
    log_in(&world, &mut world.browser(), "/", "lilei").await.expect(303);
    let store = world.store().await;
    let user = store.users_after("", 1).await.unwrap().remove(0);
    let change = UserChange {
        name: Some(Some("Li Lei".to_owned())),
        picture: Some(Some("https://intranet.test/lilei.png".to_owned())),
        ..UserChange::default()
    };
    store.update_user(&user.id, &change, world.clock.now()).await.unwrap();
    let mut browser = world.browser();
    log_in(&world, &mut browser, "/", "lilei").await.expect(303);
    let me = browser.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    assert_eq!(
        (&me["name"], &me["picture"]),
        (&"Li Lei".into(), &"https://intranet.test/lilei.png".into())
    );
}

#[tokio::test]
async fn the_frame_is_allowed_where_it_is_and_leads_to_the_same_place() {
    let world = world().await;
    let mut browser = world.browser();
    let page = browser
        .open("/.menshen/login?connection=site&rd=%2Fdeep")
        .await
        .expect(200);
    let html = page.text();
    let frame = unescape(between(&html, "<iframe class=\"wechat\" src=\"", "\"").unwrap_or_else(|| panic!("{html}")));
    let base = world.sandbox.base_url().unwrap();
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.ends_with(&format!("; frame-src {}", base.origin().ascii_serialization())),
        "{policy}"
    );
    assert!(policy.contains("script-src 'self';"), "no script of WeChat's: {policy}");
    assert!(html.contains("sandbox=\"allow-scripts allow-same-origin allow-top-navigation\""));
    let other = browser.open("/.menshen/login?connection=staff").await.expect(200);
    assert!(!other.header("content-security-policy").unwrap().contains("frame-src"));

    let away = Away {
        page: frame.parse().unwrap(),
    };
    assert_eq!(
        (away.parameter("login_type"), away.parameter("self_redirect")),
        ("jssdk".into(), "default".into())
    );
    let back = away.scanned_by(&world, "lilei").await;
    let taking = led_to(&callback(&world, &back).await.expect(303), SITE);
    assert_eq!(
        browser.open(&taking).await.expect(303).header("location"),
        Some("/deep")
    );
}

#[tokio::test]
async fn without_the_frame_a_button_leads_to_wechat() {
    let world = plan("embedded = false").start().await;
    let mut browser = world.browser();
    let page = browser
        .open("/.menshen/login?connection=site&rd=%2Fx")
        .await
        .expect(200);
    assert!(!page.text().contains("<iframe") && page.text().contains("/.menshen/connections/site/start?rd=%2Fx"));
    assert!(!page.header("content-security-policy").unwrap().contains("frame-src"));
    assert_eq!(browser.cookie(HANDOFF), None, "the button plants it");
}

#[tokio::test]
async fn tabs_find_their_own_pages() {
    let world = world().await;
    let mut browser = world.browser();
    let first = Away::begin(&mut browser, "site", "/first", None).await;
    let second = Away::begin(&mut browser, "site", "/second", None).await;
    for (away, page) in [(first, "/first"), (second, "/second")] {
        let back = away.scanned_by(&world, "lilei").await;
        let taking = led_to(&callback(&world, &back).await.expect(303), SITE);
        assert_eq!(browser.open(&taking).await.expect(303).header("location"), Some(page));
    }
}

#[tokio::test]
async fn a_place_elsewhere_or_too_long_is_the_start_page() {
    let world = world().await;
    for rd in [
        "https://evil.test/",
        "//evil.test/",
        "/.menshen/logout",
        &format!("/{}", "x".repeat(2_100)),
    ] {
        let taken = log_in(&world, &mut world.browser(), rd, "lilei").await.expect(303);
        assert_eq!(taken.header("location"), Some("/"), "{rd}");
    }
    let long = format!("/{}", "x".repeat(1_900));
    let taken = log_in(&world, &mut world.browser(), &long, "lilei").await.expect(303);
    assert_eq!(taken.header("location"), Some(&*long));
}

#[tokio::test]
async fn who_declines_is_told_how_to_go_on() {
    let world = world().await;
    let mut browser = world.browser();
    let away = Away::begin(&mut browser, "web", "/", Some(WECHAT)).await;
    let back = away.answered(&world, "lilei", "refuse").await;
    let answer = callback(&world, &back).await.refused_page(410);
    assert!(answer.text().contains("Not confirmed in WeChat"), "{}", answer.text());
    assert!(
        answer
            .text()
            .contains(&format!("href=\"https://{SITE}/.menshen/login\"")),
        "{}",
        answer.text()
    );
    assert_eq!(world.sandbox.calls(Endpoint::OauthToken), 0);
    // The answer `authdeny` of old clients is no code either.
    let denied = format!(
        "/.menshen/connections/web/callback?code=authdeny&state={}",
        away.state()
    );
    world.browser_at(PUBLIC_HOST).open(&denied).await.refused_page(410);
    // Nothing is spent: who changes their mind goes on.
    let back = away.answered(&world, "lilei", "allow").await;
    callback(&world, &back).await.expect(303);
}

/// Login CSRF: the callback of somebody else's login, opened in a browser that never asked for it.
#[tokio::test]
async fn another_browser_gets_nothing_from_a_callback() {
    let world = world().await;
    let mut attacker = world.browser();
    let away = Away::begin(&mut attacker, "site", "/", None).await;
    let back = away.scanned_by(&world, "lilei").await;
    let mut victim = world.browser();
    let taking = led_to(&callback(&world, &back).await.expect(303), SITE);
    victim.open(&taking).await.refused_page(404);
    Away::begin(&mut victim, "site", "/", None).await;
    victim.open(&taking).await.refused_page(404);
    assert_eq!(victim.cookie("__Host-menshen"), None);
    // At another host it is worth nothing either, and the right browser still gets in.
    let mut elsewhere = world.browser_at(PUBLIC_HOST);
    elsewhere.cookies.clone_from(&attacker.cookies);
    elsewhere.open(&taking).await.refused_page(404);
    attacker.open(&taking).await.expect(303);
}

/// The other way round: a victim's silent consent to an attacker's state must not reach the attacker.
#[tokio::test]
async fn who_began_learns_nothing_from_somebody_elses_consent() {
    let world = world().await;
    let mut attacker = world.browser();
    let away = Away::begin(&mut attacker, "web", "/", Some(WECHAT)).await;
    let back = away.answered(&world, "lilei", "allow").await;
    let answer = callback(&world, &back).await.expect(303);
    // The victim's browser is refused at the host; the attacker, who knows the state, asks with other codes.
    let (state, own) = (away.state(), away.answered(&world, "zhangsan", "allow").await);
    let own_code = own
        .query_pairs()
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    for code in [own_code.as_str(), "guess", "0"] {
        let target = format!("/.menshen/connections/web/callback?code={code}&state={state}");
        let refused = world.browser_at(PUBLIC_HOST).open(&target).await.refused_page(404);
        assert_eq!(refused.header("location"), None);
    }
    assert_eq!(
        world.sandbox.calls(Endpoint::OauthToken),
        1,
        "a state is good for one code"
    );
    let mut victim = world.browser();
    victim.open(&led_to(&answer, SITE)).await.refused_page(404);
}

#[tokio::test]
async fn a_reloaded_callback_leads_to_the_same_place_and_asks_wechat_once() {
    let world = world().await;
    let mut browser = world.browser();
    let away = Away::begin(&mut browser, "site", "/a", None).await;
    let back = away.scanned_by(&world, "lilei").await;
    let path = path_of(&back);
    let (mut one, mut two) = (world.browser_at(PUBLIC_HOST), world.browser_at(PUBLIC_HOST));
    let (first, second) = tokio::join!(one.open(&path), two.open(&path));
    let (first, second) = (first.expect(303), second.expect(303));
    assert_eq!(first.header("location"), second.header("location"));
    assert_eq!(world.sandbox.calls(Endpoint::OauthToken), 1);
    let taking = led_to(&first, SITE);
    browser.open(&taking).await.expect(303);
    let session = browser.cookie("__Host-menshen").unwrap().to_owned();
    // Once more, out of the history.
    let again = led_to(&callback(&world, &back).await.expect(303), SITE);
    assert_eq!(again, taking);
    assert_eq!(browser.open(&taking).await.expect(303).header("location"), Some("/"));
    assert_eq!(browser.cookie("__Host-menshen"), Some(&*session));
    // Without the session the code is spent.
    browser.cookies.retain(|cookie| cookie.name != "__Host-menshen");
    browser.open(&taking).await.refused_page(404);
}

#[tokio::test]
async fn a_state_that_is_forged_foreign_or_old_has_one_answer_and_asks_nobody() {
    let world = two_sites(plan("")).await;
    let mut browser = world.browser();
    let away = Away::begin(&mut browser, "site", "/", None).await;
    let state = away.state();
    let changed: String = state.chars().rev().collect();
    let cases = [
        ("site", String::new()),
        ("site", "x".to_owned()),
        ("site", changed),
        ("site", format!("{state}0")),
        ("site", "A".repeat(4_000)),
        ("web", state.clone()),
    ];
    let mut pages = Vec::new();
    for (connection, state) in cases {
        let target = format!("/.menshen/connections/{connection}/callback?code=c&state={state}");
        let answer = world.browser_at(PUBLIC_HOST).open(&target).await.refused_page(404);
        let id = answer.header("x-request-id").unwrap().to_owned();
        pages.push(answer.text().replace(&id, ""));
    }
    pages.dedup();
    assert_eq!(pages.len(), 1, "{pages:#?}");
    world.advance(600);
    world.ready().await;
    let target = format!("/.menshen/connections/site/callback?code=c&state={state}");
    world.browser_at(PUBLIC_HOST).open(&target).await.refused_page(404);
    assert_eq!(world.sandbox.calls(Endpoint::OauthToken), 0);
}

#[tokio::test]
async fn a_code_for_the_host_runs_out() {
    let world = world().await;
    let mut browser = world.browser();
    let away = Away::begin(&mut browser, "site", "/", None).await;
    let taking = led_to(
        &callback(&world, &away.scanned_by(&world, "lilei").await)
            .await
            .expect(303),
        SITE,
    );
    world.advance(31);
    world.ready().await;
    browser.open(&taking).await.refused_page(404);
}

#[tokio::test]
async fn wechats_code_may_be_used_up_wrong_or_unanswered() {
    let table = [
        (Effect::Error(40_029), 422, "came too late"),
        (Effect::Error(40_163), 422, "came too late"),
        (Effect::Error(-1), 503, "WeChat is busy"),
        (Effect::EmptyBody, 503, "WeChat cannot be reached"),
        // The last: WeChat is not called for a minute after it.
        (Effect::Error(40_125), 502, "not set up correctly"),
    ];
    let world = world().await;
    for (effect, status, said) in table {
        let mut browser = world.browser();
        let away = Away::begin(&mut browser, "site", "/", None).await;
        let back = away.scanned_by(&world, "lilei").await;
        world.sandbox.forget_calls();
        world.sandbox.inject(Fault::once(Endpoint::OauthToken, effect.clone()));
        let answer = callback(&world, &back).await.refused_page(status);
        assert!(answer.text().contains(said), "{effect:?}: {}", answer.text());
        assert!(
            answer.text().contains(&format!("https://{SITE}/.menshen/login")),
            "{}",
            answer.text()
        );
        // Reloaded: the code is not sent again, whatever became of it.
        callback(&world, &back).await.refused_page(404);
        assert_eq!(world.sandbox.calls(Endpoint::OauthToken), 1, "{effect:?}");
        world.advance(61);
        world.ready().await;
    }
}

/// Each is a state that anybody gets, and a code that nobody has: without a limit of its own it would be six hundred rows
/// a minute.
#[tokio::test]
async fn who_comes_back_with_codes_that_are_none_is_slowed_down_and_leaves_no_rows() {
    let world = world().await;
    let mut watch = world.watch_store().await;
    for (code, asked) in [("x%20y", false), ("%E4%B8%AD", false), ("guessed", true)] {
        let agent = |request: Request| {
            request
                .without("X-Forwarded-For")
                .header("X-Forwarded-For", &address_of(code))
        };
        let mut refused = 0;
        loop {
            assert!(refused < 100, "{code}: nobody is slowed down");
            let mut browser = world.browser();
            let start = agent(navigation(&browser, "/.menshen/connections/site/start?rd=/", None));
            let answer = browser.send(start).await;
            if answer.status == 429 {
                break;
            }
            let page: Url = answer.expect(303).header("location").unwrap().parse().unwrap();
            let state = Away { page }.state();
            let back = format!("/.menshen/connections/site/callback?code={code}&state={state}");
            let public = world.browser_at(PUBLIC_HOST);
            let answer = world.send(&agent(navigation(&public, &back, None))).await;
            if answer.status == 429 {
                break;
            }
            answer.refused_page(422);
            refused += 1;
        }
        assert!(refused >= 40, "{code}: {refused}");
        let rows = watch.count("SELECT COUNT(*) FROM handoffs").await;
        assert_eq!(rows, if asked { refused } else { 0 }, "{code}");
        assert_eq!(world.sandbox.calls(Endpoint::OauthToken) > 0, asked);
    }
}

/// An address for what is counted by address.
fn address_of(text: &str) -> String {
    format!("198.51.100.{}", 10 + text.len())
}

#[tokio::test]
async fn who_is_not_told_by_name_gets_in() {
    let world = world().await;
    world
        .sandbox
        .inject(Fault::once(Endpoint::UserInfo, Effect::Error(40_001)));
    let mut browser = world.browser();
    log_in(&world, &mut browser, "/", "lilei").await.expect(303);
    let me = browser.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    assert_eq!(me.get("picture"), None, "{me}");
}

#[tokio::test]
async fn a_snapshot_is_refused_and_never_stored() {
    for snapshot in [Snapshot::Marked, Snapshot::Unmarked] {
        let world = plan("")
            .wechat(|config| config.quirks.snapshot = snapshot)
            .start()
            .await;
        let mut browser = world.browser();
        let away = Away::begin(&mut browser, "web", "/", Some(WECHAT)).await;
        let back = away.answered(&world, "lilei", "allow").await;
        let answer = callback(&world, &back).await.refused_page(403);
        assert!(answer.text().contains("Use full service"), "{}", answer.text());
        assert_eq!(world.store().await.users_after("", 10).await.unwrap(), []);
        let audit = world.menshen(&["audit", "export"]).await.done();
        assert!(audit.contains("snapshot"), "{audit}");
    }
}

#[tokio::test]
async fn who_is_disabled_unknown_or_blocked_is_refused_at_public_url() {
    let world = world().await;
    log_in(&world, &mut world.browser(), "/", "lilei").await.expect(303);
    let store = world.store().await;
    let user = store.users_after("", 1).await.unwrap().remove(0);
    store
        .set_disabled(&user.id, true, "left", world.clock.now())
        .await
        .unwrap();
    let mut browser = world.browser();
    let away = Away::begin(&mut browser, "site", "/", None).await;
    let refused = callback(&world, &away.scanned_by(&world, "lilei").await)
        .await
        .refused_page(403);
    assert!(refused.text().contains("403 user_disabled"), "{}", refused.text());
    assert_eq!(
        store.users_after("", 10).await.unwrap().len(),
        1,
        "nobody in their place"
    );

    let closed = plan("login_only = true").start().await;
    let away = Away::begin(&mut closed.browser(), "site", "/", None).await;
    let refused = callback(&closed, &away.scanned_by(&closed, "lilei").await)
        .await
        .refused_page(403);
    assert!(refused.text().contains("403 no_account"), "{}", refused.text());
}

/// Disabled between the callback and the host.
#[tokio::test]
async fn who_is_disabled_on_the_way_arrives_nowhere() {
    let world = world().await;
    let mut browser = world.browser();
    let away = Away::begin(&mut browser, "site", "/", None).await;
    let taking = led_to(
        &callback(&world, &away.scanned_by(&world, "lilei").await)
            .await
            .expect(303),
        SITE,
    );
    let store = world.store().await;
    let user = store.users_after("", 1).await.unwrap().remove(0);
    store
        .set_disabled(&user.id, true, "left", world.clock.now())
        .await
        .unwrap();
    browser.open(&taking).await.refused_page(404);
}

#[tokio::test]
async fn a_connection_is_used_where_it_is_listed() {
    let world = two_sites(plan("").set("sites.0.connections", vec!["staff", "web"])).await;
    let mut wiki = world.browser();
    wiki.open("/.menshen/connections/site/start").await.refused_page(404);
    wiki.open("/.menshen/connections/staff/start").await.refused_page(404);
    wiki.open("/.menshen/connections/nobody/start").await.refused_page(404);
    assert!(!wiki.open("/").await.text().contains("connection=site"));
    let mut files = world.browser_at(FILES);
    navigate(&mut files, "/.menshen/connections/web/start", Some(WECHAT))
        .await
        .refused_page(404);
    // Callbacks come to public_url only.
    let away = Away::begin(&mut files, "site", "/", None).await;
    let back = away.scanned_by(&world, "lilei").await;
    files.open(&path_of(&back)).await.refused_page(404);
    let taking = led_to(&callback(&world, &back).await.expect(303), FILES);
    files.open(&taking).await.expect(303);
    assert!(files.open("/x").await.expect(200).is_of_upstream());
    // A session of one site's connection is none at the other.
    wiki.cookies.clone_from(&files.cookies);
    assert_eq!(wiki.open("/").await.status, 401);
}

#[tokio::test]
async fn two_hosts_have_their_own_logins_at_the_same_time() {
    let world = two_sites(plan("")).await;
    let (mut wiki, mut files) = (world.browser(), world.browser_at(FILES));
    let one = Away::begin(&mut wiki, "site", "/one", None).await;
    let two = Away::begin(&mut files, "site", "/two", None).await;
    let to_files = led_to(
        &callback(&world, &two.scanned_by(&world, "hanmeimei").await)
            .await
            .expect(303),
        FILES,
    );
    let to_wiki = led_to(
        &callback(&world, &one.scanned_by(&world, "lilei").await)
            .await
            .expect(303),
        SITE,
    );
    wiki.open(&to_files).await.refused_page(404);
    assert_eq!(wiki.open(&to_wiki).await.expect(303).header("location"), Some("/one"));
    assert_eq!(files.open(&to_files).await.expect(303).header("location"), Some("/two"));
    let name =
        async |browser: &mut Browser<'_>| browser.fetch("GET", "/.menshen/userinfo").await.json()["name"].clone();
    assert_eq!(
        (name(&mut wiki).await, name(&mut files).await),
        ("李雷".into(), "韩梅梅".into())
    );
    // Each ends by itself: nothing connects them at public_url.
    wiki.submit("/.menshen/logout", &[]).await.expect(303);
    assert_eq!(files.fetch("GET", "/.menshen/userinfo").await.status, 200);
}

#[tokio::test]
async fn with_single_sign_on_the_login_is_at_public_url_and_serves_both() {
    let world = two_sites(
        plan("")
            .set("login.single_sign_on", true)
            .set("sites.0.connections", vec!["site"]),
    )
    .await;
    let (mut wiki, mut portal, mut files) = (world.browser(), world.browser_at(PUBLIC_HOST), world.browser_at(FILES));
    let to_login = led_to(&wiki.open("/deep?x=1").await.expect(303), PUBLIC_HOST);
    let page = portal.open(&to_login).await.expect(200).text();
    let start = unescape(between(&page, "class=\"button second\" href=\"", "\"").unwrap_or_else(|| panic!("{page}")));
    let away = Away {
        page: portal
            .open(&start)
            .await
            .expect(303)
            .header("location")
            .unwrap()
            .parse()
            .unwrap(),
    };
    let back = away.scanned_by(&world, "lilei").await;
    let to_portal = led_to(&portal.open(&path_of(&back)).await.expect(303), PUBLIC_HOST);
    let to_wiki = led_to(&portal.open(&to_portal).await.expect(303), SITE);
    assert_eq!(
        wiki.open(&to_wiki).await.expect(303).header("location"),
        Some("/deep?x=1")
    );
    wiki.open("/deep?x=1").await.expect(200);
    // The next host asks nobody.
    let to_login = led_to(&files.open("/f").await.expect(303), PUBLIC_HOST);
    let to_files = led_to(&portal.open(&to_login).await.expect(303), FILES);
    assert_eq!(files.open(&to_files).await.expect(303).header("location"), Some("/f"));
    // A start at the host itself is sent to public_url, too.
    let sent = led_to(
        &wiki.open("/.menshen/connections/site/start?rd=%2Fy").await.expect(303),
        PUBLIC_HOST,
    );
    assert!(
        sent.contains("connection=site") && sent.contains("switch=true"),
        "{sent}"
    );
}

#[tokio::test]
async fn nothing_but_a_page_that_somebody_opens_plants_or_spends_anything() {
    let world = world().await;
    let mut browser = world.browser();
    let start = "/.menshen/connections/site/start";
    browser.fetch("GET", start).await.refused(401, "login_required");
    let head = browser.navigation("HEAD", start);
    assert_eq!(browser.send(head).await.header("set-cookie"), None);
    let prefetch = browser.navigation("GET", start).header("Sec-Purpose", "prefetch");
    assert_eq!(browser.send(prefetch).await.header("set-cookie"), None);

    let away = Away::begin(&mut browser, "site", "/", None).await;
    let back = path_of(&away.scanned_by(&world, "lilei").await);
    let mut portal = world.browser_at(PUBLIC_HOST);
    portal.fetch("GET", &back).await.refused(400, "bad_request");
    for request in [
        portal.navigation("HEAD", &back),
        portal.navigation("GET", &back).header("Sec-Purpose", "prefetch"),
    ] {
        assert_eq!(portal.send(request).await.header("location"), None);
    }
    assert_eq!(world.sandbox.calls(Endpoint::OauthToken), 0);
    portal.open(&back).await.expect(303);
}

#[tokio::test]
async fn an_anonymous_visitor_writes_nothing_to_the_store() {
    let world = world().await;
    let mut watch = world.watch_store().await;
    let mut browser = world.browser();
    browser.open("/.menshen/login?connection=site").await.expect(200);
    let before = watch.version().await;
    Away::begin(&mut browser, "site", "/", None).await;
    browser.open("/.menshen/login?connection=site").await.expect(200);
    let declined = format!(
        "/.menshen/connections/site/callback?code=&state={}",
        Away::begin(&mut browser, "site", "/", None).await.state()
    );
    world.browser_at(PUBLIC_HOST).open(&declined).await.refused_page(410);
    world
        .browser_at(PUBLIC_HOST)
        .open("/.menshen/connections/site/callback?code=x&state=y")
        .await
        .refused_page(404);
    assert_eq!(watch.version().await, before);
}

#[tokio::test]
async fn a_host_that_only_a_star_matches_has_no_such_way() {
    let world = plan("")
        .append(
            "[[sites]]\nname = \"Rest\"\nhosts = [\"*\"]\naudience = \"rest\"\nupstreams = [\"http://127.0.0.1:9\"]\n",
        )
        .start()
        .await;
    let mut browser = world.browser_at("whatever.test");
    assert!(!browser.open("/").await.expect(401).text().contains("connection=site"));
    browser.open("/.menshen/connections/site/start").await.refused_page(404);
}

#[tokio::test]
async fn a_planted_cookie_that_is_none_is_replaced() {
    let world = world().await;
    let mut browser = world.browser();
    browser.cookies.push(Cookie {
        name: HANDOFF.to_owned(),
        value: "short.010203:Lw".to_owned(),
        path: "/".to_owned(),
    });
    let taken = log_in(&world, &mut browser, "/a", "lilei").await.expect(303);
    assert_eq!(taken.header("location"), Some("/a"));
}

#[tokio::test]
async fn somebody_else_may_sign_in_after() {
    let world = world().await;
    let mut browser = world.browser();
    log_in(&world, &mut browser, "/", "lilei").await.expect(303);
    log_in(&world, &mut browser, "/", "hanmeimei").await.expect(303);
    let me = browser.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    assert_eq!(me["name"], "韩梅梅");
}

#[tokio::test]
async fn logins_are_recorded_without_codes() {
    let world = world().await;
    log_in(&world, &mut world.browser(), "/", "lilei").await.expect(303);
    world
        .until(async || {
            let audit = world.menshen(&["audit", "export"]).await.done();
            for secret in world.secrets() {
                assert!(!audit.contains(&secret), "{audit}");
            }
            audit.contains("\"login\"") && audit.contains("user_created") && audit.contains("\"site\"")
        })
        .await;
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";
