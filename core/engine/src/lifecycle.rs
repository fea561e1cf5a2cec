//! Connect, connected, reconnect, disconnect: the phases, and the ways from one to the next.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use weft_model::settings::SplitTunnelMode;
use weft_model::{
    ConnectStage, DnsUpstream, Event, Gateway, Reason, RegistrationSource, Settings, State, UserError,
};
use weft_policy::{PlanInputs, PlanPhase, VerdictSnapshot};
use weft_tunnel::LostReason;

use crate::effect::{Check, DnsService, Effect};
use crate::engine::{Engine, TransportRequest};
use crate::learning::Keeps;
use crate::timers::{TimerKind, backoff};

/// How long a profile is trusted before it is fetched again.
const PROFILE_REFRESH: Duration = Duration::from_secs(600);

/// How long a lost transport is left to itself before it is made to look for its far side anew.
const RECONNECT: Duration = Duration::from_secs(120);

/// What a connect still has to prove; a part that is true is proven, or not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) dns: bool,
    pub(crate) inside: bool,
    pub(crate) outside: bool,
    /// The addresses of exact host names are known, as far as they can be found.
    pub(crate) hosts: bool,
}

/// What a problem is about, and so what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Plan,
    Dns,
    Check,
    Transport,
    /// Only the user or the administrator can end it.
    Final,
}

/// Where a device stands between disconnected and connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Disconnected,
    /// Firewall, interface and routes are being put in place, under this plan.
    Preparing(u64),
    /// The transport looks for its far side.
    Establishing,
    /// The tunnel stands; does it carry?
    Proving(Proof),
    /// The system's DNS is being switched, under this plan.
    Switching(u64),
    Connected,
    /// Everything is being put back, under this plan.
    Disconnecting(u64),
    /// Blocked until the user or the administrator acts.
    Unable,
}

impl Phase {
    /// Whether the device is connected or on its way there.
    pub(crate) fn is_active(self) -> bool {
        !matches!(self, Self::Disconnected | Self::Disconnecting(_) | Self::Unable)
    }

    pub(crate) fn describe(self, up: bool, problem: Option<&UserError>) -> (State, Reason) {
        let stage = |stage| match problem {
            Some(error) => Reason::Error { error: error.clone() },
            None => Reason::Stage { stage },
        };
        match self {
            Self::Disconnected => (State::Disconnected, problem.map_or(Reason::Manual, error)),
            Self::Preparing(_) => (State::Connecting, stage(ConnectStage::ApplyingPlan)),
            Self::Establishing => (State::Connecting, stage(ConnectStage::ConnectingEndpoint)),
            Self::Proving(_) => (State::Connecting, stage(ConnectStage::CheckingConnectivity)),
            Self::Switching(_) => (State::Connecting, stage(ConnectStage::ApplyingDns)),
            Self::Connected if !up => (State::Reconnecting, problem.map_or(Reason::TunnelSilent, error)),
            Self::Connected => (State::Connected, problem.map_or(Reason::Healthy, error)),
            Self::Disconnecting(_) => (State::Disconnecting, problem.map_or(Reason::Manual, error)),
            Self::Unable => (State::Unable, problem.map_or(Reason::Manual, error)),
        }
    }
}

fn error(error: &UserError) -> Reason {
    Reason::Error { error: error.clone() }
}

impl Engine {
    pub(crate) fn connect(&mut self, now: Instant) -> Result<(), UserError> {
        if self.registration.is_none() {
            return Err(UserError::RegistrationMissing);
        }
        self.timers.cancel(TimerKind::AutoConnect);
        if !self.phase.is_active() {
            self.clear_problem();
            self.begin(now);
        }
        Ok(())
    }

    pub(crate) fn disconnect(&mut self, now: Instant) -> Result<(), UserError> {
        if self.settings.switch_locked.value && self.registration.is_some() {
            return Err(UserError::Forbidden { detail: "the switch is locked".to_owned() });
        }
        if self.phase == Phase::Disconnected {
            return Ok(());
        }
        let minutes = self.settings.auto_connect.value;
        if minutes > 0 {
            self.timers.arm(TimerKind::AutoConnect, now + Duration::from_secs(u64::from(minutes) * 60));
        }
        self.wind_down(now);
        Ok(())
    }

    /// The system, its user or another program took the tunnel interface away for good. The device is disconnected
    /// whatever the switch's lock says, for there is nothing left to keep, and nothing connects it by itself again.
    pub fn handle_interface_revoked(&mut self, now: Instant) {
        self.timers.cancel(TimerKind::AutoConnect);
        if !matches!(self.phase, Phase::Disconnected | Phase::Disconnecting(_)) {
            self.wind_down(now);
        }
        self.tell_status(now);
    }

