//! How each figure is measured.

use std::time::Duration;

use anyhow::{Result, ensure};
use netlab::Host;

use super::args::DnsArgs;
use super::field::{Field, Place};
use super::load::{Answers, Load, fresh_questions, questions};
use super::proxy::{Proxy, Running};
use crate::figures::{Figure, Samples};
use crate::procfs;
use crate::quiet::Quiet;

/// Round trips to the upstream, in milliseconds.
pub(crate) const ROUND_TRIPS: [u32; 3] = [0, 1, 40];

const NAMES: u32 = 10_000;
const MANY_NAMES: u32 = 100_000;
/// Of cached names.
const LOW_RATE: u32 = 5_000;
/// Of names that are asked of the upstream.
const FRESH_RATE: u32 = 500;
/// More queries a second than any proxy has answered by DoH; a run that has asked everything ends early.
const FRESH_MOST: u32 = 60_000;
const OUTSTANDING: u32 = 200;
/// Enough for 20,000 queries a second at a round trip of 40 ms.
const FRESH_OUTSTANDING: u32 = 800;
/// Failures beyond this share are told.
const TOLERATED: f64 = 0.001;
/// How long the proxies are left alone before they are taken to be idle.
const SETTLE: Duration = Duration::from_secs(8);
const KIB_IN_MIB: f64 = 1024.0;
const CACHED: &str = "/run/bench-cached";
const FRESH: &str = "/run/bench-fresh";

/// Where everything that is measured goes.
pub(crate) struct Ledger<'a> {
    /// The figures.
    pub(crate) samples: &'a mut Samples,
    /// What else is to be known.
    pub(crate) notes: &'a mut Vec<String>,
    /// Who sees to it that nothing is disturbed.
    pub(crate) quiet: &'a mut Quiet,
    /// Names begin with it, and each only once.
    pub(crate) label: &'a mut u32,
}

impl Ledger<'_> {
    /// Runs the load, and gives the processor time that the proxy took for each good answer, in microseconds, too.
    fn load(
        &mut self,
        host: &Host,
        running: &Running,
        what: &str,
        load: &Load<'_>,
    ) -> Result<(Answers, f64)> {
        let Self { quiet, notes, .. } = self;
        let measured = quiet.measure(|| once(host, running, load))?;
        note_failures(notes, running.proxy, what, &measured.0);
        Ok(measured)
    }

    /// The same, with names that were never asked for.
    fn fresh_load(
        &mut self,
        host: &Host,
        running: &Running,
        what: &str,
        load: &Load<'_>,
    ) -> Result<(Answers, f64)> {
        let Self { quiet, notes, label, .. } = self;
        let count = load.rate.unwrap_or(FRESH_MOST) * (load.seconds + 1);
        let measured = quiet.measure(|| {
            **label += 1;
            host.write_file(FRESH, fresh_questions(&format!("f{label}-"), count))?;
            once(host, running, load)
        })?;
        note_failures(notes, running.proxy, what, &measured.0);
        Ok(measured)
    }

    fn add(&mut self, figure: Figure, proxy: Proxy, value: f64) {
        self.samples.add(figure, proxy.name(), value);
    }
}

fn once(host: &Host, running: &Running, load: &Load<'_>) -> Result<(Answers, f64)> {
    let before = procfs::thread_time(running.id())?;
    let answers = load.run(host, running.proxy.at())?;
    let spent = procfs::thread_time(running.id())?.saturating_sub(before);
    ensure!(answers.good > 0, "no good answer to {} queries", answers.sent);
    Ok((answers.clone(), spent.as_secs_f64() * 1e6 / answers.good as f64))
}

fn note_failures(notes: &mut Vec<String>, proxy: Proxy, what: &str, answers: &Answers) {
    if answers.failures() > TOLERATED {
        let percent = answers.failures() * 100.0;
        notes.push(format!("{proxy} gave no good answer to {percent:.1} % of the queries of {what}."));
    }
}

/// Has a proxy learn the names of the cached rows.
///
/// # Errors
///
/// When it breaks down.
pub(crate) fn warm(host: &Host, running: &Running) -> Result<()> {
    host.write_file(CACHED, questions("c", NAMES, true))?;
    let load =
        Load { questions: CACHED, seconds: 60, rate: None, outstanding: OUTSTANDING, once: true, timeout: 2 };
    load.run(host, running.proxy.at()).map(drop)
}

