//! The host: what the core asks of the app it runs in. Every call runs on one thread of its own with a deadline, so a
//! host that throws, panics or never returns costs an error, never the control thread or the app.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weft_runtime::panic_message;
use weft_runtime::sockets::Protect;
use zeroize::Zeroizing;

use crate::errors::{HostError, WeftError};
use crate::records::NetworkInfo;
use crate::text;

/// How long the host may take to protect a socket: the control thread waits.
pub const PROTECT_WITHIN: Duration = Duration::from_secs(2);
/// How long the host may take for a secret or its view of the network: a key store may ask the hardware.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Calls that may wait for the host's thread. A session makes one at a time from its control thread, and one from
/// each call of the app; more than this at once means that the host does not keep up.
const WAITING_CALLS: usize = 16;
/// The letters that are kept of what a host says of a failure.
const SAYING: usize = 500;
/// The largest secret that is read, in bytes: a state with the largest profile is below 200 KiB.
const MAX_SECRET: usize = 8 << 20;

/// What the core asks of the app. The calls come one at a time from one thread of the core, and may not call the session
/// back and wait for it. They must return within 2 s (`protect`) or 5 s (the others): while one does not, later
/// calls fail at once.
#[uniffi::export(with_foreign)]
pub trait Host: Send + Sync {
    /// Keeps a socket outside the tunnel (Android's `VpnService.protect`); where the system does so by itself, does
    /// nothing. The descriptor is open during the call alone.
    ///
    /// # Errors
    /// The socket is not used then.
    fn protect(&self, fd: i32) -> Result<(), HostError>;

    /// What was stored under `name`; none = nothing.
    ///
    /// # Errors
    /// The session does not start.
    fn load_secret(&self, name: String) -> Result<Option<Vec<u8>>, HostError>;

    /// Stores under `name`, replacing what is there whole; none = removes it. Holds the device's keys: belongs into
    /// the system's key store, or encrypted by it.
    ///
    /// # Errors
    /// Told to the user as a warning; the session goes on.
    fn store_secret(&self, name: String, value: Option<Vec<u8>>) -> Result<(), HostError>;

    /// The network that the device is on besides the tunnel. Asked when the device connects and wakes; at other times
    /// the app tells by `network_changed`.
    ///
    /// # Errors
    /// The network counts as unchanged.
    fn network(&self) -> Result<NetworkInfo, HostError>;
}