    fn wind_down(&mut self, now: Instant) {
        self.clear_problem();
        self.timers.cancel(TimerKind::ProfileRefresh);
        self.end_portal();
        self.forget_learnt();
        let number = self.propose(PlanPhase::Disconnected, now);
        self.phase = Phase::Disconnecting(number);
        self.advance(now);
    }

    /// Starts from the beginning, whatever is up: firewall, interface and routes first.
    fn begin(&mut self, now: Instant) {
        self.stop_services();
        self.prepare(now);
    }

    /// The same from one service mode to another, both of which answer queries: they are answered all the while. The
    /// former mode's tunnel carries its own queries until the plan is in force.
    fn switch(&mut self, now: Instant) {
        self.release_all("the service mode is another one");
        self.effects.push_back(Effect::EndRound);
        self.timers.cancel(TimerKind::Hosts);
        self.keeps_dns = true;
        self.prepare(now);
        self.follow_front();
    }

    fn prepare(&mut self, now: Instant) {
        let number = self.propose(PlanPhase::Connecting, now);
        self.phase = Phase::Preparing(number);
        self.advance(now);
    }

    /// Takes every step that nothing stands in the way of.
    pub(crate) fn advance(&mut self, now: Instant) {
        match self.phase {
            Phase::Preparing(plan) if self.plans.is_acknowledged(plan) => self.establish(now),
            Phase::Proving(Proof { dns: true, inside: true, outside: true, hosts: true }) => {
                self.solved(Cause::Check);
                let number = self.propose(PlanPhase::Connected, now);
                self.phase = Phase::Switching(number);
                self.advance(now);
            }
            Phase::Switching(plan) if self.plans.is_acknowledged(plan) => {
                if self.has_lost_its_tunnel(self.phase) {
                    self.begin(now);
                    return;
                }
                self.clear_problem();
                self.keeps_dns = false;
                self.phase = Phase::Connected;
                self.follow_front();
                self.arm_profile_refresh(now);
            }
            Phase::Disconnecting(plan) if self.plans.is_acknowledged(plan) => {
                self.clear_problem();
                self.stop_services();
                self.phase = Phase::Disconnected;
            }
            _ => {}
        }
    }

    fn establish(&mut self, now: Instant) {
        self.stop_tunnel();
        if !self.settings.service_mode.value.tunnels_traffic() {
            self.prove();
            self.advance(now);
            return;
        }
        let mtu = self.settings.mtu.value;
        let Some(registration) = &self.registration else { return };
        let Some(gateway) = registration.gateways.first() else {
            let detail = "the registration names no gateway".to_owned();
            self.fail(Cause::Plan, UserError::Settings { detail }, now);
            return;
        };
        let transport = (self.make_transport)(TransportRequest { registration, gateway, mtu, now });
        let addresses = registration.addresses.clone();
        self.effects.push_back(Effect::StartTunnel {
            outbound: transport.outbound,
            inbound: transport.inbound,
            addresses,
            mtu,
        });
        self.phase = Phase::Establishing;
        let mut control = transport.control;
        control.start(now);
        self.transport = Some(control);
        self.pump_transport(now);
    }

    /// Asks for everything that a connect has to prove and has not yet.
    fn prove(&mut self) {
        let proof = match self.phase {
            Phase::Proving(proof) => proof,
            _ => self.proof_wanted(),
        };
        self.phase = Phase::Proving(proof);
        if !proof.dns {
            self.start_dns();
        }
        let Some(checks) = self.gateway().and_then(|gateway| gateway.checks.clone()) else { return };
        if !proof.inside {
            self.effects.push_back(Effect::Check(Check::Inside, checks.clone()));
        }
        if !proof.outside {
            self.effects.push_back(Effect::Check(Check::Outside, checks));
        }
    }

    pub(crate) fn transport_up(&mut self, endpoint: SocketAddr, now: Instant) {
        self.up = true;
        self.endpoint = Some(endpoint);
        self.solved(Cause::Transport);
        self.timers.cancel(TimerKind::Reconnect);
        // What could not be proven without the tunnel may be provable now.
        if matches!(self.phase, Phase::Establishing | Phase::Proving(_)) {
            self.prove();
            self.advance(now);
        }
    }

    pub(crate) fn transport_lost(&mut self, reason: &LostReason, now: Instant) {
        self.up = false;
        self.timers.arm(TimerKind::Reconnect, now + RECONNECT);
        // A gateway that does not answer may have revoked the device; its API says so.
        if self.registration.as_ref().is_some_and(|known| known.source == RegistrationSource::Orchestrated) {
            self.effects.push_back(Effect::FetchProfile);
        }
        let error = match reason {
            LostReason::Unreachable => UserError::EndpointUnreachable,
            // The state says it all.
            LostReason::Silent => return,
            LostReason::Refused(_) | LostReason::Socket(_) => {
                UserError::Internal { detail: reason.to_string() }
            }
        };
        self.problem.get_or_insert((Cause::Transport, error));
    }

