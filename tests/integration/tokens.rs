//! Bearer tokens: handed out by an operator, presented by programs, ended within a second.

use std::process::Output;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use menshen::session::bearer::new_token;
use menshen::store::{NewUser, Store};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::process::run;
use crate::support::wire::{Request, Wire};
use crate::support::world::{Plan, SITE};
use crate::support::{Answer, World};

#[tokio::test]
async fn a_token_is_made_used_listed_and_revoked_within_a_second() {
    let world = start(World::plan()).await;
    let made = tokens(
        &world,
        &["create", "--service", "robot", "--site", "Wiki", "--label", "deploy"],
    )
    .await;
    let token = text(&made.stdout).trim().to_owned();
    assert_eq!(token.len(), 53, "the token alone is on standard output: {token}");
    assert!(!text(&made.stderr).contains(&token) && text(&made.stderr).contains("wiki.test"));
    world.keep_secret(&token);

    world.send(&bearer(&world, SITE, "/a", &token)).await.expect(200);
    let seen = world.upstream.last();
    assert_eq!(seen.header("remote-user").as_deref(), Some("robot"));
    assert_eq!(seen.header("authorization"), None, "the token went on");
    let assertion = seen.header("x-menshen-assertion").expect("an assertion");
    let claims = claims(&assertion);
    assert_eq!(claims["amr"], json!(["token"]));
    assert_eq!(claims["aud"], SITE);
    assert_eq!(claims.get("connection"), None);
    world.send(&bearer(&world, SITE, "/b", &token)).await.expect(200);
    let again = world.upstream.last().header("x-menshen-assertion");
    assert_eq!(
        again.as_deref(),
        Some(&*assertion),
        "signed once, not for every request"
    );

    let listed = json_of(&tokens(&world, &["list", "--json"]).await);
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed[0]["user"], "robot");
    assert_eq!(listed[0]["service"], true);
    assert_eq!(listed[0]["sites"], json!([SITE]));
    assert_eq!(listed[0]["status"], "valid");
    assert_eq!(listed[0]["label"], "deploy");
    let life = listed[0]["expires_at"].as_i64().unwrap() - listed[0]["created_at"].as_i64().unwrap();
    assert_eq!(life, 90 * 86_400);
    assert!(!listed.to_string().contains(&token[4..]));

    assert_eq!(
        text(&tokens(&world, &["revoke", &id]).await.stdout),
        format!("{id} revoked\n")
    );
    let revoked = Instant::now();
    world
        .until(async || world.send(&bearer(&world, SITE, "/c", &token)).await.status == 401)
        .await;
    // A second is promised; the other one is for a machine that runs many tests.
    assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
    let refused = world.send(&bearer(&world, SITE, "/c", &token)).await;
    is_invalid(refused);
    let listed = json_of(&tokens(&world, &["list", "--user", "robot", "--json"]).await);
    assert_eq!(listed[0]["status"], "revoked");
    assert!(text(&tokens(&world, &["revoke", &id]).await.stdout).contains("before"));

    let store = world.store().await;
    let audited = store.audit_after(0, 100).await.unwrap();
    let events: Vec<(&str, Option<&str>)> = audited.iter().map(|row| (&*row.kind, row.reason.as_deref())).collect();
    assert_eq!(
        events,
        [
            ("user_created", None),
            ("token_issued", Some(&*id)),
            ("token_revoked", Some(&*id))
        ]
    );
    assert!(audited.iter().all(|row| row.user_id == audited[0].user_id));
}

