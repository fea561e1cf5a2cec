//! Datagrams without flows, for a server that answers each by itself.

use std::net::{IpAddr, SocketAddr};

use crate::wire::{self, Incoming, Kind};

/// A UDP datagram out of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// Whom it is for.
    pub to: SocketAddr,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads an IP packet. None where it carries no datagram, is malformed or a fragment.
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let Incoming { from, to, kind } = wire::parse(packet)?;
        match kind {
            Kind::Udp(payload) => Some(Self { from, to, payload }),
            Kind::Tcp { .. } => None,
        }
    }

    /// The IP packet that carries it. None where the addresses are of two families, or it fits no packet.
    #[must_use]
    pub fn packet(&self) -> Option<Vec<u8>> {
        let fits = self.payload.len() <= longest(self.to.ip(), usize::from(u16::MAX));
        let one_family = self.from.is_ipv4() == self.to.is_ipv4();
        (fits && one_family).then(|| wire::datagram(self.from, self.to, self.payload))
    }
}

/// Bytes of the longest payload that one packet of `mtu` bytes carries to `remote`.
#[must_use]
pub fn longest(remote: IpAddr, mtu: usize) -> usize {
    wire::max_datagram(remote, mtu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_made_of_a_question_that_was_read() {
        for (from, to) in [("10.0.0.2:4000", "10.0.0.53:53"), ("[2001:db8::2]:4000", "[2001:db8::53]:53")] {
            let asked = Datagram { from: from.parse().unwrap(), to: to.parse().unwrap(), payload: b"who?" };
            let packet = asked.packet().unwrap();
            assert_eq!(Datagram::parse(&packet), Some(asked));
            let answer = Datagram { from: asked.to, to: asked.from, payload: b"me" };
            assert_eq!(Datagram::parse(&answer.packet().unwrap()), Some(answer));
            let long = vec![0; longest(asked.to.ip(), 65_535) + 1];
            assert_eq!(Datagram { payload: &long, ..asked }.packet(), None);
            assert!(Datagram { payload: &long[1..], ..asked }.packet().is_some());
            let other = if asked.from.is_ipv4() { "[2001:db8::1]:1" } else { "192.0.2.1:1" };
            assert_eq!(Datagram { to: other.parse().unwrap(), ..asked }.packet(), None);
        }
    }
}
