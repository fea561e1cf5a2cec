//! weft: the command line. Speaks to weftd over its socket and does nothing by itself.

mod args;
mod commands;
mod diag;
mod dns;
mod fault;
mod output;
mod record_type;
mod render;
mod time;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let json = args.json;
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(fault) if fault.is_closed_output() => ExitCode::SUCCESS,
        Err(fault) => {
            fault.report(json);
            fault.exit_code()
        }
    }
}
