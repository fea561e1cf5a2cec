//! Opening a connection: several attempts, the first that comes through.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use weft_dns::http2::Client;
use weft_model::Secret;

use super::connection::{Connection, Room};
use super::{Dial, DohError};
use crate::tls::{TlsClient, TlsError};

/// For a connection with its handshakes: less than a query's deadline, so that those who wait for it hear why.
const CONNECT: Duration = Duration::from_secs(4);
/// When an attempt has not come through in this time, the next one starts beside it. TCP itself repeats what was lost
/// after ever longer pauses; so a resolver that comes back is found within this time. At most 8 streams are open then.
const STAGGER: Duration = Duration::from_millis(500);

/// The longest time that a connection may be silent while a query waits on it, however slowly it was opened.
const MAX_SILENCE: Duration = Duration::from_secs(2);

/// What is asked on every connection.
pub(super) struct Resource {
    pub(super) authority: Authority,
    pub(super) path: PathAndQuery,
    pub(super) token: Option<Secret>,
}

impl Resource {
    /// The client of one connection.
    ///
    /// # Errors
    /// [`DohError::Config`] where all that is longer than a request may be.
    pub(super) fn client(&self) -> Result<Client, DohError> {
        let token = self.token.as_ref().map(Secret::expose);
        let client = Client::new(self.authority.as_str(), self.path.as_str(), token);
        client.ok_or_else(|| DohError::Config("path or credential is too long".to_owned()))
    }
}

/// What it takes to open a connection.
pub(super) struct Opener {
    name: String,
    resource: Resource,
    tls: TlsClient,
    dial: Box<dyn Dial>,
    /// How long a connection may be silent at least, while a query waits on it.
    silence: Duration,
    /// The attempt that came through last: the next connection begins with its address.
    first: AtomicUsize,
    room: Arc<Room>,
}

impl Opener {
    pub(super) fn new(
        name: String,
        resource: Resource,
        tls: TlsClient,
        dial: Box<dyn Dial>,
        silence: Duration,
    ) -> Self {
        Self { name, resource, tls, dial, silence, first: AtomicUsize::new(0), room: Arc::default() }
    }

    /// Where places on its connections are given back.
    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Why the last attempt failed, or the far side is not trusted.
    pub(super) async fn open(self: &Arc<Self>) -> Result<Connection, DohError> {
        let racing = timeout(CONNECT, self.race());
        racing.await.unwrap_or_else(|_| Err(DohError::Unreachable("no answer".to_owned())))
    }

    async fn race(self: &Arc<Self>) -> Result<Connection, DohError> {
        let first = self.first.load(Ordering::Relaxed);
        let mut attempts = JoinSet::new();
        let mut started = 0;
        let mut worst = None;
        loop {
            let (opener, attempt) = (Arc::clone(self), first + started);
            attempts.spawn(async move { (attempt, opener.attempt(attempt).await) });
            started += 1;
            let mut next = std::pin::pin!(sleep(STAGGER));
            loop {
                let ended = tokio::select! {
                    () = &mut next => break,
                    Some(ended) = attempts.join_next() => ended,
                };
                match ended.unwrap_or_else(|error| (0, Err(broken(&error)))) {
                    (attempt, Ok(connection)) => {
                        self.first.store(attempt % self.dial.addresses().max(1), Ordering::Relaxed);
                        return Ok(connection);
                    }
                    (_, Err(error)) => worst = worse(worst, error),
                }
                if attempts.is_empty() {
                    break;
                }
            }
            if attempts.is_empty() && started >= self.dial.addresses() {
                return Err(worst.unwrap_or(DohError::TimedOut));
            }
        }
    }

    async fn attempt(&self, attempt: usize) -> Result<Connection, DohError> {
        let began = Instant::now();
        let stream =
            self.dial.dial(attempt).await.map_err(|error| DohError::Unreachable(error.to_string()))?;
        let tls = self.tls.connect(&self.name, stream).await.map_err(|error| match error {
            TlsError::Handshake(detail) => DohError::Unreachable(detail),
            other => DohError::Untrusted(other.to_string()),
        })?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(DohError::NoHttp2);
        }
        // As long as it took to open it, which is two round trips at least.
        let silence = began.elapsed().min(MAX_SILENCE).max(self.silence);
        Ok(Connection::new(self.resource.client()?, tls, silence, Arc::clone(&self.room)))
    }
}

/// Of two reasons the one that says more: who was reached and is not trusted tells more than who was not reached.
fn worse(former: Option<DohError>, error: DohError) -> Option<DohError> {
    match former {
        Some(former @ (DohError::Untrusted(_) | DohError::NoHttp2)) => Some(former),
        _ => Some(error),
    }
}

fn broken(error: &JoinError) -> DohError {
    DohError::Unreachable(error.to_string())
}
