//! Learnt answers among everything else that happens, in any order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// 198.51.100.0 to .11 are what answers hold; of them the profiles of [`COVERING`] cover .0 to .3 by an entry of their
/// own.
const POOL: u8 = 12;
const COVERING: [usize; 2] = [1, 3];
const PROFILES: [&str; 5] = [
    r#"{"exclude":[{"host":"*.example.com"}]}"#,
    r#"{"exclude":[{"host":"*.example.com"},{"address":"198.51.100.0/30"}]}"#,
    r#"{"include":[{"host":"*.example.com"},{"address":"203.0.113.128/25"}]}"#,
    r#"{"include":[{"host":"*.example.com"},{"address":"198.51.100.0/30"}]}"#,
    r#"{"include":[{"host":"new.example"},{"address":"203.0.113.128/25"}]}"#,
];

#[derive(Debug, Clone)]
enum Happens {
    Learns(BTreeSet<u8>, u64),
    /// The shell is done with the newest plan, or with the one before.
    Applied(bool),
    NotApplied,
    Waits(u64),
    Lost,
    Up,
    OtherNetwork,
    InterfaceGone,
    Proven,
    OtherProfile(usize),
    OtherResolvers(u8),
    Portal(bool),
    Disconnects,
    Connects,
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::*;
    let addresses = prop::collection::btree_set(0..POOL, 0..5);
    prop_oneof![
        12 => (addresses, 0_u64..900).prop_map(|(addresses, ttl)| Learns(addresses, ttl)),
        10 => prop::bool::weighted(0.8).prop_map(Applied),
        1 => Just(NotApplied),
        4 => (0_u64..700).prop_map(Waits),
        1 => Just(Lost),
        2 => Just(Up),
        1 => Just(OtherNetwork),
        1 => Just(InterfaceGone),
        3 => Just(Proven),
        1 => (0..PROFILES.len()).prop_map(OtherProfile),
        1 => (1_u8..4).prop_map(OtherResolvers),
        1 => any::<bool>().prop_map(Portal),
        1 => Just(Disconnects),
        2 => Just(Connects),
    ]
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, last])
}

/// What the world saw.
struct World {
    bench: Bench,
    told: Vec<Plan>,
    acknowledged: u64,
    failed: BTreeSet<u64>,
    /// The addresses of every answer that was not let go yet.
    held: BTreeMap<u64, BTreeSet<u8>>,
    next_hold: u64,
    profile: usize,
}

impl World {
    fn new() -> Self {
        let bench = Bench::connected(Profile::from_json(PROFILES[0]).unwrap());
        let acknowledged = bench.engine.status(bench.now).plan;
        let told = bench.engine.plans.reassert().into_iter().collect();
        let (failed, held) = (BTreeSet::new(), BTreeMap::new());
        Self { bench, told, acknowledged, failed, held, next_hold: 0, profile: 0 }
    }

