//! What a profile says of DNS reaches the proxy that runs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use netlab::topology::INTERFACE;
use netlab::{Host, Record, Signal};
use weft_e2e::dns::{AUTHORITY, Message, Query, ask_udp, kind, plug};
use weft_e2e::{PATIENCE, Setup};

const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 2, 2)), 53);
/// A second resolver beside [`AUTHORITY`].
const BESIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 54);
const DATA: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
/// The extended error "Stale Answer" (RFC 8914, section 4.4).
const STALE: u16 = 3;
/// How many names are asked for where chance has a say.
const NAMES: usize = 20;

fn ask(setup: &Setup, name: &str) -> Result<Message> {
    let answer = ask_udp(setup.device.host(), PROXY, &Query::new(name, kind::A).bytes(7), PATIENCE)?;
    Message::parse(&answer.with_context(|| format!("{name}: no answer"))?)
}

/// Puts a profile in force on the device, which shows `shown` among its settings from then on.
fn set_profile(setup: &Setup, profile: &str, shown: &str) -> Result<()> {
    setup.gateway.set_profile(profile)?;
    setup.device.weft(&["settings", "--refresh"])?;
    netlab::eventually(PATIENCE, format!("the settings show \"{shown}\""), || {
        let settings = setup.device.weft(&["settings"])?;
        ensure!(settings.lines().any(|line| line.contains(shown)), "{settings}");
        Ok(())
    })
}

/// The name has been asked for and kept; then the gateway is silent until its time is over. The first answer that is not
/// as kept, and the gateway goes on.
fn after_its_time(setup: &mut Setup, name: &str) -> Result<Message> {
    setup.topology.web_dns.add(name, Record::A(DATA));
    let fresh = ask(setup, name)?;
    ensure!((fresh.code(), fresh.count(kind::A)) == (0, 1), "{fresh:?}");
    setup.gateway.process()?.signal(Signal::STOP)?;
    let answer = netlab::eventually(PATIENCE, format!("the time of {name} is over"), || {
        let answer = ask(setup, name)?;
        ensure!(answer.code() != 0 || !answer.errors().is_empty(), "{answer:?}");
        Ok(answer)
    });
    setup.gateway.process()?.signal(Signal::CONT)?;
    answer
}

#[test]
fn an_answer_is_given_after_its_time_where_the_profile_says_so() {
    netlab::run_within(PATIENCE * 4, |lab| {
        let mut setup = Setup::connected(lab, r#"{"fallback_domains": []}"#)?;
        setup.topology.web_dns.set_ttl(1);
        let answer = after_its_time(&mut setup, "off.example")?;
        assert_eq!((answer.code(), answer.count(kind::A)), (SERVFAIL, 0), "{answer:?}");
        assert!(answer.errors().iter().all(|(code, _)| *code != STALE), "{answer:?}");

        let profile = r#"{"fallback_domains": [], "dns_serve_stale_seconds": 3600}"#;
        set_profile(&setup, profile, "DNS serve stale: for 3600 s")?;
        let answer = after_its_time(&mut setup, "on.example")?;
        assert_eq!((answer.code(), answer.count(kind::A)), (0, 1), "{answer:?}");
        assert_eq!(answer.answers()[0].data, DATA.octets());
        assert!(answer.errors().iter().any(|(code, _)| *code == STALE), "{answer:?}");
        Ok(())
    });
}

/// An answer to a query: with an address, or that there is no such name.
fn answer(query: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    let labels = query[12..].iter().position(|byte| *byte == 0).unwrap_or_default();
    let end = 12 + labels + 5;
    let counts = [1, u16::from(address.is_some()), 0, 0];
    let code = if address.is_some() { 0x80 } else { 0x83 };
    let header = [&query[..2], &[0x85, code], &counts.map(u16::to_be_bytes).concat()].concat();
    let record =
        |address: Ipv4Addr| [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4][..], &address.octets()].concat();
    [header, query[12..end].to_vec(), address.map(record).unwrap_or_default()].concat()
}

/// Two resolvers for as long as the lab stands: the one says that no name exists, and then the other one, where `speaks` is
/// set, that each has an address.
fn start_two(host: &Host, speaks: Arc<AtomicBool>) -> Result<()> {
    host.run(["ip", "address", "add", &format!("{BESIDE}/24"), "dev", INTERFACE])?;
    let bind =
        |address: Ipv4Addr| -> Result<UdpSocket> { Ok(host.inside(|| UdpSocket::bind((address, 53)))??) };
    let (denies, knows) = (bind(AUTHORITY)?, bind(BESIDE)?);
    std::thread::spawn(move || {
        let mut room = [0; 4096];
        while let Ok((length, client)) = denies.recv_from(&mut room) {
            let _gone = denies.send_to(&answer(&room[..length], None), client);
            let Ok((length, client)) = knows.recv_from(&mut room) else { return };
            if speaks.load(Ordering::Acquire) {
                let _gone = knows.send_to(&answer(&room[..length], Some(DATA)), client);
            }
        }
    });
    Ok(())
}

#[test]
fn an_address_goes_before_the_word_that_there_is_none_where_the_profile_says_so() {
    netlab::run_within(PATIENCE * 4, |lab| {
        let domains = format!(
            r#""fallback_domains": [{{"suffix": "example", "dns_server": ["{AUTHORITY}", "{BESIDE}"]}}]"#
        );
        let setup = Setup::connected(lab, &format!("{{{domains}}}"))?;
        let host = plug(lab, &setup.topology, "resolvers", AUTHORITY)?;
        let speaks = Arc::new(AtomicBool::new(false));
        start_two(&host, Arc::clone(&speaks))?;
        // Nobody waits for the other one, which says nothing.
        assert_eq!(ask(&setup, "first.example")?.code(), NXDOMAIN);

        let profile = format!(r#"{{{domains}, "dns_prefer_positive": true}}"#);
        set_profile(&setup, &profile, "DNS prefer positive: true")?;
        speaks.store(true, Ordering::Release);
        let mut addresses = 0;
        for number in 0..NAMES {
            addresses += ask(&setup, &format!("n{number}.example"))?.count(kind::A);
        }
        // Of two that answer one after the other, the first would win nearly always.
        assert!(addresses > NAMES / 2, "{addresses} of {NAMES}");
        Ok(())
    });
}
