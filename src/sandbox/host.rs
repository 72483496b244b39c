//! Which `Host` the pages and the control interface answer to.
//!
//! They act without a password, so a web page that rebinds its own name to a loopback address must not reach them. The
//! calls of WeChat's servers are outside this: a gateway may know the sandbox by any name.

use std::net::{IpAddr, SocketAddr};

use axum::http::uri::Authority;
use url::Url;

/// Whether a request for `host` is for this server: loopback, the address it listens on, or its base address. A server
/// that listens on every address answers to every literal address, which no rebinding can produce.
pub(super) fn admits(host: Option<&str>, listen: Option<SocketAddr>, base: Option<&Url>) -> bool {
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    if base
        .and_then(Url::host_str)
        .is_some_and(|base| base.trim_matches(['[', ']']).eq_ignore_ascii_case(&name))
    {
        return true;
    }
    match (name.parse::<IpAddr>(), listen) {
        (Ok(address), _) if address.is_loopback() => true,
        (Ok(address), Some(listen)) => listen.ip().is_unspecified() || listen.ip() == address,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn only_names_that_cannot_be_rebound_are_admitted() {
        let loopback: SocketAddr = "127.0.0.1:9000".parse().unwrap();
        let everywhere: SocketAddr = "0.0.0.0:9000".parse().unwrap();
        let lan: SocketAddr = "192.168.1.5:9000".parse().unwrap();
        let base = Url::parse("http://sandbox.test:9000/").unwrap();
        let cases = [
            (Some("127.0.0.1:9000"), Some(loopback), None, true),
            (Some("127.8.8.8"), Some(loopback), None, true),
            (Some("[::1]:9000"), Some(loopback), None, true),
            (Some("localhost:9000"), None, None, true),
            (Some("wechat.localhost"), Some(loopback), None, true),
            (Some("LocalHost"), None, None, true),
            (Some("evil.example:9000"), Some(loopback), None, false),
            (Some("localhost.evil.example"), Some(loopback), None, false),
            (Some("192.168.1.5:9000"), Some(loopback), None, false),
            (Some("192.168.1.5:9000"), Some(lan), None, true),
            (Some("192.168.1.5:9000"), Some(everywhere), None, true),
            (Some("evil.example"), Some(everywhere), None, false),
            (Some("sandbox.test:9000"), Some(loopback), Some(&base), true),
            (Some("other.test"), Some(loopback), Some(&base), false),
            (Some(""), Some(loopback), None, false),
            (None, Some(loopback), None, false),
        ];
        for (host, listen, base, expected) in cases {
            assert_eq!(admits(host, listen, base), expected, "{host:?} {listen:?} {base:?}");
        }
    }
}
