//! A device whose names and packets come by its interface alone.

use super::*;
use weft_model::{AppRules, LocalPolicy, SENTINEL_ADDRESSES, Way};

fn phone(json: &str) -> Bench {
    let profile = Profile::from_json(json).unwrap();
    Bench::with_sentinels(Some(registration()), profile, SENTINEL_ADDRESSES.to_vec())
}

/// Up to where the tunnel stands and its proof is under way.
fn proving(json: &str) -> (Bench, Seen) {
    let mut bench = phone(json);
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.up();
    bench.engine.handle_dns_service(Ok(()), bench.now);
    let seen = bench.seen();
    (bench, seen)
}

fn routes(plan: &Plan, address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    plan.routes.iter().any(|network| network.contains(&address))
}

const NAMES: &str = r#"{"exclude":[{"host":"a.example"},{"host":"*.b.example"},{"host":"c.example"}]}"#;

#[test]
fn exact_host_names_are_looked_up_before_the_plan_that_it_connects_by() {
    let (mut bench, seen) = proving(NAMES);
    assert_eq!(seen.looked_up, ["a.example", "c.example"]);
    bench.engine.handle_check(Check::Inside, Ok(()), bench.now);
    bench.engine.handle_check(Check::Outside, Ok(()), bench.now);
    let address = ("198.51.100.7".parse().unwrap(), Duration::from_secs(60));
    bench.engine.handle_learnt(1, &[address], bench.now);
    assert!(bench.seen().plans.is_empty(), "one plan for all of them");
    bench.engine.handle_hosts_resolved(bench.now);
    let seen = bench.seen();
    assert!(seen.plans[0].dns.is_some() && !routes(&seen.plans[0], "198.51.100.7"));
    assert_eq!(seen.looked_up.len(), 0);
    bench.acknowledge(&seen);
    assert_eq!(bench.state(), State::Connected);
    assert!(bench.seen().plans.is_empty());
}

#[test]
fn a_connect_waits_two_seconds_for_names_and_no_more() {
    let (mut bench, _) = proving(NAMES);
    bench.engine.handle_check(Check::Inside, Ok(()), bench.now);
    bench.engine.handle_check(Check::Outside, Ok(()), bench.now);
    assert_eq!(bench.engine.poll_timeout().unwrap().at, bench.now + Duration::from_secs(2));
    bench.wait(2);
    let seen = bench.seen();
    assert!(seen.plans[0].dns.is_some());
    bench.acknowledge(&seen);
    assert_eq!(bench.state(), State::Connected);
    bench.engine.handle_hosts_resolved(bench.now);
    assert!(bench.seen().plans.is_empty());
}

#[test]
fn answers_wait_in_include_mode_once_programs_can_ask() {
    let json = NAMES.replace("exclude", "include");
    let (mut bench, seen) = proving(&json);
    assert!(!seen.services.last().unwrap().hold, "a look-up that waits would wait for its own plan");
    bench.engine.handle_learnt(1, &[("198.51.100.7".parse().unwrap(), Duration::from_secs(60))], bench.now);
    bench.prove();
    let seen = bench.seen();
    assert!(seen.services.last().unwrap().hold);
    assert!(routes(&seen.plans[0], "198.51.100.7"));
}

#[test]
fn names_below_a_suffix_and_modes_without_traffic_hold_nothing_up() {
    for json in [
        r#"{"exclude":[{"host":"*.b.example"}]}"#,
        r#"{"exclude":[{"host":"a.example"}],"service_mode_v2":{"mode":"1dot1"}}"#,
        r#"{"exclude":[{"host":"a.example"}],"service_mode_v2":{"mode":"tunnelonly"}}"#,
    ] {
        let (bench, seen) = proving(json);
        assert!(seen.looked_up.is_empty(), "{json}");
        assert!(bench.engine.status(bench.now).timers.iter().all(|timer| timer.reason != "host names"));
    }
    let desktop = Profile::from_json(NAMES).unwrap();
    let mut bench = Bench::new(Some(registration()), desktop);
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    let seen = bench.seen();
    bench.acknowledge(&seen);
    bench.up();
    bench.engine.handle_dns_service(Ok(()), bench.now);
    assert!(bench.seen().looked_up.is_empty());
}

