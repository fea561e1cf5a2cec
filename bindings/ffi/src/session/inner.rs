//! What stands behind a session: the core, the host's thread, and what the app was given.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedMutexGuard, watch};
use weft_model::{LocalPolicy, SENTINEL_ADDRESSES};
use weft_runtime::orchestration;
use weft_runtime::session::{Session as CoreSession, SessionConfig as CoreConfig};
use weft_runtime::sockets::{Protect, SocketFactory};

use crate::enrol::TELL_WITHIN;
use crate::errors::WeftError;
use crate::host::{ANSWER_WITHIN, Host, HostThread};
use crate::keeper::Keeper;
use crate::packets::PacketFlow;
use crate::panic::Panics;
use crate::records::{Enrolment, Event, ManagedConfig, NetworkInfo, SessionConfig, Status};
use crate::warnings::Warnings;
use crate::{enrol, manage, worker};

/// The systems that a session may say it runs on.
const SYSTEMS: [&str; 4] = ["android", "ios", "chromeos", "linux"];

/// How far a session is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Life {
    Open,
    Closing,
    Closed,
}

pub(super) struct Inner {
    config: SessionConfig,
    /// None once it is closed.
    core: Mutex<Option<Arc<CoreSession>>>,
    host: Arc<HostThread>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) panics: Arc<Panics>,
    pub(super) life: watch::Sender<Life>,
    plans: Mutex<Plans>,
    /// The packet flow that the app was given last.
    flow: Mutex<Weak<PacketFlow>>,
    /// Held while the device enrols or leaves.
    registering: Arc<tokio::sync::Mutex<()>>,
    warnings: Arc<Warnings>,
}

/// The plans that the app was given.
#[derive(Default)]
struct Plans {
    last: Option<weft_model::Plan>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(super) fn start(
        config: SessionConfig,
        host: Arc<dyn Host>,
        panics: Arc<Panics>,
    ) -> Result<Self, WeftError> {
        enrol::check_name(&config.device_name)?;
        if !SYSTEMS.contains(&config.os.as_str()) {
            return Err(WeftError::invalid(format_args!("os is one of {}", SYSTEMS.join(", "))));
        }
        // One wrong value of an administrator's must not leave the device without its tunnel.
        let (policy, warning) = match config.managed.clone().map(manage::policy).transpose() {
            Ok(policy) => (policy, None),
            Err(error) => (None, Some(format!("the managed configuration counts as none: {error}"))),
        };
        let host = HostThread::start(host)?;
        let started = Self::start_with(config, &host, panics).inspect_err(|_| host.stop())?;
        if let Some(policy) = policy {
            worker::wait(started.core()?.set_managed(policy))?;
        }
        started.warnings.set_managed(warning);
        Ok(started)
    }

    pub(super) async fn set_managed(&self, managed: Option<ManagedConfig>) -> Result<(), WeftError> {
        let policy = managed.map_or(Ok(LocalPolicy::default()), manage::policy)?;
        self.core()?.set_managed(policy).await?;
        self.warnings.set_managed(None);
        Ok(())
    }

    fn start_with(
        config: SessionConfig,
        host: &Arc<HostThread>,
        panics: Arc<Panics>,
    ) -> Result<Self, WeftError> {
        let warnings = Arc::<Warnings>::default();
        let keeper = Keeper::open(Arc::clone(host), Arc::clone(&warnings))?;
        let kept = keeper.kept();
        let core = CoreConfig {
            registration: kept.as_ref().map(|kept| kept.registration.clone()),
            profile: kept.as_ref().and_then(|kept| kept.profile.clone()),
            user: kept.map(|kept| kept.user).unwrap_or_default(),
            mark: None,
            dns_listen: Vec::new(),
            system_dns: Vec::new(),
            hosts_file: None,
            sentinels: SENTINEL_ADDRESSES.to_vec(),
            dns_cache_bytes: config
                .dns_cache_bytes
                .map_or(weft_runtime::session::DEFAULT_CACHE_BYTES, |bytes| {
                    usize::try_from(bytes).unwrap_or(usize::MAX)
                }),
        };
        let core = CoreSession::start(core, Arc::clone(&keeper) as _).map_err(WeftError::internal)?;
        tracing::info!("Weft {} on {} {}", env!("CARGO_PKG_VERSION"), config.os, config.os_version);
        Ok(Self::over(core, config, (Arc::clone(host), keeper, warnings), panics))
    }