    fn happens(&mut self, what: Happens) {
        let now = self.bench.now;
        let by_learning = matches!(what, Happens::Learns(..) | Happens::Applied(_));
        match what {
            Happens::Learns(addresses, ttl) => {
                let answer: Vec<_> =
                    addresses.iter().map(|last| (address(*last), Duration::from_secs(ttl))).collect();
                self.held.insert(self.next_hold, addresses);
                self.bench.engine.handle_learnt(self.next_hold, &answer, now);
                self.next_hold += 1;
            }
            Happens::Applied(newest) => {
                let back = usize::from(!newest) + 1;
                let number = self.told.len().checked_sub(back).map(|at| self.told[at].number);
                if let Some(number) = number.filter(|number| !self.failed.contains(number)) {
                    self.acknowledged = self.acknowledged.max(number);
                    self.bench.engine.handle_plan(number, Ok(()), now);
                }
            }
            Happens::NotApplied => {
                let number = self.told.last().map(|plan| plan.number);
                if let Some(number) = number.filter(|number| *number > self.acknowledged) {
                    self.failed.insert(number);
                    self.bench.engine.handle_plan(number, Err("no".to_owned()), now);
                }
            }
            Happens::Waits(seconds) => self.bench.wait(seconds),
            Happens::Lost => self.bench.says(TransportEvent::Lost(LostReason::Silent)),
            Happens::Up => self.bench.up(),
            Happens::OtherNetwork => self.bench.engine.handle_wake(now),
            Happens::InterfaceGone => self.bench.engine.handle_tunnel_failed("gone".to_owned(), now),
            Happens::Proven => self.bench.prove(),
            Happens::OtherProfile(index) => {
                self.profile = index;
                let profile = Profile::from_json(PROFILES[index]).unwrap();
                let fetched = Fetched::Device(Box::new(registration()), Box::new(profile));
                self.bench.engine.handle_profile(fetched, now);
            }
            Happens::OtherResolvers(last) => {
                self.bench.engine.handle_system_dns(vec![IpAddr::from([192, 168, 1, last])], now);
            }
            Happens::Portal(open) => self.bench.engine.set_captive_portal(open, now),
            Happens::Disconnects => drop(self.bench.engine.handle_command(Command::Disconnect, now)),
            Happens::Connects => drop(self.bench.engine.handle_command(Command::Connect, now)),
        }
        self.look(by_learning);
    }

    /// Checks what came of it. `by_learning`: nothing but learnt addresses can have made a plan that differs in them
    /// alone.
    fn look(&mut self, by_learning: bool) {
        let seen = self.bench.seen();
        for (holds, result) in &seen.released {
            for hold in holds {
                let addresses = self.held.remove(hold).expect("each answer is let go once");
                if result.is_ok() {
                    self.check_in_force(*hold, &addresses);
                }
            }
        }
        for plan in &seen.plans {
            if by_learning {
                self.check_one_at_a_time(plan);
            }
            match self.told.iter().position(|known| known.number == plan.number) {
                Some(known) => assert_eq!(self.told[known], *plan, "one number, one state"),
                None => self.told.push(plan.clone()),
            }
        }
    }

    fn check_in_force(&self, hold: u64, addresses: &BTreeSet<u8>) {
        let in_force = self.told.iter().find(|plan| plan.number == self.acknowledged).unwrap();
        let covered = if COVERING.contains(&self.profile) { 0..4 } else { 0..0 };
        for last in addresses.iter().filter(|last| !covered.contains(*last)) {
            let there = in_force.learnt.addresses.contains(&address(*last));
            assert!(there, "answer {hold}: {} is not in plan {}", address(*last), in_force.number);
        }
    }

    /// A plan that differs in its learnt addresses alone waits for the one before.
    fn check_one_at_a_time(&self, plan: &Plan) {
        let Some(last) = self.told.last().filter(|last| last.number != plan.number) else { return };
        let but_learnt = Plan { learnt: last.learnt.clone(), ..plan.clone() };
        let done = last.number <= self.acknowledged || self.failed.contains(&last.number);
        if but_learnt.same_state(last) && !last.same_state(plan) {
            assert!(done, "plan {} was made while {} was under way", plan.number, last.number);
        }
    }

    /// From now on the shell does as it is told, and time passes from deadline to deadline.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.happens(Happens::Applied(true));
            if self.bench.engine.transport.is_some() {
                self.happens(Happens::Up);
            }
            self.happens(Happens::Proven);
            if let Some(due) = self.bench.engine.poll_timeout() {
                self.bench.now = due.at.max(self.bench.now);
                self.bench.engine.handle_timeout(self.bench.now);
                self.look(false);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_is_released_before_its_plan_and_none_is_forgotten(
        steps in prop::collection::vec(happens(), 1..50)
    ) {
        let mut world = World::new();
        for step in steps {
            world.happens(step);
        }
        world.settle();
        prop_assert!(world.held.is_empty(), "never let go: {:?}", world.held);
    }
}
