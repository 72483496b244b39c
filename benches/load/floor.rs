//! The least that Pingora does to pass a request on, in a process of its own and built with the same flags: what every
//! other figure is divided by.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

use crate::certificate::Certificate;
use crate::daemon::{Daemon, free_addresses};
use crate::peers::THREADS;

struct Bare(SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

/// Plain first, then TLS.
pub fn start(application: SocketAddr, certificate: &Certificate) -> (Daemon, Vec<SocketAddr>) {
    Daemon::itself(&[
        ARGUMENT.to_owned(),
        application.to_string(),
        certificate.directory().display().to_string(),
    ])
}

/// Says where it listens, and serves for ever.
pub fn serve(application: SocketAddr, certificate: &Path) -> ! {
    crate::support::world::install_crypto();
    // Pingora binds by address: ports that were free a moment ago.
    let addresses = free_addresses(2);
    let conf = ServerConf {
        threads: THREADS,
        upstream_keepalive_pool_size: 512,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Bare(application));
    proxy.threads = Some(THREADS);
    proxy.add_tcp(&addresses[0].to_string());
    let file = |name| certificate.join(name).display().to_string();
    let mut tls = TlsSettings::intermediate(&file("cert.pem"), &file("key.pem")).expect("a certificate");
    tls.enable_h2();
    proxy.add_tls_with_settings(&addresses[1].to_string(), None, tls);
    server.add_service(proxy);
    let serving = std::thread::spawn(move || server.run_forever());
    for address in &addresses {
        while std::net::TcpStream::connect(address).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    println!("{} {}", addresses[0], addresses[1]);
    std::io::stdout().flush().expect("somebody reads");
    let _ = serving.join();
    std::process::exit(1)
}

pub const ARGUMENT: &str = "--as-bare-proxy";
