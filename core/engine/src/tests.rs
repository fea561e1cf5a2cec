//! The engine against a transport that the test holds, step by step.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weft_model::profile::ServiceMode;
use weft_model::settings::{SplitTunnelMode, UserChoices};
use weft_model::{
    CheckEndpoints, Command, DnsUpstream, DohEndpoint, Event, FirewallPlan, Gateway, NetworkState, Plan,
    PrivateKey, Profile, Reason, Registration, RegistrationSource, State, TunnelEndpoint, TunnelStats,
    UserError,
};
use weft_packet::Run;
use weft_policy::VerdictSnapshot;
use weft_tunnel::{
    Control, Deadline, Inbound, LostReason, Opened, Outbound, Outbox, PacketSink, Received, Sealed,
    SocketError, SocketId, Transport, TransportEvent,
};

use crate::effect::{Check, DnsService, Effect};
use crate::engine::{Engine, EngineConfig, Fetched};

mod learning;
mod modes;
mod network;
mod phone;
mod phone_simulation;
mod portal;
mod simulation;

/// A transport that says what the test tells it to.
#[derive(Clone, Default)]
struct Puppet(Arc<Mutex<PuppetState>>);

#[derive(Default)]
struct PuppetState {
    events: Vec<TransportEvent>,
    network_changes: usize,
    started: usize,
}

impl Control for Puppet {
    fn start(&mut self, _now: Instant) {
        self.0.lock().unwrap().started += 1;
    }
    fn handle_socket(&mut self, _: SocketId, _: Result<SocketAddr, SocketError>, _: Instant) {}
    fn handle_writable(&mut self, _: SocketId, _: Instant) {}
    fn handle_nudge(&mut self, _: Instant) {}
    fn handle_timeout(&mut self, _: Instant) {}
    fn handle_network_change(&mut self, _: Instant) {
        self.0.lock().unwrap().network_changes += 1;
    }
    fn poll_event(&mut self) -> Option<TransportEvent> {
        let mut state = self.0.lock().unwrap();
        (!state.events.is_empty()).then(|| state.events.remove(0))
    }
    fn poll_transmit(&mut self, _: Instant, _: &mut Outbox) {}
    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
    fn stats(&self, _: Instant) -> TunnelStats {
        TunnelStats::default()
    }
}

impl Inbound for Puppet {
    fn open(&mut self, _: Received<'_>, _: Instant, _: &mut dyn PacketSink) -> Opened {
        Opened::default()
    }
}

impl Outbound for Puppet {
    fn seal(&self, run: Run, _: Instant, _: &mut Outbox) -> Sealed {
        Sealed::Dropped(run, weft_model::DropReason::NoSession, weft_tunnel::Nudge::None)
    }
    fn mtu(&self) -> usize {
        1280
    }
}

fn registration() -> Registration {
    Registration {
        id: "device".to_owned(),
        source: RegistrationSource::Orchestrated,
        token: None,
        private_key: PrivateKey::from([1; 32]),
        addresses: vec!["172.16.0.2/32".parse().unwrap()],
        gateways: vec![Gateway {
            api: None,
            tunnel: TunnelEndpoint {
                public_key: PrivateKey::from([2; 32]).public(),
                preshared_key: None,
                addresses: vec!["203.0.113.10".parse().unwrap()],
                ports: vec![2408],
                keepalive: None,
                mtu: None,
                allowed_ips: Vec::new(),
            },
            dns: DnsUpstream::Doh(DohEndpoint {
                name: "gateway.example".to_owned(),
                path: "/dns-query".to_owned(),
                inside: "172.64.128.1:443".parse().unwrap(),
                outside: vec!["203.0.113.10:443".parse().unwrap()],
                ca_pem: None,
            }),
            checks: Some(CheckEndpoints {
                inside: "172.64.128.1:80".parse().unwrap(),
                outside: vec!["203.0.113.10:443".parse().unwrap()],
            }),
        }],
    }
}

