//! Segmentation: the packets that a run stands for, each whole and with its checksums.

use crate::bytes::{put, u8_at, u16_at, u32_at};
use crate::checksum::{Sum, addresses, complete, complete_ipv4_header};
use crate::run::{GsoKind, Offload, Run};
use crate::view::{IPV6_HEADER, IpView, UDP_HEADER, protocol, tcp_flags};

/// The length in bytes of the packet that [`write_segment`] makes of segment `index`; 0 where there is none.
#[must_use]
pub fn segment_len(run: &Run, index: usize) -> usize {
    let packet = run.packet().len();
    let offload = run.offload();
    if offload.kind == GsoKind::None {
        return if index == 0 { packet } else { 0 };
    }
    let header = usize::from(offload.header_len);
    match payload_range(packet.saturating_sub(header), usize::from(offload.gso_size), index) {
        Some((start, end)) => header + end - start,
        None => 0,
    }
}

/// Writes segment `index` of `run` to the front of `out`: one whole IP packet with complete checksums, as the
/// device would have sent it without offload. Returns its length; 0 where there is no such segment, where `out` is
/// shorter than [`segment_len`], or where the header is not one of the kind that the run claims.
///
/// Of a run of one, that is the packet with its partial checksum completed. Of a run of several (Linux,
/// Documentation/networking/segmentation-offloads.rst): the lengths and checksums of the segment, IPv4
/// identifications that count up, TCP sequence numbers, FIN and PSH on the last segment only, CWR on the first only.
#[must_use]
pub fn write_segment(run: &Run, index: usize, out: &mut [u8]) -> usize {
    let written = match run.offload().kind {
        GsoKind::None if index == 0 => write_single(run, out),
        GsoKind::None => None,
        _ => Splitter::new(run).and_then(|splitter| splitter.write(index, out)),
    };
    written.unwrap_or(0)
}

/// Makes every segment of `run` in turn inside the run's own buffer, as [`write_segment`] would write it, and hands
/// it to `each`: for a reader that takes the packets from where they lie instead of copying them. A segment's header
/// is put in front of its payload, over that of the segment before, so the run's packet is spent afterwards.
///
/// Returns false, before `each` was called, where [`write_segment`] would return 0 for the first segment or the
/// header is longer than [`MAX_HEADER`].
#[must_use]
pub fn cut_in_place(run: &mut Run, mut each: impl FnMut(&mut [u8])) -> bool {
    let offload = run.offload();
    if offload.kind == GsoKind::None {
        let done = offload.checksum.is_none_or(|partial| complete(run.packet_mut(), partial));
        if done && !run.packet().is_empty() {
            each(run.packet_mut());
            return true;
        }
        return false;
    }
    cut_several(run, each).is_some()
}

/// The longest headers that [`cut_in_place`] takes: IPv4 and TCP with all their options need 120 bytes.
pub const MAX_HEADER: usize = 256;

fn cut_several(run: &mut Run, mut each: impl FnMut(&mut [u8])) -> Option<()> {
    let header_len = usize::from(run.offload().header_len);
    let mut template = [0; MAX_HEADER];
    let template = template.get_mut(..header_len)?;
    template.copy_from_slice(run.packet().get(..header_len)?);
    let transport = transport_offset(run)?;
    let payload_len = run.packet().len() - header_len;
    let splitter = Splitter::of_header(template, transport, payload_len, run.offload())?;
    let packet = run.packet_mut();
    for index in 0.. {
        let Some((start, end)) = payload_range(payload_len, splitter.gso_size, index) else { break };
        let (header, payload) = packet.get_mut(start..header_len + end)?.split_at_mut_checked(header_len)?;
        splitter.write_header(index, payload.len(), Sum::of(payload), header)?;
        each(packet.get_mut(start..header_len + end)?);
    }
    Some(())
}

/// Where the transport's header begins.
fn transport_offset(run: &Run) -> Option<usize> {
    match run.offload().checksum {
        Some(partial) => Some(usize::from(partial.start)),
        None => Some(IpView::parse(run.packet()).ok()?.payload_offset()),
    }
}

fn write_single(run: &Run, out: &mut [u8]) -> Option<usize> {
    let packet = run.packet();
    let out = out.get_mut(..packet.len())?;
    let Some(partial) = run.offload().checksum else {
        out.copy_from_slice(packet);
        return Some(packet.len());
    };
    let (head, summed) = packet.split_at_checked(usize::from(partial.start))?;
    let (out_head, out_summed) = out.split_at_mut_checked(head.len())?;
    out_head.copy_from_slice(head);
    let sum = Sum::copy(summed, out_summed);
    put(out_summed, usize::from(partial.offset), &sum.transport_checksum())?;
    Some(packet.len())
}

