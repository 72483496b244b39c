//! ip2region's `.xdb`, structure 2 (IPv4) and 3 (IPv4 or IPv6).
//!
//! Little-endian numbers. A header of 256 bytes: version, index policy, time, first and last segment; in structure 3 also
//! the version of the addresses. Then 256 × 256 pairs of pointers, by the first two bytes of an address, to the
//! segments that may hold it. A segment is first address, last address, length and place of a text; IPv4 addresses are
//! little-endian, IPv6 addresses as on the wire. Source: the binding and maker of github.com/lionsoul2014/ip2region.
//!
//! A reader of our own: the project's binding for Rust panics at a damaged file, other crates are young or given up, and
//! the format is this small.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::{Names, Region};

/// A database.
pub(super) struct Xdb {
    bytes: Vec<u8>,
    /// Bytes of an address: 4 or 16.
    width: usize,
}

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum XdbError {
    #[error("too short for an ip2region database")]
    Short,
    #[error("not an ip2region database of structure 2 or 3")]
    Header,
    #[error("its index leads out of the file: it is damaged or incomplete")]
    Index,
}

impl Xdb {
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self, XdbError> {
        if bytes.len() < SEGMENTS {
            return Err(XdbError::Short);
        }
        let number = |at| u16_at(&bytes, at).unwrap_or_default();
        let width = match (number(0), number(2), number(16)) {
            (2, 1, _) | (3, 1, 4) => 4,
            (3, 1, 6) => 16,
            _ => return Err(XdbError::Header),
        };
        let database = Self { bytes, width };
        // The last segment is the end of the file, or nearly: what was cut off shows here.
        let (first, last) = (pointer(&database.bytes, 8), pointer(&database.bytes, 12));
        let (Some(first), Some(last)) = (first, last) else {
            return Err(XdbError::Index);
        };
        if first < SEGMENTS || last < first || database.segment(last).is_none() {
            return Err(XdbError::Index);
        }
        Ok(database)
    }

    pub(super) fn region(&self, address: IpAddr) -> Option<Region> {
        region_of(self.text(address)?)
    }

    fn text(&self, address: IpAddr) -> Option<&str> {
        let octets = match (address, self.width) {
            (IpAddr::V4(four), 4) => four.octets().to_vec(),
            (IpAddr::V6(six), 16) => six.octets().to_vec(),
            _ => return None,
        };
        let pair = HEADER + (usize::from(*octets.first()?) * 256 + usize::from(*octets.get(1)?)) * 8;
        let (first, end) = (pointer(&self.bytes, pair)?, pointer(&self.bytes, pair + 4)?);
        let size = self.segment_size();
        let (mut low, mut high) = (0, end.checked_sub(first)? / size + 1);
        while low < high {
            let middle = low.midpoint(high);
            let Some(segment) = self.segment(first + middle * size) else {
                high = middle;
                continue;
            };
            match segment.place_of(&octets) {
                Ordering::Less => high = middle,
                Ordering::Greater => low = middle + 1,
                Ordering::Equal => {
                    let text = self
                        .bytes
                        .get(segment.text..segment.text.checked_add(segment.length)?)?;
                    return std::str::from_utf8(text).ok();
                }
            }
        }
        None
    }

    fn segment_size(&self) -> usize {
        self.width * 2 + 6
    }

    fn segment(&self, at: usize) -> Option<Segment> {
        let bytes = self.bytes.get(at..at.checked_add(self.segment_size())?)?;
        let address = |from: usize| {
            let mut octets = bytes.get(from..from + self.width)?.to_vec();
            if self.width == 4 {
                octets.reverse();
            }
            Some(octets)
        };
        Some(Segment {
            first: address(0)?,
            last: address(self.width)?,
            length: usize::from(u16_at(bytes, self.width * 2)?),
            text: pointer(bytes, self.width * 2 + 2)?,
        })
    }
}

/// Addresses with one text.
struct Segment {
    first: Vec<u8>,
    last: Vec<u8>,
    length: usize,
    text: usize,
}

impl Segment {
    fn place_of(&self, octets: &[u8]) -> Ordering {
        if octets < self.first.as_slice() {
            Ordering::Less
        } else if octets > self.last.as_slice() {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }
}

/// `country|area|province|city|provider` in older files, `country|province|city|provider` in newer ones, there with a
/// country code of two letters at the end. What is not known is `0` or empty.
fn region_of(text: &str) -> Option<Region> {
    let fields: Vec<&str> = text.split('|').map(str::trim).collect();
    let has_code = fields
        .last()
        .is_some_and(|last| last.len() == 2 && last.bytes().all(|byte| byte.is_ascii_uppercase()));
    let has_area = fields.len() == 5 && !has_code;
    let name = |place: usize| {
        let name = fields.get(place).copied().filter(|name| !matches!(*name, "" | "0"));
        // Addresses that are nowhere: 内网IP, Reserved.
        name.filter(|name| !name.contains("内网") && *name != "Reserved")
            .map(Names::chinese)
            .unwrap_or_default()
    };
    let (country, province) = (name(0), if has_area { 2 } else { 1 });
    let region = Region {
        at_home: matches!(fields.first(), Some(&("中国" | "China"))),
        country,
        province: name(province),
        city: name(province + 1),
    };
    (fields.len() >= 4).then_some(region)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let number = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(number.try_into().ok()?))
}

fn pointer(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(number.try_into().ok()?)).ok()
}

const HEADER: usize = 256;

