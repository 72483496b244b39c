//! Applications without a browser: a ticket, a phone, tokens; and `menshen login` in a terminal.

use std::process::Stdio;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use menshen::session::bearer::new_token;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::phone::Phone;
use crate::support::wire::{PATIENCE, Request};
use crate::support::world::{PUBLIC_HOST, Plan, SITE};
use crate::support::{Answer, World};
use crate::tokens::{bearer, is_invalid};

#[tokio::test]
async fn an_application_gets_tokens_by_a_phone_and_renews_them() {
    let world = plan().start().await;
    let mut store = world.watch_store().await;
    let before = store.version().await;
    let app = App::begin(&world, SITE).await;
    assert_eq!(app.created["connection"], "staff");
    assert_eq!(app.created["expires_in"], 120);
    let pending = app.poll("").await.expect(202).json();
    assert_eq!(
        (&pending["status"], &pending["number"]),
        (&json!("pending"), &app.created["number"])
    );
    assert_eq!(store.version().await, before, "a visitor wrote to the store");

    let mut phone = world.phone("lilei");
    let (scanned, told) = tokio::join!(phone.scan(&app.scene), app.poll("?wait=20&seen=pending"));
    assert_eq!(told.expect(202).json()["status"], "scanned");
    // Whichever came first: the poll has brought what the phone must show.
    let mut shown = scanned.expect(200).json();
    if shown.get("site").is_none() {
        shown = phone.status().await.expect(200).json();
    }
    assert_eq!(shown["site"], json!({ "name": "Wiki", "host": SITE }));
    assert_eq!(shown["browser"]["device"]["kind"], "terminal");
    assert_eq!(shown["browser"]["device"]["text"], "一个终端程序 · Linux");
    assert_eq!(shown["browser"]["same_network"], true);
    assert!(shown["choices"].as_array().unwrap().contains(&app.created["number"]));
    phone.confirm(app.number()).await.expect(200);

    let tokens = app.poll("").await.expect(200).json();
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"]),
        (&json!("Bearer"), &json!(3600))
    );
    let (access, refresh) = kept(&world, &tokens);
    world.send(&bearer(&world, SITE, "/", &access)).await.expect(200);
    let seen = world.upstream.last();
    let (user, sid) = (
        seen.header("remote-user").unwrap(),
        sid(&seen.header("x-menshen-assertion").unwrap()),
    );
    let info = world
        .send(&bearer(&world, SITE, "/.menshen/userinfo", &access))
        .await
        .expect(200)
        .json();
    assert_eq!((&info["sub"], &info["connection"]), (&json!(user), &json!("staff")));

    // Once, and then never again.
    app.poll("").await.refused(409, "wrong_state");
    // A refresh token is no credential, an access token gets no other.
    is_invalid(world.send(&bearer(&world, SITE, "/", &refresh)).await);
    is_invalid(renew(&world, SITE, &access).await);

    world.advance(3_601);
    world.ready().await;
    is_invalid(world.send(&bearer(&world, SITE, "/", &access)).await);
    let (access, refresh) = kept(&world, &renew(&world, SITE, &refresh).await.expect(200).json());
    world.send(&bearer(&world, SITE, "/", &access)).await.expect(200);
    let seen = world.upstream.last();
    assert_eq!(sid_of(&seen), sid, "one session for the application behind");
    assert_eq!(seen.header("remote-user"), Some(user.clone()));

    // It ends where sessions end.
    let rows = world.store().await.sessions_of(&user, world.clock.now()).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((&*rows[0].host, rows[0].device.contains("Terminal")), (SITE, true));
    let (store, now) = (world.store().await, world.clock.now());
    assert!(store.end_session(&rows[0].id, "operator", now).await.unwrap());
    world
        .until(async || world.send(&bearer(&world, SITE, "/", &access)).await.status == 401)
        .await;
    is_invalid(renew(&world, SITE, &refresh).await);
}

