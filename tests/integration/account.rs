//! A person's own page, and what can be done there.

use std::time::{Duration, Instant};

use menshen::sandbox::{App, AppId};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::support::browser::{LoginPage, between, unescape};
use crate::support::world::{PUBLIC_HOST, Plan, SITE};
use crate::support::{Answer, Browser, World};

pub(crate) const ACCOUNT: &str = "/.menshen/account";

/// A browser at `public_url`'s host, signed in there as a person would be: through the login page to the account page.
pub(crate) async fn at_home<'w>(world: &'w World, persona: &str) -> Browser<'w> {
    let mut browser = world.browser_at(PUBLIC_HOST);
    let page = browser.open("/.menshen/login").await.login_page();
    let redeemed = browser.finish_login(&page, persona).await.expect(200);
    let account = follow(&mut browser, redeemed.json()["redirect"].as_str().unwrap()).await;
    assert!(account.text().contains("Your account"), "{}", account.text());
    browser
}

/// Opens an address and goes on wherever it leads; the last answer, which is no redirect.
pub(crate) async fn follow(browser: &mut Browser<'_>, target: &str) -> Answer {
    let mut target = target.to_owned();
    for _ in 0..5 {
        let answer = browser.open(&target).await;
        match answer.header("location") {
            Some(location) => target = location.to_owned(),
            None => return answer,
        }
    }
    panic!("{target} goes in circles");
}

/// The values that the page's forms for `action` send.
pub(crate) fn ids(page: &str, action: &str) -> Vec<String> {
    let form = format!("action=\"{action}\"><input type=\"hidden\" name=\"id\" value=\"");
    let found = page.split(&form).skip(1);
    found.map(|rest| unescape(rest.split('"').next().unwrap())).collect()
}

async fn sessions_of(world: &World, persona: &str) -> Vec<menshen::store::SessionRow> {
    let user = user_of(world, persona).await;
    world.store().await.sessions_of(&user, world.clock.now()).await.unwrap()
}

