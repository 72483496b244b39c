//! One gateway and all around it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use menshen::config::{Settings, System, parse};
use menshen::proxy::gateway::{Doors, Gateway};
use menshen::proxy::snapshot::Snapshot;
use menshen::proxy::watch::Patience;
use menshen::sandbox::{self, Sandbox, SandboxConfig};
use menshen::store::Store;
use menshen::telemetry::clock::Clock;
use secrecy::ExposeSecret;
use sqlx::{Connection, Row, SqliteConnection};
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

use super::answer::Answer;
use super::browser::{Browser, LoginPage};
use super::invariants::{check_answer, check_received};
use super::phone::Phone;
use super::process::{Process, free_port};
use super::upstream::Upstream;
use super::wire::{Request, Wire};

/// A gateway, WeChat and an application, each on a port of its own.
pub struct World {
    pub sandbox: Sandbox,
    pub upstream: Upstream,
    pub clock: Clock,
    pub address: SocketAddr,
    gateway: Option<Gateway>,
    directory: Arc<TempDir>,
    settings: Settings,
    text: String,
    patience: Patience,
    app_id: String,
    secrets: Arc<Mutex<Vec<String>>>,
    checked: Mutex<usize>,
    https: bool,
}

/// What a verb of the binary said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A connection to the store's file that only reads.
pub struct StoreWatch(SqliteConnection);

/// A world before it starts.
pub struct Plan {
    sandbox: SandboxConfig,
    changes: Vec<(String, toml::Value)>,
    more: String,
    patience: Patience,
}

impl Plan {
    /// Sets one key: `session.idle_timeout`, `connections.0.phone`, `sites.0.routes`.
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<toml::Value>) -> Self {
        self.changes.push((path.to_owned(), value.into()));
        self
    }

    /// Adds text at the end of the file: further `[[connections]]`, `[[sites]]`, `[[sites.routes]]` of the last site.
    #[must_use]
    pub fn append(mut self, text: &str) -> Self {
        self.more.push_str(text);
        self
    }

    /// Changes how long the gateway waits for clients.
    #[must_use]
    pub fn patience(mut self, change: impl FnOnce(&mut Patience)) -> Self {
        change(&mut self.patience);
        self
    }

    /// Changes who and what exists at WeChat.
    #[must_use]
    pub fn wechat(mut self, change: impl FnOnce(&mut SandboxConfig)) -> Self {
        change(&mut self.sandbox);
        self
    }

    /// The original id of the first app.
    pub fn original_id(&self) -> String {
        self.sandbox.apps[0].original_id()
    }

    /// With the gateway in this process.
    pub async fn start(self) -> World {
        let mut world = self.build().await;
        world.start_gateway().await;
        world
    }

    /// With the gateway in a process of its own, as an operator runs it.
    pub async fn start_process(self) -> (World, Process) {
        self.start_process_in(&[]).await
    }

    /// The same with these environment variables.
    pub async fn start_process_in(self, environment: &[(&str, &str)]) -> (World, Process) {
        let port = free_port();
        let plan = self
            .set("server.listen", vec![format!("127.0.0.1:{port}")])
            .set("server.public_url", format!("http://{PUBLIC_HOST}:{port}"));
        let mut world = plan.build().await;
        world.address.set_port(port);
        std::fs::write(world.configuration(), &world.text).unwrap();
        let process = Process::serve_in(&world.configuration(), environment).await;
        (world, process)
    }

    /// Without a gateway yet.
    pub async fn build(self) -> World {
        install_crypto();
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let sandbox = Sandbox::new(self.sandbox);
        let wechat = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wechat_address = wechat.local_addr().unwrap();
        let upstream = Upstream::start().await;
        let app = sandbox.apps().remove(0);
        let text = template(
            wechat_address,
            upstream.address(),
            directory.path(),
            app.app_id.as_str(),
            app.secret.expose_secret(),
        );
        let mut table: toml::Table = format!("{text}{}", self.more).parse().expect("TOML");
        for (path, value) in self.changes {
            change(&mut table, &path, value);
        }
        let text = table.to_string();
        let settings = match parse(&directory.path().join("menshen.toml"), &text, &System) {
            Ok(loaded) => loaded.settings,
            Err(mistakes) => panic!(
                "{}\n{text}",
                mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            ),
        };
        sandbox.set_base_url(Url::parse(&format!("http://{wechat_address}")).unwrap());
        tokio::spawn(sandbox::serve(wechat, sandbox.clone(), std::future::pending()));
        let secrets = vec![app.secret.expose_secret().to_owned()];
        World {
            app_id: app.app_id.as_str().to_owned(),
            https: settings.https(),
            sandbox,
            upstream,
            clock: Clock::default(),
            address: ([127, 0, 0, 1], 0).into(),
            gateway: None,
            directory,
            settings,
            secrets: Arc::new(Mutex::new(secrets)),
            checked: Mutex::new(0),
            patience: self.patience,
            text,
        }
    }
}

