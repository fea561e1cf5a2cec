//! The threads: how they rest and how they end.

use std::fs;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netlab::eventually;
use weft_runtime::tun;

use crate::pair::{Pair, SOON, Shape};
use crate::sys;
use crate::traffic::stream;

/// How long an idle data plane is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// The data plane's threads in this process, by name, with how often each gave up the processor of itself.
fn threads() -> Result<Vec<(String, u64)>> {
    let mut threads = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        // A thread may end while it is looked at.
        let (Ok(name), Ok(status)) =
            (fs::read_to_string(folder.join("comm")), fs::read_to_string(folder.join("status")))
        else {
            continue;
        };
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        if name.starts_with("weft-") {
            threads.push((name.trim().to_owned(), switches.unwrap_or_default().trim().parse()?));
        }
    }
    threads.sort();
    Ok(threads)
}

#[test]
fn idle_threads_do_not_wake() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        stream(&left.host, &right.host, right.v4, 1 << 20)?;
        for side in [&left, &right] {
            // Announcements of the system's own, multicast joins above all, are no idleness.
            side.host.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        }
        eventually(SOON, "a time without a wake-up", || {
            let before = threads()?;
            ensure!(before.len() == 4, "{before:?}");
            let end = Instant::now() + WATCHED;
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
            let after = threads()?;
            ensure!(before == after, "{before:?} became {after:?}");
            Ok(())
        })?;
        stream(&left.host, &right.host, right.v4, 1 << 20)
    });
}

#[test]
fn dropping_a_data_plane_ends_its_threads() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        // A thread has its name a moment after it has begun, and is in /proc a moment after it was joined.
        eventually(SOON, "both pairs of threads", || threads().is_ok_and(|threads| threads.len() == 4))?;
        drop(left.plane);
        drop(right.plane);
        eventually(SOON, "no thread", || threads().is_ok_and(|threads| threads.is_empty()))
    });
}

#[test]
fn a_thread_that_panics_is_a_failure_that_is_told() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        left.judge(|_| panic!("no verdict"));
        left.host.attempt(["ping", "-c1", "-W1", &right.v4.to_string()])?;
        let told = eventually(SOON, "the failure", || left.plane.failure())?;
        ensure!(told == "the packet path: one of its threads panicked", "{told}");
        // No other device heals that.
        let (input, output) = tun::open(left.host.inside(|| sys::tun("tun1", true))??)?;
        left.plane.replace_device(Box::new(input), Arc::new(output));
        ensure!(left.plane.failure().is_some(), "forgotten");
        Ok(())
    });
}

#[test]
fn an_interface_that_goes_away_is_told_once() {
    netlab::run(|lab| {
        let Pair { left, right: _right } = Pair::new(lab, Shape::default())?;
        left.host.run(["ip", "link", "delete", "tun0"])?;
        let told = eventually(SOON, "the failure", || left.plane.failure())?;
        assert!(told.starts_with("the tunnel interface gives no more packets"), "{told}");
        Ok(())
    });
}

#[test]
fn an_interface_that_was_down_for_a_while_passes_again() {
    netlab::run(|lab| {
        let Pair { left, right } = Pair::new(lab, Shape::default())?;
        stream(&left.host, &right.host, right.v4, 1 << 20)?;
        for (state, side) in [("down", &left), ("down", &right), ("up", &left), ("up", &right)] {
            side.host.run(["ip", "link", "set", "tun0", state])?;
        }
        stream(&left.host, &right.host, right.v4, 1 << 20)?;
        assert_eq!((left.plane.failure(), right.plane.failure()), (None, None));
        Ok(())
    });
}

#[test]
fn a_descriptor_that_is_no_tun_device_is_refused() {
    let file = fs::File::open("/dev/null").unwrap();
    assert!(tun::enable_offload(file.as_fd()).is_err());
    assert!(tun::open(file.into()).is_err());
}
