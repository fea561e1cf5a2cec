//! Sockets that listen on the device's own addresses.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::batch::AnsweringSocket;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Bytes that a UDP socket may hold until they are received: a pause of 10 ms at 100,000 small datagrams a second, each
/// of which the kernel counts with its bookkeeping as 768 bytes or more. It takes the memory while they wait.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A UDP socket that answers from a local address. On Linux the address need not be there yet.
///
/// # Errors
/// The system's.
pub fn listen_udp(local: SocketAddr) -> io::Result<AnsweringSocket> {
    let socket = bound(local, Type::DGRAM, Protocol::UDP)?;
    enlarge(&socket);
    Ok(AnsweringSocket::new(socket.into()))
}

/// A TCP listener on a local address. On Linux the address need not be there yet. Called within a tokio runtime.
///
/// # Errors
/// The system's.
pub fn listen_tcp(local: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = bound(local, Type::STREAM, Protocol::TCP)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    tokio::net::TcpListener::from_std(socket.into())
}

fn bound(local: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let domain = Domain::for_address(local);
    let socket = Socket::new(domain, kind, Some(protocol))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Connections of an earlier run in TIME-WAIT do not hold the port.
        socket.set_reuse_address(true)?;
    }
    bind_free(&socket, domain)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

/// The kernel's limit is for programs without privilege; with it it can be passed. Less is no error: then more is lost
/// in a burst.
fn enlarge(socket: &Socket) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER).is_ok() {
        return;
    }
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
}

/// Lets the socket be bound to an address that is not there yet.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_free(socket: &Socket, domain: Domain) -> io::Result<()> {
    if domain == Domain::IPV6 { socket.set_freebind_v6(true) } else { socket.set_freebind_v4(true) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_free(_: &Socket, _: Domain) -> io::Result<()> {
    Ok(())
}
