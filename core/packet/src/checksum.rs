//! The Internet checksum: sums, pseudo headers, updates in place (RFC 1071, RFC 1624).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bytes::{array_at, put};
use crate::run::PartialChecksum;

/// A ones' complement sum of 16-bit words, kept in the machine's byte order: the sum does not care (RFC 1071,
/// section 2B), and so nothing is swapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct Sum(u64);

impl Sum {
    /// The sum of `bytes`. An odd last byte counts as if a zero followed.
    pub fn of(bytes: &[u8]) -> Self {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut lanes = [0u128; LANES];
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane += u128::from(u64::from_ne_bytes(*word));
            }
        }
        Self::of_lanes(lanes) + Self::of_rest(rest)
    }

    /// Copies `from` to the front of `to` and sums it in the same pass. Copies what fits.
    pub fn copy(from: &[u8], to: &mut [u8]) -> Self {
        let len = from.len().min(to.len());
        let (from, _) = from.split_at(len);
        let (to, _) = to.split_at_mut(len);
        let mut sum = Self(0);
        for (from, to) in from.chunks(COPY).zip(to.chunks_mut(COPY)) {
            to.copy_from_slice(from);
            sum = sum + Self::of(to);
        }
        sum
    }

    /// The sum of the one word `value`.
    pub fn word(value: u16) -> Self {
        Self(u64::from(u16::from_ne_bytes(value.to_be_bytes())))
    }

    /// The sum of a field as it stands in a packet.
    pub fn field(bytes: [u8; 2]) -> Self {
        Self(u64::from(u16::from_ne_bytes(bytes)))
    }

    /// The sum of a pseudo header of IPv4 (RFC 9293, section 3.1) or IPv6 (RFC 8200, section 8.1) for `len` bytes of
    /// transport header and payload. Addresses of two families give the sum of neither's header.
    pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Self {
        address(source) + address(destination) + Self::protocol(protocol) + Self::len(len)
    }

    /// The sum of the 16- or 32-bit length field of a pseudo header.
    pub fn len(len: usize) -> Self {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self(u64::from(u32::from_ne_bytes(len.to_be_bytes())))
    }

    /// The sum of the protocol field of a pseudo header.
    pub fn protocol(protocol: u8) -> Self {
        Self::word(u16::from(protocol))
    }

    /// What the sum becomes when the words it counted as `old` are replaced by those of `new`
    /// (RFC 1624, equation 3).
    pub fn replace(self, old: Self, new: Self) -> Self {
        self + Self(u64::from(!old.folded())) + new
    }

    /// The sum as the two bytes of a field that is still to be completed.
    #[must_use]
    pub fn partial(self) -> [u8; 2] {
        self.folded().to_ne_bytes()
    }

    /// The checksum: the complement of the sum, as the two bytes of its field.
    #[must_use]
    pub fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// The checksum for TCP and UDP: never zero, which in UDP means that there is none (RFC 768); both values are
    /// equal to whoever verifies.
    #[must_use]
    pub fn transport_checksum(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        }
    }

    /// Whether this, summed over everything with the checksum in its place, says that nothing changed on the way.
    #[must_use]
    pub fn verifies(self) -> bool {
        self.folded() == 0xffff
    }

    fn folded(self) -> u16 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        #[expect(clippy::cast_possible_truncation, reason = "the folds leave at most 16 bits")]
        let folded = sum as u16;
        folded
    }

    fn of_lanes(lanes: [u128; LANES]) -> Self {
        let sum: u128 = lanes.into_iter().sum();
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the sum")]
        let (low, high) = (sum as u64, (sum >> 64) as u64);
        Self(low) + Self(high)
    }

    fn of_rest(rest: &[u8]) -> Self {
        let (words, odd) = rest.as_chunks::<2>();
        let sum = words.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum();
        let odd = odd.first().map_or(0, |last| u64::from(u16::from_ne_bytes([*last, 0])));
        Self(sum) + Self(odd)
    }
}

impl std::ops::Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Self(sum + u64::from(carry))
    }
}

