//! Everybody who is measured: who runs, and what each can be asked.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::certificate::Certificate;
use crate::daemon::Daemon;
use crate::gateway::Gateway;
use crate::lane::{Exchange, Length};
use crate::peers::{Asks, Peer, Place, apache, caddy, installed, nginx};
use crate::requests;
use crate::support::wire::Request;
use crate::upstream::{LARGE, LARGE_PATH, SMALL};
use crate::{floor, upstream};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// Over TLS.
    Http2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Small,
    Large,
}

/// Something that one server can be asked.
pub struct Offer {
    pub server: &'static str,
    pub protocol: Protocol,
    pub size: Size,
    pub address: SocketAddr,
    pub exchange: Arc<Exchange>,
    /// Whose CPU time and memory count.
    pub processes: Vec<u32>,
}

/// All that runs.
pub struct Field {
    pub certificate: Certificate,
    pub application: Daemon,
    pub application_address: SocketAddr,
    floor: Option<(Daemon, Vec<SocketAddr>)>,
    pub plain: Option<Gateway>,
    secure: Option<Gateway>,
    peers: Vec<Peer>,
    pub offers: Vec<Offer>,
    /// Who is not here, and why.
    pub left_out: Vec<String>,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2 over TLS",
        }
    }
}

impl Size {
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "1 KiB",
            Self::Large => "64 KiB",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Small => SMALL,
            Self::Large => LARGE,
        }
    }

    fn path(self, path: &str) -> String {
        match self {
            Self::Small => path.to_owned(),
            Self::Large => format!("{path}{LARGE_PATH}"),
        }
    }
}

impl Field {
    /// Starts those of whom `wants` says so, and the upstream.
    pub async fn start(wants: impl Fn(&str, Protocol) -> bool, plain_gateway: bool, wechat: &Runtime) -> Self {
        let certificate = Certificate::make();
        let (application, application_address) = upstream::start();
        let mut field = Self {
            certificate,
            application,
            application_address,
            floor: None,
            plain: None,
            secure: None,
            peers: Vec::new(),
            offers: Vec::new(),
            left_out: Vec::new(),
        };
        let any = |protocol| SERVERS.iter().any(|&(server, _)| wants(server, protocol));
        let (http1, http2) = (any(Protocol::Http1), any(Protocol::Http2));
        if http1 || plain_gateway {
            field.plain = Some(Box::pin(Gateway::plain(application_address, wechat)).await);
        }
        if http2 {
            let gateway = Gateway::secure(application_address, wechat, &field.certificate);
            field.secure = Some(Box::pin(gateway).await);
        }
        if http1 || http2 {
            field.floor = Some(floor::start(application_address, &field.certificate));
            field.enter_floor();
            field.enter_gateways();
            field
                .enter_peers(|server| wants(server, Protocol::Http1) || wants(server, Protocol::Http2))
                .await;
        }
        let floor = |offer: &Offer| offer.server == FLOOR && any(offer.protocol);
        field
            .offers
            .retain(|offer| wants(offer.server, offer.protocol) || floor(offer));
        field
    }

    fn enter_floor(&mut self) {
        let Some((daemon, addresses)) = &self.floor else { return };
        let (processes, addresses) = (vec![daemon.id()], (addresses[0], addresses[1]));
        self.enter_proxy(FLOOR, addresses, &processes, None);
    }

    fn enter_gateways(&mut self) {
        let mut offers = Vec::new();
        for (gateway, protocol) in [(&self.plain, Protocol::Http1), (&self.secure, Protocol::Http2)] {
            let Some(gateway) = gateway else { continue };
            let world = &gateway.world;
            let mut enter = |server, size, request: &Request, status, length| {
                offers.push(Offer {
                    server,
                    protocol,
                    size,
                    address: gateway.secure.unwrap_or(world.address),
                    exchange: Arc::new(Exchange::new(request, status, length)),
                    processes: vec![gateway.process.id()],
                });
            };
            for size in [Size::Small, Size::Large] {
                let of_session = requests::navigation(world, &size.path("/page"), &gateway.cookie);
                enter(SESSION, size, &of_session, 200, Length::Exactly(size.bytes()));
                let public = requests::navigation(world, &size.path("/public/page"), "");
                enter(PUBLIC, size, &public, 200, Length::Exactly(size.bytes()));
            }
            let script = requests::script(world, "/page", "");
            enter(REFUSAL, Size::Small, &script, 401, Length::AtLeast(50));
            let page = requests::navigation(world, "/page", "");
            enter(PAGE, Size::Small, &page, 401, Length::AtLeast(1000));
            if protocol == Protocol::Http1 {
                let question = requests::question(world, "/page", &gateway.cookie);
                enter(VERIFY, Size::Small, &question, 200, Length::Exactly(0));
            }
        }
        self.offers.extend(offers);
    }

