//! The mini program of `examples/miniprogram` on a person's phone: its own code, rendered by WeChat's component simulator
//! in a Node process, asking this world's gateway over the network.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::wire::PATIENCE;
use super::world::{PUBLIC_HOST, World};

/// A phone with the mini program.
pub struct MiniProgram {
    _child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    gateway: String,
}

impl MiniProgram {
    /// In the hand of a person of the sandbox, whose WeChat speaks English.
    pub async fn of(world: &World, persona: &str) -> Self {
        world.keep_secret(&world.sandbox.openid(world.app_id(), persona));
        let gateway = world.origin(PUBLIC_HOST);
        let settings: toml::Table = world.text().parse().unwrap();
        let mut child = node()
            .arg("test/support/held.mjs")
            .env("GATEWAY", &gateway)
            .env("SANDBOX", settings["wechat"]["api_base"].as_str().unwrap())
            .env("APPID", world.app_id())
            .env("PERSONA", persona)
            .env("LANGUAGE", "en")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect(MISSING);
        Self {
            commands: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()).lines(),
            _child: child,
            gateway,
        }
    }

    /// Opens the login page with a round code.
    pub async fn scan(&mut self, scene: &str) {
        self.open(&format!("pages/login/login?scene={scene}")).await;
    }

    /// Opens the login page with a link code of this gateway.
    pub async fn scan_link(&mut self, scene: &str) {
        let link = format!("{}/m/{scene}", self.gateway);
        let link: String = url::form_urlencoded::byte_serialize(link.as_bytes()).collect();
        self.open(&format!("pages/login/login?q={link}")).await;
    }

    /// Opens a page by its path and query.
    pub async fn open(&mut self, path: &str) {
        self.does(json!(["open", path])).await;
    }

    /// Changes how WeChat opens it, or what it is like.
    pub async fn wechat(&mut self, change: Value) {
        self.does(json!(["wechat", change])).await;
    }

    /// The person will refuse the phone number.
    pub async fn refuses_number(&mut self) {
        self.does(json!(["refuse"])).await;
    }

    /// Taps the only element of a class.
    pub async fn tap(&mut self, class: &str) {
        self.does(json!(["tap", class])).await;
    }

    /// Taps a number.
    pub async fn choose(&mut self, number: i64) {
        self.does(json!(["tap", "number", number])).await;
    }

    /// Types the number.
    pub async fn types(&mut self, number: i64) {
        self.does(json!(["type", "typed", number.to_string()])).await;
        self.tap("next").await;
    }

    /// The person goes away and comes back.
    pub async fn looks_again(&mut self) {
        self.does(json!(["hide"])).await;
        self.does(json!(["show"])).await;
    }

    /// Whether there is a network.
    pub async fn network(&mut self, is_there: bool) {
        self.does(json!(["network", is_there])).await;
    }

    /// What the page shows once it shows this text.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> impl Future<Output = Value> {
        self.does(json!(["until", text]))
    }

    /// The numbers to choose from, once they are shown.
    pub async fn numbers(&mut self) -> Vec<i64> {
        let shown = self.until("Which number does").await;
        let buttons = shown["buttons"].as_array().unwrap().iter();
        buttons.filter_map(|text| text.as_str()?.parse().ok()).collect()
    }

    #[track_caller]
    fn does(&mut self, command: Value) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            self.commands
                .write_all(format!("{command}\n").as_bytes())
                .await
                .unwrap();
            let line = timeout(PATIENCE, self.answers.next_line())
                .await
                .expect("too slow")
                .unwrap();
            let line = line.unwrap_or_else(|| panic!("node ended at {command}, at {place}. {MISSING}"));
            let answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if let Some(failed) = answer["failed"].as_str() {
                panic!("{command}, at {place}: {failed}");
            }
            answer
        }
    }
}

/// Node, in the folder of the mini program.
pub fn node() -> Command {
    let mut command = Command::new("node");
    command
        .current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/miniprogram"))
        .kill_on_drop(true);
    command
}

/// What to do where Node or the simulator is not installed.
pub const MISSING: &str = "`make test` installs Node and the simulator";
