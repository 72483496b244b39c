//! `menshen sessions` beside running gateways.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::world::SITE;
use crate::support::{Browser, World};

async fn listed(world: &World, more: &[&str]) -> Vec<Value> {
    let arguments = [&["sessions", "list", "--json"], more].concat();
    let value = world.menshen(&arguments).await.json();
    value.as_array().unwrap().clone()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// The session id that the application sees.
async fn sid(world: &World, browser: &mut Browser<'_>) -> String {
    browser.open("/").await.expect(200);
    let token = world.upstream.last().header("x-menshen-assertion").unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    text(&claims, "sid").to_owned()
}

#[tokio::test]
async fn a_session_is_listed_by_the_name_that_applications_know_and_ended_by_it_on_every_node() {
    let world = World::start().await;
    let neighbour = world.neighbour().await;
    let mut browsers: Vec<Browser<'_>> = (0..2).map(|_| world.browser()).collect();
    browsers[0].log_in("lilei").await;
    world.advance(1);
    browsers[1].log_in("lilei").await;
    let sids = [sid(&world, &mut browsers[0]).await, sid(&world, &mut browsers[1]).await];

    let sessions = listed(&world, &[]).await;
    let ids: Vec<_> = sessions.iter().map(|session| text(session, "id")).collect();
    assert_eq!(ids, [&sids[1], &sids[0]], "newest first");
    let (host, connection) = (text(&sessions[0], "host"), text(&sessions[0], "connection"));
    assert_eq!(
        (host, connection, text(&sessions[0], "device")),
        (SITE, "staff", "Chrome · macOS")
    );
    let rows = world
        .store()
        .await
        .sessions_of(text(&sessions[0], "user_id"), world.clock.now())
        .await
        .unwrap();
    let shown = world.menshen(&["sessions", "list"]).await.done();
    assert!(
        rows.iter().all(|row| !shown.contains(&row.id)),
        "the key of a session is shown:\n{shown}"
    );

    let said = world.menshen(&["sessions", "revoke", "--", &sids[0]]).await.done();
    assert_eq!(said, "1 session ended\n");
    let done = Instant::now();
    let request = browsers[0].script("GET", "/");
    world.until(async || world.send(&request).await.status == 401).await;
    world
        .until(async || world.send_to(&neighbour, &request).await.status == 401)
        .await;
    assert!(done.elapsed() < Duration::from_secs(1), "{:?}", done.elapsed());
    browsers[1].open("/").await.expect(200);
    assert_eq!(listed(&world, &[]).await.len(), 1);
    let said = world.menshen(&["sessions", "revoke", "--", &sids[0]]).await.done();
    assert_eq!(said, "no session was left to end\n");
    let events = world.store().await.audit_after(0, 50).await.unwrap();
    let revoked = events.iter().find(|event| event.kind == "session_revoked").unwrap();
    assert_eq!(revoked.reason.as_deref(), Some("operator"));
    assert_eq!(revoked.user_id.as_deref(), Some(text(&sessions[0], "user_id")));
    neighbour.stop().await;
}

#[tokio::test]
async fn all_sessions_of_one_person_or_of_everybody_are_ended() {
    let world = World::start().await;
    let mut browsers: Vec<Browser<'_>> = (0..3).map(|_| world.browser()).collect();
    for (browser, persona) in browsers.iter_mut().zip(["lilei", "lilei", "hanmeimei"]) {
        browser.log_in(persona).await;
    }
    let sessions = listed(&world, &[]).await;
    let of = |session: &Value| text(session, "user_id").to_owned();
    let users: std::collections::BTreeSet<String> = sessions.iter().map(of).collect();
    let mut lilei = None;
    for user in &users {
        if listed(&world, &["--user", user]).await.len() == 2 {
            lilei = Some(user.clone());
        }
    }
    let ended = world
        .menshen(&["sessions", "revoke", "--json", "--user", &lilei.unwrap()])
        .await
        .json();
    assert_eq!(ended["ended"], 2);
    for browser in &browsers[..2] {
        let request = browser.script("GET", "/");
        world.until(async || world.send(&request).await.status == 401).await;
    }
    browsers[2].open("/").await.expect(200);

    let unsaid = world.menshen(&["sessions", "revoke", "--all"]).await.refused(2);
    assert!(unsaid.contains("--yes"), "{unsaid}");
    browsers[2].open("/").await.expect(200);
    assert_eq!(
        world.menshen(&["sessions", "revoke", "--all", "--yes"]).await.done(),
        "1 session ended\n"
    );
    let request = browsers[2].script("GET", "/");
    world.until(async || world.send(&request).await.status == 401).await;
    assert!(listed(&world, &[]).await.is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_said_and_nothing_is_half_done() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let id = text(&listed(&world, &[]).await[0], "id").to_owned();
    let refused = world
        .menshen(&["sessions", "revoke", "--", &id, "nonsense"])
        .await
        .refused(1);
    assert!(
        refused.contains("\"nonsense\"") && refused.contains("nothing was ended"),
        "{refused}"
    );
    let refused = world
        .menshen(&["sessions", "revoke", "--user", "nobody"])
        .await
        .refused(1);
    assert!(refused.contains("nobody in the directory"), "{refused}");
    for wrong in [
        &["sessions", "revoke"][..],
        &["sessions", "revoke", "--all", "--user", "x"],
    ] {
        world.menshen(wrong).await.refused(2);
    }
    assert_eq!(listed(&world, &[]).await.len(), 1);
    browser.open("/").await.expect(200);
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let world = World::start().await;
    for _ in 0..3 {
        world.browser().log_in("lilei").await;
    }
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = match &after {
            Some(id) => listed(&world, &["--limit", "2", "--after", id]).await,
            None => listed(&world, &["--limit", "2"]).await,
        };
        seen.extend(page.iter().map(|session| text(session, "id").to_owned()));
        let more = world.menshen(&["sessions", "list", "--limit", "2"]).await.err;
        assert!(more.contains("there are more: --after"), "{more}");
        match page.last().filter(|_| page.len() == 2) {
            Some(last) => after = Some(text(last, "id").to_owned()),
            None => break,
        }
    }
    let all: Vec<_> = listed(&world, &[])
        .await
        .iter()
        .map(|session| text(session, "id").to_owned())
        .collect();
    assert_eq!((seen.len(), seen), (3, all));
}

#[tokio::test]
async fn the_last_use_is_written_with_the_renewal_of_the_cookie_and_not_before() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let user = text(&listed(&world, &[]).await[0], "user_id").to_owned();
    let store = world.store().await;
    let last_used = async || store.sessions_of(&user, 0).await.unwrap()[0].last_used_at;
    let made = last_used().await;
    let mut watch = world.watch_store().await;
    world.advance(8_000);
    world.ready().await;
    let version = watch.version().await;
    for _ in 0..5 {
        browser.open("/").await.expect(200);
    }
    assert_eq!(watch.version().await, version, "a request wrote to the store");
    world.advance(700);
    world.ready().await;
    browser.open("/").await.expect(200);
    world.until(async || last_used().await >= made + 8_700).await;
}
