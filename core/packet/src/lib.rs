//! IP packets as runs and batches: views, checksums, segmentation, ICMP replies.
//!
//! A [`Run`] is one buffer of one flow's consecutive segments, as a TUN device with segmentation offload hands them
//! out (virtio 1.2, section 5.1.6). It stays whole from the TUN reader to the transport, which splits it while it
//! seals; on the way back a [`Coalescer`] makes runs of what the transport opened. A run of one segment is a plain
//! packet.

mod bytes;
pub mod checksum;
pub mod coalesce;
pub mod icmp;
mod run;
pub mod split;
pub mod translate;
pub mod view;
pub mod virtio;

pub use coalesce::{Coalescer, Merge, RunSink};
pub use icmp::IcmpKind;
pub use run::{Batch, Buffer, GsoKind, HEAD_ROOM, Offload, PartialChecksum, Run, RunError, TAIL_ROOM};
pub use split::{cut_in_place, segment_len, write_segment};
pub use view::{FiveTuple, Fragment, IcmpView, IpView, Malformed, TcpView, UdpView};
