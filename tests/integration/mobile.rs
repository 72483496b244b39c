//! A page on a phone, which cannot scan its own screen: it opens WeChat by a link.

use futures_util::future::join_all;
use menshen::sandbox::{Effect, Endpoint, Fault};
use serde_json::{Value, json};
use url::Url;

use crate::support::browser::{LoginPage, unescape};
use crate::support::phone::Phone;
use crate::support::world::{Plan, World};
use crate::support::{Answer, Browser};

const ANDROID: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 \
    Mobile Safari/537.36";
const WECHAT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
    Mobile/15E148 MicroMessenger/8.0.59(0x18003b2e) NetType/WIFI Language/zh_CN";
const WECHAT_ON_WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/132.0.0.0 Safari/537.36 NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) WindowsWechat(0x63090a13) \
    UnifiedPCWindowsWechat(0xf254032b) XWEB/13655 Flue";

fn plan() -> Plan {
    World::plan().set("connections.0.mobile", "url_link")
}

async fn open_as(browser: &mut Browser<'_>, agent: &str) -> LoginPage {
    open_at(browser, "/", agent).await.login_page()
}

async fn open_at(browser: &mut Browser<'_>, target: &str, agent: &str) -> Answer {
    let request = browser
        .navigation("GET", target)
        .header("Sec-Fetch-Site", "none")
        .without("User-Agent")
        .header("User-Agent", agent);
    browser.send(request).await
}

fn open_url(page: &LoginPage) -> Option<&str> {
    page.config["ticket"]["open_url"].as_str()
}

fn number(page: &LoginPage) -> i64 {
    page.config["ticket"]["number"].as_i64().expect("a number")
}

