//! TUN over a descriptor, with the virtio header where the device was made with one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::OFlags;
use weft_packet::{Batch, HEAD_ROOM, Offload, Run, TAIL_ROOM, virtio};

use super::{TunInput, TunOffload, TunOutput, ioctl};
use crate::pool::Pool;

/// Asks the device behind `fd` to leave segmentation and checksums to us, as far as it can. A device without
/// `IFF_VNET_HDR` gives and takes single packets.
///
/// # Errors
/// `fd` is no TUN device.
pub fn enable_offload(fd: BorrowedFd<'_>) -> io::Result<TunOffload> {
    const CHECKSUM: libc::c_uint = libc::TUN_F_CSUM;
    const TCP: libc::c_uint = CHECKSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    const UDP: libc::c_uint = TCP | libc::TUN_F_USO4 | libc::TUN_F_USO6;

    if i32::from(ioctl::flags(fd)?) & libc::IFF_VNET_HDR == 0 {
        return Ok(TunOffload::default());
    }
    for (features, tcp, udp) in [(UDP, true, true), (TCP, true, false), (CHECKSUM, false, false)] {
        if ioctl::set_offload(fd, features).is_ok() {
            return Ok(TunOffload { checksum: true, tcp, udp });
        }
    }
    Ok(TunOffload { checksum: true, ..TunOffload::default() })
}

/// Both ends of the device behind `fd`, with all the offload that it has. Sets it non-blocking.
///
/// # Errors
/// `fd` is no TUN device.
pub fn open(fd: OwnedFd) -> io::Result<(TunDevice, TunDevice)> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    let offload = enable_offload(fd.as_fd())?;
    let device = TunDevice { fd: Arc::new(fd), offload };
    Ok((device.clone(), device))
}

/// A TUN device. Its clones are the same device.
#[derive(Debug, Clone)]
pub struct TunDevice {
    fd: Arc<OwnedFd>,
    offload: TunOffload,
}

impl TunDevice {
    /// Bytes of virtio header in front of each packet.
    fn head(&self) -> usize {
        if self.offload.checksum { virtio::HEADER } else { 0 }
    }
}

impl TunInput for TunDevice {
    fn read(&mut self, pool: &mut Pool, batch: &mut Batch) -> io::Result<()> {
        let mut buffer = pool.lend();
        let start = HEAD_ROOM - self.head();
        let end = buffer.len().saturating_sub(TAIL_ROOM);
        let read = rustix::io::read(&self.fd, buffer.get_mut(start..end).unwrap_or_default());
        let len = match read {
            Ok(len) if len > self.head() => len - self.head(),
            Ok(_) => {
                pool.give_back(buffer);
                return Err(io::ErrorKind::InvalidData.into());
            }
            Err(error) => {
                pool.give_back(buffer);
                return Err(error.into());
            }
        };
        let offload = self.offload_of(buffer.get(start..HEAD_ROOM + len).unwrap_or_default());
        match offload {
            Some(offload) => {
                batch.push(Run::new(buffer, len, offload).map_err(|_| io::ErrorKind::InvalidData)?)
            }
            None => {
                pool.give_back(buffer);
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl TunDevice {
    /// What the virtio header at the start of `read` says of the packet behind it.
    fn offload_of(&self, read: &[u8]) -> Option<Offload> {
        if !self.offload.checksum {
            return Some(Offload::default());
        }
        let (header, packet) = read.split_first_chunk()?;
        virtio::decode(*header, packet).ok()
    }
}

impl TunOutput for TunDevice {
    fn write(&self, run: &mut Run) -> io::Result<()> {
        if self.offload.checksum {
            let header = virtio::encode(run.offload(), run.packet());
            let whole = run.packet_with_head(virtio::HEADER).unwrap_or_default();
            if let Some(room) = whole.first_chunk_mut() {
                *room = header;
            }
            rustix::io::write(&self.fd, whole)?;
        } else {
            rustix::io::write(&self.fd, run.packet())?;
        }
        Ok(())
    }

    fn offload(&self) -> TunOffload {
        self.offload
    }
}
