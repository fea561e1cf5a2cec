//! Not one packet to a tunnelled destination leaves by another interface, and a crash leaves nothing behind.

use std::time::Duration;

use anyhow::Result;
use netlab::topology::{INTERFACE, WEB, WEB_V6};
use netlab::{Capture, Seen};
use weft_e2e::{PATIENCE, Setup};

const EXCLUDE: &str = "{}";
const INCLUDE: &str =
    r#"{"include": [{"address": "203.0.113.80"}, {"address": "2001:db8:113::80"}], "fallback_domains": []}"#;

fn is_stray(seen: &Seen) -> bool {
    seen.is_to(WEB) || seen.is_to(WEB_V6)
}

fn assert_clean(wire: &Capture) -> Result<()> {
    wire.settle()?;
    let strays = wire.matching(is_stray);
    assert!(strays.is_empty(), "{strays:#?}");
    Ok(())
}

/// Everything a program can do to go around the routes.
fn try_to_leak(setup: &Setup) -> Result<()> {
    let host = setup.device.host();
    for url in [format!("http://{WEB}/"), format!("http://[{WEB_V6}]/")] {
        let said = setup.curl(&["--max-time", "2", "--interface", INTERFACE, &url])?;
        assert!(said.contains("curl:"), "{said}");
        setup.curl(&["--max-time", "1", &url])?;
    }
    host.attempt(["ping", "-c", "1", "-W", "1", "-I", INTERFACE, &WEB.to_string()])?;
    host.attempt(["bash", "-c", &format!("echo x > /dev/udp/{WEB}/9")])?;
    Ok(())
}

fn bypass_is_refused(profile: &'static str) {
    netlab::run(move |lab| {
        let setup = Setup::connected(lab, profile)?;
        let wire = setup.topology.device.capture(INTERFACE)?;
        for url in [format!("http://{WEB}/"), format!("http://[{WEB_V6}]/")] {
            let said = setup.curl(&["--interface", INTERFACE, &url])?;
            assert!(said.contains("curl:"), "{said}");
        }
        setup.device.host().attempt(["ping", "-c", "2", "-W", "1", "-I", INTERFACE, &WEB.to_string()])?;
        assert_clean(&wire)
    });
}

#[test]
fn going_around_the_routes_is_refused_in_exclude_mode() {
    bypass_is_refused(EXCLUDE);
}

#[test]
fn going_around_the_routes_is_refused_in_include_mode() {
    bypass_is_refused(INCLUDE);
}

#[test]
fn nothing_leaks_while_the_gateway_is_gone() {
    netlab::run(|lab| {
        let mut setup = Setup::connected(lab, EXCLUDE)?;
        let wire = setup.topology.device.capture(INTERFACE)?;
        setup.gateway.process()?.kill9()?;
        try_to_leak(&setup)?;
        assert_clean(&wire)?;
        setup.gateway.run()?;
        netlab::eventually(PATIENCE, "pages come again once the gateway is back", || {
            setup
                .curl(&["--max-time", "2", &format!("http://{WEB}/")])
                .is_ok_and(|page| page.contains("you are"))
        })?;
        assert_clean(&wire)
    });
}

#[test]
fn nothing_leaks_while_connecting_to_a_gateway_that_does_not_answer() {
    netlab::run(|lab| {
        let mut setup = Setup::new(lab, EXCLUDE)?;
        setup.device.register(&setup.gateway)?;
        setup.gateway.process()?.kill9()?;
        setup.device.weft(&["connect"])?;
        netlab::eventually(PATIENCE, "the firewall stands", || {
            setup.device.traces().is_ok_and(|traces| traces.nft.contains("weft"))
        })?;
        let wire = setup.topology.device.capture(INTERFACE)?;
        try_to_leak(&setup)?;
        assert_clean(&wire)
    });
}

/// A flood of attempts to reach a tunnelled destination, from before the daemon is killed until after it is back.
fn flood(setup: &Setup) -> Result<netlab::Process> {
    let line = format!(
        "while :; do for i in 1 2 3 4; do (echo x > /dev/udp/{WEB}/9) 2>/dev/null; done; \
         ping -c 1 -W 1 -I {INTERFACE} {WEB} >/dev/null 2>&1; done"
    );
    setup.device.host().spawn(setup.device.host().command_of(["bash", "-c", &line])?)
}