/// What the engine asked for since it was last looked at.
#[derive(Default)]
struct Seen {
    plans: Vec<Plan>,
    states: Vec<State>,
    checks: Vec<Check>,
    services: Vec<DnsService>,
    released: Vec<(Vec<u64>, Result<(), String>)>,
    portals: Vec<Option<Instant>>,
    verdicts: Vec<Arc<VerdictSnapshot>>,
    dns_stopped: usize,
    rounds_ended: usize,
    tunnels_started: usize,
    tunnels_stopped: usize,
    fronts_started: usize,
    looked_up: Vec<String>,
    fetches: usize,
    revoked: bool,
}

struct Bench {
    engine: Engine,
    puppet: Puppet,
    now: Instant,
}

impl Bench {
    fn new(registration: Option<Registration>, profile: Profile) -> Self {
        Self::with_sentinels(registration, profile, Vec::new())
    }

    /// A device whose queries come by the tunnel interface, as on phones; unless `sentinels` is empty.
    fn with_sentinels(registration: Option<Registration>, profile: Profile, sentinels: Vec<IpAddr>) -> Self {
        let puppet = Puppet::default();
        let made = puppet.clone();
        let engine = Engine::new(EngineConfig {
            registration,
            profile: Some(profile),
            user: UserChoices::default(),
            system_dns: vec!["192.168.50.20".parse().unwrap()],
            sentinels,
            make_transport: Box::new(move |_| Transport {
                outbound: Arc::new(made.clone()),
                inbound: Box::new(made.clone()),
                control: Box::new(made.clone()),
            }),
        });
        Self { engine, puppet, now: Instant::now() }
    }

    fn seen(&mut self) -> Seen {
        let mut seen = Seen::default();
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Event(Event::Plan(plan)) => seen.plans.push(*plan),
                Effect::Event(Event::Status(status)) => seen.states.push(status.state),
                Effect::Event(Event::Revoked) => seen.revoked = true,
                Effect::Check(check, _) => seen.checks.push(check),
                Effect::StartDns(service) => seen.services.push(*service),
                Effect::ReleaseAnswers { holds, result } => seen.released.push((holds, result)),
                Effect::Portal(until) => seen.portals.push(until),
                Effect::Verdicts(verdicts) => seen.verdicts.push(verdicts),
                Effect::StopDns => seen.dns_stopped += 1,
                Effect::EndRound => seen.rounds_ended += 1,
                Effect::StartTunnel { .. } => seen.tunnels_started += 1,
                Effect::StopTunnel => seen.tunnels_stopped += 1,
                Effect::FetchProfile => seen.fetches += 1,
                Effect::StartFront => seen.fronts_started += 1,
                Effect::ResolveHosts(names) => seen.looked_up.extend(names.iter().map(ToString::to_string)),
                _ => {}
            }
        }
        seen
    }

    fn says(&mut self, event: TransportEvent) {
        self.puppet.0.lock().unwrap().events.push(event);
        self.engine.handle_nudge(self.now);
    }

    fn acknowledge(&mut self, seen: &Seen) {
        let number = seen.plans.last().unwrap().number;
        self.engine.handle_plan(number, Ok(()), self.now);
    }

    fn up(&mut self) {
        self.says(TransportEvent::Up { endpoint: "203.0.113.10:2408".parse().unwrap() });
    }

    fn prove(&mut self) {
        self.engine.handle_dns_service(Ok(()), self.now);
        self.engine.handle_check(Check::Inside, Ok(()), self.now);
        self.engine.handle_check(Check::Outside, Ok(()), self.now);
        self.engine.handle_hosts_resolved(self.now);
    }

    fn state(&self) -> State {
        self.engine.status(self.now).state
    }

    fn reason(&self) -> Reason {
        self.engine.status(self.now).reason
    }

    /// All the way up.
    fn connected(profile: Profile) -> Self {
        Self::new(Some(registration()), profile).brought_up()
    }

    fn brought_up(self) -> Self {
        let mut bench = self;
        bench.engine.handle_command(Command::Connect, bench.now).unwrap();
        let seen = bench.seen();
        bench.acknowledge(&seen);
        if bench.engine.settings().service_mode.value.tunnels_traffic() {
            bench.up();
        }
        bench.prove();
        let seen = bench.seen();
        // Where DNS is left alone, the plan is the same one.
        if !seen.plans.is_empty() {
            bench.acknowledge(&seen);
        }
        assert_eq!(bench.state(), State::Connected);
        bench.seen();
        bench
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.engine.handle_timeout(self.now);
    }
}

