//! An authoritative DNS server with a table for a zone.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::dns_codec::{
    Answer, CNAME, NAME_ERROR, NO_ERROR, Question, Record, SERVER_FAILURE, canonical, parse,
};
use super::plain;
use crate::host::Host;

const PORT: u16 = 53;
/// Seconds that answers may be kept, unless the test says otherwise.
const TTL: u32 = 60;
/// How long a query that is forwarded may take, and a TCP client may say nothing.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_CHAIN: usize = 16;

/// A query that a [`DnsServer`] has heard, whether it answered or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The client's address as the server saw it.
    pub client: IpAddr,
    /// The name, in lower case and without the dot at its end.
    pub name: String,
    /// The number of the type asked for, as [`A`](crate::A).
    pub kind: u16,
    /// Whether it came by TCP.
    pub tcp: bool,
}

/// How a [`DnsServer`] treats queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// As its zone says.
    #[default]
    Answer,
    /// It says nothing.
    Silent,
    /// It answers SERVFAIL.
    Fail,
}

/// A DNS server on port 53 of all addresses of a host, UDP and TCP. It answers from its table; names that
/// are not in it do not exist (NXDOMAIN), or are asked of another server. Dropping it stops it.
pub struct DnsServer {
    name: String,
    shared: Arc<Shared>,
    host: Host,
    udp: Arc<UdpSocket>,
    tcp: Arc<TcpListener>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    table: Mutex<Table>,
    queries: Mutex<Vec<Query>>,
}

struct Table {
    names: BTreeMap<String, Vec<Record>>,
    ttl: u32,
    behaviour: Behaviour,
    forwarder: Option<Forwarder>,
}

impl Default for Table {
    fn default() -> Self {
        Self { names: BTreeMap::new(), ttl: TTL, behaviour: Behaviour::Answer, forwarder: None }
    }
}

#[derive(Clone)]
struct Forwarder {
    host: Host,
    to: SocketAddr,
}

impl fmt::Debug for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsServer").field("host", &self.name).field("queries", &self.queries()).finish()
    }
}

impl DnsServer {
    /// Starts a server with an empty table. A host with several addresses in one family answers from the one
    /// that its routes choose, which may not be the one that was asked.
    ///
    /// # Errors
    ///
    /// When port 53 is taken.
    pub fn start(host: &Host) -> Result<Self> {
        let sockets = || {
            let address = (Ipv6Addr::UNSPECIFIED, PORT);
            Ok::<_, std::io::Error>((UdpSocket::bind(address)?, TcpListener::bind(address)?))
        };
        let (udp, tcp) = host.inside(sockets)?.with_context(|| format!("{host}: port {PORT}"))?;
        let (udp, tcp, shared) = (Arc::new(udp), Arc::new(tcp), Arc::new(Shared::default()));
        let mut threads = Vec::new();
        let (socket, theirs) = (Arc::clone(&udp), Arc::clone(&shared));
        threads.push(
            std::thread::Builder::new().name("dns udp".into()).spawn(move || theirs.serve_udp(&socket))?,
        );
        let (listener, theirs) = (Arc::clone(&tcp), Arc::clone(&shared));
        threads.push(
            std::thread::Builder::new().name("dns tcp".into()).spawn(move || theirs.serve_tcp(&listener))?,
        );
        Ok(Self { name: host.name().to_owned(), shared, host: host.clone(), udp, tcp, threads })
    }

    /// Adds a record to a name.
    pub fn add(&self, name: &str, record: Record) -> &Self {
        lock(&self.shared.table).names.entry(canonical(name)).or_default().push(record);
        self
    }

    /// Takes a name away with all its records; it does not exist from then on.
    pub fn remove(&self, name: &str) -> &Self {
        lock(&self.shared.table).names.remove(&canonical(name));
        self
    }

    /// How many seconds its answers may be kept; 60 at first.
    pub fn set_ttl(&self, seconds: u32) -> &Self {
        lock(&self.shared.table).ttl = seconds;
        self
    }

    /// How queries are treated from now on.
    pub fn set_behaviour(&self, behaviour: Behaviour) -> &Self {
        lock(&self.shared.table).behaviour = behaviour;
        self
    }

    /// Asks another server, from this one's host, about names that are not in the table.
    pub fn forward_to(&self, server: SocketAddr) -> &Self {
        lock(&self.shared.table).forwarder = Some(Forwarder { host: self.host.clone(), to: server });
        self
    }

    /// The queries so far, in the order in which they came.
    #[must_use]
    pub fn queries(&self) -> Vec<Query> {
        lock(&self.shared.queries).clone()
    }

