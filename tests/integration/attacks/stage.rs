//! A gateway between a recording upstream and a stand-in for WeChat, with people in its directory.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Once;

use menshen::config::{System, parse};
use menshen::proxy::gateway::{Doors, Gateway};
use menshen::sandbox::{self, Sandbox, SandboxConfig};
use menshen::store::{NewUser, Store};
use menshen::telemetry::clock::Clock;
use rustls::pki_types::CertificateDer;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::recorder::Recorder;
use super::wire::{Answer, Wire};

/// Everything that a test attacks and watches.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    pub(crate) upstream: Recorder,
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Clock,
    pub(crate) authority: Option<CertificateDer<'static>>,
    gateway: Gateway,
    directory: TempDir,
    stop_sandbox: oneshot::Sender<()>,
}

/// What a stage is like.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    /// HTTPS on the listener, with a certificate of its own for the hosts.
    pub(crate) https: bool,
    /// More lines of `[server]`.
    pub(crate) server: &'a str,
    /// More tables; `UPSTREAM` stands for the recorder's address.
    pub(crate) tables: &'a str,
    /// The sites instead of [`SITES`].
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
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        });
        let directory = tempfile::tempdir().unwrap();
        let upstream = Recorder::start().await;
        let (sandbox, wechat, stop_sandbox) = start_sandbox().await;
        let clock = Clock::default();
        let (text, authority) = configuration(&plan, &directory, &sandbox, wechat, upstream.address);
        let loaded = parse(&directory.path().join("menshen.toml"), &text, &System)
            .unwrap_or_else(|mistakes| panic!("{mistakes:#?}\n{text}"));
        employ(loaded.settings.store.url.expose_secret(), directory.path().join("data")).await;
        let gateway = Gateway::start_at(Doors::open(&loaded.settings).unwrap(), loaded.settings, clock.clone())
            .await
            .unwrap();
        Self {
            address: gateway.addresses()[0],
            upstream,
            sandbox,
            clock,
            authority,
            gateway,
            directory,
            stop_sandbox,
        }
    }

    pub(crate) async fn stop(self) {
        self.gateway.stop().await;
        let _ = self.stop_sandbox.send(());
        drop(self.directory);
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The name of the session cookie here.
    pub(crate) fn session_cookie(&self) -> &'static str {
        if self.authority.is_some() {
            "__Host-menshen"
        } else {
            "menshen"
        }
    }

    /// `http://app.test`, as a browser would write it.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{HOST}")
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
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n")).await
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
        let app = self.sandbox.apps().remove(0).app_id;
        let code = self.sandbox.login_code(app.as_str(), persona).unwrap();
        let scan = json!({ "scene": ticket.id, "code": code });
        let lines = format!("Cookie: {}\r\n", ticket.cookies);
        let watch = format!("/.menshen/tickets/{}?wait=2", ticket.id);
        let (scanned, _) = tokio::join!(
            self.post(PORTAL, "/.menshen/phone/scan", "", &scan),
            self.get(&watch, &lines)
        );
        assert_eq!(scanned.status, 200, "{}", scanned.text());
        let handle = scanned.json()["handle"].clone();
        let status = self.get(&format!("/.menshen/tickets/{}", ticket.id), &lines).await.json();
        assert_eq!(status["status"], "scanned", "{status}");
        let shown = self
            .post(PORTAL, "/.menshen/phone/status", "", &json!({ "handle": handle }))
            .await;
        assert_eq!(shown.status, 200, "{}", shown.text());
        let phone = self.sandbox.phone_code(app.as_str(), persona).unwrap();
        let confirm = json!({ "handle": handle, "choice": status["number"], "phone_code": phone });
        let confirmed = self.post(PORTAL, "/.menshen/phone/confirm", "", &confirm).await;
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

async fn start_sandbox() -> (Sandbox, SocketAddr, oneshot::Sender<()>) {
    let sandbox = Sandbox::new(SandboxConfig::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(sandbox::serve(listener, sandbox.clone(), async {
        let _ = stopped.await;
    }));
    (sandbox, address, stop)
}

fn configuration(
    plan: &Plan<'_>,
    directory: &TempDir,
    sandbox: &Sandbox,
    wechat: SocketAddr,
    upstream: SocketAddr,
) -> (String, Option<CertificateDer<'static>>) {
    let app = sandbox.apps().remove(0);
    let (scheme, mut tls, mut authority) = ("http", String::new(), None);
    let mut scheme = scheme;
    if plan.https {
        scheme = "https";
        let names = ["app.test", "public.test", "login.test", "strict.test"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }".to_owned();
        authority = Some(made.cert.der().clone());
    }
    let text = format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
{tls}
admin_listen = "off"
public_url = "{scheme}://{PORTAL}"
data_dir = "data"
grace_period = "1s"
{server}

[wechat]
api_base = "http://{wechat}"
open_base = "http://{wechat}"
mp_base = "http://{wechat}"

{tables}

[[connections]]
id = "staff"
kind = "miniprogram-qr"
display_name = "Staff"
app_id = "{app_id}"
app_secret = "{secret}"
open_platform = "corp"
phone = "required"
association = "field"
match_fields = ["phone"]

{sites}
"#,
        server = plan.server,
        tables = plan.tables,
        app_id = app.app_id.as_str(),
        secret = app.secret.expose_secret(),
        sites = plan.sites.unwrap_or(SITES),
    );
    (text.replace("UPSTREAM", &format!("http://{upstream}")), authority)
}

/// Alice, who is in two groups, scans with the phone of `wangxiaoming`; everybody else is new at the first login and
/// has neither username nor groups nor e-mail.
async fn employ(store: &str, data: PathBuf) {
    std::fs::create_dir_all(data).unwrap();
    let store = Store::open(&store.into()).await.unwrap();
    store
        .insert_user(&NewUser {
            id: menshen::accounts::new_user_id().unwrap(),
            username: Some("alice".to_owned()),
            name: Some("王小明".to_owned()),
            picture: None,
            phone: Some("+8613800138000".to_owned()),
            email: Some("alice@example.com".to_owned()),
            groups: vec!["staff".to_owned(), "ops".to_owned()],
            attributes: serde_json::Map::new(),
            created_at: Clock::default().now(),
        })
        .await
        .unwrap();
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
