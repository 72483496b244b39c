#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn complete(client: Option<&str>, length: usize) -> Result<Beginning, PreambleError> {
    Ok(Beginning::Complete(Preamble {
        client: client.map(|client| client.parse().unwrap()),
        length,
    }))
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE_2, &[command, family], &length, rest].concat()
}

const FOUR: &[u8] = &[198, 51, 100, 7, 192, 0, 2, 1, 0xdc, 0x04, 0x01, 0xbb];

fn six() -> Vec<u8> {
    let (source, target): (Ipv6Addr, Ipv6Addr) = ("2001:db8::7".parse().unwrap(), "2001:db8::1".parse().unwrap());
    [&source.octets()[..], &target.octets(), &[0xdc, 0x04, 0x01, 0xbb]].concat()
}

#[test]
fn a_line_says_who_the_client_is() {
    for (line, client) in [
        (
            "PROXY TCP4 198.51.100.7 192.0.2.1 56324 443\r\n",
            Some("198.51.100.7:56324"),
        ),
        ("PROXY TCP4 198.51.100.7 192.0.2.1 0 65535\r\n", Some("198.51.100.7:0")),
        (
            "PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n",
            Some("[2001:db8::7]:56324"),
        ),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::1 anything at all\r\n", None),
    ] {
        assert_eq!(read(line.as_bytes()), complete(client, line.len()), "{line:?}");
        let followed = format!("{line}GET / HTTP/1.1\r\n");
        assert_eq!(read(followed.as_bytes()), complete(client, line.len()), "{followed:?}");
    }
}

#[test]
fn a_line_that_is_not_to_the_letter_is_malformed() {
    for line in [
        "PROXY TCP4 198.51.100.7 192.0.2.1 56324 443\n",
        "PROXY  TCP4 198.51.100.7 192.0.2.1 56324 443\r\n",
        "PROXY TCP4  198.51.100.7 192.0.2.1 56324 443\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 56324 443 \r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 56324 443 1\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 56324\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 56324 65536\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 +56324 443\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 056324 443\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 -1 443\r\n",
        "PROXY TCP4 198.51.100.007 192.0.2.1 56324 443\r\n",
        "PROXY TCP4 198.51.100 192.0.2.1 56324 443\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n",
        "PROXY TCP6 198.51.100.7 192.0.2.1 56324 443\r\n",
        "PROXY TCP6 fe80::1%eth0 2001:db8::1 56324 443\r\n",
        "PROXY tcp4 198.51.100.7 192.0.2.1 56324 443\r\n",
        "PROXY UDP4 198.51.100.7 192.0.2.1 56324 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
    ] {
        let read = read(line.as_bytes());
        assert!(matches!(read, Err(PreambleError::Malformed(_))), "{line:?}: {read:?}");
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE - 16));
    assert_eq!(read(longest.as_bytes()), complete(None, LONGEST_LINE));
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE - 15));
    assert_eq!(read(longer.as_bytes()), Err(PreambleError::TooLong));
}

#[test]
fn what_begins_otherwise_is_no_preamble() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"proxy TCP4 198.51.100.7 192.0.2.1 56324 443\r\n",
        b"PROXY\tTCP4",
        b"\x16\x03\x01\x02\x00\x01",
        b"\r\n\r\n\0\r\nQUIT\r",
        b" ",
    ] {
        assert_eq!(
            read(bytes),
            Err(PreambleError::Absent),
            "{:?}",
            bytes.escape_ascii().to_string()
        );
    }
}

