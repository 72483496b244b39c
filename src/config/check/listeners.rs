//! Listeners, `public_url`, and whom to believe about addresses.

use std::net::{IpAddr, SocketAddr};

use super::super::reading::Reading;
use super::super::settings::{Listen, Settings};
use super::super::values::{is_loopback, is_sandbox_app_id};

pub(super) fn check(reading: &mut Reading<'_>, settings: &Settings) {
    if reading.sound("server.listen") {
        check_each(reading, settings);
        check_against_public_url(reading, settings);
        check_addresses(reading, settings);
    }
    check_admin(reading, settings);
    check_public_url(reading, settings);
    check_trusted_proxies(reading, settings);
}

fn check_each(reading: &mut Reading<'_>, settings: &Settings) {
    let server = &settings.server;
    for (index, listen) in server.listen.iter().enumerate() {
        let key = format!("server.listen[{index}]");
        if listen.redirect_to_https && listen.tls {
            reading.error(
                &key,
                "a listener that redirects to HTTPS cannot itself be HTTPS",
                "write tls = false, or leave `tls` out",
            );
        } else if listen.tls && !reading.written("server.tls") {
            reading.error(
                &key,
                "a listener with TLS needs a certificate, and `server.tls` is missing",
                "add tls = { cert = \"fullchain.pem\", key = \"key.pem\" } to [server]",
            );
        }
        if listen.proxy_protocol && server.trusted_proxies.is_empty() && reading.sound("server.trusted_proxies") {
            reading.error(
                &key,
                "a listener with `proxy_protocol` needs to know who may send it, and `server.trusted_proxies` is empty",
                "add trusted_proxies = [\"10.0.0.2/32\"] with the balancer's address to [server]",
            );
        }
    }
    if reading.written("server.tls") && !server.listen.iter().any(|listen| listen.tls) {
        reading.warn(
            "server.tls",
            "no listener uses `server.tls`",
            "remove it, or write tls = true for a listener",
        );
    }
    if server.listen.iter().all(|listen| listen.redirect_to_https) {
        reading.error(
            "server.listen",
            "every listener redirects, so nobody answers",
            "add a listener for HTTPS, for example \"0.0.0.0:443\"",
        );
    }
}

fn check_against_public_url(reading: &mut Reading<'_>, settings: &Settings) {
    if !reading.sound("server.public_url") {
        return;
    }
    let server = &settings.server;
    let serving = || {
        server
            .listen
            .iter()
            .enumerate()
            .filter(|(_, listen)| !listen.redirect_to_https)
    };
    if settings.https() {
        if server.trusted_proxies.is_empty() && reading.sound("server.trusted_proxies") {
            for (index, listen) in serving().filter(|(_, listen)| !listen.tls) {
                reading.error(
                    &format!("server.listen[{index}]"),
                    format!(
                        "`public_url` is https, the listener `{}` is plain, and nobody is trusted to say that a \
                         request came by HTTPS: every login would loop",
                        listen.address
                    ),
                    "add `tls` to [server], or trusted_proxies = [\"10.0.0.2/32\"] with the address of the proxy in \
                     front that does TLS",
                );
            }
        }
        return;
    }
    for (index, _) in server
        .listen
        .iter()
        .enumerate()
        .filter(|(_, listen)| listen.redirect_to_https)
    {
        reading.error(
            &format!("server.listen[{index}]"),
            "this listener redirects to HTTPS, and `public_url` is http",
            "write public_url = \"https://…\"",
        );
    }
    if serving().any(|(_, listen)| listen.tls) && reading.sound("server.tls") {
        let message = "`public_url` is http, and a listener speaks TLS: cookies would not be Secure, and phones would \
                       be sent to http";
        let https = settings.issuer().replacen("http://", "https://", 1);
        if serving().all(|(_, listen)| listen.tls) {
            reading.error("server.public_url", message, format!("write \"{https}\""));
        } else {
            reading.warn("server.public_url", message, format!("write \"{https}\""));
        }
    }
}

