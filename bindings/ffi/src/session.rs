//! A session as an app holds it.

mod inner;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use weft_dns::message::RecordType;
use weft_model::{Command, DomainName};

use self::inner::{Inner, Life};
use crate::errors::WeftError;
use crate::host::Host;
use crate::packets::PacketFlow;
use crate::panic::Panics;
use crate::records::{
    AddressExplanation, DnsLog, DnsLookup, Enrolment, Event, HostExplanation, ManagedConfig, NetworkInfo,
    RegistrationInfo, ServiceMode, SessionConfig, Settings, Stats, Status,
};
use crate::{descriptor, panic, text, worker};

/// The letters that are repeated of what a user typed.
const TYPED: usize = 80;

/// The whole core, running. Close it by [`close`](Session::close); dropping it does the same in the background.
#[derive(uniffi::Object)]
pub struct Session {
    inner: Arc<Inner>,
}

#[uniffi::export]
impl Session {
    /// Starts a disconnected session with what `host` has stored.
    ///
    /// # Errors
    /// [`WeftError::InvalidInput`] for a configuration that cannot be, [`WeftError::Host`] where the host fails to give
    /// what is stored. What it gives and cannot be read is no error: the device is not registered then, and a warning
    /// of the status says so. Nor is a managed configuration that cannot be: it counts as none, with a warning.
    #[uniffi::constructor]
    pub fn new(config: SessionConfig, host: Arc<dyn Host>) -> Result<Self, WeftError> {
        panic::install_hook();
        let panics = Arc::new(Panics::default());
        let started = panics.guard(|| Inner::start(config, host, Arc::clone(&panics)));
        started.map(|inner| Self { inner: Arc::new(inner) })
    }

    /// The next event; none once the session has ended. Of events of one kind that nobody pulled, the newest is left.
    pub async fn next_event(&self) -> Option<Event> {
        let next = self.inner.panics.guard_async(async { Ok(self.inner.next_event().await) }).await;
        next.unwrap_or_else(|_| self.inner.panics.take().map(|detail| Event::Panicked { detail }))
    }

    /// Brings the tunnel up and keeps it up. Resolves when it has begun: the status tells how it goes on. Asks the
    /// host for the network first.
    ///
    /// # Errors
    /// [`WeftError::NotRegistered`], [`WeftError::Closed`].
    pub async fn connect(&self) -> Result<(), WeftError> {
        self.guard(async {
            let core = self.inner.core()?;
            if self.inner.keeper.kept().is_none() {
                return Err(WeftError::NotRegistered { detail: "enrol the device first".to_owned() });
            }
            self.inner.ask_network(&core).await;
            Ok(core.command(Command::Connect).await?)
        })
        .await
    }

    /// Takes the tunnel down. Resolves when it has begun.
    ///
    /// # Errors
    /// [`WeftError::Forbidden`] where the administrator locks the switch, [`WeftError::Closed`].
    pub async fn disconnect(&self) -> Result<(), WeftError> {
        self.guard(async { Ok(self.inner.core()?.command(Command::Disconnect).await?) }).await
    }

    /// Fetches the profile now. Resolves when it has begun.
    ///
    /// # Errors
    /// [`WeftError::NotRegistered`], [`WeftError::Closed`].
    pub async fn refresh_profile(&self) -> Result<(), WeftError> {
        self.guard(async { Ok(self.inner.core()?.command(Command::RefreshProfile).await?) }).await
    }

    /// Chooses a service mode, where the administrator lets the user.
    ///
    /// # Errors
    /// [`WeftError::Forbidden`], [`WeftError::InvalidInput`] for a mode that this build cannot carry out,
    /// [`WeftError::Closed`].
    pub async fn set_service_mode(&self, mode: ServiceMode) -> Result<(), WeftError> {
        let command = Command::SetMode { mode: mode.into() };
        self.guard(async { Ok(self.inner.core()?.command(command).await?) }).await
    }

    /// Registers the device with a gateway and stores that by the host, under the name "state". What a gateway has revoked
    /// is replaced. Takes 100 s at most: 15 s to ask whether it has, 60 s to register, 10 s for the host to store it, and 15 s
    /// to tell the gateway where the host fails to. It goes on where the future is dropped, and ends with the session.
    ///
    /// # Errors
    /// [`WeftError::AlreadyRegistered`], [`WeftError::WrongOrder`] while another one is under way,
    /// [`WeftError::InvalidInput`], [`WeftError::Unreachable`], [`WeftError::Refused`], [`WeftError::Host`] where the
    /// host fails to store it, [`WeftError::Closed`].
    pub async fn enrol(&self, enrolment: Enrolment) -> Result<(), WeftError> {
        self.guard(self.inner.enrol(enrolment)).await
    }

