//! The engine behind its lock, and who waits for which answer.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, TryLockError, Weak};
use std::time::{Instant, SystemTime};

use tokio::sync::{Notify, mpsc, oneshot};
use weft_dns::{ClientId, DnsConfig, Engine, Learnt, MAX_IN_FLIGHT, Protocol, Request, RequestId, Taken};
use weft_model::DnsStats;

use super::entropy::SystemIds;
use super::hosts::Hosts;
use super::log::DnsLogRing;
use super::packet::Reply;
use super::resolve::Resolve;
use super::tcp::Asked;
use crate::doh::{Answered, Answers, Resolving};
use crate::lock::lock;
use crate::sleep::{Sleep, asleep};
use crate::sockets::{AnsweringSocket, Batch};

/// The most answers that wait for somebody to ask which addresses they hold: as many as queries are in flight. What is
/// over it goes out by its deadline.
const MAX_LEARNT: usize = MAX_IN_FLIGHT;

/// Where an answer goes that was not there at once.
pub(super) enum Client {
    /// Back where the datagram came from, from the address it was sent to.
    Udp { socket: Arc<AnsweringSocket>, from: SocketAddr },
    /// Down a connection.
    Stream { answers: mpsc::UnboundedSender<(Vec<u8>, Asked)>, asked: Asked },
    /// Back in a packet.
    Packet(Reply),
    /// To somebody in this process.
    Inside(oneshot::Sender<Vec<u8>>),
}

impl Client {
    pub(super) fn answer(self, answer: Vec<u8>) {
        match self {
            // A full socket drops, as UDP does: the client asks again.
            Self::Udp { socket, from } => drop(socket.send_to(&answer, from)),
            Self::Packet(reply) => reply.send(&answer),
            // A connection that is gone wants no answer, and neither does who gave up.
            Self::Stream { answers, asked } => drop(answers.send((answer, asked))),
            Self::Inside(answered) => drop(answered.send(answer)),
        }
    }
}

pub(super) struct Core {
    state: Mutex<State>,
    pub(super) hosts: Mutex<Hosts>,
    /// Who takes answers: this itself.
    answers: Weak<Self>,
    /// There are [`Errands`].
    wake: Notify,
    learnt: Notify,
}

pub(super) struct State {
    pub(super) engine: Engine,
    resolve: Arc<dyn Resolve>,
    pub(super) sleep: Sleep,
    /// Datagrams that answered nothing that was asked, of resolvers that were asked before too.
    mismatched: u64,
    clients: BTreeMap<ClientId, Client>,
    next_client: u64,
    errands: Errands,
    learnt: VecDeque<Learnt>,
    /// Where it is written down what became of queries, while that is wanted.
    log: Option<DnsLogRing>,
}

/// What [`drive`](super::drive::drive) is to do.
#[derive(Default)]
pub(super) struct Errands {
    /// The answers to these are of no more use.
    pub(super) cancelled: Vec<RequestId>,
    /// The answers to these come by futures.
    pub(super) resolving: Vec<(RequestId, Resolving)>,
    /// This is the engine's next deadline.
    pub(super) deadline: Option<Instant>,
}

impl State {
    pub(super) fn next_client(&mut self) -> ClientId {
        let id = ClientId(self.next_client);
        self.next_client += 1;
        id
    }

    /// Takes a query. What is known at once is put into `answer`, which is left empty otherwise; then `client` says who
    /// hears it later.
    pub(super) fn query(
        &mut self,
        id: ClientId,
        protocol: Protocol,
        query: &[u8],
        answer: &mut Vec<u8>,
        now: Instant,
        client: impl FnOnce() -> Option<Client>,
    ) {
        match self.engine.handle_query(id, protocol, query, answer, now) {
            Taken::Answered => {}
            Taken::Waiting => {
                answer.clear();
                self.clients.extend(client().map(|client| (id, client)));
            }
            Taken::Dropped => answer.clear(),
        }
    }

