//! The addresses inside the tunnel: the gateway's own, and one of each family for every device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The gateway's inner address: resolver and check. Clients always route it into the tunnel.
pub const INNER_V4: Ipv4Addr = Ipv4Addr::new(172, 64, 128, 1);
/// The same for IPv6.
pub const INNER_V6: Ipv6Addr = Ipv6Addr::new(0x2606, 0x4700, 0xcf1, 0, 0, 0, 0, 1);
/// The address that every device has in shared mode.
pub const SHARED_V4: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
/// Where the devices' own IPv4 addresses come from.
pub const DEVICES_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 96, 0, 0), 12);
/// Where the devices' IPv6 addresses come from.
pub const DEVICES_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0x2606, 0x4700, 0xcf1, 0x1000, 0, 0, 0, 0), 64);

/// A device's place in both address ranges: from 1 up to [`Slot::LAST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u32);

impl Slot {
    /// The lowest slot; the first address of the range is left out, as routers answer for it (RFC 4291, 2.6.1).
    pub const FIRST: u32 = 1;
    /// The highest slot; the last address of the IPv4 range is left out, as it looks like a broadcast address.
    pub const LAST: u32 = (1 << (32 - DEVICES_V4.prefix_len())) - 2;

    /// The slot with this number, if there is one.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (Self::FIRST..=Self::LAST).contains(&number).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// The device's own IPv4 address.
    #[must_use]
    pub fn v4(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(DEVICES_V4.network().to_bits() | self.0)
    }

    /// The device's IPv6 address.
    #[must_use]
    pub fn v6(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(DEVICES_V6.network().to_bits() | u128::from(self.0))
    }

    /// The slot that an address belongs to. The shared address belongs to none.
    #[must_use]
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(v4) if DEVICES_V4.contains(&v4) => {
                Self::new(v4.to_bits() & !DEVICES_V4.netmask().to_bits())
            }
            IpAddr::V6(v6) if DEVICES_V6.contains(&v6) => {
                Self::new(u32::try_from(v6.to_bits() & !DEVICES_V6.netmask().to_bits()).ok()?)
            }
            _ => None,
        }
    }

    /// The tunnel interface's addresses of the device, as hosts.
    #[must_use]
    pub fn interface(self, shared: bool) -> Vec<IpNet> {
        let v4 = if shared { SHARED_V4 } else { self.v4() };
        vec![IpNet::from(IpAddr::V4(v4)), IpNet::from(IpAddr::V6(self.v6()))]
    }
}

/// Whether an address is the gateway's inner one.
#[must_use]
pub fn is_inner(address: IpAddr) -> bool {
    address == IpAddr::V4(INNER_V4) || address == IpAddr::V6(INNER_V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_and_its_addresses_name_each_other() {
        for number in [1, 2, 255, 256, 65_536, Slot::LAST] {
            let slot = Slot::new(number).unwrap();
            assert!(DEVICES_V4.contains(&slot.v4()), "{}", slot.v4());
            assert_eq!(Slot::of(slot.v4().into()), Some(slot));
            assert_eq!(Slot::of(slot.v6().into()), Some(slot));
        }
        assert_eq!(Slot::new(Slot::LAST).unwrap().v4(), Ipv4Addr::new(100, 111, 255, 254));
    }

    #[test]
    fn an_address_outside_the_ranges_belongs_to_no_slot() {
        for text in [
            "100.96.0.0",
            "100.111.255.255",
            "100.112.0.1",
            "100.95.255.255",
            "172.16.0.2",
            "2606:4700:cf1:1000::",
            "2606:4700:cf1:1000:1::1",
            "2606:4700:cf1:1000::ffff:1",
            "2606:4700:cf1::1",
            "::ffff:100.96.0.1",
        ] {
            assert_eq!(Slot::of(text.parse().unwrap()), None, "{text}");
        }
    }
}
