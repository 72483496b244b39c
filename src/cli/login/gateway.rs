//! The gateway as a program without a browser sees it.
//!
//! Whoever answers is foreign: answers are bounded in time and size, nothing is followed elsewhere, and what is printed
//! of them cannot steer the terminal.

use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use url::{Host, Url};

use crate::cli::operator::printable;

/// Where a gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    origin: String,
    plain: bool,
    loopback: bool,
}

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAddress {
    #[error("{0:?} is no address: write one like https://wiki.example.com")]
    Unreadable(String),
    #[error("{0:?} is not on this machine, and a token must not cross a network in the clear: write https://")]
    Plain(String),
    #[error("the address holds a user name or password, which nobody asks for: leave it out")]
    Credentials,
}

/// Why the gateway did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    #[error("no HTTP client can be set up: {0}")]
    Client(String),
    #[error("no answer from {origin}: {cause}; check the address, and that the gateway runs")]
    Unreachable { origin: String, cause: String },
    #[error("{origin} cannot do it now ({message}): try again in a while")]
    Unavailable { origin: String, message: String },
    #[error("{origin} has been asked too often: try again in {} seconds", .retry_after.as_secs())]
    Busy { origin: String, retry_after: Duration },
    #[error("{origin} leads to {to}: write that address, if it is the right one")]
    Redirected { origin: String, to: String },
    #[error("{message} ({code})")]
    Refused { code: String, message: String },
    #[error(
        "no way to sign in there is called {0:?}, or none is for a code: leave --connection out, or ask the operator"
    )]
    NoConnection(String),
    #[error("{origin} does not answer as Menshen does ({said}): write the address of a site behind Menshen")]
    Stranger { origin: String, said: String },
}

/// A fresh ticket.
#[derive(Debug, Deserialize)]
pub(super) struct Ticket {
    pub(super) id: String,
    pub(super) connection: String,
    #[serde(default)]
    pub(super) number: Option<u8>,
    #[serde(default)]
    pub(super) qr_text: Option<String>,
    pub(super) expires_in: i64,
}

/// The answer to a poll.
pub(super) enum Answered {
    Waiting(Waiting),
    Tokens(Tokens),
}

/// Where a ticket stands.
#[derive(Debug, Deserialize)]
pub(super) struct Waiting {
    pub(super) status: String,
    #[serde(default)]
    pub(super) user: Option<User>,
}

/// Who scanned, masked.
#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) name: String,
}

/// The result. No `Debug`: these are secrets.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) access_token: String,
    pub(super) token_type: String,
    pub(super) expires_in: i64,
    pub(super) refresh_token: String,
}

#[derive(Deserialize)]
struct Envelope {
    error: ErrorObject,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: String,
    message: String,
}

/// A client of one gateway.
pub(super) struct Gateway {
    client: reqwest::Client,
    origin: String,
}

impl Address {
    /// Reads what was typed. Path and query are those of some page there and do not matter.
    pub(super) fn parse(text: &str) -> Result<Self, BadAddress> {
        let unreadable = || BadAddress::Unreadable(printable(text));
        let url = Url::parse(text).map_err(|_| unreadable())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadAddress::Credentials);
        }
        let loopback = match url.host().ok_or_else(unreadable)? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => IpAddr::V4(address).is_loopback(),
            Host::Ipv6(address) => IpAddr::V6(address).is_loopback(),
        };
        let plain = match url.scheme() {
            "https" => false,
            "http" if loopback => true,
            "http" => return Err(BadAddress::Plain(printable(text))),
            _ => return Err(unreadable()),
        };
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            plain,
            loopback,
        })
    }

    /// Whether it is reached without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }
}

