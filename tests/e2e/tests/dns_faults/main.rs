//! A DoH server that misbehaves: waits are bounded, errors have names, and Weft is back as soon as the server is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod garbage;
mod relay;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netlab::services::Zone;
use netlab::{Host, Lab, Signal};
use relay::{Fault, Relay};
use weft_e2e::dns::{AUTHORITY, DOH, ForeignDoh, Message, Query, Record, ask_udp, bind, kind, plug};
use weft_e2e::{PATIENCE, Setup};

const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 2, 2)), 53);
const RELAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 45);
/// How long anybody may wait for some answer: the proxy's own deadline, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(8);
/// How many names in a row may fail after the server's return, asked for one after another with `eventually`'s pauses of up
/// to 20 ms: a second of them. Counted and not timed, since a busy machine asks more slowly.
const FAILURES: usize = 50;
/// How long such a name is waited for before the next is asked for.
const TURN: Duration = Duration::from_millis(250);
/// Kilobytes by which memory that does not leak may differ from one round to another: the allocator keeps free memory for
/// each of its threads.
const MEMORY_NOISE: u64 = 8 * 1024;
/// Where it is set, the servers fail four times as often.
const LONG: &str = "WEFT_LONG_FAULTS";
const SERVFAIL: u16 = 2;
/// Extended errors of RFC 8914 that say that nobody could be asked, and the one for everything else.
const NOBODY: [u16; 4] = [0, 14, 22, 23];

struct World {
    setup: Setup,
    relay: Relay,
    _doh: ForeignDoh,
    _named: netlab::services::Named,
}

impl World {
    fn new(lab: &Lab, mode: &str) -> Result<Self> {
        let profile = format!(r#"{{"service_mode_v2": {{"mode": "{mode}"}}, "fallback_domains": []}}"#);
        let mut setup = Setup::new(lab, &profile)?;
        // Nothing of it can be kept, so that each query goes to the server.
        let zone = Zone::new("faults.example", AUTHORITY, "*.a 0 IN A 192.0.2.7");
        let (_, named) = bind(lab, &setup.topology, &[zone])?;
        let doh = ForeignDoh::dnsdist(lab, &setup.topology)?;
        let host = plug(lab, &setup.topology, "relay", RELAY)?;
        let relay = Relay::start(&host, (RELAY, 443).into(), (DOH, 443).into())?;
        setup.device.register(&setup.gateway)?;
        setup.device.use_doh_at(&doh, (RELAY, 443).into())?;
        setup.device.connect()?;
        let world = Self { setup, relay, _doh: doh, _named: named };
        ensure!(world.ask()?.code() == 0, "the server answers before anything is wrong");
        Ok(world)
    }

    fn host(&self) -> &Host {
        self.setup.device.host()
    }

    /// Asks for a name that nobody has asked for; some answer must come.
    fn ask(&self) -> Result<Message> {
        let start = Instant::now();
        let answer = ask_new_name(self.host(), BOUND)?;
        answer.with_context(|| format!("no answer at all in {:?}", start.elapsed()))
    }

    /// The name is answered with SERVFAIL, and the answer says why.
    fn assert_fails(&self) -> Result<()> {
        let answer = self.ask()?;
        assert_eq!(answer.code(), SERVFAIL, "{answer:?}");
        let errors = answer.errors();
        assert!(errors.iter().any(|(code, text)| NOBODY.contains(code) && !text.is_empty()), "{answer:?}");
        Ok(())
    }

    /// `weft dns query` says why a name has no answer.
    fn assert_query_tells(&self) -> Result<()> {
        let said = self.setup.device.attempt(&["dns", "query", "told.a.faults.example", "--json"])?;
        assert!(!said.status.success(), "{said:?}");
        assert!(said.stdout.contains("SERVFAIL") && said.stdout.contains("\"errors\":[{"), "{said:?}");
        Ok(())
    }

    fn assert_recovers(&self, after: &str) -> Result<()> {
        recovers(after, || ask_new_name(self.host(), TURN))
    }
}

/// Names are answered again, before too many more of them have failed. Prints how long that took.
fn recovers(after: &str, ask: impl Fn() -> Result<Option<Message>>) -> Result<()> {
    let back = Instant::now();
    let mut failed = Vec::new();
    let answered = netlab::eventually(PATIENCE, format!("names are answered again after {after}"), || {
        let answer = ask()?;
        if answer.as_ref().is_some_and(|answer| answer.code() == 0 && answer.count(kind::A) == 1) {
            return Ok(());
        }
        failed.push((back.elapsed(), answer.map(|answer| answer.errors())));
        anyhow::bail!("{} failed", failed.len())
    });
    println!("{after}: names are answered again after {:?}, {} failed", back.elapsed(), failed.len());
    answered?;
    ensure!(failed.len() <= FAILURES, "after {after} too many failed: {failed:?}");
    Ok(())
}

fn ask_new_name(host: &Host, deadline: Duration) -> Result<Option<Message>> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let query = Query::new(&format!("n{number}.a.faults.example"), kind::A);
    let answer = ask_udp(host, PROXY, &query.bytes(number as u16), deadline)?;
    answer.map(|bytes| Message::parse(&bytes)).transpose()
}

