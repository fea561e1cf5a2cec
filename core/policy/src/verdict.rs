//! What becomes of one packet that the tunnel interface handed out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_model::DropReason;
use weft_packet::{GsoKind, IcmpKind, Run};

use crate::defaults;
use crate::plan::{PlanInputs, PlanPhase};
use crate::set::NetSet;
use crate::tunnel_set::{TunnelSet, carried};

/// What becomes of a run, all its segments alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Seal it and send it.
    Tunnel,
    /// It is for the DNS front on a sentinel address.
    Own,
    /// Drop it and tell its sender by ICMP, where [`weft_packet::icmp::reply`] finds that it may be told: "too big",
    /// or "no route" where the destination is the tunnel's but the tunnel cannot carry it (it has no address of that
    /// family, or the far side does not take the destination). "No route" rather than "prohibited", so that programs
    /// try the other family.
    Refuse(IcmpKind),
    /// Drop it.
    Drop(DropReason),
}

/// The rules for packets at one moment. Immutable: a change of policy publishes another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerdictSnapshot {
    /// What may come out of the interface at all.
    routed: NetSet,
    /// What of it the tunnel carries.
    carried: NetSet,
    sources_v4: Box<[u32]>,
    sources_v6: Box<[u128]>,
    sentinels: Box<[IpAddr]>,
    mtu: u16,
}

impl VerdictSnapshot {
    /// The rules of the same moment as the plan that [`crate::compile_plan`] makes of the same inputs. Where that
    /// plan has no interface, nothing passes.
    #[must_use]
    pub fn compile(inputs: &PlanInputs<'_>) -> Self {
        if !inputs.has_interface() {
            return Self::default();
        }
        let (mut sources_v4, mut sources_v6) = (Vec::new(), Vec::new());
        for network in inputs.addresses() {
            match network.addr() {
                IpAddr::V4(address) => sources_v4.push(address.to_bits()),
                IpAddr::V6(address) => sources_v6.push(address.to_bits()),
            }
        }
        let (routed, taken_in) = Self::destinations(inputs);
        if inputs.phase == PlanPhase::Blocked {
            // Whoever sends hears at once that there is no way.
            return Self { routed, mtu: inputs.settings.mtu.value, ..Self::default() };
        }
        let gateways = inputs.registration.map_or(&[][..], |registration| &registration.gateways);
        let taken = gateways.iter().map(carried).fold(NetSet::empty(), |all, one| all.union(&one));
        let v4 = if sources_v4.is_empty() { NetSet::empty() } else { NetSet::everything().only_v4() };
        let v6 = if sources_v6.is_empty() { NetSet::empty() } else { NetSet::everything().only_v6() };
        Self {
            carried: taken_in.intersect(&taken).intersect(&v4.union(&v6)),
            routed,
            sources_v4: sources_v4.into(),
            sources_v6: sources_v6.into(),
            sentinels: inputs.sentinels.into(),
            mtu: inputs.settings.mtu.value,
        }
    }

    /// What is routed into the interface, and what of that which comes out of it the tunnel may carry. The latter has
    /// in it what learnt addresses take out of the former: until the shell has the plan that says so, their packets
    /// come by the interface, and go on into the tunnel.
    fn destinations(inputs: &PlanInputs<'_>) -> (NetSet, NetSet) {
        if inputs.has_sentinels_alone() {
            return (inputs.sentinels.iter().copied().collect(), NetSet::empty());
        }
        let routed = TunnelSet::compile(inputs).routed;
        let unlearnt = TunnelSet::compile(&PlanInputs { learnt: None, ..*inputs }).routed;
        let carried = routed.union(&unlearnt);
        (routed, carried)
    }

    /// The same rules with another MTU, for a transport whose own has changed.
    #[must_use]
    pub fn with_mtu(self, mtu: u16) -> Self {
        Self { mtu, ..self }
    }

