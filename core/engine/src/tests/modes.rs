//! What service modes ask for, and going from one to another while the device is up.

use super::*;
use weft_model::SENTINEL_ADDRESSES;

const MODES: [&str; 3] = ["warp", "1dot1", "tunnelonly"];

fn profile(mode: &str) -> Profile {
    let json = format!(r#"{{"service_mode_v2":{{"mode":"{mode}"}},"exclude":[{{"host":"example.com"}}]}}"#);
    Profile::from_json(&json).unwrap()
}

/// What the modes want of a connected device: a firewall that holds, an interface, DNS settings.
fn parts(plan: &Plan) -> (bool, bool, bool) {
    (plan.firewall != FirewallPlan::Open, plan.interface.is_some(), plan.dns.is_some())
}

#[test]
fn every_mode_follows_every_other_without_a_hole_in_the_firewall() {
    for from in MODES {
        for to in MODES {
            let mut bench = Bench::connected(profile(from));
            let fetched = Fetched::Device(Box::new(registration()), Box::new(profile(to)));
            bench.engine.handle_profile(fetched, bench.now);
            let mut plans = Vec::new();
            for _ in 0..8 {
                let seen = bench.seen();
                if let Some(plan) = seen.plans.last() {
                    bench.engine.handle_plan(plan.number, Ok(()), bench.now);
                }
                if seen.tunnels_started > 0 {
                    bench.up();
                }
                if !seen.services.is_empty() {
                    bench.engine.handle_dns_service(Ok(()), bench.now);
                }
                for check in seen.checks {
                    bench.engine.handle_check(check, Ok(()), bench.now);
                }
                plans.extend(seen.plans);
            }
            assert_eq!((bench.state(), bench.reason()), (State::Connected, Reason::Healthy), "{from} {to}");
            let wanted = match to {
                "warp" => (true, true, true),
                "1dot1" => (false, false, true),
                _ => (true, true, false),
            };
            if let Some(last) = plans.last() {
                assert_eq!(parts(last), wanted, "{from} {to}");
            }
            let tunnels = |mode: &str| mode != "1dot1";
            let leak = plans.iter().any(|plan| plan.firewall == FirewallPlan::Open);
            assert!(!(tunnels(to) && leak), "{from} {to}: the firewall opens on the way to a tunnel");
        }
    }
}

#[test]
fn a_switch_lets_go_of_the_answers_that_wait() {
    let mut bench = Bench::connected(profile("warp"));
    let answer = [("198.51.100.1".parse().unwrap(), Duration::from_secs(60))];
    bench.engine.handle_learnt(1, &answer, bench.now);
    bench.seen();
    let fetched = Fetched::Device(Box::new(registration()), Box::new(profile("1dot1")));
    bench.engine.handle_profile(fetched, bench.now);
    let released = bench.seen().released;
    assert!(matches!(released.as_slice(), [(holds, Err(_))] if holds == &[1]), "{released:?}");
}

#[test]
fn dns_only_asks_outside_and_checks_outside() {
    let mut bench = Bench::new(Some(registration()), profile("1dot1"));
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    let first = bench.seen();
    assert_eq!(parts(&first.plans[0]), (false, false, false), "DNS is switched once it is proven");
    bench.acknowledge(&first);
    let proving = bench.seen();
    assert_eq!((proving.checks.as_slice(), proving.services[0].inside), ([Check::Outside].as_slice(), false));
    assert_eq!(proving.tunnels_started, 0);
}

#[test]
fn traffic_only_starts_no_proxy() {
    let mut bench = Bench::new(Some(registration()), profile("tunnelonly"));
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.up();
    bench.engine.handle_system_dns(vec!["192.168.1.1".parse().unwrap()], bench.now);
    let seen = bench.seen();
    assert_eq!(
        (seen.services.len(), seen.checks.as_slice()),
        (0, [Check::Inside, Check::Outside].as_slice())
    );
}

#[test]
fn dns_only_tunnels_nothing() {
    let profile =
        Profile::from_json(r#"{"service_mode_v2":{"mode":"1dot1"},"allow_mode_switch":true}"#).unwrap();
    let mut bench = Bench::connected(profile);
    assert_eq!(bench.puppet.0.lock().unwrap().started, 0);
    let mode = ServiceMode::TrafficAndDns;
    bench.engine.handle_command(Command::SetMode { mode }, bench.now).unwrap();
    let seen = bench.seen();
    assert!(matches!(seen.plans[0].firewall, FirewallPlan::Enforced { .. }));
    assert_eq!((seen.dns_stopped, seen.tunnels_started), (0, 0));
}

fn fetched(mode: &str) -> Fetched {
    Fetched::Device(Box::new(registration()), Box::new(profile(mode)))
}

#[test]
fn queries_are_answered_all_the_while_from_one_mode_that_answers_them_to_another() {
    for (from, to) in [("warp", "1dot1"), ("1dot1", "warp")] {
        for sentinels in [Vec::new(), SENTINEL_ADDRESSES.to_vec()] {
            let phone = usize::from(!sentinels.is_empty());
            let bench = Bench::with_sentinels(Some(registration()), profile(from), sentinels);
            let mut bench = bench.brought_up();
            bench.engine.handle_profile(fetched(to), bench.now);
            let switching = bench.seen();
            assert_eq!((switching.dns_stopped, switching.services.len()), (0, 0), "{from} {to}");
            assert_eq!(switching.tunnels_stopped, 0, "the queries of {from} need it still");
            assert_eq!(switching.rounds_ended, 1, "a check of {from} proves nothing of {to}");
            assert!(switching.plans.last().unwrap().dns.is_some());
            bench.acknowledge(&switching);

            let mut prepared = bench.seen();
            // On a desktop nobody serves an interface in DNS only.
            let stopped = if from == "warp" { 1 } else { phone };
            assert_eq!(prepared.tunnels_stopped, stopped, "{from} {to}");
            if to == "warp" {
                assert_eq!((prepared.tunnels_started, prepared.services.len()), (1, 0));
                bench.up();
                prepared = bench.seen();
            } else {
                assert_eq!(prepared.fronts_started, phone);
            }
            let inside: Vec<bool> = prepared.services.iter().map(|service| service.inside).collect();
            assert_eq!(inside, [to == "warp"], "by the way of {to}, once that is there");
            bench.prove();
            let proven = bench.seen();
            assert!(proven.plans.iter().all(|plan| plan.dns.is_some()) && proven.dns_stopped == 0);
            if !proven.plans.is_empty() {
                bench.acknowledge(&proven);
            }
            assert_eq!(bench.state(), State::Connected);
            assert_eq!(bench.seen().fronts_started, 0);
        }
    }
}

#[test]
fn a_switch_to_a_resolver_that_cannot_be_asked_leaves_names_to_those_of_before() {
    let mut bench = Bench::connected(profile("warp"));
    bench.engine.handle_profile(fetched("1dot1"), bench.now);
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.seen();
    bench.engine.handle_dns_service(Err("no".to_owned()), bench.now);
    let seen = bench.seen();
    assert!(seen.plans[0].dns.is_none());
    bench.acknowledge(&seen);
    bench.wait(1);
    bench.prove();
    let seen = bench.seen();
    assert!(seen.plans[0].dns.is_some());
    bench.acknowledge(&seen);
    assert_eq!(bench.state(), State::Connected);
}

#[test]
fn a_switch_back_before_the_first_is_done_keeps_answering() {
    let mut bench = Bench::connected(profile("warp"));
    bench.engine.handle_profile(fetched("1dot1"), bench.now);
    bench.engine.handle_profile(fetched("warp"), bench.now);
    let seen = bench.seen();
    assert_eq!((seen.dns_stopped, seen.rounds_ended), (0, 2));
    assert!(seen.plans.iter().all(|plan| plan.dns.is_some()));
    // A disconnect on the way ends it all.
    bench.engine.handle_command(Command::Disconnect, bench.now).unwrap();
    let seen = bench.seen();
    assert!(seen.plans[0].same_state(&Plan::disconnected(0)));
    bench.acknowledge(&seen);
    let seen = bench.seen();
    assert_eq!((bench.state(), seen.dns_stopped, seen.tunnels_stopped), (State::Disconnected, 1, 1));
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    assert!(bench.seen().plans[0].dns.is_none());
}

#[test]
fn names_by_the_gateway_alone_need_a_resolver_outside_the_tunnel() {
    let mut imported = registration();
    imported.source = RegistrationSource::Imported;
    imported.gateways[0].dns =
        DnsUpstream::Plain { servers: vec!["10.99.0.1".parse().unwrap()], search: Vec::new() };
    let mut bench = Bench::new(Some(imported), Profile::default());
    let mode = ServiceMode::DnsOnly;
    let refused = bench.engine.handle_command(Command::SetMode { mode }, bench.now);
    assert!(matches!(refused, Err(UserError::Settings { .. })), "{refused:?}");
}
