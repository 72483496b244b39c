//! A real proxy in front of gateway and application.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::browser::Cookie;
use crate::support::wire::{Request, Wire};
use crate::support::{Answer, Browser, World};

/// A running proxy; ends with the test.
pub struct Front {
    pub address: SocketAddr,
    process: Child,
    directory: TempDir,
}

impl Front {
    /// Starts what `command` says once `write` has put its files into a fresh directory. Another process may take the
    /// free port in between, so that a proxy which ends at once is started again.
    pub async fn start(write: impl Fn(&Path, SocketAddr), command: impl Fn(&Path) -> Command) -> Self {
        let mut output = String::new();
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            write(directory.path(), address);
            let log = std::fs::File::create(directory.path().join("output")).unwrap();
            let process = command(directory.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .expect("the proxy is installed: make test installs it");
            let mut front = Self {
                address,
                process,
                directory,
            };
            if front.comes_up().await {
                return front;
            }
            output = front.output();
        }
        panic!("the proxy does not start:\n{output}");
    }

    async fn comes_up(&mut self) -> bool {
        loop {
            if TcpStream::connect(self.address).await.is_ok() {
                return true;
            }
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// What it has said so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("output")).unwrap_or_default()
    }

    /// Scheme, host and port of the site as a browser calls it here.
    pub fn origin(&self) -> String {
        format!("http://wiki.test:{}", self.address.port())
    }

    /// Sends a browser's request here instead of to the gateway.
    pub async fn send(&self, browser: &mut Browser<'_>, request: Request) -> Answer {
        let host = format!("wiki.test:{}", self.address.port());
        let request = request.without("Host").header("Host", &host);
        let answer = Wire::open(self.address).await.send(&request).await;
        browser.keep(&answer);
        browser.world.check_upstream();
        answer
    }

    async fn open(&self, browser: &mut Browser<'_>, target: &str) -> Answer {
        let request = browser.navigation("GET", target).header("Sec-Fetch-Site", "none");
        self.send(browser, request).await
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // nginx ends its workers on TERM; a KILL would leave them.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.output().as_bytes());
        }
    }
}

/// A configuration of `examples/` with the names and addresses of this test.
pub fn example(text: &str, world: &World, listen: (&str, String)) -> String {
    let replaced = [
        (listen.0, listen.1),
        ("127.0.0.1:8080", world.address.to_string()),
        ("10.0.0.5:8080", world.upstream.address().to_string()),
        ("wiki.example.com", "wiki.test".to_owned()),
    ];
    replaced.into_iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the example");
        text.replace(from, &to)
    })
}

