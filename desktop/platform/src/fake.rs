//! A system in memory, for the tests of whoever applies plans: it keeps what it was told, notes each call in order, and
//! fails where a test says so. Its DNS settings go through the same code as a real system's.

mod dns;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use dns::DnsKeeper;
use ipnet::IpNet;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use weft_model::settings::SplitTunnelMode;
use weft_model::{FirewallPlan, InterfacePlan, LearntPlan, NetworkState};

use crate::error::PlatformError;
use crate::record::Before;
use crate::seam::{Firewall, NetworkMonitor, Platform, Routes, TunDevices, Watch};

/// A step that changes the system, or asks whether it could be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// [`Platform::preflight`], in any of its parts but the firewall.
    Preflight,
    /// [`Firewall::preflight`].
    FirewallPreflight,
    /// [`TunDevices::ensure`].
    TunEnsure,
    /// [`TunDevices::remove`].
    TunRemove,
    /// [`Routes::apply`].
    RoutesApply,
    /// [`Routes::clear`].
    RoutesClear,
    /// [`Firewall::apply`].
    FirewallApply,
    /// [`Firewall::clear`].
    FirewallClear,
    /// What [`crate::Dns::apply`] and [`crate::Dns::restore`] write.
    DnsWrite,
    /// [`crate::Dns::claim_addresses`].
    DnsClaim,
    /// [`crate::Dns::release_addresses`].
    DnsRelease,
    /// [`crate::Dns::snapshot`].
    DnsSnapshot,
    /// [`crate::Dns::standing`].
    DnsStanding,
}

impl Step {
    /// Whether it changes the system.
    fn changes(self) -> bool {
        !matches!(self, Self::Preflight | Self::FirewallPreflight | Self::DnsSnapshot | Self::DnsStanding)
    }
}

/// What the fake system holds. Its fields are a test's to read and, between steps, to change.
#[derive(Debug, Clone)]
pub struct State {
    /// The tunnel interface.
    pub interface: Option<InterfacePlan>,
    /// The destinations that are led into it.
    pub routes: Vec<IpNet>,
    /// The learnt addresses that have routes of their own.
    pub learnt_routes: LearntPlan,
    /// The firewall.
    pub firewall: FirewallPlan,
    /// The learnt addresses that it knows.
    pub learnt: LearntPlan,
    /// The addresses that the firewall guards.
    pub guarded: Vec<IpNet>,
    /// The resolver settings' file.
    pub resolv_conf: Before,
    /// Who keeps the DNS settings.
    pub dns_keeper: DnsKeeper,
    /// Whether the DNS proxy's addresses are the device's own.
    pub claimed: bool,
    /// The primary path.
    pub network: NetworkState,
    /// Every step so far, in order, the failed ones among them; what only asks is left out.
    pub steps: Vec<Step>,
}

type Tell = Box<dyn FnMut(NetworkState) + Send>;

struct Inner {
    state: State,
    failures: VecDeque<(Step, String)>,
    far_end: Option<OwnedFd>,
    watchers: Vec<(u64, Tell)>,
    firewall_watchers: Vec<(u64, Arc<dyn Fn() + Send + Sync>)>,
    dns_watchers: Vec<(u64, Arc<dyn Fn() + Send + Sync>)>,
    next_watcher: u64,
    /// Watchers that ended while they were told.
    ended: Vec<u64>,
}

/// The fake system, seen from the test. Copies share it.
#[derive(Clone)]
pub struct FakeSystem(Arc<Mutex<Inner>>);

/// A fake system, and the platform that stands on it. At first it has a network by `eth0` and two resolvers.
#[must_use]
pub fn platform() -> (Platform, FakeSystem) {
    let content =
        b"# the fake system's own\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch lan\n".to_vec();
    let state = State {
        interface: None,
        routes: Vec::new(),
        learnt_routes: LearntPlan::default(),
        firewall: FirewallPlan::Open,
        learnt: LearntPlan::default(),
        guarded: Vec::new(),
        resolv_conf: Before::File { content, mode: 0o644, uid: 0, gid: 0 },
        dns_keeper: DnsKeeper::none(),
        claimed: false,
        network: NetworkState {
            interface: Some("eth0".to_owned()),
            gateway: Some(IpAddr::from([192, 0, 2, 1])),
            has_v4: true,
            has_v6: false,
        },
        steps: Vec::new(),
    };
    let inner = Inner {
        state,
        failures: VecDeque::new(),
        far_end: None,
        watchers: Vec::new(),
        firewall_watchers: Vec::new(),
        dns_watchers: Vec::new(),
        next_watcher: 0,
        ended: Vec::new(),
    };
    let system = FakeSystem(Arc::new(Mutex::new(inner)));
    let platform = system.platform();
    (platform, system)
}

