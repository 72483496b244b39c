//! Who may wait for a login in a window of its own.
//!
//! A page opens the login in a window, and that window tells it when the login is done. It is told nothing but that, and
//! at its exact origin only (`postMessage` with a target): one that `rd` may lead to, this host's own, or one whose
//! scripts may read the site's answers anyway (`cors_origins`).

use url::Url;

use crate::gate::Gate;
use crate::gate::origin::OwnOrigin;
use crate::gate::return_to::{is_named, is_public_port};

/// An origin that may be told, as a browser serialises it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopupOrigin(String);

impl PopupOrigin {
    /// Checks what a client asks for, at a host of the site at `site`.
    pub fn parse(asked: &str, gate: &Gate, own: &OwnOrigin<'_>, site: Option<usize>) -> Option<Self> {
        let url = Url::parse(asked).ok()?;
        // Exactly an origin: no path, no default port, no other spelling.
        let exact = matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == asked;
        if !exact {
            return None;
        }
        let listed = site
            .and_then(|site| gate.sites().at(site))
            .is_some_and(|site| site.routes.lists_cors_origin(asked));
        let allowed = own.is(asked.as_bytes()) || listed || (is_named(&url, gate) && is_public_port(&url, gate));
        allowed.then(|| Self(asked.to_owned()))
    }

    /// For `postMessage`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::config::settings::{Access, Route};
    use crate::gate::fixture::{gate, route, site};

    const OWN: OwnOrigin<'static> = OwnOrigin {
        secure: true,
        host: "app.test",
        port: None,
    };

    fn allowed(asked: &str, own: &OwnOrigin<'_>, site_index: Option<usize>) -> bool {
        let spa = Route {
            cors_origins: vec!["https://spa.example.com".into(), "http://localhost:5173".into()],
            ..route("/api/", Access::Login)
        };
        let gate = gate(vec![
            site(&["app.test"], vec![spa]),
            site(&["*.corp.test"], vec![]),
            site(&["*"], vec![]),
        ]);
        let parsed = PopupOrigin::parse(asked, &gate, own, site_index);
        assert!(parsed.as_ref().is_none_or(|origin| origin.as_str() == asked));
        parsed.is_some()
    }

    #[test]
    fn origins_of_named_hosts_of_this_host_and_of_the_sites_scripts_may_be_told() {
        for asked in [
            "https://app.test",
            "https://x.corp.test",
            "https://spa.example.com",
            "http://localhost:5173",
        ] {
            assert!(allowed(asked, &OWN, Some(0)), "{asked}");
        }
        // A site's own list is its own.
        assert!(!allowed("https://spa.example.com", &OWN, Some(1)));
        assert!(!allowed("https://spa.example.com", &OWN, None));
        // What only `*` matches vouches for itself and for nobody else.
        let any = OwnOrigin {
            host: "any.test",
            ..OWN
        };
        assert!(allowed("https://any.test", &any, Some(2)));
        assert!(!allowed("https://other.test", &any, Some(2)));
    }

    #[test]
    fn everything_else_is_told_nothing() {
        for asked in [
            "",
            "*",
            "null",
            "/",
            "https://evil.test",
            "http://app.test",
            "https://app.test:8443",
            "https://app.test:443",
            "https://app.test/",
            "https://app.test/x",
            "https://APP.test",
            "https://app.test.evil.test",
            "https://user@app.test",
            "https://spa.example.com.evil.test",
            "https://spa.example.com:8443",
            "http://spa.example.com",
            "javascript:alert(1)",
            "data:text/html,x",
            "file://",
            " https://app.test",
        ] {
            assert!(!allowed(asked, &OWN, Some(0)), "{asked}");
        }
    }
}