impl Gateway {
    pub(super) fn new(address: Address) -> Result<Self, GatewayError> {
        let builder = reqwest::Client::builder()
            .user_agent(format!("menshen/{} ({})", env!("CARGO_PKG_VERSION"), system()))
            .redirect(Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT)
            .timeout(WAIT + SLACK);
        // What is on this machine is not behind the proxy of the network.
        let builder = if address.loopback { builder.no_proxy() } else { builder };
        let client = builder
            .build()
            .map_err(|error| GatewayError::Client(innermost(&error.without_url())))?;
        Ok(Self {
            client,
            origin: address.origin,
        })
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// A fresh ticket.
    pub(super) async fn ticket(&self, connection: Option<&str>, challenge: &str) -> Result<Ticket, GatewayError> {
        let mut body = json!({ "code_challenge": challenge });
        if let Some(connection) = connection {
            body["connection"] = json!(connection);
        }
        let (status, body) = self.post("tickets", &body).await?;
        match status {
            StatusCode::CREATED => self.read(&body),
            _ => match (self.refusal(status, &body), connection) {
                (GatewayError::Refused { code, .. }, Some(id)) if code == "not_found" => {
                    Err(GatewayError::NoConnection(printable(id)))
                }
                (error, _) => Err(error),
            },
        }
    }

    /// Asks for the tokens of a ticket; waits a while for something else than `seen`.
    pub(super) async fn redeem(&self, id: &str, verifier: &str, seen: &str) -> Result<Answered, GatewayError> {
        let seen: String = url::form_urlencoded::byte_serialize(seen.as_bytes()).collect();
        let path = format!("tickets/{id}/redeem?wait={}&seen={seen}", WAIT.as_secs());
        let (status, body) = self.post(&path, &json!({ "code_verifier": verifier })).await?;
        match status {
            StatusCode::ACCEPTED => Ok(Answered::Waiting(self.read(&body)?)),
            StatusCode::OK => {
                let tokens: Tokens = self.read(&body)?;
                let clean = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
                if clean(&tokens.access_token) && clean(&tokens.refresh_token) && clean(&tokens.token_type) {
                    Ok(Answered::Tokens(tokens))
                } else {
                    Err(self.stranger("a token that is none"))
                }
            }
            _ => Err(self.refusal(status, &body)),
        }
    }

    async fn post(&self, path: &str, body: &serde_json::Value) -> Result<(StatusCode, BytesMut), GatewayError> {
        let unreachable = |error: reqwest::Error| GatewayError::Unreachable {
            origin: self.origin.clone(),
            cause: innermost(&error.without_url()),
        };
        let address = format!("{}/.menshen/app/{path}", self.origin);
        let mut response = self.client.post(address).json(body).send().await.map_err(unreachable)?;
        if response.status().is_redirection() {
            return Err(GatewayError::Redirected {
                origin: self.origin.clone(),
                to: location(&response),
            });
        }
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            return Err(GatewayError::Busy {
                origin: self.origin.clone(),
                retry_after: retry_after(&response),
            });
        }
        let mut read = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if read.len() + chunk.len() > LARGEST {
                return Err(self.stranger("an endless answer"));
            }
            read.extend_from_slice(&chunk);
        }
        Ok((response.status(), read))
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, GatewayError> {
        serde_json::from_slice(body).map_err(|_| self.stranger("an answer that cannot be read"))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> GatewayError {
        let Ok(Envelope { error }) = serde_json::from_slice::<Envelope>(body) else {
            return self.stranger(status.as_str());
        };
        let message = printable(&error.message);
        if status.is_server_error() {
            return GatewayError::Unavailable {
                origin: self.origin.clone(),
                message,
            };
        }
        GatewayError::Refused {
            code: printable(&error.code),
            message,
        }
    }

    fn stranger(&self, said: &str) -> GatewayError {
        GatewayError::Stranger {
            origin: self.origin.clone(),
            said: said.to_owned(),
        }
    }
}

/// The system as user agents call it, so that the phone can say it.
fn system() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "Macintosh",
        other => other,
    }
}

/// The scheme and host that an answer leads to.
fn location(response: &Response) -> String {
    let target = response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| response.url().join(value).ok());
    target.map_or_else(|| "nowhere".to_owned(), |url| url.origin().ascii_serialization())
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    Duration::from_secs(seconds.unwrap_or(5).clamp(1, 60))
}

/// The cause at the bottom: the layers above it say only that there was one.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    printable(&cause.to_string())
}

