//! One session at `public_url` for every host.

use serde_json::json;

use crate::support::browser::Cookie;
use crate::support::world::{PUBLIC_HOST, Plan, SITE};
use crate::support::{Answer, Browser, World};

fn plan() -> Plan {
    World::plan_https().set("login.single_sign_on", true)
}

/// One browser, as each host knows it.
struct Visitor<'w> {
    wiki: Browser<'w>,
    login: Browser<'w>,
    files: Browser<'w>,
}

const FILES: &str = "files.test";

impl<'w> Visitor<'w> {
    fn of(world: &'w World) -> Self {
        Self {
            wiki: world.browser_at(SITE),
            login: world.browser_at(PUBLIC_HOST),
            files: world.browser_at(FILES),
        }
    }

    /// Opens a whole address.
    async fn open(&mut self, address: &str) -> Answer {
        let url = url::Url::parse(address).unwrap();
        let browser = match url.host_str().unwrap() {
            SITE => &mut self.wiki,
            PUBLIC_HOST => &mut self.login,
            FILES => &mut self.files,
            other => panic!("{other}"),
        };
        browser.open(&url[url::Position::BeforePath..]).await
    }

    /// Follows redirects to other hosts and on the same one, to the first answer that is none.
    async fn follow(&mut self, address: &str) -> Answer {
        let mut at = url::Url::parse(address).unwrap();
        for _ in 0..10 {
            let answer = self.open(at.as_str()).await;
            match answer.header("location") {
                Some(location) if answer.status == 303 => at = at.join(location).unwrap(),
                _ => return answer,
            }
        }
        panic!("it goes in circles: {at}");
    }

    /// Logs in at the page that an address leads to; where the login leads to.
    async fn log_in(&mut self, address: &str, persona: &str) -> String {
        let page = self.follow(address).await.expect(200).login_page();
        let redeemed = self.login.finish_login(&page, persona).await.expect(200);
        redeemed.json()["redirect"].as_str().unwrap().to_owned()
    }
}

fn with_files(plan: Plan, more: &str) -> Plan {
    let site =
        format!("[[sites]]\nname = \"Files\"\nhosts = [\"{FILES}\"]\nupstreams = [\"http://127.0.0.1:9\"]\n{more}\n");
    plan.append(&site)
}

/// A second site before the same application.
async fn two_sites() -> World {
    let mut world = with_files(plan(), "").build().await;
    let application = world.upstream.address();
    world.change("sites.1.upstreams", vec![format!("http://{application}")]);
    world.start_gateway().await;
    world
}

#[tokio::test]
async fn one_login_serves_every_host_and_one_logout_ends_it_on_all() {
    let world = two_sites().await;
    let mut visitor = Visitor::of(&world);
    let sent = visitor.wiki.open("/reports?month=3").await.expect(303);
    let to_login = sent.header("location").unwrap().to_owned();
    assert!(
        to_login.starts_with("https://login.test/.menshen/login?rd=handoff"),
        "{to_login}"
    );
    let kept = sent.set_cookie("__Host-menshen-handoff").unwrap();
    assert!(
        kept.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600"),
        "{kept}"
    );
    let value = visitor.wiki.cookie("__Host-menshen-handoff").unwrap();
    assert!(!to_login.contains(value), "only its hash travels");

    let page = visitor.open(&to_login).await.expect(200).login_page();
    assert!(
        page.answer.text().contains("Wiki"),
        "the page names what is logged in to"
    );
    let policy = page.answer.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self' https://wiki.test"), "{policy}");
    let mut phone = world.phone("lilei");
    let mut events = visitor.login.events(&page).await;
    let shown = phone.scan(&page.ticket).await.expect(200).json();
    assert_eq!(
        (&shown["site"]["name"], &shown["site"]["host"]),
        (&"Wiki".into(), &SITE.into())
    );
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    phone.confirm(number).await.expect(200);
    events.until("confirmed").await;
    let redeemed = visitor.login.redeem(&page).await.expect(200).json();
    let taking = redeemed["redirect"].as_str().unwrap();
    assert!(
        taking.starts_with("https://wiki.test/.menshen/handoff?code="),
        "{taking}"
    );
    let taken = visitor.open(taking).await.expect(303);
    assert_eq!(taken.header("location"), Some("/reports?month=3"));
    visitor.wiki.open("/reports?month=3").await.expect(200);
    let user = world.upstream.last().header("remote-user");

    // The next host asks nobody.
    let answer = visitor.follow("https://files.test/a").await.expect(200);
    assert!(answer.is_of_upstream());
    let seen = world.upstream.last();
    assert_eq!((seen.target.as_str(), seen.header("remote-user")), ("/a", user));

    visitor.files.submit("/.menshen/logout", &[]).await.expect(303);
    for browser in [&mut visitor.wiki, &mut visitor.files, &mut visitor.login] {
        let request = browser.script("GET", "/.menshen/userinfo");
        world.until(async || world.send(&request).await.status == 401).await;
    }
    visitor.follow("https://files.test/a").await.expect(200).login_page();
}

