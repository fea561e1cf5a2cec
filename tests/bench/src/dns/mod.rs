//! DNS proxies, all with the same upstream, in turns.

mod args;
mod configuration;
mod cores;
mod field;
mod load;
mod measure;
mod ours;
mod proxy;

use std::time::Duration;

use anyhow::{Result, bail};
use netlab::Lab;

pub(crate) use self::args::DnsArgs;
use self::args::Rows;
use self::cores::Cores;
use self::field::{Field, Place};
use self::measure::{Ledger, ROUND_TRIPS};
use self::proxy::{Proxy, Running};
use crate::figures::Samples;
use crate::quiet::Quiet;
use crate::report::{Entrants, Part};

/// Measures them.
///
/// # Errors
///
/// When there is nothing to measure, or the lab breaks down. A proxy that does is named in what is returned.
pub(crate) fn measure(lab: &Lab, args: DnsArgs, quiet: &mut Quiet) -> Result<Part> {
    // Before any thread or program that it is to hold for.
    let cores = Cores::divide()?;
    let field = Field::build(lab)?;
    let mut bench = Bench {
        args,
        cores,
        field,
        samples: Samples::default(),
        notes: Vec::new(),
        missing: Vec::new(),
        label: 0,
    };
    if cores.shared() {
        bench.notes.push("This machine gives one core alone, which proxies and load share.".to_owned());
    }
    let absent = bench.run(quiet)?;
    Ok(bench.finish(absent))
}

struct Bench {
    args: DnsArgs,
    cores: Cores,
    field: Field,
    samples: Samples,
    notes: Vec<String>,
    /// Those that broke down.
    missing: Vec<(&'static str, String)>,
    label: u32,
}

impl Bench {
    /// Gives those whose programs are not there.
    fn run(&mut self, quiet: &mut Quiet) -> Result<Vec<(&'static str, String)>> {
        let (proxies, absent) = self.find();
        if proxies.is_empty() {
            bail!("there is no DNS proxy to measure");
        }
        if self.args.wants(Rows::Memory) {
            for proxy in proxies.iter().copied().filter(|proxy| proxy.has_known_memory()) {
                eprintln!("DNS, memory: {proxy}");
                let measured = self.memory(proxy, quiet);
                self.keep(proxy, measured);
            }
        }
        let mut near = Vec::new();
        let mut distant = Vec::new();
        if self.args.wants(Rows::Cached) || self.args.wants(Rows::Doh) || self.args.wants(Rows::Idle) {
            near = self.start(&proxies, Place::Near);
            for running in &near {
                let warmed = measure::warm(self.field.host(Place::Near), running);
                self.keep(running.proxy, warmed);
            }
        }
        if self.args.wants(Rows::Doh) {
            let with_doh = near.iter().map(|one| one.proxy).filter(|proxy| proxy.speaks_doh());
            distant = self.start(&with_doh.collect::<Vec<_>>(), Place::Distant);
        }
        self.pause(&near, &distant);
        for round in 1..=self.args.rounds {
            eprintln!("DNS, round {round} of {}", self.args.rounds);
            self.round(&near, &distant, quiet);
        }
        drop(distant);
        if self.args.wants(Rows::Idle) {
            eprintln!("DNS proxies idle for {} s", self.args.idle_seconds);
            near.retain(|one| self.stands(one.proxy));
            let args = self.args.clone();
            measure::idle(&near, &args, &mut self.ledger(quiet))?;
        }
        Ok(absent)
    }

