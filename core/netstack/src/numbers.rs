//! Keeps bare acknowledgements acceptable while a flow retransmits.
//!
//! After a retransmission timeout smoltcp counts its next sequence number from the first unacknowledged byte again,
//! and puts that number on bare acknowledgements as well. To a receiver that already has those bytes such a segment
//! lies before its window, so it drops the acknowledgement (RFC 9293, section 3.10.7.4). Where both ends do so at
//! once neither ever hears of what the other received. A bare acknowledgement carries SND.NXT, which a
//! retransmission does not set back; so it is written anew here where it is behind what was sent.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber};

/// The next sequence number of each flow, by its local and its remote end.
#[derive(Default)]
pub(crate) struct Numbers(HashMap<(SocketAddr, SocketAddr), TcpSeqNumber>);

impl Numbers {
    /// Looks at a packet that smoltcp made, and mends it.
    pub(crate) fn mend(&mut self, packet: &mut [u8]) {
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => {
                let Ok(mut view) = Ipv4Packet::new_checked(packet) else { return };
                let (from, to) = (IpAddress::from(view.src_addr()), IpAddress::from(view.dst_addr()));
                self.mend_segment(view.payload_mut(), from, to);
            }
            Some(6) => {
                let Ok(mut view) = Ipv6Packet::new_checked(packet) else { return };
                let (from, to) = (IpAddress::from(view.src_addr()), IpAddress::from(view.dst_addr()));
                self.mend_segment(view.payload_mut(), from, to);
            }
            _ => {}
        }
    }

    /// The number after everything that the flow has sent.
    pub(crate) fn next(&self, local: SocketAddr, remote: SocketAddr) -> Option<TcpSeqNumber> {
        self.0.get(&(local, remote)).copied()
    }

    /// The flow is gone.
    pub(crate) fn forget(&mut self, local: SocketAddr, remote: SocketAddr) {
        self.0.remove(&(local, remote));
    }

    fn mend_segment(&mut self, segment: &mut [u8], from: IpAddress, to: IpAddress) {
        let Ok(mut view) = TcpPacket::new_checked(segment) else { return };
        let local = SocketAddr::new(IpAddr::from(from), view.src_port());
        let remote = SocketAddr::new(IpAddr::from(to), view.dst_port());
        let end = view.seq_number() + view.segment_len();
        if view.syn() {
            self.0.insert((local, remote), end);
            return;
        }
        let Some(next) = self.0.get_mut(&(local, remote)) else { return };
        if end > *next {
            *next = end;
        } else if view.segment_len() == 0 && !view.rst() && end < *next {
            view.set_seq_number(*next);
            view.fill_checksum(&from, &to);
        }
    }
}
