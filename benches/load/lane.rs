//! One request after the other, in HTTP/1.1 on a connection of its own or in HTTP/2 on one that a few share.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::wire::{Request, find};

/// A request, and the answer that has to come.
#[derive(Clone)]
pub struct Exchange {
    bytes: Vec<u8>,
    request: http::Request<()>,
    status: u16,
    length: Length,
}

/// Of an answer's body.
#[derive(Debug, Clone, Copy)]
pub enum Length {
    Exactly(usize),
    /// What the gateway writes itself differs by a few bytes.
    AtLeast(usize),
}

/// Whoever sends one request at a time.
pub enum Lane {
    Http1(Http1),
    Http2(SendRequest<Bytes>),
}

pub struct Http1 {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// How servers are reached over TLS.
#[derive(Clone)]
pub struct Tls(TlsConnector);

impl Exchange {
    pub fn new(request: &Request, status: u16, length: Length) -> Self {
        let host = request.headers.iter().find(|(name, _)| name == "Host");
        let host = host.expect("a Host").1.as_str();
        let mut second = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("https://{host}{}", request.target));
        let of_one_connection = ["host", "connection"];
        for (name, value) in &request.headers {
            if !of_one_connection.contains(&name.to_ascii_lowercase().as_str()) {
                second = second.header(name, value);
            }
        }
        Self {
            bytes: request.bytes(),
            request: second.body(()).expect("a request"),
            status,
            length,
        }
    }

    /// The bytes before and after a text in the request, to put others in its place.
    pub fn around(&self, text: &str) -> Option<(&[u8], &[u8])> {
        let at = find(&self.bytes, text.as_bytes())?;
        Some((&self.bytes[..at], &self.bytes[at + text.len()..]))
    }

    fn check(&self, status: u16, length: usize) -> io::Result<()> {
        let holds = match self.length {
            Length::Exactly(expected) => length == expected,
            Length::AtLeast(expected) => length >= expected,
        };
        if status == self.status && holds {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{} {} was answered {status} with {length} bytes instead of {} with {:?}",
            self.request.method(),
            self.request.uri(),
            self.status,
            self.length
        )))
    }
}

impl Lane {
    /// As many as there are to be requests at the same time.
    pub async fn open(address: SocketAddr, tls: Option<&Tls>, lanes: u32) -> io::Result<Vec<Self>> {
        let mut open = Vec::new();
        let Some(tls) = tls else {
            for _ in 0..lanes {
                open.push(Self::Http1(Http1::open(address).await?));
            }
            return Ok(open);
        };
        let mut left = lanes;
        while left > 0 {
            let here = left.min(STREAMS);
            let sender = tls.connect(address).await?;
            open.extend((0..here).map(|_| Self::Http2(sender.clone())));
            left -= here;
        }
        Ok(open)
    }

    /// Sends, reads the whole answer, and holds it against what has to come.
    pub async fn exchange(&mut self, exchange: &Exchange) -> io::Result<()> {
        match self {
            Self::Http1(lane) => lane.exchange(&exchange.bytes, exchange).await,
            Self::Http2(sender) => {
                let answered = second(sender, exchange).await;
                let (status, length) = answered.map_err(io::Error::other)?;
                exchange.check(status, length)
            }
        }
    }
}

impl Http1 {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(80 * 1024),
        })
    }

    /// Sends other bytes than the exchange's own, and checks the answer by it.
    pub async fn exchange(&mut self, bytes: &[u8], exchange: &Exchange) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.buffer.clear();
        let head = loop {
            self.fill().await?;
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let (status, length) = read_head(&self.buffer[..head])
            .ok_or_else(|| io::Error::other(String::from_utf8_lossy(&self.buffer[..head]).into_owned()))?;
        while self.buffer.len() < head + length {
            self.fill().await?;
        }
        exchange.check(status, self.buffer.len() - head)
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::other("the connection ended")),
            _ => Ok(()),
        }
    }
}

/// Status and `Content-Length`; every answer here has one.
fn read_head(head: &[u8]) -> Option<(u16, usize)> {
    let text = std::str::from_utf8(head).ok()?;
    let status = text.get(9..12)?.parse().ok()?;
    let length = text.split("\r\n").skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    })?;
    Some((status, length))
}

async fn second(sender: &SendRequest<Bytes>, exchange: &Exchange) -> Result<(u16, usize), h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (answer, _) = sender.send_request(exchange.request.clone(), true)?;
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok((status, length))
}

impl Tls {
    /// Trusts this one certificate.
    pub fn trusting(certificate: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(TlsConnector::from(Arc::new(config)))
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SendRequest<Bytes>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(crate::support::world::SITE).expect("a name");
        let stream = self.0.connect(name, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the server does not speak HTTP/2"));
        }
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(stream)
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Requests at the same time on one HTTP/2 connection: what a page of a few parts asks for.
const STREAMS: u32 = 8;
