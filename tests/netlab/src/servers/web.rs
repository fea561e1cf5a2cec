//! A web server that tells its clients who they are.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::plain;
use crate::host::Host;

/// A client that says nothing for this long is let go.
const IDLE: Duration = Duration::from_secs(30);
/// More than this of a request's head is not read.
const LARGEST_HEAD: u64 = 64 * 1024;

/// One request that a [`WebServer`] has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's address as the server saw it.
    pub client: IpAddr,
    /// The port that the client came to.
    pub port: u16,
    /// The method, as `GET`.
    pub method: String,
    /// The target, as `/index.html?x=1`.
    pub path: String,
    /// The `Host` header, empty without one.
    pub host: String,
}

/// An HTTP/1.1 server on all addresses of a host, both families. To any path it answers 200 with the text
/// `you are ADDRESS` and a newline; to `/bytes/N` with N zero bytes. Dropping it stops it.
pub struct WebServer {
    name: String,
    shared: Arc<Shared>,
    listeners: Vec<(Arc<TcpListener>, Option<JoinHandle<()>>)>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    clients: Mutex<Vec<TcpStream>>,
}

impl fmt::Debug for WebServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebServer").field("host", &self.name).field("requests", &self.requests()).finish()
    }
}

impl WebServer {
    /// Starts a server on these TCP ports of `host`.
    ///
    /// # Errors
    ///
    /// When a port is taken.
    pub fn start(host: &Host, ports: &[u16]) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut server = Self { name: host.name().to_owned(), shared, listeners: Vec::new() };
        for port in ports {
            let listen = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port));
            let listener = host.inside(listen)?.with_context(|| format!("{host}: TCP port {port}"))?;
            let listener = Arc::new(listener);
            let (theirs, shared) = (Arc::clone(&listener), Arc::clone(&server.shared));
            let accept = move || {
                while let Ok((stream, client)) = theirs.accept() {
                    shared.serve(stream, client);
                }
            };
            let thread = std::thread::Builder::new().name("web".into()).spawn(accept)?;
            server.listeners.push((listener, Some(thread)));
        }
        Ok(server)
    }

    /// The requests so far, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Forgets the requests so far.
    pub fn clear(&self) {
        lock(&self.shared.requests).clear();
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        for (listener, thread) in &mut self.listeners {
            // Which makes the waiting accept() return; closing would not.
            let _already = rustix::net::shutdown(&**listener, rustix::net::Shutdown::Both);
            if let Some(thread) = thread.take() {
                let _panicked = thread.join();
            }
        }
        for client in lock(&self.shared.clients).drain(..) {
            let _gone = client.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, stream: TcpStream, client: SocketAddr) {
        let Ok(copy) = stream.try_clone() else { return };
        lock(&self.clients).push(copy);
        let shared = Arc::clone(self);
        let answer = move || {
            // A client that breaks off is none of the server's business.
            let _broken_off = shared.converse(&stream, client);
            let _gone = stream.shutdown(Shutdown::Both);
        };
        let _no_thread = std::thread::Builder::new().name("web client".into()).spawn(answer);
    }

    fn converse(&self, stream: &TcpStream, client: SocketAddr) -> std::io::Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_nodelay(true)?;
        let port = stream.local_addr()?.port();
        let mut reader = BufReader::new(stream);
        while let Some((request, close)) = read_request(&mut reader, plain(client), port)? {
            let body = body_for(&request);
            let connection = if close { "close" } else { "keep-alive" };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
                body.len()
            );
            let silent = request.method == "HEAD";
            lock(&self.requests).push(request);
            let mut answer = head.into_bytes();
            if !silent {
                answer.extend_from_slice(&body);
            }
            (&*stream).write_all(&answer)?;
            if close {
                break;
            }
        }
        Ok(())
    }
}

fn body_for(request: &Request) -> Vec<u8> {
    let length = request.path.strip_prefix("/bytes/").and_then(|length| length.parse().ok());
    length.map_or_else(|| format!("you are {}\n", request.client).into_bytes(), |length| vec![0; length])
}

/// The next request of a connection, its body skipped, and whether the client wants the connection closed.
fn read_request(
    reader: &mut BufReader<&TcpStream>,
    client: IpAddr,
    port: u16,
) -> std::io::Result<Option<(Request, bool)>> {
    let mut head = reader.by_ref().take(LARGEST_HEAD);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut close = words.next() != Some("HTTP/1.1");
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut request = Request { client, port, method, path, host: String::new() };
    let mut length = 0;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "host" => value.clone_into(&mut request.host),
            "connection" => close |= value.eq_ignore_ascii_case("close"),
            "content-length" => length = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
    Ok(Some((request, close)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