#[tokio::test]
async fn a_token_decides_alone_and_another_authorization_not_at_all() {
    let world = start(World::plan().append(OTHER_SITE)).await;
    let token = create(&world, &["--service", "robot", "--site", SITE]).await;
    let elsewhere = create(&world, &["--service", "robot", "--site", "other.test"]).await;
    let unknown = new_token().unwrap().expose_secret().to_owned();
    let mut forged = token.clone();
    forged.replace_range(52.., if token.ends_with('0') { "1" } else { "0" });
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    browser.open("/").await.expect(200);
    let lilei = world.upstream.last().header("remote-user");

    // Beside a good cookie a token that is none is none, and the cookie stays.
    for bad in [
        format!("Bearer {unknown}"),
        format!("Bearer {forged}"),
        format!("Bearer {elsewhere}"),
        format!("bearer {}", token.to_uppercase()),
        format!("Bearer MST_{}", &token[4..]),
        format!("Bearer {token}x"),
        format!("Bearer {token} {token}"),
        format!("BEARER\t{unknown}"),
        "Bearer mst_".to_owned(),
    ] {
        for path in ["/", "/public/a"] {
            let before = world.upstream.requests().len();
            let request = browser.script("GET", path).header("Authorization", &bad);
            let answer = is_invalid(world.send(&request).await);
            assert!(answer.set_cookie("menshen").is_none(), "{bad}");
            assert_eq!(world.upstream.requests().len(), before, "{bad} {path}");
        }
    }
    // Beside somebody's cookie a good one is the program's.
    for scheme in ["Bearer", "bearer", "BEARER "] {
        for path in ["/", "/public/a"] {
            let request = browser
                .script("GET", path)
                .header("Authorization", &format!("{scheme} {token}"));
            world.send(&request).await.expect(200);
            let seen = world.upstream.last();
            assert_eq!(seen.header("remote-user").as_deref(), Some("robot"), "{scheme} {path}");
            assert_eq!((seen.header("authorization"), seen.header("cookie")), (None, None));
        }
    }
    // Whatever else is in the header is the application's, and the cookie decides.
    for foreign in [
        "Basic bGlsZWk6eA==",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Token mst_abc",
        "mst_abc",
        "Bearer",
    ] {
        let request = browser.script("GET", "/").header("Authorization", foreign);
        world.send(&request).await.expect(200);
        let seen = world.upstream.last();
        assert_eq!(seen.header("authorization").as_deref(), Some(foreign));
        assert_eq!(seen.header("remote-user"), lilei);
    }
    // In a query it is a text like any other.
    let request = script(&world, SITE, &format!("/?access_token={token}&token={token}"));
    world.send(&request).await.refused(401, "login_required");
    // Twice is once too often, whichever comes first.
    for pair in [[&*token, "x"], ["x", &*token], [&*token, &*token]] {
        let request = pair.iter().fold(script(&world, SITE, "/"), |request, value| {
            request.header("Authorization", &format!("Bearer {value}"))
        });
        world.send(&request).await.refused(400, "bad_request");
    }
}

#[tokio::test]
async fn a_token_gets_no_cookie_however_long_it_is_used() {
    let world = start(World::plan().set("session.idle_timeout", "1h")).await;
    let token = create(&world, &["--service", "robot", "--expires", "2d"]).await;
    for _ in 0..3 {
        let answer = world.send(&bearer(&world, SITE, "/", &token)).await.expect(200);
        assert_eq!(answer.all("set-cookie").count(), 0, "{}", answer.head());
        world.advance(10 * 3_600);
        world.ready().await;
    }
    world.advance(18 * 3_600 + 1);
    world.ready().await;
    is_invalid(world.send(&bearer(&world, SITE, "/", &token)).await);
}

#[tokio::test]
async fn a_token_is_worth_what_its_user_is() {
    let world = start(World::plan().append(OPS_ROUTE)).await;
    let store = world.store().await;
    let now = world.clock.now();
    person(&store, "u_alice", "alice", now).await;
    person(&store, "u_bob", "bob", now).await;
    let alice = create(&world, &["--user", "alice", "--expires", "never"]).await;
    let bob = create(&world, &["--user", "u_bob"]).await;
    let status = async |token: &str, path: &str| world.send(&bearer(&world, SITE, path, token)).await.status;
    assert_eq!((status(&alice, "/ops/").await, status(&bob, "/").await), (403, 200));
    let change = menshen::store::UserChange {
        groups: Some(vec!["ops".to_owned()]),
        ..menshen::store::UserChange::default()
    };
    assert!(store.update_user("u_alice", &change, now).await.unwrap());
    world.until(async || status(&alice, "/ops/").await == 200).await;
    assert_eq!(world.upstream.last().header("remote-groups").as_deref(), Some("ops"));

    assert!(store.set_disabled("u_alice", true, "left", now).await.unwrap());
    world.until(async || status(&alice, "/").await == 401).await;
    let disabled = tokens(&world, &["create", "--user", "alice"]).await;
    assert_eq!(disabled.status.code(), Some(1));
    assert!(
        text(&disabled.stderr).contains("disabled"),
        "{}",
        text(&disabled.stderr)
    );
    assert!(store.set_disabled("u_alice", false, "back", now).await.unwrap());
    assert!(store.delete_user("u_bob", "gone", now).await.unwrap());
    world.until(async || status(&bob, "/").await == 401).await;
    // What was ended by a disabling stays ended.
    world.advance(60);
    world.ready().await;
    is_invalid(world.send(&bearer(&world, SITE, "/", &alice)).await);
}

