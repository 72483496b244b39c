//! The application behind all of them: a process of one thread that answers with bytes made beforehand.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::daemon::Daemon;
use crate::support::wire::find;

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    /// What an authentication service says of somebody whom it knows.
    allowed: Vec<u8>,
}

pub fn start() -> (Daemon, SocketAddr) {
    let (daemon, addresses) = Daemon::itself(&[ARGUMENT.to_owned()]);
    (daemon, addresses[0])
}

/// Says where it listens, and serves for ever.
pub fn serve() -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let answers = Arc::new(Answers {
            small: answer("", SMALL),
            large: answer("", LARGE),
            allowed: answer("Remote-User: u_3fd1hysr51h8rw5qgp7qpvchnh\r\n", 0),
        });
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(converse(stream, Arc::clone(&answers)));
            }
        }
    })
}

async fn converse(mut stream: TcpStream, answers: Arc<Answers>) {
    let mut buffer = Vec::with_capacity(16 * 1024);
    while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        let Some(end) = find(&buffer, b"\r\n\r\n") else {
            continue;
        };
        let answer = answers.to(&buffer);
        if stream.write_all(answer).await.is_err() {
            return;
        }
        buffer.drain(..end + 4);
    }
}

impl Answers {
    fn to(&self, head: &[u8]) -> &[u8] {
        let path = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        if path.ends_with(LARGE_PATH.as_bytes()) {
            &self.large
        } else if path == ALLOWING.as_bytes() {
            &self.allowed
        } else {
            &self.small
        }
    }
}

fn answer(headers: &str, length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{headers}Content-Length: {length}\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + length, b'x');
    bytes
}

pub const ARGUMENT: &str = "--as-upstream";
/// Asked by proxies that ask somebody: a constant 200.
pub const ALLOWING: &str = "/allow";
/// Paths that end so are answered with the large body.
pub const LARGE_PATH: &str = "/64k";
pub const SMALL: usize = 1024;
pub const LARGE: usize = 64 * 1024;
