//! Makes sockets that stay outside the tunnel.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::udp::UdpSocket;

/// Keeps a socket outside the tunnel by a word to the system, such as Android's `VpnService.protect`.
pub trait Protect: Send + Sync {
    /// Called before the socket is bound or connected.
    ///
    /// # Errors
    /// The socket is not used then.
    fn protect(&self, socket: BorrowedFd<'_>) -> io::Result<()>;
}

/// Makes every socket outside the tunnel: the tunnel's own, DoH and fallback resolvers outside, orchestration and
/// probes. None leaves it that does not carry the mark, is not protected or is not bound to the interface.
#[derive(Clone, Default)]
pub struct SocketFactory {
    mark: Option<u32>,
    interface: Option<Arc<str>>,
    protect: Option<Arc<dyn Protect>>,
}

impl fmt::Debug for SocketFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketFactory")
            .field("mark", &self.mark)
            .field("interface", &self.interface)
            .field("protect", &self.protect.is_some())
            .finish()
    }
}

/// Bytes that a tunnel's socket may hold each way: 10 ms at 5 Gbit/s, as other tunnels ask for; on a phone, 80 ms at
/// 100 Mbit/s: there a late thread is what it is for, and memory is scarce, the system's too.
const TUNNEL_BUFFER: usize =
    if cfg!(any(target_os = "android", target_os = "ios")) { 1 << 20 } else { 7 << 20 };

impl SocketFactory {
    /// One that does nothing to its sockets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks each socket for the routing rules and the firewall (Linux's `SO_MARK`, which takes CAP_NET_ADMIN).
    /// Elsewhere there are no marks, and every socket is refused.
    #[must_use]
    pub fn with_mark(self, mark: u32) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// Binds each socket to the interface of this name.
    #[must_use]
    pub fn with_interface(self, name: &str) -> Self {
        Self { interface: Some(name.into()), ..self }
    }

    /// Has each socket protected.
    #[must_use]
    pub fn with_protect(self, protect: Arc<dyn Protect>) -> Self {
        Self { protect: Some(protect), ..self }
    }

    /// A socket for a tunnel's datagrams to and from anybody, with segmentation offload and large buffers, on a port
    /// that the system chooses.
    ///
    /// # Errors
    /// The system's, with what was tried.
    pub fn tunnel(&self, remote: SocketAddr) -> io::Result<UdpSocket> {
        self.tunnel_at(unspecified(remote))
    }

    /// The same bound to `local`.
    ///
    /// # Errors
    /// The system's, with what was tried.
    pub fn tunnel_at(&self, local: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.socket(local, Type::DGRAM, Protocol::UDP)?;
        enlarge(&socket);
        bind(&socket, local)?;
        UdpSocket::new(socket.into())
    }

    /// A UDP socket that talks to `remote` alone, for queries.
    ///
    /// # Errors
    /// The system's, with what was tried.
    pub fn datagrams(&self, remote: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
        let socket = self.socket(remote, Type::DGRAM, Protocol::UDP)?;
        bind(&socket, unspecified(remote))?;
        socket.connect(&remote.into()).map_err(|error| naming("connect", remote, &error))?;
        socket.set_nonblocking(true)?;
        tokio::net::UdpSocket::from_std(socket.into())
    }

    /// A TCP connection to `remote` that sends at once what it is given.
    ///
    /// # Errors
    /// The system's, with what was tried.
    pub async fn connect(&self, remote: SocketAddr) -> io::Result<tokio::net::TcpStream> {
        let socket = self.socket(remote, Type::STREAM, Protocol::TCP)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        tokio::net::TcpSocket::from_std_stream(socket.into())
            .connect(remote)
            .await
            .map_err(|error| naming("connect to", remote, &error))
    }

    fn socket(&self, peer: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let domain = Domain::for_address(peer);
        let socket = Socket::new(domain, kind, Some(protocol))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        if let Some(mark) = self.mark {
            set_mark(&socket, mark)?;
        }
        if let Some(interface) = &self.interface {
            bind_interface(&socket, interface)?;
        }
        if let Some(protect) = &self.protect {
            protect.protect(socket.as_fd()).map_err(|error| says("protect a socket", &error))?;
        }
        Ok(socket)
    }
}

fn unspecified(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        SocketAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

fn bind(socket: &Socket, local: SocketAddr) -> io::Result<()> {
    socket.bind(&local.into()).map_err(|error| naming("bind", local, &error))
}

/// The same kind of error, with what was tried.
fn naming(what: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {address}: {error}"))
}

fn says(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_mark(socket: &Socket, mark: u32) -> io::Result<()> {
    socket.set_mark(mark).map_err(|error| says("mark a socket (that takes CAP_NET_ADMIN)", &error))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_mark(_: &Socket, _: u32) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "sockets have no marks on this system"))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_interface(socket: &Socket, name: &str) -> io::Result<()> {
    socket
        .bind_device(Some(name.as_bytes()))
        .map_err(|error| says(&format!("bind a socket to interface {name}"), &error))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_interface(socket: &Socket, name: &str) -> io::Result<()> {
    let index = Some(super::interface::index_of(name)?);
    match socket.local_addr()?.as_socket_ipv6() {
        None => socket.bind_device_by_index_v4(index),
        Some(_) => socket.bind_device_by_index_v6(index),
    }
}

/// The kernel's limits are for programs without privilege; with it they can be passed. Less is no error: then more
/// is dropped under load.
fn enlarge(socket: &Socket) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
        if set_socket_recv_buffer_size_force(socket, TUNNEL_BUFFER).is_ok()
            && set_socket_send_buffer_size_force(socket, TUNNEL_BUFFER).is_ok()
        {
            return;
        }
    }
    let _ = socket.set_recv_buffer_size(TUNNEL_BUFFER);
    let _ = socket.set_send_buffer_size(TUNNEL_BUFFER);
}