#[test]
fn version_2_says_who_the_client_is_and_its_tlvs_are_skipped() {
    let tlvs = [1, 0, 2, b'h', b'2', 4, 0, 0];
    let with_tlvs = |address: &[u8]| [address, &tlvs].concat();
    for (preamble, client) in [
        (binary(0x21, TCP_4, FOUR), Some("198.51.100.7:56324")),
        (binary(0x21, TCP_4, &with_tlvs(FOUR)), Some("198.51.100.7:56324")),
        (binary(0x21, TCP_6, &six()), Some("[2001:db8::7]:56324")),
        (binary(0x21, TCP_6, &with_tlvs(&six())), Some("[2001:db8::7]:56324")),
        (binary(0x21, UNSPECIFIED, b""), None),
        (binary(0x21, UNSPECIFIED, &tlvs), None),
        (binary(0x20, UNSPECIFIED, b""), None),
        // Whatever a LOCAL command carries has no meaning.
        (binary(0x20, TCP_4, FOUR), None),
        (binary(0x20, 0xff, b"anything"), None),
    ] {
        assert_eq!(read(&preamble), complete(client, preamble.len()), "{preamble:?}");
        let followed = [&preamble[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(read(&followed), complete(client, preamble.len()), "{followed:?}");
    }
}

#[test]
fn version_2_that_does_not_add_up_is_malformed() {
    let with = |more: &[u8]| [FOUR, more].concat();
    for preamble in [
        binary(0x11, TCP_4, FOUR),
        binary(0x31, TCP_4, FOUR),
        binary(0x22, TCP_4, FOUR),
        binary(0x21, 0x10, FOUR),
        binary(0x21, 0x12, FOUR),
        binary(0x21, 0x31, &[0; 216]),
        binary(0x21, 0x01, b""),
        binary(0x21, TCP_4, &FOUR[..11]),
        binary(0x21, TCP_6, FOUR),
        binary(0x21, TCP_4, &with(&[1])),
        binary(0x21, TCP_4, &with(&[1, 0])),
        binary(0x21, TCP_4, &with(&[1, 0, 1])),
        binary(0x21, TCP_4, &with(&[1, 0xff, 0xff, 0])),
    ] {
        let read = read(&preamble);
        assert!(
            matches!(read, Err(PreambleError::Malformed(_))),
            "{preamble:?}: {read:?}"
        );
    }
    let fits = binary(0x20, 0, &vec![0; LONGEST - HEADER_2]);
    assert_eq!(read(&fits), complete(None, LONGEST));
    // Known before the rest has come.
    let longer = binary(0x20, 0, &vec![0; LONGEST - HEADER_2 + 1]);
    assert_eq!(read(&longer[..HEADER_2]), Err(PreambleError::TooLong));
}

proptest! {
    /// A balancer's bytes may come in any pieces.
    #[test]
    fn every_beginning_of_a_preamble_asks_for_more(
        source: SocketAddr, target: SocketAddr, tlvs in prop::collection::vec(any::<u8>(), 0..64), cut: prop::sample::Index,
    ) {
        let ports = [source.port().to_be_bytes(), target.port().to_be_bytes()].concat();
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
            IpAddr::V6(six) => six.octets(),
        };
        let tlv = [&[0xe0, 0, u8::try_from(tlvs.len()).unwrap()], &tlvs[..]].concat();
        let second = binary(0x21, TCP_6, &[&octets(source.ip())[..], &octets(target.ip()), &ports, &tlv].concat());
        let [from, to] = [source, target].map(|address| Ipv6Addr::from(octets(address.ip())));
        let first = format!("PROXY TCP6 {from} {to} {} {}\r\n", source.port(), target.port()).into_bytes();
        for preamble in [first, second] {
            let Ok(Beginning::Complete(whole)) = read(&preamble) else {
                panic!("{preamble:?}: {:?}", read(&preamble));
            };
            prop_assert_eq!(whole.length, preamble.len());
            prop_assert_eq!(whole.client.unwrap().ip(), IpAddr::from(octets(source.ip())));
            prop_assert_eq!(whole.client.unwrap().port(), source.port());
            prop_assert_eq!(read(&preamble[..cut.index(preamble.len())]), Ok(Beginning::Partial));
        }
    }

    #[test]
    fn whatever_comes_is_read_within_its_bounds(
        head in prop::sample::select(vec![&b""[..], SIGNATURE_1, SIGNATURE_2, b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
        rest in prop::collection::vec(any::<u8>(), 0..5000),
    ) {
        let bytes = [head, &rest].concat();
        match read(&bytes) {
            Ok(Beginning::Complete(preamble)) => prop_assert!(preamble.length <= bytes.len().min(LONGEST)),
            Ok(Beginning::Partial) => prop_assert!(bytes.len() < LONGEST),
            Err(_) => {}
        }
    }
}
