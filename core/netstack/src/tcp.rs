//! TCP flows: smoltcp's sockets, what was told of them, and how long they may wait.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smoltcp::iface::{Context, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, CongestionControl, RecvError, SocketBuffer, State};
use smoltcp::wire::TcpSeqNumber;

use crate::flow::{CloseReason, FlowError, FlowEvent, FlowId, Received};
use crate::numbers::Numbers;
use crate::{MAX_BACKLOG, MAX_TCP_FLOWS, RECEIVE_BUFFER, SEND_BUFFER};

/// How long the far side may leave a SYN unanswered, or a flow unended that nobody holds any more.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the far side may leave bytes unacknowledged: RFC 1122, section 4.2.3.5, asks for 100 s at least, and a
/// closed window is probed every 60 s at the latest.
const LONG_PATIENCE: Duration = Duration::from_secs(100);

/// What is going on while a flow is looked at; it tells who closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum During {
    Ingress,
    Egress,
    Call,
}

struct TcpFlow {
    handle: SocketHandle,
    local: SocketAddr,
    remote: SocketAddr,
    /// The socket's state when it was looked at last.
    state: State,
    /// The far side opened it. Until it is established nobody knows of it.
    served: bool,
    established: bool,
    wants_read: bool,
    wants_write: bool,
    /// Since when something has waited for the far side, which was last heard no earlier.
    waiting_since: Option<Instant>,
    /// Nobody holds the flow any more; it only has to end.
    released: bool,
    /// What was received and not read when the socket began to forget it.
    rest: VecDeque<u8>,
    closed: Option<CloseReason>,
}

pub(crate) struct TcpFlows {
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) numbers: Numbers,
    flows: HashMap<FlowId, TcpFlow>,
    by_tuple: HashMap<(SocketAddr, SocketAddr), FlowId>,
}

impl TcpFlows {
    pub(crate) fn new() -> Self {
        Self {
            sockets: SocketSet::new(Vec::new()),
            numbers: Numbers::default(),
            flows: HashMap::new(),
            by_tuple: HashMap::new(),
        }
    }

    pub(crate) fn connect(
        &mut self,
        context: &mut Context,
        id: FlowId,
        local: SocketAddr,
        remote: SocketAddr,
        now: Instant,
    ) -> Result<(), FlowError> {
        if self.by_tuple.contains_key(&(local, remote)) {
            return Err(FlowError::PortInUse);
        }
        if self.flows.len() >= MAX_TCP_FLOWS {
            return Err(FlowError::TooManyFlows);
        }
        let mut socket = new_socket();
        socket.connect(context, remote, local).map_err(|_| FlowError::Unaddressable)?;
        let handle = self.sockets.add(socket);
        let (wants_read, wants_write) = (true, true);
        let waiting_since = Some(now);
        let state = State::SynSent;
        let flow =
            TcpFlow { wants_read, wants_write, waiting_since, ..TcpFlow::new(handle, local, remote, state) };
        self.insert(id, flow);
        Ok(())
    }

    /// Makes the flow that a SYN from `remote` asks for. The segment is for its socket to take.
    pub(crate) fn serve(
        &mut self,
        id: FlowId,
        local: SocketAddr,
        remote: SocketAddr,
        now: Instant,
    ) -> Result<(), FlowError> {
        let begun = self.flows.values().filter(|flow| flow.served && !flow.established).count();
        if begun >= MAX_BACKLOG || self.flows.len() >= MAX_TCP_FLOWS {
            return Err(FlowError::TooManyFlows);
        }
        let mut socket = new_socket();
        socket.listen(local).map_err(|_| FlowError::Unaddressable)?;
        let handle = self.sockets.add(socket);
        let flow = TcpFlow {
            served: true,
            waiting_since: Some(now),
            ..TcpFlow::new(handle, local, remote, State::Listen)
        };
        self.insert(id, flow);
        Ok(())
    }

    fn insert(&mut self, id: FlowId, flow: TcpFlow) {
        self.by_tuple.insert((flow.local, flow.remote), id);
        self.flows.insert(id, flow);
    }

    pub(crate) fn find(&self, local: SocketAddr, remote: SocketAddr) -> Option<FlowId> {
        self.by_tuple.get(&(local, remote)).copied()
    }

    pub(crate) fn ends(&self, id: FlowId) -> Option<(SocketAddr, SocketAddr)> {
        self.flows.get(&id).map(|flow| (flow.local, flow.remote))
    }

    pub(crate) fn ids(&self) -> Vec<FlowId> {
        self.flows.keys().copied().collect()
    }

