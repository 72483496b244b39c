//! Which headers of a client never reach an upstream, and which of an upstream never reach a client.
//!
//! Backends that follow CGI turn every punctuation mark of a header name into `_` and drop its case, so names are
//! compared *folded*: lower case, every other character than a letter or digit taken for `-`. A name with a character
//! that only folding could need (`_`, `.`, `+` …) goes no further unless the site lists it, and a listed one still
//! not if it folds onto a managed name (CVE-2025-64484). Names are dropped rather than refused: a stray header of some
//! browser extension should not lock its user out.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::config::settings::{HeaderSet, Settings};

/// The names that Menshen manages.
#[derive(Debug, Clone)]
pub struct ManagedNames {
    /// Folded; never pass, in either direction.
    identity: HashSet<Box<str>>,
    /// Beginnings of everything that is looked up: for each first character a set of second ones. Nearly every name
    /// that a browser sends is passed by this alone.
    beginnings: [u64; 64],
}

/// Names that a request loses; holds a few without allocating.
pub type NamesToRemove = SmallVec<[HeaderName; 8]>;

impl ManagedNames {
    /// The names of a configuration: the assertion header, the headers of all presets and of all custom sets, whichever
    /// site uses them.
    pub fn new(settings: &Settings) -> Self {
        let mut identity: HashSet<Box<str>> = IDENTITY_NAMES.iter().map(|name| Box::from(*name)).collect();
        identity.insert(fold(&settings.identity.assertion_header).into());
        let sets = settings
            .sites
            .iter()
            .map(|site| &site.headers)
            .chain([&settings.identity.headers]);
        for set in sets {
            if let HeaderSet::Custom(headers) = set {
                identity.extend(headers.iter().map(|(name, _)| Box::from(fold(name))));
            }
        }
        let mut beginnings = [0; 64];
        let names = identity.iter().map(|name| &**name);
        for name in names.chain(ALL_TABLES.into_iter().flatten().copied()) {
            let (first, second) = beginning(name);
            beginnings[first] |= 1 << second;
        }
        Self { identity, beginnings }
    }

    /// The names among a request's headers that go no further. `site_allowed` is the site's `allowed_headers`;
    /// forwarded headers stay only from a peer that is trusted. A clean request costs no allocation.
    pub fn names_to_remove(&self, headers: &HeaderMap, site_allowed: &[String], peer_trusted: bool) -> NamesToRemove {
        headers
            .keys()
            .filter(|name| self.removes(name.as_str(), site_allowed, peer_trusted))
            .cloned()
            .collect()
    }

    /// Whether a request header of this name (lower case) goes no further.
    pub fn removes(&self, name: &str, site_allowed: &[String], peer_trusted: bool) -> bool {
        if is_plain(name) {
            return self.is_managed(name, peer_trusted);
        }
        if !site_allowed.iter().any(|allowed| allowed == name) {
            return true;
        }
        // A backend that folds it would see a second one, whoever the peer is.
        let folded = fold(name);
        self.is_managed(&folded, false) || BODY_NAMES.contains(&folded.as_str())
    }

    /// Whether a response header of this name is Menshen's to set: an upstream's own is dropped.
    pub fn upstream_may_set(&self, name: &str) -> bool {
        match is_plain(name) {
            true => !(self.may_begin(name) && self.is_identity(name)),
            false => !self.is_identity(&fold(name)),
        }
    }

    fn may_begin(&self, folded: &str) -> bool {
        let (first, second) = beginning(folded);
        self.beginnings[first] & (1 << second) != 0
    }

    fn is_managed(&self, folded: &str, peer_trusted: bool) -> bool {
        self.may_begin(folded)
            && (self.is_identity(folded)
                || DANGEROUS_NAMES.contains(&folded)
                || starts_with_any(folded, &DANGEROUS_FAMILIES)
                || (!peer_trusted
                    && (FORWARDED_NAMES.contains(&folded) || starts_with_any(folded, &FORWARDED_FAMILIES))))
    }

    fn is_identity(&self, folded: &str) -> bool {
        starts_with_any(folded, &IDENTITY_FAMILIES) || self.identity.contains(folded)
    }
}