/// Two listeners on one address: the second cannot be bound, or gets no connections.
fn check_addresses(reading: &mut Reading<'_>, settings: &Settings) {
    let server = &settings.server;
    let mut taken: Vec<SocketAddr> = Vec::new();
    for (index, Listen { address, .. }) in server.listen.iter().enumerate() {
        if let Some(other) = taken.iter().find(|other| overlap(other, address)) {
            reading.error(
                &format!("server.listen[{index}]"),
                format!("`{address}` is taken by `{other}`"),
                "remove one, or choose another port",
            );
        }
        taken.push(*address);
    }
    if let Some(admin) = server.admin_listen
        && let Some(other) = taken.iter().find(|other| overlap(other, &admin))
    {
        let key = if reading.written("server.admin_listen") {
            "server.admin_listen"
        } else {
            "server.listen"
        };
        reading.error(
            key,
            format!("`admin_listen` {admin} is taken by `{other}` of `listen`"),
            "choose another port for one of them",
        );
    }
}

fn check_admin(reading: &mut Reading<'_>, settings: &Settings) {
    let Some(admin) = settings.server.admin_listen else {
        return;
    };
    let address = admin.ip().to_canonical();
    if address.is_unspecified() {
        reading.warn(
            "server.admin_listen",
            format!("`{admin}` listens on every address of this machine, public ones too"),
            format!(
                "write \"127.0.0.1:{}\", or keep the port behind a firewall or inside the container's network",
                admin.port()
            ),
        );
    } else if !address.is_loopback() && !is_private(address) {
        reading.error(
            "server.admin_listen",
            format!("`{admin}` is a public address: metrics would be open to everybody"),
            format!("write \"127.0.0.1:{}\" or a private address", admin.port()),
        );
    }
}

fn check_public_url(reading: &mut Reading<'_>, settings: &Settings) {
    let url = &settings.server.public_url;
    if !reading.sound("server.public_url") {
        return;
    }
    if !settings.https() && !is_loopback(url) {
        reading.warn(
            "server.public_url",
            "`public_url` is http: sessions travel in the clear, and a released mini program calls https only",
            format!(
                "write \"{}\" once TLS is there",
                settings.issuer().replacen("http://", "https://", 1)
            ),
        );
    }
    if url.port().is_some() && !is_loopback(url) {
        // The mini program's list of request domains may name a port, the official account's server address may not.
        let push = settings.connections.iter().any(|connection| {
            connection.kind.as_str() == "official-account-qr" && !is_sandbox_app_id(&connection.app_id)
        });
        if push && !matches!(url.port(), Some(80 | 443)) {
            reading.error(
                "server.public_url",
                "WeChat pushes messages of official accounts to ports 80 and 443 only",
                "write a `public_url` without a port",
            );
        }
    }
}

fn check_trusted_proxies(reading: &mut Reading<'_>, settings: &Settings) {
    for (index, network) in settings.server.trusted_proxies.iter().enumerate() {
        let wide = match network.addr() {
            IpAddr::V4(address) => {
                network.prefix_len() < 8
                    || !is_private(address.into()) && !address.is_loopback() && network.prefix_len() < 16
            }
            IpAddr::V6(address) => {
                network.prefix_len() < 7
                    || !is_private(address.into()) && !address.is_loopback() && network.prefix_len() < 32
            }
        };
        if wide {
            reading.warn(
                &format!("server.trusted_proxies[{index}]"),
                format!("`{network}` is a wide network: every machine in it can claim any client address and host"),
                "write the addresses of the proxies themselves, for example [\"10.0.0.2/32\"]",
            );
        }
    }
}

/// Whether two sockets cannot both be bound. Port 0 takes a free one.
fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Addresses that the internet does not route (RFC 1918, 3927, 4193, 4291, 6598).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private() || address.is_link_local() || first == 100 && (64..128).contains(&second)
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}