#[tokio::test]
async fn a_refresh_token_that_comes_twice_ends_the_whole_session() {
    let world = plan().start().await;
    let (access, refresh) = sign_in(&world, SITE).await;
    let (newer, newest) = kept(&world, &renew(&world, SITE, &refresh).await.expect(200).json());
    for token in [&access, &newer] {
        world.send(&bearer(&world, SITE, "/", token)).await.expect(200);
    }
    is_invalid(renew(&world, SITE, &refresh).await);
    for token in [&access, &newer] {
        world
            .until(async || world.send(&bearer(&world, SITE, "/", token)).await.status == 401)
            .await;
    }
    is_invalid(renew(&world, SITE, &newest).await);
    world
        .until(async || {
            let audited = world.store().await.audit_after(0, 100).await.unwrap();
            let reuse = |row: &&menshen::store::AuditRow| row.reason.as_deref() == Some("refresh_reused");
            audited.iter().filter(reuse).count() == 1
        })
        .await;
}

#[tokio::test]
async fn a_token_is_for_the_site_where_it_was_asked_for_and_from_the_portal_for_all() {
    let world = plan().append(OTHER_SITES).start().await;
    let (here, refresh_here) = sign_in(&world, SITE).await;
    let (everywhere, refresh_everywhere) = sign_in(&world, PUBLIC_HOST).await;
    let ask = async |host: &str, token: &str| world.send(&bearer(&world, host, "/.menshen/userinfo", token)).await;
    for (token, at_site, at_other, at_closed) in [(&here, 200, 401, 401), (&everywhere, 200, 200, 401)] {
        for (host, status) in [(SITE, at_site), ("other.test", at_other), ("closed.test", at_closed)] {
            ask(host, token).await.expect(status);
        }
        // The same to the gate, on whatever route.
        is_invalid(world.send(&bearer(&world, "closed.test", "/", token)).await);
    }
    is_invalid(world.send(&bearer(&world, "other.test", "/", &here)).await);
    // Where it is good for nothing a refresh token is not used up.
    is_invalid(renew(&world, "other.test", &refresh_here).await);
    is_invalid(renew(&world, PUBLIC_HOST, &refresh_here).await);
    is_invalid(renew(&world, "closed.test", &refresh_everywhere).await);
    renew(&world, SITE, &refresh_here).await.expect(200);
    renew(&world, "other.test", &refresh_everywhere).await.expect(200);
    // A connection that a site does not list is none there.
    let body = json!({ "connection": "staff", "code_challenge": challenge("v") });
    post(&world, "closed.test", "tickets", &body)
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn the_phone_says_that_a_token_is_for_every_site() {
    let world = plan().start().await;
    for (host, name) in [(PUBLIC_HOST, "Menshen：所有网站"), (SITE, "Wiki")] {
        let app = App::begin(&world, host).await;
        let phone = app.scanned_by(world.phone("lilei")).await;
        let shown = phone.status().await.expect(200).json();
        assert_eq!(shown["site"], json!({ "name": name, "host": host }));
    }
}

/// A session is renewed now and then, and what it has used up does not stay with it.
#[tokio::test]
async fn refreshing_is_limited_for_each_session() {
    let world = plan().start().await;
    let (_, mut refresh) = sign_in(&world, SITE).await;
    let (_, other) = sign_in(&world, SITE).await;
    let mut used = Vec::new();
    let refused = loop {
        let answer = renew(&world, SITE, &refresh).await;
        if answer.status == 429 {
            break answer;
        }
        let (_, next) = kept(&world, &answer.expect(200).json());
        used.push(std::mem::replace(&mut refresh, next));
        assert!(used.len() < 15, "without end");
    };
    assert!(used.len() >= 10, "{}", used.len());
    assert!(refused.header("retry-after").is_some());
    renew(&world, SITE, &other).await.expect(200);
    // What was refused is not spent; and one that comes again ends the session, whatever its number.
    is_invalid(renew(&world, SITE, used.last().unwrap()).await);
    is_invalid(renew(&world, SITE, &refresh).await);
}

#[tokio::test]
async fn nobody_watches_or_redeems_what_is_not_theirs() {
    let world = plan().append(OTHER_SITES).start().await;
    let (app, other) = (App::begin(&world, SITE).await, App::begin(&world, SITE).await);
    app.confirmed_by(&mut world.phone("lilei")).await;
    let thief = App {
        verifier: other.verifier.clone(),
        ..app.clone()
    };
    thief.poll("").await.refused(404, "ticket_unknown");
    for verifier in ["", &challenge(&app.verifier), &app.verifier[1..]] {
        let body = json!({ "code_verifier": verifier });
        let path = format!("tickets/{}/redeem", app.id());
        post(&world, SITE, &path, &body).await.refused(404, "ticket_unknown");
    }
    // The scene is not the id, and one host's ticket is none at another.
    let by_scene = format!("tickets/{}/redeem", app.scene);
    let body = json!({ "code_verifier": app.verifier });
    post(&world, SITE, &by_scene, &body)
        .await
        .refused(404, "ticket_unknown");
    let path = format!("tickets/{}/redeem", app.id());
    post(&world, "other.test", &path, &body)
        .await
        .refused(404, "ticket_unknown");
    // The browser's side has no way in either.
    for target in [app.id(), &app.scene] {
        let watched = world
            .browser()
            .fetch("GET", &format!("/.menshen/tickets/{target}"))
            .await;
        watched.refused(404, "ticket_unknown");
    }
    let mut forged = app.id().to_owned();
    forged.replace_range(40..41, if &forged[40..41] == "A" { "B" } else { "A" });
    post(&world, SITE, &format!("tickets/{forged}/redeem"), &body)
        .await
        .refused(404, "ticket_unknown");
    app.poll("").await.expect(200);
}

#[tokio::test]
async fn an_application_is_told_how_its_ticket_ended() {
    let world = plan().start().await;
    let app = App::begin(&world, SITE).await;
    let mut phone = app.scanned_by(world.phone("lilei")).await;
    phone
        .confirm((app.number() - 9) % 90 + 10)
        .await
        .refused(403, "wrong_number");
    app.poll("").await.refused(403, "wrong_number");

    let app = App::begin(&world, SITE).await;
    phone = app.scanned_by(phone).await;
    phone.cancel().await.expect(204);
    app.poll("?wait=20&seen=scanned").await.refused(410, "ticket_cancelled");

    let app = App::begin(&world, SITE).await;
    world.advance(121);
    world.ready().await;
    app.poll("?wait=20").await.refused(410, "ticket_expired");

    // "Not me" after the tokens were fetched ends them.
    let app = App::begin(&world, SITE).await;
    let phone = app.confirmed_by(&mut world.phone("lilei")).await;
    let (access, refresh) = kept(&world, &app.poll("").await.expect(200).json());
    world.send(&bearer(&world, SITE, "/", &access)).await.expect(200);
    phone.not_me().await.expect(204);
    world
        .until(async || world.send(&bearer(&world, SITE, "/", &access)).await.status == 401)
        .await;
    is_invalid(renew(&world, SITE, &refresh).await);
}

#[tokio::test]
async fn nobody_confirms_for_an_application_what_they_were_not_shown() {
    let world = plan().start().await;
    let app = App::begin(&world, SITE).await;
    let mut phone = world.phone("lilei");
    let shown = phone.scan(&app.scene).await.expect(200).json();
    assert_eq!(shown.get("site"), None, "{shown}");
    phone.confirm(app.number()).await.refused(409, "browser_absent");
    app.poll("").await.expect(202);
    phone.confirm(app.number()).await.refused(409, "browser_absent");
    assert_eq!(phone.status().await.expect(200).json()["site"]["host"], SITE);
    phone.confirm(app.number()).await.expect(200);
    app.poll("").await.expect(200);
}

#[tokio::test]
async fn typed_numbers_none_and_round_codes() {
    let world = plan().set("login.number_entry", "type").start().await;
    let app = App::begin(&world, SITE).await;
    let phone = app.scanned_by(world.phone("lilei")).await;
    let shown = phone.status().await.expect(200).json();
    assert_eq!(
        (&shown["choices"], &shown["number_entry"]),
        (&json!([]), &json!("type"))
    );
    phone.confirm(app.number()).await.expect(200);
    app.poll("").await.expect(200);

    let world = plan().set("login.number_matching", false).start().await;
    let app = App::begin(&world, SITE).await;
    assert_eq!(app.created.get("number"), None);

    // A round code cannot be handed out as text; with a prefix beside it the link can.
    let world = World::start().await;
    let body = json!({ "code_challenge": challenge("v") });
    let created = post(&world, SITE, "tickets", &body).await.expect(201).json();
    assert_eq!(created.get("qr_text"), None, "{created}");
    let world = World::plan().set("connections.0.link_prefix", PREFIX).start().await;
    let created = post(&world, SITE, "tickets", &body).await.expect(201).json();
    assert!(created["qr_text"].as_str().unwrap().starts_with(PREFIX), "{created}");
}

#[tokio::test]
async fn an_application_that_asks_without_end_is_told_to_wait() {
    let world = plan().start().await;
    let (app, other) = (App::begin(&world, SITE).await, App::begin(&world, SITE).await);
    let mut refused = 0;
    for _ in 0..100 {
        let answer = app.poll("").await;
        if answer.status != 202 {
            answer.refused(429, "rate_limited");
            refused += 1;
        }
    }
    assert!(refused >= 10, "{refused}");
    other.poll("").await.expect(202);
}

#[tokio::test]
async fn bad_calls_are_refused_and_wrong_ones_limited() {
    let world = plan().set("limits.phone_calls", "100/min").start().await;
    let good = challenge("v");
    for (body, status, code) in [
        (json!({}), 400, "bad_request"),
        (json!({ "code_challenge": "short" }), 400, "bad_request"),
        (
            json!({ "code_challenge": good, "code_challenge_method": "plain" }),
            400,
            "bad_request",
        ),
        (
            json!({ "code_challenge": good, "connection": "nobody" }),
            404,
            "not_found",
        ),
    ] {
        post(&world, SITE, "tickets", &body).await.refused(status, code);
    }
    let form = Request::post("/.menshen/app/tickets").header("Host", &world.authority(SITE));
    world
        .send(&form.body("text/plain", format!("{{\"code_challenge\":\"{good}\"}}").as_bytes()))
        .await
        .refused(400, "bad_request");
    let read = Request::new("GET", "/.menshen/app/tickets").header("Host", &world.authority(SITE));
    world.send(&read).await.refused(404, "not_found");
    // Whatever a page of another origin sends, it reads no answer and spends no cookie.
    let foreign = Request::post("/.menshen/app/tickets")
        .header("Host", &world.authority(SITE))
        .header("Origin", "https://evil.test")
        .json(&json!({ "code_challenge": good }));
    let answer = world.send(&foreign).await.expect(201);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.all("set-cookie").count(), 0);
    // Guesses of any kind are counted tenfold, together.
    let mut guesses = 0;
    loop {
        let guess = new_token().unwrap().expose_secret().to_owned();
        let answer = if guesses % 2 == 0 {
            renew(&world, SITE, &guess).await
        } else {
            post(&world, SITE, "tickets/x/redeem", &json!({ "code_verifier": guess })).await
        };
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
            break;
        }
        assert!(matches!(answer.status, 401 | 404), "{}", answer.head());
        guesses += 1;
    }
    assert!((9..=11).contains(&guesses), "{guesses} of 100 at ten each");
}

