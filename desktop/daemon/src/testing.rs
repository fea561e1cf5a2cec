//! What several tests need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipnet::IpNet;
use weft_model::{
    DNS_PROXY_ADDRESSES, DnsPlan, FirewallPlan, InterfacePlan, LearntPlan, Opening, Plan, Protocol,
    Registration,
};
use weft_platform::{
    Dns, DnsDescription, DnsRecord, DnsStanding, Firewall, Platform, PlatformError, Restored, Routes,
    SystemDns, TunDevices, Watch,
};

/// A wg-quick file for an endpoint where nobody is, on this very host.
pub(crate) const WG_CONF: &str = "[Interface]\n\
    PrivateKey = qMqVhGHXzEsNPVsrCLbWYvhBlCzFTBWcPKaBJGdNC3c=\nAddress = 172.16.0.2/32\n\
    [Peer]\nPublicKey = HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\n\
    PresharedKey = FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=\n\
    Endpoint = 127.0.0.1:9\nAllowedIPs = 0.0.0.0/0, ::/0\n";

/// A registration with that endpoint.
pub(crate) fn registration() -> Registration {
    weft_model::wg_quick::parse("office", WG_CONF.as_bytes()).unwrap().registration
}

pub(crate) fn network(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// The firewall of a device that is connected, or blocked.
pub(crate) fn enforced() -> FirewallPlan {
    let remote = "203.0.113.10:2408".parse().unwrap();
    FirewallPlan::Enforced {
        tunnelled: vec![network("198.51.100.0/24")],
        openings: vec![Opening { purpose: "tunnel".into(), protocol: Protocol::Udp, remote }],
    }
}

/// The plan of a connected device.
pub(crate) fn connected(number: u64) -> Plan {
    Plan {
        firewall: enforced(),
        interface: Some(InterfacePlan {
            addresses: vec![network("172.16.0.2/32")],
            mtu: 1280,
            metered: false,
        }),
        routes: vec![network("198.51.100.0/24")],
        dns: Some(DnsPlan { servers: DNS_PROXY_ADDRESSES.to_vec(), search: Vec::new() }),
        ..Plan::disconnected(number)
    }
}

/// The plan of a device on its way up.
pub(crate) fn connecting(number: u64) -> Plan {
    Plan { dns: None, ..connected(number) }
}

/// Kills whoever uses the platform at one moment: before or after one of its steps. The system keeps what was done.
#[derive(Clone)]
pub(crate) struct Doom {
    moments: Arc<AtomicUsize>,
}

/// What a [`Doom`] panics with.
pub(crate) struct Killed;

impl Doom {
    /// At the moment of this number, from 0: even ones are before a step, odd ones after it.
    pub(crate) fn at(moment: usize) -> Self {
        Self { moments: Arc::new(AtomicUsize::new(moment)) }
    }

    /// `platform`, doomed.
    pub(crate) fn platform(&self, platform: Platform) -> Platform {
        let Platform { tun, routes, firewall, dns } = platform;
        Platform {
            tun: Box::new(Doomed(self.clone(), tun)),
            routes: Box::new(Doomed(self.clone(), routes)),
            firewall: Box::new(Doomed(self.clone(), firewall)),
            dns: Box::new(Doomed(self.clone(), dns)),
        }
    }

    fn pass(&self) {
        if self.moments.load(Ordering::SeqCst) == 0 {
            // Without the panic hook: this one is meant.
            std::panic::resume_unwind(Box::new(Killed));
        }
        self.moments.fetch_sub(1, Ordering::SeqCst);
    }

    fn around<T>(&self, step: impl FnOnce() -> T) -> T {
        self.pass();
        let result = step();
        self.pass();
        result
    }
}

struct Doomed<T>(Doom, T);

impl TunDevices for Doomed<Box<dyn TunDevices>> {
    fn ensure(&mut self, plan: &InterfacePlan) -> Result<Option<std::os::fd::OwnedFd>, PlatformError> {
        self.0.around(|| self.1.ensure(plan))
    }

    fn remove(&mut self) -> Result<(), PlatformError> {
        self.0.around(|| self.1.remove())
    }

    fn preflight(&self) -> Result<(), PlatformError> {
        self.1.preflight()
    }
}

impl Routes for Doomed<Box<dyn Routes>> {
    fn preflight(&self) -> Result<(), PlatformError> {
        self.1.preflight()
    }

    fn apply(&mut self, routes: &[IpNet], learnt: &LearntPlan) -> Result<(), PlatformError> {
        self.0.around(|| self.1.apply(routes, learnt))
    }

    fn clear(&mut self) -> Result<(), PlatformError> {
        self.0.around(|| self.1.clear())
    }
}

impl Firewall for Doomed<Box<dyn Firewall>> {
    fn preflight(&self) -> Result<(), PlatformError> {
        self.1.preflight()
    }

    fn apply(
        &mut self,
        plan: &FirewallPlan,
        learnt: &LearntPlan,
        addresses: &[IpNet],
    ) -> Result<(), PlatformError> {
        self.0.around(|| self.1.apply(plan, learnt, addresses))
    }

    fn clear(&mut self) -> Result<(), PlatformError> {
        self.0.around(|| self.1.clear())
    }

    fn stands(&self) -> Result<bool, PlatformError> {
        self.1.stands()
    }

    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        self.1.watch(tell)
    }

    fn describe(&self) -> Result<String, PlatformError> {
        self.1.describe()
    }
}

impl Dns for Doomed<Box<dyn Dns>> {
    fn preflight(&self) -> Result<(), PlatformError> {
        self.1.preflight()
    }

    fn system(&self, record: Option<&DnsRecord>) -> Result<SystemDns, PlatformError> {
        self.1.system(record)
    }

    fn snapshot(&self) -> Result<DnsRecord, PlatformError> {
        self.1.snapshot()
    }

    fn prepare(&self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        self.1.prepare(plan, record)
    }

    fn apply(&mut self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError> {
        self.0.around(|| self.1.apply(plan, record))
    }

    fn restore(&mut self, record: &DnsRecord) -> Result<Restored, PlatformError> {
        self.0.around(|| self.1.restore(record))
    }

    fn standing(&self, record: &DnsRecord) -> Result<DnsStanding, PlatformError> {
        self.1.standing(record)
    }

    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        self.1.watch(tell)
    }

    fn describe(&self, record: Option<&DnsRecord>) -> DnsDescription {
        self.1.describe(record)
    }

    fn claim_addresses(&mut self) -> Result<Vec<std::net::IpAddr>, PlatformError> {
        self.0.around(|| self.1.claim_addresses())
    }

    fn release_addresses(&mut self) -> Result<(), PlatformError> {
        self.0.around(|| self.1.release_addresses())
    }
}