    pub(super) fn over(
        core: CoreSession,
        config: SessionConfig,
        (host, keeper, warnings): (Arc<HostThread>, Arc<Keeper>, Arc<Warnings>),
        panics: Arc<Panics>,
    ) -> Self {
        Self {
            config,
            core: Mutex::new(Some(Arc::new(core))),
            host,
            keeper,
            panics,
            life: watch::Sender::new(Life::Open),
            plans: Mutex::default(),
            flow: Mutex::default(),
            registering: Arc::default(),
            warnings,
        }
    }

    pub(super) fn core(&self) -> Result<Arc<CoreSession>, WeftError> {
        lock(&self.core).clone().ok_or_else(|| WeftError::closed("the session"))
    }

    pub(super) async fn next_event(&self) -> Option<Event> {
        loop {
            if let Some(detail) = self.panics.take() {
                return Some(Event::Panicked { detail });
            }
            let core = self.core().ok()?;
            if self.warnings.are_untold()
                && let Some(status) = core.status().await
            {
                self.warnings.tell();
                return Some(Event::Status { status: self.status(&status) });
            }
            let event = tokio::select! {
                biased;
                () = self.panics.changed() => continue,
                () = self.warnings.changed() => continue,
                event = core.next_event() => event,
            };
            let Some(event) = event else { return self.ended(core).await };
            return Some(self.event(event));
        }
    }

    fn event(&self, event: weft_model::Event) -> Event {
        match event {
            weft_model::Event::Status(status) => Event::Status { status: self.status(&status) },
            weft_model::Event::Settings(settings) => Event::Settings { settings: (&*settings).into() },
            weft_model::Event::Plan(plan) => {
                let told = (&*plan).into();
                lock(&self.plans).last = Some(*plan);
                Event::Plan { plan: told }
            }
            weft_model::Event::Revoked => Event::Revoked,
        }
    }

    /// Nothing ends the events of an open session but a panic of its control thread.
    async fn ended(&self, core: Arc<CoreSession>) -> Option<Event> {
        if *self.life.borrow() != Life::Open {
            return None;
        }
        let joined = worker::run("weft-close", move || core.join()).await;
        match joined {
            Ok(Err(detail)) => Some(Event::Panicked { detail }),
            Ok(Ok(())) => None,
            Err(error) => Some(Event::Panicked { detail: error.to_string() }),
        }
    }

    pub(super) fn status(&self, status: &weft_model::Status) -> Status {
        Status::new(status, self.warnings.list())
    }

    pub(super) async fn ask_network(&self, core: &CoreSession) {
        let host = Arc::clone(&self.host);
        match worker::run("weft-network", move || host.network()).await {
            Ok(Ok(network)) => self.tell_network(core, &network).await,
            Ok(Err(error)) => tracing::warn!("the host does not tell the network: {error}"),
            Err(error) => tracing::warn!("the host cannot be asked for the network: {error}"),
        }
    }

    pub(super) async fn tell_network(&self, core: &CoreSession, network: &NetworkInfo) {
        self.warnings.set_network(network.warning());
        core.set_system_dns(network.resolvers()).await;
        core.network_changed(network.state()).await;
    }

    pub(super) async fn acknowledge(&self, number: u64, failure: Option<String>) {
        let Ok(core) = self.core() else { return };
        if lock(&self.plans).last.as_ref().is_none_or(|last| number > last.number) {
            tracing::warn!("plan {number} is acknowledged, which nobody was given");
            return;
        }
        core.acknowledge(number, failure.map_or(Ok(()), Err)).await;
    }

    pub(super) fn attach_tun(&self, fd: std::os::fd::OwnedFd) -> Result<(), WeftError> {
        let core = self.core()?;
        let wanted = lock(&self.plans).last.as_ref().is_some_and(|plan| plan.interface.is_some());
        if !wanted {
            return Err(WeftError::wrong_order("no plan asks for a tunnel interface"));
        }
        let flow = lock(&self.flow);
        if is_open(&flow) {
            return Err(WeftError::wrong_order("a packet flow is open"));
        }
        core.attach_tun(fd).map_err(|error| WeftError::BadDescriptor { detail: error.to_string() })
    }

