//! Figures of Weft beside the peers', as ratios.

mod args;
mod boundary;
mod dns;
mod figures;
mod procfs;
mod quiet;
mod report;
mod tunnel;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::args::{Args, Kind};
use crate::quiet::Quiet;
use crate::report::Part;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let lab = netlab::enter()?;
    let mut quiet = Quiet::new(args.patience());
    let mut parts = Vec::new();
    for kind in args.kinds() {
        parts.push(match kind {
            Kind::Tunnel(tunnel) => tunnel::measure(&lab, tunnel.settled(args.quick), &mut quiet)?,
            Kind::Dns(dns) => dns::measure(&lab, dns.settled(args.quick), &mut quiet)?,
            Kind::Boundary(boundary) => boundary::measure(&lab, &boundary.settled(args.quick), &mut quiet)?,
        });
    }
    report(&args, &parts, &quiet)?;
    let failed = parts.iter().any(|part| part.failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(args: &Args, parts: &[Part], quiet: &Quiet) -> Result<()> {
    let rows = parts.iter().flat_map(|part| report::rows(&part.samples, &part.entrants)).collect::<Vec<_>>();
    write_json(&args.output, &rows)?;
    parts.iter().for_each(Part::print);
    println!("Results: {}", args.output.display());
    if let Some(complaint) = quiet.complaint() {
        println!("{complaint}.");
    }
    Ok(())
}

fn write_json(path: &Path, rows: &[report::Row]) -> Result<()> {
    let write = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, format!("{}\n", serde_json::to_string_pretty(rows)?))
    };
    write().with_context(|| path.display().to_string())
}
