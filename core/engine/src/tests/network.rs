//! What the monitor's reports of the network do.

use weft_model::{Command, ConnectStage, NetworkState, Profile, Reason, State, UserError};
use weft_tunnel::{LostReason, TransportEvent};

use super::{Bench, registration};

#[test]
fn the_same_network_is_no_event_and_another_one_renews_the_path() {
    let mut bench = Bench::connected(Profile::default());
    let wifi = NetworkState { interface: Some("wlan0".to_owned()), has_v4: true, ..NetworkState::default() };
    let wire = NetworkState { interface: Some("eth0".to_owned()), ..wifi.clone() };
    bench.engine.handle_network(wifi.clone(), bench.now);
    bench.engine.handle_network(wifi, bench.now);
    assert_eq!(bench.puppet.0.lock().unwrap().network_changes, 0, "the first report is where it began");
    bench.engine.handle_network(wire, bench.now);
    let seen = bench.seen();
    assert_eq!(bench.puppet.0.lock().unwrap().network_changes, 1);
    assert_eq!(seen.plans.len(), 1, "the plan in force is asserted again");
    assert_eq!(seen.plans[0].number, bench.engine.status(bench.now).plan);
}

#[test]
fn without_a_network_no_gateway_is_blamed() {
    let wifi = NetworkState { interface: Some("wlan0".to_owned()), has_v4: true, ..NetworkState::default() };
    let offline = Reason::Error { error: UserError::NoNetwork };
    let mut bench = Bench::new(Some(registration()), Profile::default());
    bench.engine.handle_network(NetworkState::default(), bench.now);
    assert_eq!(bench.engine.status(bench.now).reason, Reason::Manual, "nobody wants to connect");
    bench.engine.handle_command(Command::Connect, bench.now).unwrap();
    let seen = bench.seen();
    bench.acknowledge(&seen);
    assert_eq!(bench.engine.status(bench.now).reason, offline);
    bench.engine.handle_network(wifi, bench.now);
    let connecting = Reason::Stage { stage: ConnectStage::ConnectingEndpoint };
    assert_eq!(bench.engine.status(bench.now).reason, connecting);

    let mut bench = Bench::connected(Profile::default());
    bench.engine.handle_network(NetworkState::default(), bench.now);
    assert_eq!(bench.state(), State::Connected, "what goes through the tunnel goes through it");
    bench.says(TransportEvent::Lost(LostReason::Silent));
    let status = bench.engine.status(bench.now);
    assert_eq!((status.state, status.reason), (State::Reconnecting, offline));
}
