//! nginx, alone or with `auth_request`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Asks, Peer, Place, THREADS};
use crate::daemon::Daemon;
use crate::upstream::ALLOWING;

pub async fn start(place: &Place<'_>) -> Result<Peer, String> {
    let write = |directory: &Path, addresses: &[SocketAddr]| {
        std::fs::write(directory.join("nginx.conf"), configuration(place, directory, addresses)).expect("a file");
    };
    let command = |directory: &Path| {
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(directory.join("nginx.conf"));
        command.args(["-e", "stderr"]);
        command
    };
    let (daemon, addresses) = Daemon::start(write, command, 2).await?;
    Ok(Peer {
        daemon,
        plain: addresses[0],
        secure: addresses[1],
    })
}

/// Kept-open connections are not closed after a thousand requests, and an answer of 64 KiB fits into memory: by default
/// nginx writes what is above 36 KiB to a file.
fn configuration(place: &Place<'_>, directory: &Path, addresses: &[SocketAddr]) -> String {
    let Place {
        application,
        certificate,
        asks,
    } = place;
    let (plain, secure) = (addresses[0], addresses[1]);
    let (here, certificate) = (directory.display(), certificate.directory().display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {here}/{name};\n"))
        .collect();
    let (plain_asked, secure_asked) = match asks {
        Asks::Nobody => (None, None),
        Asks::Constant => (Some(*application), Some(*application)),
        Asks::Menshen { plain, secure } => (Some(*plain), *secure),
    };
    let verify = match asks {
        Asks::Menshen { .. } => "/.menshen/verify?from=nginx",
        _ => ALLOWING,
    };
    let asked = |name: &str, address: Option<SocketAddr>| address.map_or(String::new(), |it| kept_open(name, it));
    let upstreams = kept_open("application", *application)
        + &asked("plain_asked", plain_asked)
        + &asked("secure_asked", secure_asked);
    let plain_location = location(plain_asked.map(|_| "plain_asked"), verify);
    let secure_location = location(secure_asked.map(|_| "secure_asked"), verify);
    format!(
        "daemon off;
worker_processes {THREADS};
worker_rlimit_nofile 8192;
pid {here}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
access_log off;
keepalive_requests 1000000000;
{temporary}
proxy_http_version 1.1;
proxy_buffer_size 16k;
proxy_buffers 8 16k;
proxy_busy_buffers_size 64k;
proxy_max_temp_file_size 0;
{upstreams}
server {{
listen {plain} backlog=4096;
{plain_location}
}}
server {{
listen {secure} ssl http2 backlog=4096;
ssl_certificate {certificate}/cert.pem;
ssl_certificate_key {certificate}/key.pem;
{secure_location}
}}
}}
"
    )
}

fn kept_open(name: &str, address: SocketAddr) -> String {
    format!("upstream {name} {{ server {address}; keepalive 512; keepalive_requests 1000000000; }}\n")
}

/// As `examples/nginx/menshen.conf` has it, without what only a browser's way to the login page needs.
fn location(asked: Option<&str>, verify: &str) -> String {
    let passed = "proxy_set_header Host $http_host;
proxy_set_header Connection \"\";
proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header X-Forwarded-Proto $scheme;
";
    let Some(asked) = asked else {
        return format!("location / {{ proxy_pass http://application; {passed} }}");
    };
    format!(
        "location / {{
auth_request /_verify;
auth_request_set $user $upstream_http_remote_user;
auth_request_set $assertion $upstream_http_x_menshen_assertion;
proxy_pass http://application;
{passed}
proxy_set_header Remote-User $user;
proxy_set_header X-Menshen-Assertion $assertion;
}}
location = /_verify {{
internal;
proxy_pass http://{asked}{verify};
proxy_pass_request_body off;
proxy_set_header Content-Length \"\";
proxy_set_header Connection \"\";
proxy_set_header Host $host;
proxy_set_header X-Original-URL $scheme://$host$request_uri;
proxy_set_header X-Original-Method $request_method;
proxy_set_header X-Forwarded-For $remote_addr;
}}"
    )
}
