//! Host patterns of sites: written out, `*.suffix`, or `*`.
//!
//! Patterns are kept as hosts arrive on the wire: lower case, international names in their ASCII form, no port. What
//! matches is decided here too, for the checks that ask which site a name belongs to.

use url::Host;

use super::mistake::Fault;
use super::settings::HostPattern;

/// Reads one entry of `hosts`.
pub(super) fn parse_host_pattern(text: &str) -> Result<HostPattern, Fault> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        return Err(Fault::new(
            format!("`{text}` is an address, not a host"),
            format!("write \"{}\"", without_port(host)),
        ));
    }
    if text.contains('/') {
        let host = text.split('/').next().unwrap_or_default();
        return Err(Fault::new(
            format!("`{text}` has a path"),
            format!("write \"{host}\" and put the path in a route"),
        ));
    }
    if without_port(text) != text {
        return Err(Fault::new(
            format!("`{text}` has a port"),
            format!(
                "write \"{}\": a site answers on every port that the gateway listens on",
                without_port(text)
            ),
        ));
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return match parse_name(suffix)? {
            Host::Domain(name) => Ok(HostPattern::Suffix(name)),
            _ => Err(Fault::new(
                format!("`{text}` is a wildcard over an address"),
                "write the address out",
            )),
        };
    }
    if text.contains('*') {
        return Err(Fault::new(
            format!("`{text}` has a * where none can stand"),
            "write a whole name, \"*.example.com\" for everything below a name, or \"*\" for whatever is left",
        ));
    }
    parse_name(text).map(|host| HostPattern::Exact(host.to_string()))
}

/// Whether a pattern matches a host in wire form.
pub(super) fn matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name == host,
        HostPattern::Suffix(suffix) => host
            .strip_suffix(suffix.as_str())
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
    }
}

/// A pattern as the file would write it.
pub(super) fn describe(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Suffix(suffix) => format!("*.{suffix}"),
    }
}

fn parse_name(text: &str) -> Result<Host, Fault> {
    let fault = || {
        Fault::new(
            format!("`{text}` is not a host name"),
            "write it as browsers show it, for example \"wiki.example.com\", \"10.0.0.5\" or \"[::1]\"",
        )
    };
    if text.ends_with('.') {
        return Err(Fault::new(
            format!("`{text}` ends in a dot"),
            format!("write \"{}\"", text.trim_end_matches('.')),
        ));
    }
    let host = Host::parse(text).map_err(|_| fault())?;
    if let Host::Domain(name) = &host {
        let good = name.len() <= 253
            && name.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            });
        if !good {
            return Err(fault());
        }
    }
    Ok(host)
}

/// The text without `:port`; brackets of IPv6 literals stay.
fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_kept_as_hosts_arrive() {
        let exact = |name: &str| Some(HostPattern::Exact(name.to_owned()));
        let suffix = |name: &str| Some(HostPattern::Suffix(name.to_owned()));
        for (text, pattern) in [
            ("*", Some(HostPattern::Any)),
            ("wiki.example.com", exact("wiki.example.com")),
            ("Wiki.Example.COM", exact("wiki.example.com")),
            ("维基.example.com", None),
            ("10.0.0.5", exact("10.0.0.5")),
            ("[::1]", exact("[::1]")),
            ("localhost", exact("localhost")),
            ("*.example.com", suffix("example.com")),
            ("*.", None),
            ("wiki.*", None),
            ("w*.example.com", None),
            ("*.*.example.com", None),
            ("*.10.0.0.5", None),
            ("wiki.example.com:443", None),
            ("[::1]:443", None),
            ("https://wiki.example.com", None),
            ("wiki.example.com/x", None),
            ("wiki.example.com.", None),
            ("wiki..example.com", None),
            ("a b", None),
            ("::1", None),
            ("", None),
        ] {
            let parsed = parse_host_pattern(text).ok();
            if text.starts_with('维') {
                assert!(
                    matches!(&parsed, Some(HostPattern::Exact(name)) if name.starts_with("xn--")),
                    "{parsed:?}"
                );
            } else {
                assert_eq!(parsed, pattern, "{text}");
            }
        }
    }

    #[test]
    fn a_suffix_covers_any_depth_and_not_the_bare_name() {
        let pattern = HostPattern::Suffix("example.com".to_owned());
        for (host, matched) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            ("badexample.com", false),
            (".example.com", false),
        ] {
            assert_eq!(matches(&pattern, host), matched, "{host}");
        }
    }
}
