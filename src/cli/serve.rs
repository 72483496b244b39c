//! `menshen serve`: the gateway until a signal.

use std::io::{IsTerminal, Write};
use std::path::Path;

use tracing::{error, info, warn};

use crate::cli::{DONE, FAILED, WRONG_USAGE, asked_to_stop, check, complain};
use crate::config::{Loaded, load};
use crate::proxy::admin::Admin;
use crate::proxy::gateway::Gateway;
use crate::telemetry::clock::Clock;
use crate::telemetry::logs;

/// Loads, serves, stops; the exit code.
pub(super) fn run(path: &Path) -> u8 {
    let Ok(Loaded { settings, warnings, .. }) = load(path) else {
        // The same words as `check`, on standard error: this is no result.
        let mut out = std::io::stderr().lock();
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        check::run(path, false, &mut out, colour);
        let _ = out.flush();
        return WRONG_USAGE;
    };
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
        let admin = match admin_listen {
            Some(address) => match Admin::start(address, gateway.snapshot()).await {
                Ok(admin) => Some(admin),
                Err(error) => {
                    error!(%error, "not started");
                    gateway.stop().await;
                    return FAILED;
                }
            },
            None => None,
        };
        info!(public_url, version = env!("CARGO_PKG_VERSION"), "serving");
        asked_to_stop().await;
        info!("stopping");
        if let Some(admin) = &admin {
            admin.drain();
        }
        gateway.stop().await;
        DONE
    })
}
