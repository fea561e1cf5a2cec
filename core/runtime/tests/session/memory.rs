//! What a phone's session costs: memory under load with full tables, and wake-ups when nothing happens.
//!
//! The session runs in a process of its own, which is this program again, so that nobody else's memory is counted.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command as Program;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weft_model::settings::UserChoices;
use weft_model::{Command, Event, Profile, SENTINEL_ADDRESSES, State};
use weft_runtime::session::{DEFAULT_CACHE_BYTES, PHONE_MEMORY, Session, SessionConfig};
use weft_runtime::tun::PacketQueue;

use crate::gateway::{Nothing, PATIENCE, query, registration, resolver, serve};

/// Says that this process is the phone.
const PHONE: &str = "WEFT_TEST_PHONE";
/// What a session may take at its peak, in KiB: 15 MB, which are less than the MiB of the core's own sum.
const BUDGET: u64 = 15_000_000 >> 10;
const _: () = assert!(BUDGET << 10 <= PHONE_MEMORY as u64);
const NAMES: usize = 10_000;
const ENTRIES: usize = 1_000;
/// 100 Mbit/s each way in packets of 1,280 bytes, for 3 s at least.
const PACKETS_PER_SECOND: usize = 100_000_000 / 8 / PACKET;
const PACKET: usize = 1280;
const PACKETS: usize = 3 * PACKETS_PER_SECOND;
/// What is offered: a tenth more, so that a second may be had in which nothing is short of the rate.
const OFFERED_PER_SECOND: usize = PACKETS_PER_SECOND / 10 * 11;
/// How long nothing may wake an idle session, after its threads have freed their memory; a minute where there is time.
const WATCHED: Duration = Duration::from_secs(10);
const WATCHED_LONG: Duration = Duration::from_secs(60);
/// Says that there is time.
const LONG: &str = "WEFT_LONG_PHONE";
/// How long all of it may take.
const DEADLINE: Duration = Duration::from_secs(300);

fn watched() -> Duration {
    if std::env::var_os(LONG).is_some() { WATCHED_LONG } else { WATCHED }
}

#[test]
fn a_phone_session_is_small_under_load_and_sleeps_without() {
    if std::env::var_os(PHONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(phone()).unwrap();
        return;
    }
    netlab::run_within(DEADLINE, |lab| {
        let host = lab.host("phone").build()?;
        host.inside(|| -> Result<()> {
            serve()?;
            let mut program = Program::new(std::env::current_exe()?);
            program.args([
                "--exact",
                "memory::a_phone_session_is_small_under_load_and_sleeps_without",
                "--nocapture",
            ]);
            let output = program.env(PHONE, "1").output()?;
            let told = String::from_utf8_lossy(&output.stdout);
            print!("{told}");
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            ensure!(told.contains("no wake-up"), "the phone did not run: {told}");
            Ok(())
        })?
    });
}

/// A number of this process's `/proc/self/status`, in KiB.
fn status(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?)
}

/// How often each thread of the session gave up the processor of itself.
fn wake_ups() -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        let name = fs::read_to_string(folder.join("comm"))?;
        let status = fs::read_to_string(folder.join("status"))?;
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        if name.starts_with("weft-") {
            all.push((name.trim().to_owned(), switches.unwrap_or_default().trim().to_owned()));
        }
    }
    all.sort();
    Ok(all)
}

