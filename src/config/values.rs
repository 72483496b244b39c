//! The small languages inside strings: durations, sizes, rates, networks, origins, names.
//!
//! Pure functions from text to a typed value or a [`Fault`] with what to write instead. Units are spelled out and few
//! (`KiB`, never `KB`), so that no number means two things.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::mistake::Fault;
use super::settings::Rate;

/// `"90s"`, `"24h"`, `"14d"`; units ms, s, m, h, d.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Fault> {
    let fault = || {
        Fault::new(
            format!("`{text}` is not a duration"),
            "write a number and one of ms, s, m, h, d, for example \"90s\", \"24h\" or \"14d\"",
        )
    };
    let (number, unit) = split_number(text).ok_or_else(fault)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(fault()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(fault)
}

/// A duration as the file would write it.
pub(super) fn describe_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds >= length && milliseconds.is_multiple_of(length) {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    if milliseconds == 0 {
        "0s".to_owned()
    } else {
        format!("{milliseconds}ms")
    }
}

/// `"64KiB"`, `"100MiB"`, `"1GiB"`, `"512B"`, `"0"`.
pub(super) fn parse_size(text: &str) -> Result<u64, Fault> {
    let fault = || {
        Fault::new(
            format!("`{text}` is not a size"),
            "write a number and one of B, KiB, MiB, GiB, for example \"64KiB\" or \"100MiB\"",
        )
    };
    let (number, unit) = split_number(text).ok_or_else(fault)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(fault()),
    };
    number.checked_mul(factor).ok_or_else(fault)
}

/// `"600/min"`; periods s, min, h, d.
pub(super) fn parse_rate(text: &str) -> Result<Rate, Fault> {
    let fault = || {
        Fault::new(
            format!("`{text}` is not a rate"),
            "write a number above 0 and a period, for example \"600/min\" (periods: s, min, h, d)",
        )
    };
    let (number, unit) = split_number(text).ok_or_else(fault)?;
    let seconds = match unit {
        "/s" => 1,
        "/min" => 60,
        "/h" => 3_600,
        "/d" => 86_400,
        _ => return Err(fault()),
    };
    match u32::try_from(number) {
        Ok(count) if count > 0 => Ok(Rate {
            count,
            period: Duration::from_secs(seconds),
        }),
        _ => Err(fault()),
    }
}

/// `"0.0.0.0:443"`, `"[::]:443"`.
pub(super) fn parse_listen_address(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        let remedy = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
            Ok(port) => {
                format!("write \"0.0.0.0:{port}\" for every address, \"127.0.0.1:{port}\" for this machine alone")
            }
            Err(_) if text.starts_with("localhost:") => {
                format!("write \"{}\"", text.replacen("localhost", "127.0.0.1", 1))
            }
            Err(_) if text.parse::<IpAddr>().is_ok() => {
                "add the port, for example \"0.0.0.0:443\" or \"[::]:443\"".to_owned()
            }
            Err(_) => {
                "write an address and a port, for example \"0.0.0.0:443\" or \"[::]:443\"; names are not looked up"
                    .to_owned()
            }
        };
        Fault::new(format!("`{text}` is not an address to listen on"), remedy)
    })
}

/// `"10.0.0.0/8"`, or one address.
pub(super) fn parse_network(text: &str) -> Result<IpNet, Fault> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| {
        Fault::new(
            format!("`{text}` is not a network"),
            "write it as \"10.0.0.0/8\" or \"2001:db8::/32\", one address as \"10.0.0.2/32\"; names are not looked up",
        )
    })?;
    if network.trunc() != network {
        return Err(Fault::new(
            format!("`{text}` has bits outside its prefix"),
            format!(
                "write \"{}\" for the network, \"{}\" for the one address",
                network.trunc(),
                IpNet::from(network.addr())
            ),
        ));
    }
    Ok(network)
}

/// Scheme, host and port, nothing else.
pub(super) fn parse_origin(text: &str) -> Result<Url, Fault> {
    let url = parse_http_url(text)?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    // `https://host/?` has an empty query, which `query()` shows and a comparison of texts would too.
    if !bare {
        return Err(Fault::new(
            format!("`{text}` has more than scheme, host and port"),
            format!("write \"{}\"", url.origin().ascii_serialization()),
        ));
    }
    Ok(url)
}

/// An `http://` or `https://` address without user and password.
pub(super) fn parse_http_url(text: &str) -> Result<Url, Fault> {
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && has_authority(text) => url,
        _ => {
            let remedy = if text.contains("://") {
                "write it with http:// or https:// and a host, for example \"https://login.example.com\"".to_owned()
            } else {
                format!("write \"https://{}\"", text.trim_start_matches('/'))
            };
            return Err(Fault::new(format!("`{text}` is not a web address"), remedy));
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new(
            "a web address with a user name or password in it",
            "write it without the part before @",
        ));
    }
    Ok(url)
}

/// An origin as browsers send it, in their spelling: lower case, no default port, no slash.
pub(super) fn parse_request_origin(text: &str) -> Result<String, Fault> {
    if text == "*" {
        return Err(Fault::new(
            "`*` would let every web page read answers with the visitor's session",
            "name the origins, for example [\"https://spa.example.com\"]",
        ));
    }
    parse_origin(text).map(|url| url.origin().ascii_serialization())
}

