//! Sockets that listen on the device's own addresses.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use weft_model::DNS_PROXY_ADDRESSES;

use super::batch::AnsweringSocket;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Bytes that a UDP socket may hold until they are received: a pause of 10 ms at 100,000 small datagrams a second, each
/// of which the kernel counts with its bookkeeping as 768 bytes or more. It takes the memory while they wait.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A UDP socket that answers from a local address. On Linux the address need not be there yet. Called within a tokio
/// runtime.
///
/// # Errors
/// The system's.
pub fn listen_udp(local: SocketAddr) -> io::Result<AnsweringSocket> {
    let socket = bound(local, Type::DGRAM, Protocol::UDP)?;
    socket.set_nonblocking(true)?;
    enlarge(&socket);
    AnsweringSocket::new(socket.into())
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
    if DNS_PROXY_ADDRESSES.contains(&local.ip())
        && let Err(error) = hear_loopback_alone(&socket)
    {
        tracing::warn!("{local} answers the neighbours too: {error}");
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

/// Drops what comes from elsewhere than this device. Linux takes a packet for any of its addresses by any interface
/// (RFC 1122, section 3.3.4.2, "weak ES"), and a neighbour may route those of the loopback interface here. Binding to
/// the interface would do for what comes, but the answers to the device's other addresses would find no route.
///
/// What comes before the filter is there is dropped too: nothing is bound yet.
#[cfg(target_os = "linux")]
fn hear_loopback_alone(socket: &Socket) -> io::Result<()> {
    use socket2::SockFilter;

    // In every network namespace (linux/include/net/flow.h, LOOPBACK_IFINDEX).
    const LOOPBACK: u32 = 1;
    let [load, equal, give] = [
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    ]
    .map(|code| u16::try_from(code).unwrap_or_default());
    let interface = (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX).cast_unsigned();
    socket.attach_filter(&[
        SockFilter::new(load, 0, 0, interface),
        SockFilter::new(equal, 0, 1, LOOPBACK),
        SockFilter::new(give, 0, 0, u32::MAX),
        SockFilter::new(give, 0, 0, 0),
    ])
}

#[cfg(not(target_os = "linux"))]
fn hear_loopback_alone(_: &Socket) -> io::Result<()> {
    Ok(())
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