#[tokio::test]
async fn a_terminal_draws_the_code_and_prints_the_token() {
    let world = plan().set("sites.0.hosts", vec![SITE, "127.0.0.1"]).start().await;
    let address = format!("http://{}/some/page?x=y", world.address);
    let mut terminal = Terminal::start(&[&address]).await;
    let drawn = terminal.until("Ctrl+C").await;
    let text = read_code(&drawn);
    let scene = text.strip_prefix(PREFIX).unwrap_or_else(|| panic!("{text}"));
    assert!(drawn.contains(&text), "the link is there for who cannot see the code");
    let (_, number) = drawn.split_once("give the number ").unwrap();
    let number: i64 = number.split('.').next().unwrap().parse().unwrap();
    let mut phone = world.phone("lilei");
    phone.scan(scene).await.expect(200);
    terminal.until("Scanned").await;
    let shown = phone.status().await.expect(200).json();
    assert_eq!(shown["browser"]["device"]["kind"], "terminal");
    phone.confirm(number).await.expect(200);
    let (code, out) = terminal.ended().await;
    assert_eq!(code, Some(0), "{}", terminal.said);
    let token = out.trim();
    assert_eq!(out, format!("{token}\n"));
    assert!(token.starts_with("mst_") && !terminal.said.contains(token));
    world.keep_secret(token);
    world.send(&bearer(&world, "127.0.0.1", "/", token)).await.expect(200);
    world.send(&bearer(&world, SITE, "/", token)).await.expect(200);

    let mut terminal = Terminal::start(&[&address, "--json", "--connection", "staff"]).await;
    let scene = read_code(&terminal.until("Ctrl+C").await).replace(PREFIX, "");
    phone.scan(&scene).await.expect(200);
    terminal.until("Scanned").await;
    phone.status().await.expect(200);
    let number = terminal.said.split_once("give the number ").unwrap().1[..2]
        .parse()
        .unwrap();
    phone.confirm(number).await.expect(200);
    let (code, out) = terminal.ended().await;
    assert_eq!(code, Some(0), "{}", terminal.said);
    let printed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(printed["gateway"], format!("http://{}", world.address));
    kept(
        &world,
        &renew(&world, SITE, printed["refresh_token"].as_str().unwrap())
            .await
            .expect(200)
            .json(),
    );
}

