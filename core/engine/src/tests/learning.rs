//! When answers are held, by which plans, and when they go.

use super::*;

const EXCLUDE: &str = r#"{"exclude":[{"host":"*.example.com"},{"address":"10.0.0.0/8"}]}"#;
const INCLUDE: &str = r#"{"include":[{"host":"*.example.com"},{"address":"203.0.113.128/25"}]}"#;
const SENTINEL: &str = "100.100.100.53";

fn profile(json: &str) -> Profile {
    Profile::from_json(json).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn learnt(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn phone(json: &str) -> Bench {
    Bench::with_sentinels(Some(registration()), profile(json), vec![ip(SENTINEL)]).brought_up()
}

impl Bench {
    fn learns(&mut self, hold: u64, addresses: &[&str]) {
        self.learns_for(hold, addresses, 60);
    }

    fn learns_for(&mut self, hold: u64, addresses: &[&str], ttl: u64) {
        let addresses: Vec<_> = addresses.iter().map(|text| (ip(text), Duration::from_secs(ttl))).collect();
        self.engine.handle_learnt(hold, &addresses, self.now);
    }

    fn changes_profile(&mut self, json: &str) {
        let fetched = Fetched::Device(Box::new(registration()), Box::new(profile(json)));
        self.engine.handle_profile(fetched, self.now);
    }
}

impl Seen {
    fn only_plan(&self) -> &Plan {
        assert_eq!(self.plans.len(), 1);
        &self.plans[0]
    }

    /// The holds that were let go: those whose addresses lead the right way, and the others.
    fn let_go(&self) -> (Vec<u64>, Vec<u64>) {
        let of = |wanted: bool| {
            let chosen = self.released.iter().filter(|(_, result)| result.is_ok() == wanted);
            chosen.flat_map(|(holds, _)| holds.iter().copied()).collect()
        };
        (of(true), of(false))
    }
}

#[test]
fn an_answer_waits_for_the_plan_with_its_addresses() {
    for (json, mode) in [(EXCLUDE, SplitTunnelMode::Exclude), (INCLUDE, SplitTunnelMode::Include)] {
        let mut bench = Bench::connected(profile(json));
        bench.learns(1, &["198.51.100.7", "2001:db8::7"]);
        let seen = bench.seen();
        let plan = seen.only_plan();
        assert_eq!(plan.learnt.mode, mode);
        assert_eq!(plan.learnt.addresses, learnt(&["198.51.100.7", "2001:db8::7"]));
        assert!(plan.dns.is_some() && plan.interface.is_some());
        assert!(seen.released.is_empty());
        bench.acknowledge(&seen);
        assert_eq!(bench.seen().let_go(), (vec![1], vec![]));
        assert_eq!(bench.state(), State::Connected);
    }
}

#[test]
fn the_verdicts_have_the_addresses_in_at_once() {
    let mut bench = Bench::connected(profile(INCLUDE));
    bench.learns(1, &["198.51.100.7"]);
    let seen = bench.seen();
    assert!(seen.verdicts.last().unwrap().routes(ip("198.51.100.7")));
    assert!(!seen.verdicts.last().unwrap().routes(ip("198.51.100.8")));
}

#[test]
fn what_is_in_force_goes_at_once_and_lasts_longer_without_a_plan() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    bench.learns(1, &["198.51.100.7"]);
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.seen();
    bench.wait(659);
    bench.learns(2, &["198.51.100.7"]);
    let seen = bench.seen();
    assert_eq!((seen.plans.len(), seen.let_go()), (0, (vec![2], vec![])));
    bench.wait(659);
    bench.learns(3, &["198.51.100.8"]);
    let plan = bench.seen();
    assert_eq!(plan.only_plan().learnt.addresses, learnt(&["198.51.100.7", "198.51.100.8"]));
}

#[test]
fn an_address_ends_after_its_time_and_the_grace_with_the_next_plan() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    bench.learns(1, &["198.51.100.7"]);
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.seen();
    assert!(bench.engine.poll_timeout().is_none_or(|due| due.reason == "profile refresh"), "no wake-up");
    bench.wait(660);
    assert!(bench.seen().plans.is_empty(), "its end makes no plan");
    bench.learns(2, &["198.51.100.7"]);
    assert!(bench.seen().plans.is_empty(), "it is in the plan in force, and stays");
    bench.wait(660);
    bench.learns(3, &["198.51.100.8"]);
    let seen = bench.seen();
    assert_eq!(seen.only_plan().learnt.addresses, learnt(&["198.51.100.8"]));
}