    /// A transport gives up after a while, until something is sent. A device that nobody uses just then would stay
    /// cut off for good.
    pub(crate) fn reconnect(&mut self, now: Instant) {
        if self.up || !self.phase.is_active() {
            return;
        }
        if let Some(transport) = &mut self.transport {
            transport.handle_network_change(now);
            self.timers.arm(TimerKind::Reconnect, now + RECONNECT);
        }
        self.pump_transport(now);
    }

    pub(crate) fn addresses_assigned(&mut self, addresses: Vec<IpNet>, now: Instant) {
        let Some(registration) = &mut self.registration else { return };
        if registration.addresses != addresses {
            registration.addresses = addresses;
            self.settings_changed(false, now);
        }
    }

    /// The settings are compiled anew, and what is up follows them. `replaced`: the registration is another one.
    pub(crate) fn settings_changed(&mut self, replaced: bool, now: Instant) {
        let settings = self.settings_of(&self.user);
        let switches = settings.service_mode.value != self.settings.service_mode.value;
        let answered = self.answers_queries() && self.serves_dns();
        let restarts = replaced || switches || settings.mtu.value != self.settings.mtu.value;
        let keeps = self.kept_under(&settings, replaced);
        if settings != self.settings {
            self.settings = settings;
            self.effects.push_back(Effect::Event(Event::Settings(Box::new(self.settings.clone()))));
        }
        self.review_learnt(keeps);
        if self.settings.captive_portal.value == 0 || !self.serves_dns() {
            self.end_portal();
        }
        if self.registration.is_none() && self.phase != Phase::Disconnected {
            self.wind_down(now);
        } else if self.phase.is_active() && restarts || self.phase == Phase::Unable && replaced {
            self.clear_problem();
            match switches && answered && !replaced && self.serves_dns() {
                true => self.switch(now),
                false => self.begin(now),
            }
        } else if self.phase.is_active() {
            self.repropose(now);
            self.advance(now);
        } else if self.phase == Phase::Unable {
            // What is blocked is what the settings of now tunnel.
            self.propose_again(now);
            self.follow_front();
        } else if replaced && self.phase == Phase::Disconnected {
            self.clear_problem();
        }
    }

    /// What stays of the learnt addresses under other settings.
    fn kept_under(&self, settings: &Settings, replaced: bool) -> Keeps {
        let (before, after) = (&self.settings.split_tunnel.value, &settings.split_tunnel.value);
        match after.mode {
            mode if mode != before.mode => Keeps::Nothing,
            SplitTunnelMode::Include => Keeps::Everything,
            SplitTunnelMode::Exclude if replaced || after.hosts != before.hosts => Keeps::Nothing,
            SplitTunnelMode::Exclude => Keeps::Learnable,
        }
    }

    /// Asks for the state of the present phase again, under the settings of now, and goes on answering queries so.
    pub(crate) fn repropose(&mut self, now: Instant) {
        self.propose_again(now);
        if self.may_serve() && self.serves_dns() {
            self.start_dns();
        }
    }

    /// Asks for the state of the present phase again, under the settings and with the learnt addresses of now.
    pub(crate) fn propose_again(&mut self, now: Instant) {
        match self.phase {
            Phase::Preparing(_) => self.phase = Phase::Preparing(self.propose(PlanPhase::Connecting, now)),
            Phase::Establishing | Phase::Proving(_) => {
                self.propose(PlanPhase::Connecting, now);
            }
            Phase::Switching(_) => self.phase = Phase::Switching(self.propose(PlanPhase::Connected, now)),
            Phase::Connected => {
                self.propose(PlanPhase::Connected, now);
            }
            Phase::Disconnecting(_) => {
                self.phase = Phase::Disconnecting(self.propose(PlanPhase::Disconnected, now));
            }
            Phase::Unable => {
                self.propose(PlanPhase::Blocked, now);
            }
            Phase::Disconnected => {}
        }
    }

    /// Whether the system's queries come to Weft in the present phase, where the service mode has it so.
    fn answers_queries(&self) -> bool {
        self.keeps_dns || matches!(self.phase, Phase::Switching(_) | Phase::Connected)
    }

    /// Whether the DNS proxy may run in the present phase.
    pub(crate) fn may_serve(&self) -> bool {
        matches!(self.phase, Phase::Proving(_) | Phase::Switching(_) | Phase::Connected)
    }

    pub(crate) fn retry(&mut self, now: Instant) {
        match self.phase {
            phase if self.has_lost_its_tunnel(phase) => self.begin(now),
            Phase::Proving(_) => self.prove(),
            _ => self.repropose(now),
        }
        self.advance(now);
    }

