//! A table of packets with their verdicts.

use proptest::prelude::*;
use weft_model::settings::UserChoices;
use weft_model::{Registration, Settings};
use weft_packet::{HEAD_ROOM, Offload};

use super::*;
use crate::plan::PlanPhase;
use crate::settings::compile_settings;
use crate::testing::{imported, orchestrated, profile};

const OWN_V4: &str = "172.16.0.2";
const OWN_V6: &str = "2606:4700:cf1:1000::2";

fn packet(source: &str, destination: &str, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            packet[12..16].copy_from_slice(&source.octets());
            packet[16..20].copy_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&u16::try_from(len - 40).unwrap().to_be_bytes());
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..40].copy_from_slice(&destination.octets());
        }
        _ => panic!("two families"),
    }
    packet
}

fn run(source: &str, destination: &str, len: usize) -> Run {
    Run::from_packet(&packet(source, destination, len)).unwrap()
}

fn segments(source: &str, destination: &str, len: usize, offload: Offload) -> Run {
    let mut buffer = vec![0; Run::buffer_len(len)].into_boxed_slice();
    buffer[HEAD_ROOM..HEAD_ROOM + len].copy_from_slice(&packet(source, destination, len));
    Run::new(buffer, len, offload).unwrap()
}

fn settings(registration: &Registration) -> Settings {
    compile_settings(None, Some(registration), &UserChoices::default())
}

fn snapshot(registration: &Registration) -> VerdictSnapshot {
    let settings = settings(registration);
    VerdictSnapshot::compile(&PlanInputs::new(&settings, Some(registration), PlanPhase::Connected))
}

#[test]
fn packets_are_judged_by_their_addresses() {
    use Verdict::{Drop, Tunnel};
    let cases = [
        (OWN_V4, "198.51.100.1", Tunnel),
        (OWN_V6, "2001:db8::1", Tunnel),
        (OWN_V4, "172.64.128.1", Tunnel),
        ("192.168.1.5", "198.51.100.1", Drop(DropReason::ForeignSource)),
        ("2001:db8::9", "2001:db8::1", Drop(DropReason::ForeignSource)),
        (OWN_V4, "192.168.1.1", Drop(DropReason::NotTunnelled)),
        (OWN_V6, "fd00::1", Drop(DropReason::NotTunnelled)),
        (OWN_V4, "203.0.113.10", Drop(DropReason::NotTunnelled)),
        (OWN_V4, "127.0.0.1", Drop(DropReason::NotTunnelled)),
        (OWN_V4, OWN_V4, Drop(DropReason::NotTunnelled)),
        (OWN_V4, "224.0.0.251", Drop(DropReason::NotUnicast)),
        (OWN_V4, "239.255.255.250", Drop(DropReason::NotUnicast)),
        ("0.0.0.0", "255.255.255.255", Drop(DropReason::NotUnicast)),
        (OWN_V4, "169.254.169.254", Drop(DropReason::NotUnicast)),
        ("fe80::1", "ff02::2", Drop(DropReason::NotUnicast)),
        (OWN_V6, "fe80::1", Drop(DropReason::NotUnicast)),
        (OWN_V6, "ff0e::1", Drop(DropReason::NotUnicast)),
    ];
    let snapshot = snapshot(&orchestrated());
    for (source, destination, verdict) in cases {
        assert_eq!(snapshot.judge(&run(source, destination, 60)), verdict, "{source} -> {destination}");
    }
}

#[test]
fn the_longest_packet_is_compared_with_the_mtu() {
    let snapshot = snapshot(&orchestrated());
    let too_big = Verdict::Refuse(IcmpKind::TooBig { mtu: 1280 });
    let judge = |len| snapshot.judge(&run(OWN_V4, "198.51.100.1", len));
    assert_eq!((judge(1280), judge(1281)), (Verdict::Tunnel, too_big));

    let cut = |gso_size| Offload { kind: GsoKind::TcpV4, gso_size, header_len: 40, checksum: None };
    let judge = |gso| snapshot.judge(&segments(OWN_V4, "198.51.100.1", 20_000, cut(gso)));
    assert_eq!((judge(1240), judge(1241)), (Verdict::Tunnel, too_big));

    let wider = snapshot.clone().with_mtu(1420);
    assert_eq!(wider.judge(&run(OWN_V4, "198.51.100.1", 1420)), Verdict::Tunnel);
}

#[test]
fn a_family_without_an_address_is_refused() {
    let snapshot = snapshot(&imported(&["0.0.0.0/0", "::/0"]));
    let unreachable = Verdict::Refuse(IcmpKind::NoRoute);
    assert_eq!(snapshot.judge(&run("2001:db8:5::5", "2001:db8::1", 60)), unreachable);
    assert_eq!(snapshot.judge(&run("10.8.0.2", "198.51.100.1", 60)), Verdict::Tunnel);
}

#[test]
fn what_the_far_side_does_not_take_is_refused() {
    let mut registration = imported(&["0.0.0.0/0"]);
    registration.addresses.push("fd00:8::2/64".parse().unwrap());
    let snapshot = snapshot(&registration);
    let verdict = snapshot.judge(&run("fd00:8::2", "2001:db8::1", 60));
    assert_eq!(verdict, Verdict::Refuse(IcmpKind::NoRoute));
}

