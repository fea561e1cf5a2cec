//! A `/run` that nothing can be made in: the daemon says so, and the system's settings are its own.

use anyhow::{Result, ensure};
use netlab::Host;
use weft_e2e::{PATIENCE, Setup, weftd};

use crate::PROFILE;

/// What takes the room, what gives it back, and what the system says meanwhile.
const CASES: [(&str, &str, &str); 2] = [
    ("mount -o remount,bind,ro /run", "mount -o remount,bind,rw /run", "Read-only file system"),
    (
        "mount -o remount,nr_inodes=2000 /run; i=0; while true > /run/fill$i; do i=$((i+1)); done",
        "rm /run/fill*",
        "No space left on device",
    ),
];

/// Runs the daemon with these words to its end. Gives its exit code and the last line that it says.
fn weftd_ends(host: &Host, words: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = host.command(weftd()?);
    command.args(words);
    let output = host.finish(command, PATIENCE)?;
    let said = format!("{}{}", output.stdout, output.stderr);
    Ok((output.status.code(), said.lines().last().unwrap_or_default().to_owned()))
}

#[test]
fn a_start_that_finds_no_room_changes_nothing() {
    netlab::run(|lab| {
        let mut setup = Setup::new(lab, PROFILE)?;
        setup.device.register(&setup.gateway)?;
        setup.device.daemon()?.terminate(PATIENCE)?;
        let host = setup.device.host().clone();
        let before = setup.device.traces()?;
        for (take, give, why) in CASES {
            // With what an earlier daemon left there, and without.
            for (left, named) in [("true", "weftd.sock"), ("rm -r /run/weft", "/run/weft")] {
                host.sh(&format!("{left} && {take}"))?;
                let (code, said) = weftd_ends(&host, &[])?;
                ensure!(code == Some(1) && said.contains(named) && said.contains(why), "{code:?}: {said}");
                assert_eq!(setup.device.traces()?, before, "{left}: {why}");
                assert_eq!(weftd_ends(&host, &["--undo"])?, (Some(0), "nothing to undo".to_owned()));
                host.sh(give)?;
            }
            setup.device.start_daemon()?;
            setup.device.daemon()?.terminate(PATIENCE)?;
        }
        Ok(())
    });
}

#[test]
fn what_a_killed_daemon_left_is_undone_where_there_is_no_room() {
    netlab::run_within(PATIENCE * 3, |lab| {
        let mut setup = Setup::new(lab, PROFILE)?;
        setup.device.register(&setup.gateway)?;
        let host = setup.device.host().clone();
        let before = setup.device.traces()?;
        setup.device.connect()?;
        for (take, give, why) in CASES {
            setup.device.daemon()?.kill9()?;
            host.sh(take)?;
            let (code, said) = weftd_ends(&host, &[])?;
            ensure!(code == Some(1) && said.contains(why), "{code:?}: {said}");
            let left = setup.device.traces()?;
            assert_eq!(left.resolv_conf, before.resolv_conf, "{why}");
            assert_ne!(left.nft, before.nft, "it was left connected, and stays blocked");
            let (code, said) = weftd_ends(&host, &["--undo"])?;
            ensure!(code == Some(0), "{code:?}: {said}");
            assert_eq!(setup.device.traces()?, before, "{why}");
            host.sh(give)?;
            setup.device.start_daemon()?;
            setup.device.wait_for_state("connected")?;
        }
        Ok(())
    });
}