/// Behind header and vector index.
const SEGMENTS: usize = HEADER + 256 * 256 * 8;

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::super::Locale;
    use super::*;

    /// A database of IPv4 segments, structure 2.
    pub(in super::super) fn four(segments: &[(&str, &str, &str)]) -> Vec<u8> {
        database(2, 0, segments)
    }

    fn octets(text: &str) -> Vec<u8> {
        match text.parse().unwrap() {
            IpAddr::V4(four) => four.octets().to_vec(),
            IpAddr::V6(six) => six.octets().to_vec(),
        }
    }

    /// Each segment within one pair of first bytes.
    fn database(structure: u16, addresses: u16, segments: &[(&str, &str, &str)]) -> Vec<u8> {
        let mut bytes = vec![0; SEGMENTS];
        let mut places = Vec::new();
        for (_, _, text) in segments {
            places.push((bytes.len(), text.len()));
            bytes.extend(text.as_bytes());
        }
        let start = bytes.len();
        let mut last = start;
        for ((first, end, _), (text, length)) in segments.iter().zip(places) {
            let mut stored = [octets(first), octets(end)];
            let pair = HEADER + (usize::from(stored[0][0]) * 256 + usize::from(stored[0][1])) * 8;
            if stored[0].len() == 4 {
                stored.iter_mut().for_each(|address| address.reverse());
            }
            last = bytes.len();
            bytes.extend(stored.concat());
            bytes.extend(u16::try_from(length).unwrap().to_le_bytes());
            bytes.extend(u32::try_from(text).unwrap().to_le_bytes());
            if bytes[pair..pair + 4] == [0; 4] {
                bytes[pair..pair + 4].copy_from_slice(&u32::try_from(last).unwrap().to_le_bytes());
            }
            let behind = u32::try_from(bytes.len()).unwrap().to_le_bytes();
            bytes[pair + 4..pair + 8].copy_from_slice(&behind);
        }
        for (at, number) in [(0, structure), (2, 1), (16, addresses)] {
            bytes[at..at + 2].copy_from_slice(&number.to_le_bytes());
        }
        for (at, number) in [(8, start), (12, last)] {
            bytes[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
        }
        bytes
    }

    fn said(database: &Xdb, address: &str) -> Option<String> {
        database.region(address.parse().unwrap())?.text(Locale::ZhCn)
    }

    #[test]
    fn ipv4_segments_are_found_to_their_edges() {
        let bytes = four(&[
            ("1.0.1.0", "1.0.3.255", "中国|0|福建省|福州市|电信"),
            ("1.0.8.0", "1.0.15.255", "中国|0|广东省|广州市|电信"),
            ("1.1.0.0", "1.1.255.255", "美国|0|加利福尼亚|0|0"),
            ("10.0.0.0", "10.0.255.255", "0|0|0|内网IP|内网IP"),
        ]);
        let database = Xdb::new(bytes).unwrap();
        for (address, expected) in [
            ("1.0.1.0", Some("福建省 福州市")),
            ("1.0.3.255", Some("福建省 福州市")),
            ("1.0.4.0", None),
            ("1.0.0.255", None),
            ("1.0.15.255", Some("广东省 广州市")),
            ("1.1.7.7", Some("美国 加利福尼亚")),
            ("10.0.0.1", None),
            ("9.9.9.9", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(said(&database, address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn ipv6_and_the_newer_texts_are_read() {
        let bytes = database(
            3,
            6,
            &[(
                "2408:8000::",
                "2408:8000:ffff:ffff:ffff:ffff:ffff:ffff",
                "中国|上海|上海市|联通|CN",
            )],
        );
        let six = Xdb::new(bytes).unwrap();
        assert_eq!(said(&six, "2408:8000::9").as_deref(), Some("上海市"));
        assert_eq!(said(&six, "2408:8001::9"), None);
        assert_eq!(said(&six, "1.0.1.0"), None);
        let four = Xdb::new(database(3, 4, &[("1.0.1.0", "1.0.1.9", "日本|东京都|千代田区|KDDI")])).unwrap();
        assert_eq!(said(&four, "1.0.1.5").as_deref(), Some("日本 东京都 千代田区"));
    }

    #[test]
    fn a_broken_file_is_refused() {
        let good = four(&[("1.0.1.0", "1.0.3.255", "中国|0|福建省|福州市|电信")]);
        let refused = |bytes: Vec<u8>| Xdb::new(bytes).err();
        assert_eq!(refused(good[..300].to_vec()), Some(XdbError::Short));
        assert_eq!(refused(good[..good.len() - 1].to_vec()), Some(XdbError::Index));
        assert_eq!(refused([&[7], &good[1..]].concat()), Some(XdbError::Header));
        assert_eq!(refused(vec![0; SEGMENTS]), Some(XdbError::Header));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_the_file_holds_a_lookup_ends(
            changes in prop::collection::vec((0_usize..6_000, any::<u8>()), 0..40),
            address in any::<[u8; 4]>(),
        ) {
            let mut bytes = four(&[("1.0.1.0", "1.0.3.255", "中国|0|福建省|福州市|电信"), ("0.0.0.0", "0.0.9.9", "x")]);
            let length = bytes.len();
            for (place, byte) in changes {
                // The header, the index of small addresses, and the end.
                let at = if place < 3_000 { place } else { length - (place - 2_999).min(length) };
                bytes[at] = byte;
            }
            if let Ok(database) = Xdb::new(bytes) {
                let _ = database.region(IpAddr::from(address));
                let _ = database.region("0.0.0.9".parse().unwrap());
            }
        }
    }
}
