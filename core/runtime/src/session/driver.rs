//! The control thread: one loop that feeds the engine what happened and carries out what it asks for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use weft_dns::Learnt;
use weft_engine::{Check, Effect, Engine, EngineConfig, Fetched};
use weft_model::{
    AddressExplanation, Command, DnsLog, DnsLookup, DomainName, Event, HostExplanation, LocalPolicy,
    NetworkState, PlanNumber, Profile, Registration, Settings, Stats, Status, UserError,
};
use weft_tunnel::{Outbox, SocketId, SocketRequest};

use super::events::Events;
use super::tunnel::{DeviceInbox, TunnelSlot};
use super::work::Work;
use super::{Host, SessionConfig};
use crate::dns_front::DnsLogReader;
use crate::sleep::{Sleep, asleep};
use crate::transport_maker::transport_maker;

/// What reaches the control thread.
pub(super) enum Inward {
    Command(Command, oneshot::Sender<Result<(), UserError>>),
    Plan(PlanNumber, Result<(), String>, oneshot::Sender<()>),
    Network(NetworkState),
    Woke,
    /// The system took the tunnel interface away for good.
    InterfaceRevoked,
    Managed(Box<LocalPolicy>, oneshot::Sender<Result<(), UserError>>),
    ExplainHost(DomainName, oneshot::Sender<HostExplanation>),
    ExplainAddress(IpAddr, oneshot::Sender<AddressExplanation>),
    SystemDns(Vec<IpAddr>),
    Registration(Option<Box<(Registration, Option<Profile>)>>),
    Status(oneshot::Sender<Status>),
    Settings(oneshot::Sender<Settings>),
    Stats(oneshot::Sender<Stats>),
    DnsLookup(DomainName, u16, oneshot::Sender<Result<DnsLookup, UserError>>),
    DnsLog(Option<bool>, oneshot::Sender<DnsLog>),
    FollowDnsLog(usize, oneshot::Sender<DnsLogReader>),
    DnsFlush(oneshot::Sender<()>),
    Portal(bool),
    /// A check has ended. The number tells it from one that was asked for before.
    Checked(u64, Check, Result<(), String>),
    DnsService(u64, Result<(), String>),
    /// The names that were asked for are looked up.
    HostsResolved(u64),
    /// A fetch for the registration of this identifier has ended.
    Fetched(String, Fetched),
}

/// How long the system may sleep before the far side is to be proven anew: by then, keys are to be renewed (WireGuard,
/// section 6.2) and NAT may have forgotten the way back (RFC 4787, section 4.3). A phone sleeps for moments all the time.
const LONG_SLEEP: Duration = Duration::from_secs(120);

/// The engine and everything that it steers.
pub(super) struct Driver {
    engine: Engine,
    host: Arc<dyn Host>,
    events: Arc<Events>,
    devices: Arc<DeviceInbox>,
    tunnel: TunnelSlot,
    work: Work,
    outbox: Outbox,
    sleep: Sleep,
    /// The plan by which the shell removes the tunnel interface; none where the last one asks for one.
    removed_by: Option<PlanNumber>,
}