#[tokio::test]
async fn signing_out_everywhere_leaves_an_operators_tokens_alone() {
    let world = start(World::plan()).await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    browser.open("/").await.expect(200);
    let user = world.upstream.last().header("remote-user").unwrap();
    let token = create(&world, &["--user", &user]).await;
    world.send(&bearer(&world, SITE, "/", &token)).await.expect(200);
    browser
        .submit("/.menshen/logout?everywhere=true", &[])
        .await
        .expect(303);
    browser.fetch("GET", "/").await.expect(401);
    world.send(&bearer(&world, SITE, "/", &token)).await.expect(200);
}

#[tokio::test]
async fn programs_are_refused_in_a_form_that_they_understand() {
    let world = start(World::plan()).await;
    let token = create(&world, &["--service", "robot"]).await;
    let unknown = new_token().unwrap().expose_secret().to_owned();
    let grpc = |token: &str| {
        Request::post("/service/Method")
            .header("Host", &world.authority(SITE))
            .header("Authorization", &format!("Bearer {token}"))
            .body("application/grpc", b"")
    };
    world.send(&grpc(&token)).await.expect(200);
    let refused = world.send(&grpc(&unknown)).await.expect(200);
    assert_eq!(refused.header("grpc-status"), Some("16"), "{}", refused.head());
    assert_eq!(refused.header("grpc-message"), Some("token_invalid"));

    // A WebSocket by token needs no Origin: nothing sends a token unasked.
    world.upstream.respond(
        b"HTTP/1.1 101 Switching Protocols\r\nX-Application: 1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            .to_vec(),
    );
    let socket = |token: &str| {
        bearer(&world, SITE, "/socket", token)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let mut wire = Wire::open(world.address).await;
    wire.write(&socket(&token).bytes()).await;
    assert_eq!(wire.head().await.status, 101);
    is_invalid(world.send(&socket(&unknown)).await);
    // And it ends with its token.
    let listed = json_of(&tokens(&world, &["list", "--json"]).await);
    tokens(&world, &["revoke", listed[0]["id"].as_str().unwrap()]).await;
    assert!(wire.is_closed().await, "the socket goes on");
}

#[tokio::test]
async fn userinfo_says_whose_a_token_is_where_it_is_good() {
    let world = start(World::plan().append(OTHER_SITE)).await;
    let here = create(&world, &["--service", "robot", "--site", SITE]).await;
    let everywhere = create(&world, &["--service", "robot", "--expires", "never"]).await;
    let ask = async |host: &str, token: &str| world.send(&bearer(&world, host, "/.menshen/userinfo", token)).await;
    let info = ask(SITE, &here).await.expect(200).json();
    assert_eq!(info["preferred_username"], "robot");
    for absent in ["connection", "logout_url", "idle_expires_at"] {
        assert_eq!(info.get(absent), None, "{info}");
    }
    assert!(info["expires_at"].is_i64(), "{info}");
    let forever = ask("login.test", &everywhere).await.expect(200).json();
    assert_eq!(forever.get("expires_at"), None, "{forever}");
    ask("other.test", &everywhere).await.expect(200);
    is_invalid(ask("other.test", &here).await);
    is_invalid(ask("login.test", &here).await);
    is_invalid(ask(SITE, new_token().unwrap().expose_secret()).await);
    // A token is no session: it signs nobody in to the portal, and ends nothing.
    let page = bearer(&world, SITE, "/.menshen/login", &everywhere).header("Accept", "text/html");
    world.send(&page).await.expect(200);
    let logout = Request::post("/.menshen/logout")
        .header("Host", &world.authority(SITE))
        .header("Origin", &world.origin(SITE))
        .header("Authorization", &format!("Bearer {everywhere}"));
    world.send(&logout).await.expect(303);
    ask(SITE, &everywhere).await.expect(200);
}

#[tokio::test]
async fn an_outer_proxy_is_told_the_same_about_a_token() {
    let world = start(
        World::plan()
            .set("server.trusted_proxies", vec!["127.0.0.1/32"])
            .append(OTHER_SITE),
    )
    .await;
    let token = create(&world, &["--service", "robot", "--site", SITE]).await;
    let ask = async |host: &str, token: &str| {
        let request = bearer(&world, "login.test", "/.menshen/verify", token)
            .header("X-Original-URL", &format!("{}/a", world.origin(host)))
            .header("X-Original-Method", "GET");
        world.send(&request).await
    };
    // The answer is for the proxy, not for the client: it has the headers of the application.
    let request = bearer(&world, "login.test", "/.menshen/verify", &token)
        .header("X-Original-URL", &format!("{}/a", world.origin(SITE)))
        .header("X-Original-Method", "GET");
    let passed = Wire::open(world.address).await.send(&request).await.expect(200);
    assert_eq!(passed.header("remote-user"), Some("robot"));
    assert_eq!(passed.all("set-cookie").count(), 0);
    is_invalid(ask("other.test", &token).await);
    is_invalid(ask(SITE, new_token().unwrap().expose_secret()).await);
    is_invalid(ask(SITE, "mst_short").await);
}

#[tokio::test]
async fn whoever_tries_tokens_is_stopped_and_nobody_else() {
    let world = start(World::plan().set("limits.phone_calls", "40/min")).await;
    let known = create(&world, &["--service", "robot"]).await;
    let unseen = create(&world, &["--service", "robot"]).await;
    world.send(&bearer(&world, SITE, "/", &known)).await.expect(200);
    let attempt = async || {
        let guess = new_token().unwrap().expose_secret().to_owned();
        world.send(&bearer(&world, SITE, "/", &guess)).await
    };
    let mut refused = 0;
    let limited = loop {
        let answer = attempt().await;
        if answer.status != 401 {
            break answer.refused(429, "rate_limited");
        }
        refused += 1;
    };
    assert!((3..=4).contains(&refused), "{refused} of 40 at ten each");
    assert!(limited.header("retry-after").is_some());
    // What memory vouches for goes on, what it does not must wait, and phones are counted by themselves.
    world.send(&bearer(&world, SITE, "/", &known)).await.expect(200);
    world
        .send(&bearer(&world, SITE, "/", &unseen))
        .await
        .refused(429, "rate_limited");
    world
        .send(&bearer(&world, SITE, "/public/", &unseen))
        .await
        .refused(429, "rate_limited");
    world
        .send(&bearer(&world, SITE, "/.menshen/userinfo", &unseen))
        .await
        .refused(429, "rate_limited");
    let mut browser = world.browser();
    browser.log_in("lilei").await;
}

#[tokio::test]
async fn while_the_store_is_away_tokens_in_memory_go_on_and_others_are_told_so() {
    let world = start(World::plan().set("session.store_outage", "1h")).await;
    let known = create(&world, &["--service", "robot"]).await;
    let unseen = create(&world, &["--service", "robot"]).await;
    world.send(&bearer(&world, SITE, "/", &known)).await.expect(200);
    let mut store = world.watch_store().await;
    store.break_store().await;
    world.send(&bearer(&world, SITE, "/", &known)).await.expect(200);
    world
        .send(&bearer(&world, SITE, "/", &unseen))
        .await
        .refused(503, "store_unavailable");
    world
        .send(&bearer(&world, SITE, "/.menshen/userinfo", &unseen))
        .await
        .refused(503, "store_unavailable");
    world
        .send(&bearer(&world, SITE, "/", "mst_malformed"))
        .await
        .refused(401, "token_invalid");
    store.mend_store().await;
    // It was no refusal: nothing of it is remembered.
    world.send(&bearer(&world, SITE, "/", &unseen)).await.expect(200);
    store.break_store().await;
    world.advance(3_600 + 31);
    world.send(&bearer(&world, SITE, "/", &known)).await.expect(503);
}

#[tokio::test]
async fn no_request_with_a_known_token_touches_the_store_and_the_last_use_is_written_later() {
    let mut world = start(World::plan()).await;
    let token = create(&world, &["--service", "robot"]).await;
    world.send(&bearer(&world, SITE, "/", &token)).await.expect(200);
    let mut store = world.watch_store().await;
    let before = store.version().await;
    for _ in 0..20 {
        world.send(&bearer(&world, SITE, "/", &token)).await.expect(200);
    }
    assert_eq!(store.version().await, before, "a request wrote");
    let used = async |world: &World| json_of(&tokens(world, &["list", "--json"]).await)[0]["last_used_at"].as_i64();
    assert_eq!(used(&world).await, None);
    world.stop_gateway().await;
    let at = used(&world).await.expect("written at the stop");
    assert!((world.clock.now() - at).abs() < 60);
}

#[tokio::test]
async fn bad_orders_are_explained_and_do_nothing() {
    let world = start(World::plan()).await;
    let store = world.store().await;
    person(&store, "u_alice", "alice", world.clock.now()).await;
    for (order, code, said) in [
        (&["create"][..], 2, "--user"),
        (&["create", "--user", "alice", "--service", "robot"], 2, "--service"),
        (&["create", "--user", "nobody"], 1, "nobody in the directory"),
        (&["create", "--service", "alice"], 1, "is a person"),
        (&["create", "--service", " "], 1, "cannot be a username"),
        (
            &["create", "--service", "u_00000000000000000000000000"],
            1,
            "looks like a user id",
        ),
        (
            &["create", "--user", "alice", "--site", "Nowhere"],
            2,
            "write one of wiki.test",
        ),
        (&["create", "--user", "alice", "--expires", "soon"], 2, "or never"),
        (
            &["create", "--user", "alice", "--expires", "1s"],
            2,
            "between 1m and 3650d",
        ),
        (&["create", "--user", "alice", "--label", ""], 2, "label"),
        (&["list", "--user", "nobody"], 1, "nobody in the directory"),
        (&["revoke", "t_0000000000000000"], 1, "menshen tokens list"),
    ] {
        let output = tokens(&world, order).await;
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{order:?}: {complaint}");
        assert!(complaint.contains(said), "{order:?}: {complaint}");
        assert_eq!(text(&output.stdout), "", "{order:?}");
    }
    assert_eq!(json_of(&tokens(&world, &["list", "--json"]).await), json!([]));
    assert!(store.user_by_username("robot").await.unwrap().is_none(), "half done");
    let made = json_of(&tokens(&world, &["create", "--user", "alice", "--json", "--label", "\u{1b}[2J"]).await);
    assert!(made["token"].as_str().unwrap().starts_with("mst_"));
    assert_eq!(made.get("sites"), None);
    let listed = text(&tokens(&world, &["list"]).await.stdout);
    assert!(listed.contains("\\u{1b}[2J") && !listed.contains('\u{1b}'), "{listed}");
}

/// A world whose configuration the command line can read.
pub async fn start(plan: Plan) -> World {
    let world = plan.start().await;
    std::fs::write(world.configuration(), world.text()).unwrap();
    world
}

/// `menshen tokens …` on the store of the running gateway.
async fn tokens(world: &World, arguments: &[&str]) -> Output {
    let path = world.configuration().display().to_string();
    run(&[&["tokens"], arguments, &["--config", &path]].concat()).await
}

/// A new token.
async fn create(world: &World, arguments: &[&str]) -> String {
    let output = tokens(world, &[&["create"], arguments].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let token = text(&output.stdout).trim().to_owned();
    world.keep_secret(&token);
    token
}

async fn person(store: &Store, id: &str, name: &str, now: i64) {
    let new = NewUser {
        id: id.to_owned(),
        username: Some(name.to_owned()),
        created_at: now,
        ..NewUser::default()
    };
    store.insert_user(&new).await.unwrap();
}

/// A call of a program.
fn script(world: &World, host: &str, target: &str) -> Request {
    Request::new("GET", target)
        .header("Host", &world.authority(host))
        .header("User-Agent", "curl/8.14.1")
        .header("Accept", "*/*")
}

/// The same with a token.
pub fn bearer(world: &World, host: &str, target: &str, token: &str) -> Request {
    script(world, host, target).header("Authorization", &format!("Bearer {token}"))
}

/// RFC 6750 §3.1.
#[track_caller]
pub fn is_invalid(answer: Answer) -> Answer {
    let answer = answer.refused(401, "token_invalid");
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"menshen\", error=\"invalid_token\""));
    answer
}

fn claims(assertion: &str) -> Value {
    let claims = assertion.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A second application; nobody is behind it.
const OTHER_SITE: &str =
    "\n[[sites]]\nname = \"Other\"\nhosts = [\"other.test\"]\nupstreams = [\"http://127.0.0.1:1\"]\n";
const OPS_ROUTE: &str = "\n[[sites.routes]]\npath = \"/ops/\"\nrequire = [\"group:ops\"]\n";
