//! A gateway between a recording upstream and a stand-in for WeChat, with people in its directory.

use std::net::SocketAddr;

use menshen::store::NewUser;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use toml::Table;

use super::recorder::Recorder;
use super::wire::{Answer, Wire};
use crate::support::World;

/// Everything that a test attacks and watches.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    pub(crate) upstream: Recorder,
    pub(crate) world: World,
    pub(crate) authority: Option<CertificateDer<'static>>,
    _certificate: TempDir,
}

/// What a stage is like.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    /// HTTPS on the listener, with a certificate of its own for the hosts.
    pub(crate) https: bool,
    /// TOML of other tables than the sites, on top of what the world has.
    pub(crate) settings: &'a str,
    /// The sites instead of [`SITES`]; `UPSTREAM` stands for the recorder's address.
    pub(crate) sites: Option<&'a str>,
}

/// A login as far as the browser has come.
pub(crate) struct Ticket {
    pub(crate) id: String,
    pub(crate) cookies: String,
    pub(crate) page: Answer,
}

impl Stage {
    pub(crate) async fn plain() -> Self {
        Self::start(Plan::default()).await
    }

    pub(crate) async fn https() -> Self {
        let https = Plan {
            https: true,
            ..Plan::default()
        };
        Self::start(https).await
    }

    pub(crate) async fn with_sites(sites: &str) -> Self {
        let plan = Plan {
            sites: Some(sites),
            ..Plan::default()
        };
        Self::start(plan).await
    }

    pub(crate) async fn start(plan: Plan<'_>) -> Self {
        let upstream = Recorder::start().await;
        let certificate = tempfile::tempdir().unwrap();
        let sites = plan
            .sites
            .unwrap_or(SITES)
            .replace("UPSTREAM", &format!("http://{}", upstream.address));
        let mut world = World::plan();
        for text in [CONNECTION, &sites, plan.settings] {
            for (path, value) in leaves("", text.parse().unwrap()) {
                world = world.set(&path, value);
            }
        }
        let mut authority = None;
        if plan.https {
            let (cert, key) = ["cert.pem", "key.pem"].map(|name| certificate.path().join(name)).into();
            let names = ["app.test", "public.test", PORTAL].map(str::to_owned);
            let made = rcgen::generate_simple_self_signed(names).unwrap();
            std::fs::write(&cert, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            authority = Some(made.cert.der().clone());
            world = world
                .set("server.tls.cert", cert.to_str().unwrap())
                .set("server.tls.key", key.to_str().unwrap())
                .set("server.public_url", format!("https://{PORTAL}"));
        }
        let world = world.start().await;
        employ_alice(&world).await;
        Self {
            address: world.address,
            upstream,
            world,
            authority,
            _certificate: certificate,
        }
    }

    /// The name of the session cookie here.
    pub(crate) fn session_cookie(&self) -> &'static str {
        if self.authority.is_some() {
            "__Host-menshen"
        } else {
            "menshen"
        }
    }

    pub(crate) async fn connect(&self) -> Wire {
        match &self.authority {
            Some(authority) => Wire::tls(self.address, HOST, authority).await,
            None => Wire::plain(self.address).await,
        }
    }

    /// One request of these bytes over one connection.
    pub(crate) async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let request = request.as_ref();
        let method = request.split(|&byte| byte == b' ').next().unwrap_or_default();
        let method = String::from_utf8_lossy(method).into_owned();
        let mut wire = self.connect().await;
        wire.send(request).await;
        wire.answer_to(&method).await
    }

    /// A GET of [`HOST`] with these header lines, each with its line end.
    pub(crate) async fn get(&self, target: &str, lines: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"))
            .await
    }

    /// A POST of JSON.
    pub(crate) async fn post(&self, host: &str, target: &str, lines: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let length = body.len();
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{lines}\r\n{body}"
        ))
        .await
    }

    /// A login page with its ticket.
    pub(crate) async fn ticket(&self, target: &str) -> Ticket {
        let page = self.get(target, NAVIGATION).await;
        ticket_of(page)
    }

    /// The phone's side of a ticket, until the person has confirmed.
    pub(crate) async fn confirm(&self, ticket: &Ticket, persona: &str) {
        let (app, sandbox) = (self.world.app_id(), &self.world.sandbox);
        let code = sandbox.login_code(app, persona).unwrap();
        let scan = json!({ "scene": ticket.id, "code": code });
        let portal = self.world.authority(PORTAL);
        let lines = format!("Cookie: {}\r\n", ticket.cookies);
        let watch = format!("/.menshen/tickets/{}?wait=2", ticket.id);
        let (scanned, _) = tokio::join!(
            self.post(&portal, "/.menshen/phone/scan", "", &scan),
            self.get(&watch, &lines)
        );
        assert_eq!(scanned.status, 200, "{}", scanned.text());
        let handle = scanned.json()["handle"].clone();
        let status = self
            .get(&format!("/.menshen/tickets/{}", ticket.id), &lines)
            .await
            .json();
        assert_eq!(status["status"], "scanned", "{status}");
        let shown = self
            .post(&portal, "/.menshen/phone/status", "", &json!({ "handle": handle }))
            .await;
        assert_eq!(shown.status, 200, "{}", shown.text());
        let phone = sandbox.phone_code(app, persona).unwrap();
        let confirm = json!({ "handle": handle, "choice": status["number"], "phone_code": phone });
        let confirmed = self.post(&portal, "/.menshen/phone/confirm", "", &confirm).await;
        assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    }

    /// Redeems a confirmed ticket.
    pub(crate) async fn redeem(&self, ticket: &Ticket) -> Answer {
        let lines = format!("Cookie: {}\r\nSec-Fetch-Site: same-origin\r\n", ticket.cookies);
        let target = format!("/.menshen/tickets/{}/redeem", ticket.id);
        self.post(HOST, &target, &lines, &json!({})).await
    }

    /// `name=value` of a session cookie, after a whole login.
    pub(crate) async fn login(&self, persona: &str) -> String {
        let ticket = self.ticket("/").await;
        self.confirm(&ticket, persona).await;
        let redeemed = self.redeem(&ticket).await;
        assert_eq!(redeemed.status, 200, "{}", redeemed.text());
        redeemed.cookie(self.session_cookie()).expect("a session cookie")
    }
}

