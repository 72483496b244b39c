//! The binary as an operator runs it: verbs, exit codes, signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use menshen::sandbox::SandboxConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::browser::{between, unescape};
use crate::support::process::{Process, free_port, run, signal};
use crate::support::wire::{PATIENCE, Wire};
use crate::support::{Browser, World};

#[tokio::test]
async fn a_session_survives_a_gateway_that_is_killed() {
    let (world, mut process) = World::plan().start_process().await;
    let mut browser = world.browser();
    let mut ended = world.browser();
    browser.log_in("lilei").await;
    ended.log_in("hanmeimei").await;
    let stolen = ended.cookies.clone();
    ended.submit("/.menshen/logout", &[]).await.expect(303);
    let page = browser.open("/.menshen/login?switch=true").await.login_page();
    browser.open("/").await.expect(200);
    let user = world.upstream.last().header("remote-user");
    process.kill().await;
    let _process = Process::serve(&world.configuration()).await;
    browser.open("/").await.expect(200);
    assert_eq!(world.upstream.last().header("remote-user"), user);
    // What was ended stays ended, and a code that was on a screen meanwhile is as good as before.
    ended.cookies = stolen;
    ended.fetch("GET", "/").await.refused(401, "login_required");
    browser.finish_login(&page, "lilei").await.expect(200);
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_end_and_exits_with_0() {
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", slow.local_addr().unwrap());
    let plan = World::plan()
        .set("sites.0.upstreams", vec![upstream])
        .set("server.grace_period", "20s");
    let (world, mut process) = plan.start_process().await;
    let mut waiting = Wire::open(world.address).await;
    let request = world.browser().script("GET", "/public/slow");
    waiting.write(&request.bytes()).await;
    let (mut application, _) = slow.accept().await.unwrap();
    let mut head = [0; 4096];
    assert!(application.read(&mut head).await.unwrap() > 0);

    process.terminate().await;
    world
        .until(async || tokio::net::TcpStream::connect(world.address).await.is_err())
        .await;
    application
        .write_all(b"HTTP/1.1 200 OK\r\nX-Application: 1\r\nContent-Length: 4\r\n\r\ndone")
        .await
        .unwrap();
    let answer = waiting.answer(false).await.expect(200);
    assert_eq!(answer.text(), "done");
    drop(waiting);
    let status = process.ended().await;
    assert_eq!(status.code(), Some(0), "{}", process.written());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_refuses_no_connection_and_ends_the_old_process() {
    let (world, mut old) = World::plan().set("server.grace_period", "20s").start_process().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let request = browser.script("GET", "/");
    let (address, served) = (world.address, Arc::new(AtomicUsize::new(0)));
    let over = CancellationToken::new();
    let visitors: Vec<_> = (0..4)
        .map(|_| {
            let (bytes, served, over) = (request.bytes(), Arc::clone(&served), over.clone());
            tokio::spawn(async move {
                while !over.is_cancelled() {
                    let mut wire = Wire::open(address).await;
                    wire.write(&bytes).await;
                    wire.answer(false).await.expect(200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut processes = Vec::new();
    for _ in 0..3 {
        let new = Process::upgrade(&world.configuration()).await;
        assert_eq!(old.ended().await.code(), Some(0), "{}", old.written());
        processes.push(std::mem::replace(&mut old, new));
        let before = served.load(Ordering::Relaxed);
        world.until(async || served.load(Ordering::Relaxed) > before + 20).await;
    }
    over.cancel();
    for visitor in visitors {
        visitor.await.expect("every request is answered");
    }
    browser.open("/").await.expect(200);
    old.terminate().await;
    assert_eq!(old.ended().await.code(), Some(0), "{}", old.written());
}

#[tokio::test]
async fn a_service_manager_is_told_who_serves_and_sigusr2_changes_the_program_under_it() {
    let (world, mut unsupervised) = World::plan().start_process().await;
    unsupervised.kill().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = tokio::net::UnixDatagram::bind(&path).unwrap();
    let told = async || {
        let mut text = [0; 256];
        let told = tokio::time::timeout(PATIENCE, manager.recv(&mut text)).await;
        let length = told.expect("a word to the service manager").unwrap();
        std::str::from_utf8(&text[..length]).unwrap().trim().to_owned()
    };
    let mut old = Process::serve_notifying(&world.configuration(), &path).await;
    assert_eq!(told().await, "READY=1");
    let mut browser = world.browser();
    browser.log_in("lilei").await;

    old.signal("USR2").await;
    let mut said = [told().await, told().await];
    said.sort();
    let [main, ready] = said;
    assert_eq!(ready, "READY=1", "of the new process");
    let new: u32 = main.strip_prefix("MAINPID=").expect(&main).parse().unwrap();
    assert_eq!(old.ended().await.code(), Some(0), "{}", old.written());
    browser.open("/").await.expect(200);
    signal("TERM", new).await;
    assert_eq!(told().await, "STOPPING=1");
}

/// What waits for its last requests is not ready any more, and the socket that both have would say so every other time.
#[tokio::test]
async fn while_the_old_process_drains_only_the_new_one_says_whether_it_is_ready() {
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let operator = format!("127.0.0.1:{}", free_port());
    let plan = World::plan()
        .set(
            "sites.0.upstreams",
            vec![format!("http://{}", slow.local_addr().unwrap())],
        )
        .set("server.admin_listen", operator.as_str())
        .set("server.grace_period", "20s");
    let (world, mut old) = plan.start_process().await;
    let mut waiting = Wire::open(world.address).await;
    waiting
        .write(&world.browser().script("GET", "/public/slow").bytes())
        .await;
    let (mut application, _) = slow.accept().await.unwrap();
    let mut head = [0; 4096];
    assert!(application.read(&mut head).await.unwrap() > 0);
    let _new = Process::upgrade(&world.configuration()).await;
    world
        .until(async || old.written().contains("another process has taken over"))
        .await;
    for _ in 0..50 {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let answer = client.get(format!("http://{operator}/readyz")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    application
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        .await
        .unwrap();
    assert_eq!(waiting.answer(false).await.expect(200).text(), "done");
    drop(waiting);
    assert_eq!(old.ended().await.code(), Some(0), "{}", old.written());
}

#[tokio::test]
async fn an_upgrade_that_cannot_start_leaves_the_running_one_alone() {
    let (world, _process) = World::plan().start_process().await;
    let file = world.configuration();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("menshen.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!("\"{}\"", taken.local_addr().unwrap());
    std::fs::write(&path, text.replace(&format!("\"{}\"", world.address), &busy)).unwrap();
    let failed = run(&["serve", "--upgrade", "--config", &path.display().to_string()]).await;
    assert_eq!(
        failed.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&failed.stderr)
    );
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    // And it can still be taken over from.
    let _new = Process::upgrade(&file).await;
    browser.open("/").await.expect(200);
}

#[tokio::test]
async fn a_stop_ends_the_streams_of_waiting_pages() {
    let plan = World::plan().set("server.grace_period", "20s");
    let (world, mut process) = plan.start_process().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let mut events = browser.events(&page).await;
    assert_eq!(events.next().await["status"], "pending");
    let stopped = std::time::Instant::now();
    process.terminate().await;
    assert_eq!(events.try_next().await, None);
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.written());
    assert!(stopped.elapsed().as_secs() < 10, "a waiting page held the stop up");
}

#[tokio::test]
async fn logs_hold_no_secret() {
    let plan = World::plan()
        .set("log.level", "debug")
        .set("connections.0.phone", "required");
    let (world, mut process) = plan.start_process().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    browser.open("/?token=in-the-query").await.expect(200);
    let mut forged = browser.script("GET", "/");
    forged = forged
        .without("Cookie")
        .header("Cookie", "menshen=forged-session-value");
    world.send(&forged).await.expect(401);
    process.terminate().await;
    process.ended().await;
    let log = process.written();
    assert!(
        log.contains("\"access\"") && log.contains("/.menshen/phone/confirm"),
        "{log}"
    );
    let mut secrets = world.secrets();
    secrets.extend([
        "in-the-query".to_owned(),
        "forged-session-value".to_owned(),
        "13900139000".to_owned(),
    ]);
    for secret in secrets {
        let at = log.find(&secret);
        assert!(
            at.is_none(),
            "{}",
            &log[at.unwrap().saturating_sub(300)..][..600.min(log.len())]
        );
    }
}

#[tokio::test]
async fn check_says_whether_a_file_can_be_used() {
    let world = World::plan().build().await;
    let file = world.configuration();
    let path = file.display().to_string();
    std::fs::write(&file, world.text()).unwrap();
    let good = run(&["check", "--config", &path]).await;
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stdout));
    let before = run(&["--config", &path, "check"]).await;
    assert_eq!(before.stdout, good.stdout, "the option may stand before the verb");

    let bad = world
        .text()
        .replace("[wechat]", "[wechat]\ntimeuot = \"5s\"")
        .replace("\"never\"", "\"nevr\"");
    assert_ne!(bad, world.text());
    std::fs::write(&file, bad).unwrap();
    let refused = run(&["check", "--config", &path]).await;
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said.contains("timeuot") && said.contains("nevr") && said.contains("timeout"),
        "all in one run:\n{said}"
    );
    let json = run(&["check", "--json", "--config", &path]).await;
    assert_eq!(json.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&report["valid"], &report["errors"]), (&json!(false), &json!(2)));
    assert!(
        report["mistakes"][0]["line"].as_u64().is_some_and(|line| line > 1),
        "{report}"
    );

    let served = run(&["serve", "--config", &path]).await;
    assert_eq!(served.status.code(), Some(2));
    assert!(served.stdout.is_empty(), "mistakes are no result");
    assert!(String::from_utf8_lossy(&served.stderr).contains("timeuot"));
    for arguments in [
        &["serve", "--config", "/nowhere/menshen.toml"][..],
        &["swim"],
        &["check", "--jsno"],
    ] {
        assert_eq!(run(arguments).await.status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_failure_with_its_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let world = World::plan().set("server.listen", vec![address.clone()]).build().await;
    std::fs::write(world.configuration(), world.text()).unwrap();
    let served = run(&["serve", "--config", &world.configuration().display().to_string()]).await;
    assert_eq!(served.status.code(), Some(1));
    let said = String::from_utf8_lossy(&served.stderr).into_owned();
    assert!(said.contains(&address) && said.contains("another process"), "{said}");
}

#[tokio::test]
async fn the_demo_can_be_logged_in_to_at_the_address_that_it_prints() {
    let (mut process, address) = Process::demo().await;
    let url = url::Url::parse(&address).unwrap();
    let mut world = World::plan().build().await;
    world.address = url.socket_addrs(|| None).unwrap()[0];
    let mut browser = Browser::new(&world, "127.0.0.1");
    let page = browser.open("/stock/7").await.expect(401).login_page();
    let html = page.answer.text();
    let phone = between(&html, "id=\"simulated\" href=\"", "\"").unwrap();
    let phone = url::Url::parse(&unescape(phone)).unwrap();
    let mut events = browser.events(&page).await;
    let app_id = phone
        .query_pairs()
        .find(|(name, _)| name == "appid")
        .unwrap()
        .1
        .into_owned();
    let persona = SandboxConfig::default().personas[0].id.clone();
    let tap = async |call: &str, mut body: Value| -> Value {
        body["appid"] = json!(app_id);
        body["persona"] = json!(persona);
        let target = phone.join(&format!("/phone/api/{call}")).unwrap();
        let answer = reqwest::Client::new().post(target).json(&body).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    };
    let scan = json!({ "scene": page.ticket, "entry": 1047 });
    let handle = tap("scan", scan).await["handle"].clone();
    let number = events.until("scanned").await["number"].clone();
    tap(
        "confirm",
        json!({ "handle": handle, "choice": number, "phone": "allow" }),
    )
    .await;
    events.until("confirmed").await;
    let redirect = browser.redeem(&page).await.expect(200).json()["redirect"].clone();
    let request = browser
        .navigation("GET", redirect.as_str().unwrap())
        .header("Sec-Fetch-Site", "none");
    let answer = Wire::open(world.address).await.send(&request).await.expect(200);
    assert!(
        answer.text().contains("Wang Xiaoming") || answer.text().contains("王小明"),
        "{}",
        answer.text()
    );
    drop(events);
    process.terminate().await;
    assert_eq!(process.ended().await.code(), Some(0));
}