    /// How many queries there have been for a name, of any type.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        let name = canonical(name);
        lock(&self.shared.queries).iter().filter(|query| query.name == name).count()
    }

    /// Forgets the queries so far.
    pub fn clear(&self) {
        lock(&self.shared.queries).clear();
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // Which makes the waiting calls return (for UDP although it says that nothing was connected).
        let _not_connected = rustix::net::shutdown(&*self.udp, rustix::net::Shutdown::Both);
        let _already = rustix::net::shutdown(&*self.tcp, rustix::net::Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    fn serve_udp(self: &Arc<Self>, socket: &Arc<UdpSocket>) {
        let mut buffer = vec![0; 65536];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if self.stopped.load(Ordering::Acquire) {
                return;
            }
            let message = buffer.get(..length).unwrap_or_default();
            let Some(question) = self.hear(message, client, false) else { continue };
            let Some(forwarder) = self.forwarder_for(&question) else {
                if let Some(answer) = self.answer(&question, true) {
                    let _unreachable = socket.send_to(&answer, client);
                }
                continue;
            };
            // On a thread of its own: the far server may be slow, and others are waiting here.
            let (socket, message) = (Arc::clone(socket), message.to_vec());
            let forward = move || {
                if let Ok(answer) = forwarder.ask_udp(&message) {
                    let _unreachable = socket.send_to(&answer, client);
                }
            };
            let _no_thread = std::thread::Builder::new().name("dns forward".into()).spawn(forward);
        }
    }

    fn serve_tcp(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, client)) = listener.accept() {
            let shared = Arc::clone(self);
            let converse = move || {
                let _broken_off = shared.converse(&stream, client);
                let _gone = stream.shutdown(Shutdown::Both);
            };
            let _no_thread = std::thread::Builder::new().name("dns client".into()).spawn(converse);
        }
    }

    fn converse(&self, mut stream: &TcpStream, client: SocketAddr) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        loop {
            let message = read_framed(stream)?;
            let Some(question) = self.hear(&message, client, true) else { return Ok(()) };
            let answer = match self.forwarder_for(&question) {
                Some(forwarder) => Some(forwarder.ask_tcp(&message)?),
                None => self.answer(&question, false),
            };
            let Some(answer) = answer else { return Ok(()) };
            stream.write_all(&framed(&answer))?;
        }
    }

    fn hear(&self, message: &[u8], client: SocketAddr, tcp: bool) -> Option<Question> {
        let question = parse(message)?;
        let query = Query { client: plain(client), name: question.name.clone(), kind: question.kind, tcp };
        lock(&self.queries).push(query);
        Some(question)
    }

    /// Whom to ask instead of the table.
    fn forwarder_for(&self, question: &Question) -> Option<Forwarder> {
        let table = lock(&self.table);
        let known = table.names.contains_key(&question.name) || table.behaviour != Behaviour::Answer;
        table.forwarder.clone().filter(|_| !known)
    }

    fn answer(&self, question: &Question, udp: bool) -> Option<Vec<u8>> {
        let table = lock(&self.table);
        let answer = match table.behaviour {
            Behaviour::Silent => return None,
            Behaviour::Fail => Answer { code: SERVER_FAILURE, ..Answer::default() },
            Behaviour::Answer => table.look_up(&question.name, question.kind),
        };
        Some(question.answer(&answer, udp))
    }
}

impl Table {
    fn look_up(&self, name: &str, kind: u16) -> Answer {
        let mut answer = Answer { code: NO_ERROR, authoritative: true, records: Vec::new(), ttl: self.ttl };
        let mut name = name.to_owned();
        for _ in 0..LONGEST_CHAIN {
            let Some(records) = self.names.get(&name) else {
                answer.code = NAME_ERROR;
                break;
            };
            let alias = records.iter().find_map(|record| match record {
                Record::Cname(target) if kind != CNAME => Some(target),
                _ => None,
            });
            if let Some(target) = alias {
                answer.records.push((name, Record::Cname(target.clone())));
                name = canonical(target);
                continue;
            }
            let wanted = records.iter().filter(|record| record.answers(kind));
            answer.records.extend(wanted.map(|record| (name.clone(), record.clone())));
            break;
        }
        answer
    }
}

impl Forwarder {
    fn ask_udp(&self, message: &[u8]) -> Result<Vec<u8>> {
        let any = SocketAddr::new(if self.to.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
        let socket = self.host.inside(|| UdpSocket::bind(any))??;
        socket.connect(self.to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(message)?;
        let mut answer = vec![0; 65536];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    }

    fn ask_tcp(&self, message: &[u8]) -> std::io::Result<Vec<u8>> {
        let connect = || TcpStream::connect_timeout(&self.to, PATIENCE);
        let stream = self.host.inside(connect).map_err(std::io::Error::other)??;
        stream.set_read_timeout(Some(PATIENCE))?;
        (&stream).write_all(&framed(message))?;
        read_framed(&stream)
    }
}

/// A message as it goes over TCP, its length before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    out.extend_from_slice(message);
    out
}

fn read_framed(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