    /// Takes the tunnel down, ends the registration at the gateway and forgets it. A gateway that cannot be told keeps
    /// the device in its list; a warning of the status says so. Takes 25 s at most: 15 s for the gateway, 10 s for the host. It goes on where the future is
    /// dropped, and ends with the session.
    ///
    /// # Errors
    /// [`WeftError::NotRegistered`], [`WeftError::Forbidden`] where the administrator does not let users leave and has not
    /// revoked the device, [`WeftError::WrongOrder`] while an enrolment is under way, [`WeftError::Host`] where the host fails to remove
    /// what it stored (the device is left all the same), [`WeftError::Closed`].
    pub async fn leave(&self) -> Result<(), WeftError> {
        self.guard(self.inner.leave()).await
    }

    /// Says that a plan and every one before it are in force, or, by `failure`, why it could not be applied. A number
    /// that no plan had yet is passed over. Resolves when the core has taken note.
    pub async fn acknowledge_plan(&self, number: u64, failure: Option<String>) {
        let work = async {
            self.inner.acknowledge(number, failure).await;
            Ok(())
        };
        // The panic has been told.
        let _panicked = self.guard(work).await;
    }

    /// Hands over the descriptor of the tunnel interface that the last plan asks for, before that plan is
    /// acknowledged. The core owns it from here on and closes it, on errors too; a former one is closed.
    ///
    /// # Errors
    /// [`WeftError::BadDescriptor`] where it is no open descriptor (nothing is closed then) or none of a tunnel
    /// interface, [`WeftError::WrongOrder`] where no plan asks for an interface or a packet flow is open,
    /// [`WeftError::Closed`].
    pub fn attach_tun(&self, fd: i32) -> Result<(), WeftError> {
        let fd = descriptor::own(fd)?;
        self.inner.panics.guard(|| self.inner.attach_tun(fd))
    }

    /// Whether the core holds the interface that it was given. It closes a descriptor by itself where packets no longer
    /// pass, and then asks for the interface by another plan, which may be equal to the last but for its number.
    pub fn has_interface(&self) -> bool {
        self.inner.panics.guard(|| Ok(self.inner.core()?.has_device())).unwrap_or_default()
    }

    /// The system, its user or another app took the interface away for good. The device is disconnected, a locked
    /// switch or not, and connects by itself no more.
    pub async fn interface_revoked(&self) {
        let work = async {
            self.inner.core()?.interface_revoked().await;
            Ok(())
        };
        let _closed = self.guard(work).await;
    }

    /// The packets, for a host that owns them, in place of a descriptor. May be taken at any time; it stays over
    /// disconnects.
    ///
    /// # Errors
    /// [`WeftError::WrongOrder`] where a descriptor is attached or another flow is open, [`WeftError::Internal`] where
    /// the system gives no descriptor to wake the core by, [`WeftError::Closed`].
    pub fn packet_flow(&self) -> Result<Arc<PacketFlow>, WeftError> {
        self.inner.panics.guard(|| self.inner.packet_flow())
    }

    /// Says which network the device is on besides the tunnel. One that equals the last is no event.
    pub async fn network_changed(&self, network: NetworkInfo) {
        let work = async {
            let core = self.inner.core()?;
            self.inner.tell_network(&core, &network).await;
            Ok(())
        };
        let _closed = self.guard(work).await;
    }

    /// A captive portal wants the user, or has let him through. The profile bounds how long it may be open.
    pub async fn set_captive_portal(&self, open: bool) {
        let work = async {
            self.inner.core()?.set_captive_portal(open).await;
            Ok(())
        };
        let _closed = self.guard(work).await;
    }

    /// The device has slept: what is under way is asked again at once. Asks the host for the network.
    pub async fn woke(&self) {
        let work = async {
            let core = self.inner.core()?;
            self.inner.ask_network(&core).await;
            core.woke().await;
            Ok(())
        };
        let _closed = self.guard(work).await;
    }

    /// Takes another managed configuration, or none.
    ///
    /// # Errors
    /// [`WeftError::InvalidInput`] (the one before stays in force), [`WeftError::Closed`].
    pub async fn set_managed(&self, managed: Option<ManagedConfig>) -> Result<(), WeftError> {
        self.guard(self.inner.set_managed(managed)).await
    }

    /// The state at this moment; none once the session has ended.
    pub async fn status(&self) -> Option<Status> {
        let status = async { Ok(self.inner.core()?.status().await.map(|status| self.inner.status(&status))) };
        self.guard(status).await.unwrap_or_default()
    }

