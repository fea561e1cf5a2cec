//! Descriptors of a tunnel interface, good and bad.

use std::os::fd::{AsRawFd, IntoRawFd};
use std::process::Command;

use anyhow::{Result, ensure};
use weft_ffi::WeftError;

use crate::support::{TestHost, eventually, held, nothing_is_left_of, plan, session, status, wait};
use crate::sys;

/// Whether the number is that of an open descriptor.
fn is_open(fd: i32) -> bool {
    std::fs::exists(format!("/proc/self/fd/{fd}")).unwrap_or_default()
}

/// How many descriptors of TUN devices are open.
fn tuns() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let target = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
    open.filter_map(target).filter(|target| target.ends_with("net/tun")).count()
}

fn is_bad(result: &Result<(), WeftError>) -> bool {
    matches!(result, Err(WeftError::BadDescriptor { .. }))
}

#[test]
fn what_is_no_descriptor_is_refused_and_never_closed() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        wait(session.connect())?;
        plan(&session, |plan| plan.interface.is_some())?;
        let before = held();
        let file = std::fs::File::open("/dev/null")?.into_raw_fd();
        sys::close(file);
        for fd in [-1, i32::MIN, i32::MAX, file] {
            let refused = session.attach_tun(fd);
            ensure!(is_bad(&refused), "{fd}: {refused:?}");
        }
        ensure!(held() == before);
        // The number of a descriptor that was closed is somebody else's by now, whom nobody closes.
        let other = std::fs::File::open("/dev/null")?;
        ensure!(other.as_raw_fd() == file && is_open(file));
        Ok(())
    });
}

#[test]
fn a_descriptor_of_something_else_is_closed_once() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        wait(session.connect())?;
        plan(&session, |plan| plan.interface.is_some())?;
        let before = held();
        let file = std::fs::File::open("/dev/null")?.into_raw_fd();
        let refused = session.attach_tun(file);
        ensure!(is_bad(&refused), "{refused:?}");
        ensure!(!is_open(file) && held() == before);
        Ok(())
    });
}

#[test]
fn a_descriptor_out_of_order_is_closed_too() {
    netlab::run(|lab| {
        lab.require_tun()?;
        let session = session(&TestHost::registered());
        let before = held();
        let early = session.attach_tun(sys::tun("tun0")?);
        ensure!(matches!(early, Err(WeftError::WrongOrder { .. })), "{early:?}");
        ensure!(held() == before);
        wait(session.connect())?;
        plan(&session, |plan| plan.interface.is_some())?;
        let flow = session.packet_flow()?;
        let second = session.attach_tun(sys::tun("tun0")?);
        ensure!(matches!(second, Err(WeftError::WrongOrder { .. })), "{second:?}");
        flow.close();
        session.attach_tun(sys::tun("tun0")?)?;
        let third = session.packet_flow().map(drop);
        ensure!(matches!(third, Err(WeftError::WrongOrder { .. })), "{third:?}");
        wait(session.close());
        let late = sys::tun("tun1")?;
        let closed = session.attach_tun(late);
        ensure!(matches!(closed, Err(WeftError::Closed { .. })) && !is_open(late), "{closed:?}");
        Ok(())
    });
}

#[test]
fn the_core_closes_each_descriptor_that_it_took() {
    netlab::run(|lab| {
        lab.require_tun()?;
        let before = held();
        let session = session(&TestHost::registered());
        wait(session.connect())?;
        let plan_up = plan(&session, |plan| plan.interface.is_some())?;
        session.attach_tun(sys::tun("tun0")?)?;
        wait(session.acknowledge_plan(plan_up.number, None));
        // The interface is made anew: the former descriptor goes when the new one is in its place.
        session.attach_tun(sys::tun("tun1")?)?;
        eventually(|| tuns() == 1)?;
        wait(session.disconnect())?;
        let plan_down = plan(&session, |plan| plan.interface.is_none())?;
        wait(session.acknowledge_plan(plan_down.number, None));
        // With the interface gone, a packet flow may take its place.
        let flow = session.packet_flow()?;
        drop(flow);
        wait(session.close());
        drop(session);
        nothing_is_left_of(before)
    });
}

#[test]
fn an_interface_that_goes_by_itself_is_not_held_and_asked_for_again() {
    netlab::run(|lab| {
        lab.require_tun()?;
        let session = session(&TestHost::registered());
        wait(session.connect())?;
        let first = plan(&session, |plan| plan.interface.is_some())?;
        ensure!(!session.has_interface());
        let device = sys::tun("tun0")?;
        session.attach_tun(device)?;
        ensure!(session.has_interface());
        wait(session.acknowledge_plan(first.number, None));
        status(&session, |status| status.plan == first.number)?;
        let gone = Command::new("ip").args(["link", "del", "tun0"]).status()?;
        ensure!(gone.success());
        let again = plan(&session, |plan| plan.number > first.number)?;
        ensure!(weft_ffi::Plan { number: first.number, ..again } == first, "the same state");
        ensure!(!session.has_interface());
        session.attach_tun(sys::tun("tun0")?)?;
        ensure!(session.has_interface());
        wait(session.acknowledge_plan(again.number, None));
        wait(session.disconnect())?;
        let down = plan(&session, |plan| plan.interface.is_none())?;
        wait(session.acknowledge_plan(down.number, None));
        eventually(|| !session.has_interface())
    });
}
