//! TUN input and output: over a descriptor, or a host's queue of packets.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod device;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod ioctl;
mod queue;
#[cfg(target_vendor = "apple")]
mod utun;
#[cfg(target_vendor = "apple")]
mod utun_options;

use std::io;
use std::os::fd::BorrowedFd;

use weft_packet::{Batch, Merge, Run};

use crate::pool::Pool;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub use device::{TunDevice, enable_offload, open};
pub use queue::{
    PacketBatch, PacketQueue, QUEUE_BYTES, QUEUE_MEMORY, QUEUE_PACKETS, QueueError, QueueInput, QueueOutput,
};
#[cfg(target_vendor = "apple")]
pub use utun::{TunDevice, open};

/// What leaves the device for the tunnel.
///
/// Over a descriptor, each run is one read. A host that hands packets over in batches queues them and makes the
/// descriptor of [`readiness`](Self::readiness) readable.
pub trait TunInput: Send {
    /// Appends what is there to `batch`, in buffers from `pool`, at least one run and no more than a few. Never
    /// blocks.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where nothing is there; [`io::ErrorKind::InvalidData`] for a packet that was
    /// taken and is none; anything else means that the interface is gone.
    fn read(&mut self, pool: &mut Pool, batch: &mut Batch) -> io::Result<()>;

    /// A descriptor that poll(2) finds readable while something is there.
    fn readiness(&self) -> BorrowedFd<'_>;

    /// Nothing has come for a while: frees what memory there is for what comes.
    fn release(&mut self) {}
}

/// What comes from the tunnel to the device. Several threads write.
pub trait TunOutput: Send + Sync {
    /// Hands a run to the system, before it returns: the caller keeps the buffer. May write into the run's head room.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where there is no room for it; else the system refused it.
    fn write(&self, run: &mut Run) -> io::Result<()>;

    /// Nothing more comes for the moment: a host that takes batches takes this one.
    fn flush(&self) {}

    /// What the system takes and gives as runs of several segments.
    fn offload(&self) -> TunOffload;
}

/// What segmentation a TUN device leaves to us, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunOffload {
    /// Checksums, which includes that the virtio header is there.
    pub checksum: bool,
    /// Runs of TCP over IPv4 and IPv6.
    pub tcp: bool,
    /// Runs of UDP (Linux 6.2).
    pub udp: bool,
}

impl TunOffload {
    /// What may be merged for the device.
    #[must_use]
    pub fn merge(self) -> Merge {
        Merge { tcp: self.tcp, udp: self.udp }
    }
}
