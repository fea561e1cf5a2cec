//! Raises the standard topology and opens a shell on its device: `cargo run -p netlab --example shell`.

use anyhow::Result;

fn main() -> Result<()> {
    let lab = netlab::enter()?;
    let net = netlab::Topology::standard(&lab)?;
    println!("a shell on {}; `curl web.example` crosses the router; `exit` ends the lab", net.device);
    lab.shell(&net.device, None)
}
