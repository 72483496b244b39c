//! What an operator sees: metrics, a new configuration in a running gateway, an orderly stop.

use std::path::PathBuf;

use menshen::config::Settings;
use menshen::config::settings::UpstreamAddress;
use menshen::proxy::reload::Source;
use menshen::sandbox::Endpoint;
use menshen::telemetry::audit::AuditKind;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::support::World;
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;

/// An application that answers one request when it is told to.
struct Held {
    address: std::net::SocketAddr,
    arrived: oneshot::Receiver<()>,
    release: oneshot::Sender<()>,
}

impl Held {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ((tell, arrived), (release, released)) = (oneshot::channel(), oneshot::channel());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 16 * 1024];
            let _ = stream.read(&mut head).await.unwrap();
            tell.send(()).unwrap();
            if released.await.is_ok() {
                let answer = crate::support::upstream::answer(200, &[], "late");
                stream.write_all(&answer).await.unwrap();
            }
        });
        Self {
            address,
            arrived,
            release,
        }
    }
}

fn line<'t>(text: &'t str, series: &str) -> Option<&'t str> {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
}

fn present(world: &World) -> Settings {
    Settings::clone(&world.gateway().snapshot().settings)
}

fn to(address: std::net::SocketAddr) -> UpstreamAddress {
    UpstreamAddress::Network {
        https: false,
        host: address.ip().to_string(),
        port: address.port(),
        path: String::new(),
    }
}