/// The user that a persona is, found by a login at the site.
async fn user_of(world: &World, persona: &str) -> String {
    let mut browser = world.browser();
    browser.log_in(persona).await;
    let info = browser.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    browser.submit("/.menshen/logout", &[]).await.expect(303);
    info["sub"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_page_says_who_i_am_and_where_i_am_signed_in() {
    let world = World::start().await;
    let mut other = world.browser();
    other.log_in("lilei").await;
    world.advance(60);
    let mut browser = at_home(&world, "lilei").await;
    let answer = browser.open(ACCOUNT).await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let page = answer.text();
    assert_eq!(
        page.matches("<strong class=\"badge\">This one</strong>").count(),
        1,
        "{page}"
    );
    assert!(page.contains(&format!("<bdi>{SITE}</bdi>")) && page.contains(&format!("<bdi>{PUBLIC_HOST}</bdi>")));
    assert!(page.contains("Chrome · macOS – Wiki"), "{page}");
    assert_eq!(ids(&page, "/.menshen/account/sessions").len(), 1);
    for row in sessions_of(&world, "lilei").await {
        assert!(!page.contains(&row.id), "the key of a session is shown");
    }
    // Who is signed in comes here from the start page, and from the login page.
    for start in ["/", "/.menshen/login"] {
        assert!(
            follow(&mut browser, start).await.text().contains("Your account"),
            "{start}"
        );
    }
    let asked = browser.open("/.menshen/logout").await.expect(200).text();
    assert!(asked.contains("href=\"/.menshen/account\""), "{asked}");
}

#[tokio::test]
async fn the_page_is_on_no_host_of_a_site() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let posts = ["/sessions", "/identities", "/language"].map(|path| format!("{ACCOUNT}{path}"));
    browser.open(ACCOUNT).await.expect(404);
    for target in &posts {
        browser.submit(target, &[("id", "x")]).await.expect(404);
    }
    // Also where `public_url`'s host is a site's.
    let world = World::plan().set("sites.0.hosts", vec![PUBLIC_HOST]).start().await;
    let mut browser = world.browser_at(PUBLIC_HOST);
    browser.log_in("lilei").await;
    browser.open(ACCOUNT).await.expect(404);
    for target in &posts {
        browser.submit(target, &[("id", "x")]).await.expect(404);
    }
}

#[tokio::test]
async fn the_login_that_is_asked_for_leads_back_wherever_other_logins_lead() {
    let home = format!("https://{SITE}/");
    let plan = World::plan_https().set("connections.0.callback_url", &*home);
    let world = plan.start().await;
    let mut browser = world.browser_at(PUBLIC_HOST);
    let sent = browser.open(ACCOUNT).await.expect(303);
    let page = browser.open(sent.header("location").unwrap()).await.login_page();
    let redeemed = browser.finish_login(&page, "lilei").await.expect(200).json();
    let account = follow(&mut browser, redeemed["redirect"].as_str().unwrap()).await;
    assert!(account.text().contains("Your account"), "{}", account.text());
}

#[tokio::test]
async fn whoever_has_to_log_in_anew_may_choose_another_way() {
    let second = "\n[[connections]]\nid = \"other\"\nkind = \"miniprogram-qr\"\ndisplay_name = \"Other\"\n\
         app_id = \"wxsandbox0000000099\"\napp_secret = \"other\"\nphone = \"never\"\nqr = \"link\"\n\
         link_prefix = \"https://login.test/m/\"\n";
    let world = World::plan_https().append(second).start().await;
    let mut browser = at_home(&world, "lilei").await;
    world.advance(301);
    let sent = browser.open(ACCOUNT).await.expect(303);
    let page = browser.open(sent.header("location").unwrap()).await.login_page();
    let text = page.answer.text();
    let tab = between(&text, "href=\"/.menshen/login?connection=other", "\"").unwrap();
    let tab = format!("/.menshen/login?connection=other{}", unescape(tab));
    let other = browser.open(&tab).await.expect(200).login_page();
    assert_eq!(other.config["ticket"]["connection"], "other");
    // Also without a script.
    let path = format!("/.menshen/tickets/{}/page", other.ticket);
    world.advance(600);
    world.ready().await;
    let ended = browser.open(&path).await.text();
    let again = between(&ended, "href=\"/.menshen/login?", "\"").unwrap();
    let again = format!("/.menshen/login?{}", unescape(again));
    browser.open(&again).await.expect(200).login_page();
}

#[tokio::test]
async fn nobody_gets_in_without_a_fresh_login() {
    let world = World::start().await;
    let mut stranger = world.browser_at(PUBLIC_HOST);
    let answer = stranger.open(ACCOUNT).await.expect(303);
    assert_eq!(answer.header("location"), Some("/.menshen/login?rd=%2F"));
    let mut other = world.browser();
    other.log_in("lilei").await;
    let mut browser = at_home(&world, "lilei").await;
    let id = ids(&browser.open(ACCOUNT).await.text(), "/.menshen/account/sessions").remove(0);
    world.advance(300);
    browser.open(ACCOUNT).await.expect(200);
    world.advance(1);
    let again = "/.menshen/login?switch=true&rd=%2F";
    assert_eq!(browser.open(ACCOUNT).await.expect(303).header("location"), Some(again));
    // What is done by an old login is not done.
    for target in ["/.menshen/account/sessions", "/.menshen/account/identities"] {
        let answer = browser.submit(target, &[("id", &id)]).await.expect(303);
        assert_eq!(answer.header("location"), Some(again), "{target}");
    }
    other.open("/").await.expect(200);
    // The login that is asked for leads back.
    let page = browser.open(again).await.login_page();
    let redeemed = browser.finish_login(&page, "lilei").await.expect(200).json();
    let account = follow(&mut browser, redeemed["redirect"].as_str().unwrap()).await;
    assert!(account.text().contains("Your account"));
}

#[tokio::test]
async fn signing_out_there_ends_the_other_browsers_session_on_every_node_within_a_second() {
    let world = World::start().await;
    let neighbour = world.neighbour().await;
    let (mut other, mut third) = (world.browser(), world.browser());
    other.log_in("lilei").await;
    world.advance(1);
    third.log_in("lilei").await;
    let mut browser = at_home(&world, "lilei").await;
    let shown = ids(&browser.open(ACCOUNT).await.text(), "/.menshen/account/sessions");
    assert_eq!(shown.len(), 2);
    let request = other.script("GET", "/");
    world.send_to(&neighbour, &request).await.expect(200);
    let answer = browser
        .submit("/.menshen/account/sessions", &[("id", &shown[1])])
        .await
        .expect(303);
    assert_eq!(answer.header("location"), Some("/.menshen/account?note=signed-out"));
    let done = Instant::now();
    world.send(&request).await.refused(401, "login_required");
    world
        .until(async || world.send_to(&neighbour, &request).await.status == 401)
        .await;
    assert!(done.elapsed() < Duration::from_secs(1), "{:?}", done.elapsed());
    third.open("/").await.expect(200);
    let page = browser
        .open("/.menshen/account?note=signed-out")
        .await
        .expect(200)
        .text();
    assert!(page.contains("role=\"status\">You are signed out there."), "{page}");
    assert_eq!(ids(&page, "/.menshen/account/sessions"), shown[..1]);
    let event = last_event(&world, "session_revoked").await;
    assert_eq!(event.reason.as_deref(), Some("self"));
    neighbour.stop().await;
}

pub(crate) async fn last_event(world: &World, kind: &str) -> menshen::store::AuditRow {
    let store = world.store().await;
    let mut found = None;
    world
        .until(async || {
            let rows = store.audit_after(0, 200).await.unwrap();
            found = rows.into_iter().rfind(|row| row.kind == kind);
            found.is_some()
        })
        .await;
    found.unwrap()
}

#[tokio::test]
async fn nobody_ends_the_session_of_another_person() {
    let world = World::start().await;
    let mut other = world.browser();
    other.log_in("hanmeimei").await;
    let listed = world.menshen(&["sessions", "list", "--json"]).await.json();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let mut browser = at_home(&world, "lilei").await;
    for unknown in [&*id, "", "nonsense"] {
        browser
            .submit("/.menshen/account/sessions", &[("id", unknown)])
            .await
            .expect(404);
    }
    other.open("/").await.expect(200);
}

#[tokio::test]
async fn what_no_page_of_this_origin_sent_is_refused() {
    let world = World::start().await;
    let mut other = world.browser();
    other.log_in("lilei").await;
    let mut browser = at_home(&world, "lilei").await;
    let page = browser.open(ACCOUNT).await.text();
    let id = ids(&page, "/.menshen/account/sessions").remove(0);
    let body = format!("id={id}&language=ja");
    for target in [
        "/.menshen/account/sessions",
        "/.menshen/account/identities",
        "/.menshen/account/language",
    ] {
        let post = || {
            browser
                .navigation("POST", target)
                .body("application/x-www-form-urlencoded", body.as_bytes())
        };
        let attacks = [
            post(),
            post().header("Sec-Fetch-Site", "cross-site"),
            post().header("Sec-Fetch-Site", "same-site"),
            post().header("Sec-Fetch-Site", "none"),
            post().header("Origin", "null"),
            post().header("Origin", &world.origin(SITE)),
            post()
                .header("Sec-Fetch-Site", "cross-site")
                .header("Origin", &world.origin(PUBLIC_HOST)),
        ];
        for attack in attacks {
            let answer = world.send(&attack).await.expect(403);
            assert!(answer.text().contains("cross_origin"), "{}", answer.text());
            assert!(answer.set_cookie("menshen-language").is_none());
        }
        browser.open(target).await.expect(404);
    }
    other.open("/").await.expect(200);
    // Nor does looking change anything.
    browser.open(&format!("{ACCOUNT}/sessions?id={id}")).await.expect(404);
    other.open("/").await.expect(200);
}

#[tokio::test]
async fn signing_out_everywhere_is_one_button() {
    let world = World::start().await;
    let mut other = world.browser();
    other.log_in("lilei").await;
    let mut browser = at_home(&world, "lilei").await;
    let page = browser.open(ACCOUNT).await.text();
    let action = "/.menshen/logout?everywhere=true";
    assert!(
        page.contains(&format!("<form method=\"post\" action=\"{action}\">")),
        "{page}"
    );
    browser.submit(action, &[]).await.expect(303);
    let request = other.script("GET", "/");
    world.until(async || world.send(&request).await.status == 401).await;
    browser.open(ACCOUNT).await.expect(303);
}

pub(crate) const SECOND_APP: &str = "wxsandbox0000000002";

/// Two connections whose apps belong to one Open Platform account: a person has an identity at each.
async fn two_connections() -> World {
    plan_of_two(true).start().await
}

/// The same, or with apps that have nothing to do with each other: nobody is known at the second.
pub(crate) fn plan_of_two(one_platform: bool) -> Plan {
    let mut second = App::mini_program(AppId::new(SECOND_APP).unwrap());
    let platform = one_platform.then(|| "corp".to_owned());
    second.open_platform.clone_from(&platform);
    let connection = format!(
        r#"
[[connections]]
id = "desk"
kind = "miniprogram-qr"
display_name = "Desk"
app_id = "{SECOND_APP}"
app_secret = "{}"
phone = "never"
"#,
        second.secret.expose_secret()
    );
    let plan = World::plan()
        .wechat(|sandbox| {
            sandbox.apps[0].open_platform.clone_from(&platform);
            sandbox.apps.push(second);
        })
        .append(&connection);
    if !one_platform {
        return plan;
    }
    plan.set("connections.0.open_platform", "corp")
        .set("connections.1.open_platform", "corp")
}

/// From a login page of the second connection to the session.
async fn log_in_at_desk(browser: &mut Browser<'_>, page: &LoginPage, persona: &str) {
    let mut events = browser.events(page).await;
    let mut phone = browser.world.phone(persona);
    phone.app_id = SECOND_APP.to_owned();
    phone.scan(&page.ticket).await.expect(200);
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    phone.confirm(number).await.expect(200);
    events.until("confirmed").await;
    browser.redeem(page).await.expect(200);
}

#[tokio::test]
async fn an_identity_can_be_taken_away_but_never_the_last() {
    let world = two_connections().await;
    let mut browser = at_home(&world, "lilei").await;
    let page = browser.open(ACCOUNT).await.text();
    assert!(
        ids(&page, "/.menshen/account/identities").is_empty() && page.contains("The last one stays"),
        "{page}"
    );
    // The same person by the other app.
    let second = browser
        .open("/.menshen/login?switch=true&connection=desk")
        .await
        .login_page();
    log_in_at_desk(&mut browser, &second, "lilei").await;
    let mut other = world.browser();
    other.log_in("lilei").await;
    let page = browser.open(ACCOUNT).await.expect(200).text();
    let identities = ids(&page, "/.menshen/account/identities");
    assert_eq!(identities.len(), 2, "{page}");
    let sessions = sessions_of_listing(&world).await;
    let user = sessions[0]["user_id"].as_str().unwrap();
    let rows = world.store().await.identities_of(user).await.unwrap();
    assert!(
        rows.iter()
            .all(|row| !page.contains(&row.openid) && !page.contains(&row.app_id))
    );

    let answer = browser
        .submit("/.menshen/account/identities", &[("id", &identities[0])])
        .await
        .expect(303);
    assert_eq!(answer.header("location"), Some("/.menshen/account?note=unbound"));
    let left = world.store().await.identities_of(user).await.unwrap();
    assert_eq!(
        left.iter().map(|row| &row.openid).collect::<Vec<_>>(),
        [&rows[1].openid]
    );
    // Nobody can say which sessions came from it: they end, this one goes on.
    let request = other.script("GET", "/");
    world.until(async || world.send(&request).await.status == 401).await;
    let page = browser.open("/.menshen/account?note=unbound").await.expect(200).text();
    assert!(
        page.contains("It is disconnected") && ids(&page, "/.menshen/account/identities").is_empty(),
        "{page}"
    );
    let event = last_event(&world, "unbind").await;
    assert_eq!(
        (event.reason.as_deref(), event.connection.as_deref()),
        (Some("self"), Some("staff"))
    );

    let answer = browser
        .submit("/.menshen/account/identities", &[("id", &identities[1])])
        .await
        .expect(303);
    assert_eq!(answer.header("location"), Some("/.menshen/account?note=last-identity"));
    assert_eq!(world.store().await.identities_of(user).await.unwrap().len(), 1);
    browser
        .submit("/.menshen/account/identities", &[("id", &identities[0])])
        .await
        .expect(404);
}

async fn sessions_of_listing(world: &World) -> Vec<Value> {
    let listed = world.menshen(&["sessions", "list", "--json"]).await.json();
    listed.as_array().unwrap().clone()
}

#[tokio::test]
async fn the_language_of_the_page_is_the_persons_choice() {
    let world = World::start().await;
    let mut browser = at_home(&world, "lilei").await;
    let lang = |page: &str| between(page, "<html lang=\"", "\"").unwrap().to_owned();
    assert_eq!(lang(&browser.open(ACCOUNT).await.text()), "en");
    for (tag, word) in [
        ("zh-CN", "我的账号"),
        ("zh-TW", "我的帳號"),
        ("ja", "あなたのアカウント"),
    ] {
        browser
            .submit("/.menshen/account/language", &[("language", tag)])
            .await
            .expect(303);
        let page = browser.open(ACCOUNT).await.text();
        assert!(lang(&page) == tag && page.contains(word), "{page}");
        assert!(
            page.contains(&format!("<option value=\"{tag}\" lang=\"{tag}\" selected>")),
            "{page}"
        );
    }
    browser
        .submit("/.menshen/account/language", &[("language", "tlh")])
        .await
        .expect(400);
    // Where the operator has chosen, there is nothing to choose.
    let world = World::plan().set("branding.locale", "ja").start().await;
    let mut browser = world.browser_at(PUBLIC_HOST);
    let page = browser.open("/.menshen/login").await.login_page();
    browser.finish_login(&page, "lilei").await.expect(200);
    let page = browser.open(ACCOUNT).await.expect(200).text();
    assert!(!page.contains("<select"), "{page}");
}

#[tokio::test]
async fn a_session_at_home_is_none_at_a_site() {
    let world = World::start().await;
    let home = at_home(&world, "lilei").await;
    let mut browser = world.browser();
    browser.cookies = home.cookies.clone();
    browser.fetch("GET", "/").await.refused(401, "login_required");
}
