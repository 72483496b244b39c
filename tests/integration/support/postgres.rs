//! A PostgreSQL server of one test's own, that can be stopped and started.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tempfile::TempDir;

/// A server on a socket in a temporary directory. Stopped when dropped.
pub struct Postgres {
    directory: TempDir,
    programs: PathBuf,
    /// PostgreSQL refuses to run as root.
    owner: Option<Owner>,
}

#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub async fn start() -> Self {
        // A thread of its own: making a cluster takes a second or two.
        tokio::task::spawn_blocking(Self::make).await.unwrap()
    }

    fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let owner = (id("-u", None) == 0).then(|| Owner {
            user: id("-u", Some("postgres")),
            group: id("-g", Some("postgres")),
        });
        if let Some(owner) = owner {
            chown(directory.path(), Some(owner.user), Some(owner.group)).unwrap();
        }
        let server = Self {
            directory,
            programs: programs(),
            owner,
        };
        let options = [
            "--username",
            "menshen",
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--no-sync",
        ];
        server.run("initdb", &options);
        server.start_again();
        server
    }

    /// What stands in `store.url`.
    pub fn url(&self) -> String {
        format!(
            "postgres:///postgres?host={}&user=menshen",
            self.directory.path().display()
        )
    }

    /// Stops at once, as a crash does: connections break, what was committed stays.
    pub fn stop(&self) {
        self.run("pg_ctl", &["--mode", "immediate", "stop"]);
    }

    /// Starts on what was there.
    pub fn start_again(&self) {
        let socket = self.directory.path().display();
        let options = format!("-c listen_addresses='' -c unix_socket_directories='{socket}' -c fsync=off");
        let log = self.directory.path().join("log");
        let log = log.display().to_string();
        self.run("pg_ctl", &["--wait", "--log", &log, "--options", &options, "start"]);
    }

    /// Runs one statement.
    pub async fn execute(&self, statement: &str) {
        let options: PgConnectOptions = self.url().parse().unwrap();
        let mut connection: PgConnection = options.connect().await.unwrap();
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
        connection.close().await.unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = match self.owner {
            None => Command::new(&program),
            Some(Owner { user, group }) => {
                let mut command = Command::new("setpriv");
                command.args([
                    &format!("--reuid={user}"),
                    &format!("--regid={group}"),
                    "--clear-groups",
                ]);
                command.arg(&program);
                command
            }
        };
        let command = command
            .arg("--pgdata")
            .arg(self.directory.path().join("db"))
            .args(arguments)
            // Its log, not the pipe of this test, which the server would keep open.
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .current_dir(self.directory.path());
        let status = command.status().unwrap();
        assert!(status.success(), "{program:?} {arguments:?}: {status}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.directory.path().join("db/postmaster.pid").exists() {
            self.stop();
        }
    }
}

/// Debian keeps them beside the path, by version.
fn programs() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|programs| programs.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().unwrap_or_else(|| Path::new("").to_owned())
}

fn id(what: &str, of: Option<&str>) -> u32 {
    let Output { stdout, .. } = Command::new("id").arg(what).args(of).output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("no user {of:?}: install postgresql"))
}