    pub(crate) fn send(&mut self, id: FlowId, bytes: &[u8], now: Instant) -> Result<usize, CloseReason> {
        let flow = self.flows.get_mut(&id).ok_or(CloseReason::Aborted)?;
        if let Some(reason) = flow.closed {
            return Err(reason);
        }
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
        if !flow.established {
            flow.wants_write = true;
            return Ok(0);
        }
        let taken = socket.send_slice(bytes).map_err(|_| CloseReason::Finished)?;
        flow.wants_write |= taken < bytes.len();
        if taken > 0 && flow.waiting_since.is_none() {
            flow.waiting_since = Some(now);
        }
        Ok(taken)
    }

    pub(crate) fn receive(&mut self, id: FlowId, bytes: &mut [u8]) -> Result<Received, CloseReason> {
        let flow = self.flows.get_mut(&id).ok_or(CloseReason::Aborted)?;
        if !flow.rest.is_empty() {
            let taken = std::io::Read::read(&mut flow.rest, bytes).unwrap_or(0);
            return Ok(Received::Bytes(taken));
        }
        match flow.closed {
            Some(CloseReason::Finished) => return Ok(Received::End),
            Some(reason) => return Err(reason),
            None => {}
        }
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
        match socket.recv_slice(bytes) {
            Err(RecvError::Finished) => Ok(Received::End),
            Ok(taken) if taken > 0 || bytes.is_empty() => Ok(Received::Bytes(taken)),
            // Nothing is there yet, or the handshake is under way.
            Ok(_) | Err(RecvError::InvalidState) => {
                flow.wants_read = true;
                Ok(Received::Nothing)
            }
        }
    }

    /// Sends a FIN after what was taken to be sent.
    pub(crate) fn close(&mut self, id: FlowId, now: Instant) {
        if let Some(flow) = self.flows.get_mut(&id) {
            self.sockets.get_mut::<tcp::Socket<'_>>(flow.handle).close();
            flow.waiting_since.get_or_insert(now);
        }
    }

    pub(crate) fn abort(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(&id) {
            self.sockets.get_mut::<tcp::Socket<'_>>(flow.handle).abort();
        }
    }

    /// Nobody reads or writes the flow any more: it ends in order if nothing is left unread, else by a reset.
    pub(crate) fn release(&mut self, id: FlowId, now: Instant) {
        self.close(id, now);
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.released = true;
        }
    }

    /// Whether a bare acknowledgement is kept from the flow: it does not acknowledge the FIN, which is all that
    /// the flow waits for. smoltcp counts three of them as a loss, and then never sends the FIN again, since its
    /// fast retransmission looks for payload alone; the retransmission timer does it right.
    pub(crate) fn ignores(&self, id: FlowId, acknowledged: TcpSeqNumber) -> bool {
        let Some(flow) = self.flows.get(&id) else { return false };
        let socket = self.sockets.get::<tcp::Socket<'_>>(flow.handle);
        matches!(socket.state(), State::FinWait1 | State::Closing | State::LastAck)
            && socket.send_queue() == 0
            && self.numbers.next(flow.local, flow.remote).is_some_and(|next| acknowledged < next)
    }

    /// A segment of the flow has come in, so the far side lives.
    pub(crate) fn heard(&mut self, id: FlowId, now: Instant) {
        if let Some(since) = self.flows.get_mut(&id).and_then(|flow| flow.waiting_since.as_mut()) {
            *since = now;
        }
    }

    /// Tells what has changed since the flow was looked at last, and removes it where it is over and released.
    pub(crate) fn inspect(
        &mut self,
        id: FlowId,
        during: During,
        now: Instant,
        events: &mut VecDeque<FlowEvent>,
    ) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
        flow.look(id, socket, during, now, events);
        // An aborted socket still has its reset to send.
        let silent = socket.remote_endpoint().is_none();
        if flow.closed.is_some() && flow.released && silent {
            self.sockets.remove(flow.handle);
            self.by_tuple.remove(&(flow.local, flow.remote));
            self.numbers.forget(flow.local, flow.remote);
            self.flows.remove(&id);
        }
    }

    /// Aborts the flows whose far side has been silent for too long.
    pub(crate) fn expire(&mut self, now: Instant, events: &mut VecDeque<FlowEvent>) {
        for (id, flow) in &mut self.flows {
            if flow.deadline().is_some_and(|deadline| now >= deadline) {
                self.sockets.get_mut::<tcp::Socket<'_>>(flow.handle).abort();
                flow.end(*id, CloseReason::TimedOut, events);
            }
        }
    }

    /// The next moment at which a flow has waited for too long.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.flows.values().filter_map(TcpFlow::deadline).min()
    }
}