/// The ticket of a login page.
pub(crate) fn ticket_of(page: Answer) -> Ticket {
    let lines = page.headers.all("set-cookie");
    let ticket = lines
        .iter()
        .find(|line| line.contains("menshen-ticket="))
        .unwrap_or_else(|| panic!("no ticket: {page:?}"));
    let path = ticket.split("Path=/.menshen/tickets/").nth(1).unwrap();
    let id = path.split(';').next().unwrap().to_owned();
    let pairs: Vec<&str> = lines.iter().filter_map(|line| line.split(';').next()).collect();
    Ticket {
        id,
        cookies: pairs.join("; "),
        page,
    }
}

/// Every key with its value, tables taken apart: `a.b` = 1.
fn leaves(prefix: &str, table: Table) -> Vec<(String, toml::Value)> {
    let of_key = |(key, value)| {
        let path = if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            toml::Value::Table(table) => leaves(&path, table),
            value => vec![(path, value)],
        }
    };
    table.into_iter().flat_map(of_key).collect()
}

/// Alice, who is in two groups, scans with the phone of [`ALICE`]; everybody else is new at the first login and has
/// neither username nor groups nor e-mail.
async fn employ_alice(world: &World) {
    let store = world.store().await;
    let alice = NewUser {
        id: menshen::accounts::new_user_id().unwrap(),
        username: Some("alice".to_owned()),
        name: Some("王小明".to_owned()),
        picture: None,
        phone: Some("+8613800138000".to_owned()),
        email: Some("alice@example.com".to_owned()),
        groups: vec!["staff".to_owned(), "ops".to_owned()],
        attributes: serde_json::Map::new(),
        created_at: world.clock.now(),
        ..NewUser::default()
    };
    store.insert_user(&alice).await.unwrap();
    store.close().await;
}

/// The host that tests attack.
pub(crate) const HOST: &str = "app.test";
/// `public_url`'s.
pub(crate) const PORTAL: &str = "login.test";
/// Alice's phone.
pub(crate) const ALICE: &str = "wangxiaoming";
/// Somebody without username, groups and e-mail.
pub(crate) const BOB: &str = "lilei";
/// What a browser says of a page that somebody opens.
pub(crate) const NAVIGATION: &str = "Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n\
                                     Sec-Fetch-Dest: document\r\nSec-Fetch-User: ?1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0\r\n";

/// The verified number finds Alice in the directory.
const CONNECTION: &str = r#"
[connections.0]
open_platform = "corp"
phone = "required"
association = "field"
match_fields = ["phone"]
"#;

/// One site with a route of every kind, and a second with other headers.
const SITES: &str = r#"
[[sites]]
name = "Application"
hosts = ["app.test"]
upstreams = ["UPSTREAM"]

[[sites.routes]]
path = "/public/"
access = "public"

[[sites.routes]]
path = "= /exact"
access = "public"

[[sites.routes]]
path = "/denied/"
access = "deny"

[[sites.routes]]
path = "/admin/"
require = ["group:ops"]

[[sites.routes]]
path = "/writes/"
methods = ["POST"]
require = ["group:nobody"]

[[sites.routes]]
path = "/slashes/"
encoded_slashes = "keep"

[[sites.routes]]
path = "/api/"
cors_origins = ["https://spa.test"]
websocket_origins = ["https://spa.test"]

[[sites]]
name = "Other"
hosts = ["other.test"]
upstreams = ["UPSTREAM"]
headers = "x-forwarded"

[[sites.routes]]
path = "/"
access = "public"
"#;