/// Completes a partial checksum over everything from its start to the packet's end.
///
/// Returns false, with nothing changed, where it points outside the packet.
pub fn complete(packet: &mut [u8], partial: PartialChecksum) -> bool {
    let start = usize::from(partial.start);
    let Some(summed) = packet.get_mut(start..) else { return false };
    let checksum = Sum::of(summed).transport_checksum();
    put(summed, usize::from(partial.offset), &checksum).is_some()
}

/// A checksum field after the bytes it covers changed from `old` to `new` (RFC 1624).
#[must_use]
pub fn update(field: [u8; 2], old: Sum, new: Sum) -> [u8; 2] {
    let [high, low] = field;
    Sum::field([!high, !low]).replace(old, new).checksum()
}

/// Writes the header checksum of the IPv4 header of `len` bytes in front of `packet`.
pub(crate) fn complete_ipv4_header(packet: &mut [u8], len: usize) -> Option<()> {
    put(packet, 10, &[0, 0])?;
    let checksum = Sum::of(packet.get(..len)?).checksum();
    put(packet, 10, &checksum)
}

/// The sum of both addresses of an IPv4 or IPv6 header.
pub(crate) fn addresses(packet: &[u8], v6: bool) -> Option<Sum> {
    if v6 {
        array_at::<32>(packet, 8).map(|addresses| Sum::of(&addresses))
    } else {
        array_at::<8>(packet, 12).map(|addresses| Sum::of(&addresses))
    }
}

fn address(address: IpAddr) -> Sum {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

pub(crate) fn v4(address: Ipv4Addr) -> Sum {
    Sum::of(&address.octets())
}

fn v6(address: Ipv6Addr) -> Sum {
    Sum::of(&address.octets())
}

/// Sums that do not wait for one another. Their 128 bits take every carry: the loop has none to put back.
const LANES: usize = 4;
/// Bytes that one step of the loop takes: one 64-bit word for each lane.
const BLOCK: usize = LANES * 8;
/// Bytes copied before they are summed: they are in the first cache then, and a copy of the platform's own beats
/// one that sums on its way.
const COPY: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn rfc_1071s_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).partial(), [0xdd, 0xf2]);
        assert_eq!(Sum::of(&bytes).checksum(), [0x22, 0x0d]);
    }

    #[test]
    fn words_of_ones_do_not_overflow() {
        let bytes = vec![0xff; 1 << 20];
        assert_eq!(Sum::of(&bytes).partial(), [0xff, 0xff]);
    }

    #[test]
    fn a_checksum_outside_the_packet_changes_nothing() {
        let mut packet = [7; 20];
        assert!(!complete(&mut packet, PartialChecksum { start: 10, offset: 9 }));
        assert!(!complete(&mut packet, PartialChecksum { start: 21, offset: 0 }));
        assert_eq!(packet, [7; 20]);
    }

    proptest! {
        #[test]
        fn sums_like_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(u16::from_be_bytes(Sum::of(&bytes).partial()), naive(&bytes));
        }

        #[test]
        fn copying_sums_and_copies(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let mut copy = vec![0; bytes.len()];
            let sum = Sum::copy(&bytes, &mut copy);
            prop_assert_eq!(u16::from_be_bytes(sum.partial()), naive(&bytes));
            prop_assert_eq!(copy, bytes);
        }

        #[test]
        fn an_update_is_a_new_sum(
            mut bytes in prop::collection::vec(any::<u8>(), 20..200),
            new in any::<[u8; 4]>(),
            at in 0usize..8,
        ) {
            let at = at * 2;
            let field = Sum::of(&bytes).checksum();
            let old = Sum::of(&bytes[at..at + 4]);
            bytes[at..at + 4].copy_from_slice(&new);
            let updated = update(field, old, Sum::of(&new));
            prop_assert!((Sum::of(&bytes) + Sum::field(updated)).verifies());
        }

        #[test]
        fn completion_verifies(bytes in prop::collection::vec(any::<u8>(), 40..200), start in 0u16..20) {
            let mut packet = bytes;
            let partial = PartialChecksum { start, offset: 6 };
            let field = usize::from(start) + 6;
            let pseudo = Sum::field([packet[field], packet[field + 1]]);
            prop_assert!(complete(&mut packet, partial));
            prop_assert!((Sum::of(&packet[usize::from(start)..]) + pseudo).verifies());
        }
    }
}
