//! Holds the beginning of an answer until more of it is there, so that head and body leave in one call to the kernel.
//!
//! Pingora writes a head and its body one after the other. Its own listeners put a buffer of one segment between, which
//! every connection owns for as long as it lives, and which keeps back pieces of a slow body. Here the bytes held are on
//! the heap only from the head to the first piece of the body, that piece goes out with them at once, and nothing later is
//! held until the next flush. A head alone waits for its body unless Pingora flushes it, as it does without
//! `Content-Length`.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// A stream whose first write after a flush is held for the next one.
pub(super) struct Corked<S> {
    inner: S,
    held: Vec<u8>,
    /// How much of `held` has left.
    sent: usize,
    /// Something was written since the last flush.
    begun: bool,
}

impl<S> Corked<S> {
    /// Around a stream.
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            held: Vec::new(),
            sent: 0,
            begun: false,
        }
    }

    fn is_holding(&self) -> bool {
        self.sent < self.held.len()
    }

    /// Notes that so many bytes of what is held have left, and gives the room back after the last.
    fn let_go(&mut self, bytes: usize) {
        self.sent += bytes;
        if !self.is_holding() {
            self.held = Vec::new();
            self.sent = 0;
        }
    }
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_holding() {
            let left = self.held.get(self.sent..).unwrap_or_default();
            let bytes = ready!(Pin::new(&mut self.inner).poll_write(cx, left))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.let_go(bytes);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is held and, with the last of it, as much as goes of `more`. Only the latter is counted.
    fn poll_write_with_held(&mut self, cx: &mut Context<'_>, more: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        while self.is_holding() {
            let left = self.held.get(self.sent..).unwrap_or_default();
            let mut slices = [IoSlice::new(&[]); SLICES];
            let pieces = std::iter::once(left).chain(more.iter().map(|piece| &**piece));
            let mut used = 0;
            for (slot, piece) in slices.iter_mut().zip(pieces) {
                *slot = IoSlice::new(piece);
                used += 1;
            }
            let held = left.len();
            let slices = slices.get(..used).unwrap_or_default();
            let bytes = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.let_go(bytes.min(held));
            if bytes > held {
                return Poll::Ready(Ok(bytes - held));
            }
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, more)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_holding() {
            return self.poll_write_with_held(cx, &[IoSlice::new(bytes)]);
        }
        if !self.begun && !bytes.is_empty() && bytes.len() <= LONGEST_HELD {
            self.begun = true;
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.begun = true;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    /// What comes in several pieces is joined already, as frames of HTTP/2 are: it is not held.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.begun = true;
        if self.is_holding() {
            return self.poll_write_with_held(cx, pieces);
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        self.begun = false;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

#[async_trait]
impl<S: IO> Shutdown for Corked<S> {
    async fn shutdown(&mut self) {
        // An error here is one of the connection, which ends anyway.
        let _ = self.flush().await;
        Shutdown::shutdown(&mut self.inner).await;
    }
}

#[async_trait]
impl<S: IO> Peek for Corked<S> {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buffer).await
    }
}

impl<S: UniqueID> UniqueID for Corked<S> {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl<S: Ssl> Ssl for Corked<S> {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl<S: GetTimingDigest> GetTimingDigest for Corked<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> std::time::Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> std::time::Duration {
        self.inner.get_write_pending_time()
    }
}

impl<S: GetProxyDigest> GetProxyDigest for Corked<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.inner.set_proxy_digest(digest);
    }
}

impl<S: GetSocketDigest> GetSocketDigest for Corked<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}

impl<S: fmt::Debug> fmt::Debug for Corked<S> {
    /// Without the bytes: they are an answer to somebody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Corked")
            .field("inner", &self.inner)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

/// Longer than heads are; whatever is longer gains nothing by waiting.
const LONGEST_HELD: usize = 8 * 1024;
/// The held bytes, and pieces that come with them. What does not fit is asked for again by the writer.
const SLICES: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// Takes as much as each turn allows; what every call to it carried is kept.
    #[derive(Debug, Default)]
    struct Kernel {
        calls: Vec<Vec<u8>>,
        flushes: usize,
        /// How many bytes each call takes, from the front; afterwards all.
        takes: std::collections::VecDeque<usize>,
        broken: bool,
    }

