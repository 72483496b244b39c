//! Apache with `mod_auth_openidc`, and somebody who has logged in.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use url::Url;

use super::openid::{self, CLIENT};
use super::{Peer, Place, THREADS};
use crate::daemon::Daemon;
use crate::support::Answer;
use crate::support::wire::{Request, Wire};
use crate::support::world::SITE;

/// The peer, and its session cookie.
pub async fn start(place: &Place<'_>) -> Result<(Peer, String), String> {
    let issuer = openid::start().await;
    let write = |directory: &Path, addresses: &[SocketAddr]| {
        let text = configuration(place, directory, addresses, &issuer);
        std::fs::write(directory.join("apache.conf"), text).expect("a file");
    };
    let command = |directory: &Path| {
        let mut command = Command::new("apache2");
        command.arg("-DFOREGROUND").arg("-f").arg(directory.join("apache.conf"));
        command
    };
    let (daemon, addresses) = Daemon::start(write, command, 2).await?;
    let peer = Peer {
        daemon,
        plain: addresses[0],
        secure: addresses[1],
    };
    let cookie = log_in(peer.plain, &issuer).await?;
    Ok((peer, cookie))
}

/// Debian has it in a package of its own.
pub fn has_module() -> bool {
    Path::new(PLACE).join("mod_auth_openidc.so").is_file()
}

/// Two processes as everybody here; each connection that is in use needs a thread. Sessions are in shared memory, the
/// module's default and fastest.
fn configuration(place: &Place<'_>, directory: &Path, addresses: &[SocketAddr], issuer: &str) -> String {
    let (plain, secure) = (addresses[0], addresses[1]);
    let (here, certificate) = (directory.display(), place.certificate.directory().display());
    let application = place.application;
    let modules: String = MODULES
        .iter()
        .map(|name| format!("LoadModule {name}_module {PLACE}/mod_{name}.so\n"))
        .collect();
    format!(
        "ServerRoot {here}
DefaultRuntimeDir {here}
PidFile {here}/pid
ServerName {SITE}
ErrorLog {here}/error
LogLevel warn
{modules}
<IfModule unixd_module>
User www-data
Group www-data
</IfModule>
Listen {plain}
Listen {secure} https
ListenBacklog 4096
ServerLimit {THREADS}
StartServers {THREADS}
ThreadLimit 256
ThreadsPerChild 256
MaxRequestWorkers 512
MinSpareThreads 1
MaxSpareThreads 512
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
ProxyPreserveHost On
ProxyPass / http://{application}/ enablereuse=on max=256 ttl=600
OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
OIDCClientID {CLIENT}
OIDCClientSecret bench-secret
OIDCProviderTokenEndpointAuth client_secret_post
OIDCCryptoPassphrase of-this-run-only
OIDCRedirectURI {REDIRECT}
OIDCSessionInactivityTimeout 36000
OIDCCookieSameSite On
<Location />
AuthType openid-connect
Require valid-user
</Location>
<VirtualHost {secure}>
SSLEngine on
SSLCertificateFile {certificate}/cert.pem
SSLCertificateKeyFile {certificate}/key.pem
Protocols h2 http/1.1
</VirtualHost>
"
    )
}

/// As a browser: to the provider, back with a code, and home with a cookie.
async fn log_in(address: SocketAddr, issuer: &str) -> Result<String, String> {
    let host = format!("{SITE}:{}", address.port());
    let to_provider = visit(address, &host, "/page", "").await;
    let state = cookies(&to_provider);
    let away = location(&to_provider)?;
    let provider: Url = issuer.parse().expect("an address");
    let provider_address = provider.socket_addrs(|| None).expect("an address")[0];
    let target = format!("{}?{}", away.path(), away.query().unwrap_or_default());
    let authority = provider_address.to_string();
    let from_provider = visit(provider_address, &authority, &target, "").await;
    let back = location(&from_provider)?;
    let target = format!("{}?{}", back.path(), back.query().unwrap_or_default());
    let home = visit(address, &host, &target, &state).await;
    let session = cookies(&home);
    let session = session
        .split("; ")
        .find(|pair| pair.starts_with("mod_auth_openidc_session="));
    let session = session.ok_or_else(|| format!("the login failed: {}", home.head()))?;
    let page = visit(address, &host, "/page", session).await;
    if page.status == 200 {
        Ok(session.to_owned())
    } else {
        Err(format!("the session is not accepted: {}", page.head()))
    }
}

async fn visit(address: SocketAddr, host: &str, target: &str, cookie: &str) -> Answer {
    let request = Request::new("GET", target)
        .header("Host", host)
        .header("Accept", "text/html")
        .header("Sec-Fetch-Mode", "navigate")
        .header("Sec-Fetch-Dest", "document")
        .header("Cookie", cookie);
    Wire::open(address).await.send(&request).await
}

fn location(answer: &Answer) -> Result<Url, String> {
    let location = answer.header("location").unwrap_or_default();
    location.parse().map_err(|_| format!("no redirect: {}", answer.head()))
}

/// What the answer sets, as a browser sends it back.
fn cookies(answer: &Answer) -> String {
    let pairs = answer.all("set-cookie").filter_map(|line| line.split(';').next());
    pairs.collect::<Vec<_>>().join("; ")
}

const MODULES: [&str; 10] = [
    "mpm_event",
    "authn_core",
    "authz_core",
    "authz_user",
    "auth_openidc",
    "proxy",
    "proxy_http",
    "socache_shmcb",
    "ssl",
    "http2",
];
const PLACE: &str = "/usr/lib/apache2/modules";
const REDIRECT: &str = "/oidc-callback";
