//! How labs end: with nothing left, whatever happened.
use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::Result;
use netlab::{Skip, eventually};

const SOON: Duration = Duration::from_secs(20);
/// Tells the tests at the end of this file that they are run by the others.
const HELPER: &str = "NETLAB_TEST_HELPER";

fn helper(name: &str, value: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", name, "--nocapture"]).env(HELPER, value).env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// How many processes of the machine have a command line with this word.
fn processes(word: &str) -> usize {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = folders.filter_map(|folder| fs::read(folder.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes())).count()
}

#[test]
fn nothing_is_left_when_the_outer_process_is_killed() {
    // A number of seconds that no other process sleeps.
    let word = format!("9{:08}", std::process::id());
    let mut outer = helper("helper_sleeps", &word).unwrap().spawn().unwrap();
    let started = eventually(SOON, "programs in the lab", || processes(&word) == 2);
    outer.kill().unwrap();
    outer.wait().unwrap();
    started.unwrap();
    eventually(SOON, "the lab's end", || processes(&word) == 0).unwrap();
}

#[test]
fn a_failure_inside_is_one_outside_and_shows_what_programs_wrote() {
    for way in ["error", "panic"] {
        let output = helper("helper_fails", way).unwrap().output().unwrap();
        let text = text(&output);
        assert!(!output.status.success(), "{text}");
        assert!(text.contains("written by a program") && text.contains("the reason"), "{text}");
    }
}

#[test]
fn a_skip_passes_and_says_why() {
    let output = helper("helper_skips", "1").unwrap().output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("helper_skips ... skipped: no reason"));
}

#[test]
fn a_test_that_takes_too_long_is_ended() {
    let output = helper("helper_hangs", "1").unwrap().output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output).contains("still runs after 1s"), "{}", text(&output));
}

#[test]
fn many_ids_are_many() {
    netlab::run(|lab| {
        lab.require_many_ids()?;
        let host = lab.host("one").build()?;
        assert_eq!(lab.ids(), 65536);
        let id = host.run(["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "id", "-u"])?;
        assert_eq!(id.stdout, "1234\n");
        Ok(())
    });
}

fn helped() -> Option<String> {
    std::env::var(HELPER).ok()
}

#[test]
fn helper_sleeps() {
    let Some(seconds) = helped() else { return };
    netlab::run(|lab| {
        let host = lab.host("one").build()?;
        let mut command = host.command("sh");
        // The first will have left its parent, its session and its process group.
        command.args(["-c", "setsid sleep $0 & exec sleep $0", &seconds]);
        let _running = host.spawn(command)?;
        loop {
            std::thread::park();
        }
    });
}

#[test]
fn helper_fails() {
    let Some(way) = helped() else { return };
    netlab::run(|lab| -> Result<()> {
        let host = lab.host("one").build()?;
        let mut command = host.command("echo");
        command.arg("written by a program");
        host.spawn(command)?.wait_for_line("written", SOON)?;
        assert_ne!(way, "panic", "the reason");
        anyhow::bail!("the reason")
    });
}

#[test]
fn helper_skips() {
    if helped().is_some() {
        netlab::run(|_| Err(Skip("no reason".into()).into()));
    }
}

#[test]
fn helper_hangs() {
    if helped().is_some() {
        netlab::run_within(Duration::from_secs(1), |_| {
            loop {
                std::thread::park();
            }
        });
    }
}