#[tokio::test]
async fn a_code_is_worth_nothing_to_anybody_else() {
    let world = two_sites().await;
    let mut visitor = Visitor::of(&world);
    let code = visitor.log_in("https://wiki.test/", "lilei").await;
    let path = code.strip_prefix("https://wiki.test").unwrap().to_owned();

    // Another browser, with and without a value of its own.
    let mut other = world.browser_at(SITE);
    other.open(&path).await.refused_page(404);
    other.open("/").await.expect(303);
    other.open(&path).await.refused_page(404);
    // The same browser at another host.
    visitor.files.cookies.clone_from(&visitor.wiki.cookies);
    visitor.files.open(&path).await.refused_page(404);
    // A look that must change nothing.
    let head = visitor.wiki.navigation("HEAD", &path);
    visitor.wiki.send(head).await.expect(404);

    visitor.wiki.open(&path).await.expect(303);
    let session = visitor.wiki.cookie("__Host-menshen").unwrap().to_owned();
    // Once more, from the history: no second session.
    let again = visitor.wiki.open(&path).await.expect(303);
    assert_eq!(again.header("location"), Some("/"));
    assert_eq!(visitor.wiki.cookie("__Host-menshen"), Some(&*session));
    visitor.wiki.cookies.retain(|cookie| cookie.name != "__Host-menshen");
    visitor.wiki.open(&path).await.refused_page(404);
}

#[tokio::test]
async fn a_code_runs_out_after_half_a_minute() {
    let world = two_sites().await;
    let mut visitor = Visitor::of(&world);
    let code = visitor.log_in("https://wiki.test/", "lilei").await;
    world.advance(31);
    world.ready().await;
    visitor.open(&code).await.refused_page(404);
    // The login itself still counts: asking again is enough.
    visitor.follow("https://wiki.test/").await.expect(200);
}

/// Login CSRF: a code for a browser that never asked.
#[tokio::test]
async fn who_is_sent_to_public_url_by_somebody_else_gets_no_session_of_theirs() {
    let world = two_sites().await;
    let mut attacker = Visitor::of(&world);
    attacker.wiki.open("/").await.expect(303);
    let code = attacker.log_in("https://wiki.test/", "lilei").await;
    let mut victim = Visitor::of(&world);
    victim.open(&code).await.refused_page(404);
    victim.log_in("https://wiki.test/", "hanmeimei").await;
    victim.open(&code).await.refused_page(404);
    // And a victim with a session is not led to hand it to a value of the attacker's.
    let asked = attacker.wiki.open("/").await.expect(303);
    let address = asked.header("location").unwrap().to_owned();
    let handed = victim.open(&address).await.expect(303);
    let code = handed.header("location").unwrap().to_owned();
    victim.open(&code).await.refused_page(404);
}

#[tokio::test]
async fn a_site_takes_no_login_of_a_connection_that_it_does_not_list() {
    let second = "connections = [\"other\"]\n\n[[connections]]\nid = \"other\"\nkind = \"miniprogram-qr\"\n\
         display_name = \"Other\"\napp_id = \"wxsandbox0000000099\"\napp_secret = \"other\"\nphone = \"never\"\n\
         qr = \"link\"\nlink_prefix = \"https://login.test/m/\"\n";
    let plan = with_files(plan(), second).set("sites.0.connections", vec!["staff"]);
    let world = plan.start().await;
    let mut visitor = Visitor::of(&world);
    let code = visitor.log_in("https://wiki.test/", "lilei").await;
    visitor.open(&code).await.expect(303);
    let page = visitor.follow("https://files.test/").await.expect(200).login_page();
    assert_eq!(page.config["ticket"]["connection"], "other", "{}", page.config);
}

