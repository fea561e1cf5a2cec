//! The stack behind its lock, who waits for what, and the ports that are held.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::sync::Notify;
use weft_netstack::{CloseReason, FlowError, FlowEvent, FlowId, Netstack};
use weft_packet::Run;

use super::Config;
use crate::data_plane::{FlowClaims, OWN_PORTS, Protocol};
use crate::lock::lock;

/// Ports tried before the range counts as taken: with half of it taken, one in 2^32 fails wrongly.
const TRIES: usize = 32;

pub(super) struct Shared {
    state: Mutex<State>,
    claims: Arc<FlowClaims>,
    send: Box<dyn Fn(Run) + Send + Sync>,
    deadline_changed: Notify,
}

/// The stack and everything that belongs to its flows.
pub(super) struct State {
    stack: Netstack,
    flows: HashMap<FlowId, Slot>,
    /// Connections that others opened and nobody has taken yet, and who waits for the next.
    accepted: VecDeque<FlowId>,
    acceptor: Option<Waker>,
    /// Ports that are claimed here; the claims alone cannot tell ours from one that was lost and taken anew.
    ports: HashSet<(Protocol, u16)>,
    /// What the driver sleeps until.
    deadline: Option<Instant>,
    /// The tunnel is gone.
    down: bool,
}