    async fn enter_peers(&mut self, wants: impl Fn(&str) -> bool) {
        let menshen = self.plain.as_ref().map(|plain| Asks::Menshen {
            plain: plain.world.address,
            secure: self.secure.as_ref().map(|secure| secure.world.address),
        });
        for (server, program) in SERVERS {
            let asks = match server {
                NGINX | APACHE => Some(Asks::Nobody),
                NGINX_CONSTANT | CADDY_CONSTANT => Some(Asks::Constant),
                NGINX_MENSHEN | CADDY_MENSHEN => menshen,
                _ => None,
            };
            let (true, Some(asks)) = (wants(server), asks) else {
                continue;
            };
            let module = server != APACHE || apache::has_module();
            if !installed(program) || !module {
                let package = match program {
                    "apache2" => "apache2 libapache2-mod-auth-openidc",
                    other => other,
                };
                let hint = format!("{server}: not installed (as root: apt-get install {package}, or `make bench`)");
                self.left_out.push(hint);
                continue;
            }
            let place = Place {
                application: self.application_address,
                certificate: &self.certificate,
                asks,
            };
            let started = match program {
                "nginx" => nginx::start(&place).await.map(|peer| (peer, None)),
                "caddy" => caddy::start(&place).await.map(|peer| (peer, None)),
                _ => apache::start(&place).await.map(|(peer, cookie)| (peer, Some(cookie))),
            };
            match started {
                Ok((peer, cookie)) => self.enter_peer(server, peer, asks, cookie.as_deref()),
                Err(error) => self.left_out.push(format!("{server}: {error}")),
            }
        }
    }

    fn enter_peer(&mut self, server: &'static str, peer: Peer, asks: Asks, cookie: Option<&str>) {
        let mut processes = vec![peer.daemon.id()];
        if matches!(asks, Asks::Menshen { .. }) {
            let gateways = [&self.plain, &self.secure].into_iter().flatten();
            processes.extend(gateways.map(|gateway| gateway.process.id()));
        }
        self.enter_proxy(server, (peer.plain, peer.secure), &processes, cookie);
        self.peers.push(peer);
    }

    /// Asked exactly what Menshen is asked by somebody with a session, unless it has a session of its own.
    fn enter_proxy(
        &mut self,
        server: &'static str,
        addresses: (SocketAddr, SocketAddr),
        processes: &[u32],
        cookie: Option<&str>,
    ) {
        let gateways = [
            (&self.plain, Protocol::Http1, addresses.0),
            (&self.secure, Protocol::Http2, addresses.1),
        ];
        for (gateway, protocol, address) in gateways {
            let Some(gateway) = gateway else { continue };
            for size in [Size::Small, Size::Large] {
                let request =
                    requests::navigation(&gateway.world, &size.path("/page"), cookie.unwrap_or(&gateway.cookie));
                self.offers.push(Offer {
                    server,
                    protocol,
                    size,
                    address,
                    exchange: Arc::new(Exchange::new(&request, 200, Length::Exactly(size.bytes()))),
                    processes: processes.to_vec(),
                });
            }
        }
    }
}

pub const FLOOR: &str = "bare Pingora proxy";
pub const SESSION: &str = "Menshen, session";
pub const PUBLIC: &str = "Menshen, public route";
pub const REFUSAL: &str = "Menshen, 401 in JSON";
pub const VERIFY: &str = "Menshen, verify";
pub const PAGE: &str = "Menshen, login page";
pub const NGINX: &str = "nginx";
pub const NGINX_CONSTANT: &str = "nginx + auth_request, constant";
pub const NGINX_MENSHEN: &str = "nginx + auth_request, Menshen";
pub const CADDY_CONSTANT: &str = "Caddy + forward_auth, constant";
pub const CADDY_MENSHEN: &str = "Caddy + forward_auth, Menshen";
pub const APACHE: &str = "Apache mod_auth_openidc";

/// Every server, and the program that it needs.
pub const SERVERS: [(&str, &str); 12] = [
    (FLOOR, ""),
    (SESSION, ""),
    (PUBLIC, ""),
    (REFUSAL, ""),
    (VERIFY, ""),
    (PAGE, ""),
    (NGINX, "nginx"),
    (NGINX_CONSTANT, "nginx"),
    (NGINX_MENSHEN, "nginx"),
    (CADDY_CONSTANT, "caddy"),
    (CADDY_MENSHEN, "caddy"),
    (APACHE, "apache2"),
];

/// What Menshen answers itself has one size, and proxies ask over HTTP/1.1.
pub fn is_offered(server: &str, protocol: Protocol, size: Size) -> bool {
    match server {
        VERIFY => protocol == Protocol::Http1 && size == Size::Small,
        REFUSAL | PAGE => size == Size::Small,
        _ => true,
    }
}
