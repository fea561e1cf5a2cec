//! One exchange by UDP outside the tunnel, from a socket of its own.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::time::timeout_at;
use weft_dns::message;

use super::RESEND;
use crate::sockets::SocketFactory;

/// Bytes of the longest datagram that is taken: over three times what is asked for (RFC 9715), since not every
/// resolver listens to that. A longer one counts as cut.
const MAX_UDP: usize = 4096;

/// Sends a query and takes the first datagram that fits.
///
/// The port is one that the system chooses by chance, and the socket is connected, so that the system passes over
/// datagrams of anybody else (RFC 5452, section 9).
pub(super) async fn exchange(
    sockets: &SocketFactory,
    server: SocketAddr,
    query: &[u8],
    deadline: Instant,
    fits: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let socket = sockets.datagrams(server)?;
    let mut wait = RESEND;
    loop {
        socket.send(query).await?;
        let until = deadline.min(Instant::now() + wait);
        match timeout_at(until.into(), receive(&socket, &fits)).await {
            Ok(answer) => return answer,
            Err(_) if until >= deadline => return Err(io::ErrorKind::TimedOut.into()),
            Err(_) => wait *= 2,
        }
    }
}

/// Room for a datagram is made when one is there: many queries wait, few are answered at the same moment.
async fn receive(socket: &UdpSocket, fits: &impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    loop {
        socket.readable().await?;
        let mut datagram = Vec::with_capacity(MAX_UDP);
        match socket.try_recv_buf(&mut datagram) {
            Ok(length) => {
                if length == MAX_UDP {
                    message::truncate(&mut datagram, MAX_UDP - 1);
                }
                if fits(&datagram) {
                    return Ok(datagram);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
