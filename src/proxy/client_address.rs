//! Who the client is, behind proxies that are trusted and others that are not.
//!
//! The client is the right-most address that is not a trusted proxy's: everything left of it is what that client
//! claims. Nothing counts from a peer that is not trusted, and the list of trusted proxies is empty by default. What
//! cannot be read counts as the peer, and the address is then *in doubt*: limits may count by it, but no rule may be
//! opened by it (authentik CVE-2024-47070 failed open here).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use smallvec::SmallVec;

use crate::gate::headers::Headers;
use crate::login::place::network;
use crate::proxy::authority::Authority;

/// The peers whose forwarded headers count.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// The client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client; IPv4 in its own form even if it came mapped into IPv6.
    pub address: IpAddr,
    /// The next hop: the socket's peer, or what a trusted PROXY preamble said.
    pub peer: IpAddr,
    /// The peer's forwarded headers count.
    pub peer_trusted: bool,
    /// A trusted peer did not say who the client is, or not in a readable way; `address` is the peer's.
    pub in_doubt: bool,
}

/// What a trusted peer says about the request as the client made it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// HTTPS or not; `None` when not said.
    pub secure: Option<bool>,
    /// Host, and the port if it was said with it; `None` when not said.
    pub authority: Option<Authority<'static>>,
    /// Port; `None` when not said.
    pub port: Option<u16>,
}

/// A trusted peer says something unreadable or contradictory: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ToldError {
    /// Not exactly one of `http` and `https`.
    #[error("the forwarded scheme is malformed")]
    Scheme,
    /// Not one host.
    #[error("the forwarded host is malformed")]
    Host,
    /// Not one port.
    #[error("the forwarded port is malformed")]
    Port,
}

impl TrustedProxies {
    /// From `server.trusted_proxies`.
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.to_vec())
    }

    /// Whether forwarded headers of this peer count.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl ClientAddress {
    /// Finds the client. `peer` is the socket's peer or, on a listener with PROXY protocol, what the preamble of a
    /// trusted peer said. `X-Forwarded-For` is read; `Forwarded` (RFC 7239) where there is none; where both are there
    /// they must agree, since a proxy that writes one passes the client's other one through.
    pub fn resolve(peer: IpAddr, headers: &Headers<'_>, trusted: &TrustedProxies) -> Self {
        let peer = peer.to_canonical();
        let of_peer = |peer_trusted| Self {
            address: peer,
            peer,
            peer_trusted,
            in_doubt: peer_trusted,
        };
        if trusted.is_empty() || !trusted.contains(peer) {
            return of_peer(false);
        }
        let for_chain = headers
            .contains(&X_FORWARDED_FOR)
            .then(|| walk(x_forwarded_for(headers), trusted));
        let forwarded = headers
            .contains(&FORWARDED)
            .then(|| walk(forwarded_for(headers), trusted));
        let client = match (for_chain, forwarded) {
            (Some(client), None) | (None, Some(client)) => client,
            (Some(one), Some(other)) if one == other => one,
            _ => None,
        };
        match client {
            Some(address) => Self {
                address,
                peer,
                peer_trusted: true,
                in_doubt: false,
            },
            None => of_peer(true),
        }
    }

    /// The address that rules about networks see: none when it is in doubt.
    pub fn for_rules(&self) -> Option<IpAddr> {
        (!self.in_doubt).then_some(self.address)
    }

    /// What limits count by: see [`limit_key`].
    pub fn limit_key(&self) -> IpAddr {
        limit_key(self.address)
    }
}

/// What a limit counts by: the address, of IPv6 the /64 that one subscriber has.
pub fn limit_key(address: IpAddr) -> IpAddr {
    network(address)
}

/// `X-Forwarded-For` for the upstream: the client, the trusted proxies after it, and the peer. What a client claims to
/// have come through is left out, since applications are used to believe the left-most entry.
pub fn append_forwarded_for(client: &ClientAddress, headers: &HeaderMap, trusted: &TrustedProxies) -> String {
    let mut hops: SmallVec<[IpAddr; 4]> = SmallVec::new();
    if client.peer_trusted && !client.in_doubt {
        for hop in x_forwarded_for(&Headers::of(headers)).rev().map_while(parse_node) {
            hops.push(hop);
            if !trusted.contains(hop) {
                break;
            }
        }
        if hops.is_empty() {
            hops.push(client.address);
        }
    }
    let mut value = String::with_capacity(LONGEST_ADDRESS);
    for hop in hops.iter().rev() {
        push_address(&mut value, *hop);
        value.push_str(", ");
    }
    push_address(&mut value, client.peer);
    value
}

/// As `Display` has it, which takes a microsecond for the four numbers that most addresses are.
fn push_address(text: &mut String, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        let _ = write!(text, "{address}");
        return;
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
}

