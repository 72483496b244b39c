//! `menshen serve`: the gateway until a signal.

use std::io::{IsTerminal, Write};
use std::path::Path;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::cli::{Asked, DONE, FAILED, Signals, WRONG_USAGE, check, complain};
use crate::config::{Loaded, load};
use crate::proxy::admin::Admin;
use crate::proxy::gateway::Gateway;
use crate::proxy::reload::Source;
use crate::telemetry::clock::Clock;
use crate::telemetry::logs;

/// Loads, serves, stops; the exit code.
pub(super) fn run(path: &Path) -> u8 {
    let Ok(Loaded {
        settings,
        warnings,
        files,
    }) = load(path)
    else {
        // The same words as `check`, on standard error: this is no result.
        let mut out = std::io::stderr().lock();
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        check::run(path, false, &mut out, colour);
        let _ = out.flush();
        return WRONG_USAGE;
    };
    let source = Source::new(path.to_path_buf(), files);
    if let Err(error) = logs::start(&settings.log) {
        complain(&error.to_string());
        return WRONG_USAGE;
    }
    for warning in &warnings {
        warn!(line = warning.line, remedy = warning.remedy, "{}", warning.message);
    }
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
        let admin_listen = settings.server.admin_listen;
        let public_url = settings.issuer().to_owned();
        let gateway = match Gateway::start(settings, Clock::default()).await {
            Ok(gateway) => gateway,
            Err(error) => {
                error!(%error, "not started");
                return FAILED;
            }
        };
        if let Some(address) = admin_listen
            && let Err(error) = Admin::start(address, gateway.status()).await
        {
            error!(%error, "not started");
            gateway.stop().await;
            return FAILED;
        }
        info!(public_url, version = env!("CARGO_PKG_VERSION"), "serving");
        until_stopped(gateway, source).await
    })
}

/// Reloads on SIGHUP and on changed files, stops on SIGTERM and SIGINT.
async fn until_stopped(gateway: Gateway, source: Source) -> u8 {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            error!(%error, "signals cannot be heard");
            gateway.stop().await;
            return FAILED;
        }
    };
    // One that waits is enough: it reads what is there when its turn comes.
    let (ask, asked) = mpsc::channel(1);
    let following = tokio::spawn(gateway.reloader().clone().follow(source, asked));
    let asked = loop {
        match signals.next().await {
            Asked::Reload => {
                let _ = ask.try_send(());
            }
            asked => break asked,
        }
    };
    info!("stopping");
    if asked == Asked::Stop {
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
