//! ICMP and ICMPv6 errors in answer to packets that cannot go on (RFC 792, RFC 1812, RFC 4443).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bytes::put;
use crate::checksum::{Sum, complete, complete_ipv4_header};
use crate::run::{GsoKind, PartialChecksum, Run};
use crate::split::Splitter;
use crate::view::{Fragment, IPV4_HEADER, IPV6_HEADER, IpView, protocol};

/// The most bytes of an ICMP error: what every IPv6 link carries (RFC 4443, section 2.4). IPv4's are shorter, see
/// [`reply`].
pub const LONGEST_REPLY: usize = 1280;

/// The most bytes of an ICMP error over IPv4 (RFC 1812, section 4.3.2.3).
const LONGEST_V4: usize = 576;

/// Bytes of an ICMP header.
const ICMP_HEADER: usize = 8;

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IcmpKind {
    /// The packet is longer than the tunnel carries: "fragmentation needed" (type 3 code 4) or "packet too big"
    /// (type 2).
    TooBig {
        /// The longest IP packet that passes, in bytes. ICMPv6 never names less than 1280.
        mtu: u16,
    },
    /// Policy forbids it: "communication administratively prohibited" (type 3 code 13, or type 1 code 1).
    Prohibited,
    /// Nothing leads there: "net unreachable" (type 3 code 0) or "no route to destination" (type 1 code 0).
    NoRoute,
    /// Nobody listens there: "port unreachable" (type 3 code 3, or type 1 code 4).
    Port,
}

/// Writes the answer to `run` to the front of `out` and returns its length in bytes. It quotes the first packet that
/// the run stands for, with its checksums complete.
///
/// The answer comes from `source`, or where that is none or of the other family, from the address the run was for:
/// that one passes every reverse path filter, and nobody has to own an address for it.
///
/// None where no answer may be given (RFC 1122, section 3.2.2; RFC 4443, section 2.4): to an ICMP error, to a later
/// fragment, to what came from or went to anything but one host; and where `out` is too short. To answer seldom
/// enough is the caller's part.
#[must_use]
pub fn reply(run: &Run, kind: IcmpKind, source: Option<IpAddr>, out: &mut [u8]) -> Option<usize> {
    let view = IpView::parse(run.packet()).ok()?;
    if !may_answer(&view) {
        return None;
    }
    match (view.source(), view.destination()) {
        (IpAddr::V4(to), IpAddr::V4(aim)) => {
            let from = match source {
                Some(IpAddr::V4(source)) => source,
                _ => aim,
            };
            reply_v4(run, &view, kind, from, to, out)
        }
        (IpAddr::V6(to), IpAddr::V6(aim)) => {
            let from = match source {
                Some(IpAddr::V6(source)) => source,
                _ => aim,
            };
            reply_v6(run, &view, kind, from, to, out)
        }
        _ => None,
    }
}

fn may_answer(view: &IpView<'_>) -> bool {
    let icmp_error = match view.icmp() {
        Ok(None) => false,
        Ok(Some(icmp)) if view.is_v6() => icmp.kind() < 128 || icmp.kind() == V6_REDIRECT,
        Ok(Some(icmp)) => V4_ERRORS.contains(&icmp.kind()),
        Err(_) => true,
    };
    !icmp_error
        && view.fragment() != Fragment::Later
        && one_host(view.source())
        && one_host(view.destination())
}

const V6_REDIRECT: u8 = 137;
/// Unreachable, source quench, redirect, time exceeded, parameter problem.
const V4_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];

/// Whether the address can be one host's of a network.
fn one_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            (1..224).contains(&first) && !address.is_loopback()
        }
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast() && !address.is_loopback(),
    }
}

