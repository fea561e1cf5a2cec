//! A datagram a system call, where the system takes no more at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::SockRef;

use super::batch::BATCH;

/// Who sent a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name(SocketAddr);

impl Default for Name {
    fn default() -> Self {
        Self(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
    }
}

impl Name {
    pub(super) fn address(&self) -> SocketAddr {
        self.0
    }
}

/// Takes the datagrams that are there, each into its own buffer. Says how many there were; their lengths and senders
/// stand in `lengths` and `names`.
///
/// # Errors
/// Why not even one was taken; of kind [`io::ErrorKind::WouldBlock`] where none is there.
pub(super) fn receive<'a>(
    socket: &UdpSocket,
    buffers: impl Iterator<Item = &'a mut [u8]>,
    lengths: &mut [usize; BATCH],
    names: &mut [Name; BATCH],
) -> io::Result<usize> {
    let mut count = 0;
    for ((buffer, length), name) in buffers.zip(lengths).zip(names) {
        match socket.recv_from(buffer) {
            Ok((taken, from)) => (*length, name.0) = (taken, from),
            Err(error) if count == 0 => return Err(error),
            Err(_) => break,
        }
        count += 1;
    }
    Ok(count)
}

/// Sends the first payload to the name beside it, without waiting.
pub(super) fn send<'a>(
    socket: &UdpSocket,
    mut payloads: impl Iterator<Item = (&'a Name, &'a [u8])>,
) -> io::Result<usize> {
    let Some((name, payload)) = payloads.next() else { return Ok(0) };
    SockRef::from(socket).send_to_with_flags(payload, &name.0.into(), libc::MSG_DONTWAIT)?;
    Ok(1)
}
