//! How each figure is measured.

use std::time::Duration;

use anyhow::Result;
use netlab::Lab;

use super::args::{Only, TunnelArgs};
use super::contender::{Contender, Raised};
use super::field::Field;
use super::iperf::{self, Transfer, Way};
use crate::figures::{Figure, Samples, median};
use crate::procfs;
use crate::quiet::Quiet;

/// The inner MTUs, the first of which is Weft's own.
pub(crate) const MTUS: [u16; 2] = [1280, 1420];

/// How long a tunnel is left alone before it is taken to be idle: longer than the 10 s after which WireGuard
/// confirms what it has received.
const SETTLE: Duration = Duration::from_secs(12);
const MIB: f64 = 1024.0;
const PINGS: u32 = 200;

/// One tunnel's turn in a round: raised, measured, taken down.
///
/// # Errors
///
/// When the tunnel does not come up, or breaks down.
pub(crate) fn turn(
    lab: &Lab,
    contender: Contender,
    mtu: u16,
    args: &TunnelArgs,
    quiet: &mut Quiet,
    samples: &mut Samples,
) -> Result<()> {
    let field = Field::build(lab)?;
    let raised = contender.raise(&field, mtu)?;
    let first_mtu = MTUS.first() == Some(&mtu);
    if first_mtu && args.wants(Only::Latency) {
        idle_latency(&field, contender, quiet, samples)?;
    }
    if args.wants(Only::Throughput) {
        for way in [Way::Up, Way::Down] {
            throughput(&field, &raised, contender, mtu, way, args, quiet, samples)?;
        }
        if first_mtu {
            for (end, pids) in [("device", &raised.device), ("far", &raised.far)] {
                let peak = procfs::memory(pids)?.peak;
                samples.add(
                    Figure::less(format!("memory-peak-{end}"), "MiB"),
                    contender.name(),
                    peak as f64 / MIB,
                );
            }
        }
    }
    if first_mtu && args.wants(Only::Latency) {
        busy_latency(&field, contender, args, quiet, samples)?;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "each is one of what, where, how and whereto")]
fn throughput(
    field: &Field,
    raised: &Raised,
    contender: Contender,
    mtu: u16,
    way: Way,
    args: &TunnelArgs,
    quiet: &mut Quiet,
    samples: &mut Samples,
) -> Result<()> {
    let name = match way {
        Way::Up => "up",
        Way::Down => "down",
    };
    let transfer = transfer(way, args);
    let pids = raised.both();
    let (rate, cost) = quiet.measure(|| {
        let before = procfs::processor_time(&pids)?;
        let transferred = transfer.begin(field)?.finish()?;
        let spent = procfs::processor_time(&pids)?.since(before);
        Ok((transferred.bits_per_second / 1e6, spent.as_secs_f64() / (transferred.bytes / 1e9)))
    })?;
    samples.add(Figure::more(format!("tcp-{name}-{mtu}"), "Mbit/s"), contender.name(), rate);
    samples.add(Figure::less(format!("cpu-{name}-{mtu}"), "s/GB"), contender.name(), cost);
    Ok(())
}

fn transfer(way: Way, args: &TunnelArgs) -> Transfer {
    Transfer { way, seconds: args.seconds, congestion: args.congestion.clone() }
}

fn idle_latency(field: &Field, contender: Contender, quiet: &mut Quiet, samples: &mut Samples) -> Result<()> {
    let times = quiet.measure(|| iperf::ping(&field.device, PINGS, Duration::from_millis(10)))?;
    if let Some(time) = median(&times) {
        samples.add(Figure::less("rtt-idle", "us"), contender.name(), time * 1e3);
    }
    Ok(())
}

fn busy_latency(
    field: &Field,
    contender: Contender,
    args: &TunnelArgs,
    quiet: &mut Quiet,
    samples: &mut Samples,
) -> Result<()> {
    let transfer = transfer(Way::Up, args);
    let times = quiet.measure(|| {
        let running = transfer.begin(field)?;
        let pings = args.seconds * 20;
        let times = iperf::ping(&field.device, pings, Duration::from_millis(50))?;
        running.finish()?;
        Ok(times)
    })?;
    if let Some(time) = median(&times) {
        samples.add(Figure::less("rtt-busy", "us"), contender.name(), time * 1e3);
    }
    Ok(())
}

/// Memory and wake-ups of connected tunnels that nobody uses, all at the same time.
///
/// # Errors
///
/// When a tunnel that came up ends.
pub(crate) fn idle(
    lab: &Lab,
    contenders: &[Contender],
    args: &TunnelArgs,
    samples: &mut Samples,
    failed: &mut dyn FnMut(Contender, anyhow::Error),
) -> Result<()> {
    let mut tunnels = Vec::new();
    for contender in contenders {
        let field = Field::build(lab)?;
        match contender.raise(&field, MTUS[0]) {
            Ok(raised) => tunnels.push((*contender, raised, field)),
            Err(error) => failed(*contender, error),
        }
    }
    std::thread::sleep(SETTLE);
    let mut before = Vec::new();
    for (_, raised, _) in &tunnels {
        before.push((procfs::sleeps(&raised.device)?, procfs::sleeps(&raised.far)?));
    }
    std::thread::sleep(Duration::from_secs(u64::from(args.idle_seconds)));
    let minutes = f64::from(args.idle_seconds) / 60.0;
    for ((contender, raised, _), (device, far)) in tunnels.iter().zip(&before) {
        for (end, pids, before) in [("device", &raised.device, device), ("far", &raised.far, far)] {
            let memory = procfs::memory(pids)?.resident as f64 / MIB;
            let wakes = procfs::sleeps_between(before, &procfs::sleeps(pids)?) as f64 / minutes;
            samples.add(Figure::less(format!("memory-idle-{end}"), "MiB"), contender.name(), memory);
            samples.add(Figure::less(format!("wakeups-idle-{end}"), "1/min"), contender.name(), wakes);
        }
    }
    Ok(())
}