impl Driver {
    pub(super) fn new(
        config: SessionConfig,
        host: Arc<dyn Host>,
        events: Arc<Events>,
        devices: Arc<DeviceInbox>,
        inward: mpsc::WeakSender<Inward>,
    ) -> Self {
        let SessionConfig { registration, profile, user, system_dns, sentinels, .. } = &config;
        let engine = Engine::new(EngineConfig {
            registration: registration.clone(),
            profile: profile.clone(),
            user: user.clone(),
            system_dns: system_dns.clone(),
            sentinels: sentinels.clone(),
            make_transport: transport_maker(),
        });
        let tunnel = TunnelSlot::default();
        let work = Work::new(inward, Arc::clone(&host), config, tunnel.port());
        let (outbox, sleep) = (Outbox::new(), Sleep::longer_than(LONG_SLEEP, asleep));
        Self { engine, host, events, devices, tunnel, work, outbox, sleep, removed_by: None }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Inward>) {
        loop {
            self.settle();
            let deadline = self.engine.poll_timeout().map(|deadline| deadline.at);
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => {
                        self.learn_first(&message).await;
                        self.handle(message);
                    }
                    None => return,
                },
                () = self.devices.given() => self.take_device(),
                () = self.tunnel.nudged() => self.nudged(),
                learnt = self.work.learnt() => self.learnt(&learnt),
                () = sleep_until(deadline) => self.engine.handle_timeout(Instant::now()),
            }
            // Whatever it was that ended a sleep comes here first: nothing need watch for one.
            if self.sleep.is_over() {
                self.engine.handle_wake(Instant::now());
            }
        }
    }

    /// What look-ups have found comes before the word that they are done.
    async fn learn_first(&mut self, message: &Inward) {
        if !matches!(message, Inward::HostsResolved(_)) {
            return;
        }
        loop {
            let learnt = tokio::select! {
                biased;
                learnt = self.work.learnt() => learnt,
                () = std::future::ready(()) => return,
            };
            self.learnt(&learnt);
        }
    }

    fn learnt(&mut self, answers: &[Learnt]) {
        let now = Instant::now();
        for Learnt { hold, addresses } in answers {
            let addresses: Vec<_> = addresses.iter().map(|learnt| (learnt.address, learnt.ttl)).collect();
            self.engine.handle_learnt(hold.0, &addresses, now);
        }
    }

    fn nudged(&mut self) {
        let now = Instant::now();
        match self.tunnel.failure() {
            // Where the shell makes the interface anew, the former may go before the next is handed over.
            Some(_) if self.engine.awaits_plan() => {}
            Some(detail) => {
                // Whatever comes next needs a descriptor that works.
                self.detach();
                self.engine.handle_tunnel_failed(detail, now);
            }
            None => self.engine.handle_nudge(now),
        }
    }

    fn detach(&mut self) {
        self.tunnel.detach();
        self.devices.detached(self.tunnel.has_device());
    }

    fn take_device(&mut self) {
        if let Some(device) = self.devices.take() {
            self.tunnel.attach(device);
        }
    }

    fn handle(&mut self, message: Inward) {
        // A plan that is acknowledged rests on the device that was given before.
        self.take_device();
        let now = Instant::now();
        match message {
            Inward::Command(command, answer) => {
                let mode_before = self.engine.user_choices().clone();
                let result = self.engine.handle_command(command, now);
                if *self.engine.user_choices() != mode_before {
                    self.store();
                }
                // The shell may have gone away meanwhile.
                let _gone = answer.send(result);
            }
            Inward::Plan(number, result, answer) => {
                self.plan_done(number, result, now);
                let _gone = answer.send(());
            }
            Inward::Network(network) => self.engine.handle_network(network, now),
            Inward::Woke => self.engine.handle_wake(now),
            Inward::InterfaceRevoked => {
                self.detach();
                self.engine.handle_interface_revoked(now);
            }
            Inward::Managed(policy, answer) => {
                drop(answer.send(self.engine.set_local_policy(*policy, now)));
            }
            Inward::ExplainHost(name, answer) => drop(answer.send(self.engine.explain_host(&name))),
            Inward::ExplainAddress(address, answer) => {
                drop(answer.send(self.engine.explain_address(address)));
            }
            Inward::SystemDns(servers) => {
                self.work.set_system_dns(&servers);
                self.engine.handle_system_dns(servers, now);
            }
            Inward::Registration(registration) => {
                self.work.abandon_fetch();
                self.engine.set_registration(registration.map(|boxed| *boxed), now);
            }
            Inward::Status(answer) => drop(answer.send(self.engine.status(now))),
            Inward::Settings(answer) => drop(answer.send(self.engine.settings().clone())),
            Inward::Stats(answer) => drop(answer.send(self.stats(now))),
            Inward::DnsLookup(name, kind, answer) => self.work.dns_lookup(name, kind, answer),
            Inward::DnsLog(on, answer) => drop(answer.send(self.work.dns_log(on).read())),
            Inward::FollowDnsLog(count, answer) => drop(answer.send(self.work.dns_log(None).follow(count))),
            Inward::DnsFlush(answer) => {
                self.work.flush_dns();
                let _gone = answer.send(());
            }
            Inward::Portal(open) => self.engine.set_captive_portal(open, now),
            Inward::Checked(round, check, result) => {
                if self.work.is_current(round) {
                    self.engine.handle_check(check, result, now);
                }
            }
            Inward::DnsService(round, result) => {
                if self.work.is_current(round) {
                    self.engine.handle_dns_service(result, now);
                }
            }
            Inward::HostsResolved(round) => {
                if self.work.is_current(round) {
                    self.engine.handle_hosts_resolved(now);
                }
            }
            Inward::Fetched(id, fetched) => self.fetched(&id, fetched, now),
        }
    }

    fn fetched(&mut self, id: &str, fetched: Fetched, now: Instant) {
        // What the gateway says of a registration that is gone concerns nobody.
        if self.engine.registration().is_none_or(|registration| registration.id != id) {
            return;
        }
        let stores = matches!(fetched, Fetched::Device(..));
        self.engine.handle_profile(fetched, now);
        if stores {
            self.store();
        }
    }

    fn plan_done(&mut self, number: PlanNumber, result: Result<(), String>, now: Instant) {
        if result.is_ok() && self.removed_by.is_some_and(|removes| number >= removes) {
            // The shell has removed the interface; the descriptor leads nowhere.
            self.detach();
        }
        self.engine.handle_plan(number, result, now);
        // A tunnel whose interface that plan has taken away may be stopped by it.
        self.settle();
        if self.tunnel.failure().is_some() {
            self.nudged();
        }
    }

    /// Carries out everything that the engine asks for, and what comes of it.
    fn settle(&mut self) {
        loop {
            let Some(effect) = self.engine.poll_effect() else {
                self.engine.poll_transmit(Instant::now(), &mut self.outbox);
                self.tunnel.transmit(&mut self.outbox);
                return;
            };
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Event(event) => {
                if let Event::Plan(plan) = &event {
                    match plan.interface {
                        Some(_) => self.removed_by = None,
                        // A later one without removes it no more than the first.
                        None => drop(self.removed_by.get_or_insert(plan.number)),
                    }
                }
                self.events.push(event);
            }
            Effect::StartTunnel { outbound, inbound, addresses, mtu } => {
                match self.tunnel.start(outbound, inbound, &addresses, mtu) {
                    Ok(net) => self.work.set_tunnel_net(Some(net)),
                    Err(detail) => self.engine.handle_tunnel_failed(detail, Instant::now()),
                }
            }
            Effect::StartFront => {
                if let Err(detail) = self.tunnel.start_front() {
                    self.engine.handle_tunnel_failed(detail, Instant::now());
                }
            }
            Effect::StopTunnel => {
                self.work.set_tunnel_net(None);
                self.tunnel.stop();
            }
            Effect::OpenSocket(id, request) => self.open_socket(id, &request),
            Effect::CloseSocket(id) => self.tunnel.remove_socket(id),
            Effect::Verdicts(snapshot) => {
                self.work.set_snapshot(Arc::clone(&snapshot));
                self.tunnel.set_verdicts(snapshot);
            }
            Effect::StartDns(service) => self.work.start_dns(*service, self.engine.registration()),
            Effect::StopDns => self.work.stop_dns(),
            Effect::EndRound => self.work.end_round(),
            Effect::ResolveHosts(names) => self.work.resolve_hosts(&names),
            Effect::ResetDns => self.work.reset_dns(),
            Effect::ReleaseAnswers { holds, result } => self.work.release_answers(&holds, &result),
            Effect::Portal(until) => self.work.set_portal(until),
            Effect::Check(check, endpoints) => self.work.check(check, endpoints),
            Effect::FetchProfile => {
                if let Some(registration) = self.engine.registration() {
                    self.work.fetch(registration.clone());
                }
            }
        }
    }

    fn open_socket(&mut self, id: SocketId, request: &SocketRequest) {
        let opened = self.tunnel.open_socket(self.work.factory(), id, request);
        self.engine.handle_socket(id, opened, Instant::now());
    }

    fn stats(&self, now: Instant) -> Stats {
        let mut tunnel = self.engine.tunnel_stats(now).unwrap_or_default();
        self.tunnel.add_counters(&mut tunnel);
        Stats { tunnel, dns: self.work.dns_stats() }
    }

    fn store(&self) {
        let Some(registration) = self.engine.registration() else { return };
        let stored = self.host.store(registration, self.engine.profile(), self.engine.user_choices());
        if let Err(error) = stored {
            tracing::warn!("the registration could not be stored: {error}");
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
