//! The command line: one file per verb.
//!
//! Results go to standard output, logs and complaints to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage or
//! configuration.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, System};

mod audit;
mod backup;
pub mod check;
#[cfg(feature = "sandbox")]
mod demo;
mod doctor;
mod explain;
mod health;
mod keys;
mod login;
mod operator;
#[cfg(feature = "sandbox")]
mod sandbox;
mod serve;
mod service_manager;
mod sessions;
mod tokens;
mod users;

/// A gate in front of web applications: people sign in with a WeChat mini-program code, applications get signed
/// identity headers.
#[derive(Debug, Parser)]
#[command(name = "menshen", version, about, max_term_width = 100)]
struct Arguments {
    /// Configuration file [default: $MENSHEN_CONFIG, else ./config/menshen.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Try it: gateway, WeChat stand-in, simulated phone and an old application in one process, without a configuration
    Demo {
        /// Where the gateway listens
        #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
        listen: SocketAddr,
    },
    /// Run the gateway
    Serve {
        /// Take the listeners over from the gateway that runs on the same data_dir; no connection is refused
        #[arg(long)]
        upgrade: bool,
    },
    /// Validate the configuration: every mistake with its place and what to write instead
    Check {
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Ask the real parts (WeChat, public names, applications, store, clocks) and say what to do about what fails
    Doctor(doctor::Options),
    /// Say what would happen to a request, and why
    Explain {
        /// Who is signed in: username or id
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Where the request comes from, for `network:` conditions
        #[arg(long, value_name = "ADDRESS")]
        client: Option<std::net::IpAddr>,
        /// A script calls, instead of a person opening a page
        #[arg(long)]
        script: bool,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
        /// GET, POST …
        #[arg(value_parser = method)]
        method: http::Method,
        /// The whole address
        url: String,
    },
    /// List, make, change, import and export users
    Users {
        #[command(subcommand)]
        verb: Box<users::Verb>,
    },
    /// See what people and operators did
    Audit {
        #[command(subcommand)]
        verb: Box<audit::Verb>,
    },
    /// Ask the running gateway whether it is ready: for container checks
    Health,
    /// Write everything durable to one file, while the gateway runs
    Backup(backup::Backup),
    /// Fill an empty store from a backup, of either engine
    Restore(backup::Restore),
    /// Make, list and rotate secrets and keys
    Keys {
        #[command(subcommand)]
        verb: keys::Verb,
    },
    /// See who is signed in where, and end it
    Sessions {
        #[command(subcommand)]
        verb: sessions::Verb,
    },
    /// Make, list and revoke bearer tokens of people and programs
    Tokens {
        #[command(subcommand)]
        verb: tokens::Verb,
    },
    /// Sign in from a terminal: draw the code, wait for the phone, print a bearer token for that site
    Login(login::Options),
    /// Run the WeChat stand-in with its simulated phone alone, for a gateway of your own
    Sandbox {
        /// Where it listens
        #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// public_url of the gateway that the simulated phone talks to
        #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
        gateway: url::Url,
        /// AppSecret of its mini program wxsandbox0000000001
        #[arg(long, default_value = "sandbox", value_name = "TEXT")]
        app_secret: String,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Pingora's rustls would take another library's cryptography beside the one that everything else uses.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut out = io::stdout();
    let code = match arguments.verb {
        Verb::Check { json } => {
            let path = config::find(arguments.config, &System);
            let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            check::run(&path, json, &mut out.lock(), colour)
        }
        Verb::Doctor(options) => doctor::run(&options, &config::find(arguments.config, &System), &mut out),
        Verb::Explain {
            user,
            client,
            script,
            json,
            method,
            url,
        } => {
            let question = explain::Question {
                method,
                url,
                user,
                client,
                script,
                json,
            };
            explain::run(&config::find(arguments.config, &System), &question, &mut out.lock())
        }
        Verb::Users { verb } => users::run(&verb, &config::find(arguments.config, &System), &mut out.lock()),
        Verb::Audit { verb } => audit::run(&verb, &config::find(arguments.config, &System), &mut out.lock()),
        Verb::Health => health::run(&config::find(arguments.config, &System)),
        Verb::Tokens { verb } => tokens::run(&verb, &config::find(arguments.config, &System), &mut out),
        Verb::Login(options) => login::run(&options, &mut out),
        Verb::Backup(asked) => backup::back_up(&asked, &config::find(arguments.config, &System), &mut out),
        Verb::Restore(asked) => backup::restore(&asked, &config::find(arguments.config, &System), &mut out),
        Verb::Keys { verb } => keys::run(&verb, || config::find(arguments.config, &System), &mut out),
        Verb::Sessions { verb } => sessions::run(&verb, &config::find(arguments.config, &System), &mut out),
        Verb::Serve { upgrade } => serve::run(&config::find(arguments.config, &System), upgrade),
        #[cfg(feature = "sandbox")]
        Verb::Demo { listen } => demo::run(listen, &mut out),
        #[cfg(feature = "sandbox")]
        Verb::Sandbox {
            listen,
            gateway,
            app_secret,
        } => sandbox::run(listen, &gateway, app_secret, &mut out),
        #[cfg(not(feature = "sandbox"))]
        Verb::Demo { .. } | Verb::Sandbox { .. } => {
            complain("this build has no sandbox: build with the default features for `demo` and `sandbox`");
            WRONG_USAGE
        }
    };
    ExitCode::from(code)
}

/// Methods are written in capitals, and typed as they come.
fn method(text: &str) -> Result<http::Method, http::method::InvalidMethod> {
    text.to_ascii_uppercase().parse()
}

/// A line on standard error that is no log line.
fn complain(text: &str) {
    // Nobody is left to tell when this fails.
    let _ = writeln!(io::stderr(), "menshen: {text}");
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// SIGHUP.
    Reload,
    /// SIGTERM: in order, others are to be told first.
    Stop,
    /// SIGINT: somebody waits at a terminal.
    Interrupt,
    /// SIGUSR2: the program may have been replaced.
    Upgrade,
}

/// The signals of this process.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            Some(()) = self.hangup.recv() => Asked::Reload,
            Some(()) = self.terminate.recv() => Asked::Stop,
            Some(()) = self.interrupt.recv() => Asked::Interrupt,
            Some(()) = self.upgrade.recv() => Asked::Upgrade,
            else => std::future::pending().await,
        }
    }

    /// The next that asks for a stop.
    async fn stop(&mut self) {
        while matches!(self.next().await, Asked::Reload | Asked::Upgrade) {}
    }
}

/// Waits for SIGINT or SIGTERM.
#[cfg(feature = "sandbox")]
async fn asked_to_stop() {
    match Signals::listen() {
        Ok(mut signals) => signals.stop().await,
        // Without handlers the signals end the process, which is a stop too.
        Err(_) => std::future::pending().await,
    }
}

const DONE: u8 = 0;
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn stand_ins_listen_on_loopback_unless_told_otherwise() {
        for verb in ["demo", "sandbox"] {
            let listen = match Arguments::try_parse_from(["menshen", verb]).unwrap().verb {
                Verb::Demo { listen, .. } | Verb::Sandbox { listen, .. } => listen,
                verb => unreachable!("{verb:?}"),
            };
            assert!(listen.ip().is_loopback(), "{verb}");
        }
    }
}