/// The whole way of a person, and of somebody who would like to be one.
pub async fn visit(world: &World, front: &Front) {
    let mut browser = world.browser();

    // Nobody is signed in: a page leads to the login, which leads back; a script is told so.
    let away = front.open(&mut browser, "/reports/7?month=3").await.expect(302);
    let login = format!("{}/.menshen/login?rd=%2Freports%2F7%3Fmonth%3D3", front.origin());
    assert_eq!(away.header("location"), Some(login.as_str()));
    let request = browser.script("GET", "/api");
    front.send(&mut browser, request).await.expect(401);
    assert!(world.upstream.requests().is_empty());

    // A public route passes, and nobody is on it: the browser's own Remote-User has not arrived (see `check_upstream`).
    front.open(&mut browser, "/public/x").await.expect(200);
    let seen = world.upstream.last();
    assert_eq!(seen.target, "/public/x");
    assert_eq!(seen.header("remote-user").unwrap_or_default(), "");
    assert_eq!(seen.header("x-menshen-assertion").unwrap_or_default(), "");

    refuse(world, front, &mut browser).await;

    // The login page comes from Menshen, through the proxy.
    let page = front
        .open(&mut browser, "/.menshen/login?rd=%2Freports%2F7%3Fmonth%3D3")
        .await;
    let page = page.expect(200).login_page();
    let redeemed = browser.finish_login(&page, "wangxiaoming").await.expect(200);
    assert_eq!(redeemed.json()["redirect"], "/reports/7?month=3");
    browser.cookies.push(Cookie {
        name: "theme".to_owned(),
        value: "dark".to_owned(),
        path: "/".to_owned(),
    });

    front.open(&mut browser, "/reports/7?month=3").await.expect(200);
    let seen = world.upstream.last();
    assert_eq!(seen.target, "/reports/7?month=3");
    let user = seen.header("remote-user").unwrap();
    assert!(user.starts_with("u_"), "{user}");
    let assertion = seen.header("x-menshen-assertion").unwrap();
    assert_eq!(assertion.split('.').count(), 3);
    assert_eq!(seen.header("x-forwarded-proto").as_deref(), Some("http"));
    let cookies = seen.header("cookie").unwrap();
    assert_eq!(cookies.trim_matches([';', ' ']), "theme=dark");
    let post = browser.script("POST", "/reports").body("text/plain", b"month=4");
    front.send(&mut browser, post).await.expect(200);
    let seen = world.upstream.last();
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("POST", &b"month=4"[..]));
    assert_eq!(seen.header("remote-user"), Some(user.clone()));

    // A session's person is shown on public routes too, what is closed stays closed, and the question is for the proxy.
    front.open(&mut browser, "/public/x").await.expect(200);
    assert_eq!(world.upstream.last().header("remote-user"), Some(user));
    front.open(&mut browser, "/closed/x").await.expect(403);
    let question = browser
        .navigation("GET", "/.menshen/verify")
        .header("X-Original-URL", &format!("{}/", front.origin()))
        .header("X-Original-Method", "GET");
    let answer = front.send(&mut browser, question).await.expect(404);
    assert_eq!(answer.header("x-menshen-assertion"), None);
    refuse(world, front, &mut browser).await;

    // In use, the session is renewed by an ordinary answer.
    world.advance(12 * 3600);
    world.ready().await;
    let renewed = front.open(&mut browser, "/").await.expect(200);
    assert!(renewed.set_cookie("menshen").is_some(), "{}", renewed.head());
    assert!(renewed.is_of_upstream());

    let request = browser
        .navigation("POST", "/.menshen/logout")
        .header("Sec-Fetch-Site", "same-origin")
        .body("application/x-www-form-urlencoded", b"");
    front.send(&mut browser, request).await.expect(303);
    let before = world.upstream.requests().len();
    front.open(&mut browser, "/").await.expect(302);
    assert_eq!(world.upstream.requests().len(), before);
}

/// Whatever could be read in two ways, or says what only the proxy may say, never reaches the application.
async fn refuse(world: &World, front: &Front, browser: &mut Browser<'_>) {
    let before = world.upstream.requests().len();
    for target in [
        "/public/..;/closed/",
        "/public/%2e%2e;/closed/",
        "/public/..%3b/closed/",
        "/public/..%2fclosed/",
        "/public/..%5cclosed/",
        "/public/%252e%252e/closed/",
        "/public/x%2f..%2f..%2fclosed/",
    ] {
        let answer = front.open(browser, target).await;
        assert!(matches!(answer.status, 400 | 500), "{target}: {}", answer.head());
    }
    for (name, value) in [
        ("X-Original-URL", "http://wiki.test/public/x"),
        ("X-Original-Method", "GET"),
        ("X-Forwarded-Uri", "/public/x"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Forwarded-Host", "elsewhere.test"),
        ("X-Original-URI", "/public/x"),
        ("X-Rewrite-URL", "/public/x"),
        ("X-Forwarded-Prefix", "/public"),
    ] {
        let request = browser.navigation("GET", "/closed/x?from=nginx").header(name, value);
        let answer = front.send(browser, request).await;
        assert_eq!(answer.status, 403, "{name}: {}", answer.head());
    }
    assert_eq!(world.upstream.requests().len(), before);
}
