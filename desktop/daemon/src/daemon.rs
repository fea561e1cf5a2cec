//! What all connections share: the session, the system, and what the device shall be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncGuard, watch};
use weft_ipc::Failure;
use weft_model::{Command, Reason, ServiceMode, Settings, State, Stats, Status, UserError};
use weft_runtime::session::Session;
use weft_runtime::sockets::SocketFactory;

use crate::applier::Undone;
use crate::apply_thread::ApplyThread;
use crate::keeper::Keeper;
use crate::log::LogRing;
use crate::target::Target;

/// The daemon, as its tasks share it.
pub(crate) struct Daemon {
    pub(crate) session: Session,
    pub(crate) system: ApplyThread,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) log: LogRing,
    /// Makes the sockets that stay outside the tunnel.
    pub(crate) outside: SocketFactory,
    target: Mutex<Target>,
    status: watch::Sender<Status>,
    /// Whoever publishes a status holds it, so that none is published after a newer one.
    publishing: AsyncMutex<()>,
    /// One change of the device at a time.
    operation: AsyncMutex<()>,
    /// Why a start blocked the device though the session cannot connect it.
    stranded: Mutex<Option<UserError>>,
    /// What keeps names from the DNS proxy.
    dns_warning: Mutex<Option<String>>,
    /// Whether the DNS proxy's addresses are the device's own.
    claimed: AtomicBool,
    closing: AtomicBool,
}

/// What a daemon is made of.
pub(crate) struct Parts {
    pub(crate) session: Session,
    pub(crate) system: ApplyThread,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) log: LogRing,
    pub(crate) outside: SocketFactory,
    pub(crate) target: Target,
}

