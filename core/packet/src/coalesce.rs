//! Receive offload: consecutive segments of one flow become one run, as Linux's GRO makes them of what a network
//! card received.

use crate::bytes::{array_at, put, u8_at, u16_at, u32_at};
use crate::checksum::{Sum, addresses, complete_ipv4_header};
use crate::run::{Buffer, GsoKind, HEAD_ROOM, Offload, PartialChecksum, Run, TAIL_ROOM};
use crate::view::{Fragment, IPV4_HEADER, IPV6_HEADER, IpView, Malformed, UDP_HEADER, protocol, tcp_flags};

/// The most flows that a coalescer holds a run of at once, and so the most buffers.
pub const MAX_FLOWS: usize = 8;

/// The longest packet of a run, in bytes: what the length field of IPv4 can say.
const LONGEST: usize = 65_535;

/// The most datagrams of a run: Linux's UDP_GRO_CNT_MAX.
const MAX_DATAGRAMS: usize = 64;

/// Lends the buffers that runs are made in, and takes the runs.
pub trait RunSink {
    /// A buffer with [`HEAD_ROOM`], [`TAIL_ROOM`] and between them room for at least one packet; what runs may grow
    /// to is up to its length. Its bytes may be stale.
    fn lend(&mut self) -> Buffer;
    /// The next run.
    fn run(&mut self, run: Run);
}

/// What may be merged: what the device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Merge {
    /// TCP over IPv4 and IPv6.
    pub tcp: bool,
    /// UDP over both.
    pub udp: bool,
}

/// Makes runs of packets.
///
/// Packets of one flow keep their order. A segment joins its flow's run where it continues it in sequence, where
/// both are alike in everything that [`write_segment`](crate::write_segment) does not restore, and where its
/// checksums are right: merging replaces a checksum by a promise that the bytes are, so a packet that was damaged on
/// its way goes on alone and as it is.
#[derive(Debug)]
pub struct Coalescer {
    merge: Merge,
    /// The oldest first.
    open: Vec<Open>,
}

impl Coalescer {
    /// One without packets.
    #[must_use]
    pub fn new(merge: Merge) -> Self {
        Self { merge, open: Vec::with_capacity(MAX_FLOWS) }
    }

    /// Takes the next packet. Runs that are complete go to `sink`; the others wait for [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`Malformed`] where `packet` is not one whole IP packet; bytes behind it are cut off.
    pub fn push(&mut self, packet: &[u8], sink: &mut (impl RunSink + ?Sized)) -> Result<(), Malformed> {
        let view = IpView::parse(packet)?;
        if view.fragment() != Fragment::Whole {
            self.flush(sink);
            return single(view.packet(), sink);
        }
        let Some(segment) = Segment::of(&view)? else { return single(view.packet(), sink) };
        let place = self.open.iter().rposition(|open| open.key == segment.key);
        if let Some(place) = place {
            if self.join(place, &segment, sink) {
                return Ok(());
            }
            let open = self.open.remove(place);
            open.close(sink);
        }
        if !self.may_open(&segment) {
            return single(segment.packet, sink);
        }
        match Open::new(&segment, sink.lend())? {
            (open, true) => {
                if self.open.len() == MAX_FLOWS {
                    self.open.remove(0).close(sink);
                }
                self.open.push(open);
            }
            (damaged, false) => damaged.close(sink),
        }
        Ok(())
    }

    /// Hands on all runs that are not complete: nothing more is there for the moment.
    pub fn flush(&mut self, sink: &mut (impl RunSink + ?Sized)) {
        for open in self.open.drain(..) {
            open.close(sink);
        }
    }

    /// Whether the segment is in the run at `place` now.
    fn join(&mut self, place: usize, segment: &Segment<'_>, sink: &mut (impl RunSink + ?Sized)) -> bool {
        let Some(open) = self.open.get_mut(place) else { return false };
        if !open.continues(segment) || open.append(segment).is_none() {
            return false;
        }
        if open.complete {
            self.open.remove(place).close(sink);
        }
        true
    }

    fn may_open(&self, segment: &Segment<'_>) -> bool {
        segment.mergeable && !segment.pushed() && if segment.tcp { self.merge.tcp } else { self.merge.udp }
    }
}

fn single(packet: &[u8], sink: &mut (impl RunSink + ?Sized)) -> Result<(), Malformed> {
    let mut buffer = sink.lend();
    put(&mut buffer, HEAD_ROOM, packet).ok_or(Malformed::TooLong)?;
    sink.run(Run::new(buffer, packet.len(), Offload::default()).map_err(|_| Malformed::TooLong)?);
    Ok(())
}

/// What tells one flow from another, as it stands in the packet.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    addresses: [u8; 32],
    ports: [u8; 4],
    protocol: u8,
    v6: bool,
}