#[test]
fn dns_only_serves_the_interface_once_it_stands() {
    let mut bench = phone(r#"{"service_mode_v2":{"mode":"1dot1"}}"#);
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    let seen = bench.seen();
    if !seen.plans.is_empty() {
        bench.acknowledge(&seen);
    }
    bench.prove();
    let seen = bench.seen();
    let plan = seen.plans.last().unwrap();
    assert!(plan.interface.is_some() && routes(plan, "198.18.0.53") && !routes(plan, "198.51.100.1"));
    assert_eq!((seen.fronts_started, seen.tunnels_started), (0, 0), "the interface is not there yet");
    bench.acknowledge(&seen);
    assert_eq!((bench.seen().fronts_started, bench.state()), (1, State::Connected));

    // The interface is made anew where it goes away, and its packets are served again.
    bench.engine.handle_tunnel_failed("the interface is gone".to_owned(), bench.now);
    bench.wait(1);
    let seen = bench.seen();
    assert_eq!(seen.tunnels_stopped, 1);
    bench.acknowledge(&seen);
    assert_eq!(bench.seen().fronts_started, 1);

    bench.engine.handle_command(Command::Disconnect, bench.now).unwrap();
    let seen = bench.seen();
    assert!(seen.plans[0].interface.is_none());
    bench.acknowledge(&seen);
    assert_eq!((bench.seen().tunnels_stopped, bench.state()), (1, State::Disconnected));
}

#[test]
fn a_revoked_phone_keeps_its_interface_and_answers_that_there_is_no_way() {
    let mut bench = phone("{}").brought_up();
    bench.engine.handle_profile(Fetched::Revoked, bench.now);
    let seen = bench.seen();
    assert!(seen.plans[0].interface.is_some() && routes(&seen.plans[0], "198.51.100.1"));
    assert!(seen.plans[0].dns.is_none());
    assert_eq!((seen.tunnels_stopped, seen.fronts_started), (1, 0));
    bench.acknowledge(&seen);
    assert_eq!((bench.seen().fronts_started, bench.state()), (1, State::Unable));
    bench.engine.set_registration(None, bench.now);
    let seen = bench.seen();
    assert!(seen.plans[0].interface.is_none());
}

#[test]
fn a_wake_proves_the_tunnel_and_leaves_the_interface() {
    let mut bench = phone("{}").brought_up();
    bench.engine.handle_wake(bench.now);
    assert_eq!(bench.puppet.0.lock().unwrap().network_changes, 1);
    assert!(bench.seen().plans.is_empty());
    let mut desktop = Bench::connected(Profile::default());
    desktop.engine.handle_wake(desktop.now);
    assert_eq!(desktop.puppet.0.lock().unwrap().network_changes, 1);
    assert_eq!(desktop.seen().plans.len(), 1, "it is asserted again");
    let mut down = phone("{}");
    down.engine.handle_wake(down.now);
    assert!(down.seen().plans.is_empty());
}

#[test]
fn a_wake_tries_at_once_what_failed_before() {
    let (mut bench, _) = proving("{}");
    bench.engine.handle_check(Check::Inside, Err("no answer".to_owned()), bench.now);
    assert!(bench.seen().checks.is_empty());
    bench.engine.handle_wake(bench.now);
    assert_eq!(bench.seen().checks, [Check::Inside, Check::Outside]);
}

#[test]
fn local_policy_takes_effect_at_once_and_goes_as_it_came() {
    let mut bench = phone(r#"{"allow_mode_switch":true}"#).brought_up();
    let apps = Some(AppRules::Except(vec!["org.example".to_owned()]));
    let policy = LocalPolicy { switch_locked: Some(true), apps: apps.clone(), ..LocalPolicy::default() };
    bench.engine.set_local_policy(policy.clone(), bench.now).unwrap();
    let seen = bench.seen();
    assert_eq!(Some(&seen.plans[0].apps), apps.as_ref());
    let refused = bench.engine.handle_command(Command::Disconnect, bench.now);
    assert!(matches!(refused, Err(UserError::Forbidden { .. })));
    bench.engine.set_local_policy(policy, bench.now).unwrap();
    assert!(bench.seen().plans.is_empty(), "the same again is no change");

    let fixed = LocalPolicy { service_mode: Some(ServiceMode::TrafficAndDns), ..LocalPolicy::default() };
    bench.engine.set_local_policy(fixed, bench.now).unwrap();
    let refused = bench.engine.handle_command(Command::SetMode { mode: ServiceMode::DnsOnly }, bench.now);
    assert!(matches!(refused, Err(UserError::Forbidden { .. })));

    let bad = LocalPolicy { auto_connect: Some(9999), ..LocalPolicy::default() };
    assert!(matches!(bench.engine.set_local_policy(bad, bench.now), Err(UserError::Settings { .. })));
    bench.engine.set_local_policy(LocalPolicy::default(), bench.now).unwrap();
    bench.engine.handle_command(Command::Disconnect, bench.now).unwrap();
}

#[test]
fn what_is_learnt_is_explained() {
    let mut bench = phone(NAMES).brought_up();
    bench.engine.handle_learnt(1, &[("198.51.100.7".parse().unwrap(), Duration::from_secs(60))], bench.now);
    let told = bench.engine.explain_address("198.51.100.7".parse().unwrap());
    assert_eq!((told.learnt, told.way), (true, Way::Outside));
    let told = bench.engine.explain_host(&"x.b.example".parse().unwrap());
    assert_eq!(told.entry.unwrap().to_string(), "*.b.example");
}

#[test]
fn a_phone_that_cannot_come_up_blocks_what_the_settings_of_now_tunnel() {
    let mut bench = phone(r#"{"service_mode_v2":{"mode":"1dot1"}}"#).brought_up();
    bench.engine.handle_profile(Fetched::Revoked, bench.now);
    let seen = bench.seen();
    assert!(seen.plans[0].interface.is_none(), "nothing was tunnelled");
    bench.acknowledge(&seen);
    let mode = |mode| LocalPolicy { service_mode: Some(mode), ..LocalPolicy::default() };
    bench.engine.set_local_policy(mode(ServiceMode::TrafficAndDns), bench.now).unwrap();
    let seen = bench.seen();
    assert!(seen.plans[0].interface.is_some() && routes(&seen.plans[0], "198.51.100.1"));
    bench.acknowledge(&seen);
    assert_eq!((bench.seen().fronts_started, bench.state()), (1, State::Unable));
    bench.engine.set_local_policy(mode(ServiceMode::DnsOnly), bench.now).unwrap();
    let seen = bench.seen();
    assert!(seen.plans[0].interface.is_none());
    bench.acknowledge(&seen);
    assert_eq!(bench.seen().tunnels_stopped, 1);
}

#[test]
fn an_interface_that_the_system_took_disconnects_under_a_locked_switch_and_for_good() {
    let mut bench = phone(r#"{"switch_locked":true,"auto_connect":5}"#).brought_up();
    let refused = bench.engine.handle_command(Command::Disconnect, bench.now);
    assert!(matches!(refused, Err(UserError::Forbidden { .. })), "{refused:?}");
    bench.engine.handle_interface_revoked(bench.now);
    let seen = bench.seen();
    assert!(seen.plans[0].interface.is_none());
    bench.acknowledge(&seen);
    assert_eq!(bench.state(), State::Disconnected);
    assert!(bench.engine.status(bench.now).timers.is_empty());
    bench.engine.handle_interface_revoked(bench.now);
    assert!(bench.seen().plans.is_empty(), "there is nothing left to take away");
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    assert_eq!(bench.state(), State::Connecting);
}

#[test]
fn a_phone_that_is_revoked_while_it_connects_answers_that_there_is_no_way() {
    let (mut bench, _) = proving("{}");
    bench.engine.handle_profile(Fetched::Revoked, bench.now);
    let seen = bench.seen();
    assert!(seen.plans.is_empty(), "what is blocked stands already");
    assert_eq!((seen.tunnels_stopped, seen.fronts_started, bench.state()), (1, 1, State::Unable));

    // So does one whose settings change and whose plan does not.
    let locked = LocalPolicy { switch_locked: Some(true), ..LocalPolicy::default() };
    let mode = |mode| LocalPolicy { service_mode: Some(mode), ..LocalPolicy::default() };
    bench.engine.set_local_policy(locked, bench.now).unwrap();
    assert!(bench.seen().plans.is_empty());
    bench.engine.set_local_policy(mode(ServiceMode::DnsOnly), bench.now).unwrap();
    let seen = bench.seen();
    assert_eq!((seen.plans.len(), seen.tunnels_stopped), (1, 0), "until the interface is gone it is served");
    bench.acknowledge(&seen);
    assert_eq!(bench.seen().tunnels_stopped, 1);
    bench.engine.set_local_policy(mode(ServiceMode::TrafficAndDns), bench.now).unwrap();
    let seen = bench.seen();
    assert_eq!((seen.plans.len(), seen.fronts_started), (1, 0), "before the interface is there nobody can");
    bench.acknowledge(&seen);
    assert_eq!(bench.seen().fronts_started, 1);
}

#[test]
fn a_blocked_phone_whose_interface_goes_asks_for_it_again() {
    let mut bench = phone("{}").brought_up();
    bench.engine.handle_profile(Fetched::Revoked, bench.now);
    let blocked = bench.seen();
    bench.acknowledge(&blocked);
    assert_eq!(bench.seen().fronts_started, 1);
    bench.engine.handle_tunnel_failed("the interface is gone".to_owned(), bench.now);
    assert_eq!(bench.seen().tunnels_stopped, 1);
    assert!(matches!(bench.reason(), Reason::Error { error: UserError::RegistrationRevoked }));
    bench.wait(1);
    let seen = bench.seen();
    assert!(seen.plans[0].same_state(&blocked.plans[0]) && seen.plans[0].number > blocked.plans[0].number);
    bench.acknowledge(&seen);
    assert_eq!((bench.seen().fronts_started, bench.state()), (1, State::Unable));
}