    /// The longest packet that passes, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Whether packets to `address` are routed into the tunnel interface.
    #[must_use]
    pub fn routes(&self, address: IpAddr) -> bool {
        self.routed.contains(address)
    }

    /// What becomes of `run`.
    ///
    /// A packet beyond the MTU is refused whether or not IPv4's "don't fragment" is set: nothing fragments here. A
    /// host that is told fragments the next one itself, and no packet leaves as fragments that firewalls on the
    /// way drop.
    #[must_use]
    pub fn judge(&self, run: &Run) -> Verdict {
        let packet = run.packet();
        let single = run.offload().kind == GsoKind::None;
        match packet.first().map(|first| first >> 4) {
            Some(4) => match addresses_v4(packet, single) {
                Some((source, destination)) => self.judge_v4(run, source, destination),
                None => Verdict::Drop(DropReason::Malformed),
            },
            Some(6) => match addresses_v6(packet, single) {
                Some((source, destination)) => self.judge_v6(run, source, destination),
                None => Verdict::Drop(DropReason::Malformed),
            },
            _ => Verdict::Drop(DropReason::Malformed),
        }
    }

    fn judge_v4(&self, run: &Run, source: u32, destination: u32) -> Verdict {
        let to = IpAddr::V4(Ipv4Addr::from_bits(destination));
        let own = self.sources_v4.contains(&source);
        let carried = self.carried.contains_v4(destination);
        self.conclude(run, to, own, carried)
    }

    fn judge_v6(&self, run: &Run, source: u128, destination: u128) -> Verdict {
        let to = IpAddr::V6(Ipv6Addr::from_bits(destination));
        let own = self.sources_v6.contains(&source);
        let carried = self.carried.contains_v6(destination);
        self.conclude(run, to, own, carried)
    }

    fn conclude(&self, run: &Run, to: IpAddr, own: bool, carried: bool) -> Verdict {
        if defaults::is_not_unicast(to) {
            Verdict::Drop(DropReason::NotUnicast)
        } else if !self.sentinels.is_empty() && self.sentinels.contains(&to) {
            if own { Verdict::Own } else { Verdict::Drop(DropReason::ForeignSource) }
        } else if !carried {
            // Whoever has no address of the family sends from another interface's: the source says nothing here.
            if self.routed.contains(to) {
                Verdict::Refuse(IcmpKind::NoRoute)
            } else {
                Verdict::Drop(DropReason::NotTunnelled)
            }
        } else if !own {
            Verdict::Drop(DropReason::ForeignSource)
        } else if run.longest_packet() > usize::from(self.mtu) {
            Verdict::Refuse(IcmpKind::TooBig { mtu: self.mtu })
        } else {
            Verdict::Tunnel
        }
    }
}

/// Source and destination of an IPv4 packet whose header does not lie about its length (RFC 791, section 3.1). A
/// run of several segments holds no single length, so only its header is checked.
fn addresses_v4(packet: &[u8], single: bool) -> Option<(u32, u32)> {
    let (head, _) = packet.split_first_chunk::<20>()?;
    let [first, _, high, low, _, _, _, _, _, _, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *head;
    let header = usize::from(first & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([high, low]));
    let whole = header >= 20 && header <= packet.len() && (!single || total == packet.len());
    whole.then(|| (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([d0, d1, d2, d3])))
}

/// The same for IPv6 (RFC 8200, section 3).
fn addresses_v6(packet: &[u8], single: bool) -> Option<(u128, u128)> {
    let (head, rest) = packet.split_first_chunk::<8>()?;
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, payload) = rest.split_first_chunk::<16>()?;
    let [_, _, _, _, high, low, _, _] = *head;
    let whole = !single || usize::from(u16::from_be_bytes([high, low])) == payload.len();
    whole.then(|| (u128::from_be_bytes(*source), u128::from_be_bytes(*destination)))
}

#[cfg(test)]
mod tests;
