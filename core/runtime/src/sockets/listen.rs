//! Sockets that listen on the device's own addresses.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A UDP socket on a local address. On Linux the address need not be there yet. Called within a tokio runtime.
///
/// # Errors
/// The system's.
pub fn listen_udp(local: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
    let socket = bound(local, Type::DGRAM, Protocol::UDP)?;
    tokio::net::UdpSocket::from_std(socket.into())
}

/// A TCP listener on a local address. On Linux the address need not be there yet. Called within a tokio runtime.
///
/// # Errors
/// The system's.
pub fn listen_tcp(local: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = bound(local, Type::STREAM, Protocol::TCP)?;
    socket.listen(BACKLOG)?;
    tokio::net::TcpListener::from_std(socket.into())
}

fn bound(local: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let domain = Domain::for_address(local);
    let socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
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

/// Lets the socket be bound to an address that is not there yet.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_free(socket: &Socket, domain: Domain) -> io::Result<()> {
    if domain == Domain::IPV6 { socket.set_freebind_v6(true) } else { socket.set_freebind_v4(true) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_free(_: &Socket, _: Domain) -> io::Result<()> {
    Ok(())
}