    impl Kernel {
        fn everything(&self) -> Vec<u8> {
            self.calls.concat()
        }
    }

    impl AsyncWrite for Kernel {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            if self.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            match self.takes.pop_front() {
                // A full socket that has room again at the next turn.
                Some(0) if !joined.is_empty() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(most) => joined.truncate(most),
                None => {}
            }
            let taken = joined.len();
            self.calls.push(joined);
            Poll::Ready(Ok(taken))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_head_leaves_with_the_first_piece_of_its_body_and_later_pieces_at_once() {
        let mut stream = Corked::new(Kernel::default());
        stream.write_all(b"head").await.unwrap();
        assert_eq!(stream.inner.calls.len(), 0);
        stream.write_all(b"body").await.unwrap();
        assert_eq!(stream.inner.calls, [b"headbody".to_vec()]);
        stream.write_all(b"more").await.unwrap();
        assert_eq!(stream.inner.calls.len(), 2, "a slow body is not kept back");
        assert_eq!(stream.held.capacity(), 0, "and an idle connection owns no buffer");
    }

    #[tokio::test]
    async fn a_head_alone_leaves_with_the_flush_and_the_next_answer_is_held_again() {
        let mut stream = Corked::new(Kernel::default());
        stream.write_all(b"head").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!((stream.inner.calls.len(), stream.inner.flushes), (1, 1));
        stream.write_all(b"head").await.unwrap();
        assert_eq!(stream.inner.calls.len(), 1);
    }

    #[tokio::test]
    async fn what_is_long_or_joined_already_is_not_held() {
        let mut stream = Corked::new(Kernel::default());
        stream.write_all(&[b'x'; LONGEST_HELD + 1]).await.unwrap();
        assert_eq!(stream.inner.calls.len(), 1);
        stream.flush().await.unwrap();
        let frames = [IoSlice::new(b"frame"), IoSlice::new(b"frame")];
        assert_eq!(stream.write_vectored(&frames).await.unwrap(), 10);
        assert_eq!(stream.inner.calls.len(), 2);
    }

    #[tokio::test]
    async fn a_held_head_leaves_before_the_end() {
        let mut stream = Corked::new(Kernel::default());
        stream.write_all(b"head").await.unwrap();
        AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        assert_eq!(stream.inner.everything(), b"head");
    }

    #[tokio::test]
    async fn an_error_of_the_connection_reaches_the_writer() {
        let mut stream = Corked::new(Kernel {
            broken: true,
            ..Kernel::default()
        });
        stream.write_all(b"head").await.unwrap();
        let error = stream.write_all(b"body").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(Vec<u8>),
        Vectored(Vec<Vec<u8>>),
        Flush,
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..64);
        prop_oneof![
            bytes().prop_map(Step::Write),
            prop::collection::vec(bytes(), 0..12).prop_map(Step::Vectored),
            Just(Step::Flush),
        ]
    }

    proptest! {
        /// Whatever is written in whatever pieces arrives whole and in order, however little the kernel takes at a time.
        #[test]
        fn nothing_is_lost_repeated_or_reordered(
            steps in prop::collection::vec(step(), 0..40),
            takes in prop::collection::vec(0_usize..80, 0..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut stream = Corked::new(Kernel { takes: takes.into(), ..Kernel::default() });
                let mut written = Vec::new();
                for step in steps {
                    match step {
                        Step::Write(bytes) => {
                            stream.write_all(&bytes).await.unwrap();
                            written.extend(bytes);
                        }
                        Step::Vectored(pieces) => {
                            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
                            if slices.iter().all(|slice| slice.is_empty()) {
                                continue;
                            }
                            let taken = stream.write_vectored(&slices).await.unwrap();
                            written.extend(pieces.concat().into_iter().take(taken));
                        }
                        Step::Flush => {
                            stream.flush().await.unwrap();
                            assert_eq!(stream.inner.everything(), written);
                        }
                    }
                }
                stream.flush().await.unwrap();
                assert_eq!(stream.inner.everything(), written);
            });
        }
    }
}
