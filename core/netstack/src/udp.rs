//! UDP flows: one local port and one remote each.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use crate::flow::{FlowError, FlowEvent, FlowId};
use crate::{MAX_UDP_FLOWS, wire};

/// Datagrams that a flow keeps until they are received; more are dropped, as a socket would.
const MAX_RECEIVED: usize = 4;
/// Packets that wait to be polled, over all flows.
const MAX_OUTGOING: usize = 2 * MAX_UDP_FLOWS;

struct UdpFlow {
    local: SocketAddr,
    remote: SocketAddr,
    received: VecDeque<Vec<u8>>,
    /// Whether the last look found nothing, so that the next datagram is told.
    wanted: bool,
}

#[derive(Default)]
pub(crate) struct UdpFlows {
    flows: HashMap<FlowId, UdpFlow>,
    by_tuple: HashMap<(SocketAddr, SocketAddr), FlowId>,
    outgoing: VecDeque<Vec<u8>>,
}

impl UdpFlows {
    pub(crate) fn bind(
        &mut self,
        id: FlowId,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(), FlowError> {
        if self.by_tuple.contains_key(&(local, remote)) {
            return Err(FlowError::PortInUse);
        }
        if self.flows.len() >= MAX_UDP_FLOWS {
            return Err(FlowError::TooManyFlows);
        }
        self.by_tuple.insert((local, remote), id);
        self.flows.insert(id, UdpFlow { local, remote, received: VecDeque::new(), wanted: true });
        Ok(())
    }

    pub(crate) fn send(&mut self, id: FlowId, payload: &[u8], mtu: usize) -> Result<(), FlowError> {
        let flow = self.flows.get(&id).ok_or(FlowError::Unknown)?;
        let max = wire::max_datagram(flow.remote.ip(), mtu);
        if payload.len() > max {
            return Err(FlowError::TooLong { len: payload.len(), max });
        }
        if self.outgoing.len() >= MAX_OUTGOING {
            return Err(FlowError::QueueFull);
        }
        self.outgoing.push_back(wire::datagram(flow.local, flow.remote, payload));
        Ok(())
    }

    pub(crate) fn receive(&mut self, id: FlowId) -> Option<Vec<u8>> {
        let flow = self.flows.get_mut(&id)?;
        let datagram = flow.received.pop_front();
        flow.wanted = datagram.is_none();
        datagram
    }

    pub(crate) fn release(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.remove(&id) {
            self.by_tuple.remove(&(flow.local, flow.remote));
        }
    }

    /// Takes a datagram; says whether it belongs to a flow that keeps it.
    pub(crate) fn handle(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        events: &mut VecDeque<FlowEvent>,
    ) -> bool {
        let Some(id) = self.by_tuple.get(&(to, from)).copied() else { return false };
        let Some(flow) = self.flows.get_mut(&id) else { return false };
        if flow.received.len() >= MAX_RECEIVED {
            return false;
        }
        flow.received.push_back(payload.to_vec());
        if std::mem::take(&mut flow.wanted) {
            events.push_back(FlowEvent::Readable(id));
        }
        true
    }

    pub(crate) fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    pub(crate) fn has_packets(&self) -> bool {
        !self.outgoing.is_empty()
    }
}
