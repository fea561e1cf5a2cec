//! The tunnel while it is up: the packet threads, the core's own flows, and the device they rest on.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ipnet::IpNet;
use tokio::sync::{Notify, mpsc};
use weft_model::{DropReason, TunnelStats};
use weft_packet::Run;
use weft_policy::VerdictSnapshot;
use weft_tunnel::{
    Inbound, Nudge, Opened, Outbound, Outbox, PacketSink, Received, Sealed, SocketError, SocketId,
    SocketRequest,
};

use crate::data_plane::{Config, DataPlane, FlowClaims, Verdicts, VerdictsInForce};
use crate::dns_front::PacketPort;
use crate::flows::{self, TunnelNet};
use crate::lock::lock;
use crate::sockets::SocketFactory;
use crate::tun::{PacketQueue, TunDevice, TunInput, TunOutput};

/// Packets for the core's own flows that may wait for the control thread.
const OWN_PACKETS: usize = 256;

/// Bytes that they may take, at the MTU of most tunnels.
pub(super) const OWN_PACKETS_MEMORY: usize = OWN_PACKETS * 1500;

/// What stands between the device's programs and the tunnel.
#[derive(Debug)]
pub(super) enum Device {
    /// A TUN interface.
    Tun(TunDevice),
    /// A host that owns the packets.
    Queue(PacketQueue),
}

impl Device {
    fn ends(&self) -> (Box<dyn TunInput>, Arc<dyn TunOutput>) {
        match self {
            Self::Tun(tun) => (Box::new(tun.clone()), Arc::new(tun.clone())),
            Self::Queue(queue) => {
                let (input, output) = queue.ends();
                (Box::new(input), Arc::new(output))
            }
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Self::Queue(queue) = self {
            queue.close();
        }
    }
}

/// The device that the shell gave last and the control thread has not taken yet. It needs no queue: a newer one takes
/// the place of an older.
#[derive(Debug, Default)]
pub(super) struct DeviceInbox {
    state: Mutex<Given>,
    given: Notify,
}

#[derive(Debug, Default)]
struct Given {
    /// Not taken yet.
    waiting: Option<Device>,
    /// The one that was given last, taken or not, and that the control thread has not given up since.
    held: Option<Held>,
}

/// Which device is held. Its owner is elsewhere.
#[derive(Debug)]
enum Held {
    Tun,
    Queue(PacketQueue),
}

impl DeviceInbox {
    pub(super) fn give(&self, device: Device) {
        let former = {
            let mut state = self.lock();
            state.held = Some(match &device {
                Device::Tun(_) => Held::Tun,
                Device::Queue(queue) => Held::Queue(queue.clone()),
            });
            state.waiting.replace(device)
        };
        self.given.notify_one();
        drop(former);
    }

    pub(super) fn take(&self) -> Option<Device> {
        self.lock().waiting.take()
    }

    /// The control thread gave its device up; `has_other`: it has one all the same. One that waits counts.
    pub(super) fn detached(&self, has_other: bool) {
        let mut state = self.lock();
        if !has_other && state.waiting.is_none() {
            state.held = None;
        }
    }

    /// Whether there is a device, taken or not. Either side may have closed a queue meanwhile.
    pub(super) fn has_device(&self) -> bool {
        match &self.lock().held {
            Some(Held::Tun) => true,
            Some(Held::Queue(queue)) => !queue.is_closed(),
            None => false,
        }
    }

    pub(super) async fn given(&self) {
        self.given.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Given> {
        lock(&self.state)
    }
}

/// The place of the tunnel, up or not.
pub(super) struct TunnelSlot {
    /// Kept while the interface stands, so that the tunnel can come up again without the shell.
    device: Option<Device>,
    running: Option<Running>,
    verdicts: Arc<VerdictsInForce>,
    nudge: Arc<Notify>,
    /// For packets that the core itself serves.
    port: Arc<PacketPort>,
}

struct Running {
    plane: Arc<DataPlane>,
}

impl Default for TunnelSlot {
    fn default() -> Self {
        let nothing: Arc<dyn Verdicts> = Arc::new(VerdictSnapshot::default());
        Self {
            device: None,
            running: None,
            verdicts: Arc::new(VerdictsInForce::from_pointee(nothing)),
            nudge: Arc::new(Notify::new()),
            port: Arc::default(),
        }
    }
}

impl TunnelSlot {
    /// Where packets for the core's own servers go.
    pub(super) fn port(&self) -> Arc<PacketPort> {
        Arc::clone(&self.port)
    }

    /// Takes a device in place of the present one, under a running tunnel too. The former is closed after the new one
    /// is in its place.
    pub(super) fn attach(&mut self, device: Device) {
        if let Some(running) = &self.running {
            let (input, output) = device.ends();
            running.plane.replace_device(input, output);
        }
        self.device = Some(device);
    }

    pub(super) fn has_device(&self) -> bool {
        self.device.is_some()
    }

    /// The interface is gone. A host that owns the packets keeps its queue, empty, for the next one.
    pub(super) fn detach(&mut self) {
        match &self.device {
            Some(Device::Queue(queue)) if !queue.is_closed() => queue.clear(),
            _ => self.device = None,
        }
    }