/// Queries by UDP whose answers are known.
///
/// # Errors
///
/// When the proxy breaks down.
pub(crate) fn cached(host: &Host, running: &Running, args: &DnsArgs, ledger: &mut Ledger<'_>) -> Result<()> {
    let proxy = running.proxy;
    let most = Load {
        questions: CACHED,
        seconds: args.seconds,
        rate: None,
        outstanding: OUTSTANDING,
        once: false,
        timeout: 2,
    };
    let (answers, cost) = ledger.load(host, running, "dns-cached-max", &most)?;
    ledger.add(Figure::more("dns-cached-max", "kq/s"), proxy, answers.rate() / 1e3);
    ledger.add(Figure::less("dns-cached-cpu-max", "us"), proxy, cost);
    let low = Load { rate: Some(LOW_RATE), ..most };
    let (answers, cost) = ledger.load(host, running, "dns-cached-5000", &low)?;
    ledger.add(Figure::less("dns-cached-cpu-5000", "us"), proxy, cost);
    if let Some(p50) = answers.p50 {
        ledger.add(Figure::less("dns-cached-p50-5000", "us"), proxy, p50 * 1e6);
    }
    Ok(())
}

/// Queries that are asked of the upstream, which is `round_trip` milliseconds away.
///
/// # Errors
///
/// When the proxy breaks down.
pub(crate) fn doh(
    host: &Host,
    running: &Running,
    round_trip: u32,
    args: &DnsArgs,
    ledger: &mut Ledger<'_>,
) -> Result<()> {
    let proxy = running.proxy;
    let low = Load {
        questions: FRESH,
        seconds: args.seconds,
        rate: Some(FRESH_RATE),
        outstanding: FRESH_OUTSTANDING,
        once: true,
        timeout: 3,
    };
    let name = |figure: &str| format!("dns-doh-{round_trip}ms-{figure}");
    let (answers, cost) = ledger.fresh_load(host, running, &name("500"), &low)?;
    if let Some(p50) = answers.p50 {
        ledger.add(Figure::less(name("p50-500"), "ms"), proxy, p50 * 1e3);
    }
    ledger.add(Figure::less(name("cpu-500"), "us"), proxy, cost);
    let most = Load { rate: None, ..low };
    let (answers, cost) = ledger.fresh_load(host, running, &name("max"), &most)?;
    ledger.add(Figure::more(name("max"), "kq/s"), proxy, answers.rate() / 1e3);
    ledger.add(Figure::less(name("cpu-max"), "us"), proxy, cost);
    Ok(())
}

/// The memory of a fresh proxy that has learnt 100,000 names; each must be known afterwards.
///
/// # Errors
///
/// When it breaks down.
pub(crate) fn memory(field: &mut Field, running: &Running, ledger: &mut Ledger<'_>) -> Result<()> {
    let (host, proxy) = (field.host(Place::Near).clone(), running.proxy);
    host.write_file(FRESH, questions("m", MANY_NAMES, false))?;
    let load =
        Load { questions: FRESH, seconds: 60, rate: None, outstanding: OUTSTANDING, once: true, timeout: 2 };
    // The second time for those that were lost.
    for _ in 0..2 {
        load.run(&host, proxy.at())?;
    }
    let memory = procfs::memory(&[running.id()])?;
    ledger.add(Figure::less("dns-memory-peak", "MiB"), proxy, memory.peak as f64 / KIB_IN_MIB);
    ledger.add(Figure::less("dns-memory-now", "MiB"), proxy, memory.resident as f64 / KIB_IN_MIB);
    host.write_file(FRESH, every_tenth(&questions("m", MANY_NAMES, false)))?;
    // Names that are missing do not keep those that are not from being asked for, and no burst is lost.
    let check = Load { seconds: 10, rate: Some(LOW_RATE), outstanding: 10_000, timeout: 1, ..load };
    let known = field.without_upstream(|| check.run(&host, proxy.at()))?;
    if known.failures() > TOLERATED {
        let percent = known.failures() * 100.0;
        ledger
            .notes
            .push(format!("{proxy} did not know {percent:.1} % of the {MANY_NAMES} names of dns-memory."));
    }
    Ok(())
}

fn every_tenth(lines: &str) -> String {
    lines.lines().step_by(10).flat_map(|line| [line, "\n"]).collect()
}

/// Wake-ups and memory of proxies that have been used and are left alone, all at the same time.
///
/// # Errors
///
/// When one has ended.
pub(crate) fn idle(running: &[Running], args: &DnsArgs, ledger: &mut Ledger<'_>) -> Result<()> {
    std::thread::sleep(SETTLE);
    let switches = |one: &Running| procfs::all_switches(&[one.id()]);
    let before = running.iter().map(switches).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(Duration::from_secs(u64::from(args.idle_seconds)));
    let minutes = f64::from(args.idle_seconds) / 60.0;
    for (one, before) in running.iter().zip(&before) {
        let wakes = procfs::sleeps_between(before, &switches(one)?) as f64 / minutes;
        let memory = procfs::memory(&[one.id()])?.resident as f64 / KIB_IN_MIB;
        ledger.add(Figure::less("dns-idle-wakeups", "1/min"), one.proxy, wakes);
        ledger.add(Figure::less("dns-idle-memory", "MiB"), one.proxy, memory);
    }
    Ok(())
}
