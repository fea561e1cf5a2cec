//! The Transport seam, and the protocols behind it. Sans-IO: no socket, no clock, no thread, no source of chance.
//!
//! A transport yields three parts ([`Transport`]): [`Outbound`] seals runs into datagrams or stream bytes,
//! [`Inbound`] opens what arrived, [`Control`] holds the handshake, the timers and the wishes for sockets. Each is
//! `Send`, so that each direction may have a thread of its own.

mod outbox;
mod transport;
pub mod wireguard;

pub use outbox::{MAX_DATAGRAM_BATCH, MAX_SEGMENTS, Outbox, Transmit};
pub use transport::{
    Anchor, Control, Deadline, Entropy, Inbound, LostReason, Nudge, Opened, Outbound, PacketSink, Received,
    Sealed, SocketError, SocketId, SocketRequest, Transport, TransportEvent,
};
