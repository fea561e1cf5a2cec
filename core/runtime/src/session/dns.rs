//! The DNS proxy while it runs, and what it asks by.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_dns::{DnsConfig, Upstream};
use weft_engine::DnsService;
use weft_model::{DnsStats, DnsUpstream, DohEndpoint, Registration, Secret};
use weft_policy::VerdictSnapshot;

use crate::dns_front::{DnsProxy, Resolvers};
use crate::doh::{Dial, DohClient, DohConfig, Inside, Outside};
use crate::flows::TunnelNet;
use crate::sockets::SocketFactory;
use crate::tls::Trust;

/// The place of the DNS proxy, running or not.
pub(super) struct DnsSlot {
    sockets: SocketFactory,
    listen: Vec<SocketAddr>,
    system: Vec<IpAddr>,
    snapshot: Arc<ArcSwap<VerdictSnapshot>>,
    running: Option<Running>,
}

struct Running {
    proxy: DnsProxy,
    service: DnsService,
    doh: Option<DohClient>,
}

impl DnsSlot {
    pub(super) fn new(sockets: SocketFactory, listen: Vec<SocketAddr>, system: Vec<IpAddr>) -> Self {
        Self { sockets, listen, system, snapshot: Arc::default(), running: None }
    }

    /// Says which resolvers the tunnel carries.
    pub(super) fn set_snapshot(&self, snapshot: Arc<VerdictSnapshot>) {
        self.snapshot.store(snapshot);
    }

    pub(super) fn set_system(&mut self, servers: &[IpAddr]) {
        servers.clone_into(&mut self.system);
        if let Some(running) = &self.running {
            running.proxy.set_config(self.config(&running.service));
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
        let doh = match (&former, &service.upstream) {
            // Its connection goes on serving: the rules are others, not the resolver.
            (Some(running), upstream) if running.service.upstream == *upstream => running.doh.clone(),
            (_, DnsUpstream::Doh(endpoint)) => {
                let token = registration.and_then(|registration| registration.token.clone());
                Some(self.doh(endpoint, service.inside, token, net.clone())?)
            }
            _ => None,
        };
        let snapshot = Arc::clone(&self.snapshot);
        let mut resolvers = Resolvers::outside(self.sockets.clone());
        resolvers.doh.clone_from(&doh);
        resolvers.net = net;
        resolvers.is_tunnelled = Arc::new(move |address| snapshot.load().routes(address));
        let config = self.config(&service);
        let proxy = match former {
            Some(Running { proxy, .. }) => {
                proxy.set_resolve(Arc::new(resolvers));
                proxy.set_config(config);
                proxy
            }
            None => DnsProxy::start(&self.listen, config, Arc::new(resolvers))
                .map_err(|error| error.to_string())?,
        };
        self.running = Some(Running { proxy, service, doh });
        Ok(())
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

    pub(super) fn stats(&self) -> DnsStats {
        self.running.as_ref().map(|running| running.proxy.stats()).unwrap_or_default()
    }

    fn config(&self, service: &DnsService) -> DnsConfig {
        DnsConfig {
            self_addresses: self.listen.iter().map(SocketAddr::ip).collect(),
            fallback: service.fallback.clone(),
            upstream: match &service.upstream {
                DnsUpstream::Doh(_) => Upstream::Doh,
                DnsUpstream::Plain { servers, .. } => Upstream::Plain(servers.clone()),
                DnsUpstream::System => Upstream::System,
            },
            system_resolvers: self.system.clone(),
            ..DnsConfig::default()
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
