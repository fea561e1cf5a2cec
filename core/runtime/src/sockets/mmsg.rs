//! Many datagrams a system call: recvmmsg(2) and sendmmsg(2), which no library offers without allocating.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::batch::BATCH;

/// Who sent a datagram, as the system says it.
#[derive(Clone, Copy)]
pub(super) struct Name(libc::sockaddr_in6);

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address().fmt(f)
    }
}

impl Default for Name {
    fn default() -> Self {
        Self(libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        })
    }
}

impl Name {
    pub(super) fn address(&self) -> SocketAddr {
        let port = u16::from_be(self.0.sin6_port);
        if libc::c_int::from(self.0.sin6_family) == libc::AF_INET {
            // An IPv4 name has its address where an IPv6 one has its flow label.
            let octets = self.0.sin6_flowinfo.to_ne_bytes();
            SocketAddrV4::new(Ipv4Addr::from(octets), port).into()
        } else {
            let ip = Ipv6Addr::from(self.0.sin6_addr.s6_addr);
            SocketAddrV6::new(ip, port, self.0.sin6_flowinfo, self.0.sin6_scope_id).into()
        }
    }

    fn len(&self) -> libc::socklen_t {
        const V4: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        if libc::c_int::from(self.0.sin6_family) == libc::AF_INET { V4 } else { NAME_LEN }
    }
}

const NAME_LEN: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;

/// Up to so many datagrams are dealt with without the headers of a whole batch: a single query costs a tenth more where
/// these are made for it, 2.5 KiB each way.
const FEW: usize = 4;

const EMPTY_IOVEC: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

const EMPTY_MESSAGE: libc::mmsghdr = libc::mmsghdr {
    // SAFETY: the header is plain data, for which zeros are a value: no name, no buffers, no control data.
    msg_hdr: unsafe { std::mem::zeroed() },
    msg_len: 0,
};

/// Takes the datagrams that are there, each into its own buffer. Says how many there were; their lengths and senders
/// stand in `lengths` and `names`.
///
/// # Errors
/// Why not even one was taken; of kind [`io::ErrorKind::WouldBlock`] where none is there.
pub(super) fn receive<'a>(
    fd: BorrowedFd<'_>,
    mut buffers: impl Iterator<Item = &'a mut [u8]>,
    lengths: &mut [usize; BATCH],
    names: &mut [Name; BATCH],
) -> io::Result<usize> {
    let few = receive_up_to::<FEW>(fd, &mut buffers, lengths, names)?;
    let (Some(lengths), Some(names)) = (lengths.get_mut(few..), names.get_mut(few..)) else { return Ok(few) };
    if few < FEW {
        return Ok(few);
    }
    // What keeps this from succeeding is told by the next call, if it lasts.
    Ok(few + receive_up_to::<BATCH>(fd, &mut buffers, lengths, names).unwrap_or(0))
}

fn receive_up_to<'a, const MOST: usize>(
    fd: BorrowedFd<'_>,
    buffers: &mut impl Iterator<Item = &'a mut [u8]>,
    lengths: &mut [usize],
    names: &mut [Name],
) -> io::Result<usize> {
    let mut iovecs = [EMPTY_IOVEC; MOST];
    let mut messages = [EMPTY_MESSAGE; MOST];
    let mut count = 0;
    for (((message, iovec), name), buffer) in messages.iter_mut().zip(&mut iovecs).zip(names).zip(buffers) {
        *iovec = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        message.msg_hdr.msg_name = (&raw mut name.0).cast();
        message.msg_hdr.msg_namelen = NAME_LEN;
        message.msg_hdr.msg_iov = iovec;
        message.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the descriptor is open. Each of the first `count` messages points at a name of NAME_LEN bytes and at one
    // buffer of the length given with it, all borrowed mutably until this function returns.
    let taken = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    let taken = usize::try_from(taken).map_err(|_| io::Error::last_os_error())?;
    for (length, message) in lengths.iter_mut().zip(&messages).take(taken) {
        *length = message.msg_len as usize;
    }
    Ok(taken)
}

/// Sends each payload to the name beside it, [`BATCH`] at the most, without waiting. Says how many were sent before one
/// was refused.
///
/// # Errors
/// Why the first was refused.
pub(super) fn send<'a>(
    fd: BorrowedFd<'_>,
    payloads: impl Iterator<Item = (&'a Name, &'a [u8])> + Clone,
) -> io::Result<usize> {
    match payloads.clone().take(FEW + 1).count() {
        ..=FEW => send_up_to::<FEW>(fd, payloads),
        _ => send_up_to::<BATCH>(fd, payloads),
    }
}

fn send_up_to<'a, const MOST: usize>(
    fd: BorrowedFd<'_>,
    payloads: impl Iterator<Item = (&'a Name, &'a [u8])>,
) -> io::Result<usize> {
    let mut iovecs = [EMPTY_IOVEC; MOST];
    let mut messages = [EMPTY_MESSAGE; MOST];
    let mut count = 0;
    for ((message, iovec), (name, payload)) in messages.iter_mut().zip(&mut iovecs).zip(payloads) {
        *iovec = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        message.msg_hdr.msg_name = (&raw const name.0).cast_mut().cast();
        message.msg_hdr.msg_namelen = name.len();
        message.msg_hdr.msg_iov = iovec;
        message.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the descriptor is open. Each of the first `count` messages points at a name and at one payload of the
    // lengths given with them, which outlive the call and which the kernel only reads.
    let sent =
        unsafe { libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), count, libc::MSG_DONTWAIT as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