#[tokio::test]
async fn a_terminal_says_why_there_is_no_token() {
    let world = plan().set("sites.0.hosts", vec![SITE, "127.0.0.1"]).start().await;
    let address = format!("http://{}", world.address);
    let mut terminal = Terminal::start(&[&address]).await;
    let scene = read_code(&terminal.until("Ctrl+C").await).replace(PREFIX, "");
    let mut phone = world.phone("lilei");
    phone.scan(&scene).await.expect(200);
    terminal.until("Scanned").await;
    phone.cancel().await.expect(204);
    let (code, out) = terminal.ended().await;
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(terminal.said.contains("ticket_cancelled"), "{}", terminal.said);

    let mut terminal = Terminal::start(&[&address]).await;
    terminal.until("Ctrl+C").await;
    terminal.interrupt().await;
    let (code, out) = terminal.ended().await;
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(terminal.said.contains("interrupted"), "{}", terminal.said);

    let round = World::plan().set("sites.0.hosts", vec!["127.0.0.1"]).start().await;
    let (round, nobody) = (format!("http://{}", round.address), "http://127.0.0.1:1".to_owned());
    let wechat = world.text().lines().find_map(|line| line.strip_prefix("api_base = "));
    let stranger = wechat.unwrap().trim_matches('"').to_owned();
    for (arguments, code, said) in [
        (vec![&*round], 1, "round codes"),
        (vec![&*address, "--connection", "nobody"], 1, "\"nobody\""),
        (vec![&*nobody], 1, "no answer from http://127.0.0.1:1"),
        (vec![&*stranger], 1, "does not answer as Menshen does"),
        (vec!["http://wiki.example.com"], 2, "https://"),
        (vec!["wiki.example.com"], 2, "https://wiki.example.com"),
    ] {
        let mut terminal = Terminal::start(&arguments).await;
        let (ended, out) = terminal.ended().await;
        assert_eq!((ended, &*out), (Some(code), ""), "{arguments:?}: {}", terminal.said);
        assert!(terminal.said.contains(said), "{arguments:?}: {}", terminal.said);
    }
}

