//! Servers in processes of their own, ended with the bench.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server and its files.
pub struct Daemon {
    child: Child,
    directory: TempDir,
}

impl Daemon {
    /// A part of this program, started with these arguments, and the addresses that it prints on its first line.
    pub fn itself(arguments: &[String]) -> (Self, Vec<SocketAddr>) {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("its addresses");
        let addresses = line
            .split_whitespace()
            .map(|address| address.parse().expect("an address"))
            .collect();
        let directory = tempfile::tempdir().expect("a directory");
        (Self { child, directory }, addresses)
    }

    /// What `command` says, once `write` has put its files into a fresh directory. Another process may take a free port
    /// in between, so that a server which ends at once is started again.
    pub async fn start(
        write: impl Fn(&Path, &[SocketAddr]),
        command: impl Fn(&Path) -> Command,
        ports: usize,
    ) -> Result<(Self, Vec<SocketAddr>), String> {
        let mut said = String::new();
        for _ in 0..3 {
            let directory = tempfile::tempdir().expect("a directory");
            let addresses = free_addresses(ports);
            write(directory.path(), &addresses);
            let log = std::fs::File::create(directory.path().join("output")).expect("a log");
            let child = command(directory.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a log"))
                .stderr(log)
                .spawn()
                .map_err(|error| error.to_string())?;
            let mut daemon = Self { child, directory };
            if daemon.comes_up(&addresses).await {
                return Ok((daemon, addresses));
            }
            said = std::fs::read_to_string(daemon.directory.path().join("output")).unwrap_or_default();
        }
        Err(format!("it does not start: {said}"))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    async fn comes_up(&mut self, addresses: &[SocketAddr]) -> bool {
        let begin = Instant::now();
        for address in addresses {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
                if ended || begin.elapsed() > PATIENCE {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        true
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // nginx and Apache end their workers on TERM; a KILL would leave them.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Addresses on loopback at which nobody listens at this moment.
pub fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().expect("an address"))
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(10);