impl FakeSystem {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A platform on this system, as another process has it.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            tun: Box::new(FakePart(self.clone())),
            routes: Box::new(FakePart(self.clone())),
            firewall: Box::new(FakePart(self.clone())),
            dns: self.dns(),
        }
    }

    /// What the system holds now.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().state.clone()
    }

    /// Changes what the system holds, as another program would.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock().state);
    }

    /// What resolv.conf holds now.
    #[must_use]
    pub fn resolv_conf(&self) -> String {
        String::from_utf8_lossy(self.lock().state.resolv_conf.content()).into_owned()
    }

    /// The steps since this was last asked, in order.
    #[must_use]
    pub fn take_steps(&self) -> Vec<Step> {
        std::mem::take(&mut self.lock().state.steps)
    }

    /// Makes the next such step fail with `reason` and change nothing. Asked twice, the next two fail.
    pub fn fail_next(&self, step: Step, reason: &str) {
        self.lock().failures.push_back((step, reason.to_owned()));
    }

    /// The far end of the newest tunnel interface: what is written here, the interface's reader gets, and back; one
    /// message a packet.
    #[must_use]
    pub fn take_far_end(&self) -> Option<OwnedFd> {
        self.lock().far_end.take()
    }

    /// Whether nothing of Weft's is left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let state = self.state();
        state.interface.is_none()
            && state.routes.is_empty()
            && state.learnt_routes.addresses.is_empty()
            && state.firewall == FirewallPlan::Open
            && !state.claimed
            && ![&state.resolv_conf, &state.dns_keeper.settings]
                .iter()
                .any(|settings| crate::resolv_conf::is_ours(settings.content()))
    }

    /// A monitor of this system's network.
    #[must_use]
    pub fn monitor(&self) -> Box<dyn NetworkMonitor> {
        Box::new(FakePart(self.clone()))
    }

    /// Moves the device to another network, and tells whoever watches on this very thread. The same one is no event.
    pub fn set_network(&self, network: NetworkState) {
        let mut watchers = {
            let mut inner = self.lock();
            if inner.state.network == network {
                return;
            }
            inner.state.network = network.clone();
            std::mem::take(&mut inner.watchers)
        };
        for (_, tell) in &mut watchers {
            tell(network.clone());
        }
        let mut inner = self.lock();
        watchers.append(&mut inner.watchers);
        let ended = std::mem::take(&mut inner.ended);
        watchers.retain(|(number, _)| !ended.contains(number));
        inner.watchers = watchers;
    }

    /// Removes the firewall, as another program does that flushes all there is, and tells whoever watches it.
    pub fn flush_firewall(&self) {
        let watchers = {
            let mut inner = self.lock();
            inner.state.firewall = FirewallPlan::Open;
            inner.state.learnt = LearntPlan::default();
            inner.firewall_watchers.clone()
        };
        watchers.iter().for_each(|(_, tell)| tell());
    }

    /// Notes a step; its failure, where a test wants one.
    fn step(&self, step: Step) -> Result<MutexGuard<'_, Inner>, PlatformError> {
        let mut inner = self.lock();
        if step.changes() {
            inner.state.steps.push(step);
        }
        match inner.failures.iter().position(|(failing, _)| *failing == step) {
            Some(index) => {
                let reason = inner.failures.remove(index).map(|(_, reason)| reason).unwrap_or_default();
                Err(PlatformError::system(format!("{step:?}"), std::io::Error::other(reason)))
            }
            None => Ok(inner),
        }
    }
}

impl std::fmt::Debug for FakeSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakeSystem({:?})", self.lock().state)
    }
}

struct FakePart(FakeSystem);