impl World {
    /// With a site `wiki.test` and a connection `staff` that asks for no phone number.
    pub async fn start() -> Self {
        Self::plan().start().await
    }

    /// Behind a proxy that ends TLS: hosts without a port, `https` in `X-Forwarded-Proto`.
    pub fn plan_https() -> Plan {
        Self::plan()
            .set("server.public_url", format!("https://{PUBLIC_HOST}"))
            .set("server.trusted_proxies", vec!["127.0.0.1/32"])
    }

    /// To be adjusted.
    pub fn plan() -> Plan {
        Plan {
            sandbox: SandboxConfig::default(),
            changes: Vec::new(),
            more: String::new(),
            patience: Patience::default(),
        }
    }

    /// Changes one key before the gateway starts.
    pub fn change(&mut self, path: &str, value: impl Into<toml::Value>) {
        let mut table: toml::Table = self.text.parse().unwrap();
        change(&mut table, path, value.into());
        self.text = table.to_string();
        let file = self.directory.path().join("menshen.toml");
        self.settings = parse(&file, &self.text, &System)
            .unwrap_or_else(|_| panic!("{}", self.text))
            .settings;
    }

    /// Starts the gateway on what the last one left behind.
    pub async fn start_gateway(&mut self) {
        let mut settings = self.settings.clone();
        let doors = Doors::open(&settings).unwrap();
        self.address = doors.addresses()[0];
        if !self.https {
            let public = format!("http://{PUBLIC_HOST}:{}", self.address.port());
            settings.server.public_url = Url::parse(&public).unwrap();
        }
        let started = Gateway::start_with(doors, settings, self.clock.clone(), self.patience).await;
        self.gateway = Some(started.unwrap());
    }

    /// A further node on the same store, before the same application and WeChat, with the same clock.
    pub async fn another_node(&self) -> Self {
        let mut node = self.not_started();
        node.start_gateway().await;
        node
    }

    /// A further node in a process of its own.
    pub async fn another_process(&self) -> (Self, Process) {
        let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let mut table: toml::Table = self.text.parse().unwrap();
        change(&mut table, "server.listen", vec![address.to_string()].into());
        let configuration = self.directory.path().join(format!("{}.toml", address.port()));
        std::fs::write(&configuration, table.to_string()).unwrap();
        let process = Process::serve(&configuration).await;
        (self.same_from_outside(address), process)
    }

    /// A further node that has yet to start.
    pub fn not_started(&self) -> Self {
        self.same_from_outside(self.address)
    }

    fn same_from_outside(&self, address: SocketAddr) -> Self {
        assert!(self.https, "nodes share a public_url without a port");
        Self {
            sandbox: self.sandbox.clone(),
            upstream: self.upstream.clone(),
            clock: self.clock.clone(),
            address,
            gateway: None,
            directory: Arc::clone(&self.directory),
            settings: self.settings.clone(),
            text: self.text.clone(),
            patience: self.patience,
            app_id: self.app_id.clone(),
            secrets: Arc::clone(&self.secrets),
            checked: Mutex::default(),
            https: self.https,
        }
    }

    /// A second gateway on the same store, WeChat and application, with the same clock: another node of the
    /// installation, to be asked by [`World::send_to`].
    pub async fn neighbour(&self) -> Gateway {
        let mut settings = self.settings.clone();
        let doors = Doors::open(&settings).unwrap();
        settings.server.public_url = self.snapshot().settings.server.public_url.clone();
        Gateway::start_at(doors, settings, self.clock.clone()).await.unwrap()
    }

    /// One request to another node than this world's own.
    pub async fn send_to(&self, node: &Gateway, request: &Request) -> Answer {
        let answer = Wire::open(node.addresses()[0]).await.send(request).await;
        for line in answer.all("set-cookie") {
            self.learn_cookie(line);
        }
        self.check(request, &answer);
        answer
    }

