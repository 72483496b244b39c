//! What a service manager is told, by the protocol of systemd (`sd_notify(3)`): ready, stopping, and which process is
//! the main one after an upgrade. Without `NOTIFY_SOCKET` nobody is told anything.

use std::io;
use std::path::{Path, PathBuf};

use sd_notify::NotifyState;
use tokio::process::Command;
use tracing::{error, info, warn};

/// The program and the configuration as they were when this process began: after its file was replaced, the kernel names
/// the old one.
#[derive(Debug, Clone)]
pub(super) struct Itself {
    program: PathBuf,
    configuration: PathBuf,
}

impl Itself {
    /// This process with the configuration at `path`.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        // As it was called, so that a link may lead to another version by now; a bare name was looked for in PATH.
        let called = std::env::args_os().next().map(PathBuf::from);
        let program = match called.filter(|called| called.components().count() > 1) {
            Some(called) => std::path::absolute(called)?,
            None => std::env::current_exe()?,
        };
        Ok(Self {
            program,
            configuration: std::path::absolute(path)?,
        })
    }

    /// Starts what is now the program, to take over from this process. It stays with the service manager's supervision
    /// because it is a child of the process that is supervised.
    pub(super) fn start_successor(&self) {
        let mut command = Command::new(&self.program);
        command
            .args(["serve", "--upgrade", "--config"])
            .arg(&self.configuration);
        match command.spawn() {
            Ok(mut child) => {
                info!(pid = child.id(), program = %self.program.display(), "a new process is to take over");
                tokio::spawn(async move {
                    match child.wait().await {
                        Ok(status) => warn!(%status, "the new process has ended, this one goes on"),
                        Err(error) => warn!(%error, "the new process is not known any more"),
                    }
                });
            }
            Err(error) => error!(%error, program = %self.program.display(), "no new process"),
        }
    }
}

/// This process serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The process `pid` serves in place of this one.
pub(super) fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// This process ends in order.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        warn!(%error, "the service manager was not told");
    }
}