impl Daemon {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { session, system, keeper, log, outside, target } = parts;
        Self {
            session,
            system,
            keeper,
            log,
            outside,
            target: Mutex::new(target),
            status: watch::Sender::new(plain(State::Disconnected, Reason::Manual)),
            publishing: AsyncMutex::default(),
            operation: AsyncMutex::default(),
            stranded: Mutex::default(),
            dns_warning: Mutex::default(),
            claimed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        }
    }

    /// The state at this moment, and told to whoever watches.
    pub(crate) async fn publish_status(&self) -> Status {
        let _publishing = self.publishing.lock().await;
        let status = match self.session.status().await {
            Some(status) => self.decorate(status),
            None => plain(State::Unable, Reason::Error { error: session_ended() }),
        };
        let shown = Status { timers: Vec::new(), ..status.clone() };
        self.status.send_if_modified(|known| std::mem::replace(known, shown.clone()) != shown);
        status
    }

    /// Tells of each new state; a slow reader is told the newest.
    pub(crate) fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The values in force.
    pub(crate) async fn settings(&self) -> Result<Settings, UserError> {
        self.session.settings().await.ok_or_else(session_ended)
    }

    /// The counters.
    pub(crate) async fn stats(&self) -> Result<Stats, UserError> {
        self.session.stats().await.ok_or_else(session_ended)
    }

    /// Waits until no other change of the device is under way.
    ///
    /// # Errors
    /// The daemon is going down.
    pub(crate) async fn begin(&self) -> Result<AsyncGuard<'_, ()>, Failure> {
        let operation = self.operation.lock().await;
        match self.closing.load(Ordering::SeqCst) {
            true => Err(Failure::ShuttingDown),
            false => Ok(operation),
        }
    }

    /// Lets the change that is under way end, and no other begin.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        drop(self.operation.lock().await);
    }

    /// Connects. The target is written first: a crash from now on leaves the device blocked until it is connected.
    /// Called within an operation.
    pub(crate) async fn connect(&self) -> Result<(), Failure> {
        self.claim().await?;
        self.refresh_system_dns().await;
        let former = self.target();
        self.set_target(Target { connected: true, ..former })?;
        if let Err(error) = self.session.command(Command::Connect).await {
            self.set_target(former)?;
            return Err(error.into());
        }
        *self.stranded() = None;
        self.publish_status().await;
        Ok(())
    }

    /// Disconnects, where the administrator lets the user. Called within an operation.
    pub(crate) async fn disconnect(&self) -> Result<(), Failure> {
        self.session.command(Command::Disconnect).await?;
        self.set_target(Target { connected: false, ..self.target() })?;
        let opened = self.open_if_stranded().await;
        self.publish_status().await;
        Ok(opened?)
    }

    /// Chooses a service mode. Called within an operation.
    pub(crate) async fn set_mode(&self, mode: ServiceMode) -> Result<(), Failure> {
        self.session.command(Command::SetMode { mode }).await?;
        self.publish_status().await;
        Ok(())
    }

    /// Has the profile fetched now.
    pub(crate) async fn refresh_profile(&self) -> Result<(), Failure> {
        Ok(self.session.command(Command::RefreshProfile).await?)
    }

    /// A start blocked the device and the session cannot go on from there: says so until the user decides.
    pub(crate) fn strand(&self, error: UserError) {
        *self.stranded() = Some(error);
    }

    /// Whether a start blocked the device and the session cannot go on from there.
    pub(crate) fn is_stranded(&self) -> bool {
        self.stranded().is_some()
    }

    /// Undoes what a start blocked, where the session knows nothing of it.
    ///
    /// # Errors
    /// Something of it is left; the device counts as stranded still, so that the next call tries again.
    pub(crate) async fn open_if_stranded(&self) -> Result<(), UserError> {
        if !self.is_stranded() {
            return Ok(());
        }
        let undone = self.system.run(crate::applier::Applier::undo).await.ok_or_else(system_thread_ended)?;
        undone.iter().for_each(Undone::log);
        let failed: Vec<_> =
            undone.iter().filter(|one| matches!(one, Undone::Failed(_))).map(Undone::to_string).collect();
        let left = (!failed.is_empty()).then(|| UserError::PlanFailed { detail: failed.join("; ") });
        self.stranded().clone_from(&left);
        left.map_or(Ok(()), Err)
    }

    /// What the device shall be.
    pub(crate) fn target(&self) -> Target {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what the device shall be.
    pub(crate) fn set_target(&self, wanted: Target) -> Result<(), UserError> {
        let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        if *target != wanted {
            let kept = self.keeper.write_target(&wanted);
            kept.map_err(|error| internal(&format!("the target state cannot be kept: {error}")))?;
            *target = wanted;
        }
        Ok(())
    }

    /// Makes the DNS proxy's addresses the device's own, where they are not yet.
    pub(crate) async fn claim(&self) -> Result<(), UserError> {
        if self.claimed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let claimed = self.system.run(crate::applier::Applier::claim).await;
        match claimed {
            Some(Ok(_)) => {
                self.claimed.store(true, Ordering::SeqCst);
                Ok(())
            }
            Some(Err(error)) => Err(UserError::DnsProxy { detail: error.to_string() }),
            None => Err(system_thread_ended()),
        }
    }

    /// Takes [`Daemon::claim`] back.
    pub(crate) async fn release(&self) {
        if self.claimed.swap(false, Ordering::SeqCst)
            && let Some(Err(error)) = self.system.run(crate::applier::Applier::release).await
        {
            tracing::warn!("{error}");
        }
    }

    /// Tells the session which resolvers the device has besides Weft.
    pub(crate) async fn refresh_system_dns(&self) {
        match self.system.ask(|applier| applier.system_dns()).await {
            Some(Ok(servers)) => self.session.set_system_dns(servers).await,
            Some(Err(error)) => tracing::warn!("the system's resolvers cannot be read: {error}"),
            None => {}
        }
    }

    /// Says in every status what keeps names from the DNS proxy; none = nothing does.
    pub(crate) async fn warn_of_dns(&self, warning: Option<String>) {
        let changed = {
            let mut known = self.dns_warning.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, warning.clone()) != warning
        };
        if changed {
            self.publish_status().await;
        }
    }

    fn stranded(&self) -> MutexGuard<'_, Option<UserError>> {
        self.stranded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session's status, with what only the daemon knows.
    fn decorate(&self, mut status: Status) -> Status {
        status.warnings.extend(self.dns_warning.lock().unwrap_or_else(PoisonError::into_inner).clone());
        if status.state != State::Disconnected {
            return status;
        }
        match self.stranded().clone() {
            Some(error) => Status { state: State::Unable, reason: Reason::Error { error }, ..status },
            None if !self.keeper.is_registered() => {
                Status { reason: Reason::Error { error: UserError::RegistrationMissing }, ..status }
            }
            None => status,
        }
    }
}

fn plain(state: State, reason: Reason) -> Status {
    let service_mode = ServiceMode::default();
    Status { state, reason, service_mode, endpoint: None, plan: 0, warnings: Vec::new(), timers: Vec::new() }
}

/// An error that is the daemon's own.
pub(crate) fn internal(detail: &str) -> UserError {
    UserError::Internal { detail: detail.to_owned() }
}

pub(crate) fn session_ended() -> UserError {
    internal("the session has ended; the daemon starts again")
}

pub(crate) fn system_thread_ended() -> UserError {
    internal("the thread that applies plans has ended; the daemon starts again")
}
