//! Queries by UDP: a thread a socket, which answers what is known without waking anybody else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use weft_dns::MAX_QUERY;

use super::core::Core;
use crate::sockets::{AnsweringSocket, Batch};

/// Bytes of a thread's stack: it parses a query, looks into the cache and sends.
const STACK: usize = 128 << 10;

/// Errors in a row after which a socket is left alone for a while. One alone is the system's word on an answer that
/// was sent before.
const ERRORS: u32 = 8;
/// How long that is.
const AFTER_ERRORS: Duration = Duration::from_millis(100);

/// The threads. Dropping them stops and joins them.
#[derive(Default)]
pub(super) struct Threads {
    running: Vec<(Arc<AnsweringSocket>, JoinHandle<()>)>,
    stop: Arc<AtomicBool>,
}

impl Threads {
    /// Answers what comes by `socket`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn serve(&mut self, socket: AnsweringSocket, core: Arc<Core>) -> io::Result<()> {
        let socket = Arc::new(socket);
        let (served, stop) = (Arc::clone(&socket), Arc::clone(&self.stop));
        let thread = std::thread::Builder::new()
            .name("weft-dns".to_owned())
            .stack_size(STACK)
            .spawn(move || serve(&served, &core, &stop))?;
        self.running.push((socket, thread));
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for (socket, _) in &self.running {
            socket.shut_down();
        }
        for (_, thread) in self.running.drain(..) {
            // A thread that panicked has said so, and has nothing more to clean up.
            let _panicked = thread.join();
        }
    }
}

fn serve(socket: &Arc<AnsweringSocket>, core: &Core, stop: &AtomicBool) {
    // One byte more than the longest query, so that a longer one is seen to be too long.
    let mut batch = Batch::new(MAX_QUERY + 1);
    let mut errors = 0;
    loop {
        let received = socket.receive(&mut batch);
        if stop.load(Ordering::Acquire) {
            return;
        }
        match received {
            Ok(()) => {
                errors = 0;
                core.batch(socket, &mut batch);
                socket.answer(&mut batch);
            }
            Err(error) => {
                errors += 1;
                if errors >= ERRORS {
                    tracing::debug!("receiving DNS queries: {error}");
                    std::thread::sleep(AFTER_ERRORS);
                }
            }
        }
    }
}