#[test]
fn what_comes_while_a_plan_is_unacknowledged_shares_the_next() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    bench.learns(1, &["198.51.100.1"]);
    let first = bench.seen();
    for last in 2..=9_u8 {
        bench.learns(last.into(), &[&format!("198.51.100.{last}")]);
    }
    bench.learns(10, &["198.51.100.1"]);
    let meanwhile = bench.seen();
    assert!(meanwhile.plans.is_empty() && meanwhile.released.is_empty());
    bench.acknowledge(&first);
    let second = bench.seen();
    assert_eq!(second.let_go(), (vec![1, 10], vec![]));
    assert_eq!(second.only_plan().learnt.addresses.len(), 9);
    bench.acknowledge(&second);
    assert_eq!(bench.seen().let_go(), ((2..=9).collect(), vec![]));
}

#[test]
fn a_plan_that_fails_fails_its_answers_and_is_made_again() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    bench.learns(1, &["198.51.100.1"]);
    let first = bench.seen();
    bench.learns(2, &["198.51.100.2"]);
    let number = first.only_plan().number;
    bench.engine.handle_plan(number, Err("nft: no".to_owned()), bench.now);
    assert_eq!(bench.seen().let_go(), (vec![], vec![1, 2]));
    bench.learns(3, &["198.51.100.1"]);
    assert!(bench.seen().plans.is_empty(), "what fails is not asked for again by every query");
    bench.wait(1);
    let second = bench.seen();
    assert_eq!(second.only_plan().learnt.addresses, learnt(&["198.51.100.1", "198.51.100.2"]));
    bench.acknowledge(&second);
    assert_eq!(bench.seen().let_go(), (vec![3], vec![]));
    bench.learns(4, &["198.51.100.2"]);
    assert_eq!(bench.seen().let_go(), (vec![4], vec![]), "the addresses stayed");
}

#[test]
fn a_plan_made_for_something_else_takes_the_answers_along() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    bench.learns(1, &["198.51.100.1"]);
    bench.seen();
    bench.learns(2, &["198.51.100.2"]);
    let named = format!(r#"{{"dns_search_suffixes":["corp.example"],{}"#, &EXCLUDE[1..]);
    bench.changes_profile(&named);
    let seen = bench.seen();
    assert_eq!(seen.only_plan().learnt.addresses, learnt(&["198.51.100.1", "198.51.100.2"]));
    bench.acknowledge(&seen);
    let seen = bench.seen();
    assert_eq!((seen.plans.len(), seen.let_go()), (0, (vec![1, 2], vec![])));
}

#[test]
fn an_answer_that_waits_while_the_lists_change_is_asked_for_again() {
    let covered = r#"{"exclude":[{"host":"*.example.com"},{"address":"198.51.100.0/30"}]}"#;
    let mut bench = Bench::connected(profile(covered));
    bench.learns(1, &["198.51.100.1", "198.51.100.9"]);
    assert_eq!(bench.seen().only_plan().learnt.addresses, learnt(&["198.51.100.9"]));
    bench.changes_profile(EXCLUDE);
    let seen = bench.seen();
    assert_eq!(seen.let_go(), (vec![], vec![1]), "the list no longer covers its other address");
    assert_eq!(seen.only_plan().learnt.addresses, learnt(&["198.51.100.9"]));
}

#[test]
fn addresses_that_no_list_can_move_never_wait() {
    let exclude = [
        "10.1.2.3",
        "127.0.0.1",
        "0.0.0.0",
        "169.254.1.1",
        "224.0.0.251",
        "239.1.1.1",
        "255.255.255.255",
        "172.64.128.1",
        "203.0.113.10",
        "172.16.0.2",
        "2606:4700:cf1::1",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "fd01:db8:1111::2",
        "::ffff:127.0.0.1",
    ];
    let mut include = exclude;
    include[0] = "203.0.113.200";
    for (json, addresses) in [(EXCLUDE, exclude), (INCLUDE, include)] {
        let mut bench = Bench::connected(profile(json));
        for address in addresses {
            bench.learns(1, &[address]);
            let seen = bench.seen();
            assert_eq!((seen.plans.len(), seen.let_go()), (0, (vec![1], vec![])), "{json} {address}");
        }
        bench.learns(2, &addresses);
        bench.learns(3, &[]);
        assert_eq!(bench.seen().let_go(), (vec![2, 3], vec![]));
    }
}

