//! Waiting by the event loop for what comes by a socket, and for nothing else.

use std::io;
use std::net::UdpSocket;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Takes a socket that does not block. Who waits for what comes is not woken where there is room to send: with UDP that
/// is whenever a datagram has left. Called within a tokio runtime.
///
/// # Errors
/// The system's.
pub(super) fn readable(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: the socket owns its descriptor, which is open and the same one until the socket is dropped, and the
    // result owns the socket.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    Ok(registered?)
}