    pub(super) fn set_verdicts(&self, snapshot: Arc<VerdictSnapshot>) {
        let judge: Arc<dyn Verdicts> = snapshot;
        self.verdicts.store(Arc::new(judge));
    }

    /// Starts the packet threads and the core's own flows.
    pub(super) fn start(
        &mut self,
        outbound: Arc<dyn Outbound>,
        inbound: Box<dyn Inbound>,
        addresses: &[IpNet],
        mtu: u16,
    ) -> Result<TunnelNet, String> {
        let (own_packets, own_inbox) = mpsc::channel(OWN_PACKETS);
        let claims = Arc::new(FlowClaims::new());
        let plane = self.start_plane(outbound, inbound, Arc::clone(&claims), own_packets)?;
        let sender = Arc::downgrade(&plane);
        let send = move |run| {
            if let Some(plane) = sender.upgrade() {
                plane.send_own(run);
            }
        };
        let flows = flows::Config { addresses: addresses.to_vec(), mtu, claims, send: Box::new(send) };
        TunnelNet::start(flows, own_inbox).map_err(|error| format!("the core's own flows: {error}"))
    }

    /// Starts the packet threads in place of those that run.
    fn start_plane(
        &mut self,
        outbound: Arc<dyn Outbound>,
        inbound: Box<dyn Inbound>,
        claims: Arc<FlowClaims>,
        own_packets: mpsc::Sender<Vec<u8>>,
    ) -> Result<Arc<DataPlane>, String> {
        self.running = None;
        let device = self.device.as_ref().ok_or("the shell gave no descriptor of the tunnel interface")?;
        let (input, output) = device.ends();
        let (nudge, port) = (Arc::clone(&self.nudge), Arc::clone(&self.port));
        let config = Config {
            input,
            output,
            outbound,
            inbound,
            verdicts: Arc::clone(&self.verdicts),
            claims,
            own_packets,
            served_packets: Arc::new(move |packet| port.take(packet)),
            nudge: Arc::new(move || nudge.notify_one()),
        };
        let plane = DataPlane::start(config).map_err(|error| format!("the packet threads: {error}"))?;
        let plane = Arc::new(plane);
        self.port.set_plane(Arc::downgrade(&plane));
        self.running = Some(Running { plane: Arc::clone(&plane) });
        Ok(plane)
    }

    /// Starts the packet threads without a tunnel: packets of the device reach the core's own servers or nobody.
    pub(super) fn start_front(&mut self) -> Result<(), String> {
        let (own_packets, _) = mpsc::channel(1);
        let ends = (Arc::new(Nowhere) as Arc<dyn Outbound>, Box::new(Nowhere) as Box<dyn Inbound>);
        self.start_plane(ends.0, ends.1, Arc::new(FlowClaims::new()), own_packets)?;
        Ok(())
    }

    /// Stops the packet threads and closes their sockets.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Resolves when the packet path left the transport something to do, or cannot go on.
    pub(super) async fn nudged(&self) {
        self.nudge.notified().await;
    }

    /// Why packets no longer pass, if they do not.
    pub(super) fn failure(&self) -> Option<String> {
        self.running.as_ref()?.plane.failure()
    }

    pub(super) fn transmit(&self, outbox: &mut Outbox) {
        match &self.running {
            Some(running) => running.plane.transmit(outbox),
            None => outbox.clear(),
        }
    }

    pub(super) fn open_socket(
        &self,
        factory: &SocketFactory,
        id: SocketId,
        request: &SocketRequest,
    ) -> Result<SocketAddr, SocketError> {
        let system = |error: io::Error| SocketError::System(error.to_string());
        let SocketRequest::Udp { remote } = request else {
            return Err(SocketError::System("no transport of this build uses streams".to_owned()));
        };
        let running = self.running.as_ref().ok_or(SocketError::Closed)?;
        let socket = factory.tunnel(*remote).map_err(system)?;
        let local = socket.local_addr().map_err(system)?;
        running.plane.add_socket(id, socket).map_err(system)?;
        Ok(local)
    }

    pub(super) fn remove_socket(&self, id: SocketId) {
        if let Some(running) = &self.running {
            running.plane.remove_socket(id);
        }
    }

    /// Adds what the packet threads counted to what the transport counted.
    pub(super) fn add_counters(&self, stats: &mut TunnelStats) {
        let Some(running) = &self.running else { return };
        let counters = running.plane.counters();
        stats.sent = counters.sent;
        stats.received = counters.received;
        for (reason, count) in counters.drops {
            add(&mut stats.drops, reason, count);
        }
    }
}

/// No tunnel: nothing is sealed, and nothing arrives.
struct Nowhere;

impl Outbound for Nowhere {
    fn seal(&self, run: Run, _: Instant, _: &mut Outbox) -> Sealed {
        Sealed::Dropped(run, DropReason::NoSession, Nudge::None)
    }

    fn mtu(&self) -> usize {
        0
    }
}

impl Inbound for Nowhere {
    fn open(&mut self, _: Received<'_>, _: Instant, _: &mut dyn PacketSink) -> Opened {
        Opened::default()
    }
}

fn add(drops: &mut Vec<(DropReason, u64)>, reason: DropReason, count: u64) {
    match drops.iter_mut().find(|(other, _)| *other == reason) {
        Some((_, total)) => *total += count,
        None if count > 0 => drops.push((reason, count)),
        None => {}
    }
}
