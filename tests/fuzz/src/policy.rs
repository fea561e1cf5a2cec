//! Profiles carried through to plans, and packets judged.

use std::sync::LazyLock;

use weft_model::settings::UserChoices;
use weft_model::{FirewallPlan, Plan, Profile, Registration, RegistrationSource, Settings};
use weft_packet::{IpView, Offload};
use weft_policy::{
    NetSet, PlanInputs, PlanPhase, TunnelSet, Verdict, VerdictSnapshot, compile_plan, compile_settings,
    defaults,
};

use crate::Outcome;
use crate::packet::run_of;

/// A device with an address of each family, as a gateway would answer it.
const REGISTRATION: &str = r#"{
    "id": "fuzz", "source": "orchestrated", "private_key": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
    "addresses": ["172.16.0.2/32", "2606:4700:cf1:1000::2/128"],
    "gateways": [{
        "api": {"name": "gateway.example", "addresses": ["203.0.113.11:443"]},
        "tunnel": {"public_key": "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=",
            "addresses": ["203.0.113.10", "2001:db8::10"], "ports": [2408, 500]},
        "dns": {"doh": {"name": "gateway.example", "path": "/dns-query", "inside": "172.64.128.1:443"}},
        "checks": {"inside": "172.64.128.1:80", "outside": ["203.0.113.11:443"]}
    }]
}"#;

static DEVICE: LazyLock<(Registration, Settings, VerdictSnapshot)> = LazyLock::new(|| {
    let registration: Registration =
        serde_json::from_str(REGISTRATION).unwrap_or_else(|error| panic!("the registration: {error}"));
    assert_eq!(registration.source, RegistrationSource::Orchestrated);
    let settings = compile_settings(None, Some(&registration), &UserChoices::default());
    let snapshot =
        VerdictSnapshot::compile(&PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected));
    (registration, settings, snapshot)
});

/// A profile in JSON, carried through to the plan of each phase.
pub fn policy_plan(data: &[u8]) -> Outcome {
    let Ok(Ok(profile)) = std::str::from_utf8(data).map(Profile::from_json) else { return Outcome::Refused };
    let registration = &DEVICE.0;
    let settings = compile_settings(Some(&profile), Some(registration), &UserChoices::default());
    for phase in [PlanPhase::Disconnected, PlanPhase::Connecting, PlanPhase::Connected, PlanPhase::Blocked] {
        let inputs = PlanInputs::new(&settings, Some(registration), phase);
        let plan = compile_plan(&inputs, 1);
        assert!(plan.same_state(&compile_plan(&inputs, 2)), "the same inputs, the same state");
        check_plan(&plan);
        if settings.service_mode.value.tunnels_traffic() && phase != PlanPhase::Disconnected {
            check_firewall(&plan, &TunnelSet::compile(&inputs));
        } else {
            assert_eq!(plan.firewall, FirewallPlan::Open);
            assert!(plan.interface.is_none() && plan.routes.is_empty());
        }
    }
    Outcome::Taken
}

fn check_plan(plan: &Plan) {
    for list in [&plan.routes, &plan.excluded_routes] {
        assert!(list.is_sorted(), "sorted");
        assert_eq!(list.iter().collect::<NetSet>().to_minimal_cidrs(), *list, "minimal");
    }
    let routes: NetSet = plan.routes.iter().collect();
    let never: NetSet = defaults::NEVER_IN.iter().collect();
    assert!(routes.intersect(&never).is_empty(), "loopback and link-local are never tunnelled");
    assert!(routes.intersect(&plan.excluded_routes.iter().collect()).is_empty());
    assert!(!routes.contains([203, 0, 113, 10].into()), "no route around the endpoint");
}

fn check_firewall(plan: &Plan, set: &TunnelSet) {
    let FirewallPlan::Enforced { tunnelled, openings } = &plan.firewall else { panic!("open") };
    let tunnelled: NetSet = tunnelled.iter().collect();
    assert_eq!(tunnelled, set.captured);
    assert!(!openings.is_empty());
    let routes: NetSet = plan.routes.iter().collect();
    assert!(routes.subtract(&tunnelled).is_empty(), "what is routed in is held back elsewhere");
    let inner: NetSet = defaults::ALWAYS_IN.iter().collect();
    assert!(inner.subtract(&tunnelled).is_empty(), "the gateway's inner addresses are always in");
}

/// A packet that the TUN device handed out.
pub fn policy_verdict(data: &[u8]) -> Outcome {
    let (registration, _, snapshot) = &*DEVICE;
    let Some(run) = run_of(data, Offload::default()) else { return Outcome::Refused };
    let passes = snapshot.judge(&run) == Verdict::Tunnel;
    if passes {
        assert!(data.len() <= usize::from(snapshot.mtu()));
        // A view follows IPv6's extensions too, and so refuses more.
        if let Ok(view) = IpView::parse(data) {
            assert!(registration.addresses.iter().any(|own| own.addr() == view.source()));
            assert!(!view.destination().is_multicast() && !view.destination().is_loopback());
        }
    }
    passes.into()
}
