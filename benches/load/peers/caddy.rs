//! Caddy with `forward_auth`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Asks, Peer, Place, THREADS};
use crate::daemon::Daemon;
use crate::support::world::SITE;
use crate::upstream::ALLOWING;

pub async fn start(place: &Place<'_>) -> Result<Peer, String> {
    let write = |directory: &Path, addresses: &[SocketAddr]| {
        std::fs::write(directory.join("Caddyfile"), configuration(place, addresses)).expect("a file");
    };
    let command = |directory: &Path| {
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(directory.join("Caddyfile"))
            .env("GOMAXPROCS", THREADS.to_string());
        for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"] {
            command.env(name, directory);
        }
        command
    };
    let (daemon, addresses) = Daemon::start(write, command, 2).await?;
    Ok(Peer {
        daemon,
        plain: addresses[0],
        secure: addresses[1],
    })
}

fn configuration(place: &Place<'_>, addresses: &[SocketAddr]) -> String {
    let (plain, secure) = (addresses[0].port(), addresses[1].port());
    let certificate = place.certificate.directory().display();
    let (plain_asked, secure_asked) = match place.asks {
        Asks::Nobody => (None, None),
        Asks::Constant => (Some(place.application), Some(place.application)),
        Asks::Menshen { plain, secure } => (Some(plain), secure),
    };
    let asking = |asked: Option<SocketAddr>| {
        let Some(asked) = asked else { return String::new() };
        let uri = match place.asks {
            Asks::Menshen { .. } => "/.menshen/verify?from=forwarded",
            _ => ALLOWING,
        };
        format!("forward_auth {asked} {{\nuri {uri}\ncopy_headers Remote-User X-Menshen-Assertion\n{KEPT_OPEN}\n}}\n")
    };
    let application = format!("reverse_proxy {} {{\n{KEPT_OPEN}\n}}\n", place.application);
    format!(
        "{{
	admin off
	auto_https off
}}
http://:{plain} {{
	bind 127.0.0.1
	{}{application}
}}
https://{SITE}:{secure} {{
	bind 127.0.0.1
	tls {certificate}/cert.pem {certificate}/key.pem
	{}{application}
}}
",
        asking(plain_asked),
        asking(secure_asked),
    )
}

/// Go keeps 32 idle connections to a server by default; with 256 requests at a time the others would be opened anew.
const KEPT_OPEN: &str = "transport http {\nkeepalive_idle_conns 1024\nkeepalive_idle_conns_per_host 512\n}";
