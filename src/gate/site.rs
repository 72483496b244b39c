//! Which site a host belongs to.
//!
//! A name that is written out wins over a suffix, the longest suffix over shorter ones, and `*` takes what is left. A
//! host that only `*` matches is served, but nobody vouches for it: it is never a redirect target, a hand-off target
//! or an allowed origin.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use crate::config::settings::{Connection, HostPattern, Site};
use crate::gate::route::Routes;

/// The sites by host.
#[derive(Debug, Clone)]
pub struct SiteTable {
    sites: Vec<CompiledSite>,
    exact: HashMap<String, usize>,
    suffixes: HashMap<String, usize>,
    any: Option<usize>,
}

/// What deciding needs of a site.
#[derive(Debug, Clone)]
pub struct CompiledSite {
    /// `aud` of its assertion: the name by which tokens list it.
    pub audience: String,
    /// Ids of the connections whose sessions it accepts.
    pub connections: Vec<String>,
    /// Its rules.
    pub routes: Routes,
}

/// The site of a host.
#[derive(Debug, Clone, Copy)]
pub struct SiteMatch<'t> {
    /// Place in `Settings::sites`.
    pub index: usize,
    /// Compiled.
    pub site: &'t CompiledSite,
    /// How the host was found.
    pub by: MatchedBy,
}

/// Which kind of pattern a host matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchedBy {
    /// Written out.
    Exact,
    /// `*.suffix`.
    Suffix,
    /// Bare `*`: a host that nobody vouches for.
    Any,
}

impl SiteTable {
    /// The table of a configuration. Of two sites that name one host the first wins; `check` refuses such a file.
    pub fn new(sites: &[Site], connections: &[Connection]) -> Self {
        let mut table = Self {
            sites: Vec::new(),
            exact: HashMap::new(),
            suffixes: HashMap::new(),
            any: None,
        };
        for (index, site) in sites.iter().enumerate() {
            for pattern in &site.hosts {
                match pattern {
                    HostPattern::Exact(host) => {
                        table.exact.entry(canonical(host)).or_insert(index);
                    }
                    HostPattern::Suffix(suffix) => {
                        table.suffixes.entry(canonical(suffix)).or_insert(index);
                    }
                    HostPattern::Any => {
                        table.any.get_or_insert(index);
                    }
                }
            }
            let connections = site.connections.iter().filter_map(|&place| connections.get(place));
            table.sites.push(CompiledSite {
                audience: site.audience.clone(),
                connections: connections.map(|connection| connection.id.clone()).collect(),
                routes: Routes::new(site),
            });
        }
        table
    }

    /// The site of a host: lower case, no port, no trailing dot, IPv6 in brackets.
    pub fn site(&self, host: &str) -> Option<SiteMatch<'_>> {
        let (index, by) = self.find(host)?;
        self.sites.get(index).map(|site| SiteMatch { index, site, by })
    }

    /// Whether no site says for which hosts it is.
    pub fn names_no_host(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty()
    }

    /// The site at a place in `Settings::sites`.
    pub fn at(&self, index: usize) -> Option<&CompiledSite> {
        self.sites.get(index)
    }

    fn find(&self, host: &str) -> Option<(usize, MatchedBy)> {
        if let Some(&index) = self.exact.get(host) {
            return Some((index, MatchedBy::Exact));
        }
        // A suffix is of names: an address has no parent domain.
        if !self.suffixes.is_empty() && !is_address(host) {
            let mut rest = host;
            while let Some((label, parent)) = rest.split_once('.') {
                if label.is_empty() {
                    break;
                }
                if let Some(&index) = self.suffixes.get(parent) {
                    return Some((index, MatchedBy::Suffix));
                }
                rest = parent;
            }
        }
        self.any.map(|index| (index, MatchedBy::Any))
    }
}

impl SiteMatch<'_> {
    /// Whether the configuration names this host, so that it may be a redirect target, a hand-off target or an origin.
    pub fn is_named(&self) -> bool {
        self.by != MatchedBy::Any
    }
}

/// The host in the form that requests have it.
fn canonical(host: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
    }
}

fn is_address(host: &str) -> bool {
    host.starts_with('[')
        || host
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::gate::fixture::site;

    #[test]
    fn a_host_finds_the_closest_pattern() {
        let sites = [
            site(&["wiki.test", "WIKI2.test.", "::1", "192.0.2.7"], vec![]),
            site(&["*.corp.test"], vec![]),
            site(&["*.dev.corp.test", "a.dev.corp.test"], vec![]),
            site(&["*"], vec![]),
        ];
        let table = SiteTable::new(&sites, &[]);
        for (host, expected) in [
            ("wiki.test", (0, MatchedBy::Exact)),
            ("wiki2.test", (0, MatchedBy::Exact)),
            ("[::1]", (0, MatchedBy::Exact)),
            ("192.0.2.7", (0, MatchedBy::Exact)),
            ("x.corp.test", (1, MatchedBy::Suffix)),
            ("y.x.corp.test", (1, MatchedBy::Suffix)),
            ("dev.corp.test", (1, MatchedBy::Suffix)),
            ("b.dev.corp.test", (2, MatchedBy::Suffix)),
            ("c.b.dev.corp.test", (2, MatchedBy::Suffix)),
            ("a.dev.corp.test", (2, MatchedBy::Exact)),
            ("corp.test", (3, MatchedBy::Any)),
            ("xcorp.test", (3, MatchedBy::Any)),
            ("corp.test.evil.test", (3, MatchedBy::Any)),
            ("sub.wiki.test", (3, MatchedBy::Any)),
            ("[::2]", (3, MatchedBy::Any)),
        ] {
            let found = table.site(host).unwrap();
            assert_eq!((found.index, found.by), expected, "{host}");
            assert_eq!(found.is_named(), found.by != MatchedBy::Any, "{host}");
        }
    }

    #[test]
    fn without_a_star_unknown_hosts_have_no_site() {
        let sites = [site(&["wiki.test", "*.0.2.7"], vec![])];
        let table = SiteTable::new(&sites, &[]);
        for host in [
            "",
            "evil.test",
            "test",
            "wiki.test.evil.test",
            "wwiki.test",
            "192.0.2.7",
            ".wiki.test",
        ] {
            assert!(table.site(host).is_none(), "{host}");
        }
    }
}
