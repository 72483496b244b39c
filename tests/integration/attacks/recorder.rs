//! An upstream that keeps every byte of what reaches it and answers as it is told.
//!
//! It reads requests strictly and one after the other on each connection: a request that was smuggled inside another
//! would be kept as one more.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use super::wire::{Headers, find};

/// The upstream. Clones share everything.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    seen: Mutex<Vec<Seen>>,
    arrived: Notify,
    plays: Mutex<HashMap<String, Play>>,
    connections: AtomicUsize,
    flooded: AtomicU64,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    pub(crate) headers: Headers,
    /// The first [`KEPT`] bytes of the body, decoded.
    pub(crate) body: Vec<u8>,
    /// Bytes of the whole body.
    pub(crate) body_length: u64,
    /// Everything between the last chunk and the end of the message.
    pub(crate) trailers: Vec<u8>,
    /// The message ended as it said.
    pub(crate) complete: bool,
}

/// What the upstream does with a request.
pub(crate) enum Play {
    /// These bytes; the connection stays.
    Answer(Vec<u8>),
    /// These bytes, then the end of the connection.
    AnswerAndClose(Vec<u8>),
    /// These bytes before the request's body is read.
    AnswerEarly(Vec<u8>),
    /// Nothing, ever.
    Silence,
    /// The end of the connection.
    Close,
    /// Accepts a WebSocket and sends back every byte.
    WebSocket {
        /// More lines for the 101, each with its line end.
        lines: String,
    },
    /// A 200 of type `text/event-stream`, whose pieces come through the channel.
    Stream(mpsc::Receiver<Vec<u8>>),
    /// A 200 with so many bytes.
    Flood(u64),
    /// The body is never read.
    Stall,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self {
            address: listener.local_addr().unwrap(),
            inner: Arc::new(Inner {
                seen: Mutex::default(),
                arrived: Notify::new(),
                plays: Mutex::default(),
                connections: AtomicUsize::new(0),
                flooded: AtomicU64::new(0),
            }),
        };
        let served = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                served.inner.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move { served.serve(stream).await });
            }
        });
        recorder
    }

    /// Tells what to do with requests for a path (without its query), once for a play that is used up by it.
    pub(crate) fn on(&self, path: &str, play: Play) {
        self.inner.plays.lock().unwrap().insert(path.to_owned(), play);
    }

    /// Everything that arrived since the last call.
    pub(crate) fn taken(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.inner.seen.lock().unwrap())
    }

    /// The only request that arrived since the last call.
    pub(crate) fn only(&self) -> Seen {
        let mut taken = self.taken();
        assert_eq!(taken.len(), 1, "{taken:#?}");
        taken.remove(0)
    }

    /// Waits for a request to arrive and takes it.
    pub(crate) async fn next(&self) -> Seen {
        loop {
            let arrived = self.inner.arrived.notified();
            let first = {
                let mut seen = self.inner.seen.lock().unwrap();
                (!seen.is_empty()).then(|| seen.remove(0))
            };
            if let Some(first) = first {
                return first;
            }
            tokio::time::timeout(super::wire::PATIENCE, arrived)
                .await
                .expect("no request arrived");
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::Relaxed)
    }

    /// How many bytes of floods were taken from this upstream.
    pub(crate) fn flooded(&self) -> u64 {
        self.inner.flooded.load(Ordering::Relaxed)
    }

    fn play(&self, path: &str) -> Play {
        let mut plays = self.inner.plays.lock().unwrap();
        match plays.remove(path) {
            None => Play::Answer(plain(200, "", "upstream")),
            Some(play) => {
                let again = match &play {
                    Play::Answer(bytes) => Some(Play::Answer(bytes.clone())),
                    Play::AnswerAndClose(bytes) => Some(Play::AnswerAndClose(bytes.clone())),
                    Play::AnswerEarly(bytes) => Some(Play::AnswerEarly(bytes.clone())),
                    Play::Silence => Some(Play::Silence),
                    Play::Close => Some(Play::Close),
                    Play::WebSocket { lines } => Some(Play::WebSocket { lines: lines.clone() }),
                    Play::Flood(count) => Some(Play::Flood(*count)),
                    Play::Stall => Some(Play::Stall),
                    Play::Stream(_) => None,
                };
                if let Some(again) = again {
                    plays.insert(path.to_owned(), again);
                }
                play
            }
        }
    }

    fn keep(&self, seen: Seen) {
        self.inner.seen.lock().unwrap().push(seen);
        self.inner.arrived.notify_waiters();
    }

    async fn serve(&self, stream: TcpStream) {
        let mut reader = Reader {
            stream,
            buffer: Vec::new(),
        };
        while let Some(mut seen) = reader.head().await {
            let path = seen.target.split('?').next().unwrap_or_default().to_owned();
            let play = self.play(&path);
            if let Play::AnswerEarly(bytes) = &play {
                let _ = reader.stream.write_all(bytes).await;
            }
            if matches!(play, Play::Stall) {
                return std::future::pending().await;
            }
            // Only a client that expects it waits for it.
            if seen.headers.one("expect").is_some() {
                let _ = reader.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            reader.body(&mut seen).await;
            let complete = seen.complete;
            let key = seen.headers.one("sec-websocket-key").map(accept_key);
            self.keep(seen);
            if !complete {
                return;
            }
            match play {
                Play::Answer(bytes) => {
                    if reader.stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Play::AnswerAndClose(bytes) => {
                    let _ = reader.stream.write_all(&bytes).await;
                    return;
                }
                Play::AnswerEarly(_) | Play::Stall => {}
                Play::Silence => {
                    while reader.fill().await {}
                    return;
                }
                Play::Close => return,
                Play::WebSocket { lines } => return reader.echo(&key.unwrap_or_default(), &lines).await,
                Play::Stream(pieces) => return reader.stream(pieces).await,
                Play::Flood(count) => {
                    if !reader.flood(count, &self.inner.flooded).await {
                        return;
                    }
                }
            }
        }
    }
}

/// An answer with a length.
pub(crate) fn plain(status: u16, lines: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n{lines}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    async fn fill(&mut self) -> bool {
        let mut bytes = vec![0; 64 * 1024];
        match self.stream.read(&mut bytes).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                true
            }
        }
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.buffer, end) {
                let mut taken: Vec<u8> = self.buffer.drain(..at + end.len()).collect();
                taken.truncate(at);
                return Some(taken);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn head(&mut self) -> Option<Seen> {
        let head = self.until(b"\r\n\r\n").await?;
        let head: String = head.iter().map(|&byte| char::from(byte)).collect();
        let mut lines = head.split("\r\n");
        let request_line = lines.next().unwrap_or_default().to_owned();
        let parts: Vec<&str> = request_line.split(' ').collect();
        assert_eq!(
            parts.len(),
            3,
            "the gateway sent a request line of {} parts: {request_line:?}",
            parts.len()
        );
        Some(Seen {
            method: parts[0].to_owned(),
            target: parts[1].to_owned(),
            version: parts[2].to_owned(),
            headers: Headers::read(lines),
            body: Vec::new(),
            body_length: 0,
            trailers: Vec::new(),
            complete: true,
        })
    }

    async fn body(&mut self, seen: &mut Seen) {
        let chunked = seen.headers.one("transfer-encoding").is_some();
        let length: Option<u64> = seen.headers.one("content-length").map(|text| text.parse().unwrap());
        assert!(!(chunked && length.is_some()), "the gateway sent two lengths: {seen:?}");
        if !chunked {
            seen.complete = self.copy(seen, length.unwrap_or(0)).await;
            return;
        }
        loop {
            let Some(line) = self.until(b"\r\n").await else {
                seen.complete = false;
                return;
            };
            let line = String::from_utf8(line).unwrap();
            let size = u64::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("the gateway sent a chunk {line:?}"));
            if size == 0 {
                break;
            }
            if !self.copy(seen, size).await || self.until(b"\r\n").await.is_none() {
                seen.complete = false;
                return;
            }
        }
        while let Some(line) = self.until(b"\r\n").await {
            if line.is_empty() {
                return;
            }
            seen.trailers.extend_from_slice(&line);
            seen.trailers.extend_from_slice(b"\r\n");
        }
        seen.complete = false;
    }

    async fn copy(&mut self, seen: &mut Seen, count: u64) -> bool {
        let mut left = count;
        while left > 0 {
            if self.buffer.is_empty() && !self.fill().await {
                return false;
            }
            let now = usize::try_from(left).unwrap().min(self.buffer.len());
            let room = KEPT.saturating_sub(seen.body.len());
            seen.body.extend_from_slice(&self.buffer[..now.min(room)]);
            seen.body_length += now as u64;
            self.buffer.drain(..now);
            left -= now as u64;
        }
        true
    }

    async fn echo(mut self, accept: &str, lines: &str) {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
        );
        let _ = self.stream.write_all(head.as_bytes()).await;
        loop {
            let bytes = std::mem::take(&mut self.buffer);
            if self.stream.write_all(&bytes).await.is_err() || !self.fill().await {
                return;
            }
        }
    }

    async fn stream(mut self, mut pieces: mpsc::Receiver<Vec<u8>>) {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = self.stream.write_all(head.as_bytes()).await;
        while let Some(piece) = pieces.recv().await {
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend(piece);
            chunk.extend(b"\r\n");
            if self.stream.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = self.stream.write_all(b"0\r\n\r\n").await;
    }

    async fn flood(&mut self, count: u64, taken: &AtomicU64) -> bool {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n");
        let piece = vec![b'x'; 64 * 1024];
        let mut left = count;
        let mut ok = self.stream.write_all(head.as_bytes()).await.is_ok();
        while ok && left > 0 {
            let now = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            ok = self.stream.write_all(&piece[..now]).await.is_ok();
            left -= now as u64;
            taken.fetch_add(now as u64, Ordering::Relaxed);
        }
        ok
    }
}

/// `Sec-WebSocket-Accept` (RFC 6455 §4.2.2).
pub(crate) fn accept_key(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// Of each body.
const KEPT: usize = 1 << 20;