#[tokio::test]
async fn a_login_shows_in_the_metrics() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    browser.open("/").await.expect(200);
    browser.fetch("POST", "/.menshen/logout").await;
    let text = async || world.gateway().status().metrics().unwrap();
    // The last request is counted after its answer was written.
    world
        .until(async || line(&text().await, "menshen_requests_in_flight") == Some("0"))
        .await;
    let text = text().await;
    for (series, value) in [
        (r#"menshen_logins_total{connection="staff",result="success"}"#, "1"),
        (r#"menshen_tickets_total{transition="issued"}"#, "1"),
        (r#"menshen_tickets_total{transition="scanned"}"#, "1"),
        (r#"menshen_tickets_total{transition="redeemed"}"#, "1"),
        (
            r#"menshen_wechat_calls_total{endpoint="jscode2session",outcome="success"}"#,
            "1",
        ),
        (r#"menshen_requests_total{decision="login_page",status="4xx"}"#, "1"),
        (r#"menshen_requests_total{decision="forward",status="2xx"}"#, "1"),
        (r#"menshen_upstream_duration_seconds_count{site="Wiki"}"#, "1"),
        (r#"menshen_sessions_ended_total{reason="logout"}"#, "1"),
        ("menshen_revocations_fresh", "1"),
        ("menshen_config_generation", "1"),
    ] {
        assert_eq!(line(&text, series), Some(value), "{series}\n{text}");
    }
    let mut private = world.secrets();
    private.extend([world.app_id(), "lilei", "wiki.test"].map(str::to_owned));
    for private in private {
        assert!(!text.contains(&private), "{private}");
    }
}

#[tokio::test]
async fn a_new_configuration_keeps_sessions_waiting_pages_and_what_wechat_gave() {
    let world = World::start().await;
    let mut signed_in = world.browser();
    signed_in.log_in("lilei").await;
    let mut waiting = world.browser();
    let page = waiting.open("/").await.login_page();
    let mut events = waiting.events(&page).await;
    assert_eq!(events.next().await["status"], "pending");
    let tokens = world.sandbox.calls(Endpoint::StableToken);

    let other = Upstream::start().await;
    let mut settings = present(&world);
    settings.sites[0].upstreams = vec![to(other.address())];
    let applied = world.gateway().reloader().apply(settings).await.unwrap();
    assert_eq!((applied.generation, applied.wait_for_restart), (2, vec![]));

    let before = world.upstream.requests().len();
    signed_in.open("/").await.expect(200);
    assert_eq!((world.upstream.requests().len(), other.requests().len()), (before, 1));
    // The page was opened under the former configuration, the phone comes under this one.
    let mut phone = world.phone("hanmeimei");
    phone.scan(&page.ticket).await.expect(200);
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    phone.confirm(number).await.expect(200);
    events.until("confirmed").await;
    waiting.redeem(&page).await.expect(200);
    assert_eq!(world.sandbox.calls(Endpoint::StableToken), tokens);
    let text = world.gateway().status().metrics().unwrap();
    assert_eq!(line(&text, "menshen_config_generation"), Some("2"));
    let store = world.store().await;
    world
        .until(async || {
            let rows = store.audit_after(0, 1_000).await.unwrap();
            rows.iter().any(|row| row.kind == AuditKind::ConfigReloaded.as_str())
        })
        .await;
}

#[tokio::test]
async fn a_session_that_was_ended_stays_ended_under_a_new_configuration() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let stolen = browser.cookies.clone();
    browser.fetch("POST", "/.menshen/logout").await;
    world.gateway().reloader().apply(present(&world)).await.unwrap();
    browser.cookies = stolen;
    browser.open("/").await.expect(401);
}

#[tokio::test]
async fn a_limit_goes_on_counting_under_a_new_configuration() {
    let world = World::plan().set("limits.login_pages", "2/min").start().await;
    world.browser().open("/").await.expect(401);
    world.browser().open("/").await.expect(401);
    world.gateway().reloader().apply(present(&world)).await.unwrap();
    world.browser().open("/").await.expect(429);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_is_applied() {
    let world = World::start().await;
    let mut settings = present(&world);
    settings.server.threads += 1;
    settings.server.listen[0].address = ([127, 0, 0, 1], 1).into();
    settings.server.admin_listen = Some(([127, 0, 0, 1], 1).into());
    settings.store.url = "sqlite:/nowhere/else.db".to_owned().into();
    settings.branding.title = "Another title".to_owned();
    let applied = world.gateway().reloader().apply(settings).await.unwrap();
    assert_eq!(
        applied.wait_for_restart,
        ["server.listen", "server.admin_listen", "server.threads", "store.url"]
    );
    assert!(world.browser().open("/").await.text().contains("Another title"));
    // What was put back is no change the next time.
    let applied = world.gateway().reloader().apply(present(&world)).await.unwrap();
    assert!(applied.wait_for_restart.is_empty());
}

#[tokio::test]
async fn a_request_in_flight_ends_under_the_configuration_that_it_began_with() {
    let held = Held::start().await;
    let world = World::plan()
        .set("sites.0.upstreams", vec![format!("http://{}", held.address)])
        .start()
        .await;
    let request = world.browser().request("GET", "/public/report");
    let mut wire = Wire::open(world.address).await;
    wire.write(&request.bytes()).await;
    held.arrived.await.unwrap();
    let mut settings = present(&world);
    settings.sites.clear();
    world.gateway().reloader().apply(settings).await.unwrap();
    world.send(&request).await.expect(404);
    held.release.send(()).unwrap();
    assert_eq!(wire.answer(false).await.expect(200).text(), "late");
}

/// A world whose configuration lies in a file that is followed.
async fn followed() -> (World, PathBuf, mpsc::Sender<()>) {
    let world = World::start().await;
    let path = world.configuration();
    std::fs::write(&path, world.text()).unwrap();
    let (ask, asked) = mpsc::channel(1);
    let source = Source::new(path.clone(), Vec::new());
    tokio::spawn(world.gateway().reloader().clone().follow(source, asked));
    (world, path, ask)
}

fn generation(world: &World) -> u64 {
    world.gateway().snapshot().generation
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_shows_in_the_metrics() {
    let (world, path, ask) = followed().await;
    let mut signed_in = world.browser();
    signed_in.log_in("lilei").await;
    std::fs::write(&path, "[server]\nlisten = 7\n").unwrap();
    ask.send(()).await.unwrap();
    let metrics = || world.gateway().status().metrics().unwrap();
    let refused = r#"menshen_config_reloads_total{result="refused"}"#;
    world.until(async || line(&metrics(), refused) != Some("0")).await;
    assert_eq!(line(&metrics(), "menshen_config_last_reload_successful"), Some("0"));
    assert_eq!(generation(&world), 1);
    signed_in.open("/").await.expect(200);

    std::fs::write(&path, world.text()).unwrap();
    ask.send(()).await.unwrap();
    world.until(async || generation(&world) == 2).await;
    assert_eq!(line(&metrics(), "menshen_config_last_reload_successful"), Some("1"));
}

#[tokio::test]
async fn a_changed_file_and_a_changed_file_that_it_names_are_taken_by_themselves() {
    let (world, path, _ask) = followed().await;
    // Named through a link that is swapped, as Kubernetes does it.
    let directory = path.parent().unwrap();
    for (version, text) in [("one", "/* one */"), ("two", "/* two */")] {
        std::fs::create_dir(directory.join(version)).unwrap();
        std::fs::write(directory.join(version).join("extra.css"), text).unwrap();
    }
    std::os::unix::fs::symlink("one", directory.join("current")).unwrap();
    let branding = "\n[branding]\ncss = \"current/extra.css\"\n";
    std::fs::write(&path, format!("{}{branding}", world.text())).unwrap();
    world.until(async || generation(&world) == 2).await;
    std::os::unix::fs::symlink("two", directory.join("next")).unwrap();
    std::fs::rename(directory.join("next"), directory.join("current")).unwrap();
    world.until(async || generation(&world) == 3).await;
    let snapshot = world.gateway().snapshot();
    let branding = &snapshot.portal.inner().branding;
    let url = branding.css_url.clone().unwrap();
    let name = url.rsplit('/').next().unwrap();
    assert_eq!(branding.file(name).unwrap().bytes, "/* two */");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let renew = || {
        let made = rcgen::generate_simple_self_signed(vec!["wiki.test".to_owned(), "login.test".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.pem()
    };
    let first = renew();
    let mut tls = toml::Table::new();
    tls.insert("cert".to_owned(), cert.display().to_string().into());
    tls.insert("key".to_owned(), key.display().to_string().into());
    let world = World::plan()
        .set("server.tls", tls)
        .set("server.public_url", "https://login.test")
        .start()
        .await;
    let reach = async |trusted: &str| {
        let root = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([root])
            .resolve("wiki.test", world.address)
            .build()
            .unwrap();
        let url = format!("https://wiki.test:{}/public/", world.address.port());
        client
            .get(url)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
    };
    assert!(reach(&first).await);
    let second = renew();
    assert!(!reach(&second).await);
    world.gateway().reloader().apply(present(&world)).await.unwrap();
    assert!(reach(&second).await);
    assert!(!reach(&first).await);
    // A key that belongs to another certificate changes nothing.
    std::fs::write(&cert, &first).unwrap();
    assert!(world.gateway().reloader().apply(present(&world)).await.is_err());
    assert!(reach(&second).await);
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_takes_no_new_ones() {
    let held = Held::start().await;
    let mut world = World::plan()
        .set("sites.0.upstreams", vec![format!("http://{}", held.address)])
        .set("server.grace_period", "20s")
        .start()
        .await;
    let request = world.browser().request("GET", "/public/report");
    let mut busy = Wire::open(world.address).await;
    busy.write(&request.bytes()).await;
    held.arrived.await.unwrap();
    let mut idle = Wire::open(world.address).await;
    idle.send(&world.browser().request("GET", "/.menshen/jwks.json"))
        .await
        .expect(200);
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let mut events = browser.events(&page).await;
    events.next().await;

    let address = world.address;
    let gateway = world.take_gateway();
    let status = gateway.status();
    assert!(status.reasons_against().await.is_empty());
    gateway.announce_stop();
    assert_eq!(status.reasons_against().await, ["stopping"]);
    Wire::open(address).await;
    let stopping = tokio::spawn(gateway.stop());

    assert!(idle.is_closed().await);
    assert_eq!(events.try_next().await, None, "streams end");
    assert!(TcpStream::connect(address).await.is_err());
    held.release.send(()).unwrap();
    assert_eq!(busy.answer(false).await.expect(200).text(), "late");
    assert!(busy.is_closed().await);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_after_the_grace_period() {
    let held = Held::start().await;
    let mut world = World::plan()
        .set("sites.0.upstreams", vec![format!("http://{}", held.address)])
        .set("server.grace_period", "1s")
        .start()
        .await;
    let request = world.browser().request("GET", "/public/report");
    let mut busy = Wire::open(world.address).await;
    busy.write(&request.bytes()).await;
    held.arrived.await.unwrap();
    let gateway = world.take_gateway();
    let stopping = tokio::spawn(gateway.stop());
    assert!(busy.is_closed().await);
    stopping.await.unwrap();
    drop(held.release);
}

#[tokio::test]
async fn a_browser_that_refuses_the_session_cookie_is_told_so_after_the_third_login() {
    let world = World::start().await;
    let mut browser = world.browser();
    for _ in 0..3 {
        browser.log_in("lilei").await;
        browser.cookies.retain(|cookie| cookie.name != "menshen");
    }
    let explained = browser.open("/").await.expect(401).text();
    assert!(explained.contains("loop_cookie"), "{explained}");
    // Shown as often as it is asked for, and counted once.
    let again = browser.open("/").await.expect(401).text();
    assert!(again.contains("loop_cookie"), "{again}");
    let text = world.gateway().status().metrics().unwrap();
    let series = r#"menshen_login_loops_total{code="loop_cookie"}"#;
    assert_eq!(line(&text, series), Some("1"));
    // The page leads to a code all the same, and a login that holds ends the suspicion.
    let page = browser.open("/.menshen/login?switch=true&rd=%2F").await.login_page();
    browser.finish_login(&page, "lilei").await.expect(200);
    browser.open("/").await.expect(200);
    browser.cookies.retain(|cookie| cookie.name != "menshen");
    browser.open("/").await.login_page();
}

#[tokio::test]
async fn logins_that_hold_are_no_circle() {
    let world = World::start().await;
    for _ in 0..4 {
        let mut browser = world.browser();
        browser.log_in("lilei").await;
        browser.open("/").await.expect(200);
    }
    world.browser().open("/").await.login_page();
}

/// The gateway as a process of its own, with its log.
struct Process {
    child: tokio::process::Child,
    log: tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStderr>>,
}

impl Process {
    fn start(configuration: &std::path::Path) -> Self {
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_menshen"))
            .args(["serve", "--config"])
            .arg(configuration)
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// The next line of the log that says this.
    async fn says(&mut self, message: &str) -> serde_json::Value {
        let reading = async {
            loop {
                let line = self.log.next_line().await.unwrap().expect("the process ended");
                if let Ok(line) = serde_json::from_str::<serde_json::Value>(&line)
                    && line["message"] == message
                {
                    return line;
                }
            }
        };
        let found = tokio::time::timeout(crate::support::wire::PATIENCE, reading).await;
        found.unwrap_or_else(|_| panic!("the log never says {message:?}"))
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let kill = tokio::process::Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.await.unwrap().success());
    }
}

#[tokio::test]
async fn signals_reload_and_stop_the_process_in_order() {
    let mut world = World::start().await;
    world.stop_gateway().await;
    let path = world.configuration();
    let text = world
        .text()
        .replace("admin_listen = \"off\"", "admin_listen = \"127.0.0.1:0\"");
    std::fs::write(&path, &text).unwrap();
    let mut process = Process::start(&path);
    let address = process.says("operator's listener").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    process.says("serving").await;
    let ready = async || {
        let answer = reqwest::get(format!("http://{address}/readyz")).await;
        answer.map_or(0, |answer| answer.status().as_u16())
    };
    assert_eq!(ready().await, 200);

    process.signal("HUP").await;
    assert_eq!(process.says("configuration in use").await["generation"], 2);
    std::fs::write(&path, "[server]\nlisten = 7\n").unwrap();
    let refused = "configuration not taken, the former one goes on";
    assert_eq!(process.says(refused).await["generation"], 2);
    assert_eq!(ready().await, 200);

    process.signal("TERM").await;
    process.says("stopping").await;
    process.says("stopped").await;
    assert!(process.child.wait().await.unwrap().success());
}
