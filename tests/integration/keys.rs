//! Keys that change while nodes run.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use menshen::proxy::gateway::Gateway;
use serde_json::Value;

use crate::support::assertion::verify;
use crate::support::world::PUBLIC_HOST;
use crate::support::{Browser, World};

const DAY: u64 = 86_400;

async fn key_set(world: &World, node: &Gateway) -> Value {
    let request = world.browser_at(PUBLIC_HOST).script("GET", "/.menshen/jwks.json");
    world.send_to(node, &request).await.expect(200).json()
}

/// The number of the key that a session cookie is sealed with.
fn sealed_by(browser: &Browser<'_>) -> u32 {
    let token = URL_SAFE_NO_PAD.decode(browser.cookie("menshen").unwrap()).unwrap();
    u32::from_be_bytes(token[1..5].try_into().unwrap())
}

/// The key id of the assertion that the application gets, which verifies by the key set that this node publishes.
async fn signed_by(world: &World, node: &Gateway, browser: &Browser<'_>) -> String {
    world.send_to(node, &browser.script("GET", "/")).await.expect(200);
    let token = world.upstream.last().header("x-menshen-assertion").unwrap();
    let issuer = world.origin(PUBLIC_HOST);
    let (header, _) = verify(
        &token,
        &key_set(world, node).await,
        &issuer,
        "wiki.test",
        world.clock.now(),
    );
    header["kid"].as_str().unwrap().to_owned()
}

async fn until_published(world: &World, nodes: &[&Gateway], keys: usize) {
    for node in nodes {
        world
            .until(async || key_set(world, node).await["keys"].as_array().unwrap().len() == keys)
            .await;
    }
}

#[tokio::test]
async fn a_rotation_reaches_every_node_and_signs_nobody_out() {
    let world = World::start().await;
    let neighbour = world.neighbour().await;
    let nodes = [world.gateway(), &neighbour];
    let mut old = world.browser();
    old.log_in("lilei").await;
    let (first_seal, first_signature) = (sealed_by(&old), signed_by(&world, &neighbour, &old).await);
    let waiting_page = world.browser().open("/").await.login_page();

    let made = world.menshen(&["keys", "rotate", "--json"]).await.json();
    let of = |kind: &str| {
        made.as_array()
            .unwrap()
            .iter()
            .find(|key| key["kind"] == kind)
            .unwrap()
            .clone()
    };
    assert_eq!(of("sealing")["state"], "coming");
    assert_eq!(
        of("signing")["active_from"].as_i64(),
        of("signing")["created_at"].as_i64().map(|at| at + 3_600)
    );
    // The coming key is in the key set of both before it signs.
    until_published(&world, &nodes, 2).await;
    assert_eq!(signed_by(&world, &neighbour, &old).await, first_signature);
    let refused = world.menshen(&["keys", "rotate", "--kind", "sealing"]).await.refused(1);
    assert!(refused.contains("yet to come into use"), "{refused}");

    world.advance(61);
    let mut new = world.browser();
    new.log_in("hanmeimei").await;
    assert_ne!(sealed_by(&new), first_seal);
    for node in nodes {
        for browser in [&old, &new] {
            world.send_to(node, &browser.script("GET", "/")).await.expect(200);
        }
    }
    // A code from before the rotation is as good as it was.
    let mut phone = world.phone("lilei");
    phone.scan(&waiting_page.ticket).await.expect(200);

    world.advance(3_600);
    world.ready().await;
    for node in nodes {
        world.until(async || node.snapshot().registry.is_ready()).await;
        let kid = signed_by(&world, node, &old).await;
        assert_ne!(kid, first_signature);
        assert_eq!(kid, of("signing")["kid"]);
    }
    neighbour.stop().await;
}