/// So long one poll waits at the gateway.
const WAIT: Duration = Duration::from_secs(20);
const SLACK: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(10);
/// Of an answer, in bytes.
const LARGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_https_or_this_machine() {
        let origin = |text: &str| Address::parse(text).map(|address| (address.origin, address.plain));
        let plain = |text: &str| Err(BadAddress::Plain(text.to_owned()));
        let unreadable = |text: &str| Err(BadAddress::Unreadable(text.to_owned()));
        for (text, expected) in [
            (
                "https://Wiki.Example.com",
                Ok(("https://wiki.example.com".to_owned(), false)),
            ),
            (
                "https://wiki.example.com:8443/a?b#c",
                Ok(("https://wiki.example.com:8443".to_owned(), false)),
            ),
            (
                "http://127.0.0.1:8080/x",
                Ok(("http://127.0.0.1:8080".to_owned(), true)),
            ),
            ("http://[::1]:8080", Ok(("http://[::1]:8080".to_owned(), true))),
            ("http://localhost", Ok(("http://localhost".to_owned(), true))),
            ("http://wiki.example.com", plain("http://wiki.example.com")),
            ("http://localhost.evil.test", plain("http://localhost.evil.test")),
            ("http://127.0.0.1.evil.test", plain("http://127.0.0.1.evil.test")),
            ("https://user:pass@wiki.example.com", Err(BadAddress::Credentials)),
            ("wiki.example.com", unreadable("wiki.example.com")),
            ("ftp://wiki.example.com", unreadable("ftp://wiki.example.com")),
            ("", unreadable("")),
        ] {
            assert_eq!(origin(text), expected, "{text}");
        }
    }

    /// What is made of these bytes as an answer to a poll.
    async fn told(answer: String) -> String {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        });
        let gateway = Gateway::new(Address::parse(&address).unwrap()).unwrap();
        let told = match gateway.redeem("id", "verifier", "pending").await {
            Ok(Answered::Tokens(tokens)) => format!("tokens {}", tokens.access_token),
            Ok(Answered::Waiting(waiting)) => format!("waiting {}", waiting.status),
            Err(error) => error.to_string(),
        };
        serving.abort();
        told.replace(&address, "GATEWAY")
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[tokio::test]
    async fn every_answer_is_understood_or_named() {
        let tokens = r#"{"access_token":"mst_x","token_type":"Bearer","expires_in":3600,"refresh_token":"mst_y"}"#;
        let steering = tokens.replace("mst_x", "mst_\\u001b[2J");
        let error = r#"{"error":{"code":"wrong_number","message":"Wrong \u001b[2J number","request_id":"1"}}"#;
        for (sent, expected) in [
            (answer("200 OK", "", tokens), "tokens mst_x"),
            (
                answer("202 Accepted", "", r#"{"status":"scanned","expires_in":9}"#),
                "waiting scanned",
            ),
            (
                answer("403 Forbidden", "", error),
                "Wrong \\u{1b}[2J number (wrong_number)",
            ),
            (
                answer("503 Service Unavailable", "", error),
                "GATEWAY cannot do it now (Wrong \\u{1b}[2J number): try again in a while",
            ),
            (
                answer("429 Too Many Requests", "Retry-After: 7\r\n", error),
                "GATEWAY has been asked too often: try again in 7 seconds",
            ),
            (
                answer("302 Found", "Location: https://evil.test/x\r\n", ""),
                "GATEWAY leads to https://evil.test: write that address, if it is the right one",
            ),
            (
                answer("404 Not Found", "", "<html>"),
                "GATEWAY does not answer as Menshen does (404): write the address of a site behind Menshen",
            ),
            (
                answer("200 OK", "", &steering),
                "GATEWAY does not answer as Menshen does (a token that is none): write the address of a site behind \
                 Menshen",
            ),
            (
                answer("200 OK", "", &" ".repeat(LARGEST + 1)),
                "GATEWAY does not answer as Menshen does (an endless answer): write the address of a site behind Menshen",
            ),
        ] {
            assert_eq!(told(sent.clone()).await, expected, "{}", &sent[..sent.len().min(200)]);
        }
        let gone = told(String::new()).await;
        assert!(gone.starts_with("no answer from GATEWAY: "), "{gone}");
    }
}