/// A name as a backend could see it: lower case, everything but letters and digits as `-`.
pub fn fold(name: &str) -> String {
    name.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte.to_ascii_lowercase())
            } else {
                '-'
            }
        })
        .collect()
}

const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = matches!(byte as u8, b'a'..=b'z' | b'0'..=b'9' | b'-');
        byte += 1;
    }
    plain
};

/// The first two characters of a folded name, each brought below 64; a name of one character continues with `-`.
fn beginning(folded: &str) -> (usize, u32) {
    let at = |place: usize| folded.as_bytes().get(place).copied().unwrap_or(b'-') & 63;
    (usize::from(at(0)), u32::from(at(1)))
}

/// Letters, digits and `-`: every backend sees the same name.
fn is_plain(name: &str) -> bool {
    name.bytes().fold(true, |plain, byte| plain & PLAIN[usize::from(byte)])
}

fn starts_with_any(name: &str, families: &[&str]) -> bool {
    families.iter().any(|family| name.starts_with(family))
}

/// Headers of the presets and of other gateways by which applications believe a user (folded).
const IDENTITY_NAMES: [&str; 23] = [
    "auth-user",
    "cert-subject",
    "x-anonymous-consumer",
    "x-client-cert",
    "x-client-dn",
    "x-client-verify",
    "x-credential-identifier",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-id-token",
    "x-forwarded-name",
    "x-forwarded-phone",
    "x-forwarded-preferred-username",
    "x-forwarded-roles",
    "x-forwarded-user",
    "x-forwarded-username",
    "x-jwt-assertion",
    "x-jwt-payload",
    "x-proxy-user",
    "x-userinfo",
    "x-verified-user",
];

/// Families of the same (folded).
const IDENTITY_FAMILIES: [&str; 25] = [
    "cf-access-",
    "oidc-",
    "remote-",
    "ssl-client-",
    "tailscale-",
    "teleport-",
    "x-amzn-oidc-",
    "x-amzn-mtls-",
    "x-auth-request-",
    "x-authenticated-",
    "x-authentik-",
    "x-consumer-",
    "x-forwarded-tls-client-",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-menshen-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-pomerium-",
    "x-remote-",
    "x-ssl-",
    "x-vouch-",
    "x-webauth-",
    // WeChat cloud hosting: X-WX-OPENID and its family.
    "x-tcb-",
    "x-wx-",
];

/// What changes the meaning of a request after it was decided on: `Proxy` (httpoxy, CVE-2016-5385), other paths, other
/// methods, switches of frameworks and proxies, what belongs to the hop.
const DANGEROUS_NAMES: [&str; 10] = [
    "forwarded",
    "http2-settings",
    "proxy",
    "x-http-method",
    "x-http-method-override",
    "x-http-path-override",
    "x-method-override",
    "x-middleware-subrequest",
    "x-override-url",
    "x-sendfile-type",
];

/// Families of the same.
const DANGEROUS_FAMILIES: [&str; 6] = [
    "proxy-",
    "x-accel-",
    "x-envoy-",
    "x-middleware-",
    "x-original-",
    "x-rewrite-",
];

/// What says how the body is read.
const BODY_NAMES: [&str; 4] = [
    "content-encoding",
    "content-length",
    "content-type",
    "transfer-encoding",
];

/// Facts about the client's connection, which only a trusted peer can know.
const FORWARDED_NAMES: [&str; 15] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "fastly-client-ip",
    "front-end-https",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-originating-ip",
    "x-real-ip",
    "x-real-port",
    "x-request-id",
    "x-scheme",
    "x-url-scheme",
];

/// Families of the same.
const FORWARDED_FAMILIES: [&str; 1] = ["x-forwarded-"];

const ALL_TABLES: [&[&str]; 6] = [
    &IDENTITY_NAMES,
    &IDENTITY_FAMILIES,
    &DANGEROUS_NAMES,
    &DANGEROUS_FAMILIES,
    &FORWARDED_NAMES,
    &FORWARDED_FAMILIES,
];

#[cfg(test)]
mod tests;
