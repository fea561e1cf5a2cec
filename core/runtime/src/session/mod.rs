//! A session: the whole core, running, as a shell holds it.
//!
//! A shell starts one, pulls its events, applies the plans among them and acknowledges their numbers, and hands over
//! the TUN descriptor that a plan asks for. Everything else happens on the session's own threads: one for the control
//! side and, while a tunnel is up, one for each direction of packets.

mod dns;
mod driver;
mod events;
mod tunnel;
mod work;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{Notify, mpsc, oneshot};
use weft_model::settings::UserChoices;
use weft_model::{
    AddressExplanation, Command, DnsLog, DnsLookup, DomainName, Event, HostExplanation, LocalPolicy,
    NetworkState, PlanNumber, Profile, Registration, Settings, Stats, Status, UserError,
};

pub use weft_dns::DEFAULT_CACHE_BYTES;

use self::driver::{Driver, Inward};
use self::events::Events;
use self::tunnel::{Device, DeviceInbox};
use crate::data_plane;
pub use crate::dns_front::DnsLogReader;
use crate::panic::panic_message;
use crate::tun::{self, PacketQueue, QUEUE_MEMORY};

/// Messages that may wait for the control thread; senders of more wait themselves.
const INWARD_QUEUE: usize = 256;

/// Bytes that a phone's session may take at its peak, all that it holds together: a third of what an iOS extension may.
pub const PHONE_MEMORY: usize = 15 << 20;

// What is bounded by its bytes: packets that wait for the host, for the core's own flows and (twice as many) for the
// DNS front, the packet threads' buffers, and DNS answers. It may take half of a phone's share; the other half is for
// tables, TLS, stacks and what an allocator wastes. `tests/session/memory.rs` measures the sum.
const _: () = assert!(
    2 * (QUEUE_MEMORY + data_plane::MEMORY + DEFAULT_CACHE_BYTES + 3 * tunnel::OWN_PACKETS_MEMORY)
        <= PHONE_MEMORY
);

/// What a session starts with.
pub struct SessionConfig {
    /// Who this device is; none = not registered.
    pub registration: Option<Registration>,
    /// The last profile that the gateway delivered.
    pub profile: Option<Profile>,
    /// What the user has chosen.
    pub user: UserChoices,
    /// The firewall mark of the sockets outside the tunnel, on Linux.
    pub mark: Option<u32>,
    /// Where the DNS proxy listens, UDP and TCP; empty = the host brings queries as packets.
    pub dns_listen: Vec<SocketAddr>,
    /// The resolvers that the device had before it connected.
    pub system_dns: Vec<IpAddr>,
    /// The system's hosts file, whose names the DNS proxy answers by itself; none = there is none.
    pub hosts_file: Option<PathBuf>,
    /// The DNS front's addresses inside the tunnel interface, where the host brings queries as packets; else empty.
    pub sentinels: Vec<IpAddr>,
    /// The most bytes that the cache of DNS answers may take; 0 switches it off.
    pub dns_cache_bytes: usize,
}

