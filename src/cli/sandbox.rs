//! `menshen sandbox`: the WeChat stand-in alone, for a gateway that is configured like a real one.

use std::io::Write;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use url::Url;

use crate::cli::{DONE, FAILED, asked_to_stop, complain};
use crate::config::settings::{Log, LogFormat};
use crate::sandbox::{self, Sandbox, SandboxConfig};
use crate::telemetry::logs;

/// Serves until a signal; the exit code.
pub(super) fn run(listen: SocketAddr, gateway: &Url, app_secret: String, out: &mut impl Write) -> u8 {
    let log = Log {
        format: LogFormat::Text,
        level: "info".to_owned(),
    };
    if let Err(error) = logs::start(&log) {
        complain(&error.to_string());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error.to_string());
            return FAILED;
        }
    };
    runtime.block_on(async {
        let listener = match TcpListener::bind(listen).await {
            Ok(listener) => listener,
            Err(error) => {
                complain(&format!(
                    "cannot listen on {listen}: {error}; name another address with --listen"
                ));
                return FAILED;
            }
        };
        let mut config = SandboxConfig::default();
        if let Some(app) = config.apps.first_mut() {
            app.secret = app_secret.into();
        }
        let app_id = config
            .apps
            .first()
            .map(|app| app.app_id.as_str().to_owned())
            .unwrap_or_default();
        let sandbox = Sandbox::new(config);
        sandbox.set_gateway_url(gateway.clone());
        let address = listener.local_addr().unwrap_or(listen);
        let said = writeln!(
            out,
            "WeChat stand-in at http://{address}  (mini program {app_id}, phone page http://{address}/phone)\n\
             Other apps, their secrets, and token and key of the service account: http://{address}/__sandbox/apps\n\
             Gateway expected at {gateway}"
        );
        if said.is_err() {
            return FAILED;
        }
        match sandbox::serve(listener, sandbox, asked_to_stop()).await {
            Ok(()) => DONE,
            Err(error) => {
                complain(&error.to_string());
                FAILED
            }
        }
    })
}