    fn has_lost_its_tunnel(&self, phase: Phase) -> bool {
        let needs_one =
            matches!(phase, Phase::Establishing | Phase::Proving(_) | Phase::Switching(_) | Phase::Connected);
        needs_one && self.settings.service_mode.value.tunnels_traffic() && self.transport.is_none()
    }

    pub(crate) fn revoke(&mut self, now: Instant) {
        self.stop_services();
        self.end_portal();
        self.timers.cancel(TimerKind::ProfileRefresh);
        self.problem = Some((Cause::Final, UserError::RegistrationRevoked));
        self.effects.push_back(Effect::Event(Event::Revoked));
        if self.phase.is_active() {
            self.phase = Phase::Unable;
            self.propose(PlanPhase::Blocked, now);
            // Where the interface stands as it is, no plan is to come.
            self.follow_front();
        }
    }

    /// Notes what is wrong and tries again later.
    pub(crate) fn fail(&mut self, cause: Cause, error: UserError, now: Instant) {
        if !matches!(self.problem, Some((Cause::Final, _))) {
            self.problem = Some((cause, error));
        }
        self.timers.arm(TimerKind::Retry, now + backoff(self.failures));
        self.failures += 1;
    }

    /// What was wrong with this is right again. A retry that is under way is for something else, or does no harm.
    pub(crate) fn solved(&mut self, cause: Cause) {
        if self.problem.as_ref().is_some_and(|(present, _)| *present == cause) {
            self.problem = None;
        }
    }

    fn clear_problem(&mut self) {
        self.problem = None;
        self.failures = 0;
        self.timers.cancel(TimerKind::Retry);
    }

    fn stop_services(&mut self) {
        self.release_all("the tunnel is not up");
        self.stop_tunnel();
        self.effects.push_back(Effect::StopDns);
        self.timers.cancel(TimerKind::Hosts);
        self.keeps_dns = false;
    }

    fn stop_tunnel(&mut self) {
        if self.transport.take().is_some() | std::mem::take(&mut self.front) {
            self.effects.push_back(Effect::StopTunnel);
        }
        self.timers.cancel(TimerKind::Reconnect);
        self.up = false;
        self.endpoint = None;
    }

    pub(crate) fn start_dns(&mut self) {
        let Some(gateway) = self.gateway() else { return };
        let service = DnsService {
            upstream: gateway.dns.clone(),
            inside: self.settings.service_mode.value.tunnels_traffic(),
            fallback: self.settings.fallback_domains.value.clone(),
            hosts: if self.learns() { self.settings.split_tunnel.value.hosts.clone() } else { Vec::new() },
            hold: self.holds() && !self.is_looking_up(),
            serve_stale: self.settings.dns_serve_stale_seconds.value,
            prefer_positive: self.settings.dns_prefer_positive.value,
        };
        self.effects.push_back(Effect::StartDns(Box::new(service)));
    }

    /// Compiles and proposes the plan of a phase, and publishes the snapshot that goes with it. Returns the number
    /// whose acknowledgement means that it is in force.
    fn propose(&mut self, phase: PlanPhase, now: Instant) -> u64 {
        let learnt = self.learning.begin_plan(now);
        let inputs = PlanInputs {
            system_resolvers: &self.system_dns,
            sentinels: &self.sentinels,
            learnt: Some(&learnt),
            portal: self.portal.is_some(),
            keeps_dns: self.keeps_dns,
            ..PlanInputs::new(&self.settings, self.registration.as_ref(), phase)
        };
        let (plan, number) = self.plans.propose(weft_policy::compile_plan(&inputs, 0));
        let snapshot = VerdictSnapshot::compile(&inputs);
        self.effects.push_back(Effect::Verdicts(std::sync::Arc::new(snapshot)));
        if let Some(plan) = plan {
            self.effects.push_back(Effect::Event(Event::Plan(Box::new(plan))));
        }
        self.learnt_planned(number);
        number
    }

    pub(crate) fn arm_profile_refresh(&mut self, now: Instant) {
        let source = self.registration.as_ref().map(|registration| registration.source);
        if source == Some(RegistrationSource::Orchestrated) {
            self.timers.arm(TimerKind::ProfileRefresh, now + PROFILE_REFRESH);
        }
    }

    pub(crate) fn gateway(&self) -> Option<&Gateway> {
        self.registration.as_ref()?.gateways.first()
    }

    /// Whether the system's queries are answered by Weft under the settings of now.
    pub(crate) fn serves_dns(&self) -> bool {
        let upstream = self.gateway().map(|gateway| &gateway.dns);
        self.settings.service_mode.value.handles_dns()
            && !matches!(upstream, None | Some(DnsUpstream::System))
    }
}