/// Why a call of the host came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostCallError {
    #[error("{call}: {detail}")]
    Failed { call: &'static str, detail: String },
    #[error("{call}: it panicked: {detail}")]
    Panicked { call: &'static str, detail: String },
    #[error("{call}: it has not returned within {} s", within.as_secs())]
    Late { call: &'static str, within: Duration },
    #[error("{call}: an earlier call, {hangs}, has not returned yet")]
    Hangs { call: &'static str, hangs: &'static str },
    #[error("{call}: {WAITING_CALLS} calls wait already")]
    Busy { call: &'static str },
    #[error("{call}: the session is closed")]
    Closed { call: &'static str },
}

impl From<HostCallError> for WeftError {
    fn from(error: HostCallError) -> Self {
        Self::Host { detail: error.to_string() }
    }
}

impl From<HostCallError> for std::io::Error {
    fn from(error: HostCallError) -> Self {
        Self::other(error)
    }
}

type Job = Box<dyn FnOnce(&dyn Host) + Send>;

/// The thread that calls the host, and what stands in its way.
pub(crate) struct HostThread {
    jobs: Mutex<Option<SyncSender<Job>>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
    ended: Condvar,
}

#[derive(Default)]
struct Progress {
    /// The number of the call that the thread is in, and its name.
    current: Option<(u64, &'static str)>,
    /// The name of that call, once somebody has given it up.
    overdue: Option<&'static str>,
    last: u64,
    ended: bool,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostThread {
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(host: Arc<dyn Host>) -> Result<Arc<Self>, WeftError> {
        let (jobs, inbox) = sync_channel(WAITING_CALLS);
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("weft-host".to_owned());
        let of_thread = Arc::clone(&shared);
        let spawned = thread.spawn(move || serve(host, &inbox, &of_thread));
        spawned.map_err(|error| WeftError::internal(format_args!("the system gives no thread: {error}")))?;
        Ok(Arc::new(Self { jobs: Mutex::new(Some(jobs)), shared }))
    }

    /// Calls the host and waits for it, `within` at most.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        call: &'static str,
        within: Duration,
        work: impl FnOnce(&dyn Host) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostCallError> {
        let number = self.take_number(call)?;
        let (answer, answered) = sync_channel(1);
        let (shared, given_up) = (Arc::clone(&self.shared), Arc::new(AtomicBool::new(false)));
        let is_given_up = Arc::clone(&given_up);
        let job = move |host: &dyn Host| {
            if !shared.begin(number, call, &is_given_up) {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| work(host)));
            shared.end();
            // Whoever asked may have given up meanwhile.
            drop(answer.try_send(
                result.map_err(|payload| text::one_line(&panic_message(payload.as_ref()), SAYING)),
            ));
        };
        self.queue(call, Box::new(job))?;
        match answered.recv_timeout(within) {
            Ok(Ok(result)) => result.map_err(|HostError::Failed { detail }| HostCallError::Failed {
                call,
                detail: text::one_line(&detail, SAYING),
            }),
            Ok(Err(detail)) => Err(HostCallError::Panicked { call, detail }),
            Err(RecvTimeoutError::Timeout) => Err(self.give_up(number, call, within, &given_up)),
            Err(RecvTimeoutError::Disconnected) => Err(HostCallError::Closed { call }),
        }
    }

    fn take_number(&self, call: &'static str) -> Result<u64, HostCallError> {
        let mut progress = self.shared.progress();
        if let Some(hangs) = progress.overdue {
            return Err(HostCallError::Hangs { call, hangs });
        }
        progress.last += 1;
        Ok(progress.last)
    }

    fn queue(&self, call: &'static str, job: Job) -> Result<(), HostCallError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.as_ref().ok_or(HostCallError::Closed { call })?;
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => HostCallError::Busy { call },
            TrySendError::Disconnected(_) => HostCallError::Closed { call },
        })
    }

    /// A call is not begun any more; the one that the thread is in hangs.
    fn give_up(
        &self,
        number: u64,
        call: &'static str,
        within: Duration,
        given_up: &AtomicBool,
    ) -> HostCallError {
        let mut progress = self.shared.progress();
        given_up.store(true, Ordering::Relaxed);
        progress.overdue = progress.current.map(|(_, name)| name);
        match progress.current {
            Some((at, hangs)) if at != number => HostCallError::Hangs { call, hangs },
            _ => HostCallError::Late { call, within },
        }
    }

    /// Takes no more calls; the thread ends as soon as it is out of the one that it is in.
    pub(crate) fn stop(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Waits for the end of the thread after [`stop`](Self::stop), `within` at most. A host that hangs keeps it.
    pub(crate) fn wait_until_ended(&self, within: Duration) -> bool {
        let progress = self.shared.progress();
        let waited = self.shared.ended.wait_timeout_while(progress, within, |progress| !progress.ended);
        waited.map(|(progress, _)| progress.ended).unwrap_or(false)
    }

    /// The host's view of the network.
    pub(crate) fn network(&self) -> Result<NetworkInfo, HostCallError> {
        self.call("network", ANSWER_WITHIN, |host| host.network())
    }

    pub(crate) fn load_secret(
        &self,
        name: &'static str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, HostCallError> {
        let load = move |host: &dyn Host| Ok(host.load_secret(name.to_owned())?.map(Zeroizing::new));
        let loaded = self.call("load_secret", ANSWER_WITHIN, load)?;
        match loaded {
            Some(secret) if secret.len() > MAX_SECRET => Err(HostCallError::Failed {
                call: "load_secret",
                detail: format!("{} bytes are more than any state has", secret.len()),
            }),
            other => Ok(other),
        }
    }

    pub(crate) fn store_secret(
        &self,
        name: &'static str,
        value: Option<Vec<u8>>,
    ) -> Result<(), HostCallError> {
        self.call("store_secret", ANSWER_WITHIN, move |host| host.store_secret(name.to_owned(), value))
    }
}

impl Protect for HostThread {
    fn protect(&self, socket: BorrowedFd<'_>) -> std::io::Result<()> {
        // A call that is given up goes on: its number must not become another socket's meanwhile.
        let own: OwnedFd = socket.try_clone_to_owned()?;
        Ok(self.call("protect", PROTECT_WITHIN, move |host| host.protect(own.as_raw_fd()))?)
    }
}

impl Shared {
    /// False where whoever asked has given up already.
    fn begin(&self, number: u64, call: &'static str, given_up: &AtomicBool) -> bool {
        let mut progress = self.progress();
        let wanted = !given_up.load(Ordering::Relaxed);
        if wanted {
            progress.current = Some((number, call));
        }
        wanted
    }

    fn end(&self) {
        let mut progress = self.progress();
        progress.current = None;
        progress.overdue = None;
    }
}

fn serve(host: Arc<dyn Host>, inbox: &Receiver<Job>, shared: &Shared) {
    while let Ok(job) = inbox.recv() {
        job(&*host);
    }
    // The host's own end may call into the app: before anybody hears that the thread has ended.
    drop(host);
    shared.progress().ended = true;
    shared.ended.notify_all();
}
