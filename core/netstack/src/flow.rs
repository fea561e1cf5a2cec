//! What the outside knows of a flow.

/// A flow of a [`Netstack`](crate::Netstack); unique within it, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub(crate) u64);

/// What happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowEvent {
    /// The TCP handshake of a flow that was made by [`connect`](crate::Netstack::connect) is done.
    Established(FlowId),
    /// Somebody has connected to an address that is listened on: a TCP flow that is established.
    Accepted(FlowId),
    /// A flow whose last `receive` found nothing has something: bytes, a datagram, or the end.
    Readable(FlowId),
    /// A flow whose last `send` took less than it was given takes bytes again.
    Writable(FlowId),
    /// The flow is over. Its port is free again.
    Closed(FlowId, CloseReason),
}

/// Why a flow is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// Both sides had sent all they had.
    #[error("the connection is closed")]
    Finished,
    /// The far side refused the connection.
    #[error("connection refused")]
    Refused,
    /// The far side reset the connection.
    #[error("connection reset by the far side")]
    Reset,
    /// The far side does not answer.
    #[error("the far side does not answer")]
    TimedOut,
    /// This side gave it up.
    #[error("connection aborted")]
    Aborted,
}

/// Why a flow cannot be made or a datagram cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// The tunnel has no address of the remote's family.
    #[error("the tunnel has no address of that family")]
    NoAddress,
    /// The remote is no unicast address, or a port is 0.
    #[error("not an address to send to")]
    Unaddressable,
    /// Another flow has the same addresses and ports.
    #[error("the local port is taken")]
    PortInUse,
    /// There are too many flows.
    #[error("too many flows")]
    TooManyFlows,
    /// There are too many addresses to listen on.
    #[error("too many addresses")]
    TooManyAddresses,
    /// The datagram does not fit the MTU.
    #[error("a datagram of {len} bytes does not fit; the longest is {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The longest that fits.
        max: usize,
    },
    /// Nothing is known of the flow.
    #[error("no such flow")]
    Unknown,
    /// Datagrams wait to be sent, and no more are taken.
    #[error("the queue is full")]
    QueueFull,
}

/// What there was to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// That many bytes.
    Bytes(usize),
    /// Nothing yet: [`FlowEvent::Readable`] follows.
    Nothing,
    /// Everything that the far side sent has been received.
    End,
}
