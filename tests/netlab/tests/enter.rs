//! A plain program that moves into a lab, with its arguments and its exit code.
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

fn main() -> Result<ExitCode> {
    let inside = std::env::args().nth(1).as_deref() == Some("inside");
    if !inside {
        let status = Command::new(std::env::current_exe()?).arg("inside").status()?;
        ensure!(status.code() == Some(7), "the exit code of the program inside: {status}");
        println!("test enter ... ok");
        return Ok(ExitCode::SUCCESS);
    }
    let lab = netlab::enter()?;
    ensure!(std::process::id() == 1, "not in a PID namespace");
    lab.host("one").build()?.run(["ping", "-c1", "-W5", "127.0.0.1"])?;
    Ok(ExitCode::from(7))
}
