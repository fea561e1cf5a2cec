use std::sync::mpsc;

use weft_model::{DNS_PROXY_ADDRESSES, DnsPlan};

use super::*;
use crate::dns_seam::Restored;
use crate::record::{DnsChange, DnsRecord, FileChange};

fn interface(mtu: u16) -> InterfacePlan {
    InterfacePlan { addresses: vec!["172.16.0.2/32".parse().unwrap()], mtu, metered: false }
}

fn dns(domain: &str) -> DnsPlan {
    DnsPlan { servers: DNS_PROXY_ADDRESSES.to_vec(), search: vec![domain.parse().unwrap()] }
}

fn none() -> LearntPlan {
    LearntPlan::default()
}

fn file_of(record: &DnsRecord) -> &FileChange {
    let DnsChange::File(file) = &record.change else { panic!("{record:?}") };
    file
}

fn enforced() -> FirewallPlan {
    FirewallPlan::Enforced { tunnelled: vec!["0.0.0.0/0".parse().unwrap()], openings: Vec::new() }
}

#[test]
fn a_plan_goes_in_and_comes_back_and_every_step_is_noted() {
    let (mut platform, system) = platform();
    let before = system.resolv_conf();
    platform.preflight().unwrap();
    platform.firewall.apply(&enforced(), &none(), &[]).unwrap();
    let near = platform.tun.ensure(&interface(1280)).unwrap().unwrap();
    assert!(platform.tun.ensure(&interface(1420)).unwrap().is_none());
    platform.routes.apply(&["0.0.0.0/0".parse().unwrap()], &none()).unwrap();
    let mut record = platform.dns.snapshot().unwrap();
    platform.dns.apply(&dns("corp"), &mut record).unwrap();
    assert_eq!(system.state().interface.unwrap().mtu, 1420);
    assert!(system.resolv_conf().contains("nameserver 127.0.2.2\n"));
    assert!(!system.is_clean());

    let far = system.take_far_end().unwrap();
    rustix::io::write(&far, b"packet").unwrap();
    let mut buffer = [0; 16];
    assert_eq!(rustix::io::read(&near, &mut buffer).unwrap(), 6);

    assert_eq!(platform.dns.restore(&record).unwrap(), Restored::Restored);
    platform.routes.clear().unwrap();
    platform.tun.remove().unwrap();
    platform.firewall.clear().unwrap();
    assert!(system.is_clean());
    assert_eq!(system.resolv_conf(), before);
    let expected = [
        Step::FirewallApply,
        Step::TunEnsure,
        Step::TunEnsure,
        Step::RoutesApply,
        Step::DnsWrite,
        Step::DnsWrite,
        Step::RoutesClear,
        Step::TunRemove,
        Step::FirewallClear,
    ];
    assert_eq!(system.take_steps(), expected);
    assert!(system.take_steps().is_empty());
}

#[test]
fn a_step_fails_as_often_as_a_test_asks_and_changes_nothing() {
    let (mut platform, system) = platform();
    system.fail_next(Step::FirewallApply, "no memory");
    system.fail_next(Step::Preflight, "no privilege");
    assert_eq!(platform.preflight().unwrap_err().to_string(), "Preflight: no privilege");
    platform.preflight().unwrap();
    let error = platform.firewall.apply(&enforced(), &none(), &[]).unwrap_err();
    assert_eq!(error.to_string(), "FirewallApply: no memory");
    assert_eq!(system.state().firewall, FirewallPlan::Open);
    platform.firewall.apply(&enforced(), &none(), &[]).unwrap();
    assert_eq!(system.state().firewall, enforced());
}

#[test]
fn routes_need_an_interface_and_go_with_it() {
    let (mut platform, system) = platform();
    let routes: [IpNet; 1] = ["0.0.0.0/0".parse().unwrap()];
    assert!(matches!(platform.routes.apply(&routes, &none()), Err(PlatformError::InterfaceMissing { .. })));
    drop(platform.tun.ensure(&interface(1280)).unwrap());
    platform.routes.apply(&routes, &none()).unwrap();
    platform.tun.remove().unwrap();
    assert!(system.state().routes.is_empty());
}

#[test]
fn a_failed_write_leaves_the_settings_and_can_be_repeated() {
    let (mut platform, system) = platform();
    let before = system.resolv_conf();
    let mut record = platform.dns.snapshot().unwrap();
    system.fail_next(Step::DnsWrite, "read-only");
    assert!(platform.dns.apply(&dns("corp"), &mut record).is_err());
    assert_eq!(system.resolv_conf(), before);
    assert_eq!(platform.dns.restore(&record).unwrap(), Restored::Unchanged);
    platform.dns.apply(&dns("corp"), &mut record).unwrap();
    assert_eq!(platform.dns.restore(&record).unwrap(), Restored::Restored);
    assert_eq!(system.resolv_conf(), before);
}