    pub(super) fn set_log(&mut self, log: Option<DnsLogRing>) {
        self.engine.set_log(log.is_some());
        self.log = log;
    }

    /// Takes what the engine wants done.
    fn settle(&mut self) -> Settled {
        let mut settled = Settled::default();
        while let Some((id, answer)) = self.engine.poll_answer() {
            settled.answers.extend(self.clients.remove(&id).map(|client| (client, answer)));
        }
        while let Some(learnt) = self.engine.poll_learnt() {
            if self.learnt.len() < MAX_LEARNT {
                self.learnt.push_back(learnt);
                settled.learnt = true;
            }
        }
        settled.cancelled.extend(std::iter::from_fn(|| self.engine.poll_cancelled()));
        if !settled.cancelled.is_empty() {
            self.errands.resolving.retain(|(id, _)| !settled.cancelled.contains(id));
            self.errands.cancelled.extend_from_slice(&settled.cancelled);
            settled.wakes = true;
        }
        settled.requests.extend(std::iter::from_fn(|| self.engine.poll_request()));
        if !settled.requests.is_empty() || !settled.cancelled.is_empty() {
            settled.resolve = Some(Arc::clone(&self.resolve));
        }
        // One that is later is seen when the earlier one comes.
        if let Some(deadline) = self.engine.poll_timeout()
            && self.errands.deadline.is_none_or(|known| deadline < known)
        {
            self.errands.deadline = Some(deadline);
            settled.wakes = true;
        }
        if let Some(log) = &self.log
            && log.push(std::iter::from_fn(|| self.engine.poll_logged(SystemTime::now())))
        {
            settled.log = Some(log.clone());
        }
        settled
    }
}

/// What is to be done once the lock is given back.
#[derive(Default)]
struct Settled {
    answers: Vec<(Client, Vec<u8>)>,
    cancelled: Vec<RequestId>,
    requests: Vec<Request>,
    /// Who asks them, where there are any.
    resolve: Option<Arc<dyn Resolve>>,
    wakes: bool,
    learnt: bool,
    /// Whoever follows it is to be told.
    log: Option<DnsLogRing>,
}

impl Core {
    pub(super) fn new(config: DnsConfig, resolve: Arc<dyn Resolve>) -> Arc<Self> {
        let mut engine = Engine::new(Box::new(SystemIds::default()));
        engine.set_config(config, Instant::now());
        let state = State {
            engine,
            resolve,
            sleep: Sleep::new(asleep),
            mismatched: 0,
            clients: BTreeMap::new(),
            next_client: 0,
            errands: Errands::default(),
            learnt: VecDeque::new(),
            log: None,
        };
        Arc::new_cyclic(|answers| Self {
            state: Mutex::new(state),
            hosts: Mutex::default(),
            answers: Weak::clone(answers),
            wake: Notify::new(),
            learnt: Notify::new(),
        })
    }

    /// Takes the queries of a batch, and puts the answers that are known at once beside them.
    pub(super) fn batch(&self, socket: &Arc<AnsweringSocket>, batch: &mut Batch) {
        self.queries(|state, now| {
            for asked in batch.asked() {
                let from = asked.from;
                let client = || Some(Client::Udp { socket: Arc::clone(socket), from: from.address() });
                let id = state.next_client();
                state.query(id, Protocol::Udp, asked.query, asked.answer, now, client);
            }
        });
    }

    /// Takes one query that came by a stream.
    pub(super) fn query(&self, query: &[u8], client: Client) {
        let (mut client, mut answer) = (Some(client), Vec::new());
        self.queries(|state, now| {
            let id = state.next_client();
            state.query(id, Protocol::Tcp, query, &mut answer, now, || client.take());
        });
        if let Some(client) = client.filter(|_| !answer.is_empty()) {
            client.answer(answer);
        }
    }

