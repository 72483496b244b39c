//! `menshen serve`: the gateway until a signal, or until another process takes over.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::pin::pin;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::cli::service_manager::{self, Itself};
use crate::cli::{Asked, DONE, FAILED, Signals, WRONG_USAGE, complain, operator};
use crate::config::{Loaded, Settings};
use crate::proxy::admin::{Admin, AdminError};
use crate::proxy::gateway::{Doors, Gateway, StartError};
use crate::proxy::handover::{HandoverError, Inherited, Offer};
use crate::proxy::reload::Source;
use crate::telemetry::clock::Clock;
use crate::telemetry::logs;

/// Loads, serves, stops; the exit code. With `upgrade` at the listeners of the process that runs.
pub(super) fn run(path: &Path, upgrade: bool) -> u8 {
    let Some(Loaded {
        settings,
        warnings,
        files,
    }) = operator::configuration(path)
    else {
        return WRONG_USAGE;
    };
    let source = Source::new(path.to_path_buf(), files);
    let itself = match Itself::at(path) {
        Ok(itself) => itself,
        Err(error) => {
            complain(&format!("where this program is cannot be found out: {error}"));
            return FAILED;
        }
    };
    if let Err(error) = logs::start(&settings.log) {
        complain(&error.to_string());
        return WRONG_USAGE;
    }
    for warning in &warnings {
        warn!(line = warning.line, remedy = warning.remedy, "{}", warning.message);
    }
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.server.threads)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "no runtime");
            return FAILED;
        }
    };
    runtime.block_on(async {
        // Before anybody is told that it serves, and may ask it to stop.
        let signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => {
                error!(%error, "signals cannot be heard");
                return FAILED;
            }
        };
        match start(settings, upgrade).await {
            Ok(serving) => until_stopped(serving, signals, source, itself).await,
            Err(error) => {
                error!(%error, "not started");
                FAILED
            }
        }
    })
}

/// A waiting page holds a connection, a forwarded request two; service managers and shells begin with 1,024 files for the
/// sake of programs that use `select(2)` (systemd.exec(5)), and let everybody else ask for more.
fn raise_open_files() {
    let allowed = getrlimit(Resource::Nofile);
    if allowed.current == allowed.maximum {
        return;
    }
    let most = Rlimit {
        current: allowed.maximum,
        ..allowed
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        warn!(%error, limit = allowed.current, "the limit of open files was not raised");
    }
}

/// All that runs.
struct Serving {
    gateway: Gateway,
    admin: Option<Admin>,
    /// `None` where it could not be made, which was said.
    offer: Option<Offer>,
}

/// Why nothing serves.
#[derive(Debug, thiserror::Error)]
enum Unserved {
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("a listener cannot be duplicated: {0}")]
    Descriptors(#[from] std::io::Error),
}

/// Serves, and offers its listeners to a process that comes after it.
async fn start(settings: Settings, upgrade: bool) -> Result<Serving, Unserved> {
    let admin_listen = settings.server.admin_listen;
    let public_url = settings.issuer().to_owned();
    let data_dir = settings.server.data_dir.clone();
    let mut inherited = if upgrade {
        Inherited::ask(&data_dir)?
    } else {
        Inherited::default()
    };
    let doors = Doors::inherit(&settings, &mut inherited)?;
    let mut listeners = doors.duplicate()?;
    let gateway = Gateway::start_at(doors, settings, Clock::default()).await?;
    let mut admin = None;
    if let Some(address) = admin_listen {
        match serve_operator(address, &gateway, &mut inherited).await {
            Ok((serving, listener)) => {
                admin = Some(serving);
                listeners.push((address, listener));
            }
            Err(error) => {
                gateway.stop().await;
                return Err(error);
            }
        }
    }
    let offer = match Offer::open(&data_dir, listeners) {
        Ok(offer) => Some(offer),
        Err(error) => {
            warn!(%error, "no process can take over from this one without a gap");
            None
        }
    };
    if let Err(error) = inherited.ready() {
        warn!(%error, "the process before is gone");
    }
    info!(public_url, version = env!("CARGO_PKG_VERSION"), "serving");
    service_manager::ready();
    Ok(Serving { gateway, admin, offer })
}

/// The operator's listener, and its socket once more.
async fn serve_operator(
    address: SocketAddr,
    gateway: &Gateway,
    inherited: &mut Inherited,
) -> Result<(Admin, TcpListener), Unserved> {
    let listener = match inherited.take(address) {
        Some(listener) => listener,
        None => Admin::bind(address).await?,
    };
    let spare = listener.try_clone()?;
    Ok((Admin::serve(listener, gateway.status())?, spare))
}

/// Reloads on SIGHUP and on changed files, starts a successor on SIGUSR2, stops on SIGTERM and SIGINT and when another
/// process has taken over.
async fn until_stopped(serving: Serving, mut signals: Signals, source: Source, itself: Itself) -> u8 {
    let Serving { gateway, admin, offer } = serving;
    // One that waits is enough: it reads what is there when its turn comes.
    let (ask, asked) = mpsc::channel(1);
    let following = tokio::spawn(gateway.reloader().clone().follow(source, asked));
    // One future for the whole time: a reload does not break off a handover that is under way. The sockets in it close
    // here, before the rest is drained: what still came in would wait for nobody.
    let ending = {
        let mut taken = pin!(taken_over(offer));
        loop {
            let ending = tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Reload => {
                        let _ = ask.try_send(());
                        continue;
                    }
                    Asked::Upgrade => {
                        itself.start_successor();
                        continue;
                    }
                    Asked::Stop => Ending::Announced,
                    Asked::Interrupt => Ending::AtOnce,
                },
                successor = &mut taken => Ending::Succeeded(successor),
            };
            break ending;
        }
    };
    match ending {
        Ending::Announced | Ending::AtOnce => {
            info!("stopping");
            service_manager::stopping();
        }
        Ending::Succeeded(successor) => {
            if let Some(admin) = admin {
                admin.hand_over();
            }
            info!(successor, "another process has taken over: stopping");
            if let Some(pid) = successor {
                service_manager::succeeded_by(pid);
            }
        }
    }
    if ending == Ending::Announced {
        let notice = gateway.announce_stop();
        // A second signal means at once.
        let _ = tokio::time::timeout(notice, signals.stop()).await;
    }
    gateway.stop().await;
    if let Err(error) = following.await {
        error!(%error, "reloading ended in panic");
    }
    DONE
}

/// Why it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Others are to be told first.
    Announced,
    AtOnce,
    /// By a process with this number, if the kernel says it.
    Succeeded(Option<u32>),
}

async fn taken_over(offer: Option<Offer>) -> Option<u32> {
    match offer {
        Some(mut offer) => offer.taken().await,
        None => std::future::pending().await,
    }
}
