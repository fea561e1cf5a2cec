//! TUN over a descriptor of Apple's utun, which puts the address family in front of each packet (net/if_utun.h).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::OFlags;
use weft_packet::{Batch, HEAD_ROOM, Offload, Run, TAIL_ROOM};

use super::{TunInput, TunOffload, TunOutput, utun_options};
use crate::pool::Pool;

/// Bytes of the address family, in network order.
const FAMILY: usize = 4;

/// Both ends of the device behind `fd`. Sets it non-blocking.
///
/// # Errors
/// `fd` is no utun device.
pub fn open(fd: OwnedFd) -> io::Result<(TunDevice, TunDevice)> {
    utun_options::check(fd.as_fd())?;
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    let device = TunDevice { fd: Arc::new(fd) };
    Ok((device.clone(), device))
}

/// A utun device. Its clones are the same device.
#[derive(Debug, Clone)]
pub struct TunDevice {
    fd: Arc<OwnedFd>,
}

impl TunInput for TunDevice {
    fn read(&mut self, pool: &mut Pool, batch: &mut Batch) -> io::Result<()> {
        let mut buffer = pool.lend();
        let end = buffer.len().saturating_sub(TAIL_ROOM);
        let room = buffer.get_mut(HEAD_ROOM - FAMILY..end).unwrap_or_default();
        let len = match rustix::io::read(&self.fd, room) {
            Ok(len) => len.saturating_sub(FAMILY),
            Err(error) => {
                pool.give_back(buffer);
                return Err(error.into());
            }
        };
        if len == 0 {
            pool.give_back(buffer);
            return Err(io::ErrorKind::InvalidData.into());
        }
        batch.push(Run::new(buffer, len, Offload::default()).map_err(|_| io::ErrorKind::InvalidData)?);
        Ok(())
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl TunOutput for TunDevice {
    fn write(&self, run: &mut Run) -> io::Result<()> {
        let family = match run.packet().first().map(|first| first >> 4) {
            Some(4) => libc::AF_INET,
            Some(6) => libc::AF_INET6,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let whole = run.packet_with_head(FAMILY).unwrap_or_default();
        if let Some(room) = whole.first_chunk_mut() {
            *room = family.to_be_bytes();
        }
        match rustix::io::write(&self.fd, whole) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::NOBUFS) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn offload(&self) -> TunOffload {
        TunOffload::default()
    }
}
