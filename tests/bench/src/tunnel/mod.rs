//! Tunnels, each at both ends, in turns.

mod args;
mod contender;
mod field;
mod iperf;
mod measure;
mod pair;
pub(crate) mod weft;

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use netlab::Lab;

use self::args::Only;
pub(crate) use self::args::TunnelArgs;
use self::contender::Contender;
use crate::figures::Samples;
use crate::quiet::Quiet;
use crate::report::{Entrants, Part};

/// Measures them.
///
/// # Errors
///
/// When there is nothing to measure, or the lab breaks down. A tunnel that does is named in what is returned.
pub(crate) fn measure(lab: &Lab, args: TunnelArgs, quiet: &mut Quiet) -> Result<Part> {
    let mut bench = Bench::new(lab, args);
    bench.run(quiet)?;
    Ok(bench.finish())
}

struct Bench<'a> {
    lab: &'a Lab,
    args: TunnelArgs,
    contenders: Vec<Contender>,
    /// Those that are not measured because their programs are not there.
    absent: BTreeMap<Contender, String>,
    /// Those that broke down.
    failed: BTreeMap<Contender, String>,
    samples: Samples,
}

impl<'a> Bench<'a> {
    fn new(lab: &'a Lab, args: TunnelArgs) -> Self {
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
        Self { lab, args, contenders, absent, failed: BTreeMap::new(), samples: Samples::default() }
    }

    fn run(&mut self, quiet: &mut Quiet) -> Result<()> {
        if self.contenders.is_empty() {
            bail!("there is no tunnel to measure");
        }
        if self.args.wants(Only::Throughput) || self.args.wants(Only::Latency) {
            for round in 1..=self.args.rounds {
                for mtu in self.mtus() {
                    self.round(round, mtu, quiet);
                }
            }
        }
        if self.args.wants(Only::Idle) {
            eprintln!("tunnels idle for {} s", self.args.idle_seconds);
            let mut failures = Vec::new();
            let mut failed = |contender, error| failures.push((contender, error));
            let standing = self.standing();
            measure::idle(self.lab, &standing, &self.args, &mut self.samples, &mut failed)?;
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

    fn round(&mut self, round: u32, mtu: u16, quiet: &mut Quiet) {
        for contender in self.standing() {
            eprintln!("tunnels, round {round} of {}, MTU {mtu}: {contender}", self.args.rounds);
            let Self { lab, args, samples, .. } = self;
            if let Err(error) = measure::turn(lab, contender, mtu, args, quiet, samples) {
                self.fail(contender, &error);
            }
        }
    }

    fn fail(&mut self, contender: Contender, error: &anyhow::Error) {
        eprintln!("{contender} broke down: {error:#}");
        self.failed.insert(contender, format!("{error:#}"));
    }

    fn finish(self) -> Part {
        let TunnelArgs { rounds, seconds, congestion, .. } = &self.args;
        let legend = format!(
            "Medians; rounds in turns: {rounds}, {seconds} s a transfer, TCP {congestion}; `up` is from the device. \
             The last number of a\nname is the inner MTU; memory and latency are at 1280. `cpu`, of both ends' \
             processes, is for each GB that\narrived. Every far end's kernel forwards to the iperf3 server's host \
             and masquerades; weft-gateway also\ntranslates the device's address itself, as it does for every device."
        );
        let named = |(contender, reason): (&Contender, &String)| (contender.name(), reason.clone());
        let peers = Contender::ALL.into_iter().filter(|contender| matches!(contender, Contender::Peer(_)));
        Part {
            entrants: Entrants {
                ours: &["weft", "tunnel-pair"],
                peers: peers.map(Contender::name).collect(),
            },
            missing: self.absent.iter().chain(&self.failed).map(named).collect(),
            failed: !self.failed.is_empty(),
            samples: self.samples,
            legend,
            notes: Vec::new(),
        }
    }
}