fn killed(setup: &mut Setup, state: &str, before: &weft_e2e::Traces) -> Result<()> {
    let wire = setup.topology.device.capture(INTERFACE)?;
    let mut flood = flood(setup)?;
    setup.device.daemon()?.kill9()?;
    try_to_leak(setup)?;
    assert_clean(&wire)?;
    setup.device.start_daemon()?;
    try_to_leak(setup)?;
    assert_clean(&wire)?;
    flood.kill9()?;
    setup.device.wait_for_state(state)?;
    setup.device.disconnect()?;
    let after = setup.device.traces()?;
    assert_eq!(&after, before);
    Ok(())
}

#[test]
fn killed_while_connected() {
    netlab::run(|lab| {
        let mut setup = Setup::new(lab, EXCLUDE)?;
        let before = setup.device.traces()?;
        setup.device.register(&setup.gateway)?;
        setup.device.connect()?;
        killed(&mut setup, "connected", &before)
    });
}

#[test]
fn killed_while_connecting() {
    netlab::run(|lab| {
        let mut setup = Setup::new(lab, EXCLUDE)?;
        let before = setup.device.traces()?;
        setup.device.register(&setup.gateway)?;
        setup.gateway.process()?.kill9()?;
        setup.device.weft(&["connect"])?;
        netlab::eventually(PATIENCE, "the firewall stands", || {
            setup.device.traces().is_ok_and(|traces| traces.nft.contains("weft"))
        })?;
        killed(&mut setup, "connecting", &before)
    });
}

#[test]
fn killed_at_random_moments_of_connecting_and_disconnecting() {
    netlab::run_within(Duration::from_secs(240), |lab| {
        let mut setup = Setup::new(lab, EXCLUDE)?;
        let before = setup.device.traces()?;
        setup.device.register(&setup.gateway)?;
        for step in 0_u64..10 {
            let command = if step % 2 == 0 { "connect" } else { "disconnect" };
            let mut weft = setup.device.host().command(weft_e2e::weft()?);
            weft.arg(command);
            let commanded = setup.device.host().spawn(weft)?;
            // Spread over the first tenths of a second, in which every step of a plan falls.
            let moment = std::time::Instant::now() + Duration::from_millis(step * 23 % 180);
            netlab::eventually(PATIENCE, "the moment", || std::time::Instant::now() >= moment)?;
            setup.device.daemon()?.kill9()?;
            drop(commanded);
            setup.device.start_daemon()?;
            setup.device.disconnect()?;
            assert_eq!(setup.device.traces()?, before, "killed {}", step * 23 % 180);
            if step % 2 == 0 {
                setup.device.connect()?;
            }
        }
        Ok(())
    });
}

#[test]
fn undo_puts_everything_back_after_a_kill() {
    netlab::run(|lab| {
        let mut setup = Setup::new(lab, EXCLUDE)?;
        let before = setup.device.traces()?;
        setup.device.register(&setup.gateway)?;
        setup.device.connect()?;
        setup.device.daemon()?.kill9()?;
        setup
            .device
            .host()
            .finish(
                {
                    let mut command = setup.device.host().command(weft_e2e::weftd()?);
                    command.arg("--undo");
                    command
                },
                PATIENCE,
            )?
            .success()?;
        assert_eq!(setup.device.traces()?, before);
        Ok(())
    });
}

#[test]
fn a_stopped_daemon_connects_again_when_it_starts() {
    netlab::run(|lab| {
        let mut setup = Setup::new(lab, EXCLUDE)?;
        let before = setup.device.traces()?;
        setup.device.register(&setup.gateway)?;
        setup.device.connect()?;
        setup.device.daemon()?.terminate(PATIENCE)?;
        assert_eq!(setup.device.traces()?, before);
        setup.device.start_daemon()?;
        setup.device.wait_for_state("connected")?;
        Ok(())
    });
}
