//! Which local ports of the tunnel's address belong to the core's own flows.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use weft_packet::view::protocol;
use weft_packet::{Fragment, IpView};

/// The ports that the core's own flows use: behind Linux's ephemeral range, so that the system does not choose them.
pub const OWN_PORTS: RangeInclusive<u16> = 61_000..=65_535;

const WORDS: usize = (u16::MAX as usize + 1 - *OWN_PORTS.start() as usize).div_ceil(64);

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The ports that the core's own flows hold. What comes from the tunnel for one of them goes to the core, all else
/// to the device.
#[derive(Debug, Default)]
pub struct FlowClaims {
    tcp: Ports,
    udp: Ports,
    /// How many ports are claimed, so that a packet is not looked at where none is.
    count: AtomicUsize,
}

impl FlowClaims {
    /// Without a claim.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims a port; false where it is claimed already, or not one of [`OWN_PORTS`].
    #[must_use]
    pub fn claim(&self, protocol: Protocol, port: u16) -> bool {
        let claimed = self.ports(protocol).set(port);
        if claimed {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        claimed
    }

    /// Gives a port back.
    pub fn release(&self, protocol: Protocol, port: u16) {
        if self.ports(protocol).clear(port) {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a port is claimed.
    #[must_use]
    pub fn is_claimed(&self, protocol: Protocol, port: u16) -> bool {
        self.ports(protocol).is_set(port)
    }

    /// Whether a packet from the tunnel is for one of the core's own flows.
    pub(super) fn take(&self, packet: &[u8]) -> bool {
        self.flow(packet).is_some_and(|(protocol, _, destination)| self.is_claimed(protocol, destination))
    }

    /// Gives a port back that a program of the system's uses: `packet` left by the TUN. The core's flow there hears
    /// nothing more and is made anew from another port.
    pub(super) fn yield_to(&self, packet: &[u8]) {
        if let Some((protocol, source, _)) = self.flow(packet) {
            self.release(protocol, source);
        }
    }

    fn flow(&self, packet: &[u8]) -> Option<(Protocol, u16, u16)> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let view = IpView::parse(packet).ok()?;
        let protocol = match view.protocol() {
            protocol::TCP => Protocol::Tcp,
            protocol::UDP => Protocol::Udp,
            _ => return None,
        };
        let [s0, s1, d0, d1] = *view.payload().first_chunk()?;
        (view.fragment() != Fragment::Later)
            .then(|| (protocol, u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
    }

    fn ports(&self, protocol: Protocol) -> &Ports {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
        }
    }
}

/// One bit for each of [`OWN_PORTS`].
#[derive(Debug)]
struct Ports([AtomicU64; WORDS]);

impl Default for Ports {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }
}

impl Ports {
    fn place(&self, port: u16) -> Option<(&AtomicU64, u64)> {
        let index = usize::from(port.checked_sub(*OWN_PORTS.start())?);
        Some((self.0.get(index / 64)?, 1 << (index % 64)))
    }

    fn set(&self, port: u16) -> bool {
        self.place(port).is_some_and(|(word, bit)| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    fn clear(&self, port: u16) -> bool {
        self.place(port).is_some_and(|(word, bit)| word.fetch_and(!bit, Ordering::Relaxed) & bit != 0)
    }

    fn is_set(&self, port: u16) -> bool {
        self.place(port).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_claimed_once_and_by_protocol() {
        let claims = FlowClaims::new();
        for port in [*OWN_PORTS.start(), 63_000, u16::MAX] {
            assert!(claims.claim(Protocol::Tcp, port));
            assert!(!claims.claim(Protocol::Tcp, port));
            assert!(!claims.is_claimed(Protocol::Udp, port));
            assert!(claims.claim(Protocol::Udp, port));
            claims.release(Protocol::Tcp, port);
            claims.release(Protocol::Tcp, port);
            assert!(!claims.is_claimed(Protocol::Tcp, port));
            assert!(claims.is_claimed(Protocol::Udp, port));
        }
        assert_eq!(claims.count.load(Ordering::Relaxed), 3);
        assert!(!claims.claim(Protocol::Tcp, *OWN_PORTS.start() - 1));
        assert!(!claims.is_claimed(Protocol::Tcp, 0));
    }

    #[test]
    fn packets_are_taken_by_destination_and_yielded_by_source() {
        // UDP from port 62000 to port 61001.
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend(62_000u16.to_be_bytes());
        packet.extend(61_001u16.to_be_bytes());
        packet.extend([0, 8, 0, 0]);
        let claims = FlowClaims::new();
        assert!(!claims.take(&packet));
        assert!(claims.claim(Protocol::Tcp, 61_001));
        assert!(!claims.take(&packet), "another protocol");
        assert!(claims.claim(Protocol::Udp, 61_001));
        assert!(claims.take(&packet));
        packet[7] = 1;
        assert!(!claims.take(&packet), "a later fragment has no ports");
        packet[7] = 0;
        assert!(claims.claim(Protocol::Udp, 62_000));
        claims.yield_to(&packet);
        assert!(!claims.is_claimed(Protocol::Udp, 62_000));
        assert!(claims.is_claimed(Protocol::Udp, 61_001));
    }
}
