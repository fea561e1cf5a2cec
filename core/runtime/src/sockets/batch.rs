//! A UDP socket that answers: batches of datagrams in, an answer to each out.

use std::io;
use std::net::{SocketAddr, UdpSocket};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::unix::AsyncFd;

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::mmsg as system;
use super::readable::readable;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use super::single as system;

/// The most datagrams of one batch.
pub const BATCH: usize = 32;

/// Bytes that an answer's buffer keeps between batches; an answer of more is rare, and its memory is given back.
const KEPT_ANSWER: usize = 4096;

/// A UDP socket on one of the device's own addresses, from which its answers leave. Receiving waits by the event loop;
/// sending never does: what a full socket does not take is lost, as on any network.
#[derive(Debug)]
pub struct AnsweringSocket {
    socket: AsyncFd<UdpSocket>,
}

impl AnsweringSocket {
    /// Takes a bound socket that does not block. Called within a tokio runtime.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        Ok(Self { socket: readable(socket)? })
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Waits for a datagram, and takes with it what else is there already. Whoever finds the batch
    /// [full](Batch::is_full) should let others have their turn before the next.
    ///
    /// # Errors
    /// The system's. Receiving may go on afterwards.
    pub fn poll_receive(&self, context: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        batch.filled = 0;
        loop {
            let mut readable = ready!(self.socket.poll_read_ready(context))?;
            let buffers = batch.room.chunks_exact_mut(batch.longest);
            match system::receive(self.fd(), buffers, &mut batch.lengths, &mut batch.names) {
                Ok(filled) => {
                    batch.filled = filled;
                    // Fewer than there was room for were all; to ask the system again would only make it say so. What
                    // comes meanwhile is told anew.
                    if !batch.is_full() {
                        readable.clear_ready();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
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
        SockRef::from(self.socket.get_ref()).send_to_with_flags(answer, &to.into(), libc::MSG_DONTWAIT)?;
        Ok(())
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn fd(&self) -> &UdpSocket {
        self.socket.get_ref()
    }
}

/// Whether a socket takes nothing more at this moment.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

/// Room for what one call of [`AnsweringSocket::poll_receive`] takes, and for the answers to it.
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

    /// Whether it holds as many as it can: there may be more where they came from.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled == BATCH
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::sockets::listen_udp;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn served() -> (AnsweringSocket, SocketAddr) {
        let socket = listen_udp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    async fn receive(socket: &AnsweringSocket, batch: &mut Batch) {
        let received = std::future::poll_fn(|context| socket.poll_receive(context, batch));
        timeout(PATIENCE, received).await.expect("nothing comes").unwrap();
    }

    fn client(server: SocketAddr) -> UdpSocket {
        let client = UdpSocket::bind(if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
        client.connect(server).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    #[tokio::test]
    async fn batches_take_what_is_there_and_answer_each_to_its_sender() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = listen_udp(address.parse().unwrap()).unwrap();
            let clients = [(); 3].map(|()| client(socket.local_addr().unwrap()));
            let total = 3 * 30;
            for number in 0..total {
                clients[number % 3].send(format!("question {number}").as_bytes()).unwrap();
            }
            let mut batch = Batch::new(64);
            let mut sizes = Vec::new();
            while sizes.iter().sum::<usize>() < total {
                receive(&socket, &mut batch).await;
                sizes.push(batch.len());
                for asked in batch.asked() {
                    let number: usize = std::str::from_utf8(&asked.query[9..]).unwrap().parse().unwrap();
                    assert_eq!(asked.from.address(), clients[number % 3].local_addr().unwrap());
                    // Every second gets no answer.
                    if number.is_multiple_of(2) {
                        asked.answer.extend_from_slice(b"answer ");
                        asked.answer.extend_from_slice(&asked.query[9..]);
                    }
                }
                socket.answer(&mut batch);
                assert!(batch.is_empty());
            }
            if cfg!(target_os = "linux") {
                assert_eq!(sizes, [32, 32, 26]);
            }
            let mut room = [0; 64];
            for number in (0..total).step_by(2) {
                let length = clients[number % 3].recv(&mut room).unwrap();
                assert_eq!(&room[..length], format!("answer {number}").as_bytes());
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_refused_keeps_no_other() {
        let (socket, address) = served();
        let client = client(address);
        for question in [b"0", b"1", b"2", b"3"] {
            client.send(question).unwrap();
        }
        let mut batch = Batch::new(8);
        let mut answered = 0;
        while answered < 4 {
            receive(&socket, &mut batch).await;
            for asked in batch.asked() {
                // No datagram is as long as that.
                let length = if matches!(asked.query, b"0" | b"2") { 70_000 } else { 3 };
                asked.answer.resize(length, asked.query[0]);
                answered += 1;
            }
            socket.answer(&mut batch);
        }
        let mut room = [0; 8];
        for expected in [b"111", b"333"] {
            assert_eq!(client.recv(&mut room).unwrap(), 3);
            assert_eq!(&room[..3], expected);
        }
    }

    #[tokio::test]
    async fn what_is_too_long_is_cut_and_an_empty_one_is_one() {
        let (socket, address) = served();
        let client = client(address);
        client.send(&[7; 100]).unwrap();
        client.send(b"").unwrap();
        let mut batch = Batch::new(10);
        let mut seen = Vec::new();
        while seen.len() < 2 {
            receive(&socket, &mut batch).await;
            seen.extend(batch.asked().map(|asked| asked.query.to_vec()));
        }
        assert_eq!(seen, [vec![7; 10], Vec::new()]);
    }
}
