//! `weft-gateway status`.

use std::io::{self, Write};

use super::Failure;
use super::output::duration;
use crate::control::{self, Answer, ControlError, Request, Status};
use crate::dir::StateDir;

pub(super) fn status(dir: &StateDir, json: bool) -> Result<(), Failure> {
    dir.require()?;
    let Answer::Status(status) = control::call(dir, Request::Status)? else {
        return Err(ControlError::Nonsense.into());
    };
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        show(&mut out, &status)?;
    }
    Ok(())
}

fn show(out: &mut impl Write, status: &Status) -> io::Result<()> {
    writeln!(out, "weft-gateway {}, up for {}", status.version, duration(status.uptime))?;
    writeln!(
        out,
        "devices   {} registered, {} connected, {} revoked",
        status.devices, status.connected, status.revoked
    )?;
    let tunnel = &status.tunnel;
    writeln!(out, "received  {} packets, {} bytes", tunnel.received_packets, tunnel.received_bytes)?;
    writeln!(out, "sent      {} packets, {} bytes", tunnel.sent_packets, tunnel.sent_bytes)?;
    for (reason, count) in &tunnel.drops {
        writeln!(out, "dropped   {count} packets: {reason}")?;
    }
    let dns = &status.dns;
    writeln!(
        out,
        "DNS       {} queries, {} blocked, {} failed, {} refused",
        dns.queries, dns.blocked, dns.failed, dns.refused
    )
}
