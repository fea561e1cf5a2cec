//! Where the programs under test are: beside the test's own, in cargo's output folder.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The path of a program that `cargo build` made with the profile of this test.
///
/// # Errors
/// It is not there; the message says how to build it.
pub fn program(name: &str) -> Result<PathBuf> {
    let mut folder = std::env::current_exe().context("this program's own path")?;
    while folder.pop() {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
        if folder.file_name().is_some_and(|part| part == "target") {
            break;
        }
    }
    bail!("{name} is not built: run `cargo build -p weftd -p weft-cli -p weft-gateway`")
}

/// The daemon.
///
/// # Errors
/// It is not built.
pub fn weftd() -> Result<PathBuf> {
    program("weftd")
}

/// The command line.
///
/// # Errors
/// It is not built.
pub fn weft() -> Result<PathBuf> {
    program("weft")
}

/// The gateway.
///
/// # Errors
/// It is not built.
pub fn weft_gateway() -> Result<PathBuf> {
    program("weft-gateway")
}
