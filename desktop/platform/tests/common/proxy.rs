//! A stand-in of the DNS proxy: it gives every name one address, and remembers the names.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use netlab::Host;

/// Runs until it is dropped.
pub(crate) struct Proxy {
    /// The thread ends once this is gone.
    socket: Option<Arc<UdpSocket>>,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// The address of every name.
    pub(crate) const ANSWER: &str = "203.0.113.77";

    /// At the first of the proxy's addresses.
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let socket = Arc::new(host.inside(|| UdpSocket::bind("127.0.2.2:53"))??);
        // So that a stop is heard: an empty datagram cannot be sent from outside the host.
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (theirs, names) = (Arc::clone(&socket), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while Arc::strong_count(&theirs) > 1 {
                let Ok((length, from)) = theirs.recv_from(&mut buffer) else { continue };
                if let Some((name, answer)) = answer(&buffer[..length]) {
                    names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                    let _ = theirs.send_to(&answer, from);
                }
            }
        });
        Ok(Self { socket: Some(socket), asked, thread: Some(thread) })
    }

    /// Whether it was asked for a name.
    pub(crate) fn was_asked(&self, name: &str) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|asked| asked == name)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.socket = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The answer to a query: an address for type A, nothing for others.
fn answer(query: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let question = query.get(12..at + 4)?;
    let is_address = query.get(at..at + 2)? == [0, 1];
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 77]);
    }
    Some((labels.join("."), answer))
}