/// The most entries that a profile may have: ranges and a few names.
fn profile() -> Result<Profile> {
    let ranges = (0..ENTRIES - 11)
        .map(|number| format!(r#"{{"address":"10.{}.{}.0/24"}}"#, number / 250, number % 250));
    let names = (0..10).map(|number| format!(r#"{{"host":"*.n{number}.example"}}"#));
    let list = ranges.chain(names).collect::<Vec<_>>().join(",");
    Ok(Profile::from_json(&format!(r#"{{"fallback_domains":[{{"suffix":"corp"}}],"exclude":[{list}]}}"#))?)
}

/// A UDP datagram over IPv4 from the device, without a checksum.
fn datagram(to: Ipv4Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(28 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 172, 16, 0, 2]);
    packet.extend(to.octets());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&folded.to_be_bytes());
    packet.extend(40_000u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend((total - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// Sends packets in one batch; all of them must be taken.
fn send(queue: &PacketQueue, packets: &[Vec<u8>]) -> Result<()> {
    let mut offsets = vec![0];
    for packet in packets {
        offsets.push(offsets.last().unwrap() + u32::try_from(packet.len())?);
    }
    ensure!(queue.send(&packets.concat(), &offsets)? == packets.len(), "the queue is full");
    Ok(())
}

async fn connect(session: &Session) -> Result<PacketQueue> {
    session.command(Command::Connect).await?;
    let queue = session.packet_queue()?;
    loop {
        let event = tokio::time::timeout(PATIENCE, session.next_event()).await.context("no event")?;
        match event.context("the session has stopped")? {
            Event::Plan(plan) => session.acknowledge(plan.number, Ok(())).await,
            Event::Status(status) if status.state == State::Connected => return Ok(queue),
            _ => {}
        }
    }
}

/// Has every name in the cache.
async fn fill_cache(session: &Session, queue: &PacketQueue) -> Result<()> {
    let std::net::IpAddr::V4(sentinel) = SENTINEL_ADDRESSES[0] else { unreachable!("the first is IPv4") };
    let end = Instant::now() + PATIENCE * 4;
    for part in (0..NAMES).collect::<Vec<_>>().chunks(50) {
        let asked: Vec<_> =
            part.iter().map(|number| datagram(sentinel, 53, &query(&format!("name{number}.corp")))).collect();
        let mut missing = asked.len();
        send(queue, &asked)?;
        while missing > 0 {
            ensure!(Instant::now() < end, "{missing} answers are missing");
            let batch = queue.receive_blocking(PATIENCE)?;
            missing = missing.saturating_sub(batch.len());
        }
    }
    let stats = session.stats().await.context("stopped")?;
    ensure!(stats.dns.cache_entries >= NAMES as u64, "{} names are kept", stats.dns.cache_entries);
    Ok(())
}

/// What a load came to.
#[derive(Debug, Default)]
struct Load {
    /// Packets that were offered, and that came back.
    sent: usize,
    back: usize,
    /// The most memory seen, in KiB.
    peak: u64,
    /// The packets that came back in the best second.
    best: usize,
}

impl Load {
    /// Whether it was the load that is meant. Unoptimised, a busy machine need not carry as much.
    fn is_full(&self) -> bool {
        self.back >= PACKETS && (cfg!(debug_assertions) || self.best >= PACKETS_PER_SECOND)
    }
}

/// Sends at the rate until so many packets have come back, and until as many have come back in one second as the rate wants,
/// however many a busy machine loses on the way.
fn load(queue: &PacketQueue) -> Result<Load> {
    let packet = datagram(Ipv4Addr::new(198, 51, 100, 9), 9, &[7; PACKET - 28]);
    let (packets, offsets) =
        (packet.repeat(10), (0..=10).map(|count| count * PACKET as u32).collect::<Vec<_>>());
    let (begun, mut load) = (Instant::now(), Load::default());
    let (mut second, mut before) = (begun, 0);
    while !load.is_full() {
        ensure!(begun.elapsed() < PATIENCE * 4, "{load:?}");
        let due = usize::try_from(begun.elapsed().as_micros())? * OFFERED_PER_SECOND / 1_000_000;
        while load.sent + 10 <= due {
            // What finds the queue full is lost, as on a network.
            queue.send(&packets, &offsets)?;
            load.sent += 10;
        }
        load.back += queue.receive_blocking(Duration::from_millis(1))?.len();
        load.peak = load.peak.max(status("RssAnon")?);
        let took = usize::try_from(second.elapsed().as_micros())?;
        if took >= 1_000_000 {
            load.best = load.best.max((load.back - before) * 1_000_000 / took);
            (second, before) = (Instant::now(), load.back);
        }
    }
    Ok(load)
}

async fn phone() -> Result<()> {
    let config = SessionConfig {
        registration: Some(registration()),
        profile: Some(profile()?),
        user: UserChoices::default(),
        mark: None,
        dns_listen: Vec::new(),
        system_dns: vec![resolver().ip()],
        hosts_file: None,
        sentinels: SENTINEL_ADDRESSES.to_vec(),
        dns_cache_bytes: DEFAULT_CACHE_BYTES,
    };
    let session = Session::start(config, Arc::new(Nothing))?;
    let queue = connect(&session).await?;
    fill_cache(&session, &queue).await?;
    let load = load(&queue)?;
    let (peak, whole) = (load.peak, status("VmHWM")?);
    let rate = load.best * PACKET * 8 / 1_000_000;
    println!(
        "of {} packets {} came back, {rate} Mbit/s each way in the best second; peak {peak} KiB of its own memory, {whole} KiB \
         with the program's",
        load.sent, load.back
    );
    ensure!(peak < BUDGET, "{peak} KiB");
    // Unoptimised, the program itself takes more than its memory.
    ensure!(cfg!(debug_assertions) || whole < BUDGET, "{whole} KiB");

    let end = Instant::now() + PATIENCE + watched() * 2;
    loop {
        let before = wake_ups()?;
        let until = Instant::now() + watched();
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        if wake_ups()? == before {
            println!("idle: no wake-up in {:?}, {} KiB of its own memory", watched(), status("RssAnon")?);
            break;
        }
        ensure!(Instant::now() < end, "it wakes up: {before:?} became {:?}", wake_ups()?);
    }
    session.shutdown().await;
    Ok(())
}