    /// Does what brings queries to the engine, after a look at the hosts file.
    pub(super) fn queries<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = Instant::now();
        self.look_at_hosts(now);
        self.with_at(now, |state, now| {
            if state.sleep.is_over() {
                state.engine.forget();
                state.resolve.reset();
            }
            act(state, now)
        })
    }

    /// Nobody waits for another's look: a long file takes long to read.
    fn look_at_hosts(&self, now: Instant) {
        let mut hosts = match self.hosts.try_lock() {
            Ok(hosts) => hosts,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Some(file) = hosts.look(now) {
            // A long one takes long to free.
            drop(self.with_at(now, |state, _| state.engine.set_hosts(file)));
        }
    }

    /// Does something with the engine, and then what comes of it. System calls are left for after the lock.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        self.with_at(Instant::now(), act)
    }

    fn with_at<T>(&self, now: Instant, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = lock(&self.state);
        let result = act(&mut state, now);
        let settled = state.settle();
        drop(state);
        self.carry_out(settled);
        result
    }

    fn carry_out(&self, settled: Settled) {
        if let Some(resolve) = settled.resolve {
            settled.cancelled.iter().for_each(|id| resolve.give_up(*id));
            self.ask(settled.requests, &*resolve);
        }
        if settled.wakes {
            self.wake.notify_one();
        }
        if settled.learnt {
            self.learnt.notify_waiters();
        }
        if let Some(log) = settled.log {
            log.tell();
        }
        for (client, answer) in settled.answers {
            client.answer(answer);
        }
    }

    fn ask(&self, requests: Vec<Request>, resolve: &dyn Resolve) {
        let answers: Weak<dyn Answers> = self.answers.clone();
        for request in requests {
            let id = request.id;
            if let Some(resolving) = resolve.resolve(request, &answers) {
                self.go_on(id, resolving);
            }
        }
    }

    pub(super) fn set_resolve(&self, resolve: Arc<dyn Resolve>) {
        let mut state = lock(&self.state);
        state.mismatched += state.resolve.take_mismatched();
        state.resolve = resolve;
    }

    pub(super) fn stats(&self) -> DnsStats {
        let mut state = lock(&self.state);
        state.mismatched += state.resolve.take_mismatched();
        DnsStats { mismatched: state.mismatched, ..state.engine.stats() }
    }

    /// Reads names from another hosts file, or from none.
    pub(super) fn set_hosts_file(&self, path: Option<PathBuf>) {
        let mut hosts = lock(&self.hosts);
        if hosts.path() != path.as_deref() {
            *hosts = Hosts::new(path);
            drop(self.with(|state, _| state.engine.set_hosts(weft_dns::HostsFile::default())));
        }
    }

    pub(super) fn flush(&self) {
        self.with(|state, now| {
            state.engine.flush(now);
            state.resolve.reset();
        });
    }

    /// What the driver is to do from now on. The deadline stays, so that it is not told of it again.
    pub(super) fn take_errands(&self) -> Errands {
        let mut state = lock(&self.state);
        let deadline = state.engine.poll_timeout();
        let errands = std::mem::replace(&mut state.errands, Errands { deadline, ..Errands::default() });
        Errands { deadline, ..errands }
    }

    /// Resolves when [`take_errands`](Self::take_errands) has something new.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Answers that wait for their addresses, one at least.
    pub(super) async fn learnt(&self) -> Vec<Learnt> {
        loop {
            let more = self.learnt.notified();
            let learnt = std::mem::take(&mut lock(&self.state).learnt);
            if !learnt.is_empty() {
                return learnt.into();
            }
            more.await;
        }
    }

    /// Nobody waits any more.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        let clients = std::mem::take(&mut state.clients);
        drop(state);
        drop(clients);
    }
}

impl Answers for Core {
    fn answered(&self, answers: Vec<Answered>) {
        self.with(|state, now| {
            for (id, answer) in answers {
                state.engine.handle_answer(id, answer, now);
            }
        });
    }

    fn go_on(&self, id: RequestId, rest: Resolving) {
        let mut state = lock(&self.state);
        // It may have been called off meanwhile.
        if state.engine.awaits(id) {
            state.errands.resolving.push((id, rest));
            drop(state);
            self.wake.notify_one();
        }
    }
}
