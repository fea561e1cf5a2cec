//! What the control thread has others do: checks, fetches and the DNS proxy. Each ends with a message to the driver.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use weft_dns::Learnt;
use weft_dns::message::record_type;
use weft_engine::{Check, DnsService, Fetched};
use weft_model::{CheckEndpoints, DnsLookup, DnsStats, DomainName, Registration, UserError};
use weft_policy::VerdictSnapshot;

use super::dns::DnsSlot;
use super::driver::Inward;
use super::{Host, SessionConfig};
use crate::checks;
use crate::dns_front::{DnsLogRing, PacketPort};
use crate::flows::TunnelNet;
use crate::orchestration;
use crate::sockets::{Protect, SocketFactory};

/// Names that a connect looks up at once: a small part of what the DNS engine has in flight.
const LOOKUPS_AT_ONCE: usize = 32;

/// The tasks of a session, and what they need.
pub(super) struct Work {
    inward: mpsc::WeakSender<Inward>,
    factory: SocketFactory,
    net: Option<TunnelNet>,
    dns: DnsSlot,
    /// Grows whenever what is under way no longer matters.
    round: u64,
    /// Checks and the like of this round.
    round_tasks: JoinSet<()>,
    /// A fetch outlives rounds; there is one at most.
    fetch: JoinSet<()>,
}

struct HostProtects(Arc<dyn Host>);

impl Protect for HostProtects {
    fn protect(&self, socket: BorrowedFd<'_>) -> std::io::Result<()> {
        self.0.protect(socket)
    }
}

impl Work {
    pub(super) fn new(
        inward: mpsc::WeakSender<Inward>,
        host: Arc<dyn Host>,
        config: SessionConfig,
        port: Arc<PacketPort>,
    ) -> Self {
        let factory = SocketFactory::new().with_protect(Arc::new(HostProtects(host)));
        let factory = match config.mark {
            Some(mark) => factory.with_mark(mark),
            None => factory,
        };
        Self {
            inward,
            dns: DnsSlot::new(factory.clone(), config, port),
            factory,
            net: None,
            round: 0,
            round_tasks: JoinSet::new(),
            fetch: JoinSet::new(),
        }
    }

    pub(super) fn factory(&self) -> &SocketFactory {
        &self.factory
    }

    pub(super) fn is_current(&self, round: u64) -> bool {
        self.round == round
    }

    /// The tunnel is up, or gone with all that was under way in it.
    pub(super) fn set_tunnel_net(&mut self, net: Option<TunnelNet>) {
        self.net = net;
    }

    pub(super) fn set_system_dns(&mut self, servers: &[IpAddr]) {
        self.dns.set_system(servers);
    }

    pub(super) fn set_snapshot(&self, snapshot: Arc<VerdictSnapshot>) {
        self.dns.set_snapshot(snapshot);
    }

    /// Starts the DNS proxy, or gives the running one other rules.
    pub(super) fn start_dns(&mut self, service: DnsService, registration: Option<&Registration>) {
        let result = self.dns.start(service, registration, self.net.clone());
        let (inward, round) = (self.inward.clone(), self.round);
        self.reap();
        self.round_tasks.spawn(async move { tell(&inward, Inward::DnsService(round, result)).await });
    }

    /// What is under way of this round ends by itself, and nobody hears of it.
    pub(super) fn end_round(&mut self) {
        self.round += 1;
    }

    /// Stops the DNS proxy and everything of this round.
    pub(super) fn stop_dns(&mut self) {
        self.end_round();
        self.round_tasks.abort_all();
        self.round_tasks = JoinSet::new();
        self.dns.stop();
    }

    pub(super) fn reset_dns(&mut self) {
        self.dns.reset();
    }

    /// The next answers whose addresses are to lead the right way first.
    pub(super) async fn learnt(&self) -> Vec<Learnt> {
        self.dns.learnt().await
    }

    pub(super) fn release_answers(&self, holds: &[u64], result: &Result<(), String>) {
        self.dns.release(holds, result);
    }

