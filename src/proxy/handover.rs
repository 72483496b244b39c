//! One process hands its listening sockets to the next: an upgrade in which no connection is refused.
//!
//! The running process waits at a Unix socket in `data_dir`, which nobody else can enter. The new one is given the
//! listening sockets themselves (`SCM_RIGHTS`), so that connections queue up in one place all the time; it opens
//! everything, accepts, and only then says so, and the old one stops as by a signal. A new process that does not come up
//! leaves the old one as it was. Pingora's own transfer covers only listeners that Pingora opened.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tracing::{info, warn};

/// Listening sockets of the process before; none at an ordinary start.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<(SocketAddr, TcpListener)>,
    former: Option<UnixStream>,
}

/// What this process would hand over.
#[derive(Debug)]
pub struct Offer {
    path: PathBuf,
    pid_file: PathBuf,
    socket: UnixListener,
    listeners: Vec<(SocketAddr, TcpListener)>,
    taken: bool,
}

/// Why nothing is handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Nobody is there.
    #[error("--upgrade finds no running gateway at {path} ({source}): start without it, or name the data_dir of that one", path = .path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The exchange broke off.
    #[error("the running gateway did not hand its listeners over: {0}; start the new one as the user of the old one")]
    Broken(#[from] io::Error),
    /// The socket or the pid file cannot be made.
    #[error("{path}: {source}", path = .path.display())]
    Socket {
        /// Which of them.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Inherited {
    /// Asks the process that runs on the same `data_dir` for its listeners.
    ///
    /// # Errors
    /// See [`HandoverError`]; the running process then goes on.
    pub fn ask(data_dir: &Path) -> Result<Self, HandoverError> {
        let path = data_dir.join(SOCKET);
        let stream = UnixStream::connect(&path).map_err(|source| HandoverError::Nobody { path, source })?;
        stream.set_read_timeout(Some(EXCHANGE))?;
        let listeners = receive(&stream)?;
        Ok(Self {
            listeners,
            former: Some(stream),
        })
    }

    /// The listener of an address, if the process before had it.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let place = self.listeners.iter().position(|(known, _)| *known == address)?;
        Some(self.listeners.swap_remove(place).1)
    }

    /// Tells the process before that this one serves. Listeners that nobody took are closed.
    ///
    /// # Errors
    /// When the process before is gone, which is no harm any more.
    pub fn ready(mut self) -> io::Result<()> {
        match self.former.take() {
            Some(mut former) => former.write_all(&[READY]),
            None => Ok(()),
        }
    }
}

impl Offer {
    /// Waits at the socket of `data_dir` from now on, and says in the pid file there who does.
    ///
    /// # Errors
    /// [`HandoverError::Socket`].
    pub fn open(data_dir: &Path, listeners: Vec<(SocketAddr, TcpListener)>) -> Result<Self, HandoverError> {
        let pid_file = data_dir.join(PID_FILE);
        if let Err(source) = std::fs::write(&pid_file, format!("{}\n", std::process::id())) {
            return Err(HandoverError::Socket { path: pid_file, source });
        }
        let path = data_dir.join(SOCKET);
        // The one of the process before, which does not need it any more, or of one that was killed.
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(HandoverError::Socket { path, source });
            }
            _ => {}
        }
        match UnixListener::bind(&path) {
            Ok(socket) => Ok(Self {
                path,
                pid_file,
                socket,
                listeners,
                taken: false,
            }),
            Err(source) => Err(HandoverError::Socket { path, source }),
        }
    }

    /// Completes when another process has taken the listeners over and serves; says which.
    pub async fn taken(&mut self) -> Option<u32> {
        loop {
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "upgrade socket");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            match self.hand_over(stream).await {
                Ok(successor) => {
                    self.taken = true;
                    return successor;
                }
                Err(error) => warn!(%error, "the new process did not take over, this one goes on"),
            }
        }
    }

    async fn hand_over(&self, mut stream: tokio::net::UnixStream) -> io::Result<Option<u32>> {
        let peer = stream.peer_cred()?;
        // Root could, and would then go on as root, in a directory whose files this user cannot write any more.
        if peer.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("a process of another user asks for the listeners"));
        }
        send(&stream, &self.listeners)?;
        info!(listeners = self.listeners.len(), "listeners handed to a new process");
        let mut said = [0];
        tokio::time::timeout(START, stream.read_exact(&mut said)).await??;
        Ok(peer.pid().and_then(|pid| u32::try_from(pid).ok()))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // After a handover both belong to the new process.
        if !self.taken {
            let _ = std::fs::remove_file(&self.path);
            let _ = std::fs::remove_file(&self.pid_file);
        }
    }
}