fn payload_range(payload: usize, gso_size: usize, index: usize) -> Option<(usize, usize)> {
    let start = index.checked_mul(gso_size)?;
    if start >= payload && index > 0 {
        return None;
    }
    Some((start, payload.min(start + gso_size)))
}

/// A run of several segments, taken apart.
pub(crate) struct Splitter<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    payload_len: usize,
    gso_size: usize,
    /// Where the transport's header begins.
    transport: usize,
    v6: bool,
    udp: bool,
    /// The pseudo header without its length.
    pseudo: Sum,
}

impl<'a> Splitter<'a> {
    /// Nothing for a run of one, and for a header that is not of the run's kind.
    pub(crate) fn new(run: &'a Run) -> Option<Self> {
        let (header, payload) = run.packet().split_at_checked(usize::from(run.offload().header_len))?;
        let splitter = Self::of_header(header, transport_offset(run)?, payload.len(), run.offload())?;
        Some(Self { payload, ..splitter })
    }

    /// The same without the payload, of which the length is known.
    fn of_header(header: &'a [u8], transport: usize, payload_len: usize, offload: Offload) -> Option<Self> {
        let v6 = u8_at(header, 0)? >> 4 == 6;
        let udp = match offload.kind {
            GsoKind::None => return None,
            GsoKind::TcpV4 if !v6 => false,
            GsoKind::TcpV6 if v6 => false,
            GsoKind::Udp => true,
            GsoKind::TcpV4 | GsoKind::TcpV6 => return None,
        };
        let shortest = if udp { UDP_HEADER } else { crate::view::TCP_HEADER };
        if transport.checked_add(shortest)? > header.len() || (v6 && transport < IPV6_HEADER) {
            return None;
        }
        let protocol = if udp { protocol::UDP } else { protocol::TCP };
        let pseudo = addresses(header, v6)? + Sum::protocol(protocol);
        let gso_size = usize::from(offload.gso_size);
        Some(Self { header, payload: &[], payload_len, gso_size, transport, v6, udp, pseudo })
    }

    /// Writes the packet of segment `index`.
    fn write(&self, index: usize, out: &mut [u8]) -> Option<usize> {
        let payload = self.payload(index)?;
        let len = self.header.len() + payload.len();
        let (out_header, out_payload) = out.get_mut(..len)?.split_at_mut_checked(self.header.len())?;
        self.write_header(index, payload.len(), Sum::copy(payload, out_payload), out_header)?;
        Some(len)
    }

    /// The payload of segment `index`.
    pub(crate) fn payload(&self, index: usize) -> Option<&'a [u8]> {
        let (start, end) = payload_range(self.payload.len(), self.gso_size, index)?;
        self.payload.get(start..end)
    }

    /// Writes the headers of segment `index`, whose payload of `len` bytes has the sum `payload`.
    pub(crate) fn write_header(&self, index: usize, len: usize, payload: Sum, out: &mut [u8]) -> Option<()> {
        let out = out.get_mut(..self.header.len())?;
        out.copy_from_slice(self.header);
        self.write_ip(index, len, out)?;
        let (_, transport) = out.split_at_mut_checked(self.transport)?;
        let transport_len = transport.len() + len;
        let field = if self.udp {
            put(transport, 4, &u16::try_from(transport_len).ok()?.to_be_bytes())?;
            6
        } else {
            self.write_tcp(index, len, transport)?;
            16
        };
        put(transport, field, &[0, 0])?;
        let sum = self.pseudo + Sum::len(transport_len) + Sum::of(transport) + payload;
        put(transport, field, &sum.transport_checksum())
    }

    fn write_ip(&self, index: usize, len: usize, out: &mut [u8]) -> Option<()> {
        let total = self.header.len() + len;
        if self.v6 {
            return put(out, 4, &u16::try_from(total - IPV6_HEADER).ok()?.to_be_bytes());
        }
        #[expect(clippy::cast_possible_truncation, reason = "the identification counts modulo 2^16")]
        let id = u16_at(out, 4)?.wrapping_add(index as u16);
        put(out, 2, &u16::try_from(total).ok()?.to_be_bytes())?;
        put(out, 4, &id.to_be_bytes())?;
        complete_ipv4_header(out, self.transport)
    }

    fn write_tcp(&self, index: usize, len: usize, out: &mut [u8]) -> Option<()> {
        let start = index * self.gso_size;
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers count modulo 2^32")]
        let sequence = u32_at(out, 4)?.wrapping_add(start as u32);
        put(out, 4, &sequence.to_be_bytes())?;
        let mut flags = u8_at(out, 13)?;
        if index > 0 {
            flags &= !tcp_flags::CWR;
        }
        if start + len < self.payload_len {
            flags &= !(tcp_flags::FIN | tcp_flags::PSH);
        }
        put(out, 13, &[flags])
    }
}