#[test]
fn a_private_address_of_an_included_host_goes_into_the_tunnel() {
    let mut bench = Bench::connected(profile(INCLUDE));
    bench.learns(1, &["192.168.9.1", "::ffff:198.51.100.9"]);
    let seen = bench.seen();
    assert_eq!(seen.only_plan().learnt.addresses, learnt(&["192.168.9.1", "198.51.100.9"]), "mapped is IPv4");
}

#[test]
fn an_answer_with_too_many_addresses_fails() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    let many: Vec<String> = (0..65).map(|last| format!("198.51.100.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    bench.learns(1, &many);
    let seen = bench.seen();
    assert_eq!((seen.plans.len(), seen.let_go()), (0, (vec![], vec![1])));
    bench.learns(2, &many[..64]);
    assert_eq!(bench.seen().only_plan().learnt.addresses.len(), 64);
}

#[test]
fn a_full_table_keeps_to_its_bound_and_serves_new_names() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    let mut longest = 0;
    for block in 0..80_u32 {
        let texts: Vec<String> = (0..60).map(|last| format!("198.51.{block}.{last}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        // The later the shorter, so that the newest would be the first to go.
        bench.learns_for(block.into(), &texts, u64::from(8000 - 100 * block));
        let seen = bench.seen();
        longest = longest.max(seen.only_plan().learnt.addresses.len());
        bench.acknowledge(&seen);
        assert_eq!(bench.seen().let_go(), (vec![block.into()], vec![]));
    }
    assert_eq!(longest, crate::LEARNT_CAPACITY);
}

#[test]
fn an_answer_whose_addresses_made_room_for_others_fails() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    bench.learns(0, &["198.51.100.1"]);
    let first = bench.seen();
    bench.learns_for(1, &["198.51.100.2"], 1);
    for block in 0..70_u32 {
        let texts: Vec<String> = (0..64).map(|last| format!("203.1.{block}.{last}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        bench.learns(u64::from(block) + 100, &texts);
    }
    bench.acknowledge(&first);
    let seen = bench.seen();
    assert!(seen.let_go().1.contains(&1), "its address is in no plan");
    assert_eq!(seen.only_plan().learnt.addresses.len(), crate::LEARNT_CAPACITY);
}

#[test]
fn more_answers_than_the_bound_do_not_wait() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    for hold in 0..1100_u64 {
        bench.learns(hold, &["198.51.100.1"]);
    }
    assert_eq!(bench.seen().let_go(), (vec![], (0..76).collect()), "the oldest go");
}

#[test]
fn what_was_learnt_outlives_a_lost_tunnel_and_another_network() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    bench.learns(1, &["198.51.100.1"]);
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.says(TransportEvent::Lost(LostReason::Silent));
    bench.engine.handle_wake(bench.now);
    bench.up();
    bench.seen();
    bench.learns(2, &["198.51.100.1"]);
    let seen = bench.seen();
    assert_eq!((seen.plans.len(), seen.let_go()), (0, (vec![2], vec![])));

    bench.learns(3, &["198.51.100.3"]);
    bench.engine.handle_tunnel_failed("gone".to_owned(), bench.now);
    assert_eq!(bench.seen().let_go(), (vec![], vec![3]));
    bench.wait(1);
    let seen = bench.seen();
    assert_eq!(seen.only_plan().learnt.addresses, learnt(&["198.51.100.1", "198.51.100.3"]));
}

#[test]
fn what_was_learnt_goes_with_its_entries_and_with_the_connection() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    bench.learns(1, &["198.51.100.1"]);
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.learns(2, &["198.51.100.2"]);
    bench.seen();
    bench.changes_profile(r#"{"exclude":[{"host":"other.example"},{"address":"10.0.0.0/8"}]}"#);
    let seen = bench.seen();
    assert_eq!((seen.only_plan().learnt.addresses.len(), seen.let_go()), (0, (vec![], vec![2])));
    bench.acknowledge(&seen);
    bench.changes_profile(INCLUDE);
    let seen = bench.seen();
    assert!(seen.only_plan().learnt.addresses.is_empty());
    bench.acknowledge(&seen);

    bench.learns(3, &["198.51.100.3"]);
    bench.seen();
    bench.engine.handle_command(Command::Disconnect, bench.now).unwrap();
    let seen = bench.seen();
    assert_eq!(seen.let_go(), (vec![], vec![3]));
    bench.learns(4, &["198.51.100.4"]);
    assert_eq!(bench.seen().let_go(), (vec![], vec![4]));
    bench.acknowledge(&seen);
    bench.seen();
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    assert!(bench.seen().only_plan().learnt.addresses.is_empty());
}

#[test]
fn included_addresses_stay_in_the_tunnel_until_they_end_whatever_the_lists_become() {
    let mut bench = Bench::connected(profile(INCLUDE));
    bench.learns(1, &["198.51.100.1"]);
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.seen();
    let more =
        r#"{"include":[{"host":"*.example.com"},{"host":"new.example"},{"address":"203.0.113.128/25"}]}"#;
    let others = r#"{"include":[{"host":"new.example"}]}"#;
    for json in [more, others, INCLUDE] {
        bench.changes_profile(json);
        let seen = bench.seen();
        if let Some(plan) = seen.plans.last() {
            assert_eq!(plan.learnt.addresses, learnt(&["198.51.100.1"]), "{json}");
            bench.acknowledge(&seen);
        }
        bench.seen();
    }
    // Covered by an entry of addresses, and by none again.
    let covered = r#"{"include":[{"host":"*.example.com"},{"address":"198.51.100.0/24"}]}"#;
    bench.changes_profile(covered);
    let seen = bench.seen();
    assert!(seen.only_plan().learnt.addresses.is_empty());
    assert!(seen.only_plan().routes.contains(&"198.51.100.0/24".parse().unwrap()));
    bench.acknowledge(&seen);
    bench.changes_profile(INCLUDE);
    let seen = bench.seen();
    assert_eq!(seen.only_plan().learnt.addresses, learnt(&["198.51.100.1"]));
    bench.learns(2, &["198.51.100.1"]);
    assert!(bench.seen().released.is_empty(), "not before the plan that has it by itself");
    bench.acknowledge(&seen);
    assert_eq!(bench.seen().let_go(), (vec![2], vec![]));

    bench.changes_profile(r#"{"include":[{"address":"203.0.113.128/25"}]}"#);
    let seen = bench.seen();
    assert!(seen.only_plan().learnt.addresses.is_empty(), "no host entries, nothing learnt");
    bench.acknowledge(&seen);
    bench.changes_profile(INCLUDE);
    let seen = bench.seen();
    assert!(seen.plans.iter().all(|plan| plan.learnt.addresses.is_empty()));
}

#[test]
fn a_full_table_keeps_what_is_included_until_its_ttl_is_over() {
    let mut bench = Bench::connected(profile(INCLUDE));
    let blocks = u32::try_from(crate::LEARNT_CAPACITY / 64).unwrap();
    for block in 0..blocks {
        let texts: Vec<String> = (0..64).map(|last| format!("198.51.{block}.{last}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        bench.learns_for(block.into(), &texts, 60);
        let seen = bench.seen();
        bench.acknowledge(&seen);
        bench.seen();
    }
    bench.learns(1000, &["192.0.2.1"]);
    let seen = bench.seen();
    assert_eq!((seen.plans.len(), seen.let_go()), (0, (vec![], vec![1000])));
    bench.learns(1001, &["198.51.0.1"]);
    assert_eq!(bench.seen().let_go(), (vec![1001], vec![]), "it is in");
    bench.wait(60);
    bench.learns(1002, &["192.0.2.1"]);
    let seen = bench.seen();
    assert_eq!(seen.only_plan().learnt.addresses.len(), crate::LEARNT_CAPACITY);
    assert!(seen.only_plan().learnt.addresses.contains(&ip("192.0.2.1")));
}

#[test]
fn an_entry_of_addresses_leaves_nothing_to_learn_there() {
    let mut bench = Bench::connected(profile(EXCLUDE));
    bench.learns(1, &["198.51.100.1", "192.0.2.1"]);
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.seen();
    let covered = r#"{"exclude":[{"host":"*.example.com"},{"address":"198.51.100.0/24"}]}"#;
    bench.changes_profile(covered);
    let seen = bench.seen();
    assert_eq!(seen.only_plan().learnt.addresses, learnt(&["192.0.2.1"]));
    // Uncovered again, the address is new: the plan in force does not hold it.
    bench.changes_profile(EXCLUDE);
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.seen();
    bench.learns(2, &["198.51.100.1"]);
    let seen = bench.seen();
    assert_eq!((seen.only_plan().learnt.addresses.len(), seen.released.len()), (2, 0));
}

#[test]
fn without_host_entries_nothing_is_learnt() {
    for json in ["{}", r#"{"service_mode_v2":{"mode":"1dot1"},"exclude":[{"host":"example.com"}]}"#] {
        let mut bench = Bench::connected(profile(json));
        bench.learns(1, &["198.51.100.1"]);
        let seen = bench.seen();
        assert_eq!((seen.plans.len(), seen.let_go()), (0, (vec![1], vec![])), "{json}");
    }
}

#[test]
fn on_phones_excluded_answers_do_not_wait_and_plans_come_in_groups() {
    let mut bench = phone(EXCLUDE);
    bench.learns(1, &["198.51.100.1"]);
    let seen = bench.seen();
    assert_eq!(seen.let_go(), (vec![1], vec![]));
    let plan = seen.only_plan();
    assert!(plan.learnt.addresses.is_empty());
    assert!(plan.excluded_routes.contains(&"198.51.100.1/32".parse().unwrap()));
    bench.acknowledge(&seen);
    bench.wait(1);
    bench.learns(2, &["198.51.100.2"]);
    bench.learns(3, &["198.51.100.4"]);
    let seen = bench.seen();
    assert_eq!((seen.plans.len(), seen.let_go()), (0, (vec![2, 3], vec![])));
    let due = bench.engine.poll_timeout().unwrap();
    assert_eq!((due.reason, due.at - bench.now), ("learnt addresses", Duration::from_secs(9)));
    assert!(bench.engine.status(bench.now).timers.iter().any(|timer| timer.reason == "learnt addresses"));
    bench.wait(9);
    let seen = bench.seen();
    assert!(seen.only_plan().excluded_routes.contains(&"198.51.100.4/32".parse().unwrap()));
    assert!(bench.engine.poll_timeout().is_none_or(|due| due.reason != "learnt addresses"));
}

#[test]
fn on_phones_included_answers_wait_for_their_group() {
    let mut bench = phone(INCLUDE);
    bench.learns(1, &["198.51.100.1"]);
    let first = bench.seen();
    assert!(first.released.is_empty());
    assert!(first.only_plan().routes.contains(&"198.51.100.1/32".parse().unwrap()));
    bench.learns(2, &["198.51.100.2"]);
    bench.acknowledge(&first);
    let seen = bench.seen();
    assert_eq!((seen.plans.len(), seen.let_go()), (0, (vec![1], vec![])));
    bench.wait(10);
    let second = bench.seen();
    bench.acknowledge(&second);
    assert_eq!(bench.seen().let_go(), (vec![2], vec![]));
}

#[test]
fn the_proxy_is_told_which_names_and_whether_to_hold() {
    let cases = [
        (EXCLUDE, "", 1, true),
        (INCLUDE, "", 1, true),
        (EXCLUDE, SENTINEL, 1, false),
        (INCLUDE, SENTINEL, 1, true),
        (r#"{"service_mode_v2":{"mode":"1dot1"},"exclude":[{"host":"example.com"}]}"#, "", 0, true),
    ];
    for (json, sentinel, hosts, hold) in cases {
        let sentinels = sentinel.parse().into_iter().collect();
        let mut bench = Bench::with_sentinels(Some(registration()), profile(json), sentinels);
        bench.engine.handle_command(Command::Connect, bench.now).unwrap();
        let seen = bench.seen();
        // DNS only goes ahead without a plan of its own.
        if let Some(plan) = seen.plans.last() {
            bench.engine.handle_plan(plan.number, Ok(()), bench.now);
        }
        if bench.engine.settings().service_mode.value.tunnels_traffic() {
            bench.up();
        }
        let mut services = seen.services;
        services.extend(bench.seen().services);
        assert_eq!((services[0].hosts.len(), services[0].hold), (hosts, hold), "{json} {sentinel}");
    }
}
