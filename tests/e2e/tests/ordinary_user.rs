//! The demo ends well, run by root and by an ordinary user.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

/// Nobody: a user that owns nothing.
const USER: &str = "65534";
/// The demo is to be over in a minute; the machine may be busy with other tests.
const DEADLINE: Duration = Duration::from_secs(180);

fn demo() -> Result<PathBuf> {
    weft_e2e::program("demo")
}

/// Runs a program to its end, which must come in time.
fn finish(mut command: Command) -> Result<Output> {
    command
        .env_remove("KEEP")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().context("the demo cannot be started")?;
    let pid = child.id();
    let (done, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match end.recv_timeout(DEADLINE) {
        Ok(output) => Ok(output?),
        Err(_) => {
            Command::new("kill").arg(pid.to_string()).status()?;
            anyhow::bail!("the demo has not ended in {DEADLINE:?}")
        }
    }
}

/// Every step is as it should be.
fn assert_ended_well(output: &Output) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let told = format!("{}\n{stdout}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    let last = stdout.lines().last().unwrap_or_default();
    let (good, rest) = last.split_once(" of ").unwrap_or_default();
    let steps = rest.strip_suffix(" steps are as they should be").unwrap_or_default();
    assert!(good == steps && steps.parse::<u32>().is_ok_and(|steps| steps >= 10), "{told}");
    assert!(!stdout.contains("NOT SO"), "{told}");
}

/// Says why a test does not run. Past the macros: a skipped test must be seen although it passes.
fn skip(test: &str, reason: &str) -> Result<()> {
    Ok(std::io::stderr().write_all(format!("test {test} ... skipped: {reason}\n").as_bytes())?)
}

fn is_root() -> Result<bool> {
    let id = Command::new("id").arg("-u").output().context("id")?;
    Ok(String::from_utf8_lossy(&id.stdout).trim() == "0")
}

/// The demo as an ordinary user, in a mount namespace where `/dev/net/tun` has this mode, as udev would give it.
/// The programs are copied, since the folder that they were built in may be closed to others.
fn as_ordinary_user(mode: &str) -> Result<Output> {
    let folder = demo()?.parent().context("a folder")?.to_owned();
    let script = r#"
        set -eu
        mount -t tmpfs -o mode=755 weft /mnt
        mknod /mnt/tun c 10 200
        chmod "$MODE" /mnt/tun
        mkdir /mnt/debug
        for program in demo weftd weft weft-gateway; do cp "$FOLDER/$program" /mnt/debug/; done
        mount --bind /mnt/tun /dev/net/tun
        cd /mnt
        exec setpriv --reuid="$ID" --regid="$ID" --clear-groups --inh-caps=-all env HOME=/ /mnt/debug/demo
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command.env("MODE", mode).env("FOLDER", folder).env("ID", USER);
    finish(command)
}

#[test]
fn the_demo_ends_well() -> Result<()> {
    if std::fs::File::options().read(true).write(true).open("/dev/net/tun").is_err() {
        return skip("the_demo_ends_well", "this user may not open /dev/net/tun");
    }
    assert_ended_well(&finish(Command::new(demo()?))?);
    Ok(())
}

#[test]
fn the_demo_ends_well_as_an_ordinary_user() -> Result<()> {
    if !is_root()? {
        return skip("the_demo_ends_well_as_an_ordinary_user", "only root can become another user");
    }
    assert_ended_well(&as_ordinary_user("0666")?);
    Ok(())
}

#[test]
fn without_the_right_to_make_a_tunnel_the_demo_names_the_remedy() -> Result<()> {
    if !is_root()? {
        let reason = "only root can put a closed /dev/net/tun before another user";
        return skip("without_the_right_to_make_a_tunnel_the_demo_names_the_remedy", reason);
    }
    let output = as_ordinary_user("0600")?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told.contains("chmod 0666 /dev/net/tun"), "{told}");
    assert!(told.trim_end().lines().count() == 1, "{told}");
    assert!(output.stdout.is_empty(), "{output:?}");
    Ok(())
}
