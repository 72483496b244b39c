//! Upstreams that lead back to the gateway, or further than they should.

use std::net::{IpAddr, SocketAddr};

use super::super::host::matches;
use super::super::reading::Reading;
use super::super::settings::{HostPattern, Settings, UpstreamAddress};

pub(super) fn check(reading: &mut Reading<'_>, settings: &Settings) {
    for (index, site) in settings.sites.iter().enumerate() {
        let key = format!("sites[{index}].upstreams");
        if !reading.sound(&key) {
            continue;
        }
        let mut unverified = false;
        for (position, address) in site.upstreams.iter().enumerate() {
            let key = format!("{key}[{position}]");
            check_loop(reading, settings, &key, address);
            if site.upstreams[..position].contains(address) {
                reading.warn(&key, "this upstream stands here twice", "remove one");
            }
            if let UpstreamAddress::Network { https: true, host, .. } = address {
                unverified |= !site.upstream.tls_verify && !is_loopback_name(host);
            }
            if let (UpstreamAddress::Network { https: true, host, .. }, true) = (address, site.upstream.pass_host) {
                // Servers of the outside world choose the site by Host; a name without a dot is a neighbour.
                let foreign = host.contains('.') && host.parse::<IpAddr>().is_err() && !is_site_host(settings, host);
                if foreign && !reading.written(&format!("sites[{index}].upstream.pass_host")) {
                    reading.warn(
                        &key,
                        "this upstream gets the visitor's Host, which a server of another name may not know",
                        "write upstream = { pass_host = false }, or = true to say that it does",
                    );
                }
            }
        }
        if unverified {
            reading.warn(
                &format!("sites[{index}].upstream.tls_verify"),
                "without `tls_verify` anybody on the way to the upstream can read identities and answer in its place",
                "leave `tls_verify` at true and name the upstream's certificate authority in `tls_ca`",
            );
        }
    }
}

fn check_loop(reading: &mut Reading<'_>, settings: &Settings, key: &str, address: &UpstreamAddress) {
    let UpstreamAddress::Network { host, port, .. } = address else {
        return;
    };
    let server = &settings.server;
    let own = server
        .listen
        .iter()
        .map(|listen| listen.address)
        .chain(server.admin_listen)
        .find(|own| reaches(host, *port, *own));
    if let Some(own) = own.filter(|_| reading.sound("server.listen")) {
        reading.error(
            key,
            format!("this upstream is the gateway itself, which listens on `{own}`"),
            "write the address of the application, on a port of its own",
        );
        return;
    }
    if !reading.sound("server.public_url") {
        return;
    }
    let public = &server.public_url;
    let at_door = public.port_or_known_default() == Some(*port)
        || server.listen.iter().any(|listen| listen.address.port() == *port);
    if public.host_str() == Some(host.as_str()) && at_door {
        reading.error(
            key,
            "this upstream is the gateway itself: it has the host and port of `public_url`",
            "write the address of the application as this machine reaches it",
        );
    } else if at_door && is_site_host(settings, host) {
        reading.warn(
            key,
            format!(
                "`{host}` is a host of a site, where visitors find the gateway: if this machine does too, requests go \
                 in circles"
            ),
            "write the address of the application as this machine reaches it, for example http://10.0.0.5:8080",
        );
    }
}

/// Whether a connection to host and port arrives at a listener, as far as that can be known without asking anybody.
fn reaches(host: &str, port: u16, listener: SocketAddr) -> bool {
    if listener.port() != port || port == 0 {
        return false;
    }
    let any = listener.ip().is_unspecified();
    if is_loopback_name(host) {
        let same_family = host.parse::<IpAddr>().map_or(true, |address| {
            address.is_ipv4() == listener.is_ipv4() || listener.is_ipv6() && any
        });
        return same_family
            && (any
                || listener.ip().is_loopback()
                    && host.parse::<IpAddr>().map_or(true, |address| address == listener.ip()));
    }
    host.parse::<IpAddr>().is_ok_and(|address| {
        address == listener.ip() || address.is_unspecified() && (any || listener.ip().is_loopback())
    })
}

fn is_loopback_name(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_site_host(settings: &Settings, host: &str) -> bool {
    settings
        .sites
        .iter()
        .flat_map(|site| &site.hosts)
        .any(|pattern| *pattern != HostPattern::Any && matches(pattern, host))
}