#[tokio::test]
async fn another_person_may_sign_in_and_nobody_stays_behind_them() {
    let world = two_sites().await;
    let mut visitor = Visitor::of(&world);
    let code = visitor.log_in("https://wiki.test/", "lilei").await;
    visitor.open(&code).await.expect(303);
    visitor.follow("https://files.test/").await.expect(200);
    let code = visitor
        .log_in("https://wiki.test/.menshen/login?switch=true&rd=%2Fx", "hanmeimei")
        .await;
    let taken = visitor.open(&code).await.expect(303);
    assert_eq!(taken.header("location"), Some("/x"));
    visitor.wiki.open("/x").await.expect(200);
    let second = world.upstream.last().header("remote-user");
    visitor.follow("https://files.test/").await.expect(200);
    // Where the first one was signed in, the second one is by now.
    world
        .until(async || {
            visitor.follow("https://files.test/").await.expect(200);
            world.upstream.last().header("remote-user") == second
        })
        .await;
}

#[tokio::test]
async fn scripts_are_told_and_sent_nowhere_and_plant_nothing() {
    let world = two_sites().await;
    let mut browser = world.browser();
    let answer = browser.fetch("GET", "/api").await.refused(401, "login_required");
    assert_eq!(answer.header("set-cookie"), None);
    let image = browser
        .request("GET", "/picture.png")
        .header("Sec-Fetch-Mode", "no-cors")
        .header("Sec-Fetch-Dest", "image")
        .header("Sec-Fetch-Site", "cross-site");
    let answer = browser.send(image).await.expect(401);
    assert_eq!(answer.header("set-cookie"), None);
}

#[tokio::test]
async fn a_host_that_only_a_star_matches_has_its_own_login() {
    let world = plan()
        .append(
            "[[sites]]\nname = \"Rest\"\nhosts = [\"*\"]\naudience = \"rest\"\nupstreams = [\"http://127.0.0.1:9\"]\n",
        )
        .start()
        .await;
    let page = world.browser_at("whatever.test").open("/").await.login_page();
    assert_eq!(page.answer.status, 401);
}

#[tokio::test]
async fn a_login_that_leads_nowhere_is_explained_and_not_repeated() {
    let world = two_sites().await;
    let mut visitor = Visitor::of(&world);
    let code = visitor.log_in("https://wiki.test/", "lilei").await;
    visitor.open(&code).await.expect(303);
    // This browser keeps no session cookie of the site.
    for _ in 0..2 {
        visitor.wiki.cookies.retain(|cookie| cookie.name != "__Host-menshen");
        let asked = visitor.wiki.open("/").await.expect(303);
        let address = asked.header("location").unwrap().to_owned();
        let handed = visitor.open(&address).await.expect(303);
        let code = handed.header("location").unwrap().to_owned();
        visitor.open(&code).await.expect(303);
    }
    visitor.wiki.cookies.retain(|cookie| cookie.name != "__Host-menshen");
    let explained = visitor.wiki.open("/").await.expect(401);
    assert!(explained.text().contains("loop_cookie"), "{}", explained.text());
}

#[tokio::test]
async fn who_is_disabled_is_handed_on_nowhere() {
    let world = two_sites().await;
    let mut visitor = Visitor::of(&world);
    let code = visitor.log_in("https://wiki.test/", "lilei").await;
    let user = world.store().await.users_after("", 1).await.unwrap().remove(0).id;
    let now = world.clock.now();
    assert!(
        world
            .store()
            .await
            .set_disabled(&user, true, "left", now)
            .await
            .unwrap()
    );
    visitor.open(&code).await.refused_page(404);
}

#[tokio::test]
async fn a_planted_value_is_not_taken_over_when_it_is_none() {
    let world = two_sites().await;
    let mut visitor = Visitor::of(&world);
    visitor.wiki.cookies.push(Cookie {
        name: "__Host-menshen-handoff".to_owned(),
        value: "short".to_owned(),
        path: "/".to_owned(),
    });
    visitor.wiki.open("/").await.expect(303);
    assert_eq!(visitor.wiki.cookie("__Host-menshen-handoff").unwrap().len(), 43);
}