/// What the daemon has open, and holds in memory: without the pages of its program, which come and go.
fn holds(setup: &mut Setup) -> Result<(usize, u64)> {
    let pid = setup.device.daemon()?.id();
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
    Ok((descriptors, line.trim().trim_end_matches(" kB").parse()?))
}

const FAULTS: [Fault; 7] = [
    Fault::Silent,
    Fault::Slow(Duration::from_secs(20)),
    Fault::Refuses,
    Fault::Garbage,
    Fault::ClosesAfter(1),
    Fault::ClosesAfter(30),
    Fault::ClosesAfter(3000),
];

/// Each fault, with queries during it, and the return.
fn every_fault(world: &World) -> Result<()> {
    for fault in FAULTS {
        world.relay.set(fault);
        // The largest of them lets a whole connection be opened, and with it some answers, before it closes.
        if fault == Fault::ClosesAfter(3000) {
            for _ in 0..10 {
                world.ask()?;
            }
        } else {
            world.assert_fails().with_context(|| format!("{fault:?}"))?;
            if fault == Fault::Refuses {
                world.assert_query_tells()?;
            }
        }
        world.relay.set(Fault::None);
        world.assert_recovers(&format!("{fault:?}"))?;
    }
    Ok(())
}

/// So many rounds of them; prints what each leaves in memory.
fn all_faults(world: &mut World, mode: &str, rounds: u32) -> Result<()> {
    for _ in 0..rounds {
        every_fault(world)?;
        println!("{mode}: {} kB of memory after a round", holds(&mut world.setup)?.1);
    }
    Ok(())
}

fn survives(mode: &'static str) {
    netlab::run_within(PATIENCE * 20, move |lab| {
        let mut world = World::new(lab, mode)?;
        let rounds = if std::env::var_os(LONG).is_some() { 4 } else { 1 };
        // What the first rounds take for good is no growth.
        all_faults(&mut world, mode, rounds)?;
        let (descriptors, memory) = holds(&mut world.setup)?;
        all_faults(&mut world, mode, rounds)?;
        netlab::eventually(PATIENCE, "as many descriptors are open as before", || {
            let (now, _) = holds(&mut world.setup)?;
            ensure!(now <= descriptors, "{now} instead of {descriptors}");
            Ok(())
        })?;
        let (_, now) = holds(&mut world.setup)?;
        println!("{mode}: {memory} kB of memory after the first rounds, {now} kB after the last");
        assert!(now <= memory + MEMORY_NOISE, "{now} kB instead of {memory} kB");
        Ok(())
    });
}

#[test]
fn a_server_that_misbehaves_inside_the_tunnel() {
    survives("warp");
}

#[test]
fn a_server_that_misbehaves_outside_the_tunnel() {
    survives("1dot1");
}