/// E.164: `+` and 7 to 15 digits, the first of which is not 0.
pub(super) fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// RFC 9110 token: what header names, cookie names and methods are made of.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `^[a-z0-9-]{1,31}$`
pub(super) fn parse_connection_id(text: &str) -> Result<String, Fault> {
    let fits = (1..=31).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("`{text}` is not an id"),
        "write 1 to 31 of a-z, 0-9 and -; it can never change later, for identities and sessions are kept under it",
    ))
}

/// `wx` and 16 hex digits, or `wxsandbox…` of the sandbox.
pub(super) fn parse_app_id(text: &str) -> Result<String, Fault> {
    let real = text
        .strip_prefix("wx")
        .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(is_lower_hex));
    if real || is_sandbox_app_id(text) {
        return Ok(text.to_owned());
    }
    let remedy = if text.starts_with("gh_") {
        "that is an original id; the AppID stands in the console under \"Development settings\" and begins with wx"
    } else {
        "write wx and 16 of 0-9 and a-f, as the console of mp.weixin.qq.com or open.weixin.qq.com shows it"
    };
    Err(Fault::new(format!("`{text}` is not an AppID"), remedy))
}

/// Whether an AppID is one that only the sandbox knows.
pub(super) fn is_sandbox_app_id(text: &str) -> bool {
    text.strip_prefix("wxsandbox").is_some_and(|rest| {
        (1..=16).contains(&rest.len())
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// Whether a URL's host is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

pub(super) fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// `url` mends `http:host` and `http:/host` silently; an operator should see what they wrote.
fn has_authority(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| !rest.starts_with('/'))
        && !text.contains(['\\', ' ', '\t', '\n', '\r'])
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_take_one_number_and_one_unit() {
        for (text, milliseconds) in [
            ("0s", Some(0)),
            ("250ms", Some(250)),
            ("90s", Some(90_000)),
            ("10m", Some(600_000)),
            ("24h", Some(86_400_000)),
            ("14d", Some(1_209_600_000)),
            ("90", None),
            ("s", None),
            ("", None),
            ("1h30m", None),
            ("-1s", None),
            ("1.5h", None),
            ("1 s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(
                parse_duration(text).ok(),
                milliseconds.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_are_binary_and_spelled_out() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("512B", Some(512)),
            ("64KiB", Some(65_536)),
            ("100MiB", Some(104_857_600)),
            ("1GiB", Some(1 << 30)),
            ("1KB", None),
            ("1k", None),
            ("KiB", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(parse_size(text).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn rates_are_above_zero() {
        assert_eq!(
            parse_rate("600/min").unwrap(),
            Rate {
                count: 600,
                period: Duration::from_secs(60)
            }
        );
        for text in ["0/min", "600", "600/m", "/min", "5000000000/s"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_have_no_bits_outside_their_prefix() {
        assert_eq!(parse_network("10.0.0.2").unwrap().to_string(), "10.0.0.2/32");
        assert_eq!(parse_network("::1").unwrap().to_string(), "::1/128");
        assert_eq!(
            parse_network("10.0.0.2/8").unwrap_err().remedy,
            "write \"10.0.0.0/8\" for the network, \"10.0.0.2/32\" for the one address"
        );
        assert!(parse_network("proxy.example.com").is_err());
    }

    #[test]
    fn origins_have_scheme_host_and_port_only() {
        for (text, origin) in [
            ("https://login.example.com", Some("https://login.example.com")),
            ("https://login.example.com/", Some("https://login.example.com")),
            ("HTTPS://Login.Example.COM:443", Some("https://login.example.com")),
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("https://login.example.com/x", None),
            ("https://login.example.com?", None),
            ("https://user@login.example.com", None),
            ("login.example.com", None),
            ("https:login.example.com", None),
            ("https:///login.example.com", None),
            ("ftp://login.example.com", None),
            ("https://a b", None),
        ] {
            assert_eq!(
                parse_origin(text)
                    .ok()
                    .map(|url| url.origin().ascii_serialization())
                    .as_deref(),
                origin,
                "{text}"
            );
        }
    }

    #[test]
    fn app_ids_have_their_shape() {
        for (text, good) in [
            ("wx0123456789abcdef", true),
            ("wxsandbox0000000001", true),
            ("wx0123456789ABCDEF", false),
            ("wx0123", false),
            ("gh_0123456789ab", false),
            ("wxsandbox", false),
            ("", false),
        ] {
            assert_eq!(parse_app_id(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn phones_are_e164() {
        for (text, good) in [
            ("+8613800000000", true),
            ("13800000000", false),
            ("+0138000000", false),
            ("+86 138", false),
            ("+123456", false),
            ("+1234567890123456", false),
        ] {
            assert_eq!(is_e164(text), good, "{text}");
        }
    }

    proptest! {
        #[test]
        fn described_durations_are_read_back(milliseconds in 0_u64..10_000_000_000) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&describe_duration(duration)), Ok(duration));
        }
    }
}