#[tokio::test]
async fn without_single_sign_on_each_host_has_its_own_login() {
    let world = with_files(World::plan_https(), "").start().await;
    let mut visitor = Visitor::of(&world);
    assert_eq!(visitor.wiki.open("/").await.login_page().answer.status, 401);
    let address = "https://login.test/.menshen/login?rd=handoff%3AAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE%3Ahttps%3A%2F%2Fwiki.test%2F";
    let page = visitor.open(address).await.expect(200).login_page();
    assert_eq!(page.config["rd"], "/");
}

#[tokio::test]
async fn a_forged_code_counts_tenfold_and_waits_for_no_writer() {
    let world = with_files(plan(), "").set("limits.login_pages", "20/min").start().await;
    let mut browser = world.browser_at(SITE);
    // Somebody else writes: whoever has to wait for them is answered 503.
    let mut store = world.watch_store().await;
    store.execute("BEGIN IMMEDIATE").await;
    for code in ["x".repeat(43), String::new()] {
        let path = format!("/.menshen/handoff?code={code}");
        browser.open(&path).await.refused_page(404);
    }
    browser.open("/.menshen/handoff?code=x").await.refused_page(429);
    store.execute("ROLLBACK").await;
}

#[tokio::test]
async fn only_a_navigation_is_handed_a_code_and_not_without_end() {
    let world = with_files(plan(), "").set("limits.login_pages", "12/min").start().await;
    let mut visitor = Visitor::of(&world);
    let code = visitor.log_in("https://wiki.test/", "lilei").await;
    visitor.open(&code).await.expect(303);
    let asked = visitor.files.open("/").await.expect(303);
    let address = url::Url::parse(asked.header("location").unwrap()).unwrap();
    let address = &address[url::Position::BeforePath..];

    let mut store = world.watch_store().await;
    let codes = "SELECT COUNT(*) FROM handoffs";
    let before = store.count(codes).await;
    let login = &mut visitor.login;
    let prefetch = login.navigation("GET", address).header("Sec-Purpose", "prefetch");
    for request in [
        login.navigation("HEAD", address),
        login.script("GET", address),
        prefetch,
    ] {
        login.send(request).await.expect(401);
    }
    assert_eq!(store.count(codes).await, before);
    let mut handed = 0;
    while login.open(address).await.status == 303 {
        handed += 1;
        assert!(handed < 12, "a code for every question");
    }
    login.open(address).await.refused_page(429);
    assert_eq!(store.count(codes).await, before + handed);
}

#[tokio::test]
async fn a_login_that_cannot_be_handed_on_at_once_is_not_lost() {
    let world = two_sites().await;
    let mut visitor = Visitor::of(&world);
    let page = visitor.follow("https://wiki.test/a").await.expect(200).login_page();
    let mut store = world.watch_store().await;
    store.execute("ALTER TABLE handoffs RENAME TO handoffs_gone").await;
    let redeemed = visitor.login.finish_login(&page, "lilei").await.expect(200);
    let target = redeemed.json()["redirect"].as_str().unwrap().to_owned();
    assert_eq!(target, "https://wiki.test/a");
    store.execute("ALTER TABLE handoffs_gone RENAME TO handoffs").await;
    assert!(visitor.follow(&target).await.expect(200).is_of_upstream());
}

/// However long the address is: the phone names the host that asks, not the one that the code is shown at.
#[tokio::test]
async fn the_phone_is_told_which_host_asks_behind_a_long_address() {
    let world = two_sites().await;
    for page in ["short".to_owned(), "x".repeat(2_050)] {
        let mut browser = world.browser_at(PUBLIC_HOST);
        let asked = format!("/.menshen/login?rd=handoff:{}:https://wiki.test/{page}", "A".repeat(43));
        let shown_at = browser.open(&asked).await.expect(200).login_page();
        assert_eq!(shown_at.config["hand_back_rd"] == true, page.len() > 2_000);
        let mut phone = world.phone("lilei");
        let events = browser.events(&shown_at).await;
        let shown = phone.scan(&shown_at.ticket).await.expect(200).json();
        assert_eq!(shown["site"], json!({ "name": "Wiki", "host": SITE }));
        drop(events);
    }
}
