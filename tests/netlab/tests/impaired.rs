//! Wires that delay, lose, duplicate, reorder and slow down.
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Result;
use netlab::{Capture, Direction, End, Host, ImpairedLink, Impairment, Lab, UDP, eventually};

const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SOON: Duration = Duration::from_secs(10);

fn wire(lab: &Lab, seed: u64) -> Result<(Host, Host, ImpairedLink)> {
    let (left, right) =
        (lab.host(&format!("left{seed}")).build()?, lab.host(&format!("right{seed}")).build()?);
    let link = ImpairedLink::new(
        lab,
        End::new(&left, "eth0").address("10.0.0.1/24").address("fd00::1/64"),
        End::new(&right, "eth0").address("10.0.0.2/24").address("fd00::2/64"),
        seed,
    )?;
    left.run(["ping", "-c1", "-W5", "10.0.0.2"])?;
    Ok((left, right, link))
}

/// Sends numbered datagrams and returns the numbers that arrived.
fn numbers(left: &Host, there: &Capture, count: u16) -> Result<Vec<u16>> {
    there.clear();
    left.inside(|| -> Result<()> {
        let socket = UdpSocket::bind("10.0.0.1:0")?;
        for number in 0..count {
            socket.send_to(&number.to_be_bytes(), (FAR, 6000))?;
        }
        Ok(())
    })??;
    there.settle()?;
    let arrived = there.matching(|seen| seen.is_to(FAR) && seen.has_port(UDP, 6000));
    let number = |data: &[u8]| match data {
        [high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    };
    Ok(arrived.iter().filter_map(|seen| number(seen.data())).collect())
}

#[test]
fn an_unimpaired_wire_carries_all() {
    netlab::run(|lab| {
        let (left, right, link) = wire(lab, 1)?;
        left.run(["ping", "-c1", "-W5", "fd00::2"])?;
        let there = right.capture("eth0")?;
        assert_eq!(numbers(&left, &there, 300)?, (0..300).collect::<Vec<_>>());
        assert_eq!(link.counts(Direction::Forward).lost, 0);
        Ok(())
    });
}

#[test]
fn tcp_crosses_it_with_whole_segments_only() {
    netlab::run(|lab| {
        let (left, right, link) = wire(lab, 2)?;
        let _web = netlab::WebServer::start(&right, &[80])?;
        let here = left.capture("eth0")?;
        link.set(Impairment { delay: Duration::from_millis(2), loss: 0.01, ..Impairment::default() });
        let page =
            left.run(["curl", "-sS", "--max-time", "15", "http://10.0.0.2/bytes/1000000", "-o", "/dev/null"]);
        page?;
        here.settle()?;
        assert!(here.packets().iter().all(|seen| seen.frame.len() <= 1514), "{here}");
        Ok(())
    });
}

#[test]
fn delay_is_added_each_way() {
    netlab::run(|lab| {
        let (left, right, link) = wire(lab, 3)?;
        let (here, there) = (left.capture("eth0")?, right.capture("eth0")?);
        let delay = Duration::from_millis(80);
        link.set_direction(Direction::Forward, Impairment { delay, ..Impairment::default() });
        let before = Instant::now();
        left.run(["ping", "-c1", "-W5", "10.0.0.2"])?;
        assert!(before.elapsed() >= delay);
        here.settle()?;
        there.settle()?;
        let out = here.matching(|seen| seen.is_to(FAR) && seen.outgoing)[0].at;
        let arrived = there.matching(|seen| seen.is_to(FAR))[0].at.duration_since(out)?;
        assert!(arrived >= delay && arrived < delay * 3, "{arrived:?}");
        let back = here.matching(|seen| seen.is_from(FAR))[0].at;
        let answered = there.matching(|seen| seen.is_from(FAR))[0].at;
        assert!(back.duration_since(answered)? < delay / 2);
        Ok(())
    });
}

#[test]
fn what_is_lost_hangs_on_the_seed_alone() {
    netlab::run(|lab| {
        let knobs = Impairment { loss: 0.2, duplicate: 0.1, ..Impairment::default() };
        let mut fates = Vec::new();
        for seed in [4, 5] {
            let (left, right, link) = wire(lab, seed)?;
            link.set(knobs);
            let there = right.capture("eth0")?;
            let arrived = numbers(&left, &there, 500)?;
            let counts = link.counts(Direction::Forward);
            assert!((60..140).contains(&counts.lost) && (20..80).contains(&counts.duplicated), "{link}");
            assert_eq!(arrived.len() as u64, 500 - counts.lost + counts.duplicated, "{link}");
            assert_eq!((counts.unread, counts.overflowed), (0, 0));
            fates.push(arrived);
            link.set(Impairment::default());
            assert_eq!(numbers(&left, &there, 100)?.len(), 100);
        }
        assert_ne!(fates[0], fates[1]);
        Ok(())
    });
}

#[test]
fn an_outage_and_its_end() {
    netlab::run(|lab| {
        let (left, right, link) = wire(lab, 6)?;
        let there = right.capture("eth0")?;
        link.set(Impairment { loss: 1.0, ..Impairment::default() });
        assert_eq!(numbers(&left, &there, 50)?, []);
        link.set(Impairment::default());
        eventually(SOON, "an answer", || left.run(["ping", "-c1", "-W1", "10.0.0.2"]))?;
        Ok(())
    });
}

#[test]
fn what_is_held_back_is_overtaken() {
    netlab::run(|lab| {
        let (left, right, link) = wire(lab, 7)?;
        let there = right.capture("eth0")?;
        link.set(Impairment { reorder: 0.1, ..Impairment::default() });
        let mut arrived = numbers(&left, &there, 300)?;
        assert!(!arrived.is_sorted());
        arrived.sort_unstable();
        assert_eq!(arrived, (0..300).collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn a_rate_takes_its_time() {
    netlab::run(|lab| {
        let (left, right, link) = wire(lab, 8)?;
        let there = right.capture("eth0")?;
        // 200 frames of 44 bytes at 320 kbit/s take 220 ms.
        link.set(Impairment { rate: Some(320_000), ..Impairment::default() });
        let before = Instant::now();
        assert_eq!(numbers(&left, &there, 200)?.len(), 200);
        let took = before.elapsed();
        assert!(took > Duration::from_millis(215) && took < Duration::from_secs(3), "{took:?}");
        Ok(())
    });
}
