//! Figures of Weft beside the peers', as ratios.

mod args;
mod contender;
mod field;
mod figures;
mod iperf;
mod measure;
mod pair;
mod procfs;
mod quiet;
mod report;
mod weft;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use netlab::Lab;

use crate::args::{Args, Only};
use crate::contender::Contender;
use crate::figures::Samples;
use crate::quiet::Quiet;

fn main() -> Result<ExitCode> {
    let args = Args::parse().settled();
    let lab = netlab::enter()?;
    let mut bench = Bench::new(lab, args);
    bench.run()?;
    bench.report()?;
    Ok(if bench.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Bench {
    lab: Lab,
    args: Args,
    contenders: Vec<Contender>,
    /// Those that are not measured because their programs are not there.
    absent: BTreeMap<Contender, String>,
    /// Those that broke down.
    failed: BTreeMap<Contender, String>,
    quiet: Quiet,
    samples: Samples,
}

impl Bench {
    fn new(lab: Lab, args: Args) -> Self {
        let quiet = Quiet::new(Duration::from_secs(u64::from(args.patience)));
        let (mut contenders, mut absent) = (Vec::new(), BTreeMap::new());
        for contender in args.contenders() {
            match contender.find() {
                Ok(()) => contenders.push(contender),
                Err(error) => {
                    eprintln!("{contender}: {error:#}");
                    absent.insert(contender, format!("{error:#}"));
                }
            }
        }
        let (failed, samples) = (BTreeMap::new(), Samples::default());
        Self { lab, args, contenders, absent, failed, quiet, samples }
    }

    fn run(&mut self) -> Result<()> {
        if self.contenders.is_empty() {
            bail!("there is nothing to measure");
        }
        if self.args.wants(Only::Throughput) || self.args.wants(Only::Latency) {
            for round in 1..=self.args.rounds {
                for mtu in self.mtus() {
                    self.round(round, mtu);
                }
            }
        }
        if self.args.wants(Only::Idle) {
            eprintln!("idle for {} s", self.args.idle_seconds);
            let mut failures = Vec::new();
            let mut failed = |contender, error| failures.push((contender, error));
            let standing = self.standing();
            measure::idle(&self.lab, &standing, &self.args, &mut self.samples, &mut failed)?;
            failures.into_iter().for_each(|(contender, error)| self.fail(contender, &error));
        }
        Ok(())
    }

    /// Latency is measured at the first MTU alone.
    fn mtus(&self) -> Vec<u16> {
        let count = if self.args.wants(Only::Throughput) { measure::MTUS.len() } else { 1 };
        measure::MTUS.into_iter().take(count).collect()
    }

    fn standing(&self) -> Vec<Contender> {
        let stands = |contender: &Contender| !self.failed.contains_key(contender);
        self.contenders.iter().copied().filter(stands).collect()
    }

    fn round(&mut self, round: u32, mtu: u16) {
        for contender in self.standing() {
            eprintln!("round {round} of {}, MTU {mtu}: {contender}", self.args.rounds);
            let Self { lab, args, quiet, samples, .. } = self;
            if let Err(error) = measure::turn(lab, contender, mtu, args, quiet, samples) {
                self.fail(contender, &error);
            }
        }
    }

    fn fail(&mut self, contender: Contender, error: &anyhow::Error) {
        eprintln!("{contender} broke down: {error:#}");
        self.failed.insert(contender, format!("{error:#}"));
    }

    fn report(&self) -> Result<()> {
        let Args { output, rounds, seconds, congestion, .. } = &self.args;
        write_json(output, &report::rows(&self.samples))?;
        print!("\n{}\n", report::table(&self.samples));
        println!(
            "Medians; rounds in turns: {rounds}, {seconds} s a transfer, TCP {congestion}; `up` is from the \
             device. The last number of a\nname is the inner MTU; memory and latency are at 1280. `cpu`, of \
             both ends' processes, is for each GB that\narrived. Every far end's kernel forwards to the iperf3 \
             server's host and masquerades; weft-gateway also\ntranslates the device's address itself, as it \
             does for every device. Results: {}",
            output.display()
        );
        if let Some(complaint) = self.quiet.complaint() {
            println!("{complaint}.");
        }
        let missing = |(contender, reason): (&Contender, &String)| {
            println!("Not measured: {contender}: {}", reason.lines().next().unwrap_or_default());
        };
        self.absent.iter().chain(&self.failed).for_each(missing);
        Ok(())
    }
}

fn write_json(path: &Path, rows: &[report::Row]) -> Result<()> {
    let write = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, format!("{}\n", serde_json::to_string_pretty(rows)?))
    };
    write().with_context(|| path.display().to_string())
}
