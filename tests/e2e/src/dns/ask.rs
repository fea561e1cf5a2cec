//! Asking a server from a host.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netlab::Host;

use super::message::{Message, Query};

/// Sends a datagram and gives what comes back, or None where nothing has come by the deadline.
///
/// # Errors
/// The host cannot send there.
pub fn ask_udp(host: &Host, server: SocketAddr, bytes: &[u8], deadline: Duration) -> Result<Option<Vec<u8>>> {
    host.inside(|| {
        let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(deadline))?;
        socket.send(bytes)?;
        let mut answer = vec![0; 65536];
        match socket.recv(&mut answer) {
            Ok(length) => {
                answer.truncate(length);
                Ok(Some(answer))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{server}")),
        }
    })?
}

/// Sends a message on a connection of its own and gives the one that comes back, or None where the server hangs up or
/// says nothing by the deadline.
///
/// # Errors
/// There is no connection.
pub fn ask_tcp(host: &Host, server: SocketAddr, bytes: &[u8], deadline: Duration) -> Result<Option<Vec<u8>>> {
    host.inside(|| {
        let end = Instant::now() + deadline;
        let mut stream =
            TcpStream::connect_timeout(&server, deadline).with_context(|| format!("tcp {server}"))?;
        stream.write_all(&[&u16::try_from(bytes.len())?.to_be_bytes(), bytes].concat())?;
        let mut read = |length: usize| -> Option<Vec<u8>> {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).ok()?;
            let mut room = vec![0; length];
            stream.read_exact(&mut room).ok().map(|()| room)
        };
        let length = read(2).and_then(|head| head.try_into().ok().map(u16::from_be_bytes));
        Ok(length.and_then(|length| read(length.into())))
    })?
}

/// Asks as a stub resolver does: by UDP, and by TCP where the answer was cut.
///
/// # Errors
/// No answer, or one that is none.
pub fn resolve(host: &Host, server: SocketAddr, query: &Query) -> Result<Message> {
    let bytes = query.bytes(rand_id());
    let answer =
        ask_udp(host, server, &bytes, crate::PATIENCE)?.with_context(|| format!("{server} says nothing"))?;
    let message = Message::parse(&answer)?;
    if !message.is_truncated() {
        return Ok(message);
    }
    let answer =
        ask_tcp(host, server, &bytes, crate::PATIENCE)?.with_context(|| format!("{server} hangs up"))?;
    Message::parse(&answer)
}

/// Numbers that differ from query to query; nobody guesses at them in a laboratory.
fn rand_id() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0x1000);
    NEXT.fetch_add(0x0101, std::sync::atomic::Ordering::Relaxed)
}
