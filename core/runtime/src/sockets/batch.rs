//! A UDP socket that answers: batches of datagrams in, an answer to each out.

use std::io;
use std::net::{Shutdown, SocketAddr, UdpSocket};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsFd;

use socket2::SockRef;

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::mmsg as system;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use super::single as system;

/// The most datagrams of one batch.
pub const BATCH: usize = 32;

/// Bytes that an answer's buffer keeps between batches; an answer of more is rare, and its memory is given back.
const KEPT_ANSWER: usize = 4096;

/// A UDP socket on one of the device's own addresses, from which its answers leave. Receiving waits; sending never
/// does: what a full socket does not take is lost, as on any network.
#[derive(Debug)]
pub struct AnsweringSocket {
    socket: UdpSocket,
}

impl AnsweringSocket {
    pub(super) fn new(socket: UdpSocket) -> Self {
        Self { socket }
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for a datagram, and takes with it what else is there already.
    ///
    /// # Errors
    /// The system's. Receiving may go on afterwards.
    pub fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        batch.filled = 0;
        let buffers = batch.room.chunks_exact_mut(batch.longest);
        batch.filled = system::receive(self.fd(), buffers, &mut batch.lengths, &mut batch.names)?;
        Ok(())
    }

    /// Sends every answer of a batch that has one.
    pub fn answer(&self, batch: &mut Batch) {
        let mut start = 0;
        loop {
            let answers = batch.names.iter().zip(&batch.answers).enumerate().take(batch.filled).skip(start);
            let mut given = answers.filter(|(_, (_, answer))| !answer.is_empty());
            let Some((first, _)) = given.clone().next() else { break };
            let payloads = given.clone().map(|(_, (name, answer))| (name, answer.as_slice()));
            let next = match system::send(self.fd(), payloads) {
                Ok(sent) => given.nth(sent.max(1)).map(|(place, _)| place),
                Err(error) if is_full(&error) => None,
                // One that is refused must not keep the others.
                Err(_) => Some(first + 1),
            };
            match next {
                Some(next) => start = next,
                None => break,
            }
        }
        batch.forget();
    }

    /// Sends one answer that was not ready with its batch.
    ///
    /// # Errors
    /// The system's; of kind [`io::ErrorKind::WouldBlock`] where the socket is full.
    pub fn send_to(&self, answer: &[u8], to: SocketAddr) -> io::Result<()> {
        SockRef::from(&self.socket).send_to_with_flags(answer, &to.into(), libc::MSG_DONTWAIT)?;
        Ok(())
    }

    /// Ends a wait in [`receive`](Self::receive), now or as soon as it begins; nothing more is received in earnest.
    pub fn shut_down(&self) {
        // Linux wakes who waits though it says that the socket is not connected. Elsewhere a datagram does.
        let _not_connected = SockRef::from(&self.socket).shutdown(Shutdown::Read);
        if let Ok(address) = self.local_addr() {
            let _full = self.send_to(&[], address);
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn fd(&self) -> &UdpSocket {
        &self.socket
    }
}

/// Whether a socket takes nothing more at this moment.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

/// Room for what one call of [`AnsweringSocket::receive`] takes, and for the answers to it.
pub struct Batch {
    room: Box<[u8]>,
    /// Bytes of the longest datagram that is taken whole; what is longer is cut to it.
    longest: usize,
    filled: usize,
    lengths: [usize; BATCH],
    names: [system::Name; BATCH],
    answers: [Vec<u8>; BATCH],
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("filled", &self.filled).finish_non_exhaustive()
    }
}

/// One datagram of a batch.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its bytes.
    pub query: &'a [u8],
    /// What is to be sent back; nothing where it stays empty.
    pub answer: &'a mut Vec<u8>,
    /// Who sent it.
    pub from: Sender<'a>,
}

/// Who sent a datagram.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a>(&'a system::Name);

impl Sender<'_> {
    /// Its address.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        self.0.address()
    }
}

impl Batch {
    /// Room for datagrams of `longest` bytes (at least 1), [`BATCH`] times; the system backs what is used of it.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        let longest = longest.max(1);
        Self {
            room: vec![0; longest * BATCH].into_boxed_slice(),
            longest,
            filled: 0,
            lengths: [0; BATCH],
            names: [system::Name::default(); BATCH],
            answers: Default::default(),
        }
    }

    /// How many datagrams it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The datagrams, each with the room for its answer.
    pub fn asked(&mut self) -> impl Iterator<Item = Asked<'_>> {
        let queries = self.room.chunks_exact(self.longest).zip(&self.lengths);
        let sides = self.names.iter().zip(&mut self.answers);
        queries.zip(sides).take(self.filled).map(|((room, length), (name, answer))| Asked {
            query: room.get(..*length).unwrap_or(room),
            answer,
            from: Sender(name),
        })
    }

    fn forget(&mut self) {
        for answer in self.answers.iter_mut().take(self.filled) {
            answer.clear();
            answer.shrink_to(KEPT_ANSWER);
        }
        self.filled = 0;
    }
}
