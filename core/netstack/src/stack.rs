//! The stack: addresses, ports, packets in, packets out.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;
use smoltcp::iface::{Config, Interface, PollResult};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::clock::Clock;
use crate::device::Port;
use crate::flow::{CloseReason, FlowError, FlowEvent, FlowId, Received};
use crate::tcp::{During, TcpFlows};
use crate::udp::UdpFlows;
use crate::wire::{self, Incoming, Kind};
use crate::{MAX_ADDRESSES, MAX_LISTENERS};

/// The least MTU: RFC 791 for IPv4. A tunnel below 1,280 carries no IPv6.
const MIN_MTU: u16 = 576;
/// Immediate answers (resets, challenge acknowledgements) that wait to be polled; more are dropped.
const MAX_REPLIES: usize = 64;
/// Packets that one poll may make, so that no fault can keep it busy for ever: all send buffers, several times.
const MAX_EGRESS: usize = 65_536;

/// User-space TCP and UDP on the tunnel's addresses.
///
/// After any call, poll [`poll_packets`](Self::poll_packets), then [`poll_event`](Self::poll_event), then
/// [`poll_timeout`](Self::poll_timeout).
pub struct Netstack {
    interface: Interface,
    clock: Clock,
    mtu: usize,
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
    /// Where connections are taken.
    listening: Vec<SocketAddr>,
    next_id: u64,
    tcp: TcpFlows,
    udp: UdpFlows,
    events: VecDeque<FlowEvent>,
    replies: VecDeque<Vec<u8>>,
    scratch: Vec<u8>,
    dropped: u64,
}

impl std::fmt::Debug for Netstack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netstack").field("mtu", &self.mtu).finish_non_exhaustive()
    }
}

impl Netstack {
    /// A stack on the first unicast address of each family of `addresses`, with packets of up to `mtu` bytes
    /// (at least 576). `seed` must not be guessed from outside: TCP's first sequence numbers come from it.
    #[must_use]
    pub fn new(addresses: &[IpNet], mtu: u16, seed: u64, now: Instant) -> Self {
        let first = |v4: bool| {
            let unicast = addresses.iter().map(IpNet::addr).filter(|address| wire::is_unicast(*address));
            unicast.into_iter().find(|address| address.is_ipv4() == v4)
        };
        let (v4, v6) = (first(true), first(false));
        let clock = Clock::new(now);
        let mtu = usize::from(mtu.max(MIN_MTU));
        let mut scratch = Vec::new();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut sink = |_: &[u8]| {};
        let mut tcp = TcpFlows::new();
        let mut port = Port::new(None, mtu, &mut scratch, &mut tcp.numbers, &mut sink);
        let mut interface = Interface::new(config, &mut port, clock.to_stack(now));
        interface.update_ip_addrs(|list| {
            for address in [v4, v6].into_iter().flatten() {
                let prefix = if address.is_ipv4() { 32 } else { 128 };
                // There is room for one of each family.
                let _ = list.push(IpCidr::new(IpAddress::from(address), prefix));
            }
        });
        Self {
            interface,
            clock,
            mtu,
            v4,
            v6,
            listening: Vec::new(),
            next_id: 0,
            tcp,
            udp: UdpFlows::default(),
            events: VecDeque::new(),
            replies: VecDeque::new(),
            scratch,
            dropped: 0,
        }
    }

