//! The engine's face: what happened goes in, what is to be done comes out.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use weft_model::profile::{ServiceMode, TunnelProtocol};
use weft_model::settings::UserChoices;
use weft_model::{
    Command, ConnectStage, DnsUpstream, Event, Gateway, LocalPolicy, NetworkState, PlanNumber, Profile,
    Reason, Registration, RegistrationSource, Settings, Status, TunnelStats, UserError,
};
use weft_tunnel::{Control, Deadline, Outbox, SocketError, SocketId, Transport, TransportEvent};

use crate::effect::{Check, Effect};
use crate::learning::{Keeps, Learning};
use crate::lifecycle::{Cause, Phase, Proof};
use crate::plans::Plans;
use crate::timers::{TimerKind, Timers, timer};

/// What a transport is made from.
pub struct TransportRequest<'a> {
    /// Who this device is.
    pub registration: &'a Registration,
    /// The gateway to reach.
    pub gateway: &'a Gateway,
    /// The tunnel interface's MTU in bytes.
    pub mtu: u16,
    /// The moment.
    pub now: Instant,
}

/// Makes the transport that the settings choose. The runtime gives one, since it has the random numbers and the
/// calendar; tests give another.
pub type TransportMaker = Box<dyn FnMut(TransportRequest<'_>) -> Transport + Send>;

/// What an engine starts with.
pub struct EngineConfig {
    /// Who this device is; none = not registered.
    pub registration: Option<Registration>,
    /// The last profile that the gateway delivered.
    pub profile: Option<Profile>,
    /// What the user has chosen.
    pub user: UserChoices,
    /// The resolvers that the device has besides Weft.
    pub system_dns: Vec<IpAddr>,
    /// The DNS front's addresses inside the tunnel interface, on systems whose queries come by it (mobile). There
    /// learnt addresses are routes, and a plan with other ones is dear: they are made at most once in
    /// 10 s. Empty: queries come by the loopback interface.
    pub sentinels: Vec<IpAddr>,
    /// Makes transports.
    pub make_transport: TransportMaker,
}

/// What became of an [`Effect::FetchProfile`].
#[derive(Debug, Clone, PartialEq)]
pub enum Fetched {
    /// The gateway's answer, checked.
    Device(Box<Registration>, Box<Profile>),
    /// The gateway does not know the device any more.
    Revoked,
    /// It could not be fetched; the last one stays in force.
    Failed(String),
}

/// The device's state machine. After any `handle_*` call, poll [`poll_effect`](Self::poll_effect) until it is empty,
/// then [`poll_transmit`](Self::poll_transmit), then [`poll_timeout`](Self::poll_timeout).
pub struct Engine {
    pub(crate) registration: Option<Registration>,
    pub(crate) profile: Option<Profile>,
    pub(crate) user: UserChoices,
    pub(crate) policy: LocalPolicy,
    pub(crate) system_dns: Vec<IpAddr>,
    pub(crate) sentinels: Vec<IpAddr>,
    pub(crate) make_transport: TransportMaker,
    pub(crate) settings: Settings,
    pub(crate) transport: Option<Box<dyn Control>>,
    pub(crate) phase: Phase,
    pub(crate) plans: Plans,
    pub(crate) timers: Timers,
    pub(crate) effects: VecDeque<Effect>,
    /// Whether the transport said Up and not Lost since.
    pub(crate) up: bool,
    pub(crate) endpoint: Option<SocketAddr>,
    /// What is wrong at the moment; the device goes on trying.
    pub(crate) problem: Option<(Cause, UserError)>,
    /// Failed steps in a row.
    pub(crate) failures: u32,
    pub(crate) learning: Learning,
    /// Whether the interface's packets are served without a tunnel.
    pub(crate) front: bool,
    /// Queries go on being answered while another service mode comes up.
    pub(crate) keeps_dns: bool,
    /// Until when a captive portal is open.
    pub(crate) portal: Option<Instant>,
    /// None until the first report.
    network: Option<NetworkState>,
    told: Option<Status>,
}

impl Engine {
    /// A disconnected engine.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let EngineConfig { registration, profile, user, system_dns, sentinels, make_transport } = config;
        let settings = weft_policy::compile_settings(profile.as_ref(), registration.as_ref(), &user);
        let learning = Learning::new(&sentinels);
        let mut engine = Self {
            registration,
            profile,
            user,
            policy: LocalPolicy::default(),
            system_dns,
            sentinels,
            make_transport,
            settings,
            transport: None,
            phase: Phase::Disconnected,
            plans: Plans::default(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            up: false,
            endpoint: None,
            problem: None,
            failures: 0,
            learning,
            front: false,
            keeps_dns: false,
            portal: None,
            network: None,
            told: None,
        };
        engine.review_learnt(Keeps::Nothing);
        engine
    }

    /// Does what a shell asks.
    ///
    /// # Errors
    /// A [`UserError`] where it cannot or may not be done; nothing has changed then.
    pub fn handle_command(&mut self, command: Command, now: Instant) -> Result<(), UserError> {
        match command {
            Command::Connect => self.connect(now)?,
            Command::Disconnect => self.disconnect(now)?,
            Command::SetMode { mode } => self.set_mode(mode, now)?,
            Command::RefreshProfile => self.refresh_profile()?,
        }
        self.tell_status(now);
        Ok(())
    }

    /// Takes another registration, or none; what is up under the old one goes down.
    pub fn set_registration(&mut self, new: Option<(Registration, Option<Profile>)>, now: Instant) {
        let (registration, profile) = match new {
            Some((registration, profile)) => (Some(registration), profile),
            None => (None, None),
        };
        let replaced = self.registration != registration;
        self.registration = registration;
        self.profile = profile;
        self.settings_changed(replaced, now);
        self.tell_status(now);
    }

    /// The shell applied a plan and every one before it, or could not.
    pub fn handle_plan(&mut self, number: PlanNumber, result: Result<(), String>, now: Instant) {
        match result {
            Ok(()) => {
                self.plans.acknowledge(number);
                if !self.plans.has_failed() {
                    self.solved(Cause::Plan);
                }
                self.advance(now);
                self.follow_front();
                self.learnt_plan_done(now);
            }
            Err(detail) if self.plans.fail(number) => {
                self.release_all(&detail);
                self.fail(Cause::Plan, UserError::PlanFailed { detail }, now);
            }
            Err(_) => {}
        }
        self.tell_status(now);
    }

    /// A check that was asked for has ended.
    pub fn handle_check(&mut self, check: Check, result: Result<(), String>, now: Instant) {
        let Phase::Proving(proof) = &mut self.phase else { return };
        match (result, check) {
            (Ok(()), Check::Inside) => proof.inside = true,
            (Ok(()), Check::Outside) => proof.outside = true,
            (Err(detail), Check::Inside) => self.fail(Cause::Check, UserError::InsideCheck { detail }, now),
            (Err(detail), Check::Outside) => self.fail(Cause::Check, UserError::OutsideCheck { detail }, now),
        }
        self.advance(now);
        self.tell_status(now);
    }

    /// The DNS proxy answers queries, or could not start.
    pub fn handle_dns_service(&mut self, result: Result<(), String>, now: Instant) {
        if !self.serves_dns() {
            return;
        }
        match result {
            Ok(()) => {
                self.solved(Cause::Dns);
                self.look_up_hosts(now);
            }
            Err(ref detail) => {
                self.fail(Cause::Dns, UserError::DnsProxy { detail: detail.clone() }, now);
                if std::mem::take(&mut self.keeps_dns) {
                    // Nobody answers what the system asks by now.
                    self.propose_again(now);
                }
            }
        }
        if let Phase::Proving(proof) = &mut self.phase {
            proof.dns = result.is_ok();
        }
        self.advance(now);
        self.tell_status(now);
    }

    /// The fetch of the profile has ended.
    pub fn handle_profile(&mut self, fetched: Fetched, now: Instant) {
        match fetched {
            Fetched::Device(registration, profile) => {
                let replaced = self.registration.as_ref() != Some(&*registration);
                let changed = replaced || self.profile.as_ref() != Some(&*profile);
                self.registration = Some(*registration);
                self.profile = Some(*profile);
                if changed {
                    self.settings_changed(replaced, now);
                }
            }
            Fetched::Revoked => self.revoke(now),
            Fetched::Failed(_) => {}
        }
        if self.phase == Phase::Connected {
            self.arm_profile_refresh(now);
        }
        self.tell_status(now);
    }

    /// The monitor reports the network. The same one is no event.
    pub fn handle_network(&mut self, network: NetworkState, now: Instant) {
        if self.network.as_ref() == Some(&network) {
            return;
        }
        let former = self.network.replace(network);
        // The first report says where the device is, not that it moved.
        if former.is_some() {
            self.handle_wake(now);
        } else if self.phase.is_active() {
            self.tell_status(now);
        }
    }

    /// The device has other resolvers besides Weft.
    pub fn handle_system_dns(&mut self, servers: Vec<IpAddr>, now: Instant) {
        if self.system_dns != servers {
            self.system_dns = servers;
            self.repropose(now);
            self.advance(now);
            self.tell_status(now);
        }
    }

    /// The device slept, or its network is another one: everything that rests on the old path is renewed, and the far
    /// side is proven at once, whatever the network. What failed before is tried again without further wait.
    ///
    /// On desktop the plan is asserted again, since others may have changed what it rests on; a phone's interface is
    /// the system's to keep, and making it anew would break what goes through it.
    pub fn handle_wake(&mut self, now: Instant) {
        if !self.phase.is_active() {
            return;
        }
        if let Some(transport) = &mut self.transport {
            transport.handle_network_change(now);
        }
        self.effects.push_back(Effect::ResetDns);
        let asserted = if self.is_phone() { None } else { self.plans.reassert() };
        if let Some(plan) = asserted {
            self.effects.push_back(Effect::Event(Event::Plan(Box::new(plan))));
        }
        if self.timers.is_armed(TimerKind::Retry) {
            self.timers.cancel(TimerKind::Retry);
            self.retry(now);
        }
        self.pump_transport(now);
        self.tell_status(now);
    }

    /// A socket that the transport asked for is there, or gone.
    pub fn handle_socket(&mut self, socket: SocketId, state: Result<SocketAddr, SocketError>, now: Instant) {
        self.with_transport(now, |transport| transport.handle_socket(socket, state, now));
    }

    /// The tunnel that was asked for could not be started, or its interface is gone: it is built anew from the start. A
    /// device that is blocked by its interface asks for that again.
    pub fn handle_tunnel_failed(&mut self, detail: String, now: Instant) {
        let front = std::mem::take(&mut self.front);
        // A shell that takes the interface away ends the packet path too, and that is as it should be.
        if matches!(self.phase, Phase::Disconnected | Phase::Disconnecting(_)) {
            if front {
                self.effects.push_back(Effect::StopTunnel);
            }
            return;
        }
        self.transport = None;
        self.up = false;
        self.effects.push_back(Effect::StopTunnel);
        self.plans.spoil();
        self.release_all(&detail);
        self.fail(Cause::Plan, UserError::PlanFailed { detail }, now);
        self.tell_status(now);
    }

    /// A stream that had blocked takes bytes again.
    pub fn handle_writable(&mut self, socket: SocketId, now: Instant) {
        self.with_transport(now, |transport| transport.handle_writable(socket, now));
    }

    /// The packet path left the transport something to do.
    pub fn handle_nudge(&mut self, now: Instant) {
        self.with_transport(now, |transport| transport.handle_nudge(now));
    }

    /// The moment of [`poll_timeout`](Self::poll_timeout) has come. Calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self
            .transport
            .as_ref()
            .and_then(|transport| transport.poll_timeout())
            .is_some_and(|next| next.at <= now)
        {
            self.with_transport(now, |transport| transport.handle_timeout(now));
        }
        while let Some(kind) = self.timers.expire(now) {
            match kind {
                TimerKind::Retry => self.retry(now),
                TimerKind::Reconnect => self.reconnect(now),
                TimerKind::ProfileRefresh => self.effects.push_back(Effect::FetchProfile),
                // A registration that is gone by now leaves nothing to connect to.
                TimerKind::AutoConnect => drop(self.connect(now)),
                TimerKind::Learnt => self.plan_learnt(now),
                TimerKind::Portal => self.close_portal(now),
                TimerKind::Hosts => self.hosts_done(now),
            }
        }
        self.tell_status(now);
    }

    /// Whether the shell is still at work on a plan.
    #[must_use]
    pub fn awaits_plan(&self) -> bool {
        self.plans.is_in_flight()
    }

    /// The next thing to do; none until the next `handle_*` call.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Puts what the transport's control wants to send into `out`.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(transport) = &mut self.transport {
            transport.poll_transmit(now, out);
        }
    }

    /// The next deadline, with its reason.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let transport = self.transport.as_ref().and_then(|transport| transport.poll_timeout());
        [transport, self.timers.next()].into_iter().flatten().min_by_key(|deadline| deadline.at)
    }

    /// What a user is told, with the deadlines that are pending.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let mut timers = self.timers.describe(now);
        if let Some(next) = self.transport.as_ref().and_then(|transport| transport.poll_timeout()) {
            timers.push(timer(next.reason, next.at, now));
        }
        Status { timers, ..self.plain_status() }
    }

    /// The values in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who this device is.
    #[must_use]
    pub fn registration(&self) -> Option<&Registration> {
        self.registration.as_ref()
    }

    /// The profile in force.
    #[must_use]
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// What the user has chosen.
    #[must_use]
    pub fn user_choices(&self) -> &UserChoices {
        &self.user
    }

    /// The tunnel's counters; none while there is no tunnel.
    #[must_use]
    pub fn tunnel_stats(&self, now: Instant) -> Option<TunnelStats> {
        self.transport.as_ref().map(|transport| transport.stats(now))
    }

    fn plain_status(&self) -> Status {
        let carries = self.up || !self.settings.service_mode.value.tunnels_traffic();
        let (state, reason) = self.phase.describe(carries, self.problem.as_ref().map(|(_, error)| error));
        Status {
            state,
            reason: if self.phase.is_active() { self.named(reason) } else { reason },
            service_mode: self.settings.service_mode.value,
            endpoint: self.endpoint.filter(|_| self.up),
            plan: self.plans.acknowledged(),
            warnings: self.warnings(),
            timers: Vec::new(),
        }
    }

    /// Nobody answers a device without a network, and none of them is to blame for it.
    fn named(&self, reason: Reason) -> Reason {
        let offline = self.network.as_ref().is_some_and(|network| !network.is_online());
        let unanswered = match &self.problem {
            Some((cause, _)) => matches!(cause, Cause::Transport | Cause::Check),
            None => matches!(
                reason,
                Reason::TunnelSilent | Reason::Stage { stage: ConnectStage::ConnectingEndpoint }
            ),
        };
        if offline && unanswered { Reason::Error { error: UserError::NoNetwork } } else { reason }
    }

    fn warnings(&self) -> Vec<String> {
        let masque = self.settings.tunnel_protocol.value == TunnelProtocol::Masque;
        let warning = "the profile asks for MASQUE, which this version does not have: WireGuard is used";
        let portal = "a captive portal is open: names go to the network's own resolvers, outside the tunnel";
        let masque = masque.then_some(warning);
        let portal = self.portal.map(|_| portal);
        masque.into_iter().chain(portal).map(str::to_owned).collect()
    }

    /// Tells the shell the status where it differs from what it was told last, timers aside.
    pub(crate) fn tell_status(&mut self, _now: Instant) {
        let status = self.plain_status();
        if self.told.as_ref() != Some(&status) {
            self.told = Some(status.clone());
            self.effects.push_back(Effect::Event(Event::Status(status)));
        }
    }

    fn set_mode(&mut self, mode: ServiceMode, now: Instant) -> Result<(), UserError> {
        let outside = self.gateway().is_none_or(|gateway| match &gateway.dns {
            DnsUpstream::Doh(doh) => !doh.outside.is_empty(),
            DnsUpstream::Plain { .. } | DnsUpstream::System => false,
        });
        if mode == ServiceMode::DnsOnly && !outside {
            let detail = "this gateway answers names inside its tunnel alone".to_owned();
            return Err(UserError::Settings { detail });
        }
        let user = UserChoices { service_mode: Some(mode) };
        let settings = self.settings_of(&user);
        if settings.service_mode.value != mode {
            let detail = format!("the service mode is fixed to {}", settings.service_mode.value);
            return Err(UserError::Forbidden { detail });
        }
        self.user = user;
        self.settings_changed(false, now);
        Ok(())
    }

    /// The values in force if the user had chosen so.
    pub(crate) fn settings_of(&self, user: &UserChoices) -> Settings {
        let (profile, registration) = (self.profile.as_ref(), self.registration.as_ref());
        weft_policy::compile_managed_settings(&self.policy, profile, registration, user)
    }

    fn refresh_profile(&mut self) -> Result<(), UserError> {
        match &self.registration {
            Some(registration) if registration.source == RegistrationSource::Orchestrated => {
                self.effects.push_back(Effect::FetchProfile);
                Ok(())
            }
            Some(_) => Err(UserError::Forbidden { detail: "an imported endpoint has no profile".to_owned() }),
            None => Err(UserError::RegistrationMissing),
        }
    }

    fn with_transport(&mut self, now: Instant, call: impl FnOnce(&mut dyn Control)) {
        if let Some(transport) = &mut self.transport {
            call(transport.as_mut());
        }
        self.pump_transport(now);
        self.tell_status(now);
    }

    pub(crate) fn pump_transport(&mut self, now: Instant) {
        while let Some(event) = self.transport.as_mut().and_then(|transport| transport.poll_event()) {
            match event {
                TransportEvent::Open(socket, request) => {
                    self.effects.push_back(Effect::OpenSocket(socket, request));
                }
                TransportEvent::Close(socket) => self.effects.push_back(Effect::CloseSocket(socket)),
                TransportEvent::Up { endpoint } => self.transport_up(endpoint, now),
                TransportEvent::Lost(reason) => self.transport_lost(&reason, now),
                TransportEvent::Addresses(addresses) => self.addresses_assigned(addresses, now),
                // The profile decides what the tunnel carries; the interface's MTU is fixed by the settings.
                TransportEvent::Routes(_) | TransportEvent::Mtu(_) => {}
            }
        }
    }

    pub(crate) fn proof_wanted(&self) -> Proof {
        let checks = self.gateway().is_some_and(|gateway| gateway.checks.is_some());
        Proof {
            dns: !self.serves_dns(),
            inside: !checks || !self.settings.service_mode.value.tunnels_traffic(),
            outside: !checks,
            hosts: !self.looks_up_hosts(),
        }
    }
}