/// What is known of one flow.
struct Slot {
    port: u16,
    protocol: Protocol,
    /// Another opened it, to a port that is listened on and that no program of the system's can take.
    served: bool,
    established: bool,
    closed: Option<CloseReason>,
    /// Nobody holds the flow any more; it stays until its port may be given back.
    dropped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Shared {
    pub(super) fn new(config: Config) -> io::Result<Self> {
        let stack = Netstack::new(&config.addresses, config.mtu, random()?, Instant::now());
        let state = State {
            stack,
            flows: HashMap::new(),
            accepted: VecDeque::new(),
            acceptor: None,
            ports: HashSet::new(),
            deadline: None,
            down: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            claims: config.claims,
            send: config.send,
            deadline_changed: Notify::new(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) async fn deadline_changed(&self) {
        self.deadline_changed.notified().await;
    }

    /// Claims a port that no flow of ours holds.
    pub(super) fn claim_port(&self, protocol: Protocol) -> io::Result<u16> {
        let span = u64::from(OWN_PORTS.end() - OWN_PORTS.start()) + 1;
        for _ in 0..TRIES {
            let offset = u16::try_from(random()? % span).unwrap_or(0);
            let port = OWN_PORTS.start() + offset;
            let mut state = self.lock();
            if !state.ports.contains(&(protocol, port)) && self.claims.claim(protocol, port) {
                state.ports.insert((protocol, port));
                return Ok(port);
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free for a flow inside the tunnel"))
    }

    fn release_port(&self, state: &mut State, protocol: Protocol, port: u16) {
        if state.ports.remove(&(protocol, port)) {
            self.claims.release(protocol, port);
        }
    }

    /// Makes a flow by `make`, on a claimed port that is given back where it fails.
    pub(super) fn open(
        &self,
        protocol: Protocol,
        port: u16,
        make: impl FnOnce(&mut Netstack, Instant) -> Result<FlowId, FlowError>,
    ) -> io::Result<FlowId> {
        let mut state = self.lock();
        let now = Instant::now();
        let made = if state.down { Err(gone()) } else { make(&mut state.stack, now).map_err(flow_error) };
        match made {
            Ok(id) => {
                state.flows.insert(id, Slot::new(protocol, port));
                self.settle(&mut state, now);
                Ok(id)
            }
            Err(error) => {
                self.release_port(&mut state, protocol, port);
                Err(error)
            }
        }
    }

    /// Whether the flow's port is still its own. The system may have taken it for itself, and has precedence.
    pub(super) fn holds_port(&self, state: &State, id: FlowId) -> bool {
        let holds = |slot: &Slot| slot.served || self.claims.is_claimed(slot.protocol, slot.port);
        state.flows.get(&id).is_some_and(holds)
    }

    /// Nobody holds the flow any more.
    pub(super) fn give_back(&self, id: FlowId) {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some(slot) = state.flows.get_mut(&id) {
            slot.dropped = true;
            slot.reader = None;
            slot.writer = None;
        }
        state.stack.release(id, now);
        self.settle(&mut state, now);
        let down = state.down;
        let over = |slot: &Slot| down || slot.closed.is_some() || slot.protocol == Protocol::Udp;
        if state.flows.get(&id).is_some_and(over) {
            self.forget(&mut state, id);
        }
    }

    /// The tunnel is gone: every flow is over.
    pub(super) fn go_down(&self) {
        let mut state = self.lock();
        state.down = true;
        state.deadline = None;
        let dropped: Vec<_> =
            state.flows.iter().filter(|(_, slot)| slot.dropped).map(|(id, _)| *id).collect();
        for id in dropped {
            self.forget(&mut state, id);
        }
        for slot in state.flows.values_mut() {
            slot.wake();
        }
        state.acceptor.take().into_iter().for_each(Waker::wake);
    }

    fn forget(&self, state: &mut State, id: FlowId) {
        if let Some(slot) = state.flows.remove(&id).filter(|slot| !slot.served) {
            self.release_port(state, slot.protocol, slot.port);
        }
    }

    /// Sends what the stack made, wakes who waits, and tells the driver of a deadline that it does not know.
    pub(super) fn settle(&self, state: &mut State, now: Instant) {
        state.stack.poll_packets(now, &mut |packet| {
            // The stack makes no packet that is longer than a run.
            if let Ok(run) = Run::from_packet(packet) {
                (self.send)(run);
            }
        });
        while let Some(event) = state.stack.poll_event() {
            if let FlowEvent::Accepted(id) = event {
                state.accept(id);
                continue;
            }
            if let FlowEvent::Closed(id, _) = event
                && state.flows.get(&id).is_some_and(|slot| slot.dropped)
            {
                self.forget(state, id);
            }
            state.tell(event);
        }
        let deadline = state.stack.poll_timeout(now);
        if deadline != state.deadline {
            state.deadline = deadline;
            self.deadline_changed.notify_one();
        }
    }
}

impl State {
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn stack(&mut self) -> &mut Netstack {
        &mut self.stack
    }

    pub(super) fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        self.stack.handle_packet(packet, now);
    }

    /// # Errors
    /// The tunnel is gone.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.down { Err(gone()) } else { Ok(()) }
    }

    /// Whether the handshake is done.
    ///
    /// # Errors
    /// Why the flow is over.
    pub(super) fn poll_established(&mut self, id: FlowId, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        let Some(slot) = self.flows.get_mut(&id) else { return Poll::Ready(Err(gone())) };
        match slot.closed {
            Some(reason) => Poll::Ready(Err(close_error(reason))),
            None if slot.established => Poll::Ready(Ok(())),
            None => {
                slot.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn await_readable(&mut self, id: FlowId, context: &Context<'_>) {
        if let Some(slot) = self.flows.get_mut(&id) {
            slot.reader = Some(context.waker().clone());
        }
    }

    pub(super) fn await_writable(&mut self, id: FlowId, context: &Context<'_>) {
        if let Some(slot) = self.flows.get_mut(&id) {
            slot.writer = Some(context.waker().clone());
        }
    }

    /// The next connection that another opened.
    ///
    /// # Errors
    /// The tunnel is gone.
    pub(super) fn poll_accepted(&mut self, context: &Context<'_>) -> Poll<io::Result<FlowId>> {
        self.check()?;
        match self.accepted.pop_front() {
            Some(id) => Poll::Ready(Ok(id)),
            None => {
                self.acceptor = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn accept(&mut self, id: FlowId) {
        let port = self.stack.ends(id).map_or(0, |(local, _)| local.port());
        let slot = Slot { served: true, established: true, ..Slot::new(Protocol::Tcp, port) };
        self.flows.insert(id, slot);
        self.accepted.push_back(id);
        self.acceptor.take().into_iter().for_each(Waker::wake);
    }

    fn tell(&mut self, event: FlowEvent) {
        let (FlowEvent::Established(id)
        | FlowEvent::Accepted(id)
        | FlowEvent::Readable(id)
        | FlowEvent::Writable(id)
        | FlowEvent::Closed(id, _)) = event;
        let Some(slot) = self.flows.get_mut(&id) else { return };
        match event {
            FlowEvent::Established(_) | FlowEvent::Accepted(_) => {
                slot.established = true;
                slot.wake();
            }
            FlowEvent::Readable(_) => slot.reader.take().into_iter().for_each(Waker::wake),
            FlowEvent::Writable(_) => slot.writer.take().into_iter().for_each(Waker::wake),
            FlowEvent::Closed(_, reason) => {
                slot.closed = Some(reason);
                slot.wake();
            }
        }
    }
}

impl Slot {
    fn new(protocol: Protocol, port: u16) -> Self {
        Self {
            port,
            protocol,
            served: false,
            established: false,
            closed: None,
            dropped: false,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// A UDP flow to one server.
pub(super) struct Datagrams {
    shared: Arc<Shared>,
    id: FlowId,
}

impl Datagrams {
    pub(super) fn bind(shared: Arc<Shared>, port: u16, server: SocketAddr) -> io::Result<Self> {
        let id = shared.open(Protocol::Udp, port, |stack, _| stack.udp_bind(server, port))?;
        Ok(Self { shared, id })
    }

    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.check()?;
        if !self.shared.holds_port(&state, self.id) {
            return Err(port_lost());
        }
        state.stack.udp_send(self.id, datagram).map_err(flow_error)?;
        self.shared.settle(&mut state, Instant::now());
        Ok(())
    }

    pub(super) async fn receive(&self, fits: &impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        std::future::poll_fn(|context| {
            let mut state = self.shared.lock();
            state.check()?;
            while let Some(datagram) = state.stack.udp_receive(self.id) {
                if fits(&datagram) {
                    return Poll::Ready(Ok(datagram));
                }
            }
            state.await_readable(self.id, context);
            Poll::Pending
        })
        .await
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.shared.give_back(self.id);
    }
}

pub(super) fn port_lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "a program of the system's took the flow's port")
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the tunnel is gone")
}

pub(super) fn close_error(reason: CloseReason) -> io::Error {
    let kind = match reason {
        CloseReason::Finished => io::ErrorKind::BrokenPipe,
        CloseReason::Refused => io::ErrorKind::ConnectionRefused,
        CloseReason::Reset => io::ErrorKind::ConnectionReset,
        CloseReason::TimedOut => io::ErrorKind::TimedOut,
        CloseReason::Aborted => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, reason)
}

pub(super) fn flow_error(error: FlowError) -> io::Error {
    let kind = match error {
        FlowError::NoAddress => io::ErrorKind::AddrNotAvailable,
        FlowError::Unaddressable | FlowError::TooLong { .. } => io::ErrorKind::InvalidInput,
        FlowError::PortInUse => io::ErrorKind::AddrInUse,
        FlowError::TooManyFlows | FlowError::TooManyAddresses | FlowError::QueueFull => {
            io::ErrorKind::OutOfMemory
        }
        FlowError::Unknown => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, error)
}

fn random() -> io::Result<u64> {
    getrandom::u64().map_err(|error| io::Error::other(format!("the system has no random numbers: {error}")))
}
