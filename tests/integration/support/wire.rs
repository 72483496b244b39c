//! HTTP/1.1 by hand: what is sent is exactly what a test wrote, what is read is exactly what came.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::Answer;

/// A request head and its body.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A connection to the gateway.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes every line of a header away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(held, _)| !held.eq_ignore_ascii_case(name));
        self
    }

    #[must_use]
    pub fn json(self, value: &serde_json::Value) -> Self {
        self.body("application/json", value.to_string().as_bytes())
    }

    #[must_use]
    pub fn body(self, media_type: &str, body: &[u8]) -> Self {
        let mut request = self.header("Content-Type", media_type);
        request.body = body.to_vec();
        request
    }

    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(held, _)| held.eq_ignore_ascii_case(name))
    }

    /// The bytes on the wire; `Content-Length` is added where there is a body or the method has one.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let measured = self.has("content-length") || self.has("transfer-encoding");
        if !measured && (!self.body.is_empty() || self.method == "POST") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("the gateway listens"))
    }

    /// Over a connection that is open already.
    pub fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        // A gateway that has refused may have closed already: its answer says why.
        let _ = self.stream.write_all(bytes).await;
    }

    /// One request, one answer.
    pub async fn send(&mut self, request: &Request) -> Answer {
        self.write(&request.bytes()).await;
        self.answer(request.method == "HEAD").await
    }

    /// The next whole answer.
    pub async fn answer(&mut self, to_head: bool) -> Answer {
        let mut answer = self.head().await;
        while answer.status == 100 {
            answer = self.head().await;
        }
        if to_head || matches!(answer.status, 101 | 204 | 304) {
            return answer;
        }
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().expect("a length");
            while self.unread.len() < length {
                assert!(self.fill().await, "the answer ended early:\n{}", answer.head());
            }
            answer.body = self.unread.drain(..length).collect();
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body.extend(chunk);
            }
        } else {
            while self.fill().await {}
            answer.body = std::mem::take(&mut self.unread);
        }
        answer
    }

    /// The next answer's status line and headers.
    pub async fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at;
            }
            assert!(
                self.fill().await,
                "the connection ended before an answer: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("a head of text");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let headers = lines
            .map(|line| line.split_once(':').expect("a header line"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Answer {
            status: status.parse().expect("a status"),
            headers: headers.collect(),
            body: Vec::new(),
        }
    }

    /// The next chunk of a chunked body; `None` at its end, or when the connection is gone.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                break at;
            }
            if !self.fill().await {
                return None;
            }
        };
        let size = String::from_utf8_lossy(&self.unread[..line]).into_owned();
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16).expect("a chunk size");
        let whole = line + 2 + size + 2;
        while self.unread.len() < whole {
            if !self.fill().await {
                return None;
            }
        }
        let chunk: Vec<u8> = self.unread.drain(..whole).collect();
        (size > 0).then(|| chunk[line + 2..line + 2 + size].to_vec())
    }

    /// Whether the other side closes without sending anything more.
    pub async fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.fill().await
    }

    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await;
        let read = read.unwrap_or_else(|_| {
            let so_far = String::from_utf8_lossy(&self.unread);
            panic!("no answer within {PATIENCE:?}; so far {so_far:?}")
        });
        read.unwrap_or(0) > 0
    }
}

pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// After this a test has failed: longer than every wait of the gateway that a test meets.
pub const PATIENCE: Duration = Duration::from_secs(30);
