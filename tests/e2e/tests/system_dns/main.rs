//! The system's resolvers lead to Weft while it is connected, and where they led before when it is not: with those who
//! keep such settings running for real.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod no_room;
mod ways;

use std::net::Ipv4Addr;

use anyhow::Result;
use netlab::topology::{INTERFACE, ROUTER, ROUTER_V6};
use ways::{Way, World};
use weft_e2e::PATIENCE;

const PROFILE: &str = r#"{"fallback_domains": [{"suffix": "corp"}]}"#;
/// A second resolver in the LAN, as a lease may name one; it is the first one by another address.
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 21);

/// How often a replaced file is watched being set again: less than what Weft puts up with within a minute.
const ANSWERED: usize = 3;

/// Connect, disconnect, and what others do in between.
fn lives_with(way: Way) {
    netlab::run(move |lab| {
        let mut world = World::new(lab, way, PROFILE)?;
        world.setup.topology.lan.add_address(INTERFACE, &format!("{SECOND}/24"))?;
        let before = world.setup.device.traces()?.resolv_conf;
        world.setup.device.connect()?;
        world.assert_by_weft()?;
        world.assert_mode()?;
        world.setup.device.disconnect()?;
        world.assert_by_lan()?;
        assert_eq!(world.setup.device.traces()?.resolv_conf, before);

        world.setup.device.connect()?;
        restart_keepers(&mut world)?;
        world.assert_by_weft()?;
        world.lease(SECOND)?;
        world.assert_by_weft()?;
        cable(&world)?;
        world.assert_by_weft()?;
        world.setup.device.wait_for_state("connected")?;
        world.setup.device.disconnect()?;
        // The LAN's resolver does not answer by its second address where it is asked by the first one's, so that only
        // the settings tell.
        assert_leased(&world)
    });
}

/// A program that replaces the file some times is answered, one that never ends is not, and the user is told of it.
#[test]
fn a_plain_file_that_another_program_keeps_replacing() {
    netlab::run(|lab| {
        let world = World::new(lab, Way::File, PROFILE)?;
        world.setup.device.connect()?;
        let ours = world.setup.device.traces()?.resolv_conf;
        let warnings = || Ok::<_, anyhow::Error>(world.setup.device.status()?["warnings"].to_string());
        assert!(!warnings()?.contains("keeps replacing"), "{}", warnings()?);
        let replace = |number: usize| -> Result<()> {
            let text = format!("# Written by another program, {number}\\nnameserver {SECOND}");
            world
                .host()
                .sh(&format!("printf '{text}\\n' > /etc/other && mv /etc/other /etc/resolv.conf"))
                .map(drop)
        };
        for number in 0..ANSWERED {
            replace(number)?;
            netlab::eventually(PATIENCE, format!("the file is Weft's again, {number}"), || {
                world.host().read_file("/etc/resolv.conf").is_ok_and(|now| now == ours)
            })?;
            world.assert_by_weft()?;
            assert!(!warnings()?.contains("keeps replacing"), "{}", warnings()?);
        }
        let mut number = ANSWERED;
        netlab::eventually(PATIENCE, "the user is warned", || {
            if world.host().read_file("/etc/resolv.conf")? == ours {
                replace(number)?;
                number += 1;
            }
            let warnings = warnings()?;
            anyhow::ensure!(warnings.contains("keeps replacing"), "{number} times: {warnings}");
            Ok(())
        })?;
        // It was given in to, and stays so.
        let theirs = world.host().read_file("/etc/resolv.conf")?;
        assert!(theirs.contains(&format!("Written by another program, {}", number - 1)), "{theirs}");
        assert!(world.setup.device.weft(&["status"])?.contains("keeps replacing"));
        Ok(())
    });
}

fn restart_keepers(world: &mut World) -> Result<()> {
    if let Some(resolved) = &world.resolved {
        resolved.lock().unwrap().restart()?;
    }
    if let Some(manager) = &mut world.manager {
        manager.restart()?;
        manager.wait_connected(INTERFACE)?;
    }
    Ok(())
}

/// The cable out and in, and what the network's manager does then.
fn cable(world: &World) -> Result<()> {
    let host = world.host();
    host.run(["ip", "link", "set", "dev", INTERFACE, "down"])?;
    netlab::eventually(PATIENCE, "the link is down", || {
        host.sh(&format!("ip -o link show {INTERFACE}")).is_ok_and(|said| said.stdout.contains("state DOWN"))
    })?;
    host.run(["ip", "link", "set", "dev", INTERFACE, "up"])?;
    if let Some(manager) = &world.manager {
        manager.wait_connected(INTERFACE)?;
    }
    host.sh(&format!(
        "ip route replace default via {ROUTER} dev {INTERFACE} || true; \
         ip -6 route replace default via {ROUTER_V6} dev {INTERFACE} || true"
    ))?;
    Ok(())
}

/// The resolver of the lease that came while Weft was connected is the one that the system has now.
fn assert_leased(world: &World) -> Result<()> {
    netlab::eventually(PATIENCE, "the lease's resolver is in force", || {
        let shown = match &world.resolved {
            Some(_) => world.host().sh(&format!("resolvectl dns {INTERFACE}"))?,
            None => world.host().sh("cat /etc/resolv.conf")?,
        };
        anyhow::ensure!(shown.stdout.contains(&SECOND.to_string()), "{}", shown.stdout);
        anyhow::ensure!(!shown.stdout.contains("127.0.2.2"), "{}", shown.stdout);
        Ok(())
    })
}

/// Killed, started again, killed, undone.
fn survives_a_kill(way: Way) {
    netlab::run(move |lab| {
        let mut world = World::new(lab, way, PROFILE)?;
        let before = world.setup.device.traces()?;
        world.setup.device.connect()?;
        world.assert_by_weft()?;
        world.setup.device.daemon()?.kill9()?;
        world.setup.device.start_daemon()?;
        world.setup.device.wait_for_state("connected")?;
        world.assert_by_weft()?;
        world.undo()?;
        world.assert_by_lan()?;
        assert_eq!(world.setup.device.traces()?, before);
        Ok(())
    });
}

#[test]
fn systemd_resolved() {
    lives_with(Way::Resolved);
}

#[test]
fn systemd_resolved_by_its_global_settings() {
    lives_with(Way::ResolvedGlobal);
}

#[test]
fn network_manager() {
    lives_with(Way::NetworkManager);
}

#[test]
fn network_manager_with_resolved() {
    lives_with(Way::NetworkManagerAndResolved);
}

#[test]
fn openresolv() {
    lives_with(Way::Openresolv);
}

#[test]
fn a_plain_file() {
    lives_with(Way::File);
}

#[test]
fn a_plain_file_that_nothing_can_be_renamed_over() {
    lives_with(Way::BoundFile);
}

#[test]
fn killed_beside_systemd_resolved() {
    survives_a_kill(Way::Resolved);
}

#[test]
fn killed_beside_systemd_resolveds_global_settings() {
    survives_a_kill(Way::ResolvedGlobal);
}

#[test]
fn killed_beside_network_manager() {
    survives_a_kill(Way::NetworkManager);
}

#[test]
fn killed_beside_openresolv() {
    survives_a_kill(Way::Openresolv);
}

#[test]
fn killed_with_a_file_that_nothing_can_be_renamed_over() {
    survives_a_kill(Way::BoundFile);
}
