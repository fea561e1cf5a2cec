//! Bad input gets a named error on one line, or a counted drop, and changes nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod answers;
mod fake_gateway;
mod files;
mod frames;
mod names;
mod packets;
mod profiles;

use anyhow::{Context, Result};
use netlab::Output;
use netlab::topology::{GATEWAY, WEB};
use serde_json::Value;
use weft_e2e::{Device, Setup, Traces};

/// What a bad input must leave as it is.
#[derive(Debug, PartialEq)]
struct Standing {
    traces: Traces,
    /// `weft status --json` without the clocks that run in it.
    status: Value,
    /// `weft registration show --json`, or why there is none.
    registration: String,
    /// Names, modes and contents of the daemon's files.
    files: String,
}

impl Standing {
    fn of(device: &Device) -> Result<Self> {
        let mut status = device.status()?;
        status.as_object_mut().context("the status is an object")?.remove("timers");
        let registration = device.attempt(&["registration", "show", "--json"])?;
        let files = "cd /var/lib/weft; find . -printf '%p %m\\n' | sort; \
                     find . -type f -exec sha256sum {} + | sort -k 2";
        Ok(Self {
            traces: device.traces()?,
            status,
            registration: registration.stdout + &registration.stderr,
            files: device.host().sh(files)?.stdout,
        })
    }
}

/// The beginning of an input, for the message of a test that fails.
fn shown(input: &[u8]) -> String {
    String::from_utf8_lossy(&input[..input.len().min(300)]).into_owned()
}

/// The program ended with this exit code, and one line that names what is wrong.
fn assert_refused(output: &Output, code: i32, named: &str) {
    let Output { status, stdout, stderr, .. } = output;
    assert_eq!(status.code(), Some(code), "{output:?}");
    assert_eq!(stdout, "", "{output:?}");
    assert!(stderr.lines().count() == 1 && stderr.ends_with('\n'), "not one line: {output:?}");
    assert!(stderr.contains(named), "{named:?} is not named: {output:?}");
}

/// A page comes through the tunnel.
fn assert_carries(setup: &Setup) -> Result<()> {
    let page = setup.curl(&[&format!("http://{WEB}/")])?;
    assert!(page.contains(&GATEWAY.to_string()), "{page}");
    Ok(())
}