#[test]
fn a_record_taken_before_the_write_is_enough_to_take_it_back() {
    let (mut platform, system) = platform();
    let before = system.resolv_conf();
    let mut record = platform.dns.snapshot().unwrap();
    platform.dns.prepare(&dns("corp"), &mut record).unwrap();
    let journalled = record.clone();
    platform.dns.apply(&dns("corp"), &mut record).unwrap();
    // A second plan, of which the journal knows only the intent.
    platform.dns.prepare(&dns("other"), &mut record).unwrap();
    let second = record.clone();
    assert_eq!(platform.dns.restore(&second).unwrap(), Restored::Restored);
    assert_eq!(system.resolv_conf(), before);
    let mut record = journalled.clone();
    platform.dns.apply(&dns("corp"), &mut record).unwrap();
    assert_eq!(platform.dns.restore(&journalled).unwrap(), Restored::Restored);
    assert_eq!(system.resolv_conf(), before);
}

#[test]
fn what_somebody_else_wrote_is_left_and_what_replaced_weft_is_what_comes_back() {
    let (mut platform, system) = platform();
    let foreign =
        Before::File { content: b"nameserver 198.51.100.1\n".to_vec(), mode: 0o644, uid: 0, gid: 0 };
    let mut record = platform.dns.snapshot().unwrap();
    platform.dns.apply(&dns("corp"), &mut record).unwrap();
    system.change(|state| state.resolv_conf = foreign.clone());
    assert_eq!(platform.dns.restore(&record).unwrap(), Restored::LeftForeign);
    assert_eq!(system.state().resolv_conf, foreign);

    // Put in place again, Weft returns to what it replaced last.
    platform.dns.apply(&dns("corp"), &mut record).unwrap();
    assert!(system.resolv_conf().contains("127.0.2.2"));
    assert_eq!(platform.dns.restore(&record).unwrap(), Restored::Restored);
    assert_eq!(system.state().resolv_conf, foreign);

    // Weft's own file, edited, is nobody's former settings.
    platform.dns.apply(&dns("corp"), &mut record).unwrap();
    let edited = format!("{}nameserver 203.0.113.1\n", system.resolv_conf());
    let edited = Before::File { content: edited.into_bytes(), mode: 0o644, uid: 0, gid: 0 };
    system.change(|state| state.resolv_conf = edited.clone());
    assert!(platform.dns.snapshot().is_err());
    assert_eq!(platform.dns.restore(&record).unwrap(), Restored::Restored);
    assert_eq!(system.state().resolv_conf, foreign);
}

#[test]
fn what_is_wefts_edited_or_cut_short_gives_way_to_the_former() {
    let file = |content: &str| Before::File { content: content.into(), mode: 0o644, uid: 0, gid: 0 };
    let link = |content: &str| Before::Symlink { target: b"/run/x".to_vec(), content: content.into() };
    let appended = format!("{}\nnameserver 203.0.113.1\n", crate::resolv_conf::HEADER);
    let cases = [
        (file(&appended), Restored::Restored),
        (file(""), Restored::Restored),
        (Before::Absent, Restored::Restored),
        (file("nameserver 203.0.113.1\n"), Restored::LeftForeign),
        (link(""), Restored::LeftForeign),
        (link(&appended), Restored::LeftForeign),
    ];
    for (now, expected) in cases {
        let (mut platform, system) = platform();
        let former = system.state().resolv_conf;
        let mut record = platform.dns.snapshot().unwrap();
        platform.dns.apply(&dns("corp"), &mut record).unwrap();
        system.change(|state| state.resolv_conf = now.clone());
        assert_eq!(platform.dns.restore(&record).unwrap(), expected, "{now:?}");
        let left = if expected == Restored::Restored { &former } else { &now };
        assert_eq!(&system.state().resolv_conf, left);
        // Nor is the former forgotten by a plan that comes meanwhile.
        if expected == Restored::Restored {
            system.change(|state| state.resolv_conf = now.clone());
            platform.dns.apply(&dns("other"), &mut record).unwrap();
            assert_eq!(file_of(&record).before, former, "{now:?}");
        }
    }
}

#[test]
fn the_resolvers_of_before_are_known_while_wefts_are_in_force() {
    let (mut platform, _system) = platform();
    let own = platform.dns.system(None).unwrap();
    assert_eq!(own.servers.len(), 2);
    let mut record = platform.dns.snapshot().unwrap();
    platform.dns.apply(&dns("corp"), &mut record).unwrap();
    assert!(platform.dns.system(None).unwrap().servers.is_empty());
    assert_eq!(record.system(), own);
    let description = platform.dns.describe(Some(&record));
    assert!(description.ours);
    assert_eq!(description.servers, DNS_PROXY_ADDRESSES);
    assert_eq!(description.search, ["corp", "lan"]);
}

#[test]
fn a_watcher_hears_of_each_other_network_until_it_is_dropped() {
    let (_platform, system) = platform();
    let (tell, told) = mpsc::channel();
    let watch = system.monitor().watch(Box::new(move |network| tell.send(network).unwrap())).unwrap();
    let first = system.state().network;
    assert_eq!(told.try_recv().unwrap(), first);
    let second = NetworkState { interface: Some("wlan0".to_owned()), ..first };
    system.set_network(second.clone());
    system.set_network(second.clone());
    assert_eq!(told.try_recv().unwrap(), second);
    assert!(told.try_recv().is_err());
    drop(watch);
    system.set_network(NetworkState::default());
    assert!(told.try_recv().is_err());
}