/// A socket that sends and acknowledges at once.
fn new_socket() -> tcp::Socket<'static> {
    let buffer = |len| SocketBuffer::new(vec![0; len]);
    let mut socket = tcp::Socket::new(buffer(RECEIVE_BUFFER), buffer(SEND_BUFFER));
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_congestion_control(CongestionControl::Cubic);
    socket
}

impl TcpFlow {
    fn new(handle: SocketHandle, local: SocketAddr, remote: SocketAddr, state: State) -> Self {
        Self {
            handle,
            local,
            remote,
            state,
            served: false,
            established: false,
            wants_read: false,
            wants_write: false,
            waiting_since: None,
            released: false,
            rest: VecDeque::new(),
            closed: None,
        }
    }

    fn look(
        &mut self,
        id: FlowId,
        socket: &mut tcp::Socket<'_>,
        during: During,
        now: Instant,
        events: &mut VecDeque<FlowEvent>,
    ) {
        let before = std::mem::replace(&mut self.state, socket.state());
        let opening =
            matches!(self.state, State::SynSent | State::SynReceived | State::Listen | State::Closed);
        if !opening && !self.established {
            self.established = true;
            events.push_back(if self.served { FlowEvent::Accepted(id) } else { FlowEvent::Established(id) });
        }
        if self.state == State::Listen && self.closed.is_none() {
            // Who asked for the connection has reset it, and the socket would serve the next one.
            socket.abort();
            self.state = State::Closed;
            self.end(id, CloseReason::Reset, events);
        }
        if self.released && self.closed.is_none() && socket.can_recv() {
            // RFC 9293, section 3.10.4: data that nobody will read is answered by a reset.
            socket.abort();
            self.state = State::Closed;
            self.end(id, CloseReason::Aborted, events);
        }
        let closed_now = self.state == State::Closed && before != State::Closed;
        let finished = closed_now && why_closed(before, during) == CloseReason::Finished;
        if finished || self.state == State::TimeWait {
            // The socket forgets by a clock; who reads slowly must not lose bytes by it.
            let mut rest = vec![0; socket.recv_queue()];
            let taken = socket.recv_slice(&mut rest).unwrap_or(0);
            self.rest.extend(rest.into_iter().take(taken));
        }
        if self.state == State::Closed && self.closed.is_none() {
            self.end(id, why_closed(before, during), events);
        }
        self.wait(socket, now);
        let over = self.closed.is_some();
        if self.wants_read && (over || !self.rest.is_empty() || socket.can_recv() || has_ended(socket)) {
            self.wants_read = false;
            events.push_back(FlowEvent::Readable(id));
        }
        if self.wants_write && (over || socket.can_send()) {
            self.wants_write = false;
            events.push_back(FlowEvent::Writable(id));
        }
    }

    /// When the far side has been silent for too long.
    fn deadline(&self) -> Option<Instant> {
        let since = self.waiting_since.filter(|_| self.closed.is_none())?;
        let patience = if self.established && !self.released { LONG_PATIENCE } else { PATIENCE };
        Some(since + patience)
    }

    fn end(&mut self, id: FlowId, reason: CloseReason, events: &mut VecDeque<FlowEvent>) {
        self.closed = Some(reason);
        if self.served && !self.established {
            // Nobody knows of it, so nobody gives it back.
            self.released = true;
        } else {
            events.push_back(FlowEvent::Closed(id, reason));
        }
    }

    /// Starts or stops the clock for the far side's silence.
    fn wait(&mut self, socket: &tcp::Socket<'_>, now: Instant) {
        let waits = match socket.state() {
            State::Established | State::CloseWait => socket.send_queue() > 0,
            // Half closed by this side: the far side may go on for as long as someone reads.
            State::FinWait2 => self.released,
            State::TimeWait | State::Closed | State::Listen => false,
            State::SynSent | State::SynReceived | State::FinWait1 | State::Closing | State::LastAck => true,
        };
        self.waiting_since = waits.then(|| self.waiting_since.unwrap_or(now));
    }
}

/// Whether the far side has sent its FIN and everything before it has been read.
fn has_ended(socket: &tcp::Socket<'_>) -> bool {
    matches!(socket.state(), State::CloseWait | State::Closing | State::LastAck | State::TimeWait)
        && !socket.can_recv()
}

fn why_closed(before: State, during: During) -> CloseReason {
    match (before, during) {
        (State::TimeWait | State::LastAck, During::Ingress | During::Egress) => CloseReason::Finished,
        (_, During::Call | During::Egress) => CloseReason::Aborted,
        (State::SynSent, During::Ingress) => CloseReason::Refused,
        (_, During::Ingress) => CloseReason::Reset,
    }
}