#[tokio::test]
async fn logs_hold_no_token_and_nothing_that_leads_to_one() {
    let plan = plan().set("log.level", "debug");
    let (world, mut process) = plan.start_process().await;
    let app = App::begin(&world, SITE).await;
    app.confirmed_by(&mut world.phone("lilei")).await;
    let (access, refresh) = kept(&world, &app.poll("").await.expect(200).json());
    world.send(&bearer(&world, SITE, "/", &access)).await.expect(200);
    let guess = new_token().unwrap().expose_secret().to_owned();
    is_invalid(world.send(&bearer(&world, SITE, "/", &guess)).await);
    let (newer, newest) = kept(&world, &renew(&world, SITE, &refresh).await.expect(200).json());
    is_invalid(renew(&world, SITE, &refresh).await);
    process.terminate().await;
    process.ended().await;
    let log = process.written();
    assert!(log.contains("refresh_reused") && log.contains("token_issued"), "{log}");
    assert!(log.contains("\"path\":\"/.menshen/app/tickets/\""), "{log}");
    for secret in [
        &*access,
        &refresh,
        &guess,
        &newer,
        &newest,
        &app.verifier,
        app.id(),
        &app.scene,
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// An application that has asked for a ticket.
#[derive(Clone)]
struct App<'w> {
    world: &'w World,
    host: String,
    verifier: String,
    created: Value,
    scene: String,
}

impl<'w> App<'w> {
    async fn begin(world: &'w World, host: &str) -> Self {
        let verifier = new_token().unwrap().expose_secret().to_owned();
        let body = json!({ "connection": "staff", "code_challenge": challenge(&verifier) });
        let created = post(world, host, "tickets", &body).await.expect(201).json();
        let scene = created["qr_text"].as_str().expect("a text").strip_prefix(PREFIX);
        Self {
            world,
            host: host.to_owned(),
            verifier,
            scene: scene.expect("the prefix").to_owned(),
            created,
        }
    }

    fn id(&self) -> &str {
        self.created["id"].as_str().unwrap()
    }

    fn number(&self) -> i64 {
        self.created["number"].as_i64().unwrap()
    }

    async fn poll(&self, query: &str) -> Answer {
        let path = format!("tickets/{}/redeem{query}", self.id());
        post(
            self.world,
            &self.host,
            &path,
            &json!({ "code_verifier": self.verifier }),
        )
        .await
    }

    /// Scanned, and the phone has been shown what for.
    async fn scanned_by<'p>(&self, mut phone: Phone<'p>) -> Phone<'p> {
        let (scanned, polled) = tokio::join!(phone.scan(&self.scene), self.poll("?wait=20&seen=pending"));
        scanned.expect(200);
        polled.expect(202);
        phone.status().await.expect(200);
        phone
    }

    async fn confirmed_by<'p>(&self, phone: &mut Phone<'p>) -> Phone<'p>
    where
        'w: 'p,
    {
        let phone = self
            .scanned_by(std::mem::replace(phone, self.world.phone("lilei")))
            .await;
        phone.confirm(self.number()).await.expect(200);
        phone
    }
}

