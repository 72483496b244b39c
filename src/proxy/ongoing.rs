//! Answers without an end, from their head on.
//!
//! Inside Pingora such an answer holds all that it takes to pass a request on, and the request itself: some forty
//! kilobytes for as long as a page waits, which is minutes, and thousands wait at a time. So the connection (HTTP/1.1) or
//! the stream (HTTP/2) is taken out of Pingora's session when the head is written, and goes on with the body alone.

use std::io::{Cursor, Error, ErrorKind};
use std::time::Duration;

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use pingora::ErrorType;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::proxy::bridge::Endless;

/// An answer whose head is written.
pub(super) struct Ongoing {
    line: Line,
    body: Body,
    silence: Duration,
}

/// What it is written to.
enum Line {
    /// All of a connection, which ends with it.
    Connection { stream: Stream, chunked: bool },
    /// A stream of HTTP/2.
    Session(Box<ServerSession>),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// Bytes of the body that were sent.
    pub(super) bytes: usize,
    /// What broke it off, as Pingora calls it.
    pub(super) error: Option<&'static str>,
}

impl Ongoing {
    /// Takes what `session` answers to out of it; what stays there can be finished and nothing else. HTTP/1.1 must have
    /// been told `Connection: close`. `silence` is how long a client may take nothing.
    pub(super) fn take(session: &mut Session, endless: Endless, silence: Duration) -> Self {
        let Endless { body, chunked } = endless;
        let nothing = ServerSession::new_http1(Box::new(Cursor::new(Vec::new())));
        let taken = std::mem::replace(&mut session.downstream_session, Box::new(nothing));
        let line = match *taken {
            ServerSession::H1(connection) => Line::Connection {
                stream: connection.into_inner(),
                chunked,
            },
            other => Line::Session(Box::new(other)),
        };
        Self { line, body, silence }
    }

    /// Until the body ends or the client is gone.
    pub(super) async fn run(mut self) -> Ended {
        let mut bytes = 0;
        let broken = loop {
            let frame = tokio::select! {
                frame = self.body.frame() => frame,
                () = self.line.left() => break Some(ErrorType::ConnectionClosed),
            };
            match frame {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let length = data.len();
                    // On the heap, since nothing is written most of the time.
                    match timeout(self.silence, Box::pin(self.line.write(data))).await {
                        Ok(Ok(())) => bytes += length,
                        Ok(Err(_)) => break Some(ErrorType::WriteError),
                        Err(_) => break Some(ErrorType::WriteTimedout),
                    }
                }
                Some(Err(_)) => break Some(ErrorType::InternalError),
                None => break None,
            }
        };
        if broken.is_none() {
            // Who does not take the end has had everything before it.
            let _ = timeout(self.silence, Box::pin(self.line.end())).await;
        }
        Ended {
            bytes,
            error: broken.map(|error| error.as_str()),
        }
    }
}

impl Line {
    /// Returns when the client is gone. One of HTTP/1.1 that sends more is not waiting any longer either.
    async fn left(&mut self) {
        match self {
            Self::Connection { stream, .. } => {
                let _ = stream.read(&mut [0]).await;
            }
            Self::Session(session) => {
                let _ = Box::pin(session.read_body_or_idle(true)).await;
            }
        }
    }

    async fn write(&mut self, data: Bytes) -> std::io::Result<()> {
        match self {
            Self::Connection { stream, chunked } => {
                let bytes = if *chunked { chunk(&data) } else { data };
                stream.write_all(&bytes).await?;
                stream.flush().await
            }
            Self::Session(session) => session.write_response_body(data, false).await.map_err(broken),
        }
    }

    async fn end(&mut self) -> std::io::Result<()> {
        match self {
            Self::Connection { stream, chunked } => {
                if *chunked {
                    stream.write_all(LAST_CHUNK).await?;
                }
                stream.flush().await?;
                AsyncWriteExt::shutdown(stream).await
            }
            Self::Session(session) => session.write_response_body(Bytes::new(), true).await.map_err(broken),
        }
    }
}

fn broken(error: Box<pingora::Error>) -> Error {
    Error::new(ErrorKind::BrokenPipe, error)
}

/// RFC 9112 §7.1; nothing for nothing, which would be the last one.
fn chunk(data: &Bytes) -> Bytes {
    if data.is_empty() {
        return Bytes::new();
    }
    let size = format!("{:x}\r\n", data.len());
    let mut chunk = BytesMut::with_capacity(size.len() + data.len() + 2);
    chunk.put_slice(size.as_bytes());
    chunk.put_slice(data);
    chunk.put_slice(b"\r\n");
    chunk.freeze()
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