#[test]
fn a_connect_goes_firewall_tunnel_proof_dns() {
    let mut bench = Bench::new(Some(registration()), Profile::default());
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    let first = bench.seen();
    assert_eq!(first.states, [State::Connecting]);
    assert!(matches!(first.plans[0].firewall, FirewallPlan::Enforced { .. }));
    assert!(first.plans[0].interface.is_some() && first.plans[0].dns.is_none());
    assert_eq!(first.tunnels_started, 0, "no packet leaves before the plan is in force");

    bench.acknowledge(&first);
    assert_eq!(bench.seen().tunnels_started, 1);
    bench.up();
    let proving = bench.seen();
    assert_eq!((proving.services.len(), proving.checks), (1, vec![Check::Inside, Check::Outside]));
    assert!(proving.plans.is_empty(), "DNS is switched once everything is proven");

    bench.prove();
    let last = bench.seen();
    assert!(last.plans[0].dns.is_some());
    assert_eq!(bench.state(), State::Connecting);
    bench.acknowledge(&last);
    assert_eq!((bench.state(), bench.reason()), (State::Connected, Reason::Healthy));
}

#[test]
fn without_a_registration_nothing_changes() {
    let mut bench = Bench::new(None, Profile::default());
    let refused = bench.engine.handle_command(Command::Connect, bench.now);
    assert_eq!(refused, Err(UserError::RegistrationMissing));
    assert!(bench.seen().plans.is_empty());
    assert_eq!(bench.state(), State::Disconnected);
}

#[test]
fn a_lost_tunnel_keeps_the_plan_and_comes_back() {
    let mut bench = Bench::connected(Profile::default());
    bench.says(TransportEvent::Lost(LostReason::Silent));
    assert_eq!((bench.state(), bench.reason()), (State::Reconnecting, Reason::TunnelSilent));
    bench.up();
    assert_eq!((bench.state(), bench.reason()), (State::Connected, Reason::Healthy));
    let seen = bench.seen();
    assert!(seen.plans.is_empty());
    assert_eq!(seen.fetches, 1, "the gateway is asked, outside, whether it still knows the device");
}

#[test]
fn an_interface_that_is_taken_away_is_built_anew() {
    let mut bench = Bench::connected(Profile::default());
    bench.engine.handle_tunnel_failed("the interface is gone".to_owned(), bench.now);
    assert_eq!(bench.state(), State::Reconnecting);
    assert_eq!(bench.seen().tunnels_stopped, 1);
    bench.wait(1);
    let seen = bench.seen();
    assert!(seen.plans[0].interface.is_some() && seen.plans[0].dns.is_none());
    bench.acknowledge(&seen);
    assert_eq!(bench.seen().tunnels_started, 1);

    let mut leaving = Bench::connected(Profile::default());
    leaving.engine.handle_command(Command::Disconnect, leaving.now).unwrap();
    leaving.engine.handle_tunnel_failed("the interface is gone".to_owned(), leaving.now);
    assert_eq!((leaving.state(), leaving.reason()), (State::Disconnecting, Reason::Manual));
}

