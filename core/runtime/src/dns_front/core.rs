//! The engine behind its lock, and who waits for which answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use weft_dns::{ClientId, DnsConfig, Engine, Entropy, Protocol, Request, Taken};
use weft_model::DnsStats;

use super::resolve::Resolve;

/// Where an answer goes.
pub(super) enum Client {
    /// Back where the datagram came from, from the address it was sent to.
    Udp { socket: Arc<UdpSocket>, from: SocketAddr },
    /// Down a connection. The permit is one of the queries that it may have under way.
    Tcp { answers: mpsc::UnboundedSender<(Vec<u8>, OwnedSemaphorePermit)>, permit: OwnedSemaphorePermit },
}

impl Client {
    fn protocol(&self) -> Protocol {
        match self {
            Self::Udp { .. } => Protocol::Udp,
            Self::Tcp { .. } => Protocol::Tcp,
        }
    }

    fn answer(self, answer: Vec<u8>) {
        match self {
            // A full socket drops, as UDP does: the client asks again.
            Self::Udp { socket, from } => drop(socket.try_send_to(&answer, from)),
            // A connection that is gone wants no answer.
            Self::Tcp { answers, permit } => drop(answers.send((answer, permit))),
        }
    }
}

pub(super) struct Core {
    state: Mutex<State>,
    deadline_changed: Notify,
}

struct State {
    engine: Engine,
    resolve: Arc<dyn Resolve>,
    clients: HashMap<ClientId, Client>,
    next_client: u64,
    /// Requests under way. They end with the core.
    requests: JoinSet<()>,
    /// What [`keep_time`] sleeps until.
    deadline: Option<Instant>,
}

impl Core {
    pub(super) fn new(config: DnsConfig, resolve: Arc<dyn Resolve>) -> Arc<Self> {
        let mut engine = Engine::new(Box::new(SystemIds::default()));
        engine.set_config(config, Instant::now());
        let state = State {
            engine,
            resolve,
            clients: HashMap::new(),
            next_client: 0,
            requests: JoinSet::new(),
            deadline: None,
        };
        Arc::new(Self { state: Mutex::new(state), deadline_changed: Notify::new() })
    }

    /// Takes a query; its answer goes to `client`.
    pub(super) fn query(self: &Arc<Self>, client: Client, query: &[u8]) {
        let mut state = self.lock();
        let id = ClientId(state.next_client);
        state.next_client += 1;
        let mut answer = Vec::new();
        match state.engine.handle_query(id, client.protocol(), query, &mut answer, Instant::now()) {
            Taken::Answered => client.answer(answer),
            Taken::Waiting => drop(state.clients.insert(id, client)),
            Taken::Dropped => {}
        }
        self.settle(&mut state);
    }

    pub(super) fn set_config(&self, config: DnsConfig) {
        self.lock().engine.set_config(config, Instant::now());
    }

    pub(super) fn set_resolve(&self, resolve: Arc<dyn Resolve>) {
        self.lock().resolve = resolve;
    }

    pub(super) fn flush(self: &Arc<Self>) {
        let mut state = self.lock();
        state.engine.flush(Instant::now());
        state.requests.abort_all();
        self.settle(&mut state);
    }

    pub(super) fn stats(&self) -> DnsStats {
        self.lock().engine.stats()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what the engine wants.
    fn settle(self: &Arc<Self>, state: &mut State) {
        while let Some((id, answer)) = state.engine.poll_answer() {
            if let Some(client) = state.clients.remove(&id) {
                client.answer(answer);
            }
        }
        while state.requests.try_join_next().is_some() {}
        while let Some(request) = state.engine.poll_request() {
            let Request { id, to, message, deadline } = request;
            let resolving = state.resolve.resolve(to, message, deadline);
            let core = Arc::downgrade(self);
            state.requests.spawn(async move {
                let answer = resolving.await;
                if let Some(core) = core.upgrade() {
                    let mut state = core.lock();
                    state.engine.handle_answer(id, answer, Instant::now());
                    core.settle(&mut state);
                }
            });
        }
        let deadline = state.engine.poll_timeout();
        if deadline != state.deadline {
            state.deadline = deadline;
            self.deadline_changed.notify_one();
        }
    }
}

/// Tells the engine of its deadlines; without queries in flight there are none.
pub(super) async fn keep_time(core: Arc<Core>) {
    loop {
        let deadline = core.lock().deadline;
        let due = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = core.deadline_changed.notified() => {}
            () = due => {
                let mut state = core.lock();
                state.engine.handle_timeout(Instant::now());
                core.settle(&mut state);
            }
        }
    }
}

/// The system's random numbers, fetched for many ids at once.
struct SystemIds {
    bytes: [u8; 256],
    used: usize,
}

impl Default for SystemIds {
    fn default() -> Self {
        Self { bytes: [0; 256], used: 256 }
    }
}

impl Entropy for SystemIds {
    /// # Panics
    /// Where the system has no random numbers to give: an id that can be guessed invites forged answers.
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == self.bytes.len() {
                #[expect(clippy::expect_used, reason = "an id that can be guessed must never be used")]
                getrandom::fill(&mut self.bytes).expect("the system gives random numbers");
                self.used = 0;
            }
            *byte = self.bytes.get(self.used).copied().unwrap_or_default();
            self.used += 1;
        }
    }
}
