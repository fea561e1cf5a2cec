//! The network monitor: a thread that sleeps until the kernel tells of a change, and then looks where the primary path
//! leads now. And the same for changes of the firewall.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use weft_model::NetworkState;

use super::path;
use crate::error::PlatformError;
use crate::seam::{NetworkMonitor, Watch};

/// Changes come in bursts; the path is looked at when none came for this long,
const QUIET: Duration = Duration::from_millis(50);
/// or when they have come for this long.
const LONGEST_BURST: Duration = Duration::from_millis(500);

// linux/rtnetlink.h: links, and addresses and routes of both families.
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV4_ROUTE: u32 = 0x40;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const RTMGRP_IPV6_ROUTE: u32 = 0x400;

/// The group NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h), the seventh, as bind(2) takes it.
const NFTABLES: u32 = 1 << 6;

/// The network monitor on Linux.
#[derive(Debug, Default)]
pub(super) struct LinuxMonitor;

fn failed(error: impl Into<std::io::Error>) -> PlatformError {
    PlatformError::system("watching the network", error)
}

fn primary() -> Result<NetworkState, PlatformError> {
    path::primary().map_err(|error| PlatformError::system("looking for the primary path", error))
}

fn subscribe() -> std::io::Result<Socket> {
    let groups =
        RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE;
    let mut socket = Socket::new(netlink_sys::protocols::NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, groups))?;
    Ok(socket)
}

impl NetworkMonitor for LinuxMonitor {
    fn state(&self) -> Result<NetworkState, PlatformError> {
        primary()
    }

    fn watch(&self, mut tell: Box<dyn FnMut(NetworkState) + Send>) -> Result<Watch, PlatformError> {
        // Subscribed before the first look, so that no change falls between.
        let socket = subscribe().map_err(failed)?;
        let mut last = primary()?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?);
        let stopped = Arc::clone(&stop);
        let work = move || {
            tell(last.clone());
            while wait(&socket, stop.as_fd()) {
                match primary() {
                    Ok(state) if state != last => {
                        last = state;
                        tell(last.clone());
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!("the network monitor missed a change: {error}"),
                }
            }
        };
        let thread = thread::Builder::new().name("weft-network".to_owned()).spawn(work).map_err(failed)?;
        Ok(Watch::new(move || end(&stopped, thread)))
    }
}

/// Calls `tell` at once and after each change of nftables, without waiting for the end of a burst: it may have taken
/// away what keeps packets in.
pub(super) fn watch_nftables(tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
    let refused = |error: std::io::Error| PlatformError::system("watching the firewall", error);
    let mut socket = Socket::new(netlink_sys::protocols::NETLINK_NETFILTER).map_err(refused)?;
    socket.bind(&SocketAddr::new(0, NFTABLES)).map_err(refused)?;
    let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let stop = Arc::new(stop.map_err(|error| refused(error.into()))?);
    let stopped = Arc::clone(&stop);
    let work = move || {
        loop {
            tell();
            match ready(&socket, stop.as_fd(), None) {
                Ok(Ready::Stop) => return,
                Ok(Ready::Changes | Ready::Nothing) => drain(&socket),
                Err(error) => {
                    tracing::error!("the firewall cannot be watched any more: {error}");
                    return;
                }
            }
        }
    };
    let thread = thread::Builder::new().name("weft-firewall".to_owned()).spawn(work).map_err(refused)?;
    Ok(Watch::new(move || end(&stopped, thread)))
}

fn end(stop: &OwnedFd, thread: thread::JoinHandle<()>) {
    let _ = rustix::io::write(stop, &1u64.to_ne_bytes());
    // A callback that ends its own watch is the last one without being waited for.
    if thread.thread().id() != thread::current().id() {
        let _ = thread.join();
    }
}

/// Waits for changes, and until their burst is over; false = to be stopped.
fn wait(socket: &Socket, stop: BorrowedFd<'_>) -> bool {
    let mut burst: Option<Instant> = None;
    loop {
        let timeout = burst.map(|since| QUIET.min(LONGEST_BURST.saturating_sub(since.elapsed())));
        match ready(socket, stop, timeout) {
            Ok(Ready::Stop) => return false,
            Ok(Ready::Nothing) => return true,
            Ok(Ready::Changes) => {
                let since = *burst.get_or_insert_with(Instant::now);
                drain(socket);
                if since.elapsed() >= LONGEST_BURST {
                    return true;
                }
            }
            Err(error) => {
                tracing::error!("the network monitor cannot wait for changes: {error}");
                return false;
            }
        }
    }
}

enum Ready {
    Stop,
    Changes,
    Nothing,
}

fn ready(socket: &Socket, stop: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<Ready, Errno> {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let mut descriptors = [PollFd::new(&stop, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
    match poll(&mut descriptors, timeout.as_ref()) {
        Err(Errno::INTR) => return Ok(Ready::Changes),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let [stop, socket] = descriptors.map(|descriptor| !descriptor.revents().is_empty());
    Ok(match (stop, socket) {
        (true, _) => Ready::Stop,
        (false, true) => Ready::Changes,
        (false, false) => Ready::Nothing,
    })
}

/// Reads what there is. What it says matters not, nor whether some of it was lost for want of room.
fn drain(socket: &Socket) {
    let mut buffer = Vec::with_capacity(32 * 1024);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, libc::MSG_DONTWAIT) {
            Ok(_) => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {}
            Err(_) => return,
        }
    }
}
