//! What it costs to carry packets over the boundary to a phone's app, beside ways without one.

mod args;
mod field;
mod row;

use anyhow::{Result, bail, ensure};
use netlab::Lab;

pub(crate) use self::args::BoundaryArgs;
use self::field::Field;
use self::row::Row;
use crate::figures::{Figure, Samples};
use crate::quiet::Quiet;
use crate::report::{Entrants, Part};

/// Bytes of the packets: small ones, and the usual full ones.
const SIZES: [u32; 2] = [60, 1280];

/// Measures it.
///
/// # Errors
/// The lab breaks down. A row that does is named in what is returned.
pub(crate) fn measure(lab: &Lab, args: &BoundaryArgs, quiet: &mut Quiet) -> Result<Part> {
    lab.require_tun()?;
    let field = Field::build(lab)?;
    let mut bench = Bench { samples: Samples::default(), missing: Vec::new(), failed: false };
    let mut rows = Vec::new();
    for row in args.wanted() {
        match row.find() {
            Ok(()) => rows.push(row),
            Err(reason) => bench.missing.push((row.name(), format!("{reason:#}"))),
        }
    }
    for round in 1..=args.rounds {
        for row in &rows {
            eprintln!("boundary, round {round} of {}: {}", args.rounds, row.name());
            for size in SIZES {
                bench.run(&field, *row, size, args.seconds, quiet);
            }
        }
    }
    Ok(bench.finish(args))
}

struct Bench {
    samples: Samples,
    missing: Vec<(&'static str, String)>,
    failed: bool,
}

impl Bench {
    fn run(&mut self, field: &Field, row: Row, size: u32, seconds: u32, quiet: &mut Quiet) {
        if self.missing.iter().any(|(name, _)| *name == row.name()) {
            return;
        }
        match quiet.measure(|| field.carry(row, size, seconds)) {
            Ok(carried) => {
                let echoes = Figure::more(format!("echoes-{size}"), "1/s");
                self.samples.add(echoes, row.name(), carried.echoes / carried.seconds);
                let processor = Figure::less(format!("cpu-{size}"), "us");
                self.samples.add(processor, row.name(), carried.processor * 1e6 / carried.echoes);
                let memory = Figure::less(format!("memory-{size}"), "MiB");
                self.samples.add(memory, row.name(), carried.memory / 1024.0);
            }
            Err(error) => {
                eprintln!("{}: {error:#}", row.name());
                self.missing.push((row.name(), format!("{error:#}")));
                self.failed = true;
            }
        }
    }

    fn finish(self, args: &BoundaryArgs) -> Part {
        let legend = format!(
            "Medians of {} rounds in turns, {} s a run. A phone's session sends ICMP echoes to the far side of its \
             tunnel, 100 to 256 at a time:\n`descriptor` over a TUN device, `queue` from Rust without any boundary, the others \
             in batches over the boundary. `echoes`\ncame back each second; `cpu` is the processor time of the phone's \
             process for each, `memory` the most that it had\nresident, a language's own runtime included. {}",
            args.rounds,
            args.seconds,
            field::library_size()
        );
        Part {
            entrants: Entrants { ours: Row::OURS, peers: Row::PEERS.to_vec() },
            samples: self.samples,
            legend,
            notes: Vec::new(),
            missing: self.missing,
            failed: self.failed,
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Carried {
    echoes: f64,
    seconds: f64,
    /// Processor time in seconds.
    processor: f64,
    /// The most that was resident, in KiB.
    memory: f64,
}

impl Carried {
    /// Of the last line that a program prints: echoes, seconds, seconds of processor time, KiB of memory.
    fn parse(text: &str) -> Result<Self> {
        let line = text.lines().last().unwrap_or_default();
        let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        let &[echoes, seconds, processor, memory] = numbers.as_slice() else {
            bail!("not four numbers: {line}")
        };
        ensure!(echoes > 0.0 && seconds > 0.0, "nothing came back: {line}");
        Ok(Self { echoes, seconds, processor, memory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_four_numbers() {
        let carried = Carried { echoes: 1000.0, seconds: 2.5, processor: 0.5, memory: 900.0 };
        assert_eq!(Carried::parse("joined\n1000 2.5 0.5 900\n").unwrap(), carried);
        for wrong in ["", "1000 2.5 0.5", "0 2.5 0.5 900", "1000 0 0.5 900", "a b c d", "1 2 3 4 5"] {
            Carried::parse(wrong).unwrap_err();
        }
    }
}