/// A packet with a TCP or UDP header.
struct Segment<'a> {
    packet: &'a [u8],
    key: Key,
    tcp: bool,
    /// Whether it may be part of a run, all else being right.
    mergeable: bool,
    /// Where the transport's header begins.
    transport: usize,
    /// Where the payload begins.
    header: usize,
}

impl<'a> Segment<'a> {
    fn of(view: &IpView<'a>) -> Result<Option<Self>, Malformed> {
        let packet = view.packet();
        let transport = view.payload_offset();
        let (header, mergeable) = match view.protocol() {
            protocol::TCP => {
                let Some(tcp) = view.tcp()? else { return Ok(None) };
                (tcp.header_len(), tcp.flags() & !tcp_flags::PSH == tcp_flags::ACK)
            }
            protocol::UDP => {
                let Some(udp) = view.udp()? else { return Ok(None) };
                (UDP_HEADER, udp.len() == packet.len() - transport && udp.checksum() != 0)
            }
            _ => return Ok(None),
        };
        let v6 = view.is_v6();
        let mut addresses = [0; 32];
        let mut plain = transport == IPV6_HEADER;
        if v6 {
            addresses = array_at(packet, 8).ok_or(Malformed::Truncated)?;
        } else {
            put(&mut addresses, 0, &array_at::<8>(packet, 12).ok_or(Malformed::Truncated)?);
            plain = transport == IPV4_HEADER;
        }
        let ports = array_at(packet, transport).ok_or(Malformed::Truncated)?;
        let header = transport + header;
        Ok(Some(Self {
            packet,
            key: Key { addresses, ports, protocol: view.protocol(), v6 },
            tcp: view.protocol() == protocol::TCP,
            mergeable: mergeable && plain && packet.len() > header,
            transport,
            header,
        }))
    }

    fn payload(&self) -> &'a [u8] {
        self.packet.get(self.header..).unwrap_or_default()
    }

    /// Whether its sender wants it handed on at once, which ends a run.
    fn pushed(&self) -> bool {
        self.tcp && u8_at(self.packet, self.transport + 13).is_none_or(|flags| flags & tcp_flags::PSH != 0)
    }

    fn sequence(&self) -> u32 {
        if self.tcp { u32_at(self.packet, self.transport + 4).unwrap_or_default() } else { 0 }
    }

    /// Whether the checksums of its IP header and its transport are right, the payload's sum being `payload`.
    fn verifies(&self, payload: Sum) -> bool {
        let sum = || {
            let header = self.packet.get(self.transport..self.header)?;
            let len = self.packet.len() - self.transport;
            let pseudo =
                addresses(self.packet, self.key.v6)? + Sum::protocol(self.key.protocol) + Sum::len(len);
            Some(pseudo + Sum::of(header) + payload)
        };
        let ip = self.key.v6 || Sum::of(self.packet.get(..self.transport).unwrap_or_default()).verifies();
        ip && sum().is_some_and(Sum::verifies)
    }
}

/// A run that may grow.
#[derive(Debug)]
struct Open {
    key: Key,
    buffer: Buffer,
    /// Bytes of the packet so far.
    len: usize,
    transport: usize,
    header: usize,
    /// Bytes of payload of the first segment.
    size: usize,
    segments: usize,
    sequence: u32,
    /// Nothing more may join.
    complete: bool,
    pushed: bool,
}

impl Open {
    /// A run of one segment, and whether its checksums are right.
    fn new(segment: &Segment<'_>, mut buffer: Buffer) -> Result<(Self, bool), Malformed> {
        let room = buffer.len().saturating_sub(HEAD_ROOM + TAIL_ROOM);
        let packet = buffer.get_mut(HEAD_ROOM..).unwrap_or_default();
        let (header, payload) = packet.split_at_mut_checked(segment.header).ok_or(Malformed::TooLong)?;
        if segment.packet.len() > room {
            return Err(Malformed::TooLong);
        }
        put(header, 0, segment.packet.get(..segment.header).ok_or(Malformed::Truncated)?);
        let verifies = segment.verifies(Sum::copy(segment.payload(), payload));
        let size = segment.payload().len();
        let open = Self {
            key: Key { ..segment.key },
            buffer,
            len: segment.packet.len(),
            transport: segment.transport,
            header: segment.header,
            size,
            segments: 1,
            sequence: next(segment.sequence(), size),
            complete: false,
            pushed: false,
        };
        Ok((open, verifies))
    }

    fn packet(&self) -> &[u8] {
        self.buffer.get(HEAD_ROOM..HEAD_ROOM + self.len).unwrap_or_default()
    }

