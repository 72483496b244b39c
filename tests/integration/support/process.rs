//! The real binary, as an operator runs it.

use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::wire::PATIENCE;

/// A running `menshen`; killed when dropped.
pub struct Process {
    child: Child,
    written: Arc<Mutex<String>>,
}

impl Process {
    /// `menshen serve`, until it says that it serves.
    pub async fn serve(configuration: &Path) -> Self {
        Self::serve_with(configuration, &[], &[]).await
    }

    /// With these environment variables.
    pub async fn serve_in(configuration: &Path, environment: &[(&str, &str)]) -> Self {
        Self::serve_with(configuration, &[], environment).await
    }

    /// Under a service manager that listens at `socket`.
    pub async fn serve_notifying(configuration: &Path, socket: &Path) -> Self {
        let socket = socket.display().to_string();
        Self::serve_with(configuration, &[], &[("NOTIFY_SOCKET", &socket)]).await
    }

    /// `menshen serve --upgrade` beside the one that runs.
    pub async fn upgrade(configuration: &Path) -> Self {
        Self::serve_with(configuration, &["--upgrade"], &[]).await
    }

    async fn serve_with(configuration: &Path, options: &[&str], environment: &[(&str, &str)]) -> Self {
        let path = configuration.display().to_string();
        let arguments = [&["serve", "--config", &path], options].concat();
        let mut command = command(&arguments);
        command.env_remove("NOTIFY_SOCKET").envs(environment.iter().copied());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let written = Arc::new(Mutex::new(String::new()));
        let process = Self { child, written };
        process.wait_for(&mut lines, "\"serving\"").await;
        process.keep_reading(lines);
        process
    }

    /// `menshen demo`, and the address that it prints.
    pub async fn demo() -> (Self, String) {
        let mut child = command(&["demo", "--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let written = Arc::new(Mutex::new(String::new()));
        let process = Self { child, written };
        let line = process.wait_for(&mut lines, "http://").await;
        process.keep_reading(lines);
        let address = line.split_whitespace().find(|word| word.starts_with("http://"));
        let address = address.expect("an address").to_owned();
        (process, address)
    }

    /// A verb that goes on until it is interrupted, once it has printed a line.
    pub async fn follow(arguments: &[&str]) -> Self {
        let mut child = command(arguments).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let written = Arc::new(Mutex::new(String::new()));
        let process = Self { child, written };
        process.wait_for(&mut lines, "").await;
        process.keep_reading(lines);
        process
    }

    /// SIGTERM.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// SIGINT, as Ctrl-C sends it.
    pub async fn interrupt(&self) {
        self.signal("INT").await;
    }

    /// Any signal.
    pub async fn signal(&self, name: &str) {
        signal(name, self.id()).await;
    }

    /// SIGKILL, and the end.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("it does not end:\n{}", self.written()))
            .unwrap()
    }

    /// What it has written so far to the stream that is read.
    pub fn written(&self) -> String {
        self.written.lock().unwrap().clone()
    }

    async fn wait_for(&self, lines: &mut Lines<BufReader<impl AsyncRead + Unpin>>, text: &str) -> String {
        loop {
            let line = timeout(PATIENCE, lines.next_line())
                .await
                .expect("a line in time")
                .unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended without saying {text}:\n{}", self.written()));
            self.keep(&line);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// A full pipe would stop it.
    fn keep_reading(&self, mut lines: Lines<BufReader<impl AsyncRead + Unpin + Send + 'static>>) {
        let written = Arc::clone(&self.written);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut written = written.lock().unwrap();
                written.push_str(&line);
                written.push('\n');
            }
        });
    }

    fn keep(&self, line: &str) {
        let mut written = self.written.lock().unwrap();
        written.push_str(line);
        written.push('\n');
    }
}

/// Sends a signal to a process of any parent.
pub async fn signal(name: &str, id: u32) {
    let (name, id) = (format!("-{name}"), id.to_string());
    let sent = Command::new("kill").args([name, id]).status().await.unwrap();
    assert!(sent.success());
}

/// Runs a verb to its end.
pub async fn run(arguments: &[&str]) -> Output {
    let output = timeout(PATIENCE, command(arguments).output()).await;
    output.expect("it ends").unwrap()
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// `MENSHEN_BINARY` puts another build in its place: a release, one of before, or a profiler around it.
fn command(arguments: &[&str]) -> Command {
    let built = env!("CARGO_BIN_EXE_menshen").into();
    let mut command = Command::new(std::env::var_os("MENSHEN_BINARY").unwrap_or(built));
    command
        .args(arguments)
        .env_remove("MENSHEN_CONFIG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}
