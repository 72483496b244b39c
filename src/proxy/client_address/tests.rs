//! Chains of proxies by table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn trusted() -> TrustedProxies {
    TrustedProxies::new(&["10.0.0.0/8".parse().unwrap(), "2001:db8:ffff::/48".parse().unwrap()])
}

fn resolve(peer: &str, lines: &[(&'static str, &str)]) -> (String, bool) {
    let found = ClientAddress::resolve(peer.parse().unwrap(), &Headers::of(&headers(lines)), &trusted());
    (found.address.to_string(), found.in_doubt)
}

#[test]
fn the_client_is_the_right_most_address_that_is_not_trusted() {
    let chain = "x-forwarded-for";
    for (peer, lines, client) in [
        ("10.0.0.1", &[(chain, "192.0.2.1")][..], "192.0.2.1"),
        ("10.0.0.1", &[(chain, "1.1.1.1, 192.0.2.1")], "192.0.2.1"),
        ("10.0.0.1", &[(chain, "1.1.1.1, 192.0.2.1, 10.0.0.2")], "192.0.2.1"),
        (
            "10.0.0.1",
            &[(chain, "1.1.1.1"), (chain, "192.0.2.1"), (chain, "10.0.0.2")],
            "192.0.2.1",
        ),
        ("10.0.0.1", &[(chain, "10.0.0.9, 10.0.0.2")], "10.0.0.9"),
        ("10.0.0.1", &[(chain, "a, unknown, 192.0.2.1")], "192.0.2.1"),
        ("10.0.0.1", &[(chain, "192.0.2.1:4711")], "192.0.2.1"),
        ("10.0.0.1", &[(chain, "[2001:db8::1]:4711")], "2001:db8::1"),
        ("10.0.0.1", &[(chain, "[2001:db8::1]")], "2001:db8::1"),
        ("10.0.0.1", &[(chain, "2001:DB8::1")], "2001:db8::1"),
        ("10.0.0.1", &[(chain, "192.0.2.1, ::ffff:10.0.0.2")], "192.0.2.1"),
        ("10.0.0.1", &[(chain, "::ffff:192.0.2.1")], "192.0.2.1"),
        ("::ffff:10.0.0.1", &[(chain, "192.0.2.1")], "192.0.2.1"),
        (
            "2001:db8:ffff::1",
            &[(chain, "192.0.2.1, 2001:db8:ffff::2")],
            "192.0.2.1",
        ),
        (
            "10.0.0.1",
            &[("forwarded", "for=192.0.2.1;proto=https;by=10.0.0.1")],
            "192.0.2.1",
        ),
        (
            "10.0.0.1",
            &[("forwarded", "for=1.1.1.1, For=\"[2001:db8::1]:80\"")],
            "2001:db8::1",
        ),
        (
            "10.0.0.1",
            &[("forwarded", "proto=http;for=192.0.2.1, for=10.0.0.2")],
            "192.0.2.1",
        ),
        (
            "10.0.0.1",
            &[("forwarded", "for=192.0.2.1"), (chain, "192.0.2.1")],
            "192.0.2.1",
        ),
    ] {
        assert_eq!(resolve(peer, lines), (client.to_owned(), false), "{peer} {lines:?}");
    }
}

#[test]
fn what_cannot_be_read_is_the_peer_in_doubt() {
    let chain = "x-forwarded-for";
    for lines in [
        &[][..],
        &[(chain, "")],
        &[(chain, " , , ")],
        &[(chain, "a")],
        &[(chain, "127.0.0.1, a")],
        &[(chain, "192.0.2.1,")],
        &[(chain, "::ffff:999.1.1.1")],
        &[(chain, "[::1")],
        &[(chain, "::1]")],
        &[(chain, "127.0.0.1:abc")],
        &[(chain, "127.0.0.1:99999")],
        &[(chain, "127.0.0.1:+1")],
        &[(chain, "fe80::1%eth0")],
        &[(chain, "fe80::1%25eth0")],
        &[(chain, "0177.0.0.9")],
        &[(chain, "127.9")],
        &[(chain, "localhost")],
        &[(chain, "\"192.0.2.1\"")],
        &[(chain, "192.0.2.1 10.0.0.2")],
        &[(chain, "192.0.2.1"), (chain, "x")],
        &[("forwarded", "for=unknown")],
        &[("forwarded", "for=_hidden")],
        &[("forwarded", "proto=https")],
        &[("forwarded", "for=192.0.2.1;for=192.0.2.2")],
        &[("forwarded", "for=\"192.0.2.1")],
        &[("forwarded", "for=\"a\\\"b, for=192.0.2.1\"")],
        &[("forwarded", "for=192.0.2.1"), (chain, "192.0.2.2")],
        &[("forwarded", "for=x"), (chain, "192.0.2.2")],
    ] {
        assert_eq!(resolve("10.0.0.1", lines), ("10.0.0.1".to_owned(), true), "{lines:?}");
    }
    let doubtful = ClientAddress::resolve(
        "10.0.0.1".parse().unwrap(),
        &Headers::of(&headers(&[(chain, "a")])),
        &trusted(),
    );
    assert_eq!(doubtful.for_rules(), None);
}

#[test]
fn nothing_counts_from_a_peer_that_is_not_trusted() {
    let lines = [("x-forwarded-for", "10.0.0.9"), ("forwarded", "for=10.0.0.9")];
    for peer in ["192.0.2.1", "127.0.0.1", "::1", "11.0.0.1", "2001:db8:fffe::1"] {
        assert_eq!(resolve(peer, &lines), (peer.to_owned(), false), "{peer}");
    }
    let nobody = TrustedProxies::default();
    let found = ClientAddress::resolve("10.0.0.1".parse().unwrap(), &Headers::of(&headers(&lines)), &nobody);
    assert!(!found.peer_trusted);
    assert_eq!(found.for_rules(), Some("10.0.0.1".parse().unwrap()));
}

#[test]
fn a_mapped_address_is_trusted_like_its_own_form() {
    assert!(trusted().contains("::ffff:10.0.0.1".parse().unwrap()));
    assert!(!trusted().contains("::ffff:11.0.0.1".parse().unwrap()));
}

#[test]
fn limits_count_ipv6_by_subscriber() {
    for (address, key) in [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::1", "::"),
    ] {
        assert_eq!(limit_key(address.parse().unwrap()).to_string(), key, "{address}");
    }
}

#[test]
fn the_upstream_learns_only_what_somebody_vouches_for() {
    let chain = "x-forwarded-for";
    for (peer, lines, value) in [
        ("192.0.2.1", &[(chain, "1.1.1.1")][..], "192.0.2.1"),
        ("10.0.0.1", &[(chain, "192.0.2.1")], "192.0.2.1, 10.0.0.1"),
        (
            "10.0.0.1",
            &[(chain, "1.1.1.1, 192.0.2.1:80, 10.0.0.2")],
            "192.0.2.1, 10.0.0.2, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            &[(chain, "10.0.0.9, 10.0.0.2")],
            "10.0.0.9, 10.0.0.2, 10.0.0.1",
        ),
        ("10.0.0.1", &[("forwarded", "for=192.0.2.1")], "192.0.2.1, 10.0.0.1"),
        ("10.0.0.1", &[(chain, "192.0.2.1, a")], "10.0.0.1"),
        ("10.0.0.1", &[], "10.0.0.1"),
    ] {
        let map = headers(lines);
        let client = ClientAddress::resolve(peer.parse().unwrap(), &Headers::of(&map), &trusted());
        assert_eq!(
            append_forwarded_for(&client, &map, &trusted()),
            value,
            "{peer} {lines:?}"
        );
    }
}

#[test]
fn a_trusted_peer_says_scheme_host_and_port_once() {
    type Expected = (Option<bool>, Option<&'static str>, Option<u16>);
    let proto = "x-forwarded-proto";
    let host = "x-forwarded-host";
    let table: &[(&[(&'static str, &str)], Expected)] = &[
        (&[], (None, None, None)),
        (&[(proto, "https")], (Some(true), None, None)),
        (&[(proto, "HTTP")], (Some(false), None, None)),
        (&[(proto, "wss")], (Some(true), None, None)),
        (&[(proto, "https, https")], (Some(true), None, None)),
        (&[(proto, "https, http")], (Some(false), None, None)),
        (&[(proto, "http"), (proto, "https")], (Some(false), None, None)),
        (&[(host, "App.Test.")], (None, Some("app.test"), None)),
        (
            &[(host, "app.test:8443"), ("x-forwarded-port", "443")],
            (None, Some("app.test"), Some(8443)),
        ),
        (
            &[(host, "app.test"), ("x-forwarded-port", "8443")],
            (None, Some("app.test"), Some(8443)),
        ),
        (&[("x-forwarded-port", "443")], (None, None, Some(443))),
        (
            &[("forwarded", "for=x;proto=https;host=app.test")],
            (Some(true), Some("app.test"), None),
        ),
        (
            &[("forwarded", "proto=http, proto=https;host=\"a.test:81\"")],
            (Some(true), Some("a.test"), Some(81)),
        ),
        (
            &[("forwarded", "proto=https"), (proto, "http")],
            (Some(false), None, None),
        ),
    ];
    for (lines, (secure, host, port)) in table {
        let told = told_by_trusted_peer(&Headers::of(&headers(lines))).unwrap();
        assert_eq!(told.secure, *secure, "{lines:?}");
        assert_eq!(told.authority.as_ref().map(|told| &*told.host), *host, "{lines:?}");
        assert_eq!(told.port, *port, "{lines:?}");
    }
    for (lines, error) in [
        (&[(proto, "javascript")][..], ToldError::Scheme),
        (&[(proto, "")], ToldError::Scheme),
        (&[(proto, "https,")], ToldError::Scheme),
        (&[(host, "")], ToldError::Host),
        (&[(host, "a.test, b.test")], ToldError::Host),
        (&[(host, "a.test"), (host, "a.test")], ToldError::Host),
        (&[(host, "u@a.test")], ToldError::Host),
        (&[("x-forwarded-port", "0")], ToldError::Port),
        (&[("x-forwarded-port", "+80")], ToldError::Port),
        (&[("x-forwarded-port", "80, 81")], ToldError::Port),
        (&[("forwarded", "proto=x")], ToldError::Scheme),
        (&[("forwarded", "host=a b")], ToldError::Host),
    ] {
        assert_eq!(
            told_by_trusted_peer(&Headers::of(&headers(lines))),
            Err(error),
            "{lines:?}"
        );
    }
}

proptest! {
    #[test]
    fn the_client_is_never_left_of_an_untrusted_address(
        claimed in "[ -~]{0,20}", client in any::<[u8; 4]>(), hops in prop::collection::vec(any::<[u8; 3]>(), 0..4)
    ) {
        let client = IpAddr::from(client);
        prop_assume!(!trusted().contains(client));
        let mut chain = format!("{claimed}, {client}");
        for [b, c, d] in hops {
            chain.push_str(&format!(", 10.{b}.{c}.{d}"));
        }
        let (found, in_doubt) = resolve("10.0.0.1", &[("x-forwarded-for", &chain)]);
        prop_assert_eq!((found, in_doubt), (client.to_string(), false));
    }

    #[test]
    fn no_header_panics(chain in "\\PC{0,30}", element in "[ -~]{0,30}") {
        let mut map = HeaderMap::new();
        map.insert("x-forwarded-for", HeaderValue::from_bytes(chain.as_bytes()).unwrap());
        map.insert("x-forwarded-host", HeaderValue::from_bytes(chain.as_bytes()).unwrap());
        map.insert("forwarded", HeaderValue::from_str(&element).unwrap());
        let found = ClientAddress::resolve(IpAddr::from([10, 0, 0, 1]), &Headers::of(&map), &trusted());
        let _ = append_forwarded_for(&found, &map, &trusted());
        let _ = told_by_trusted_peer(&Headers::of(&map));
    }
}