    /// The values in force; none once the session has ended.
    pub async fn settings(&self) -> Option<Settings> {
        let settings = async { Ok(self.inner.core()?.settings().await.as_ref().map(Settings::from)) };
        self.guard(settings).await.unwrap_or_default()
    }

    /// Counters at this moment; none once the session has ended.
    pub async fn stats(&self) -> Option<Stats> {
        let stats = async { Ok(self.inner.core()?.stats().await.as_ref().map(Stats::from)) };
        self.guard(stats).await.unwrap_or_default()
    }

    /// Who the device is; none = not registered.
    pub async fn registration(&self) -> Option<RegistrationInfo> {
        let kept = async { Ok(self.inner.keeper.kept()) };
        let kept = self.guard(kept).await.unwrap_or_default()?;
        Some(RegistrationInfo::new(&kept.registration, kept.profile.as_ref()))
    }

    /// Asks the DNS engine for a name as a program would. `record_type` is a mnemonic ("A", "AAAA", "TYPE64").
    ///
    /// # Errors
    /// [`WeftError::InvalidInput`], [`WeftError::WrongOrder`] while Weft answers no queries, [`WeftError::Closed`].
    pub async fn dns_lookup(&self, name: String, record_type: String) -> Result<DnsLookup, WeftError> {
        self.guard(async {
            let core = self.inner.core()?;
            let kind: RecordType = record_type.trim().parse().map_err(WeftError::invalid)?;
            Ok((&core.dns_lookup(host_name(&name)?, kind.0).await?).into())
        })
        .await
    }

    /// The log of DNS queries, after switching it on or off where `on` says so. Switching it off empties it.
    pub async fn dns_log(&self, on: Option<bool>) -> DnsLog {
        let log = async { Ok(self.inner.core()?.dns_log(on).await.as_ref().map(DnsLog::from)) };
        self.guard(log).await.ok().flatten().unwrap_or_default()
    }

    /// Forgets every DNS answer that is kept.
    pub async fn dns_flush(&self) {
        let work = async {
            self.inner.core()?.dns_flush().await;
            Ok(())
        };
        let _closed = self.guard(work).await;
    }

    /// Who resolves a name, which way its addresses go once the device is connected, and why. Asks nobody.
    ///
    /// # Errors
    /// [`WeftError::InvalidInput`] for what is no name, [`WeftError::Closed`].
    pub async fn explain_host(&self, name: String) -> Result<HostExplanation, WeftError> {
        self.guard(async {
            let explained = self.inner.core()?.explain_host(host_name(&name)?).await;
            explained.as_ref().map(HostExplanation::from).ok_or_else(|| WeftError::closed("the session"))
        })
        .await
    }

    /// Which way an address goes once the device is connected, and why.
    ///
    /// # Errors
    /// [`WeftError::InvalidInput`] for what is no address, [`WeftError::Closed`].
    pub async fn explain_address(&self, address: String) -> Result<AddressExplanation, WeftError> {
        self.guard(async {
            let address: IpAddr = address.trim().parse().map_err(|_| {
                WeftError::invalid(format_args!("\"{}\" is no address", text::one_line(&address, TYPED)))
            })?;
            let explained = self.inner.core()?.explain_address(address).await;
            explained.as_ref().map(AddressExplanation::from).ok_or_else(|| WeftError::closed("the session"))
        })
        .await
    }

    /// Ends the session: its threads are gone and its descriptors closed when this resolves. Plans that were applied
    /// stay as they are. Again, it waits for the same.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        if self.inner.begin_close() {
            let _told = worker::run("weft-close", move || inner.finish_close()).await;
        }
        let mut life = self.inner.life.subscribe();
        let _ended = life.wait_for(|life| *life == Life::Closed).await;
    }
}

impl Session {
    async fn guard<T>(&self, work: impl Future<Output = Result<T, WeftError>>) -> Result<T, WeftError> {
        match self.inner.panics.guard_async(work).await {
            // What is under way while the session ends finds the core stopped.
            Err(WeftError::Internal { .. }) if *self.inner.life.borrow() != Life::Open => {
                Err(WeftError::closed("the session"))
            }
            result => result,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.inner.begin_close() {
            let inner = Arc::clone(&self.inner);
            // Whoever drops it may be the host's own thread, or one that must not wait.
            let spawned = std::thread::Builder::new().name("weft-close".to_owned());
            if spawned.spawn(move || inner.finish_close()).is_err() {
                tracing::error!("the system gives no thread to close a session in");
            }
        }
    }
}

fn host_name(text: &str) -> Result<DomainName, WeftError> {
    text.trim().parse().map_err(WeftError::invalid)
}