#[test]
fn a_failed_check_is_tried_again_with_growing_pauses() {
    let mut bench = Bench::new(Some(registration()), Profile::default());
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.up();
    bench.engine.handle_dns_service(Ok(()), bench.now);
    bench.engine.handle_check(Check::Outside, Ok(()), bench.now);
    bench.seen();
    for pause in [1, 2, 4] {
        bench.engine.handle_check(Check::Inside, Err("no answer".to_owned()), bench.now);
        assert_eq!(bench.state(), State::Connecting);
        assert!(matches!(bench.reason(), Reason::Error { error: UserError::InsideCheck { .. } }));
        let due = bench.engine.poll_timeout().unwrap();
        assert_eq!((due.at - bench.now, due.reason), (Duration::from_secs(pause), "retry"));
        bench.wait(pause);
        assert_eq!(bench.seen().checks, [Check::Inside]);
    }
    bench.engine.handle_check(Check::Inside, Ok(()), bench.now);
    let seen = bench.seen();
    bench.acknowledge(&seen);
    assert_eq!(bench.state(), State::Connected);
}

#[test]
fn a_plan_that_fails_is_proposed_again_under_a_new_number() {
    let mut bench = Bench::new(Some(registration()), Profile::default());
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    let first = bench.seen();
    let number = first.plans[0].number;
    bench.engine.handle_plan(number, Err("routes: table taken".to_owned()), bench.now);
    assert!(matches!(bench.reason(), Reason::Error { error: UserError::PlanFailed { .. } }));
    bench.wait(1);
    let second = bench.seen();
    assert_eq!(second.plans[0].number, number + 1);
    bench.acknowledge(&second);
    assert_eq!(bench.seen().tunnels_started, 1);
}

#[test]
fn a_disconnect_that_fails_is_tried_again_though_the_device_is_registered_anew() {
    let mut bench = Bench::connected(Profile::default());
    bench.engine.handle_command(Command::Disconnect, bench.now).unwrap();
    let number = bench.seen().plans[0].number;
    bench.engine.handle_plan(number, Err("routes: table taken".to_owned()), bench.now);
    let anew = Registration { id: "another".to_owned(), ..registration() };
    bench.engine.set_registration(Some((anew, None)), bench.now);
    bench.wait(1);
    let seen = bench.seen();
    assert!(seen.plans[0].same_state(&Plan::disconnected(0)));
    bench.acknowledge(&seen);
    assert_eq!(bench.state(), State::Disconnected);
}

#[test]
fn a_disconnect_keeps_the_tunnel_until_the_shell_has_put_everything_back() {
    let mut bench = Bench::connected(Profile::default());
    bench.engine.handle_command(Command::Disconnect, bench.now).unwrap();
    let seen = bench.seen();
    assert!(seen.plans[0].same_state(&Plan::disconnected(0)));
    assert_eq!((bench.state(), seen.tunnels_stopped), (State::Disconnecting, 0));
    bench.acknowledge(&seen);
    let seen = bench.seen();
    assert_eq!((seen.tunnels_stopped, seen.dns_stopped), (1, 1));
    assert_eq!((bench.state(), bench.engine.poll_timeout()), (State::Disconnected, None));
}

#[test]
fn a_locked_switch_refuses_and_auto_connect_comes_back() {
    let mut locked = Bench::connected(Profile { switch_locked: true, ..Profile::default() });
    let refused = locked.engine.handle_command(Command::Disconnect, locked.now);
    assert!(matches!(refused, Err(UserError::Forbidden { .. })));
    assert_eq!(locked.state(), State::Connected);

    let mut bench = Bench::connected(Profile { auto_connect: 5, ..Profile::default() });
    bench.engine.handle_command(Command::Disconnect, bench.now).unwrap();
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.wait(299);
    assert_eq!(bench.state(), State::Disconnected);
    bench.wait(1);
    assert_eq!(bench.state(), State::Connecting);
}