fn way(page: &LoginPage) -> String {
    let html = page.answer.text();
    let (_, rest) = html.split_once("data-way=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// What the mini program gets when somebody taps the link.
async fn tap(world: &World, link: &str) -> Url {
    let base = world.sandbox.base_url().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = http
        .post(base.join("/phone/api/link").unwrap())
        .json(&json!({ "address": link }))
        .send();
    let answer: Value = asked.await.unwrap().json().await.expect("a link that opens");
    base.join(answer["address"].as_str().unwrap()).unwrap()
}

fn parameter(opened: &Url, wanted: &str) -> String {
    let mut pairs = opened.query_pairs();
    let found = pairs.find(|(name, _)| name == wanted);
    found.unwrap_or_else(|| panic!("{wanted} in {opened}")).1.into_owned()
}

async fn scan(phone: &mut Phone<'_>, opened: &Url) -> Answer {
    let entry: i64 = parameter(opened, "entry").parse().unwrap();
    let body = json!({
        "scene": parameter(opened, "scene"),
        "half": parameter(opened, "half"),
        "code": phone.login_code(),
        "entry": entry,
    });
    let answer = phone.call("scan", &body).await;
    if answer.status == 200 {
        phone.shown = answer.json();
        phone.handle = phone.shown["handle"].as_str().map(str::to_owned);
    }
    answer
}

#[tokio::test]
async fn a_page_on_a_phone_opens_wechat_and_needs_no_look_meanwhile() {
    for (mobile, entry) in [("url_link", "1194"), ("scheme", "1065")] {
        let world = World::plan().set("connections.0.mobile", mobile).start().await;
        let mut browser = world.browser();
        let page = open_as(&mut browser, ANDROID).await;
        assert_eq!(way(&page), "open");
        let link = open_url(&page).unwrap().to_owned();
        let html = page.answer.text();
        assert!(
            html.contains(&format!(">{}</span>", number(&page))),
            "the number is on the page at once"
        );
        assert!(unescape(&html).contains(&link), "and the link without a script");

        // From here on WeChat covers the page, and the browser sleeps.
        let opened = tap(&world, &link).await;
        assert_eq!(parameter(&opened, "entry"), entry);
        let mut phone = world.phone("lilei");
        let shown = scan(&mut phone, &opened).await.expect(200).json();
        assert_eq!(shown["site"]["name"], "Wiki");
        assert_eq!(
            (&shown["browser"]["device"]["text"], &shown["browser"]["device"]["kind"]),
            (&json!("Chrome · Android"), &json!("phone"))
        );
        assert_eq!(shown.get("warning"), None);
        phone.confirm(number(&page)).await.expect(200);

        // Seen again it asks, and is in.
        assert_eq!(browser.status(&page).await.json()["status"], "confirmed");
        browser.redeem(&page).await.expect(200);
        browser.open("/").await.expect(200);
    }
}

#[tokio::test]
async fn one_link_serves_every_ticket_and_is_renewed_before_it_ends() {
    let world = plan().start().await;
    let pages = join_all((0..8).map(async |_| open_as(&mut world.browser(), ANDROID).await)).await;
    assert_eq!(world.sandbox.calls(Endpoint::UrlLink), 1);
    let link = |page: &LoginPage| open_url(page).unwrap().split_once('?').unwrap().0.to_owned();
    assert!(pages.iter().all(|page| link(page) == link(&pages[0])));
    for page in &pages {
        let opened = tap(&world, open_url(page).unwrap()).await;
        assert_eq!(parameter(&opened, "scene"), page.ticket);
    }
    // The next code of a page has its own.
    let mut browser = world.browser();
    open_as(&mut browser, ANDROID).await;
    let request = browser
        .script("POST", "/.menshen/tickets")
        .without("User-Agent")
        .header("User-Agent", ANDROID)
        .json(&json!({ "connection": "staff", "rd": "/" }));
    let fresh = browser.send(request).await.expect(201).json();
    assert!(fresh["open_url"].as_str().unwrap().starts_with(&link(&pages[0])));
    assert!(matches!(fresh["number"].as_i64(), Some(10..=99)));
    assert_eq!(world.sandbox.calls(Endpoint::UrlLink), 1);

    // Ten days before its end the old one is still handed out, while another is made.
    world.advance(20 * 86_400);
    world.ready().await;
    let page = open_as(&mut world.browser(), ANDROID).await;
    assert_eq!(link(&page), link(&pages[0]));
    world
        .until(async || link(&open_as(&mut world.browser(), ANDROID).await) != link(&pages[0]))
        .await;
    assert_eq!(world.sandbox.calls(Endpoint::UrlLink), 2);
}

#[tokio::test]
async fn only_a_browser_on_a_phone_is_given_a_link() {
    let world = plan().start().await;
    for (agent, expected) in [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "scan",
        ),
        (WECHAT, "press"),
        (WECHAT_ON_WINDOWS, "scan"),
        ("", "scan"),
    ] {
        let page = open_as(&mut world.browser(), agent).await;
        assert_eq!((open_url(&page), way(&page).as_str()), (None, expected), "{agent}");
        assert_eq!(page.config["ticket"].get("number"), None);
    }
    assert_eq!(world.sandbox.calls(Endpoint::UrlLink), 0);
    let plain = World::plan().start().await;
    let page = open_as(&mut plain.browser(), ANDROID).await;
    assert_eq!((open_url(&page), way(&page).as_str()), (None, "phone"));
}

#[tokio::test]
async fn a_link_to_the_ticket_of_a_screen_ends_it() {
    let world = plan().start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    // Whoever has seen a link of this connection can put any scene behind it, and send it to somebody.
    let other = open_as(&mut world.browser(), ANDROID).await;
    let (link, _) = open_url(&other).unwrap().split_once('?').unwrap();
    let sent = format!("{link}?cq=scene%3D{}", page.ticket);
    let opened = tap(&world, &sent).await;
    assert_eq!(parameter(&opened, "scene"), page.ticket);
    let mut phone = world.phone("lilei");
    // Tapped in a chat: no page is there that could have been given it, on whatever device.
    for ticket in [&page.ticket, &other.ticket] {
        phone.scan_from(ticket, 1167).await.refused(403, "entry_refused");
        phone.scan_from(ticket, 1286).await.refused(403, "entry_refused");
    }
    let mut events = browser.events(&page).await;
    phone.scan_from(&page.ticket, 1194).await.refused(403, "entry_refused");
    assert_eq!(events.until("failed").await["error"]["code"], "entry_refused");
    phone.scan(&page.ticket).await.refused(403, "entry_refused");
}

#[tokio::test]
async fn without_a_link_the_page_shows_the_code() {
    for effect in [
        Effect::Error(44993),
        Effect::Error(40002),
        Effect::Error(85079),
        Effect::Garbage,
    ] {
        let world = plan().start().await;
        world
            .sandbox
            .inject(Fault::once(Endpoint::UrlLink, effect.clone()).times(50));
        let page = open_as(&mut world.browser(), ANDROID).await;
        assert_eq!((open_url(&page), way(&page).as_str()), (None, "phone"), "{effect:?}");
        // WeChat is left alone for a while.
        let asked = world.sandbox.calls(Endpoint::UrlLink);
        open_as(&mut world.browser(), ANDROID).await;
        assert_eq!(world.sandbox.calls(Endpoint::UrlLink), asked, "{effect:?}");
        let mut phone = world.phone("lilei");
        phone.scan(&page.ticket).await.expect(200);
    }
    // An answer that does not come in time is there for the next page.
    let world = plan().start().await;
    world
        .sandbox
        .inject(Fault::once(Endpoint::UrlLink, Effect::DelayMs(2_500)));
    assert_eq!(open_url(&open_as(&mut world.browser(), ANDROID).await), None);
    world
        .until(async || open_url(&open_as(&mut world.browser(), ANDROID).await).is_some())
        .await;
    assert_eq!(world.sandbox.calls(Endpoint::UrlLink), 1);
}

#[tokio::test]
async fn the_page_without_a_script_opens_wechat_too() {
    let world = plan().start().await;
    let mut browser = world.browser();
    let page = open_as(&mut browser, ANDROID).await;
    let target = format!("/.menshen/tickets/{}/page", page.ticket);
    let html = open_at(&mut browser, &target, ANDROID).await.expect(200).text();
    assert!(html.contains(&format!(">{}</p>", number(&page))), "{html}");
    assert!(unescape(&html).contains("/link/"), "{html}");
    let elsewhere = browser.open(&target).await.expect(200).text();
    assert!(!elsewhere.contains("/link/"));
}

/// A page that only calls itself a phone's can tell somebody its number together with its code.
#[tokio::test]
async fn the_number_that_is_shown_before_wechat_opens_counts_for_the_link_alone() {
    let world = plan().set("limits.phone_calls_per_person", "100/min").start().await;
    for (entry, early_counts) in [
        (Some(1047), false),
        (Some(1011), false),
        (Some(1048), false),
        (Some(1043), false),
        (Some(1194), true),
        (Some(1065), true),
        (Some(1089), true),
        (None, true),
    ] {
        let mut browser = world.browser();
        let page = loop {
            // One in ninety pages has both the same.
            let page = open_as(&mut browser, ANDROID).await;
            let mut events = browser.events(&page).await;
            let mut phone = world.phone("lilei");
            phone.scan(&page.ticket).await.expect(200);
            let by_code = events.until("scanned").await["number"].as_i64().unwrap();
            phone.scan_from(&page.ticket, 1194).await.expect(200);
            if by_code != number(&page) {
                break page;
            }
        };
        let mut phone = world.phone("lilei");
        // Before, it was the link: what counts is how it was opened last.
        let code = phone.login_code();
        let body = json!({ "scene": page.ticket, "code": code, "entry": entry });
        let mut shown = phone.call("scan", &body).await.expect(200).json();
        phone.handle = shown["handle"].as_str().map(str::to_owned);
        let told = browser.status(&page).await.json()["number"].as_i64().unwrap();
        assert_eq!(told == number(&page), early_counts, "{entry:?}");
        if shown.get("site").is_none() {
            shown = phone.status().await.expect(200).json();
        }
        assert!(shown["choices"].as_array().unwrap().contains(&json!(told)), "{shown}");
        // The same at every look.
        assert_eq!(browser.status(&page).await.json()["number"], told);
        assert_eq!(phone.status().await.expect(200).json()["choices"], shown["choices"]);
        if early_counts {
            phone.confirm(number(&page)).await.expect(200);
            continue;
        }
        phone.confirm(number(&page)).await.refused(403, "wrong_number");
        browser.redeem(&page).await.refused(403, "wrong_number");
    }

    let mut browser = world.browser();
    let page = open_as(&mut browser, ANDROID).await;
    let mut events = browser.events(&page).await;
    let mut phone = world.phone("lilei");
    phone.scan(&page.ticket).await.expect(200);
    let told = events.until("scanned").await["number"].as_i64().unwrap();
    // Opened again, it is what it was.
    phone.scan_from(&page.ticket, 1089).await.expect(200);
    assert_eq!(browser.status(&page).await.json()["number"], told);
    phone.confirm(told).await.expect(200);
    browser.redeem(&page).await.expect(200);
}
