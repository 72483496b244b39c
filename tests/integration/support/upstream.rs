//! The application: keeps the exact bytes of every request, and answers what it was told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::wire::find;

/// A recording application.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    received: Mutex<Vec<Received>>,
    answer: Mutex<Vec<u8>>,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Head, up to and with the empty line.
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    pub method: String,
    pub target: String,
    /// Names as they were written.
    pub headers: Vec<(String, String)>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self(Arc::new(Inner {
            address: listener.local_addr().unwrap(),
            received: Mutex::default(),
            answer: Mutex::new(answer(
                200,
                &[("Content-Type", "text/plain")],
                "hello from the application",
            )),
        }));
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let upstream = serving.clone();
                tokio::spawn(async move { upstream.serve(stream).await });
            }
        });
        upstream
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// From now on every request gets these bytes. [`answer`] makes ordinary ones.
    pub fn respond(&self, bytes: Vec<u8>) {
        *self.0.answer.lock().unwrap() = bytes;
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Received> {
        self.0.received.lock().unwrap().clone()
    }

    /// The latest request.
    #[track_caller]
    pub fn last(&self) -> Received {
        self.requests().pop().expect("a request reached the application")
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut unread = Vec::new();
        while let Some(received) = read(&mut stream, &mut unread).await {
            let to_head = received.method == "HEAD";
            self.0.received.lock().unwrap().push(received);
            let mut bytes = self.0.answer.lock().unwrap().clone();
            if to_head && let Some(end) = find(&bytes, b"\r\n\r\n") {
                bytes.truncate(end + 4);
            }
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
}

impl Received {
    /// The one value of a header; a second line of it is a failure.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        let value = values.pop();
        assert!(values.is_empty(), "{name} came more than once:\n{}", self.text());
        value
    }

    pub fn all(&self, name: &str) -> Vec<String> {
        let of_name = |(held, _): &&(String, String)| held.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(of_name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }
}

/// The bytes of an answer that says who wrote it.
pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 {status} Whatever\r\n{MARK}: 1\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{text}\r\n{body}").into_bytes()
}

async fn read(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(at) = find(unread, b"\r\n\r\n") {
            break at + 4;
        }
        fill(stream, unread).await?;
    };
    let head: Vec<u8> = unread.drain(..end).collect();
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.trim_end().split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let of = |wanted: &str| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let mut body = Vec::new();
    if let Some((_, length)) = of("content-length") {
        let length: usize = length.parse().ok()?;
        while unread.len() < length {
            fill(stream, unread).await?;
        }
        body = unread.drain(..length).collect();
    } else if of("transfer-encoding").is_some() {
        loop {
            let line = loop {
                if let Some(at) = find(unread, b"\r\n") {
                    break at;
                }
                fill(stream, unread).await?;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&unread[..line]).ok()?, 16).ok()?;
            while unread.len() < line + 4 + size {
                fill(stream, unread).await?;
            }
            let chunk: Vec<u8> = unread.drain(..line + 4 + size).collect();
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[line + 2..line + 2 + size]);
        }
    }
    Some(Received {
        head,
        body,
        method,
        target,
        headers,
    })
}

async fn fill(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let length = stream.read_buf(unread).await.ok()?;
    (length > 0).then_some(())
}

/// Only the application writes this header.
pub const MARK: &str = "x-application";