#[test]
fn an_equal_profile_changes_nothing_and_another_one_makes_a_plan() {
    let mut bench = Bench::connected(Profile::default());
    let same = Fetched::Device(Box::new(registration()), Box::default());
    bench.engine.handle_profile(same, bench.now);
    assert!(bench.seen().plans.is_empty());

    let include = Profile::from_json(r#"{"include":[{"address":"203.0.113.0/24"}]}"#).unwrap();
    bench.engine.handle_profile(Fetched::Device(Box::new(registration()), Box::new(include)), bench.now);
    let seen = bench.seen();
    assert_eq!((seen.plans.len(), seen.tunnels_stopped), (1, 0));
    assert!(seen.plans[0].dns.is_some());
    assert_eq!(bench.state(), State::Connected);
}

#[test]
fn a_revoked_device_stays_blocked() {
    let mut bench = Bench::connected(Profile::default());
    bench.wait(600);
    assert_eq!(bench.seen().fetches, 1);
    bench.engine.handle_profile(Fetched::Revoked, bench.now);
    let seen = bench.seen();
    assert!(seen.revoked && matches!(seen.plans[0].firewall, FirewallPlan::Enforced { .. }));
    assert_eq!(seen.tunnels_stopped, 1);
    assert_eq!(bench.state(), State::Unable);
}

#[test]
fn a_revoked_device_that_is_registered_anew_connects_again() {
    let mut bench = Bench::connected(Profile::default());
    bench.engine.handle_profile(Fetched::Revoked, bench.now);
    bench.seen();
    let anew = Registration { id: "another".to_owned(), ..registration() };
    bench.engine.set_registration(Some((anew, None)), bench.now);
    assert_eq!(bench.state(), State::Connecting);
    let blocked = bench.seen();
    assert!(matches!(blocked.plans[0].firewall, FirewallPlan::Enforced { .. }), "nothing leaves meanwhile");
    bench.acknowledge(&blocked);
    bench.up();
    bench.prove();
    let seen = bench.seen();
    bench.acknowledge(&seen);
    assert_eq!((bench.state(), bench.reason()), (State::Connected, Reason::Healthy));
}

#[test]
fn a_registration_that_goes_takes_everything_down() {
    let mut bench = Bench::connected(Profile::default());
    bench.engine.set_registration(None, bench.now);
    let seen = bench.seen();
    assert!(seen.plans[0].same_state(&Plan::disconnected(0)));
    bench.acknowledge(&seen);
    assert_eq!(bench.state(), State::Disconnected);
}

/// What can go wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    UpAgain,
    Lost,
    PlanFails,
    InterfaceGone,
    CheckFails,
    DnsFails,
    Offline,
    ProfileChanges,
}

impl Bench {
    /// As far as `steps` of a connect: asked for, prepared, established, proven, switched.
    fn on_the_way(profile: Profile, steps: usize) -> Self {
        let mut bench = Self::new(Some(registration()), profile);
        let here =
            NetworkState { interface: Some("eth0".to_owned()), has_v4: true, ..NetworkState::default() };
        bench.engine.handle_network(here, bench.now);
        bench.engine.handle_command(Command::Connect, bench.now).unwrap();
        let seen = bench.seen();
        if steps > 0 {
            bench.acknowledge(&seen);
        }
        if steps > 1 {
            bench.up();
        }
        if steps > 2 {
            bench.prove();
        }
        let seen = bench.seen();
        if steps > 3 && !seen.plans.is_empty() {
            bench.acknowledge(&seen);
        }
        bench
    }

