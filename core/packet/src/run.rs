//! Runs: buffers with room at both ends and the offload metadata of what they hold.

/// Bytes that every run keeps free in front of its packet: the longest transport header (QUIC short header, HTTP
/// datagram and capsule heads: 48) or the virtio header (10), rounded up.
pub const HEAD_ROOM: usize = 64;

/// Bytes that every run keeps free behind its packet: padding to 16 (15) and the AEAD tag (16), rounded up.
pub const TAIL_ROOM: usize = 64;

/// A piece of memory lent by a pool. It is never grown: its length is its capacity.
pub type Buffer = Box<[u8]>;

/// How a run is cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GsoKind {
    /// It is one packet.
    #[default]
    None,
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP datagrams of one flow, over either.
    Udp,
}

/// A transport checksum that is still to be completed: the field holds the pseudo header's sum alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where the summed bytes begin: bytes from the start of the packet.
    pub start: u16,
    /// Where the checksum field stands: bytes from `start`.
    pub offset: u16,
}

/// What a segmentation offload knows of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// How it is cut.
    pub kind: GsoKind,
    /// Payload bytes of every segment but the last, which may be shorter; 0 where `kind` is [`GsoKind::None`].
    pub gso_size: u16,
    /// Bytes of IP and transport header that every segment repeats; 0 where `kind` is [`GsoKind::None`].
    pub header_len: u16,
    /// The checksum that is still to be completed.
    pub checksum: Option<PartialChecksum>,
}

/// Why bytes cannot be a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The packet and the room around it do not fit the buffer.
    #[error("a packet of {len} bytes does not fit a buffer of {capacity} with its room")]
    TooLong {
        /// The packet's length.
        len: usize,
        /// The buffer's length.
        capacity: usize,
    },
    /// The offload metadata points outside the packet.
    #[error("the offload metadata points outside the packet")]
    Offload,
}

/// One buffer of one flow's consecutive segments. A run of one segment is a plain packet.
#[derive(Debug)]
pub struct Run {
    buffer: Buffer,
    len: usize,
    offload: Offload,
}

/// A list of runs, in the order they arrived.
pub type Batch = Vec<Run>;

impl Run {
    /// The length of a buffer that holds a packet of up to `packet` bytes with its room.
    #[must_use]
    pub const fn buffer_len(packet: usize) -> usize {
        HEAD_ROOM + packet + TAIL_ROOM
    }

    /// Takes a buffer whose bytes from [`HEAD_ROOM`] on hold a packet of `len` bytes.
    ///
    /// # Errors
    /// [`RunError`] where the packet leaves no room behind it, or the metadata lies outside the packet.
    pub fn new(buffer: Buffer, len: usize, offload: Offload) -> Result<Self, RunError> {
        if Self::buffer_len(len) > buffer.len() {
            return Err(RunError::TooLong { len, capacity: buffer.len() });
        }
        let header = usize::from(offload.header_len);
        let segments_lie =
            offload.kind != GsoKind::None && (offload.gso_size == 0 || header == 0 || header > len);
        let checksum_lies = offload
            .checksum
            .is_some_and(|checksum| usize::from(checksum.start) + usize::from(checksum.offset) + 2 > len);
        if segments_lie || checksum_lies {
            return Err(RunError::Offload);
        }
        Ok(Self { buffer, len, offload })
    }

    /// A run of one whole packet, in a buffer of its own. For control paths and tests; the packet path lends.
    ///
    /// # Errors
    /// [`RunError::TooLong`] for over 65,535 bytes.
    pub fn from_packet(packet: &[u8]) -> Result<Self, RunError> {
        let capacity = Self::buffer_len(packet.len());
        let mut buffer = vec![0; capacity].into_boxed_slice();
        match buffer.get_mut(HEAD_ROOM..HEAD_ROOM + packet.len()) {
            Some(room) if packet.len() <= usize::from(u16::MAX) => room.copy_from_slice(packet),
            _ => return Err(RunError::TooLong { len: packet.len(), capacity }),
        }
        Self::new(buffer, packet.len(), Offload::default())
    }

    /// The packet: of a run of several segments, one header and all their payload.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        self.buffer.get(HEAD_ROOM..HEAD_ROOM + self.len).unwrap_or_default()
    }

    /// The packet, to be changed in place.
    pub fn packet_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(HEAD_ROOM..HEAD_ROOM + self.len).unwrap_or_default()
    }

    /// The packet with `head` bytes of room in front, for a header that a device wants there.
    ///
    /// Returns nothing where `head` is over [`HEAD_ROOM`].
    pub fn packet_with_head(&mut self, head: usize) -> Option<&mut [u8]> {
        self.buffer.get_mut(HEAD_ROOM.checked_sub(head)?..HEAD_ROOM + self.len)
    }

    /// What a segmentation offload knows of the run.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// How many packets the run stands for, at least 1.
    #[must_use]
    pub fn segments(&self) -> usize {
        if self.offload.kind == GsoKind::None {
            return 1;
        }
        let payload = self.len.saturating_sub(usize::from(self.offload.header_len));
        payload.div_ceil(usize::from(self.offload.gso_size).max(1)).max(1)
    }

    /// The length of its longest packet in bytes: what an MTU is compared with.
    #[must_use]
    pub fn longest_packet(&self) -> usize {
        match self.offload.kind {
            GsoKind::None => self.len,
            _ => self.len.min(usize::from(self.offload.header_len) + usize::from(self.offload.gso_size)),
        }
    }

    /// Gives the buffer back, so that a pool can lend it again.
    #[must_use]
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }
}
