//! Addresses of applications: `http://host:port`, `https://host`, `unix:/path`.

use std::path::PathBuf;

use super::mistake::Fault;
use super::path::parse_path;
use super::settings::UpstreamAddress;
use super::values::parse_http_url;

/// Reads one entry of `upstreams`.
pub(super) fn parse_upstream(text: &str) -> Result<UpstreamAddress, Fault> {
    if let Some(path) = text.strip_prefix("unix:") {
        // `unix:///run/app.sock` is what other proxies write.
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.len() < 2 || path.ends_with('/') || path.contains('\0') {
            return Err(Fault::new(
                format!("`{text}` is not the path of a socket"),
                "write it from / on, for example \"unix:/run/app.sock\"",
            ));
        }
        return Ok(UpstreamAddress::Unix {
            path: PathBuf::from(path),
        });
    }
    if !text.contains("://") {
        return Err(Fault::new(
            format!("`{text}` has no scheme"),
            format!("write \"http://{text}\", \"https://{text}\" or \"unix:/path\""),
        ));
    }
    let url = parse_http_url(text).map_err(|fault| {
        match fault.message.contains('@') || fault.message.starts_with("a web") {
            true => fault,
            false => Fault::new(
                format!("`{text}` is not an upstream"),
                "write \"http://host:port\", \"https://host\" or \"unix:/path\"",
            ),
        }
    })?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new(
            format!("`{text}` has a query or a fragment"),
            "write scheme, host, port and at most a path",
        ));
    }
    let path = match url.path() {
        "/" => String::new(),
        path => parse_path(path)?.trim_end_matches('/').to_owned(),
    };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(Fault::new(
            format!("`{text}` has no host"),
            "write \"http://host:port\"",
        ));
    };
    if port == 0 {
        return Err(Fault::new(
            format!("`{text}` has port 0"),
            "write the port that the application listens on",
        ));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(UpstreamAddress::Network {
        https: url.scheme() == "https",
        host,
        port,
        path,
    })
}

/// As it is written in a file.
impl std::fmt::Display for UpstreamAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network {
                https,
                host,
                port,
                path,
            } => {
                let scheme = if *https { "https" } else { "http" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(formatter, "{scheme}://{open}{host}{close}:{port}{path}")
            }
            Self::Unix { path } => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_have_their_shapes() {
        let network = |https, host: &str, port, path: &str| {
            Some(UpstreamAddress::Network {
                https,
                host: host.to_owned(),
                port,
                path: path.to_owned(),
            })
        };
        for (text, address) in [
            ("http://10.0.0.5:8080", network(false, "10.0.0.5", 8080, "")),
            ("http://app", network(false, "app", 80, "")),
            ("https://App.internal/", network(true, "app.internal", 443, "")),
            ("http://[::1]:3000/base/", network(false, "::1", 3000, "/base")),
            (
                "unix:/run/app.sock",
                Some(UpstreamAddress::Unix {
                    path: PathBuf::from("/run/app.sock"),
                }),
            ),
            (
                "unix:///run/app.sock",
                Some(UpstreamAddress::Unix {
                    path: PathBuf::from("/run/app.sock"),
                }),
            ),
            ("unix:run/app.sock", None),
            ("unix:/", None),
            ("10.0.0.5:8080", None),
            ("app", None),
            ("ftp://app", None),
            ("http://", None),
            ("http://app:0", None),
            ("http://user:pass@app", None),
            ("http://app/?x", None),
            ("http://app/#x", None),
            ("http://app:99999", None),
        ] {
            assert_eq!(parse_upstream(text).ok(), address, "{text}");
        }
    }
}
