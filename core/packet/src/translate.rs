//! One-to-one translation of IPv4 addresses in place (RFC 3022), with checksums updated and not computed anew
//! (RFC 1624), and of the packet that an ICMP error quotes (RFC 5508).

use std::net::Ipv4Addr;

use crate::bytes::{array_at, put, u8_at, u16_at};
use crate::checksum::{Sum, update, v4};
use crate::run::Offload;
use crate::view::{Fragment, IPV4_HEADER, IpView, Malformed, protocol};

/// Where an IPv4 header holds its source.
const SOURCE: usize = 12;
/// Where an IPv4 header holds its destination.
const DESTINATION: usize = 16;
/// Bytes of an ICMP header.
const ICMP_HEADER: usize = 8;

/// Makes `new` the source of the IPv4 packet of a run, `offload` being the run's. An ICMP error's quoted packet,
/// which was for the old source, is for the new one then.
///
/// # Errors
/// [`Malformed`] where `packet` is no IPv4 packet; it is unchanged then.
pub fn rewrite_source(packet: &mut [u8], offload: Offload, new: Ipv4Addr) -> Result<(), Malformed> {
    rewrite(packet, offload, SOURCE, DESTINATION, new)
}

/// Makes `new` the destination of the IPv4 packet of a run, `offload` being the run's. An ICMP error's quoted
/// packet, which came from the old destination, comes from the new one then.
///
/// # Errors
/// [`Malformed`] where `packet` is no IPv4 packet; it is unchanged then.
pub fn rewrite_destination(packet: &mut [u8], offload: Offload, new: Ipv4Addr) -> Result<(), Malformed> {
    rewrite(packet, offload, DESTINATION, SOURCE, new)
}

fn rewrite(
    packet: &mut [u8],
    offload: Offload,
    field: usize,
    quoted_field: usize,
    new: Ipv4Addr,
) -> Result<(), Malformed> {
    let view = IpView::parse(packet)?;
    if view.is_v6() {
        return Err(Malformed::Version);
    }
    let has_transport = view.fragment() != Fragment::Later;
    let quotes = matches!(view.icmp(), Ok(Some(icmp)) if matches!(icmp.kind(), 3 | 4 | 5 | 11 | 12));
    let (start, number, len) = (view.payload_offset(), view.protocol(), view.packet().len());
    let change = Change::of(packet, field, new).ok_or(Malformed::Truncated)?;
    let (header, payload) = packet.split_at_mut_checked(start).ok_or(Malformed::Truncated)?;
    let payload = payload.get_mut(..len - start).ok_or(Malformed::Truncated)?;
    if has_transport {
        // Without a whole transport header there is no checksum to keep right.
        let _ = change.apply_to_transport(payload, number, offload.checksum.is_some());
    }
    if quotes {
        let partial = offload.checksum.is_some();
        let _ = rewrite_quoted(payload, quoted_field, change.old, new, partial);
    }
    change.apply_to_header(header, field, new).ok_or(Malformed::Truncated)
}

/// The packet that an ICMP error quotes was sent by the other side to this address, or the other way round.
fn rewrite_quoted(
    message: &mut [u8],
    field: usize,
    old: Ipv4Addr,
    new: Ipv4Addr,
    partial: bool,
) -> Option<()> {
    let before = Sum::of(message);
    let quoted = message.get_mut(ICMP_HEADER..)?;
    let header_len = usize::from(u8_at(quoted, 0)? & 0x0f) * 4;
    let is_v4 = u8_at(quoted, 0)? >> 4 == 4 && header_len >= IPV4_HEADER && quoted.len() >= header_len;
    if !is_v4 || Ipv4Addr::from(array_at::<4>(quoted, field)?) != old {
        return None;
    }
    let number = u8_at(quoted, 9)?;
    let first = u16_at(quoted, 6)? & 0x1fff == 0;
    let change = Change::of(quoted, field, new)?;
    let (header, payload) = quoted.split_at_mut_checked(header_len)?;
    if first {
        // Eight bytes of the transport's header are enough of a quote, and TCP's checksum is not in them.
        let _ = change.apply_to_transport(payload, number, false);
    }
    change.apply_to_header(header, field, new)?;
    if partial {
        return Some(());
    }
    let after = Sum::of(message);
    let checksum = update(array_at(message, 2)?, before, after);
    put(message, 2, &checksum)
}

/// An address that becomes another.
struct Change {
    old: Ipv4Addr,
    old_sum: Sum,
    new_sum: Sum,
}

impl Change {
    fn of(packet: &[u8], field: usize, new: Ipv4Addr) -> Option<Self> {
        let old = Ipv4Addr::from(array_at::<4>(packet, field)?);
        Some(Self { old, old_sum: v4(old), new_sum: v4(new) })
    }

    fn apply_to_header(&self, header: &mut [u8], field: usize, new: Ipv4Addr) -> Option<()> {
        put(header, field, &new.octets())?;
        let checksum = update(array_at(header, 10)?, self.old_sum, self.new_sum);
        put(header, 10, &checksum)
    }

    /// Protocols whose checksum covers the addresses: TCP, UDP, DCCP (RFC 4340) and UDP-Lite (RFC 3828).
    fn apply_to_transport(&self, transport: &mut [u8], number: u8, partial: bool) -> Option<()> {
        const DCCP: u8 = 33;
        const UDP_LITE: u8 = 136;
        let at = match number {
            protocol::TCP => 16,
            protocol::UDP | DCCP | UDP_LITE => 6,
            _ => return None,
        };
        let field = array_at(transport, at)?;
        let new = if partial {
            Sum::field(field).replace(self.old_sum, self.new_sum).partial()
        } else if number == protocol::UDP && field == [0, 0] {
            return None;
        } else {
            match update(field, self.old_sum, self.new_sum) {
                [0, 0] if number == protocol::UDP => [0xff, 0xff],
                checksum => checksum,
            }
        };
        put(transport, at, &new)
    }
}
