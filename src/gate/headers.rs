//! The headers of a request, for whoever asks for many that are not there.
//!
//! The gate asks for some thirty names, of which a request has five. A lookup in the map hashes the name; here a name
//! that no header could have is told from one word, made once for a request.

use http::{HeaderMap, HeaderName, HeaderValue};

/// A request's headers, and a word that says which names they cannot be.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    map: &'a HeaderMap,
    /// One bit for each name in the map; names share bits.
    present: u128,
}

impl<'a> Headers<'a> {
    /// Looks at every name once.
    pub fn of(map: &'a HeaderMap) -> Self {
        let present = map.keys().fold(0, |present, name| present | bit(name));
        Self { map, present }
    }

    /// All of them.
    pub fn map(&self) -> &'a HeaderMap {
        self.map
    }

    /// Whether there is one of this name.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.may_have(name) && self.map.contains_key(name)
    }

    /// The first of this name.
    pub fn get(&self, name: &HeaderName) -> Option<&'a HeaderValue> {
        self.may_have(name).then(|| self.map.get(name)).flatten()
    }

    /// Every one of this name, as bytes, in the order in which they came.
    pub fn all(&self, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a> {
        let values = self.may_have(name).then(|| self.map.get_all(name).iter());
        values.into_iter().flatten().map(HeaderValue::as_bytes)
    }

    /// Whether there are several of this name.
    pub fn is_repeated(&self, name: &HeaderName) -> bool {
        self.all(name).nth(1).is_some()
    }

    fn may_have(&self, name: &HeaderName) -> bool {
        self.present & bit(name) != 0
    }
}

/// Of the length, and of the letters that differ most among names of one length.
fn bit(name: &HeaderName) -> u128 {
    let name = name.as_str().as_bytes();
    let letter = |place: usize| usize::from(name.get(place).copied().unwrap_or_default());
    let mixed = name.len() * 19 + letter(0) * 3 + letter(name.len() / 2) * 7 + letter(name.len() - 1);
    1 << (mixed % 128)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// For every name, there or not, the answers are the map's.
        #[test]
        fn it_answers_as_the_map_does(
            lines in prop::collection::vec(("[a-e_-]{1,4}", "[a-z]{0,3}"), 0..20),
            asked in "[a-e_-]{1,4}",
        ) {
            let mut map = HeaderMap::new();
            for (name, value) in &lines {
                map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            let headers = Headers::of(&map);
            let names = lines.iter().map(|(name, _)| name).chain([&asked]);
            for name in names.map(|name| name.parse::<HeaderName>().unwrap()) {
                prop_assert_eq!(headers.contains(&name), map.contains_key(&name));
                prop_assert_eq!(headers.get(&name), map.get(&name));
                let values: Vec<_> = map.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
                prop_assert_eq!(headers.is_repeated(&name), values.len() > 1);
                prop_assert_eq!(headers.all(&name).collect::<Vec<_>>(), values);
            }
        }
    }

    #[test]
    fn a_navigation_answers_for_what_it_has_not_without_the_map() {
        use http::header::*;
        let names = [
            HOST,
            USER_AGENT,
            ACCEPT_ENCODING,
            ACCEPT_LANGUAGE,
            COOKIE,
            ACCEPT,
            UPGRADE_INSECURE_REQUESTS,
        ];
        let fetch = [
            "sec-fetch-mode",
            "sec-fetch-dest",
            "sec-fetch-site",
            "sec-ch-ua",
            "sec-ch-ua-mobile",
        ];
        let names = names.into_iter().chain(fetch.map(HeaderName::from_static));
        let map: HeaderMap = names.map(|name| (name, HeaderValue::from_static("x"))).collect();
        let asked = [
            CONTENT_LENGTH,
            TRANSFER_ENCODING,
            CONNECTION,
            UPGRADE,
            AUTHORIZATION,
            EXPECT,
            CONTENT_TYPE,
            ORIGIN,
            FORWARDED,
            TE,
            ACCESS_CONTROL_REQUEST_METHOD,
        ];
        let more = [
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-request-id",
            "x-requested-with",
            "sec-purpose",
            "purpose",
        ];
        let headers = Headers::of(&map);
        let asked = asked.into_iter().chain(more.map(HeaderName::from_static));
        let looked_up = asked.filter(|name| headers.may_have(name)).count();
        assert!(
            looked_up <= 3,
            "{looked_up} of 17 share a bit with a name of the request"
        );
    }
}
