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

/// Waits for a datagram.
pub(super) fn receive<'a>(
    socket: &UdpSocket,
    mut buffers: impl Iterator<Item = &'a mut [u8]>,
    lengths: &mut [usize; BATCH],
    names: &mut [Name; BATCH],
) -> io::Result<usize> {
    let (Some(buffer), Some(length), Some(name)) = (buffers.next(), lengths.first_mut(), names.first_mut())
    else {
        return Ok(0);
    };
    let (taken, from) = socket.recv_from(buffer)?;
    (*length, name.0) = (taken, from);
    Ok(1)
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
