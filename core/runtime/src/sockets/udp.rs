//! UDP with segmentation offload both ways.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::slice;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use weft_tunnel::MAX_DATAGRAM_BATCH;

/// How many buffers one system call fills. Each takes a whole batch of datagrams where the kernel has coalesced
/// them, so few are enough, and few stay in the cache.
const BUFFERS: usize = 8;

/// Bytes of each: the most that UDP carries, and so the most that is coalesced.
const BUFFER: usize = 65_535;

/// Bytes that one [`ReceiveBuffers`] may take.
pub const RECEIVE_MEMORY: usize = BUFFERS * BUFFER;

/// A UDP socket that sends and receives batches of datagrams. It never blocks.
#[derive(Debug)]
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    state: UdpSocketState,
}

/// How far a batch went before the socket refused.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct SendError {
    /// Bytes of the batch that were sent: a whole number of datagrams.
    pub sent: usize,
    /// Why no more.
    pub error: io::Error,
}

impl UdpSocket {
    /// Takes a bound socket. Sets it non-blocking and its offloads on.
    ///
    /// Datagrams may be fragmented on a path that is narrower than the tunnel: what a tunnel carries has no other
    /// way to get through there.
    ///
    /// # Errors
    /// The system's.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        allow_fragments(&socket)?;
        Ok(Self { socket, state })
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends `contents`, datagrams of `segment` bytes end to end of which the last may be shorter, by one system
    /// call where the kernel segments, else by one for each. They leave from `source` where it is given.
    ///
    /// # Errors
    /// [`SendError`]; of kind [`io::ErrorKind::WouldBlock`] where the socket is full.
    pub fn send(
        &self,
        destination: SocketAddr,
        source: Option<IpAddr>,
        contents: &[u8],
        segment: usize,
    ) -> Result<(), SendError> {
        if contents.len() > segment && self.state.max_gso_segments() > 1 {
            match self.send_one(destination, source, contents, Some(segment)) {
                Ok(()) => return Ok(()),
                // The card cannot, or the path is narrower than a segment, which goes in fragments then.
                Err(error) if is_refused_segmentation(&error) => {}
                Err(error) => return Err(SendError { sent: 0, error }),
            }
        }
        let mut sent = 0;
        for datagram in contents.chunks(segment.max(1)) {
            self.send_one(destination, source, datagram, None).map_err(|error| SendError { sent, error })?;
            sent += datagram.len();
        }
        Ok(())
    }

    fn send_one(
        &self,
        destination: SocketAddr,
        src_ip: Option<IpAddr>,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip };
        self.state.try_send((&self.socket).into(), &transmit)
    }

    /// Receives what is there into `buffers`, which then hand it out.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where nothing is there; else what the system had to say of a datagram that was
    /// sent, after which receiving goes on.
    pub fn receive<'a>(&self, buffers: &'a mut ReceiveBuffers) -> io::Result<Datagrams<'a>> {
        buffers.allocate();
        let mut slices = buffers.buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
        let count = self.state.recv((&self.socket).into(), &mut slices, &mut buffers.meta)?;
        let filled = buffers.meta.get(..count).unwrap_or_default();
        Ok(Datagrams { buffers: buffers.buffers.iter_mut(), meta: filled.iter() })
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Memory for one call of [`UdpSocket::receive`]: half a megabyte at most, of which the system backs what was used.
#[derive(Debug)]
pub struct ReceiveBuffers {
    buffers: [Box<[u8]>; BUFFERS],
    meta: [RecvMeta; BUFFERS],
}

impl Default for ReceiveBuffers {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiveBuffers {
    /// Empty ones, which take memory when first used.
    #[must_use]
    pub fn new() -> Self {
        Self { buffers: Default::default(), meta: [RecvMeta::default(); BUFFERS] }
    }

    /// Frees the memory until the next use.
    pub fn release(&mut self) {
        self.buffers = Default::default();
    }

    fn allocate(&mut self) {
        for buffer in self.buffers.iter_mut().filter(|buffer| buffer.is_empty()) {
            *buffer = vec![0; BUFFER].into_boxed_slice();
        }
    }
}

/// What one call received.
#[derive(Debug)]
pub struct Datagrams<'a> {
    buffers: slice::IterMut<'a, Box<[u8]>>,
    meta: slice::Iter<'a, RecvMeta>,
}

/// Datagrams of one sender, end to end.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Who sent them.
    pub from: SocketAddr,
    /// The address of ours that they were for, where the system says.
    pub to: Option<IpAddr>,
    /// The bytes.
    pub data: &'a mut [u8],
    /// Bytes of each but the last, which may be shorter; never 0.
    pub stride: usize,
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Arrival<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (meta, buffer) = (self.meta.next()?, self.buffers.next()?);
        let data = buffer.get_mut(..meta.len).unwrap_or_default();
        Some(Arrival { from: meta.addr, to: meta.dst_ip, data, stride: meta.stride.max(1) })
    }
}

// A datagram longer than what a transport puts in one batch still fits.
const _: () = assert!(BUFFER >= MAX_DATAGRAM_BATCH);

#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_refused_segmentation(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_refused_segmentation(error: &io::Error) -> bool {
    quinn_udp::is_msg_size_err(error)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn allow_fragments(socket: &std::net::UdpSocket) -> io::Result<()> {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };
    super::options::leave_timestamps_out(socket.as_fd())?;
    if socket.local_addr()?.is_ipv6() {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::WANT)?;
        super::options::allow_ipv6_fragments(socket.as_fd())?;
    } else {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::WANT)?;
    }
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn allow_fragments(_: &std::net::UdpSocket) -> io::Result<()> {
    Ok(())
}