impl TunDevices for FakePart {
    fn ensure(&mut self, plan: &InterfacePlan) -> Result<Option<OwnedFd>, PlatformError> {
        let mut inner = self.0.step(Step::TunEnsure)?;
        let made = match inner.state.interface {
            Some(_) => None,
            None => {
                let (near, far) =
                    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                        .map_err(|error| PlatformError::system("making the fake interface", error))?;
                inner.far_end = Some(far);
                Some(near)
            }
        };
        inner.state.interface = Some(plan.clone());
        Ok(made)
    }

    fn remove(&mut self) -> Result<(), PlatformError> {
        let mut inner = self.0.step(Step::TunRemove)?;
        inner.state.interface = None;
        // The system takes an interface's routes along, and leaves those that lead into none.
        inner.state.routes.clear();
        if inner.state.learnt_routes.mode == SplitTunnelMode::Include {
            inner.state.learnt_routes = LearntPlan::default();
        }
        inner.far_end = None;
        Ok(())
    }

    fn preflight(&self) -> Result<(), PlatformError> {
        self.0.step(Step::Preflight).map(drop)
    }
}

impl Routes for FakePart {
    fn preflight(&self) -> Result<(), PlatformError> {
        self.0.step(Step::Preflight).map(drop)
    }

    fn apply(&mut self, routes: &[IpNet], learnt: &LearntPlan) -> Result<(), PlatformError> {
        let mut inner = self.0.step(Step::RoutesApply)?;
        if inner.state.interface.is_none() && !routes.is_empty() {
            return Err(PlatformError::InterfaceMissing { name: weft_model::INTERFACE_NAME.to_owned() });
        }
        inner.state.routes = routes.to_vec();
        inner.state.learnt_routes = learnt.clone();
        Ok(())
    }

    fn clear(&mut self) -> Result<(), PlatformError> {
        let mut inner = self.0.step(Step::RoutesClear)?;
        inner.state.routes.clear();
        inner.state.learnt_routes = LearntPlan::default();
        Ok(())
    }
}

impl Firewall for FakePart {
    fn preflight(&self) -> Result<(), PlatformError> {
        self.0.step(Step::FirewallPreflight).map(drop)
    }

    fn apply(
        &mut self,
        plan: &FirewallPlan,
        learnt: &LearntPlan,
        addresses: &[IpNet],
    ) -> Result<(), PlatformError> {
        let mut inner = self.0.step(Step::FirewallApply)?;
        inner.state.firewall = plan.clone();
        inner.state.learnt = learnt.clone();
        inner.state.guarded = addresses.to_vec();
        Ok(())
    }

    fn clear(&mut self) -> Result<(), PlatformError> {
        let mut inner = self.0.step(Step::FirewallClear)?;
        inner.state.firewall = FirewallPlan::Open;
        inner.state.learnt = LearntPlan::default();
        inner.state.guarded.clear();
        Ok(())
    }

    fn stands(&self) -> Result<bool, PlatformError> {
        Ok(self.0.lock().state.firewall != FirewallPlan::Open)
    }

    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        tell();
        let mut inner = self.0.lock();
        let number = inner.next_watcher;
        inner.next_watcher += 1;
        inner.firewall_watchers.push((number, Arc::from(tell)));
        let system = self.0.clone();
        Ok(Watch::new(move || system.lock().firewall_watchers.retain(|(watcher, _)| *watcher != number)))
    }

    fn describe(&self) -> Result<String, PlatformError> {
        Ok(format!("{:?}", self.0.lock().state.firewall))
    }
}

impl NetworkMonitor for FakePart {
    fn state(&self) -> Result<NetworkState, PlatformError> {
        Ok(self.0.lock().state.network.clone())
    }

    fn watch(&self, mut tell: Tell) -> Result<Watch, PlatformError> {
        let network = self.0.lock().state.network.clone();
        tell(network);
        let mut inner = self.0.lock();
        let number = inner.next_watcher;
        inner.next_watcher += 1;
        inner.watchers.push((number, tell));
        let system = self.0.clone();
        Ok(Watch::new(move || {
            let mut inner = system.lock();
            inner.watchers.retain(|(watcher, _)| *watcher != number);
            inner.ended.push(number);
        }))
    }
}

#[cfg(test)]
#[path = "fake_tests.rs"]
mod tests;