/// The addresses as JSON, the sockets beside them in the same order.
fn send(stream: impl AsFd, listeners: &[(SocketAddr, TcpListener)]) -> io::Result<()> {
    let addresses: Vec<SocketAddr> = listeners.iter().map(|(address, _)| *address).collect();
    let text = serde_json::to_vec(&addresses)?;
    let sockets: Vec<BorrowedFd<'_>> = listeners.iter().map(|(_, listener)| listener.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if sockets.len() > MOST || !ancillary.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("too many listeners"));
    }
    let sent = sendmsg(stream, &[IoSlice::new(&text)], &mut ancillary, SendFlags::empty())?;
    if sent == text.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

fn receive(stream: &UnixStream) -> io::Result<Vec<(SocketAddr, TcpListener)>> {
    let mut text = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut text)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            sockets.extend(rights);
        }
    }
    let addresses: Vec<SocketAddr> = serde_json::from_slice(text.get(..received.bytes).unwrap_or_default())?;
    if addresses.len() != sockets.len() {
        return Err(io::Error::other("addresses and sockets do not belong together"));
    }
    Ok(addresses
        .into_iter()
        .zip(sockets.into_iter().map(TcpListener::from))
        .collect())
}

const SOCKET: &str = "upgrade.sock";
const PID_FILE: &str = "menshen.pid";
const READY: u8 = b'r';
/// Listeners of one gateway.
const MOST: usize = 64;
/// Bytes of all their addresses.
const LONGEST: usize = 8 * 1024;
/// Handing over takes no time.
const EXCHANGE: Duration = Duration::from_secs(5);
/// So long a new process may take to open its store and serve.
const START: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn listener() -> (SocketAddr, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (listener.local_addr().unwrap(), listener)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_that_waited_at_the_old_process_is_accepted_by_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let (address, socket) = listener();
        let mut offer = Offer::open(directory.path(), vec![(address, socket), listener()]).unwrap();
        let _waiting = std::net::TcpStream::connect(address).unwrap();
        let new = tokio::task::spawn_blocking({
            let directory = directory.path().to_owned();
            move || {
                let mut inherited = Inherited::ask(&directory).unwrap();
                let listener = inherited.take(address).unwrap();
                assert!(inherited.take(address).is_none());
                inherited.ready().unwrap();
                listener
            }
        });
        assert_eq!(offer.taken().await, Some(std::process::id()));
        let listener = new.await.unwrap();
        drop(offer);
        listener.accept().unwrap();
        // Both are the new process's to remove.
        assert!(directory.path().join(SOCKET).exists());
        assert!(directory.path().join(PID_FILE).exists());
    }

    #[tokio::test]
    async fn an_ordinary_end_leaves_neither_socket_nor_pid_file() {
        let directory = tempfile::tempdir().unwrap();
        let offer = Offer::open(directory.path(), vec![listener()]).unwrap();
        let said = std::fs::read_to_string(directory.path().join(PID_FILE)).unwrap();
        assert_eq!(said.trim(), std::process::id().to_string());
        drop(offer);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_new_process_that_fails_leaves_the_old_one_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let mut offer = Offer::open(directory.path(), vec![listener()]).unwrap();
        let path = directory.path().to_owned();
        let failing = tokio::task::spawn_blocking(move || drop(Inherited::ask(&path).unwrap()));
        tokio::select! {
            _ = offer.taken() => unreachable!("nobody was ready"),
            failed = failing => failed.unwrap(),
        }
        let path = directory.path().to_owned();
        let succeeding = tokio::task::spawn_blocking(move || Inherited::ask(&path).unwrap().ready());
        offer.taken().await;
        succeeding.await.unwrap().unwrap();
    }

    #[test]
    fn without_a_running_gateway_it_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let error = Inherited::ask(directory.path()).unwrap_err();
        assert!(error.to_string().contains("start without it"), "{error}");
    }
}