#[tokio::test]
async fn old_keys_are_forgotten_when_nothing_of_theirs_can_be_valid() {
    let world = World::start().await;
    world.menshen(&["keys", "rotate"]).await.done();
    until_published(&world, &[world.gateway()], 2).await;
    let kinds = async || {
        let keys = world.menshen(&["keys", "list", "--json"]).await.json();
        let of = |key: &Value| key["kind"].as_str().unwrap().to_owned();
        keys.as_array().unwrap().iter().map(of).collect::<Vec<_>>().join(" ")
    };
    let login = || std::sync::Arc::clone(&world.snapshot().portal.inner().login);
    assert_eq!(kinds().await, "sealing scene signing sealing scene signing");
    // Two hours and two lives of an assertion: the keys that signed and made codes.
    world.advance(3_600 + 3_600 + 300 + 10);
    login().sweep().await;
    assert_eq!(kinds().await, "sealing scene sealing scene signing");
    until_published(&world, &[world.gateway()], 1).await;
    world.advance(DAY);
    login().sweep().await;
    assert_eq!(kinds().await, "sealing sealing scene signing");
    world.advance(13 * DAY);
    login().sweep().await;
    assert_eq!(kinds().await, "sealing scene signing");
}

#[tokio::test]
async fn a_secret_is_introduced_and_changed_under_a_running_gateway() {
    let mut world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let clear = world.menshen(&["keys", "wrap"]).await.refused(1);
    assert!(clear.contains("server.secret is not set"), "{clear}");

    let with_secret = |secret: &str| {
        let server = format!("[server]\nsecret = \"{secret}\"\n");
        world.text().replacen("[server]\n", &server, 1)
    };
    let (one, two) = ("o".repeat(43), "t".repeat(43));
    let (first, second) = (with_secret(&one), with_secret(&two));
    std::fs::write(world.configuration(), &first).unwrap();
    let said = world.menshen(&["keys", "wrap"]).await.done();
    assert!(said.starts_with("3 of 3 keys"), "{said}");
    // The node has no secret yet: it goes on with the keys that it has.
    browser.open("/").await.expect(200);
    let mut settings = menshen::config::Settings::clone(&world.snapshot().settings);
    settings.server.secret = Some(one.clone().into());
    world.gateway().reloader().apply(settings).await.unwrap();
    browser.open("/").await.expect(200);
    world.menshen(&["keys", "rotate", "--kind", "signing"]).await.done();
    until_published(&world, &[world.gateway()], 2).await;

    std::fs::write(world.configuration(), &second).unwrap();
    for wrong in [&["keys", "rotate", "--kind", "scene"][..], &["keys", "wrap"]] {
        let refused = world.menshen(wrong).await.refused(1);
        assert!(refused.contains("do not open with server.secret"), "{refused}");
    }
    let serving = world.menshen(&["serve"]).await;
    assert_eq!(serving.code, 1, "{serving:?}");
    assert!(
        serving.err.contains("do not open with server.secret"),
        "{}",
        serving.err
    );
    let former = world.configuration().with_file_name("former");
    std::fs::write(&former, &one).unwrap();
    let former = former.display().to_string();
    let said = world
        .menshen(&["keys", "wrap", "--former-secret", &former])
        .await
        .done();
    assert!(said.starts_with("4 of 4 keys"), "{said}");
    let cookies = browser.cookies.clone();
    world.stop_gateway().await;
    world.settings_mut().server.secret = Some(two.into());
    world.start_gateway().await;
    let mut browser = world.browser();
    browser.cookies = cookies;
    browser.open("/").await.expect(200);
}

#[tokio::test]
async fn a_listing_says_what_keys_are_for_and_not_what_they_are() {
    let world = World::start().await;
    let keys = world.menshen(&["keys", "list", "--json"]).await.json();
    let published = key_set(&world, world.gateway()).await;
    assert_eq!(keys[2]["kid"], published["keys"][0]["kid"]);
    let fields: Vec<_> = keys[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["active_from", "created_at", "id", "kind", "state", "wrapped"]);
    let table = world.menshen(&["keys", "list"]).await.done();
    assert_eq!(table.lines().count(), 4, "{table}");
    let usage = world.menshen(&["keys", "rotate", "--kind", "house"]).await.refused(2);
    assert!(usage.contains("sealing, scene, signing"), "{usage}");
}

#[tokio::test]
async fn a_rotation_is_audited() {
    let world = World::start().await;
    world.menshen(&["keys", "rotate", "--kind", "scene"]).await.done();
    let events = world.store().await.audit_after(0, 10).await.unwrap();
    let last = events.last().unwrap();
    assert_eq!((&*last.kind, last.reason.as_deref()), ("keys_rotated", Some("scene")));
}
