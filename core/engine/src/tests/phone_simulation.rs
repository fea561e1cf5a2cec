//! A phone, to which everything happens in any order.

use proptest::prelude::*;
use weft_model::{LocalPolicy, SENTINEL_ADDRESSES};

use super::*;

/// A destination that every profile here gives to the tunnel.
const TUNNELLED: &str = "203.0.113.200";
const PROFILES: [&str; 4] = [
    r#"{"exclude":[{"host":"a.example"},{"host":"*.b.example"}],"allow_mode_switch":true}"#,
    r#"{"include":[{"host":"a.example"},{"address":"203.0.113.128/25"}],"allow_mode_switch":true}"#,
    r#"{"service_mode_v2":{"mode":"1dot1"},"allow_mode_switch":true}"#,
    r#"{"service_mode_v2":{"mode":"tunnelonly"}}"#,
];

#[derive(Debug, Clone)]
enum Happens {
    Applied,
    NotApplied,
    Waits(u64),
    Lost,
    Up,
    Wakes,
    InterfaceGone,
    Proven,
    NotProven,
    NamesFound(u8),
    OtherProfile(usize),
    Managed(Option<ServiceMode>),
    Revoked,
    Enrolled,
    Disconnects,
    Connects,
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::*;
    let modes =
        prop::sample::select(vec![None, Some(ServiceMode::DnsOnly), Some(ServiceMode::TrafficAndDns)]);
    prop_oneof![
        10 => Just(Applied),
        1 => Just(NotApplied),
        4 => (0_u64..40).prop_map(Waits),
        1 => Just(Lost),
        4 => Just(Up),
        2 => Just(Wakes),
        1 => Just(InterfaceGone),
        4 => Just(Proven),
        1 => Just(NotProven),
        3 => any::<u8>().prop_map(NamesFound),
        1 => (0..PROFILES.len()).prop_map(OtherProfile),
        1 => modes.prop_map(Managed),
        1 => Just(Revoked),
        1 => Just(Enrolled),
        1 => Just(Disconnects),
        3 => Just(Connects),
    ]
}

/// What takes the interface's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Nobody,
    Tunnel,
    Front,
}

struct World {
    bench: Bench,
    last: Option<Plan>,
    acknowledged: u64,
    failed: u64,
    reader: Reader,
    learnt: u64,
}

impl World {
    fn new() -> Self {
        let profile = Profile::from_json(PROFILES[0]).unwrap();
        let bench = Bench::with_sentinels(Some(registration()), profile, SENTINEL_ADDRESSES.to_vec());
        Self { bench, last: None, acknowledged: 0, failed: 0, reader: Reader::Nobody, learnt: 0 }
    }

    fn happens(&mut self, what: Happens) {
        let now = self.bench.now;
        let engine = &mut self.bench.engine;
        match what {
            Happens::Applied => {
                let pending =
                    self.last.as_ref().map(|plan| plan.number).filter(|number| *number > self.failed);
                if let Some(number) = pending {
                    self.acknowledged = number;
                    engine.handle_plan(number, Ok(()), now);
                }
            }
            Happens::NotApplied => {
                let pending = self.last.as_ref().map(|plan| plan.number);
                if let Some(number) = pending.filter(|number| *number > self.acknowledged) {
                    self.failed = number;
                    engine.handle_plan(number, Err("no".to_owned()), now);
                }
            }
            Happens::Waits(seconds) => self.bench.wait(seconds),
            Happens::Lost => self.bench.says(TransportEvent::Lost(LostReason::Silent)),
            Happens::Up => self.bench.up(),
            Happens::Wakes => engine.handle_wake(now),
            Happens::InterfaceGone => {
                if self.reader != Reader::Nobody {
                    engine.handle_tunnel_failed("gone".to_owned(), now);
                }
            }
            Happens::Proven => self.bench.prove(),
            Happens::NotProven => engine.handle_check(Check::Inside, Err("no".to_owned()), now),
            Happens::NamesFound(last) => {
                let address = (IpAddr::from([198, 51, 100, last]), Duration::from_secs(60));
                engine.handle_learnt(self.learnt, &[address], now);
                self.learnt += 1;
            }
            Happens::OtherProfile(index) => {
                let profile = Profile::from_json(PROFILES[index]).unwrap();
                let known = engine.registration().is_some();
                let fetched = Fetched::Device(Box::new(registration()), Box::new(profile));
                if known {
                    engine.handle_profile(fetched, now);
                }
            }
            Happens::Managed(service_mode) => {
                let policy = LocalPolicy { service_mode, ..LocalPolicy::default() };
                engine.set_local_policy(policy, now).unwrap();
            }
            Happens::Revoked => engine.handle_profile(Fetched::Revoked, now),
            Happens::Enrolled => {
                let profile = Profile::from_json(PROFILES[0]).unwrap();
                engine.set_registration(Some((registration(), Some(profile))), now);
            }
            Happens::Disconnects => drop(engine.handle_command(Command::Disconnect, now)),
            Happens::Connects => drop(engine.handle_command(Command::Connect, now)),
        }
        self.look();
    }