    pub(super) fn packet_flow(&self) -> Result<Arc<PacketFlow>, WeftError> {
        let core = self.core()?;
        let mut known = lock(&self.flow);
        if is_open(&known) {
            return Err(WeftError::wrong_order("another packet flow is open"));
        }
        if core.has_device() {
            return Err(WeftError::wrong_order("a descriptor of a tunnel interface is attached"));
        }
        let queue = core.packet_queue().map_err(WeftError::internal)?;
        let flow = PacketFlow::new(queue, Arc::clone(&self.panics));
        *known = Arc::downgrade(&flow);
        Ok(flow)
    }

    fn sockets(&self) -> SocketFactory {
        SocketFactory::new().with_protect(Arc::clone(&self.host) as Arc<dyn Protect>)
    }

    /// Resolves when the session is being closed.
    fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut life = self.life.subscribe();
        async move {
            let _closing = life.wait_for(|life| *life != Life::Open).await;
        }
    }

    /// Belongs into the work that registers, which goes on where its caller goes away.
    fn begin_registering(&self) -> Result<OwnedMutexGuard<()>, WeftError> {
        let busy = |_| WeftError::wrong_order("the device is enrolling or leaving already");
        Arc::clone(&self.registering).try_lock_owned().map_err(busy)
    }

    pub(super) async fn enrol(&self, enrolment: Enrolment) -> Result<(), WeftError> {
        let core = self.core()?;
        let request = enrol::request(enrolment, &self.config)?;
        let registering = self.begin_registering()?;
        let (sockets, keeper) = (self.sockets(), Arc::clone(&self.keeper));
        let work = async move {
            let _registering = registering;
            if let Some(kept) = keeper.kept()
                && !orchestration::is_revoked(&sockets, &kept.registration, TELL_WITHIN).await
            {
                return Err(WeftError::AlreadyRegistered { detail: kept.registration.id });
            }
            let (registration, profile) = enrol::register(sockets, keeper, request).await?;
            core.set_registration(Some((registration, Some(profile)))).await;
            Ok(())
        };
        worker::run_async("weft-enrol", self.closing(), work).await
    }

    pub(super) async fn leave(&self) -> Result<(), WeftError> {
        let core = self.core()?;
        let registering = self.begin_registering()?;
        let missing = || WeftError::NotRegistered { detail: "there is nothing to leave".to_owned() };
        let registration = self.keeper.kept().ok_or_else(missing)?.registration;
        let (sockets, keeper) = (self.sockets(), Arc::clone(&self.keeper));
        let work = async move {
            let _registering = registering;
            let settings = core.settings().await.ok_or_else(|| WeftError::closed("the session"))?;
            let allowed = settings.allowed_to_leave.value;
            if !allowed && !orchestration::is_revoked(&sockets, &registration, TELL_WITHIN).await {
                let detail = "the profile does not let users leave".to_owned();
                return Err(WeftError::Forbidden { detail });
            }
            core.set_registration(None).await;
            // One that says that the device is revoked need not hear that it leaves.
            let warning = if allowed { enrol::tell(&sockets, &registration).await } else { None };
            let forgotten = keeper.forget();
            keeper.warn(warning);
            forgotten
        };
        worker::run_async("weft-enrol", self.closing(), work).await
    }

    /// True for the one call that has to finish it.
    pub(super) fn begin_close(&self) -> bool {
        self.life.send_if_modified(|life| {
            let begins = *life == Life::Open;
            if begins {
                *life = Life::Closing;
            }
            begins
        })
    }

    pub(super) fn finish_close(&self) {
        let core = lock(&self.core).take();
        if let Some(core) = core {
            core.stop();
            // A panic of the control thread has been told, or nobody listens any more.
            let _panicked = core.join();
        }
        let flow = lock(&self.flow).upgrade();
        if let Some(flow) = flow {
            flow.close();
        }
        // One write may be under way, and one behind it.
        if !self.keeper.wait_until_written(ANSWER_WITHIN.saturating_mul(2)) {
            tracing::error!("what changed last may not be stored");
        }
        self.host.stop();
        if !self.host.wait_until_ended(ANSWER_WITHIN) {
            tracing::error!("the host has not returned from a call: its thread is left to itself");
        }
        self.life.send_replace(Life::Closed);
    }
}

fn is_open(flow: &Weak<PacketFlow>) -> bool {
    flow.upgrade().is_some_and(|flow| !flow.queue().is_closed())
}
