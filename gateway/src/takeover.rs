// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A process takes the place of another one on the same host: it gets the listening sockets, serves beside it, and tells it to leave. No
//! connection is refused or reset in between, also those that wait in the kernel.
//!
//! Both meet at a Unix socket in the state folder, which only their user may open. The one that is there sends each socket with a byte
//! (SCM_RIGHTS), then an end; once the other one is ready it says so, and gets a goodbye when nothing takes connections here any more.

use crate::process::Shared;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::fs::Permissions;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The meeting place's name in the state folder.
const NAME: &str = "takeover.sock";
/// Time for a message between the two.
const ANSWER: Duration = Duration::from_secs(10);
/// Time for the new process to be ready; then it gives up, and the one before goes on.
const READY: Duration = Duration::from_secs(60);
/// Time between two looks at whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// What a byte of the conversation says.
const SOCKET: u8 = b's';
const ALL_SENT: u8 = b'.';
const SERVING: u8 = b'r';
const GOODBYE: u8 = b'd';

/// Why a place was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeoverError {
    /// The system refused, or the other process went away.
    #[error("the process at {path} does not hand over its sockets")]
    Conversation {
        /// Where they met.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// There was nothing to serve in time.
    #[error("not ready within {} s, waiting for {waiting}: the process that is there goes on", READY.as_secs())]
    NotReady {
        /// What is missing.
        waiting: String,
    },
}

/// A process whose place is to be taken, and its sockets.
#[derive(Debug)]
pub(crate) struct Predecessor {
    path: PathBuf,
    stream: UnixStream,
    sockets: Vec<TcpListener>,
}

impl Predecessor {
    /// Asks the process of this state folder for its sockets; none where there is no process.
    pub(crate) async fn find(state_dir: &Path) -> Result<Option<Self>, TakeoverError> {
        let path = state_dir.join(NAME);
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(source) => return Err(TakeoverError::Conversation { path, source }),
        };
        let mut sockets = Vec::new();
        loop {
            match within(stream.async_io(Interest::READABLE, || receive(stream.as_fd()))).await {
                Ok((SOCKET, Some(socket))) => sockets.push(TcpListener::from(socket)),
                Ok((ALL_SENT, None)) => return Ok(Some(Self { path, stream, sockets })),
                Ok(_) => return Err(TakeoverError::Conversation { path, source: unexpected() }),
                Err(source) => return Err(TakeoverError::Conversation { path, source }),
            }
        }
    }

    /// Its socket on an address.
    pub(crate) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let is_there = |socket: &TcpListener| socket.local_addr().is_ok_and(|bound| bound == address);
        let at = self.sockets.iter().position(is_there)?;
        Some(self.sockets.swap_remove(at))
    }

    /// All that are left.
    pub(crate) fn take_rest(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.sockets)
    }

    /// Waits until this process is ready, and lets the other one leave. Whatever becomes of the other one after that, this one serves: were
    /// it to give up now, nobody would.
    pub(crate) async fn replace(mut self, shared: &Shared) -> Result<(), TakeoverError> {
        let deadline = Instant::now() + READY;
        while !shared.readiness.is_ready() {
            if Instant::now() > deadline {
                return Err(TakeoverError::NotReady { waiting: shared.readiness.waiting_for().join(", ") });
            }
            sleep(LOOK).await;
        }
        let said = async {
            self.stream.write_u8(SERVING).await?;
            match self.stream.read_u8().await? {
                GOODBYE => Ok(()),
                _ => Err(unexpected()),
            }
        };
        if let Err(error) = within(said).await {
            tracing::warn!(path = %self.path.display(), %error, "the process before did not say goodbye");
        }
        Ok(())
    }
}

/// Waits for a process that takes this one's place; returns once it serves and nothing takes connections here any more. `pages` are the
/// sockets of the pages, which end with `ending`.
pub(crate) async fn offer(shared: &Shared, pages: &[TcpListener], ending: &CancellationToken) {
    let path = shared.bootstrap.state_dir.join(NAME);
    let meeting = match open(&path) {
        Ok(meeting) => meeting,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no other process can take this one's place");
            return std::future::pending().await;
        }
    };
    loop {
        let Ok((stream, _)) = meeting.accept().await else {
            sleep(ANSWER).await;
            continue;
        };
        match hand_over(stream, shared, pages, ending).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "the other process did not take this one's place"),
        }
    }
}

/// A folder's meeting place; one that a dead process left is replaced.
fn open(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let meeting = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(meeting)
}

async fn hand_over(
    mut stream: UnixStream,
    shared: &Shared,
    pages: &[TcpListener],
    ending: &CancellationToken,
) -> io::Result<()> {
    let (theirs, ours) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
    if theirs != ours && theirs != 0 {
        return Err(io::Error::other(format!("it runs as user {theirs}")));
    }
    let sockets = shared.proxy.sockets().await;
    tracing::info!(sockets = sockets.len(), "another process asks to take this one's place");
    for socket in sockets.iter().chain(pages) {
        within(stream.async_io(Interest::WRITABLE, || send(stream.as_fd(), SOCKET, Some(socket.as_fd()))))
            .await?;
    }
    within(stream.async_io(Interest::WRITABLE, || send(stream.as_fd(), ALL_SENT, None))).await?;
    // Ours, until it is ready: that takes as long as it takes, and where it fails the stream ends.
    drop(sockets);
    if stream.read_u8().await? != SERVING {
        return Err(unexpected());
    }
    // From here on it serves, whatever becomes of the goodbye.
    ending.cancel();
    shared.proxy.hand_over();
    if let Err(error) = within(stream.write_u8(GOODBYE)).await {
        tracing::warn!(%error, "the other process did not wait for a goodbye");
    }
    tracing::info!("another process has taken this one's place");
    Ok(())
}

fn send(stream: BorrowedFd<'_>, byte: u8, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    let sockets = socket.as_slice();
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other("no room for a socket"));
    }
    sendmsg(stream, &[IoSlice::new(&[byte])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(stream: BorrowedFd<'_>) -> io::Result<(u8, Option<OwnedFd>)> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let message = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    Ok((byte[0], sockets.flatten().next()))
}

async fn within<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn unexpected() -> io::Error {
    io::Error::other("it says something else than expected")
}
