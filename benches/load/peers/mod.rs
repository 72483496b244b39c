//! The peers, from Debian's packages, each tuned as Menshen and the floor are: two workers, no access log, connections
//! kept open on both sides, answers of 64 KiB held in memory.

pub mod apache;
pub mod caddy;
pub mod nginx;
mod openid;

use std::net::SocketAddr;

use crate::certificate::Certificate;
use crate::daemon::Daemon;

/// A running peer: where it listens plain and with TLS.
pub struct Peer {
    pub daemon: Daemon,
    pub plain: SocketAddr,
    pub secure: SocketAddr,
}

/// Who is asked whether a request may pass.
#[derive(Debug, Clone, Copy)]
pub enum Asks {
    Nobody,
    /// A server that answers 200 whatever the request is: the least that any authentication service costs.
    Constant,
    /// Menshen at these addresses, for plain requests and for those that came over TLS.
    Menshen {
        plain: SocketAddr,
        secure: Option<SocketAddr>,
    },
}

/// What a peer stands between, and with what.
pub struct Place<'a> {
    pub application: SocketAddr,
    pub certificate: &'a Certificate,
    pub asks: Asks,
}

/// Whether a program is there.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where only root's path leads.
    let more = ["/usr/sbin", "/usr/local/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .any(|directory| directory.join(program).is_file())
}

/// Workers or threads of every server here.
pub const THREADS: usize = 2;