/// What a trusted peer says about scheme, host and port of the request as the client made it, by `X-Forwarded-Proto`,
/// `-Host` and `-Port`, else by the last element of `Forwarded`. Call it for trusted peers only.
///
/// Several schemes that differ count as plain HTTP; several hosts are refused.
pub fn told_by_trusted_peer(headers: &Headers<'_>) -> Result<Told, ToldError> {
    let mut told = Told::default();
    for scheme in list(headers, &X_FORWARDED_PROTO) {
        let secure = parse_scheme(scheme)?;
        told.secure = Some(secure && told.secure.unwrap_or(true));
    }
    if let Some(host) = one(headers, &X_FORWARDED_HOST).map_err(|()| ToldError::Host)? {
        told.authority = Some(Authority::parse(host).map_err(|_| ToldError::Host)?.into_owned());
    }
    if let Some(port) = one(headers, &X_FORWARDED_PORT).map_err(|()| ToldError::Port)? {
        let port = std::str::from_utf8(port)
            .ok()
            .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = port
            .and_then(|port| port.parse::<u16>().ok())
            .filter(|&port| port != 0)
            .ok_or(ToldError::Port)?;
        told.port = Some(port);
    }
    if let Some(element) = list(headers, &FORWARDED).next_back() {
        if told.secure.is_none() {
            told.secure = parameter(element, b"proto").map(parse_scheme).transpose()?;
        }
        if told.authority.is_none() {
            let host = parameter(element, b"host").map(|host| Authority::parse(host).map(Authority::into_owned));
            told.authority = host.transpose().map_err(|_| ToldError::Host)?;
        }
    }
    told.port = told
        .authority
        .as_ref()
        .and_then(|authority| authority.port)
        .or(told.port);
    Ok(told)
}

/// From the right: past trusted proxies to the first other address; the left-most, if all are trusted. `None` when an
/// entry on the way cannot be read, or there is none.
fn walk<'h>(chain: impl DoubleEndedIterator<Item = &'h [u8]>, trusted: &TrustedProxies) -> Option<IpAddr> {
    let mut client = None;
    for entry in chain.rev() {
        let address = parse_node(entry)?;
        client = Some(address);
        if !trusted.contains(address) {
            break;
        }
    }
    client
}

fn x_forwarded_for<'h>(headers: &Headers<'h>) -> impl DoubleEndedIterator<Item = &'h [u8]> + use<'h> {
    list(headers, &X_FORWARDED_FOR)
}

/// The `for` of each element; an element without one is unreadable.
fn forwarded_for<'h>(headers: &Headers<'h>) -> impl DoubleEndedIterator<Item = &'h [u8]> + use<'h> {
    list(headers, &FORWARDED).map(|element| parameter(element, b"for").unwrap_or_default())
}

/// A parameter of a `Forwarded` element, without its quotes. Quoted commas and semicolons, which no address, scheme or
/// host has, make the element unreadable rather than being understood. A repeated parameter is unreadable.
fn parameter<'h>(element: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let mut found = None;
    for pair in element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii) {
        let Some(at) = pair.iter().position(|&byte| byte == b'=') else {
            continue;
        };
        if !pair[..at].eq_ignore_ascii_case(name) {
            continue;
        }
        let value = &pair[at + 1..];
        let bare = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""))
            .unwrap_or(value);
        let unreadable = found.is_some() || bare.iter().any(|byte| matches!(byte, b'"' | b'\\'));
        found = Some(if unreadable { &b""[..] } else { bare });
    }
    found
}

/// An address, with a port or not: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
/// No names, no zones, no octal, no short forms.
fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let node = std::str::from_utf8(node).ok()?;
    if let Ok(address) = IpAddr::from_str(node) {
        return Some(address.to_canonical());
    }
    let (address, port) = match node.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            (IpAddr::V6(Ipv6Addr::from_str(address).ok()?), rest)
        }
        None => {
            let at = node.find(':')?;
            (IpAddr::V4(Ipv4Addr::from_str(&node[..at]).ok()?), &node[at..])
        }
    };
    let port_reads = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok());
    port_reads.then(|| address.to_canonical())
}

fn parse_scheme(scheme: &[u8]) -> Result<bool, ToldError> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"wss") => Ok(true),
        _ if scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"ws") => Ok(false),
        _ => Err(ToldError::Scheme),
    }
}

/// The members of all values of a list header, in order; empty members too, since they are no address.
fn list<'h>(headers: &Headers<'h>, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'h [u8]> + use<'h> {
    headers
        .all(name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// The one value of a header; an error when it is repeated.
fn one<'h>(headers: &Headers<'h>, name: &HeaderName) -> Result<Option<&'h [u8]>, ()> {
    let mut values = headers.all(name);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(()),
        (value, None) => Ok(value.map(<[u8]>::trim_ascii)),
    }
}

/// Characters of an IPv6 address.
const LONGEST_ADDRESS: usize = 39;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[cfg(test)]
mod tests;
