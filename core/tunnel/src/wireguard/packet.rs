//! What a peer may send: its networks, and the check of the packets that come out of its sessions.

use std::net::IpAddr;

use ipnet::IpNet;
use weft_model::DropReason;
use weft_packet::IpView;

/// A set of addresses as the far side's to use.
#[derive(Debug, Clone)]
pub(crate) struct SourceCheck {
    /// Nothing = everything.
    allowed: Option<Nets>,
    refused: Nets,
}

#[derive(Debug, Clone, Default)]
struct Nets {
    /// Network and mask.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Nets {
    fn new(nets: &[IpNet]) -> Self {
        let mut all = Self::default();
        for net in nets {
            match net {
                IpNet::V4(net) => all.v4.push((net.network().to_bits(), net.netmask().to_bits())),
                IpNet::V6(net) => all.v6.push((net.network().to_bits(), net.netmask().to_bits())),
            }
        }
        all
    }

    fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.iter().any(|(net, mask)| address.to_bits() & mask == *net),
            IpAddr::V6(address) => self.v6.iter().any(|(net, mask)| address.to_bits() & mask == *net),
        }
    }
}

impl SourceCheck {
    /// Allows `allowed`, or everything where that is empty, but none of `refused`.
    pub(crate) fn new(allowed: &[IpNet], refused: &[IpNet]) -> Self {
        let allowed = (!allowed.is_empty()).then(|| Nets::new(allowed));
        Self { allowed, refused: Nets::new(refused) }
    }

    /// Allows `allowed` and nothing else.
    pub(crate) fn only(allowed: &[IpNet]) -> Self {
        Self { allowed: Some(Nets::new(allowed)), refused: Nets::default() }
    }

    fn passes(&self, source: IpAddr) -> bool {
        self.allowed.as_ref().is_none_or(|nets| nets.contains(source)) && !self.refused.contains(source)
    }

    /// The IP packet at the front of an opened plaintext, without padding, if its source is the peer's to use.
    pub(crate) fn packet<'a>(&self, plaintext: &'a mut [u8]) -> Result<&'a mut [u8], DropReason> {
        let view = IpView::parse(plaintext).map_err(|_| DropReason::Malformed)?;
        let (source, len) = (view.source(), view.packet().len());
        let packet = plaintext.get_mut(..len).ok_or(DropReason::Malformed)?;
        if self.passes(source) { Ok(packet) } else { Err(DropReason::SpoofedSource) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(source: [u8; 4], total: u16, bytes: usize) -> Vec<u8> {
        let mut packet = vec![0; bytes];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[12..16].copy_from_slice(&source);
        packet
    }

    fn v6(payload: u16, bytes: usize) -> Vec<u8> {
        let mut packet = vec![0; bytes];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        packet[6] = 59;
        packet[8] = 0x20;
        packet
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_packet_is_cut_to_its_own_length() {
        let check = SourceCheck::new(&[], &[]);
        let mut options = v4([1; 4], 24, 32);
        options[0] = 0x46;
        let mut short_header = v4([1; 4], 28, 32);
        short_header[0] = 0x44;
        let mut other_version = v4([1; 4], 28, 32);
        other_version[0] = 0x55;
        let cases = [
            (v4([1; 4], 28, 32), Ok(28)),
            (v4([1; 4], 32, 32), Ok(32)),
            (v4([1; 4], 33, 32), Err(DropReason::Malformed)),
            (v4([1; 4], 19, 32), Err(DropReason::Malformed)),
            (v4([1; 4], 20, 20), Ok(20)),
            (vec![0x45; 19], Err(DropReason::Malformed)),
            (options, Ok(24)),
            (short_header, Err(DropReason::Malformed)),
            (other_version, Err(DropReason::Malformed)),
            (v6(3, 48), Ok(43)),
            (v6(8, 48), Ok(48)),
            (v6(9, 48), Err(DropReason::Malformed)),
            (v6(0, 40)[..39].to_vec(), Err(DropReason::Malformed)),
            (vec![], Err(DropReason::Malformed)),
        ];
        for (mut bytes, expected) in cases {
            let shown = bytes.clone();
            assert_eq!(check.packet(&mut bytes).map(|packet| packet.len()), expected, "{shown:02x?}");
        }
    }

    #[test]
    fn the_source_must_be_the_far_sides_and_never_our_own() {
        let cases = [
            (vec![], vec![], [9, 9, 9, 9], true),
            (vec![], vec!["172.16.0.2/32"], [172, 16, 0, 2], false),
            (vec!["10.0.0.0/8"], vec![], [10, 1, 2, 3], true),
            (vec!["10.0.0.0/8"], vec![], [11, 1, 2, 3], false),
            (vec!["::/0"], vec![], [11, 1, 2, 3], false),
            (vec!["0.0.0.0/0"], vec!["172.16.0.2/32"], [172, 16, 0, 3], true),
        ];
        for (allowed, refused, source, passes) in cases {
            let check = SourceCheck::new(&nets(&allowed), &nets(&refused));
            let result = check.packet(&mut v4(source, 20, 20)).map(|_| ());
            assert_eq!(result, if passes { Ok(()) } else { Err(DropReason::SpoofedSource) }, "{allowed:?}");
        }
        assert!(SourceCheck::only(&[]).packet(&mut v6(0, 40)).is_err(), "none is allowed");
        let check = SourceCheck::new(&nets(&["2000::/16"]), &[]);
        assert!(check.packet(&mut v6(0, 40)).is_ok());
        let check = SourceCheck::new(&nets(&["2001::/16"]), &[]);
        assert_eq!(check.packet(&mut v6(0, 40)), Err(DropReason::SpoofedSource));
    }
}
