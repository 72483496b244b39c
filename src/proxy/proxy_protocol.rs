//! What a balancer says in front of a connection: the PROXY protocol, versions 1 and 2 (HAProxy `proxy-protocol.txt`).
//!
//! Read strictly: the address decides about limits and network rules, so that a preamble which could be read in two
//! ways is none. Only the client's address is taken. What else version 2 can carry (TLVs) is measured, so that HTTP
//! begins where the balancer meant it to, and left alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A preamble that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preamble {
    /// The client. `None` when the balancer speaks for itself, as in a probe, or does not know: the socket's peer counts.
    pub client: Option<SocketAddr>,
    /// Bytes that it takes; what follows is the connection's own.
    pub length: usize,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// A preamble.
    Complete(Preamble),
    /// The beginning of one: more has to be read. Never said of [`LONGEST`] bytes or more.
    Partial,
}

/// Why the first bytes of a connection are no preamble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PreambleError {
    /// Neither version's first bytes.
    #[error("the connection does not begin with a PROXY preamble")]
    Absent,
    /// A preamble that the specification does not allow.
    #[error("the PROXY preamble is malformed: {0}")]
    Malformed(&'static str),
    /// Longer than [`LONGEST`], or a line longer than version 1 has.
    #[error("the PROXY preamble is too long")]
    TooLong,
}

/// Reads the first bytes of a connection, however many there are yet.
///
/// # Errors
/// See [`PreambleError`]; as soon as no further byte could make a preamble of these.
pub fn read(bytes: &[u8]) -> Result<Beginning, PreambleError> {
    if begins(bytes, SIGNATURE_2) {
        read_binary(bytes)
    } else if begins(bytes, SIGNATURE_1) {
        read_line(bytes)
    } else {
        Err(PreambleError::Absent)
    }
}

/// Version 1: `PROXY TCP4 198.51.100.7 192.0.2.1 56324 443\r\n`.
fn read_line(bytes: &[u8]) -> Result<Beginning, PreambleError> {
    let window = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        return if window.len() < LONGEST_LINE {
            Ok(Beginning::Partial)
        } else {
            Err(PreambleError::TooLong)
        };
    };
    let malformed = PreambleError::Malformed;
    let line = window[..end].strip_suffix(b"\r").ok_or(malformed("a bare line feed"))?;
    let line = std::str::from_utf8(line).map_err(|_| malformed("not ASCII"))?;
    let words = line.strip_prefix("PROXY ").ok_or(malformed("no space after PROXY"))?;
    let complete = |client| {
        Ok(Beginning::Complete(Preamble {
            client,
            length: end + 1,
        }))
    };
    // Whatever follows this word has no meaning.
    if words == "UNKNOWN" || words.starts_with("UNKNOWN ") {
        return complete(None);
    }
    let mut words = words.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let family = word();
    let (source, target) = (word(), word());
    let (source_port, target_port) = (word(), word());
    let addresses = match family {
        "TCP4" => address::<Ipv4Addr>(source).zip(address::<Ipv4Addr>(target)),
        "TCP6" => address::<Ipv6Addr>(source).zip(address::<Ipv6Addr>(target)),
        _ => return Err(malformed("neither TCP4 nor TCP6 nor UNKNOWN")),
    };
    let (source, _) = addresses.ok_or(malformed("an address"))?;
    let (port, _) = port(source_port).zip(port(target_port)).ok_or(malformed("a port"))?;
    if words.next().is_some() {
        return Err(malformed("more than two addresses and two ports"));
    }
    complete(Some(SocketAddr::new(source, port)))
}

/// Version 2: signature, command, family, length, addresses, TLVs.
fn read_binary(bytes: &[u8]) -> Result<Beginning, PreambleError> {
    let malformed = |what| Err(PreambleError::Malformed(what));
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE_2.len()..).and_then(<[u8]>::first_chunk) else {
        return Ok(Beginning::Partial);
    };
    if command >> 4 != 2 {
        return malformed("a version that is not 2");
    }
    let length = HEADER_2 + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err(PreambleError::TooLong);
    }
    let addressed = match (command & 0x0f, family) {
        (LOCAL, _) | (PROXY, UNSPECIFIED) => 0,
        (PROXY, TCP_4) => 12,
        (PROXY, TCP_6) => 36,
        // Over TCP nobody comes by datagrams, and a socket's path is no address.
        (PROXY, _) => return malformed("a family that is not TCP"),
        _ => return malformed("a command that is neither LOCAL nor PROXY"),
    };
    if length < HEADER_2 + addressed {
        return malformed("too short for its addresses");
    }
    let Some(rest) = bytes.get(HEADER_2..length) else {
        return Ok(Beginning::Partial);
    };
    let client = match (addressed, rest) {
        (12, &[a, b, c, d, _, _, _, _, high, low, ..]) => {
            Some((IpAddr::from([a, b, c, d]), u16::from_be_bytes([high, low])))
        }
        (36, _) => rest
            .first_chunk::<16>()
            .zip(rest.get(32..34))
            .map(|(source, port)| (IpAddr::from(*source), u16::from_be_bytes([port[0], port[1]]))),
        _ => None,
    };
    if addressed > 0 && !are_tlvs(&rest[addressed..]) {
        return malformed("TLVs that do not end where it ends");
    }
    Ok(Beginning::Complete(Preamble {
        client: client.map(SocketAddr::from),
        length,
    }))
}

/// Type, length of two bytes, value; until nothing is left.
fn are_tlvs(mut bytes: &[u8]) -> bool {
    while let Some((&[_, high, low], rest)) = bytes.split_first_chunk() {
        match rest.get(usize::from(u16::from_be_bytes([high, low]))..) {
            Some(further) => bytes = further,
            None => return false,
        }
    }
    bytes.is_empty()
}

/// As far as there are bytes.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn address<A: FromStr + Into<IpAddr>>(word: &str) -> Option<IpAddr> {
    word.parse::<A>().ok().map(Into::into)
}

/// Decimal digits alone, without zeros in front.
fn port(word: &str) -> Option<u16> {
    let canonical = word == "0" || !word.starts_with(['0', '+']);
    word.parse().ok().filter(|_| canonical)
}

/// Bytes of the longest preamble that is read: addresses, and TLVs such as the names in a client's certificate.
pub const LONGEST: usize = 4096;
/// Of version 1, by the specification, with its line end.
const LONGEST_LINE: usize = 107;
const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const HEADER_2: usize = SIGNATURE_2.len() + 4;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const UNSPECIFIED: u8 = 0x00;
const TCP_4: u8 = 0x11;
const TCP_6: u8 = 0x21;

#[cfg(test)]
mod tests;