    fn find(&self) -> (Vec<Proxy>, Vec<(&'static str, String)>) {
        let (mut found, mut absent) = (Vec::new(), Vec::new());
        for proxy in self.args.proxies() {
            let hosts = [Place::Near, Place::Distant];
            match hosts.into_iter().try_for_each(|place| proxy.install(self.field.host(place))) {
                Ok(()) => found.push(proxy),
                Err(error) => {
                    eprintln!("{proxy}: {error:#}");
                    absent.push((proxy.name(), format!("{error:#}")));
                }
            }
        }
        (found, absent)
    }

    fn ledger<'a>(&'a mut self, quiet: &'a mut Quiet) -> Ledger<'a> {
        Ledger { samples: &mut self.samples, notes: &mut self.notes, quiet, label: &mut self.label }
    }

    fn stands(&self, proxy: Proxy) -> bool {
        self.missing.iter().all(|(name, _)| *name != proxy.name())
    }

    /// What a proxy gave, unless it broke down.
    fn keep<T>(&mut self, proxy: Proxy, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| {
                eprintln!("{proxy} broke down: {error:#}");
                self.missing.push((proxy.name(), format!("{error:#}")));
            })
            .ok()
    }

    fn start(&mut self, proxies: &[Proxy], place: Place) -> Vec<Running> {
        let mut running = Vec::new();
        for proxy in proxies.iter().copied() {
            if self.stands(proxy) {
                let started = proxy.start(&mut self.field, place, self.cores);
                running.extend(self.keep(proxy, started));
            }
        }
        running
    }

    fn memory(&mut self, proxy: Proxy, quiet: &mut Quiet) -> Result<()> {
        let running = proxy.start(&mut self.field, Place::Near, self.cores)?;
        let Self { field, samples, notes, label, .. } = self;
        measure::memory(field, &running, &mut Ledger { samples, notes, quiet, label })?;
        running.stop()
    }

    fn round(&mut self, near: &[Running], distant: &[Running], quiet: &mut Quiet) {
        let args = self.args.clone();
        if args.wants(Rows::Cached) {
            let host = self.field.host(Place::Near).clone();
            self.each(near, |bench, one| measure::cached(&host, one, &args, &mut bench.ledger(quiet)));
        }
        if !args.wants(Rows::Doh) {
            return;
        }
        for round_trip in ROUND_TRIPS {
            let (place, running) =
                if round_trip == 0 { (Place::Near, near) } else { (Place::Distant, distant) };
            self.field.set_round_trip(Duration::from_millis(u64::from(round_trip)));
            let host = self.field.host(place).clone();
            self.each(running, |bench, one| {
                if !one.proxy.speaks_doh() {
                    return Ok(());
                }
                measure::doh(&host, one, round_trip, &args, &mut bench.ledger(quiet))
            });
        }
    }

    fn each(&mut self, running: &[Running], mut act: impl FnMut(&mut Self, &Running) -> Result<()>) {
        for one in running {
            if self.stands(one.proxy) {
                let result = act(self, one);
                self.keep(one.proxy, result);
            }
        }
    }

    /// Lets somebody look at the processes.
    fn pause(&self, near: &[Running], distant: &[Running]) {
        if self.args.pause == 0 {
            return;
        }
        for (place, running) in [("near", near), ("distant", distant)] {
            running
                .iter()
                .for_each(|one| eprintln!("{place}: {} is process {} of the lab", one.proxy, one.id()));
        }
        std::thread::sleep(Duration::from_secs(u64::from(self.args.pause)));
    }

    fn finish(mut self, absent: Vec<(&'static str, String)>) -> Part {
        let legend = format!(
            "Medians; rounds in turns: {}, {} s a run; each proxy on one core, load and upstream on another. `cached` is \
             UDP,\n10,000 names of three types; `doh` asks for fresh names by DoH, `ms` being the round trip. `max` is \
             the most that\nwas answered, `5000` and `500` are at that many queries a second; `cpu` is for each \
             answer. `memory` is with 100,000\nnames, `idle` after use. dnsdist, hickory and dnss ask the upstream by DoH \
             in every row, the others by UDP.",
            self.args.rounds, self.args.seconds
        );
        self.notes.sort();
        self.notes.dedup();
        let peers = Proxy::ALL.into_iter().filter(|proxy| *proxy != Proxy::Weft).map(Proxy::name);
        let failed = !self.missing.is_empty();
        Part {
            entrants: Entrants { ours: &["weft"], peers: peers.collect() },
            samples: self.samples,
            legend,
            notes: self.notes,
            missing: absent.into_iter().chain(self.missing).collect(),
            failed,
        }
    }
}
