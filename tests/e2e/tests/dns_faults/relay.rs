//! A relay before a server, that misbehaves as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::Result;
use netlab::Host;

/// What the relay does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Passes everything on.
    None,
    /// Takes connections and bytes, and passes nothing on: the server has fallen silent.
    Silent,
    /// Passes on what the server says after this time.
    Slow(Duration),
    /// Closes each connection once the server has said so many more bytes.
    ClosesAfter(usize),
    /// Says bytes of its own in place of the server's.
    Garbage,
    /// Hangs up on everybody at once.
    Refuses,
}

struct Shared {
    fault: Mutex<Fault>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
}

/// A running relay. It serves until the lab ends.
#[derive(Clone)]
pub(crate) struct Relay {
    shared: Arc<Shared>,
}

impl Relay {
    /// Starts it on a host, at `at`, before the server `to`.
    pub(crate) fn start(host: &Host, at: SocketAddr, to: SocketAddr) -> Result<Self> {
        let listener = host.inside(|| TcpListener::bind(at))??;
        let shared = Arc::new(Shared {
            fault: Mutex::new(Fault::None),
            changed: Condvar::new(),
            open: Mutex::default(),
        });
        let (relay, host) = (Self { shared: Arc::clone(&shared) }, host.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (shared, host) = (Arc::clone(&shared), host.clone());
                std::thread::spawn(move || {
                    if shared.fault() == Fault::Refuses {
                        let _gone = client.shutdown(Shutdown::Both);
                    } else if let Ok(Ok(server)) = host.inside(|| TcpStream::connect(to)) {
                        shared.join(client, server);
                    }
                });
            }
        });
        Ok(relay)
    }

    /// What it does from now on, with open connections too.
    pub(crate) fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
        self.shared.changed.notify_all();
        if fault == Fault::Refuses {
            for stream in self.shared.open.lock().unwrap().drain(..) {
                let _gone = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn join(self: Arc<Self>, client: TcpStream, server: TcpStream) {
        let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
        self.open.lock().unwrap().extend(client.try_clone());
        let theirs = Arc::clone(&self);
        std::thread::spawn(move || theirs.pass(from_client, to_server, false));
        self.pass(server, client, true);
    }

    /// Carries one direction until either end is gone.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, answers: bool) {
        let (mut room, mut said, mut last) = (vec![0; 16384], 0, Fault::None);
        while let Ok(length @ 1..) = from.read(&mut room) {
            let bytes = &mut room[..length];
            let fault = self.wait_while_silent();
            if fault != last {
                (said, last) = (0, fault);
            }
            match fault {
                Fault::Slow(time) if answers => {
                    // Cut short where the fault ends meanwhile.
                    let held = self.fault.lock().unwrap();
                    drop(self.changed.wait_timeout_while(held, time, |now| *now == fault).unwrap());
                }
                Fault::Garbage if answers => bytes.fill(0x5a),
                Fault::ClosesAfter(limit) if answers => {
                    let kept = length.min(limit - said);
                    let _gone = to.write_all(&bytes[..kept]);
                    said += kept;
                    if said < limit {
                        continue;
                    }
                    break;
                }
                Fault::Refuses => break,
                _ => {}
            }
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        let _gone = from.shutdown(Shutdown::Both);
        let _gone = to.shutdown(Shutdown::Both);
    }

    fn wait_while_silent(&self) -> Fault {
        let fault = self.fault.lock().unwrap();
        *self.changed.wait_while(fault, |fault| *fault == Fault::Silent).unwrap()
    }
}
