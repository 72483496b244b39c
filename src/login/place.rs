//! What the phone is told about where a browser is.

use std::net::{IpAddr, Ipv6Addr};

use crate::login::geo::{GeoDatabase, Region};

/// What the phone is told about the browser's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Phone and browser share an address: one Wi-Fi, one office.
    SameNetwork,
    /// Where the operator's database has the browser's address, and the first half of it.
    Region(Box<Region>, String),
    /// The first half of the browser's address.
    Network(String),
}

impl Place {
    /// Of a browser, as seen from a phone.
    pub fn of(browser: IpAddr, phone: IpAddr, database: Option<&GeoDatabase>) -> Self {
        let (browser, phone) = (browser.to_canonical(), phone.to_canonical());
        if network(browser) == network(phone) {
            Self::SameNetwork
        } else {
            let known = database.and_then(|database| database.region(browser));
            match known {
                Some(region) => Self::Region(Box::new(region), first_half(browser)),
                None => Self::Network(first_half(browser)),
            }
        }
    }
}

/// `203.0.*.*`, `2001:db8:0:1:*`: enough to recognise one's own provider, not enough to find a house.
pub fn first_half(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            format!("{a}.{b}.*.*")
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}:*")
        }
    }
}

/// An IPv6 household has a /64 of which every device takes its own addresses.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn place_is_the_same_network_or_half_an_address() {
        let cases = [
            ("203.0.113.9", "203.0.113.9", Place::SameNetwork),
            ("::ffff:203.0.113.9", "203.0.113.9", Place::SameNetwork),
            ("203.0.113.9", "203.0.113.10", Place::Network("203.0.*.*".into())),
            ("2001:db8:1:2::3", "2001:db8:1:2:ffff::9", Place::SameNetwork),
            (
                "2001:db8:1:2::3",
                "203.0.113.9",
                Place::Network("2001:db8:1:2:*".into()),
            ),
        ];
        for (browser, phone, place) in cases {
            assert_eq!(
                Place::of(browser.parse().unwrap(), phone.parse().unwrap(), None),
                place,
                "{browser} {phone}"
            );
        }
    }
}