#[test]
fn sentinel_addresses_are_the_dns_fronts() {
    let registration = orchestrated();
    let settings = settings(&registration);
    let sentinels = ["192.0.2.53".parse().unwrap(), "2001:db8:53::53".parse().unwrap()];
    let inputs = PlanInputs {
        sentinels: &sentinels,
        ..PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected)
    };
    let snapshot = VerdictSnapshot::compile(&inputs);
    assert_eq!(snapshot.judge(&run(OWN_V4, "192.0.2.53", 60)), Verdict::Own);
    assert_eq!(snapshot.judge(&run(OWN_V6, "2001:db8:53::53", 60)), Verdict::Own);
    assert_eq!(snapshot.judge(&run("10.0.0.1", "192.0.2.53", 60)), Verdict::Drop(DropReason::ForeignSource));
    assert_eq!(snapshot.judge(&run(OWN_V4, "192.0.2.54", 60)), Verdict::Tunnel);
}

#[test]
fn without_an_interface_nothing_passes() {
    let registration = orchestrated();
    let dns_only = profile(r#"{"service_mode_v2":{"mode":"1dot1"}}"#);
    let dns_only = compile_settings(Some(&dns_only), Some(&registration), &UserChoices::default());
    let full = settings(&registration);
    for (settings, phase) in
        [(&full, PlanPhase::Blocked), (&full, PlanPhase::Disconnected), (&dns_only, PlanPhase::Connected)]
    {
        let snapshot = VerdictSnapshot::compile(&PlanInputs::new(settings, Some(&registration), phase));
        let verdict = snapshot.judge(&run(OWN_V4, "198.51.100.1", 60));
        assert_eq!(verdict, Verdict::Drop(DropReason::NotTunnelled), "{phase:?}");
    }
}

#[test]
fn a_header_that_lies_is_malformed() {
    let snapshot = snapshot(&orchestrated());
    let good_v4 = packet(OWN_V4, "198.51.100.1", 60);
    let good_v6 = packet(OWN_V6, "2001:db8::1", 60);
    let changed = |packet: &[u8], at: usize, to: u8| {
        let mut packet = packet.to_vec();
        packet[at] = to;
        packet
    };
    let bad = [
        Vec::new(),
        good_v4[..19].to_vec(),
        good_v4[..59].to_vec(),
        good_v6[..39].to_vec(),
        good_v6[..59].to_vec(),
        changed(&good_v4, 0, 0x44),
        changed(&good_v4, 0, 0x35),
        changed(&good_v4, 3, 61),
        changed(&good_v6, 5, 21),
        changed(&packet(OWN_V4, "198.51.100.1", 20), 0, 0x46),
    ];
    for packet in bad {
        let run = Run::from_packet(&packet).unwrap();
        assert_eq!(snapshot.judge(&run), Verdict::Drop(DropReason::Malformed), "{packet:02x?}");
    }
}

proptest! {
    /// The reverse reading: what passes has an own source, a tunnelled destination and a fitting length.
    #[test]
    fn only_what_may_passes(
        source in prop::sample::select(vec![OWN_V4, "10.0.0.1", "0.0.0.0"]),
        destination in any::<u32>(),
        len in 20_usize..1500,
    ) {
        let registration = orchestrated();
        let settings = settings(&registration);
        let inputs = PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected);
        let (set, snapshot) = (TunnelSet::compile(&inputs), VerdictSnapshot::compile(&inputs));
        let destination = Ipv4Addr::from_bits(destination);
        let verdict = snapshot.judge(&run(source, &destination.to_string(), len));
        let may = source == OWN_V4
            && len <= 1280
            && set.routed.contains(destination.into())
            && !defaults::is_not_unicast(destination.into());
        prop_assert_eq!(verdict == Verdict::Tunnel, may);
    }
}

/// What becomes of a packet of the device's own to `destination`.
fn judged(inputs: &PlanInputs<'_>, destination: &str) -> Verdict {
    VerdictSnapshot::compile(inputs).judge(&run(OWN_V4, destination, 60))
}

#[test]
fn packets_to_a_learnt_address_that_still_come_by_the_interface_go_into_the_tunnel() {
    let registration = orchestrated();
    let learnt = ["198.51.100.7".parse::<IpAddr>().unwrap()].into_iter().collect();
    for json in [r#"{"exclude":[]}"#, r#"{"include":[]}"#] {
        let settings = compile_settings(Some(&profile(json)), Some(&registration), &UserChoices::default());
        let plain = PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected);
        let inputs = PlanInputs { learnt: Some(&learnt), ..plain };
        assert_eq!(judged(&inputs, "198.51.100.7"), Verdict::Tunnel, "{json}");
        let routes = |inputs| VerdictSnapshot::compile(inputs).routes("198.51.100.7".parse().unwrap());
        assert_ne!(routes(&inputs), routes(&plain), "{json}");
    }
}

#[test]
fn in_dns_only_nothing_passes_but_what_is_for_the_front() {
    let registration = orchestrated();
    let json = r#"{"service_mode_v2":{"mode":"1dot1"}}"#;
    let settings = compile_settings(Some(&profile(json)), Some(&registration), &UserChoices::default());
    let sentinels = ["100.100.100.53".parse().unwrap()];
    let inputs = PlanInputs {
        sentinels: &sentinels,
        ..PlanInputs::new(&settings, Some(&registration), PlanPhase::Connected)
    };
    assert_eq!(judged(&inputs, "100.100.100.53"), Verdict::Own);
    assert_eq!(judged(&inputs, "198.51.100.7"), Verdict::Drop(DropReason::NotTunnelled));
    assert_eq!(judged(&inputs, "172.64.128.1"), Verdict::Drop(DropReason::NotTunnelled));
}
