//! User-space TCP and UDP for the core's own flows inside the tunnel, sans-IO.
//!
//! The core speaks to the gateway's inner resolver and check address from the tunnel's own address. Those packets
//! never touch the system's stack: a [`Netstack`] makes them and takes the answers. It does no I/O and reads no
//! clock: packets go in by [`handle_packet`](Netstack::handle_packet), come out by
//! [`poll_packets`](Netstack::poll_packets), and [`poll_timeout`](Netstack::poll_timeout) names the next moment at
//! which something is due. A flow at rest has none.
//!
//! It serves as well: [`listen`](Netstack::listen) takes connections on an address that packets are routed to, such as
//! a sentinel on which a device asks its DNS. Datagrams are served without a flow, by [`datagram`].
//!
//! The flows share the tunnel's address with the system's, so the caller chooses their local ports outside the
//! system's ephemeral range, and claims them with whoever hands packets over.
//!
//! TCP is smoltcp's (RFC 9293, SACK, CUBIC), UDP is our own over smoltcp's wire formats. Fragments are not taken:
//! segments fit the MTU by their MSS, and DNS over UDP is held below it by its EDNS size.

mod clock;
pub mod datagram;
mod device;
mod flow;
mod numbers;
mod stack;
mod tcp;
mod udp;
mod wire;

#[cfg(test)]
mod tests;

pub use flow::{CloseReason, FlowError, FlowEvent, FlowId, Received};
pub use stack::Netstack;

/// The most TCP flows at once. One takes up to [`SEND_BUFFER`] + [`RECEIVE_BUFFER`] = 128 KiB, so all take at most
/// 8 MiB; what is not used is never touched and takes no memory.
pub const MAX_TCP_FLOWS: usize = 64;

/// The most connections that others have begun and that are not established yet; what asks for more is dropped, and asks
/// again.
pub const MAX_BACKLOG: usize = 16;

/// The most addresses of a stack: one or two of a device, or the sentinels of a DNS front.
pub const MAX_ADDRESSES: usize = 8;

/// The most ports that are listened on, over all addresses.
pub const MAX_LISTENERS: usize = 16;

/// The most UDP flows at once: more than the DNS engine's queries in flight. One keeps at most 4 datagrams of an MTU
/// each, so all take at most 2,048 * 4 * 1,500 bytes = 12 MiB, and less than 1 MiB in use.
pub const MAX_UDP_FLOWS: usize = 2048;

/// Bytes that a TCP flow takes before the far side has acknowledged them: at a round trip of 40 ms, 1.6 MB/s.
pub const SEND_BUFFER: usize = 64 * 1024;

/// Bytes that a TCP flow keeps until they are read, and so its window: the longest DNS answer fits.
pub const RECEIVE_BUFFER: usize = 64 * 1024;
