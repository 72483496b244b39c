//! MaxMind's `.mmdb`, by MaxMind's own reader: GeoLite2 and GeoIP2 City, and others with the same fields.

use std::net::IpAddr;

use maxminddb::Reader;
use serde::Deserialize;

use super::{Names, Region};

/// A database.
pub(super) struct Mmdb(Reader<Vec<u8>>);

/// What is read of a record.
#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    country: Country,
    #[serde(default)]
    subdivisions: Vec<Named>,
    #[serde(default)]
    city: Named,
}

#[derive(Default, Deserialize)]
struct Country {
    iso_code: Option<String>,
    #[serde(default)]
    names: Written,
}

#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    names: Written,
}

#[derive(Default, Deserialize)]
struct Written {
    #[serde(rename = "zh-CN")]
    zh_cn: Option<String>,
    en: Option<String>,
    ja: Option<String>,
}

impl Mmdb {
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self, String> {
        Reader::from_source(bytes).map(Self).map_err(|error| error.to_string())
    }

    pub(super) fn region(&self, address: IpAddr) -> Option<Region> {
        // An error is an IPv6 address in a database of IPv4, or a damaged record: not known.
        let record = self.0.lookup(address).ok()?.decode::<Record>().ok()??;
        Some(Region {
            at_home: record.country.iso_code.as_deref() == Some("CN"),
            country: record.country.names.into(),
            province: record.subdivisions.into_iter().next().unwrap_or_default().names.into(),
            city: record.city.names.into(),
        })
    }
}

impl From<Written> for Names {
    fn from(Written { zh_cn, en, ja }: Written) -> Self {
        Self { zh_cn, en, ja }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::Locale;
    use super::*;

    /// Values as the format writes them: <https://maxmind.github.io/MaxMind-DB/>.
    fn control(kind: u8, size: usize) -> Vec<u8> {
        let size = u8::try_from(size).unwrap();
        assert!(size < 29, "longer ones are written otherwise");
        if kind > 7 {
            vec![size, kind - 7]
        } else {
            vec![kind << 5 | size]
        }
    }

    fn text(text: &str) -> Vec<u8> {
        [control(2, text.len()), text.as_bytes().to_vec()].concat()
    }

    fn number(kind: u8, value: u64) -> Vec<u8> {
        let bytes = value.to_be_bytes();
        let used: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
        [control(kind, used.len()), used].concat()
    }

    fn object(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let entries_written = entries
            .iter()
            .flat_map(|(key, value)| [text(key), value.clone()].concat());
        control(7, entries.len()).into_iter().chain(entries_written).collect()
    }

    fn names(zh_cn: &str, en: &str) -> Vec<u8> {
        object(&[("names", object(&[("en", text(en)), ("zh-CN", text(zh_cn))]))])
    }

    /// A database of IPv4 that knows 1.0.0.0/8 alone.
    fn database() -> Vec<u8> {
        let record = object(&[
            (
                "country",
                object(&[("iso_code", text("CN")), ("names", object(&[("en", text("China"))]))]),
            ),
            ("subdivisions", [control(11, 1), names("广东省", "Guangdong")].concat()),
            ("city", names("深圳市", "Shenzhen")),
        ]);
        let (nodes, mut bytes) = (8_u32, Vec::new());
        for (depth, bit) in (0..8_u32).map(|depth| (depth, 1_u32 >> (7 - depth) & 1)) {
            // Empty is the number of nodes; data begins 16 behind that.
            let onward = if depth == 7 { nodes + 16 } else { depth + 1 };
            let children = if bit == 0 { [onward, nodes] } else { [nodes, onward] };
            for child in children {
                bytes.extend(&child.to_be_bytes()[1..]);
            }
        }
        bytes.extend([0; 16]);
        bytes.extend(record);
        bytes.extend(b"\xab\xcd\xefMaxMind.com");
        bytes.extend(object(&[
            ("node_count", number(6, u64::from(nodes))),
            ("record_size", number(5, 24)),
            ("ip_version", number(5, 4)),
            ("database_type", text("Test-City")),
            ("languages", [control(11, 1), text("en")].concat()),
            ("binary_format_major_version", number(5, 2)),
            ("binary_format_minor_version", number(5, 0)),
            ("build_epoch", number(9, 1_790_000_000)),
            ("description", object(&[("en", text("made in a test"))])),
        ]));
        bytes
    }

    #[test]
    fn names_come_in_the_languages_that_there_are() {
        let database = Mmdb::new(database()).unwrap();
        let region = database.region("1.2.3.4".parse().unwrap()).unwrap();
        for (locale, said) in [
            (Locale::ZhCn, "广东省 深圳市"),
            (Locale::ZhTw, "广东省 深圳市"),
            (Locale::En, "Guangdong Shenzhen"),
            (Locale::Ja, "Guangdong Shenzhen"),
        ] {
            assert_eq!(region.text(locale).as_deref(), Some(said));
        }
        for unknown in ["2.0.0.1", "2001:db8::1"] {
            assert!(database.region(unknown.parse().unwrap()).is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        assert!(Mmdb::new(b"no database".to_vec()).is_err());
        let whole = database();
        assert!(Mmdb::new(whole[..whole.len() - 60].to_vec()).is_err());
    }
}
