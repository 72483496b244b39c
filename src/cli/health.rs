//! `menshen health`: whether the gateway of this configuration is ready, for container checks.
//!
//! Only `server.admin_listen` is read, and not judged together with the rest: a gateway goes on with its old settings
//! when the file has got a mistake, and must not be restarted for it. Exit codes are 0 and 1; Docker keeps 2 for itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::cli::{DONE, FAILED, complain};

/// Why nothing can be said, or nothing good. The text is what the operator reads.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unhealthy {
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    #[error("server.admin_listen is \"off\": there is nothing to ask")]
    Off,
    #[error("server.admin_listen {0:?} is no address with a port")]
    Address(String),
    #[error("no answer from {0}: {1}")]
    Unreachable(SocketAddr, String),
    #[error("not ready: {0}")]
    NotReady(String),
}

/// The body of `/readyz`.
#[derive(Debug, Default, Deserialize)]
struct Readiness {
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    resting: Vec<Resting>,
}

/// A call of WeChat that a gateway does not make for a while.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Resting {
    pub(super) app_id: String,
    pub(super) endpoint: String,
    pub(super) errcode: i64,
    pub(super) remedy: String,
}

/// Asks `/readyz`; 0 when it answers 200, else 1 with the reasons on standard error.
pub(super) fn run(path: &Path) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error.to_string());
            return FAILED;
        }
    };
    match runtime.block_on(ask(path)) {
        Ok(_) => DONE,
        Err(error) => {
            complain(&error.to_string());
            FAILED
        }
    }
}

/// What a gateway that is ready does not ask of WeChat at present.
pub(super) async fn ask(path: &Path) -> Result<Vec<Resting>, Unhealthy> {
    let text = std::fs::read_to_string(path).map_err(|error| Unhealthy::File(path.display().to_string(), error))?;
    let address = admin_address(&text)?;
    let unreachable = |error: reqwest::Error| {
        let error = error.without_url();
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        Unhealthy::Unreachable(address, cause)
    };
    let client = reqwest::Client::builder().no_proxy().timeout(TIME_LIMIT).build();
    let answer = client.map_err(unreachable)?.get(format!("http://{address}/readyz"));
    let answer = answer.send().await.map_err(unreachable)?;
    let status = answer.status();
    let said: Readiness = answer.json().await.unwrap_or_default();
    if status == reqwest::StatusCode::OK {
        return Ok(said.resting);
    }
    Err(Unhealthy::NotReady(if said.reasons.is_empty() {
        status.to_string()
    } else {
        said.reasons.join(", ")
    }))
}

/// Where the gateway of this file is asked. A file that has got unreadable leaves the default.
fn admin_address(text: &str) -> Result<SocketAddr, Unhealthy> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let written = table.get("server").and_then(|server| server.get("admin_listen"));
    let written = written.and_then(toml::Value::as_str).unwrap_or(DEFAULT_ADDRESS);
    if written == "off" {
        return Err(Unhealthy::Off);
    }
    let address: SocketAddr = written.parse().map_err(|_| Unhealthy::Address(written.to_owned()))?;
    // Listening everywhere includes here; connecting to everywhere is no address.
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, address.port()))
}

const DEFAULT_ADDRESS: &str = "127.0.0.1:9901";
/// Container checks give up after a few seconds; an answer that takes this long is a bad one.
const TIME_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_address_is_that_of_the_file_even_when_the_rest_is_wrong() {
        for (text, expected) in [
            ("", Some("127.0.0.1:9901")),
            (
                "[server]\nadmin_listen = \"127.0.0.1:7\"\nno_such_key = 1",
                Some("127.0.0.1:7"),
            ),
            ("[server]\nadmin_listen = \"0.0.0.0:7\"", Some("127.0.0.1:7")),
            ("[server]\nadmin_listen = \"[::]:7\"", Some("[::1]:7")),
            ("[server\n", Some("127.0.0.1:9901")),
            ("[server]\nadmin_listen = \"off\"", None),
            ("[server]\nadmin_listen = \"localhost\"", None),
        ] {
            let address = admin_address(text).ok().map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{text}");
        }
    }

    /// What `ask` says of a listener that answers every connection with these bytes; `None` never answers.
    async fn told(answer: Option<&'static str>) -> Result<Vec<Resting>, String> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("menshen.toml");
        let address = listener.local_addr().unwrap();
        std::fs::write(&file, format!("[server]\nadmin_listen = \"{address}\"\n")).unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        let result = ask(&file).await.map_err(|error| error.to_string());
        serving.abort();
        result.map_err(|error| error.replace(&address.to_string(), "ADDRESS"))
    }

    #[tokio::test]
    async fn only_200_is_healthy_and_the_reasons_are_told() {
        let healthy = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(told(Some(healthy)).await, Ok(Vec::new()));
        let resting = "HTTP/1.1 200 OK\r\nContent-Length: 112\r\n\r\n\
            {\"ready\":true,\"resting\":[{\"app_id\":\"wx1\",\"endpoint\":\"stable_token\",\"errcode\":40164,\"remedy\":\"Repair.\"}]}        ";
        let told_of = told(Some(resting)).await.unwrap();
        assert_eq!((&*told_of[0].endpoint, told_of[0].errcode), ("stable_token", 40164));
        let stopping = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 64\r\n\r\n\
            {\"ready\":false,\"reasons\":[\"stopping\",\"store_unavailable\"]}        ";
        assert_eq!(
            told(Some(stopping)).await,
            Err("not ready: stopping, store_unavailable".to_owned())
        );
        let foreign = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(told(Some(foreign)).await, Err("not ready: 404 Not Found".to_owned()));
    }

    #[tokio::test]
    async fn a_gateway_that_does_not_answer_in_time_is_unhealthy() {
        let error = told(None).await.unwrap_err();
        assert!(error.starts_with("no answer from ADDRESS: "), "{error}");
    }
}