/// A terminal in which `menshen login` runs.
struct Terminal {
    child: Child,
    errors: BufReader<tokio::process::ChildStderr>,
    said: String,
}

impl Terminal {
    async fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_menshen"))
            .arg("login")
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            errors,
            said: String::new(),
        }
    }

    /// What was said from the last line read to one that holds this.
    async fn until(&mut self, text: &str) -> String {
        let from = self.said.len();
        while !self.said[from..].contains(text) {
            let read = timeout(PATIENCE, self.errors.read_line(&mut self.said)).await;
            assert!(read.expect("a line in time").unwrap() > 0, "{}", self.said);
        }
        self.said[from..].to_owned()
    }

    /// Ctrl+C.
    async fn interrupt(&self) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .await
                .unwrap()
                .success()
        );
    }

    async fn ended(&mut self) -> (Option<i32>, String) {
        let mut out = String::new();
        let reading = async {
            self.errors.read_to_string(&mut self.said).await.unwrap();
            let stdout = self.child.stdout.as_mut().unwrap();
            stdout.read_to_string(&mut out).await.unwrap();
            self.child.wait().await.unwrap()
        };
        let status = timeout(PATIENCE, reading).await.expect("it ends");
        (status.code(), out)
    }
}

/// Reads a code off the terminal as a camera does, light on dark.
#[track_caller]
fn read_code(drawn: &str) -> String {
    let is_code = |line: &&str| line.chars().count() > 20 && line.chars().all(|block| "█▀▄ ".contains(block));
    let rows: Vec<Vec<char>> = drawn
        .lines()
        .filter(is_code)
        .map(|line| line.chars().collect())
        .collect();
    let wide = rows.first().expect("a code").len();
    let light = |x: usize, y: usize| match rows[y / 2].get(x) {
        Some('█') => true,
        Some('▀') => y.is_multiple_of(2),
        Some('▄') => !y.is_multiple_of(2),
        _ => false,
    };
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(wide * 8, rows.len() * 16, |x, y| {
        if light(x / 8, y / 8) { 255 } else { 0 }
    });
    let grids = image.detect_grids();
    grids.first().expect("a code that can be read").decode().unwrap().1
}