    fn look(&mut self) {
        while let Some(effect) = self.bench.engine.poll_effect() {
            match effect {
                Effect::Event(Event::Plan(plan)) => self.last = Some(*plan),
                Effect::StartTunnel { .. } => self.starts(Reader::Tunnel),
                Effect::StartFront => self.starts(Reader::Front),
                Effect::StopTunnel => self.reader = Reader::Nobody,
                _ => {}
            }
        }
        self.check_blocked();
    }

    /// Nobody reads beside another, and nobody reads an interface that is not there yet.
    fn starts(&mut self, reader: Reader) {
        assert_eq!(self.reader, Reader::Nobody, "{reader:?} starts");
        let last = self.last.as_ref().expect("a plan");
        assert!(last.interface.is_some(), "{reader:?} has no interface");
        assert!(last.number <= self.acknowledged, "{reader:?} is before its plan");
        self.reader = reader;
    }

    /// Whatever happened: a device that is on or wants to be keeps what it tunnels in its interface.
    fn check_blocked(&self) {
        let state = self.bench.state();
        let tunnels = self.bench.engine.settings().service_mode.value.tunnels_traffic();
        if tunnels && !matches!(state, State::Disconnected | State::Disconnecting) {
            let plan = self.last.as_ref().expect("a plan");
            let to: IpAddr = TUNNELLED.parse().unwrap();
            let routed = plan.routes.iter().any(|network| network.contains(&to));
            assert!(plan.interface.is_some() && routed, "{state}: {plan:?}");
        }
    }

    /// From now on all goes well.
    fn settle(&mut self) {
        for _ in 0..60 {
            self.happens(Happens::Applied);
            if self.bench.engine.transport.is_some() {
                self.happens(Happens::Up);
            }
            self.happens(Happens::Proven);
            if self.bench.state() != State::Connected
                && let Some(due) = self.bench.engine.poll_timeout()
            {
                self.bench.now = due.at.max(self.bench.now);
                self.bench.engine.handle_timeout(self.bench.now);
                self.look();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_phone_blocks_what_it_tunnels_and_comes_up_whatever_happened(
        steps in prop::collection::vec(happens(), 1..60)
    ) {
        let mut world = World::new();
        for step in steps {
            world.happens(step);
        }
        world.happens(Happens::Enrolled);
        world.settle();
        world.happens(Happens::Connects);
        world.settle();
        prop_assert_eq!(world.bench.state(), State::Connected, "{:?}", world.bench.reason());
        let tunnels = world.bench.engine.settings().service_mode.value.tunnels_traffic();
        prop_assert_eq!(world.reader, if tunnels { Reader::Tunnel } else { Reader::Front });
        world.happens(Happens::Disconnects);
        world.happens(Happens::Applied);
        prop_assert_eq!((world.bench.state(), world.reader), (State::Disconnected, Reader::Nobody));
        prop_assert!(world.last.unwrap().interface.is_none());
    }
}
