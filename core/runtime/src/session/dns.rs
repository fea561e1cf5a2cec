//! The DNS proxy while it runs, and what it asks by.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use weft_dns::{DnsConfig, HoldId, Learnt, Upstream};
use weft_engine::DnsService;
use weft_model::{DnsLookup, DnsStats, DnsUpstream, DohEndpoint, DomainName, Registration, Secret};
use weft_policy::VerdictSnapshot;

use super::SessionConfig;
use crate::dns_front::{DnsLogRing, DnsProxy, PacketConfig, PacketFront, PacketPort, Resolvers};
use crate::doh::{Dial, DohClient, DohConfig, Inside, Outside};
use crate::flows::TunnelNet;
use crate::sockets::SocketFactory;
use crate::tls::Trust;

/// The place of the DNS proxy, running or not.
pub(super) struct DnsSlot {
    sockets: SocketFactory,
    listen: Vec<SocketAddr>,
    /// Addresses whose packets of the device come by `port`.
    sentinels: Vec<IpAddr>,
    port: Arc<PacketPort>,
    system: Vec<IpAddr>,
    hosts_file: Option<PathBuf>,
    cache_bytes: usize,
    snapshot: Arc<ArcSwap<VerdictSnapshot>>,
    portal: Option<Instant>,
    log: DnsLogRing,
    running: Option<Running>,
}

struct Running {
    proxy: DnsProxy,
    service: DnsService,
    config: DnsConfig,
    resolvers: Resolvers,
    doh: Option<DohClient>,
    _front: Option<PacketFront>,
}

/// The longest packet to and from a sentinel: what every interface takes (RFC 8200, section 5).
const SENTINEL_MTU: u16 = 1280;

impl DnsSlot {
    pub(super) fn new(sockets: SocketFactory, config: SessionConfig, port: Arc<PacketPort>) -> Self {
        let SessionConfig { dns_listen, sentinels, system_dns, hosts_file, dns_cache_bytes, .. } = config;
        Self {
            sockets,
            listen: dns_listen,
            sentinels,
            port,
            system: system_dns,
            hosts_file,
            cache_bytes: dns_cache_bytes,
            snapshot: Arc::default(),
            portal: None,
            log: DnsLogRing::default(),
            running: None,
        }
    }

    /// Says which resolvers the tunnel carries.
    pub(super) fn set_snapshot(&self, snapshot: Arc<VerdictSnapshot>) {
        self.snapshot.store(snapshot);
    }

    pub(super) fn set_system(&mut self, servers: &[IpAddr]) {
        servers.clone_into(&mut self.system);
        let Some(service) = self.running.as_ref().map(|running| running.service.clone()) else { return };
        let config = self.config(&service);
        if let Some(running) = &mut self.running {
            running.set_config(config);
        }
    }

    /// Starts the proxy, or gives the running one other rules.
    pub(super) fn start(
        &mut self,
        service: DnsService,
        registration: Option<&Registration>,
        net: Option<TunnelNet>,
    ) -> Result<(), String> {
        let former = self.running.take();
        let same_way = former.as_ref().is_some_and(|running| {
            running.service.upstream == service.upstream && running.service.inside == service.inside
        });
        let doh = match (&former, &service.upstream) {
            // Its connection goes on serving: the rules are others, not the resolver.
            (Some(running), _) if same_way => running.doh.clone(),
            (_, DnsUpstream::Doh(endpoint)) => {
                let token = registration.and_then(|registration| registration.token.clone());
                Some(self.doh(endpoint, service.inside, token, net.clone())?)
            }
            _ => None,
        };
        let snapshot = Arc::clone(&self.snapshot);
        // The sockets in use and the connections that are open count for the next rules too.
        let known = former.as_ref().map(|running| running.resolvers.clone());
        let mut resolvers = known.unwrap_or_else(|| Resolvers::outside(self.sockets.clone()));
        resolvers.doh.clone_from(&doh);
        resolvers.net = net;
        resolvers.is_tunnelled = Arc::new(move |address| snapshot.load().routes(address));
        let config = self.config(&service);
        self.running = Some(match former {
            Some(mut running) => {
                running.proxy.set_resolve(Arc::new(resolvers.clone()));
                running.set_config(config);
                if !same_way {
                    running.proxy.ask_again();
                }
                Running { service, resolvers, doh, ..running }
            }
            None => {
                let proxy = DnsProxy::start(&self.listen, config.clone(), Arc::new(resolvers.clone()))
                    .map_err(|error| error.to_string())?;
                proxy.set_hosts_file(self.hosts_file.clone());
                proxy.set_portal(self.portal);
                proxy.set_log(self.log.read().on.then(|| self.log.clone()));
                let front = self.front(&proxy)?;
                Running { proxy, service, config, resolvers, doh, _front: front }
            }
        });
        Ok(())
    }

