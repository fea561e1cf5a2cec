//! The virtio network header that a TUN device with `IFF_VNET_HDR` puts in front of each packet (virtio 1.2,
//! section 5.1.6.1; Linux, uapi/linux/virtio_net.h). Its legacy form is in the machine's byte order.

use crate::bytes::u8_at;
use crate::run::{GsoKind, Offload, PartialChecksum};
use crate::view::{Malformed, TCP_HEADER, UDP_HEADER, protocol, tcp_flags};

/// Bytes of the header.
pub const HEADER: usize = 10;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Offset of TCP's checksum in its header.
const TCP_CHECKSUM: u16 = 16;
/// Offset of UDP's checksum in its header.
const UDP_CHECKSUM: u16 = 6;

/// What `header` says of `packet`, which followed it.
///
/// The header length is read from the packet: the kernel's own is a hint, and of forwarded packets it is the length
/// of their linear part.
///
/// # Errors
/// [`Malformed::Offload`] for a kind that was not asked for, and for metadata that does not fit the packet.
pub fn decode(header: [u8; HEADER], packet: &[u8]) -> Result<Offload, Malformed> {
    let [flags, gso_type, _, _, size_0, size_1, start_0, start_1, offset_0, offset_1] = header;
    let checksum = (flags & NEEDS_CSUM != 0).then(|| PartialChecksum {
        start: u16::from_ne_bytes([start_0, start_1]),
        offset: u16::from_ne_bytes([offset_0, offset_1]),
    });
    let version = packet.first().map_or(0, |first| first >> 4);
    let kind = match (gso_type & !GSO_ECN, version) {
        (GSO_NONE, _) => return plain(checksum, packet.len()),
        (GSO_TCPV4, 4) => GsoKind::TcpV4,
        (GSO_TCPV6, 6) => GsoKind::TcpV6,
        (GSO_UDP_L4, 4 | 6) => GsoKind::Udp,
        _ => return Err(Malformed::Offload),
    };
    let checksum = checksum.ok_or(Malformed::Offload)?;
    let gso_size = u16::from_ne_bytes([size_0, size_1]);
    let header_len = header_len(packet, kind, checksum).ok_or(Malformed::Offload)?;
    if gso_size == 0 || usize::from(header_len) > packet.len() {
        return Err(Malformed::Offload);
    }
    Ok(Offload { kind, gso_size, header_len, checksum: Some(checksum) })
}

fn plain(checksum: Option<PartialChecksum>, len: usize) -> Result<Offload, Malformed> {
    let end = checksum.map_or(0, |sum| usize::from(sum.start) + usize::from(sum.offset) + 2);
    if end > len {
        return Err(Malformed::Offload);
    }
    Ok(Offload { checksum, ..Offload::default() })
}

fn header_len(packet: &[u8], kind: GsoKind, checksum: PartialChecksum) -> Option<u16> {
    let start = usize::from(checksum.start);
    let transport = match (kind, checksum.offset) {
        (GsoKind::Udp, UDP_CHECKSUM) => UDP_HEADER,
        (GsoKind::TcpV4 | GsoKind::TcpV6, TCP_CHECKSUM) => {
            usize::from(u8_at(packet, start + 12)? >> 4).max(TCP_HEADER / 4) * 4
        }
        _ => return None,
    };
    u16::try_from(start + transport).ok()
}

/// The header for `packet`, of which `offload` is true.
#[must_use]
pub fn encode(offload: Offload, packet: &[u8]) -> [u8; HEADER] {
    let gso_type = match offload.kind {
        GsoKind::None => GSO_NONE,
        GsoKind::TcpV4 => GSO_TCPV4 | ecn(offload, packet),
        GsoKind::TcpV6 => GSO_TCPV6 | ecn(offload, packet),
        GsoKind::Udp => GSO_UDP_L4,
    };
    let flags = if offload.checksum.is_some() { NEEDS_CSUM } else { 0 };
    let (start, offset) = offload.checksum.map_or((0, 0), |sum| (sum.start, sum.offset));
    let [len_0, len_1] = offload.header_len.to_ne_bytes();
    let [size_0, size_1] = offload.gso_size.to_ne_bytes();
    let [start_0, start_1] = start.to_ne_bytes();
    let [offset_0, offset_1] = offset.to_ne_bytes();
    [flags, gso_type, len_0, len_1, size_0, size_1, start_0, start_1, offset_0, offset_1]
}

/// The first segment alone may say that the congestion window was reduced, which takes a bit of its own.
fn ecn(offload: Offload, packet: &[u8]) -> u8 {
    let flags = offload.checksum.and_then(|sum| u8_at(packet, usize::from(sum.start) + 13)).unwrap_or(0);
    if flags & tcp_flags::CWR == 0 { 0 } else { GSO_ECN }
}

/// The partial checksum of a TCP or UDP header that begins at `start`; nothing for other protocols.
#[must_use]
pub fn transport_checksum(number: u8, start: u16) -> Option<PartialChecksum> {
    match number {
        protocol::TCP => Some(PartialChecksum { start, offset: TCP_CHECKSUM }),
        protocol::UDP => Some(PartialChecksum { start, offset: UDP_CHECKSUM }),
        _ => None,
    }
}