    /// Runs a verb of the binary beside the gateway, on its store and with its configuration.
    pub async fn menshen(&self, arguments: &[&str]) -> Said {
        let path = self.configuration();
        if !path.exists() {
            std::fs::write(&path, &self.text).unwrap();
        }
        let path = path.display().to_string();
        let output = super::process::run(&[&["--config", &path], arguments].concat()).await;
        Said::of(output)
    }

    /// The configuration of the next gateway, to be changed between two.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// All addresses that the gateway listens at, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.gateway.as_ref().expect("a gateway").addresses()
    }

    /// Stops the gateway in order.
    pub async fn stop_gateway(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop().await;
        }
    }

    /// A browser without cookies at [`SITE`].
    pub fn browser(&self) -> Browser<'_> {
        Browser::new(self, SITE)
    }

    /// The same at another host.
    pub fn browser_at(&self, host: &str) -> Browser<'_> {
        Browser::new(self, host)
    }

    /// The phone of a person of the sandbox.
    pub fn phone(&self, persona: &str) -> Phone<'_> {
        Phone::new(self, persona)
    }

    /// One request, with the checks that hold for every answer.
    pub async fn send(&self, request: &Request) -> Answer {
        let answer = Wire::open(self.address).await.send(request).await;
        for line in answer.all("set-cookie") {
            self.learn_cookie(line);
        }
        self.check(request, &answer);
        answer
    }

    /// Holds an answer, and what the application got meanwhile, against the rules.
    pub fn check(&self, request: &Request, answer: &Answer) {
        check_answer(request, answer, &self.secrets.lock().unwrap());
        self.check_upstream();
    }

    /// Holds what the application got against the rules.
    pub fn check_upstream(&self) {
        let requests = self.upstream.requests();
        let mut checked = self.checked.lock().unwrap();
        for received in requests.iter().skip(*checked) {
            check_received(received);
        }
        *checked = requests.len();
    }

    /// Asks until it is so. For what happens by itself within a promised time; the pause between two questions is not
    /// what makes the test pass.
    pub async fn until(&self, mut asked: impl AsyncFnMut() -> bool) {
        let asking = async {
            while !asked().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(super::wire::PATIENCE, asking)
            .await
            .expect("it never came to be");
    }

    /// From now on no answer may hold this text outside `Set-Cookie`.
    pub fn keep_secret(&self, text: &str) {
        self.secrets.lock().unwrap().push(text.to_owned());
    }

    fn learn_cookie(&self, line: &str) {
        let pair = line.split(';').next().unwrap_or_default();
        if let Some((_, value)) = pair.split_once('=')
            && value.len() > 20
        {
            self.keep_secret(value);
        }
    }

    /// Moves the clocks of the gateway and of WeChat.
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(i64::try_from(seconds).unwrap());
        self.sandbox.advance(Duration::from_secs(seconds));
    }

    /// Until the gateway has read what was revoked, which a long way forward makes it ask for anew.
    pub async fn ready(&self) {
        let snapshot = self.snapshot();
        self.until(async || snapshot.registry.is_ready()).await;
    }

    /// The AppID of the first connection.
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// The configuration as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The running gateway.
    #[track_caller]
    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("a running gateway")
    }

    /// The running gateway, to be stopped while the world goes on.
    #[track_caller]
    pub fn take_gateway(&mut self) -> Gateway {
        self.gateway.take().expect("a running gateway")
    }

    /// What no answer and no log may hold.
    pub fn secrets(&self) -> Vec<String> {
        self.secrets.lock().unwrap().clone()
    }

    /// What the running gateway decides by.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.gateway.as_ref().expect("a running gateway").snapshot()
    }

    /// The configuration file of a gateway in its own process.
    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("menshen.toml")
    }

    /// The store, opened a second time, as the command line does it.
    pub async fn store(&self) -> Store {
        Store::open(&self.settings.store.url).await.unwrap()
    }

    /// A look at the store's file that notices every change.
    pub async fn watch_store(&self) -> StoreWatch {
        let file = self.directory.path().join("menshen.db");
        let url = format!("sqlite:{}", file.display());
        StoreWatch(SqliteConnection::connect(&url).await.unwrap())
    }

    /// What a phone reads in the code of a page: the scene.
    #[track_caller]
    pub fn scene_in(&self, page: &LoginPage) -> String {
        let address = self.sandbox.scan(&page.picture()).expect("a code that can be read");
        let address = Url::parse(&address).unwrap();
        let scene = address.query_pairs().find(|(name, _)| name == "scene");
        scene.expect("a scene in the code").1.into_owned()
    }

    /// `host:port`, as browsers say it.
    pub fn authority(&self, host: &str) -> String {
        if self.https {
            host.to_owned()
        } else {
            format!("{host}:{}", self.address.port())
        }
    }

    /// Scheme, host and port of a page.
    pub fn origin(&self, host: &str) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority(host))
    }

    /// Whether an outer proxy ends TLS.
    pub fn is_https(&self) -> bool {
        self.https
    }
}