    /// The address from which `remote` is spoken to.
    #[must_use]
    pub fn local_address(&self, remote: IpAddr) -> Option<IpAddr> {
        if remote.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// Takes TCP connections on `local` from now on, which need not be an address of the stack yet. A segment for its
    /// address that belongs to no connection is answered by a reset (RFC 9293, section 3.10.7.1).
    ///
    /// [`FlowEvent::Accepted`] tells of each connection.
    ///
    /// # Errors
    /// [`FlowError::Unaddressable`], [`FlowError::TooManyAddresses`], or [`FlowError::PortInUse`] where it is listened
    /// on already.
    pub fn listen(&mut self, local: SocketAddr) -> Result<(), FlowError> {
        if local.port() == 0 || !wire::is_unicast(local.ip()) {
            return Err(FlowError::Unaddressable);
        }
        if self.listening.contains(&local) {
            return Err(FlowError::PortInUse);
        }
        let address = IpCidr::new(IpAddress::from(local.ip()), if local.is_ipv4() { 32 } else { 128 });
        let mut has_room = self.listening.len() < MAX_LISTENERS;
        self.interface.update_ip_addrs(|list| {
            if has_room && !list.contains(&address) {
                has_room = list.len() < MAX_ADDRESSES && list.push(address).is_ok();
            }
        });
        if !has_room {
            return Err(FlowError::TooManyAddresses);
        }
        self.listening.push(local);
        Ok(())
    }

    /// Who is at both ends of a TCP flow, its own first.
    #[must_use]
    pub fn ends(&self, id: FlowId) -> Option<(SocketAddr, SocketAddr)> {
        self.tcp.ends(id)
    }

    /// Starts a TCP connection from `local_port`.
    ///
    /// [`FlowEvent::Established`] or [`FlowEvent::Closed`] follows, the latter after 15 s of silence at most.
    ///
    /// # Errors
    /// A [`FlowError`]; nothing was made then.
    pub fn connect(
        &mut self,
        remote: SocketAddr,
        local_port: u16,
        now: Instant,
    ) -> Result<FlowId, FlowError> {
        let local = self.local(remote, local_port)?;
        let id = FlowId(self.next_id);
        self.tcp.connect(self.interface.context(), id, local, remote, now)?;
        self.next_id += 1;
        Ok(id)
    }

    /// Takes bytes to send on a TCP flow: as many as there is room for, which the return value says. Less than
    /// given: [`FlowEvent::Writable`] follows.
    ///
    /// # Errors
    /// Why the flow is over, or [`CloseReason::Finished`] after [`close`](Self::close).
    pub fn send(&mut self, id: FlowId, bytes: &[u8], now: Instant) -> Result<usize, CloseReason> {
        self.tcp.send(id, bytes, now)
    }

    /// Gives bytes that a TCP flow received.
    ///
    /// # Errors
    /// Why the flow is over, unless it ended in order.
    pub fn receive(&mut self, id: FlowId, bytes: &mut [u8]) -> Result<Received, CloseReason> {
        self.tcp.receive(id, bytes)
    }

    /// Ends the sending half of a TCP flow, after what was taken to be sent. The other half goes on.
    pub fn close(&mut self, id: FlowId, now: Instant) {
        self.tcp.close(id, now);
        self.tcp.inspect(id, During::Call, now, &mut self.events);
    }

    /// Resets a TCP flow.
    pub fn abort(&mut self, id: FlowId, now: Instant) {
        self.tcp.abort(id);
        self.tcp.inspect(id, During::Call, now, &mut self.events);
    }

    /// Gives a flow back, TCP or UDP: nothing more will be sent or received on it. A TCP flow still sends what it
    /// took, then ends in order, or by a reset where bytes are left unread; [`FlowEvent::Closed`] follows unless it
    /// was told before, and until then the port is in use. A UDP flow is gone at once, with no event.
    pub fn release(&mut self, id: FlowId, now: Instant) {
        self.udp.release(id);
        self.tcp.release(id, now);
        self.tcp.inspect(id, During::Call, now, &mut self.events);
    }

    /// Makes a UDP flow between `local_port` and `remote`: datagrams of any other sender are not for it.
    ///
    /// # Errors
    /// A [`FlowError`]; nothing was made then.
    pub fn udp_bind(&mut self, remote: SocketAddr, local_port: u16) -> Result<FlowId, FlowError> {
        let local = self.local(remote, local_port)?;
        let id = FlowId(self.next_id);
        self.udp.bind(id, local, remote)?;
        self.next_id += 1;
        Ok(id)
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// [`FlowError::TooLong`], [`FlowError::QueueFull`] or [`FlowError::Unknown`]; nothing is sent then.
    pub fn udp_send(&mut self, id: FlowId, payload: &[u8]) -> Result<(), FlowError> {
        self.udp.send(id, payload, self.mtu)
    }

    /// The next datagram that a UDP flow received. None: [`FlowEvent::Readable`] follows.
    pub fn udp_receive(&mut self, id: FlowId) -> Option<Vec<u8>> {
        self.udp.receive(id)
    }

    /// Takes an IP packet. One that is malformed, a fragment or of no flow changes nothing and is counted.
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        if self.take(packet, now).is_none() {
            self.dropped += 1;
        }
    }

    /// Hands every packet that is due to `sink`, which may refuse none.
    pub fn poll_packets(&mut self, now: Instant, sink: &mut dyn FnMut(&[u8])) {
        self.tcp.expire(now, &mut self.events);
        while let Some(packet) = self.replies.pop_front() {
            sink(&packet);
        }
        while let Some(packet) = self.udp.poll_packet() {
            sink(&packet);
        }
        let ids = self.tcp.ids();
        if ids.is_empty() {
            return;
        }
        let at = self.clock.to_stack(now);
        let mut port = Port::new(None, self.mtu, &mut self.scratch, &mut self.tcp.numbers, sink);
        for _ in 0..MAX_EGRESS {
            if self.interface.poll_egress(at, &mut port, &mut self.tcp.sockets) == PollResult::None {
                break;
            }
        }
        for id in ids {
            self.tcp.inspect(id, During::Egress, now, &mut self.events);
        }
    }

    /// The next event; `None` until the next call that takes something in.
    pub fn poll_event(&mut self) -> Option<FlowEvent> {
        self.events.pop_front()
    }

    /// The next moment at which [`poll_packets`](Self::poll_packets) has something to do. None: nothing is due until
    /// something is sent or arrives, however many connections are open.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.udp.has_packets() || !self.replies.is_empty() {
            return Some(now);
        }
        let stack = self.interface.poll_at(self.clock.to_stack(now), &self.tcp.sockets);
        let stack = stack.map(|at| self.clock.to_std(at).max(now));
        stack.into_iter().chain(self.tcp.poll_timeout()).min()
    }

    /// Packets that were dropped since the stack was made: malformed, fragments, or of no flow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn local(&self, remote: SocketAddr, local_port: u16) -> Result<SocketAddr, FlowError> {
        if local_port == 0 || remote.port() == 0 || !wire::is_unicast(remote.ip()) {
            return Err(FlowError::Unaddressable);
        }
        let address = self.local_address(remote.ip()).ok_or(FlowError::NoAddress)?;
        Ok(SocketAddr::new(address, local_port))
    }

    fn take(&mut self, packet: &[u8], now: Instant) -> Option<()> {
        let Incoming { from, to, kind } = wire::parse(packet)?;
        match kind {
            Kind::Udp(payload) => self.udp.handle(from, to, payload, &mut self.events).then_some(()),
            Kind::Tcp { whole, bare_ack, opens } => match self.tcp.find(to, from) {
                Some(id) => {
                    self.tcp.heard(id, now);
                    if !bare_ack.is_some_and(|acknowledged| self.tcp.ignores(id, acknowledged)) {
                        self.ingress(whole, now);
                        self.tcp.inspect(id, During::Ingress, now, &mut self.events);
                    }
                    Some(())
                }
                None => self.knock(from, to, whole, opens, now),
            },
        }
    }

    /// Takes a segment of no flow: a connection that begins, or one to reset.
    fn knock(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        whole: &[u8],
        opens: bool,
        now: Instant,
    ) -> Option<()> {
        // Elsewhere it gets no reset: it may be one of the system's that lost its way.
        self.listening.iter().find(|local| local.ip() == to.ip())?;
        if from.port() == 0 {
            return None;
        }
        if opens && self.listening.contains(&to) {
            let id = FlowId(self.next_id);
            self.tcp.serve(id, to, from, now).ok()?;
            self.next_id += 1;
            self.ingress(whole, now);
            self.tcp.inspect(id, During::Ingress, now, &mut self.events);
        } else {
            // No socket takes it, so it is answered by a reset, unless it is one.
            self.ingress(whole, now);
        }
        Some(())
    }

    /// Hands a segment to whichever socket it is for.
    fn ingress(&mut self, whole: &[u8], now: Instant) {
        let replies = &mut self.replies;
        let mut sink = |reply: &[u8]| {
            if replies.len() < MAX_REPLIES {
                replies.push_back(reply.to_vec());
            }
        };
        let numbers = &mut self.tcp.numbers;
        let mut port = Port::new(Some(whole), self.mtu, &mut self.scratch, numbers, &mut sink);
        let at = self.clock.to_stack(now);
        let _ = self.interface.poll_ingress_single(at, &mut port, &mut self.tcp.sockets);
    }
}