    /// Takes queries out of packets, where there are sentinels.
    fn front(&self, proxy: &DnsProxy) -> Result<Option<PacketFront>, String> {
        if self.sentinels.is_empty() {
            return Ok(None);
        }
        let port = Arc::clone(&self.port);
        let front = proxy.packets(PacketConfig {
            addresses: self.sentinels.clone(),
            mtu: SENTINEL_MTU,
            send: Arc::new(move |run| port.write(run)),
        });
        let front = front.map_err(|error| format!("the DNS front of packets: {error}"))?;
        self.port.set_front(front.packets());
        Ok(Some(front))
    }

    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// The network is another one: whoever waits asks again, over new connections.
    pub(super) fn reset(&self) {
        let Some(running) = &self.running else { return };
        running.proxy.flush();
        if let Some(doh) = &running.doh {
            doh.reset();
        }
    }

    /// Forgets every answer that is kept.
    pub(super) fn forget(&self) {
        if let Some(running) = &self.running {
            running.proxy.forget();
        }
    }

    pub(super) fn set_portal(&mut self, until: Option<Instant>) {
        self.portal = until;
        if let Some(running) = &self.running {
            running.proxy.set_portal(until);
        }
    }

    /// The next answers that wait for their addresses; without a proxy, none ever.
    pub(super) async fn learnt(&self) -> Vec<Learnt> {
        match &self.running {
            Some(running) => running.proxy.learnt().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn release(&self, holds: &[u64], result: &Result<(), String>) {
        if let Some(running) = &self.running {
            let holds: Vec<HoldId> = holds.iter().copied().map(HoldId).collect();
            running.proxy.release(&holds, result);
        }
    }

    /// The log, after it was switched on or off where `on` says so. It outlives the proxy.
    pub(super) fn log(&self, on: Option<bool>) -> &DnsLogRing {
        if let Some(on) = on {
            if let Some(running) = &self.running {
                running.proxy.set_log(on.then(|| self.log.clone()));
            }
            self.log.set(on);
        }
        &self.log
    }

    /// Asks the proxy as a program would; none where it does not run.
    pub(super) fn lookup(
        &self,
        name: &DomainName,
        kind: u16,
    ) -> Option<impl Future<Output = Option<DnsLookup>> + Send + use<>> {
        Some(self.running.as_ref()?.proxy.lookup(name, kind))
    }

    pub(super) fn stats(&self) -> DnsStats {
        self.running.as_ref().map(|running| running.proxy.stats()).unwrap_or_default()
    }

    fn config(&self, service: &DnsService) -> DnsConfig {
        DnsConfig {
            self_addresses: self.listen.iter().map(SocketAddr::ip).chain(self.sentinels.clone()).collect(),
            fallback: service.fallback.clone(),
            upstream: match &service.upstream {
                DnsUpstream::Doh(_) => Upstream::Doh,
                DnsUpstream::Plain { servers, .. } => Upstream::Plain(servers.clone()),
                DnsUpstream::System => Upstream::System,
            },
            system_resolvers: self.system.clone(),
            hosts: service.hosts.clone(),
            hold: service.hold,
            cache_bytes: self.cache_bytes,
            serve_stale: (service.serve_stale > 0).then(|| Duration::from_secs(service.serve_stale.into())),
            prefer_positive: service.prefer_positive,
        }
    }

    /// A client of the gateway's resolver. Inside the tunnel its address is its credential; outside, the token is.
    fn doh(
        &self,
        endpoint: &DohEndpoint,
        inside: bool,
        token: Option<Secret>,
        net: Option<TunnelNet>,
    ) -> Result<DohClient, String> {
        let (dial, port, token): (Box<dyn Dial>, u16, _) = match (inside, net) {
            (true, Some(net)) => {
                (Box::new(Inside { net, remote: endpoint.inside }), endpoint.inside.port(), None)
            }
            (true, None) => return Err("the tunnel is not up".to_owned()),
            (false, _) => {
                let first =
                    endpoint.outside.first().ok_or("the gateway has no resolver outside the tunnel")?;
                let outside = Outside { sockets: self.sockets.clone(), addresses: endpoint.outside.clone() };
                (Box::new(outside), first.port(), token)
            }
        };
        let config = DohConfig {
            name: endpoint.name.clone(),
            port,
            path: endpoint.path.clone(),
            trust: Trust::pinned(endpoint.ca_pem.as_deref()),
            token,
        };
        DohClient::new(config, dial).map_err(|error| error.to_string())
    }
}

impl Running {
    /// The same configuration again would be no reason to forget what is kept.
    fn set_config(&mut self, config: DnsConfig) {
        if self.config != config {
            self.config = config.clone();
            self.proxy.set_config(config);
        }
    }
}
