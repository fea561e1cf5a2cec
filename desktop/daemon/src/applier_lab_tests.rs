//! The applier on the system itself, in a lab.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use netlab::{End, Link};
use weft_model::settings::SplitTunnelMode;

use super::*;
use crate::state::StateDir;
use crate::testing::connecting;

/// A device that is connecting and has learnt the first `count` addresses of 198.51.0.0/16.
fn learning(number: u64, count: u32) -> Plan {
    let first = u32::from(Ipv4Addr::new(198, 51, 0, 1));
    let addresses = (0..count).map(|next| IpAddr::from(Ipv4Addr::from(first + next))).collect();
    Plan { learnt: LearntPlan { mode: SplitTunnelMode::Exclude, addresses }, ..connecting(number) }
}

#[test]
fn a_thousand_learnt_addresses_and_one_more_are_in_force() {
    netlab::run(|lab| {
        lab.require_tun()?;
        let (host, router) = (lab.host("device").build()?, lab.host("router").build()?);
        Link::new(
            End::new(&host, "eth0").address("192.0.2.2/24"),
            End::new(&router, "eth0").address("192.0.2.1/24"),
        )?;
        let folder = tempfile::tempdir()?;
        let state = StateDir::open(folder.path())?;
        host.inside(|| -> anyhow::Result<()> {
            let mut applier = Applier::new(Platform::native()?, Journal::open(&state)?.0);
            let mut devices = Vec::new();
            let mut attach = |device| devices.push(device);
            let mut last = 0;
            let back_and_forth = [1001, 1000].into_iter().cycle().take(20);
            let counts = [0, 1000].into_iter().chain(back_and_forth).chain([1000, 0]);
            for (number, count) in counts.enumerate() {
                let begun = Instant::now();
                applier.apply(&learning(number as u64, count), &mut attach)?;
                println!("{last} -> {count} learnt addresses: {:?}", begun.elapsed());
                last = count;
                let firewall = applier.describe_firewall()?;
                assert!(firewall.contains(&format!("set learnt4: {count} elements")), "{firewall}");
            }
            assert_eq!(devices.len(), 1);
            assert!(applier.undo().iter().all(|one| matches!(one, Undone::Restored(_))));
            Ok(())
        })??;
        let looks = ["ip route show table 65743 2>/dev/null", "ip rule | grep 65743", "nft list tables"];
        let left = host.sh(&looks.map(|look| format!("({look} || true)")).join("; "))?;
        assert_eq!(left.stdout, "");
        Ok(())
    });
}
