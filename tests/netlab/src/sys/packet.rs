//! Packet sockets: whole frames as they pass an interface.

use std::io::Error;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::net::netdevice::name_to_index;

const ALL_PROTOCOLS: u16 = (libc::ETH_P_ALL as u16).to_be();
/// Reads the kernel's timestamp of the frame received last; `asm-generic/sockios.h`.
const SIOCGSTAMPNS: libc::c_ulong = 0x8907;
/// What we ask of the kernel for frames it has and we have not read; it grants up to `net.core.rmem_max`.
const BUFFER: libc::c_int = 32 << 20;

/// A packet socket bound to one interface. It never blocks.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    descriptor: OwnedFd,
}

/// A frame that was received into the caller's buffer.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    /// Sent by the host itself, as against arriving at it.
    pub(crate) outgoing: bool,
    pub(crate) at: SystemTime,
}

impl PacketSocket {
    /// A socket on `interface` of the calling thread's network namespace. With `outgoing` it also hears what
    /// the host itself sends there, but for what it sends through this very socket.
    pub(crate) fn open(interface: &str, outgoing: bool) -> Result<Self, Error> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket has no memory precondition. Protocol 0: it hears nothing before it is bound.
        let number = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if number < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the call above has just given us this descriptor.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        let socket = Self { descriptor };
        socket.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, BUFFER)?;
        socket.set_option(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, i32::from(!outgoing))?;
        // The kernel stamps frames from the first time on that a stamp is asked for.
        socket.stamp();
        socket.bind(interface)?;
        Ok(socket)
    }

    fn bind(&self, interface: &str) -> Result<(), Error> {
        let index = name_to_index(&self.descriptor, interface)?;
        // SAFETY: sockaddr_ll is plain old data, for which all zeroes is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ALL_PROTOCOLS;
        address.sll_ifindex = index.cast_signed();
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is a sockaddr_ll of the length we say.
        check(unsafe { libc::bind(self.descriptor.as_raw_fd(), (&raw const address).cast(), length) })
    }

    fn set_option(&self, level: i32, option: i32, value: libc::c_int) -> Result<(), Error> {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the value is an int of the length we say.
        check(unsafe {
            libc::setsockopt(self.descriptor.as_raw_fd(), level, option, (&raw const value).cast(), length)
        })
    }

    /// The next frame, or None when there is none now.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<Option<Received>, Error> {
        // SAFETY: sockaddr_ll is plain old data, for which all zeroes is a value.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut from_length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: buffer and address are as long as we say and outlive the call.
        let length = unsafe {
            libc::recvfrom(
                self.descriptor.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut from).cast(),
                &raw mut from_length,
            )
        };
        let Ok(length) = usize::try_from(length) else {
            let error = Error::last_os_error();
            // ENETDOWN says that the interface went down; it may come up again.
            let none = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN));
            return if none { Ok(None) } else { Err(error) };
        };
        Ok(Some(Received { length, outgoing: from.sll_pkttype == libc::PACKET_OUTGOING, at: self.stamp() }))
    }

    fn stamp(&self) -> SystemTime {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one timespec, which outlives the call.
        let answer = unsafe { libc::ioctl(self.descriptor.as_raw_fd(), SIOCGSTAMPNS, &raw mut time) };
        match (answer, u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)) {
            (0, Ok(seconds), Ok(nanos)) => UNIX_EPOCH + Duration::new(seconds, nanos),
            _ => SystemTime::now(),
        }
    }

    /// Sends one whole frame out of the interface.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<(), Error> {
        // SAFETY: the frame is as long as we say.
        let sent = unsafe { libc::send(self.descriptor.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(Error::last_os_error()) } else { Ok(()) }
    }

    /// How many frames the kernel had no room for since this was asked last.
    pub(crate) fn dropped(&self) -> Result<u32, Error> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the kernel writes at most the length we say into the structure that has it.
        check(unsafe {
            libc::getsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        })?;
        Ok(statistics.tp_drops)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn check(answer: libc::c_int) -> Result<(), Error> {
    if answer < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}