#[test]
fn an_answer_that_is_late_is_an_answer() {
    netlab::run(|lab| {
        let world = World::new(lab, "warp")?;
        world.relay.set(Fault::Slow(Duration::from_millis(400)));
        for _ in 0..3 {
            let answer = world.ask()?;
            assert_eq!((answer.code(), answer.count(kind::A)), (0, 1), "{answer:?}");
        }
        Ok(())
    });
}

#[test]
fn a_gateway_that_stops_and_goes_on() {
    netlab::run(|lab| {
        let mut setup = Setup::connected(lab, r#"{"fallback_domains": []}"#)?;
        setup.topology.web_dns.add("n0.example", netlab::Record::A(Ipv4Addr::new(192, 0, 2, 7)));
        setup.topology.web_dns.set_ttl(0);
        let ask = |setup: &Setup, deadline| -> Result<Option<Message>> {
            let query = Query::new("n0.example", kind::A).bytes(9);
            let answer = ask_udp(setup.device.host(), PROXY, &query, deadline)?;
            answer.map(|bytes| Message::parse(&bytes)).transpose()
        };
        assert_eq!(ask(&setup, BOUND)?.context("no answer")?.code(), 0);
        for _ in 0..2 {
            setup.gateway.process()?.signal(Signal::STOP)?;
            let answer = ask(&setup, BOUND)?.context("no answer at all")?;
            assert_eq!(answer.code(), SERVFAIL, "{answer:?}");
            assert!(!answer.errors().is_empty(), "{answer:?}");
            setup.gateway.process()?.signal(Signal::CONT)?;
            recovers("the gateway's stop", || ask(&setup, TURN))?;
        }
        Ok(())
    });
}

/// Asks for garbage of every kind at once, and then for something else.
fn assert_garbage_is_kept_out(setup: &Setup, kinds: impl Iterator<Item = usize>) -> Result<()> {
    let ask = |name: String| -> Result<Message> {
        let query = Query::new(&name, kind::A).bytes(11);
        let answer = ask_udp(setup.device.host(), PROXY, &query, BOUND)?;
        Message::parse(&answer.with_context(|| format!("{name}: no answer at all"))?)
            .with_context(|| format!("{name}: garbage was passed on"))
    };
    let answers = std::thread::scope(|scope| {
        let asked = kinds.map(|kind| (kind, scope.spawn(move || ask(format!("g{kind}.example")))));
        let asked = asked.collect::<Vec<_>>();
        asked
            .into_iter()
            .map(|(kind, answer)| Ok((kind, answer.join().unwrap()?)))
            .collect::<Result<Vec<_>>>()
    })?;
    for (number, answer) in answers {
        let is_address = |record: &Record| record.kind == kind::A && record.data.len() == 4;
        assert!(!answer.answers().iter().any(is_address), "{number}: {answer:?}");
    }
    // A server that said nothing usable may be left alone for a moment.
    recovers("garbage", || ask("fine.example".to_owned()).map(Some))
}

#[test]
fn garbage_from_a_doh_server() {
    netlab::run(|lab| {
        let mut setup = Setup::new(lab, r#"{"fallback_domains": []}"#)?;
        let resolver = plug(lab, &setup.topology, "garbage", AUTHORITY)?;
        garbage::start(&resolver, (AUTHORITY, 53).into())?;
        let doh = ForeignDoh::dnsdist(lab, &setup.topology)?;
        setup.device.register(&setup.gateway)?;
        setup.device.use_doh(&doh)?;
        setup.device.connect()?;
        // dnsdist itself dies of a header without its question.
        assert_garbage_is_kept_out(&setup, (0..garbage::KINDS).filter(|kind| *kind != garbage::BARE_HEADER))
    });
}

#[test]
fn garbage_from_a_fallback_resolver() {
    netlab::run(|lab| {
        let profile =
            format!(r#"{{"fallback_domains": [{{"suffix": "example", "dns_server": ["{AUTHORITY}"]}}]}}"#);
        let setup = Setup::connected(lab, &profile)?;
        let resolver = plug(lab, &setup.topology, "garbage", AUTHORITY)?;
        garbage::start(&resolver, (AUTHORITY, 53).into())?;
        assert_garbage_is_kept_out(&setup, 0..garbage::KINDS)
    });
}
