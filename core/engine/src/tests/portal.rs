//! A captive portal: opened for a bounded time, with its openings, and closed again.

use super::*;

/// A device whose former resolver lies in a destination of the tunnel.
fn bench(json: &str) -> Bench {
    let mut bench = Bench::connected(Profile::from_json(json).unwrap());
    bench.engine.handle_system_dns(vec!["198.51.100.53".parse().unwrap()], bench.now);
    bench.seen();
    bench
}

fn portal_openings(plan: &Plan) -> usize {
    match &plan.firewall {
        FirewallPlan::Open => 0,
        FirewallPlan::Enforced { openings, .. } => {
            openings.iter().filter(|opening| opening.purpose == "portal").count()
        }
    }
}

#[test]
fn a_portal_opens_the_former_resolvers_and_closes_by_itself() {
    let mut bench = bench(r#"{"captive_portal":60}"#);
    let until = bench.now + Duration::from_secs(60);
    bench.engine.set_captive_portal(true, bench.now);
    let seen = bench.seen();
    assert_eq!(seen.portals, [Some(until)]);
    assert_eq!(portal_openings(&seen.plans[0]), 2, "UDP and TCP");
    bench.acknowledge(&seen);
    let status = bench.engine.status(bench.now);
    assert!(status.warnings.iter().any(|warning| warning.contains("captive portal")));
    assert!(
        status.timers.iter().any(|timer| (timer.reason.as_str(), timer.in_ms) == ("captive portal", 60_000))
    );

    bench.wait(30);
    bench.engine.set_captive_portal(true, bench.now);
    assert!(bench.seen().portals.is_empty(), "its time is not prolonged");
    bench.wait(30);
    let seen = bench.seen();
    assert_eq!((seen.portals.as_slice(), portal_openings(&seen.plans[0])), ([None].as_slice(), 0));
    assert!(bench.engine.status(bench.now).warnings.is_empty());
}

#[test]
fn a_portal_is_closed_when_the_user_is_through() {
    let mut bench = bench("{}");
    bench.engine.set_captive_portal(true, bench.now);
    bench.seen();
    bench.engine.set_captive_portal(false, bench.now);
    let seen = bench.seen();
    assert_eq!((seen.portals.as_slice(), portal_openings(&seen.plans[0])), ([None].as_slice(), 0));
    bench.engine.set_captive_portal(false, bench.now);
    assert!(bench.seen().portals.is_empty());
}

#[test]
fn no_portal_opens_where_none_may() {
    for json in [r#"{"captive_portal":0}"#, r#"{"service_mode_v2":{"mode":"tunnelonly"}}"#] {
        let mut bench = bench(json);
        bench.engine.set_captive_portal(true, bench.now);
        let seen = bench.seen();
        assert!(seen.portals.is_empty() && seen.plans.is_empty(), "{json}");
    }
    let mut idle = Bench::new(Some(registration()), Profile::default());
    idle.engine.set_captive_portal(true, idle.now);
    assert!(idle.seen().portals.is_empty());
}

#[test]
fn a_portal_ends_with_the_connection_and_with_the_profile_that_allowed_it() {
    let mut leaving = bench("{}");
    leaving.engine.set_captive_portal(true, leaving.now);
    leaving.seen();
    leaving.engine.handle_command(Command::Disconnect, leaving.now).unwrap();
    let seen = leaving.seen();
    assert_eq!(seen.portals, [None]);
    leaving.acknowledge(&seen);
    assert_eq!(leaving.engine.poll_timeout(), None);

    let mut bench = bench("{}");
    bench.engine.set_captive_portal(true, bench.now);
    bench.seen();
    let strict = Profile::from_json(r#"{"captive_portal":0}"#).unwrap();
    bench.engine.handle_profile(Fetched::Device(Box::new(registration()), Box::new(strict)), bench.now);
    let seen = bench.seen();
    assert_eq!((seen.portals.as_slice(), portal_openings(&seen.plans[0])), ([None].as_slice(), 0));
}