    /// Whether the segment may follow, as far as headers say.
    fn continues(&self, segment: &Segment<'_>) -> bool {
        let len = self.len + segment.payload().len();
        let room = self.buffer.len().saturating_sub(HEAD_ROOM + TAIL_ROOM);
        segment.mergeable
            && segment.header == self.header
            && segment.payload().len() <= self.size
            && len <= LONGEST.min(room)
            && (segment.tcp || self.segments < MAX_DATAGRAMS)
            && segment.sequence() == if segment.tcp { self.sequence } else { 0 }
            && self.ip_alike(segment.packet)
            && (!segment.tcp || self.tcp_alike(segment.packet))
    }

    /// Traffic class, flow label, hop limit and fragmentation are the same, and identifications count up, unless
    /// they mean nothing because the packet may not be fragmented (RFC 6864).
    fn ip_alike(&self, packet: &[u8]) -> bool {
        let own = self.packet();
        if self.key.v6 {
            return same(own, packet, 0..4) && same(own, packet, 6..8);
        }
        let may_not_be_fragmented = u8_at(own, 6).is_some_and(|flags| flags & 0x40 != 0);
        #[expect(clippy::cast_possible_truncation, reason = "the identification counts modulo 2^16")]
        let count = self.segments as u16;
        let counts_up =
            u16_at(own, 4).zip(u16_at(packet, 4)).is_some_and(|(own, id)| own.wrapping_add(count) == id);
        same(own, packet, 0..2) && same(own, packet, 6..10) && (counts_up || may_not_be_fragmented)
    }

    /// Acknowledgement, length, flags but PSH, window, urgent pointer and options are the same.
    fn tcp_alike(&self, packet: &[u8]) -> bool {
        let own = self.packet();
        let at = self.transport;
        same(own, packet, at + 8..at + 13)
            && same(own, packet, at + 14..at + 16)
            && same(own, packet, at + 18..self.header)
    }

    /// Appends the payload, if the segment's checksums are right.
    fn append(&mut self, segment: &Segment<'_>) -> Option<()> {
        let payload = segment.payload();
        let start = HEAD_ROOM + self.len;
        let sum = Sum::copy(payload, self.buffer.get_mut(start..start + payload.len())?);
        if !segment.verifies(sum) {
            return None;
        }
        self.len += payload.len();
        self.segments += 1;
        self.sequence = next(self.sequence, payload.len());
        self.pushed = segment.pushed();
        self.complete = self.pushed || payload.len() < self.size;
        Some(())
    }

    fn close(mut self, sink: &mut (impl RunSink + ?Sized)) {
        let offload = if self.segments == 1 { Some(Offload::default()) } else { self.write_headers() };
        let run = offload.and_then(|offload| Run::new(self.buffer, self.len, offload).ok());
        if let Some(run) = run {
            sink.run(run);
        }
    }

    /// Makes the first segment's headers those of the run.
    fn write_headers(&mut self) -> Option<Offload> {
        let (v6, at, len) = (self.key.v6, self.transport, self.len);
        let tcp = self.key.protocol == protocol::TCP;
        let packet = self.buffer.get_mut(HEAD_ROOM..HEAD_ROOM + len)?;
        let transport_len = u16::try_from(len - at).ok()?;
        let partial =
            addresses(packet, v6)? + Sum::protocol(self.key.protocol) + Sum::len(usize::from(transport_len));
        if v6 {
            put(packet, 4, &transport_len.to_be_bytes())?;
        } else {
            put(packet, 2, &u16::try_from(len).ok()?.to_be_bytes())?;
            complete_ipv4_header(packet, at)?;
        }
        let offset = if tcp { 16 } else { 6 };
        if !tcp {
            put(packet, at + 4, &transport_len.to_be_bytes())?;
        } else if self.pushed {
            let flags = u8_at(packet, at + 13)?;
            put(packet, at + 13, &[flags | tcp_flags::PSH])?;
        }
        put(packet, at + usize::from(offset), &partial.partial())?;
        let kind = match (tcp, v6) {
            (false, _) => GsoKind::Udp,
            (true, false) => GsoKind::TcpV4,
            (true, true) => GsoKind::TcpV6,
        };
        Some(Offload {
            kind,
            gso_size: u16::try_from(self.size).ok()?,
            header_len: u16::try_from(self.header).ok()?,
            checksum: Some(PartialChecksum { start: u16::try_from(at).ok()?, offset }),
        })
    }
}

fn same(one: &[u8], other: &[u8], range: std::ops::Range<usize>) -> bool {
    one.get(range.clone()).zip(other.get(range)).is_some_and(|(one, other)| one == other)
}

fn next(sequence: u32, payload: usize) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "sequence numbers count modulo 2^32")]
    let payload = payload as u32;
    sequence.wrapping_add(payload)
}
