//! Weft's data plane alone: `weft-tunnel-pair` at both ends.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use netlab::peers::Keys;
use netlab::{Host, Process};

use super::contender::Raised;
use super::field::{DEVICE, FAR, Field, INSIDE, UPLINK};

const PROGRAM: &str = "weft-tunnel-pair";

const PORT: u16 = 2408;
const INTERFACE: &str = "weft0";
const SOON: Duration = Duration::from_secs(20);

/// Where its program is.
///
/// # Errors
///
/// When it is not built.
pub(crate) fn find() -> Result<PathBuf> {
    weft_e2e::program(PROGRAM).map_err(|_| anyhow!("{PROGRAM} is not built: run `cargo build -p weft-bench`"))
}

/// Raises it.
///
/// # Errors
///
/// When a program does not start.
pub(crate) fn raise(field: &Field, mtu: u16) -> Result<Raised> {
    let (ours, theirs) = (Keys::generate(&field.device)?, Keys::generate(&field.far)?);
    field.far.forward()?;
    field.far.masquerade(UPLINK)?;
    let far = start(&field.far, "100.96.0.1/32", &theirs, &ours.public, DEVICE, mtu)?;
    field.far.add_route(&format!("100.96.0.2 dev {INTERFACE}"))?;
    let device = start(&field.device, "100.96.0.2/32", &ours, &theirs.public, FAR, mtu)?;
    field.device.add_route(&format!("{INSIDE} dev {INTERFACE}"))?;
    Ok(Raised { device: vec![device.id()], far: vec![far.id()], _programs: Box::new((device, far)) })
}

fn start(host: &Host, address: &str, own: &Keys, other: &str, remote: Ipv4Addr, mtu: u16) -> Result<Process> {
    let key = "/run/weft-tunnel-pair.key";
    host.write_file(key, &own.private)?;
    let mut command = host.command(find()?);
    command.args(["--address", address, "--mtu", &mtu.to_string(), "--port", &PORT.to_string()]);
    command.args(["--private-key-file", key, "--peer", other]);
    command.args(["--endpoint", &SocketAddr::from((remote, PORT)).to_string()]);
    let process = host.spawn(command)?;
    process.wait_for_line("ready", SOON).with_context(|| format!("{PROGRAM} on {host}"))?;
    Ok(process)
}
