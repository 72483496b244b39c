//! A client that sends bytes as they are written here, and reads what comes back.
//!
//! No HTTP library: each of them would refuse to send, or repair, what these tests are about.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection to the gateway.
pub(crate) struct Wire {
    stream: Box<dyn Duplex>,
    buffer: Vec<u8>,
    ended: bool,
    /// Interim answers (1xx) that came before the last answer.
    pub(crate) interim: Vec<u16>,
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

/// Header lines in their order, with their spelling.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl Wire {
    pub(crate) async fn plain(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn tls(address: SocketAddr, host: &str, authority: &CertificateDer<'static>) -> Self {
        Self::over(tls(address, host, authority, &[b"http/1.1"]).await)
    }

    pub(crate) fn over(stream: impl Duplex + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
            ended: false,
            interim: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The gateway may have refused and closed before the last byte: the answer says so.
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// True when the gateway takes no more.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The answer to a request whose method has answers with bodies.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    /// The answer to a request of this method. Interim answers are skipped and kept in [`Wire::interim`]; 101 is final.
    pub(crate) async fn answer_to(&mut self, method: &str) -> Answer {
        let mut answer = self.head().await;
        while answer.status < 200 && answer.status != 101 {
            self.interim.push(answer.status);
            answer = self.head().await;
        }
        if method == "HEAD" || matches!(answer.status, 101 | 204 | 304) {
            return answer;
        }
        let length = answer.headers.one("content-length").map(|text| text.parse().unwrap());
        if answer
            .headers
            .one("transfer-encoding")
            .is_some_and(|text| text == "chunked")
        {
            assert_eq!(length, None, "an answer with two lengths: {answer:?}");
            while let Some(chunk) = self.chunk().await {
                answer.body.extend(chunk);
            }
        } else if let Some(length) = length {
            answer.body = self.take(length).await;
        } else {
            while self.fill().await {}
            answer.body = std::mem::take(&mut self.buffer);
        }
        answer
    }

    /// The head of the next answer alone.
    pub(crate) async fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            let more = self.fill().await;
            assert!(
                more,
                "the connection ended without an answer: {:?}",
                self.buffer.escape_ascii().to_string()
            );
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap();
        assert!(status.starts_with("HTTP/1."), "{status:?}");
        Answer {
            status: status[9..12].parse().unwrap(),
            headers: Headers::read(lines),
            body: Vec::new(),
        }
    }

    /// The next chunk of a chunked body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line().await;
        let size = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
        let chunk = self.take(size).await;
        assert_eq!(self.line().await, "", "a chunk is longer than it says");
        (size > 0).then_some(chunk)
    }

    async fn line(&mut self) -> String {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                break at;
            }
            assert!(self.fill().await, "the connection ended within a line");
        };
        let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
        String::from_utf8_lossy(&line[..end]).into_owned()
    }

    /// So many bytes.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill().await, "ended after {} of {count} bytes", self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads and forgets; how many bytes came and a sum of them.
    pub(crate) async fn sink(&mut self, count: u64) -> u64 {
        let mut seen = 0;
        while seen < count {
            if self.buffer.is_empty() && !self.fill().await {
                break;
            }
            seen += self.buffer.len() as u64;
            self.buffer.clear();
        }
        seen
    }

    /// Whether the gateway closes this connection, with nothing more on it.
    pub(crate) async fn is_closed(&mut self) -> bool {
        while self.fill().await {}
        self.ended && self.buffer.is_empty()
    }

    /// What came until the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    async fn fill(&mut self) -> bool {
        if self.ended {
            return false;
        }
        let mut bytes = vec![0; 64 * 1024];
        match timeout(PATIENCE, self.stream.read(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => {
                self.ended = true;
                false
            }
            Ok(Ok(count)) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                true
            }
            Err(_) => panic!(
                "nothing came for {PATIENCE:?}; so far {:?}",
                self.buffer.escape_ascii().to_string()
            ),
        }
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// Status, and the code of a refusal in JSON.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let json: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let code = json.and_then(|json| json["error"]["code"].as_str().map(str::to_owned));
        (self.status, code.unwrap_or_default())
    }

    /// The `Set-Cookie` line of a cookie.
    pub(crate) fn set_cookie(&self, name: &str) -> Option<&str> {
        let start = format!("{name}=");
        self.headers
            .all("set-cookie")
            .into_iter()
            .find(|line| line.starts_with(&start))
    }

    /// `name=value` of a cookie that is set.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        Some(self.set_cookie(name)?.split(';').next()?.to_owned())
    }
}

impl Headers {
    pub(crate) fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let split = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
            (name.to_owned(), value.trim().to_owned())
        };
        Self(lines.map(split).collect())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.0.iter().filter(|(held, _)| held.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a header that is there once; more than once is a failure.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times: {self:?}", all.len());
        all.first().copied()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

/// One request over one plain connection.
pub(crate) async fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let request = request.as_ref();
    let method = request.split(|&byte| byte == b' ').next().unwrap_or_default();
    let mut wire = Wire::plain(address).await;
    wire.send(request).await;
    wire.answer_to(&String::from_utf8_lossy(method)).await
}

/// A TLS connection that trusts one certificate.
pub(crate) async fn tls(
    address: SocketAddr,
    host: &str,
    authority: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    tls_over(stream, host, authority, protocols).await
}

/// The same over a connection on which something was sent before.
pub(crate) async fn tls_over(
    stream: TcpStream,
    host: &str,
    authority: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// WebSocket frames of one message each (RFC 6455 §5), for texts below 126 bytes.
pub(crate) fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = vec![
        0x80 | opcode,
        u8::try_from(payload.len()).unwrap() | if mask.is_some() { 0x80 } else { 0 },
    ];
    let mut keys = VecDeque::from(mask.unwrap_or_default());
    frame.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
    for byte in payload {
        frame.push(byte ^ keys[0]);
        keys.rotate_left(1);
    }
    frame
}

/// Longer than any wait of the gateway that these tests provoke.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