fn plan() -> Plan {
    World::plan()
        .set("connections.0.qr", "link")
        .set("connections.0.link_prefix", PREFIX)
}

/// The whole way to a pair of tokens.
async fn sign_in(world: &World, host: &str) -> (String, String) {
    let app = App::begin(world, host).await;
    app.confirmed_by(&mut world.phone("lilei")).await;
    kept(world, &app.poll("").await.expect(200).json())
}

async fn post(world: &World, host: &str, path: &str, body: &Value) -> Answer {
    let request = Request::post(&format!("/.menshen/app/{path}"))
        .header("Host", &world.authority(host))
        .header("User-Agent", "client/1 (Linux)")
        .json(body);
    world.send(&request).await
}

async fn renew(world: &World, host: &str, refresh: &str) -> Answer {
    post(world, host, "token", &json!({ "refresh_token": refresh })).await
}

/// Both tokens, which no other answer may hold from now on.
fn kept(world: &World, tokens: &Value) -> (String, String) {
    let one = |name: &str| tokens[name].as_str().expect("a token").to_owned();
    let pair = (one("access_token"), one("refresh_token"));
    world.keep_secret(&pair.0);
    world.keep_secret(&pair.1);
    pair
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

fn sid(assertion: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["sid"].as_str().unwrap().to_owned()
}

fn sid_of(received: &crate::support::upstream::Received) -> String {
    sid(&received.header("x-menshen-assertion").unwrap())
}

const PREFIX: &str = "http://login.test/m/";
/// One that lists the connection, and one that lists another.
const OTHER_SITES: &str = r#"
[[sites]]
name = "Other"
hosts = ["other.test"]
upstreams = ["http://127.0.0.1:1"]
connections = ["staff"]

[[sites]]
name = "Closed"
hosts = ["closed.test"]
upstreams = ["http://127.0.0.1:1"]
connections = ["guests"]

[[sites.routes]]
path = "/public/"
access = "public"

[[connections]]
id = "guests"
kind = "miniprogram-qr"
display_name = "Guests"
app_id = "wxsandbox0000000002"
app_secret = "sandbox"
"#;