fn reply_v4(
    run: &Run,
    view: &IpView<'_>,
    kind: IcmpKind,
    from: Ipv4Addr,
    to: Ipv4Addr,
    out: &mut [u8],
) -> Option<usize> {
    let (code, mtu) = match kind {
        IcmpKind::TooBig { mtu } => (4, mtu),
        IcmpKind::Prohibited => (13, 0),
        IcmpKind::NoRoute => (0, 0),
        IcmpKind::Port => (3, 0),
    };
    let room = out.len().min(LONGEST_V4);
    let quoted = quote(run, view, out.get_mut(IPV4_HEADER + ICMP_HEADER..room)?)?;
    let len = IPV4_HEADER + ICMP_HEADER + quoted;
    let out = out.get_mut(..len)?;
    let [mtu_0, mtu_1] = mtu.to_be_bytes();
    put(out, IPV4_HEADER, &[3, code, 0, 0, 0, 0, mtu_0, mtu_1])?;
    complete(out.get_mut(IPV4_HEADER..)?, PartialChecksum { start: 0, offset: 2 });
    let [len_0, len_1] = u16::try_from(len).ok()?.to_be_bytes();
    // Precedence "internetwork control" (RFC 1812, section 4.3.2.5), and not to be fragmented.
    put(out, 0, &[0x45, 0xc0, len_0, len_1, 0, 0, 0x40, 0, 64, protocol::ICMP, 0, 0])?;
    put(out, 12, &from.octets())?;
    put(out, 16, &to.octets())?;
    complete_ipv4_header(out, IPV4_HEADER)?;
    Some(len)
}

fn reply_v6(
    run: &Run,
    view: &IpView<'_>,
    kind: IcmpKind,
    from: Ipv6Addr,
    to: Ipv6Addr,
    out: &mut [u8],
) -> Option<usize> {
    let (number, code, mtu) = match kind {
        IcmpKind::TooBig { mtu } => (2, 0, u32::from(mtu).max(1280)),
        IcmpKind::Prohibited => (1, 1, 0),
        IcmpKind::NoRoute => (1, 0, 0),
        IcmpKind::Port => (1, 4, 0),
    };
    let room = out.len().min(LONGEST_REPLY);
    let quoted = quote(run, view, out.get_mut(IPV6_HEADER + ICMP_HEADER..room)?)?;
    let len = IPV6_HEADER + ICMP_HEADER + quoted;
    let out = out.get_mut(..len)?;
    let message = len - IPV6_HEADER;
    let pseudo = Sum::pseudo(from.into(), to.into(), protocol::ICMPV6, message).partial();
    let [sum_0, sum_1] = pseudo;
    let [mtu_0, mtu_1, mtu_2, mtu_3] = mtu.to_be_bytes();
    put(out, IPV6_HEADER, &[number, code, sum_0, sum_1, mtu_0, mtu_1, mtu_2, mtu_3])?;
    complete(out.get_mut(IPV6_HEADER..)?, PartialChecksum { start: 0, offset: 2 });
    let [len_0, len_1] = u16::try_from(message).ok()?.to_be_bytes();
    put(out, 0, &[0x60, 0, 0, 0, len_0, len_1, protocol::ICMPV6, 64])?;
    put(out, 8, &from.octets())?;
    put(out, 24, &to.octets())?;
    Some(len)
}

/// Writes as much of the first packet as `out` takes, with the checksums that the whole packet has.
fn quote(run: &Run, view: &IpView<'_>, out: &mut [u8]) -> Option<usize> {
    if run.offload().kind == GsoKind::None {
        return quote_single(run, view, out);
    }
    let splitter = Splitter::new(run)?;
    let payload = splitter.payload(0)?;
    let header = usize::from(run.offload().header_len);
    splitter.write_header(0, payload.len(), Sum::of(payload), out)?;
    let (_, room) = out.split_at_mut_checked(header)?;
    let len = payload.len().min(room.len());
    room.get_mut(..len)?.copy_from_slice(payload.get(..len)?);
    Some(header + len)
}

fn quote_single(run: &Run, view: &IpView<'_>, out: &mut [u8]) -> Option<usize> {
    let packet = view.packet();
    let len = packet.len().min(out.len());
    let out = out.get_mut(..len)?;
    out.copy_from_slice(packet.get(..len)?);
    if let Some(partial) = run.offload().checksum {
        let start = usize::from(partial.start);
        let checksum = Sum::of(packet.get(start..)?).transport_checksum();
        let field = start + usize::from(partial.offset);
        // A field that the quote does not reach needs no checksum.
        for (at, byte) in (field..).zip(checksum) {
            if let Some(room) = out.get_mut(at) {
                *room = byte;
            }
        }
    }
    Some(len)
}
