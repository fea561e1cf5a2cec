//! What the tests share.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod net;
pub(crate) mod proxy;

use anyhow::Result;
use ipnet::IpNet;
use netlab::Host;
use weft_model::settings::SplitTunnelMode;
use weft_model::{FirewallPlan, LearntPlan, Opening, Protocol};
use weft_platform::Platform;

pub(crate) fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// No learnt addresses.
pub(crate) fn none() -> LearntPlan {
    LearntPlan::default()
}

pub(crate) fn learnt(mode: SplitTunnelMode, addresses: &[&str]) -> LearntPlan {
    LearntPlan { mode, addresses: addresses.iter().map(|text| text.parse().unwrap()).collect() }
}

pub(crate) fn enforced(tunnelled: &[&str], openings: &[(Protocol, &str)]) -> FirewallPlan {
    let openings = openings.iter().map(|(protocol, remote)| Opening {
        purpose: "tunnel".to_owned(),
        protocol: *protocol,
        remote: remote.parse().unwrap(),
    });
    FirewallPlan::Enforced { tunnelled: nets(tunnelled), openings: openings.collect() }
}

pub(crate) fn apply(host: &Host, plan: &FirewallPlan, addresses: &[&str]) -> Result<()> {
    let addresses = nets(addresses);
    Ok(host.inside(|| Platform::native()?.firewall.apply(plan, &none(), &addresses))??)
}

pub(crate) fn clear(host: &Host) -> Result<()> {
    Ok(host.inside(|| Platform::native()?.firewall.clear())??)
}