/// What a session asks of the system it runs on.
pub trait Host: Send + Sync {
    /// Keeps a socket outside the tunnel (Android's `VpnService.protect`). Called before it is connected or bound.
    ///
    /// # Errors
    /// The socket is not used then.
    fn protect(&self, _socket: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Keeps a registration, a profile or choices that changed, so that the next start has them.
    ///
    /// # Errors
    /// Told to the user as a warning; the session goes on.
    fn store(
        &self,
        registration: &Registration,
        profile: Option<&Profile>,
        user: &UserChoices,
    ) -> io::Result<()>;
}

/// Why a session could not start.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The system gave no thread or no event loop.
    #[error("the system gives no thread for the session: {0}")]
    Thread(#[from] io::Error),
}

/// The whole core, running. Dropping it stops every thread; plans that were applied stay as they are.
pub struct Session {
    inward: mpsc::Sender<Inward>,
    events: Arc<Events>,
    devices: Arc<DeviceInbox>,
    stop: Arc<Notify>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Session {
    /// Starts a disconnected session.
    ///
    /// # Errors
    /// [`SessionError`] where the system refuses a thread.
    pub fn start(config: SessionConfig, host: Arc<dyn Host>) -> Result<Self, SessionError> {
        let (inward, inbox) = mpsc::channel(INWARD_QUEUE);
        let events = Arc::new(Events::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let to_driver = inward.downgrade();
        let told = Arc::clone(&events);
        let devices = Arc::new(DeviceInbox::default());
        let given = Arc::clone(&devices);
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("weft-control".to_owned()).spawn(move || {
            // Whatever ends the driver, a panic included, the shell hears the end of its events.
            let _end = EndOnDrop(Arc::clone(&told));
            runtime.block_on(async move {
                tokio::select! {
                    () = Driver::new(config, host, told, given, to_driver).run(inbox) => {}
                    () = stopped.notified() => {}
                }
            });
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        })?;
        Ok(Self { inward, events, devices, stop, thread: Mutex::new(Some(thread)) })
    }

    /// Does what the shell asks; resolves when it has begun, not when it is done.
    ///
    /// # Errors
    /// A [`UserError`] where it cannot or may not be done; nothing has changed then.
    pub async fn command(&self, command: Command) -> Result<(), UserError> {
        self.ask(|answer| Inward::Command(command, answer)).await.unwrap_or_else(|| Err(stopped()))
    }

    /// The next event; none once the session has stopped.
    pub async fn next_event(&self) -> Option<Event> {
        self.events.next().await
    }

    /// Says that a plan and every one before it are in force, or why it could not be applied. Resolves when the session
    /// has taken note: it holds no descriptor any more of an interface that the plan removes.
    pub async fn acknowledge(&self, number: PlanNumber, result: Result<(), String>) {
        self.ask(|answer| Inward::Plan(number, result, answer)).await;
    }

    /// Hands over the TUN descriptor that a plan asked for, before that plan is acknowledged. It takes the place of an
    /// earlier one, under a running tunnel too, which goes on: the earlier one is closed once it has given its last
    /// packets. Never waits.
    ///
    /// # Errors
    /// The descriptor is none of a TUN device's; it is closed.
    pub fn attach_tun(&self, tun: OwnedFd) -> io::Result<()> {
        let (device, _) = tun::open(tun)?;
        self.devices.give(Device::Tun(device));
        Ok(())
    }

    /// Takes packets from a host that owns them, in place of a TUN descriptor, from now on. The queue that the host had
    /// before is closed, and this one is when the session ends or another device takes its place. It stays over
    /// disconnects. Never waits.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub fn packet_queue(&self) -> io::Result<PacketQueue> {
        let queue = PacketQueue::new()?;
        self.devices.give(Device::Queue(queue.clone()));
        Ok(queue)
    }

    /// Says what network the device is on.
    pub async fn network_changed(&self, network: NetworkState) {
        self.tell(Inward::Network(network)).await;
    }

    /// Says that the device slept and woke: the tunnel is proven at once, on whatever network the device is.
    pub async fn woke(&self) {
        self.tell(Inward::Woke).await;
    }

    /// Whether the session holds what a shell gave it of a tunnel interface, a descriptor or a queue that is open. It
    /// gives a descriptor up by itself where packets no longer pass, before it asks for the interface again.
    #[must_use]
    pub fn has_device(&self) -> bool {
        self.devices.has_device()
    }

    /// Says that the system took the tunnel interface away for good: the device is disconnected whatever the switch's
    /// lock says, and connects by itself no more.
    pub async fn interface_revoked(&self) {
        self.tell(Inward::InterfaceRevoked).await;
    }

    /// Says what the administrator decides on the device itself (MDM), in place of what it was before; it outranks the
    /// profile.
    ///
    /// # Errors
    /// [`UserError::Settings`] where it cannot be; nothing has changed then.
    pub async fn set_managed(&self, policy: LocalPolicy) -> Result<(), UserError> {
        let policy = Box::new(policy);
        self.ask(|answer| Inward::Managed(policy, answer)).await.unwrap_or_else(|| Err(stopped()))
    }

    /// Who resolves a name, and which way its addresses go, once connected under the settings of now; none once the
    /// session has stopped.
    pub async fn explain_host(&self, name: DomainName) -> Option<HostExplanation> {
        self.ask(|answer| Inward::ExplainHost(name, answer)).await
    }

    /// Which way an address goes, once connected under the settings of now; none once the session has stopped.
    pub async fn explain_address(&self, address: IpAddr) -> Option<AddressExplanation> {
        self.ask(|answer| Inward::ExplainAddress(address, answer)).await
    }

    /// Says which resolvers the device has besides Weft.
    pub async fn set_system_dns(&self, servers: Vec<IpAddr>) {
        self.tell(Inward::SystemDns(servers)).await;
    }

    /// Takes another registration, or none; what is up under the old one goes down.
    pub async fn set_registration(&self, registration: Option<(Registration, Option<Profile>)>) {
        self.tell(Inward::Registration(registration.map(Box::new))).await;
    }

    /// The state at this moment, with the deadlines that are pending; none once the session has stopped.
    pub async fn status(&self) -> Option<Status> {
        self.ask(Inward::Status).await
    }

    /// The values in force; none once the session has stopped.
    pub async fn settings(&self) -> Option<Settings> {
        self.ask(Inward::Settings).await
    }

    /// Counters at this moment; none once the session has stopped.
    pub async fn stats(&self) -> Option<Stats> {
        self.ask(Inward::Stats).await
    }

    /// Asks the DNS proxy for a name as a program would, and says who answered it and why.
    ///
    /// # Errors
    /// [`UserError::DnsOff`] where Weft answers no queries at the moment.
    pub async fn dns_lookup(&self, name: DomainName, kind: u16) -> Result<DnsLookup, UserError> {
        self.ask(|answer| Inward::DnsLookup(name, kind, answer)).await.unwrap_or(Err(UserError::DnsOff))
    }

    /// The log of DNS queries, after switching it on or off where `on` says so. Switching it off empties it. None
    /// once the session has stopped.
    pub async fn dns_log(&self, on: Option<bool>) -> Option<DnsLog> {
        self.ask(|answer| Inward::DnsLog(on, answer)).await
    }

    /// Follows the log of DNS queries from its newest `count` entries on, whether it is on or not. None once the session
    /// has stopped.
    pub async fn follow_dns_log(&self, count: usize) -> Option<DnsLogReader> {
        self.ask(|answer| Inward::FollowDnsLog(count, answer)).await
    }

    /// Forgets every DNS answer that is kept.
    pub async fn dns_flush(&self) {
        self.ask(Inward::DnsFlush).await;
    }

    /// A captive portal wants the user, or has let him through. The profile bounds how long it may be open.
    pub async fn set_captive_portal(&self, open: bool) {
        self.tell(Inward::Portal(open)).await;
    }

    /// Stops every thread and waits for them, 2 s at most. Plans that were applied stay as they are.
    pub async fn shutdown(self) {
        self.stop.notify_one();
        let wait = async { while self.events.next().await.is_some() {} };
        if tokio::time::timeout(std::time::Duration::from_secs(2), wait).await.is_err() {
            // A driver that hangs must not hold the shell up: its thread is left to itself.
            drop(self.thread.lock().ok().and_then(|mut thread| thread.take()));
        }
    }

    /// Tells every thread to stop, and waits for none of them. Whoever waits for an event hears that there is none.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// Waits until every thread has ended, after [`stop`](Self::stop) or a panic. From the session's own thread, and
    /// where another call waits already, it does not wait.
    ///
    /// # Errors
    /// The control thread panicked: what it said.
    pub fn join(&self) -> Result<(), String> {
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        let thread = thread.filter(|thread| thread.thread().id() != std::thread::current().id());
        let Some(thread) = thread else { return Ok(()) };
        thread.join().map_err(|payload| panic_message(payload.as_ref()))
    }

    async fn tell(&self, message: Inward) {
        // A session that has stopped has nobody to tell.
        let _stopped = self.inward.send(message).await;
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Inward) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.tell(message(answer)).await;
        answered.await.ok()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop();
        let _panicked = self.join();
    }
}

fn stopped() -> UserError {
    UserError::Internal { detail: "the session has stopped".to_owned() }
}

struct EndOnDrop(Arc<Events>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}