    pub(super) fn set_portal(&mut self, until: Option<Instant>) {
        self.dns.set_portal(until);
    }

    pub(super) fn flush_dns(&mut self) {
        self.dns.forget();
    }

    pub(super) fn dns_log(&self, on: Option<bool>) -> &DnsLogRing {
        self.dns.log(on)
    }

    /// Looks a name up on the side; the answer goes to who asked.
    pub(super) fn dns_lookup(
        &mut self,
        name: DomainName,
        kind: u16,
        answer: oneshot::Sender<Result<DnsLookup, UserError>>,
    ) {
        self.reap();
        match self.dns.lookup(&name, kind) {
            Some(lookup) => {
                // Whoever asked may have gone away meanwhile.
                let told = async move { drop(answer.send(lookup.await.ok_or(UserError::DnsOff))) };
                self.round_tasks.spawn(told);
            }
            None => drop(answer.send(Err(UserError::DnsOff))),
        }
    }

    /// Looks names up for their addresses, which come by [`learnt`](Self::learnt) as those of any answer do.
    pub(super) fn resolve_hosts(&mut self, names: &[DomainName]) {
        let kinds = names.iter().flat_map(|name| [(name, record_type::A), (name, record_type::AAAA)]);
        let lookups: Vec<_> = kinds.filter_map(|(name, kind)| self.dns.lookup(name, kind)).collect();
        let (inward, round) = (self.inward.clone(), self.round);
        self.reap();
        self.round_tasks.spawn(async move {
            let mut under_way = JoinSet::new();
            for lookup in lookups {
                if under_way.len() >= LOOKUPS_AT_ONCE {
                    under_way.join_next().await;
                }
                under_way.spawn(lookup);
            }
            while under_way.join_next().await.is_some() {}
            tell(&inward, Inward::HostsResolved(round)).await;
        });
    }

    pub(super) fn dns_stats(&self) -> DnsStats {
        self.dns.stats()
    }

    pub(super) fn check(&mut self, check: Check, endpoints: CheckEndpoints) {
        let (inward, round) = (self.inward.clone(), self.round);
        let (factory, net) = (self.factory.clone(), self.net.clone());
        self.reap();
        self.round_tasks.spawn(async move {
            let result = match check {
                Check::Outside => checks::outside(&factory, &endpoints.outside).await,
                Check::Inside => match net {
                    Some(net) => checks::inside(&net, endpoints.inside).await,
                    None => return,
                },
            };
            let result = result.map_err(|error| error.to_string());
            tell(&inward, Inward::Checked(round, check, result)).await;
        });
    }

    /// A finished task keeps its memory until it is joined.
    fn reap(&mut self) {
        while self.round_tasks.try_join_next().is_some() {}
    }

    /// Nobody waits for the fetch under way any more.
    pub(super) fn abandon_fetch(&mut self) {
        self.fetch = JoinSet::new();
    }

    /// Fetches the profile, unless that is under way.
    pub(super) fn fetch(&mut self, registration: Registration) {
        while self.fetch.try_join_next().is_some() {}
        if !self.fetch.is_empty() {
            return;
        }
        let (inward, factory) = (self.inward.clone(), self.factory.clone());
        self.fetch.spawn(async move {
            let fetched = match orchestration::fetch(&factory, &registration).await {
                Ok((device, profile)) => Fetched::Device(Box::new(device), Box::new(profile)),
                Err(error) if error.is_revoked() => Fetched::Revoked,
                Err(error) => Fetched::Failed(error.to_string()),
            };
            if let Fetched::Failed(detail) = &fetched {
                tracing::warn!("the profile could not be fetched: {detail}");
            }
            tell(&inward, Inward::Fetched(registration.id, fetched)).await;
        });
    }
}

async fn tell(inward: &mpsc::WeakSender<Inward>, message: Inward) {
    if let Some(inward) = inward.upgrade() {
        // A session that has stopped has nobody to tell.
        let _stopped = inward.send(message).await;
    }
}