impl Said {
    /// Of a process that has ended by itself.
    pub fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What it wrote to standard output, if it ended with 0.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// The same as JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// What it wrote to standard error, if it ended with this code and wrote nothing else.
    #[track_caller]
    pub fn refused(self, code: i32) -> String {
        assert_eq!((self.code, &*self.out), (code, ""), "{self:?}");
        self.err
    }
}

impl StoreWatch {
    /// Another number after every transaction of anybody else that changed something.
    pub async fn version(&mut self) -> i64 {
        let row = sqlx::query("PRAGMA data_version").fetch_one(&mut self.0).await.unwrap();
        row.get(0)
    }

    /// Changes the store behind everybody's back.
    pub async fn execute(&mut self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.0).await.unwrap();
    }

    /// Has every question to the store fail from now on: its tables have other names.
    pub async fn break_store(&mut self) {
        for table in TABLES {
            let statement = format!("ALTER TABLE {table} RENAME TO {table}_gone");
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(&mut self.0)
                .await
                .unwrap();
        }
    }

    /// Has the store answer again.
    pub async fn mend_store(&mut self) {
        for table in TABLES {
            let statement = format!("ALTER TABLE {table}_gone RENAME TO {table}");
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(&mut self.0)
                .await
                .unwrap();
        }
    }

    /// Writes what no call of this version writes; how many rows.
    pub async fn write(&mut self, statement: &'static str, values: &[&str]) -> u64 {
        let mut query = sqlx::query(statement);
        for value in values {
            query = query.bind((*value).to_owned());
        }
        query.execute(&mut self.0).await.unwrap().rows_affected()
    }

    /// Rows of a query that counts.
    pub async fn count(&mut self, of: &'static str) -> i64 {
        let row = sqlx::query(of).fetch_one(&mut self.0).await.unwrap();
        row.get(0)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_upstream();
        }
    }
}

/// The process-wide provider of cryptography, as the binary installs it.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

fn change(table: &mut toml::Table, path: &str, value: toml::Value) {
    let (path, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = table;
    let mut steps = path.split('.').filter(|step| !step.is_empty()).peekable();
    while let Some(step) = steps.next() {
        let held = at.entry(step).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let held = match held {
            toml::Value::Array(array) => {
                let place: usize = steps.next().expect("a place in the array").parse().expect("a place");
                &mut array[place]
            }
            held => held,
        };
        at = held.as_table_mut().expect("a table");
    }
    at.insert(last.to_owned(), value);
}

fn template(wechat: SocketAddr, upstream: SocketAddr, directory: &Path, app_id: &str, secret: &str) -> String {
    format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
admin_listen = "off"
public_url = "http://{PUBLIC_HOST}"
data_dir = {directory:?}
grace_period = "1s"

[wechat]
api_base = "http://{wechat}"
open_base = "http://{wechat}"
mp_base = "http://{wechat}"

[[connections]]
id = "staff"
kind = "miniprogram-qr"
display_name = "Staff"
app_id = "{app_id}"
app_secret = "{secret}"
phone = "never"

[[sites]]
name = "Wiki"
hosts = ["{SITE}"]
upstreams = ["http://{upstream}"]

[[sites.routes]]
path = "/public/"
access = "public"
"#,
        directory = directory.display().to_string(),
    )
}

/// What every question to the store needs one of.
const TABLES: [&str; 5] = ["tickets", "sessions", "users", "revocations", "schema_versions"];
/// The host of the protected site.
pub const SITE: &str = "wiki.test";
/// The host of `public_url`.
pub const PUBLIC_HOST: &str = "login.test";