    fn strike(&mut self, fault: Fault) {
        let plan = self.engine.status(self.now).plan;
        match fault {
            Fault::UpAgain => self.up(),
            Fault::Lost => self.says(TransportEvent::Lost(LostReason::Unreachable)),
            Fault::PlanFails => {
                for number in [plan, plan + 1] {
                    self.engine.handle_plan(number, Err("no".to_owned()), self.now);
                }
            }
            Fault::InterfaceGone => self.engine.handle_tunnel_failed("gone".to_owned(), self.now),
            Fault::CheckFails => self.engine.handle_check(Check::Inside, Err("no".to_owned()), self.now),
            Fault::DnsFails => self.engine.handle_dns_service(Err("no".to_owned()), self.now),
            Fault::Offline => {
                self.engine.handle_network(NetworkState::default(), self.now);
                self.engine.handle_network(
                    NetworkState {
                        interface: Some("wlan0".to_owned()),
                        has_v4: true,
                        ..NetworkState::default()
                    },
                    self.now,
                );
            }
            Fault::ProfileChanges => {
                let profile = Profile::from_json(r#"{"exclude":[{"address":"10.0.0.0/8"}]}"#).unwrap();
                let fetched = Fetched::Device(Box::new(registration()), Box::new(profile));
                self.engine.handle_profile(fetched, self.now);
            }
        }
    }

    /// The world answers what it was asked before the faults, but for what a fault has answered.
    fn answer_the_rest(&mut self, plan: Option<u64>, faults: &[Fault]) {
        let none_is = |wanted: fn(&Fault) -> bool| !faults.iter().any(wanted);
        if let Some(number) = plan.filter(|_| none_is(|fault| matches!(fault, Fault::PlanFails))) {
            self.engine.handle_plan(number, Ok(()), self.now);
        }
        if self.engine.transport.is_some() && none_is(|fault| matches!(fault, Fault::Lost)) {
            self.up();
        }
        if none_is(|fault| matches!(fault, Fault::DnsFails)) {
            self.engine.handle_dns_service(Ok(()), self.now);
        }
        if none_is(|fault| matches!(fault, Fault::CheckFails)) {
            self.engine.handle_check(Check::Inside, Ok(()), self.now);
            self.engine.handle_check(Check::Outside, Ok(()), self.now);
        }
    }

    /// A world in which everything works from now on: answers whatever the engine asks, and waits for its deadlines.
    fn recover(&mut self) -> bool {
        for _ in 0..40 {
            let seen = self.seen();
            if let Some(plan) = seen.plans.last() {
                self.engine.handle_plan(plan.number, Ok(()), self.now);
            }
            if seen.tunnels_started > 0 {
                self.up();
            }
            if !seen.services.is_empty() {
                self.engine.handle_dns_service(Ok(()), self.now);
            }
            for check in seen.checks {
                self.engine.handle_check(check, Ok(()), self.now);
            }
            if (self.state(), self.reason()) == (State::Connected, Reason::Healthy) {
                return true;
            }
            let before = self.puppet.0.lock().unwrap().network_changes;
            let waits = !self.engine.effects.is_empty();
            if let (false, Some(next)) = (waits, self.engine.poll_timeout()) {
                self.now = next.at;
                self.engine.handle_timeout(self.now);
            }
            if self.puppet.0.lock().unwrap().network_changes > before {
                self.up();
            }
        }
        false
    }
}

#[test]
fn after_any_fault_on_the_way_the_device_gets_connected_by_itself() {
    use Fault::*;
    let faults = [UpAgain, Lost, PlanFails, InterfaceGone, CheckFails, DnsFails, Offline, ProfileChanges];
    let profiles = ["{}", r#"{"service_mode_v2":{"mode":"tunnelonly"}}"#];
    for json in profiles {
        for steps in 0..=4 {
            for first in faults {
                for second in faults {
                    let mut bench = Bench::on_the_way(Profile::from_json(json).unwrap(), steps);
                    let asked = bench.engine.plans.reassert().map(|plan| plan.number);
                    bench.strike(first);
                    bench.strike(second);
                    bench.answer_the_rest(asked, &[first, second]);
                    assert!(
                        bench.recover(),
                        "{json} {steps} {first:?} {second:?}: {:?}",
                        bench.engine.status(bench.now)
                    );
                }
            }
        }
    }
}
