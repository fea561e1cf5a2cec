//! A laboratory of hosts as namespaces: links, servers and captures for tests.
//!
//! A test runs in a user, mount, network and PID namespace of its own. It needs no root, cannot touch the
//! machine's network, firewall or files under `/etc`, and leaves nothing however it ends.
//!
//! ```no_run
//! use netlab::{End, Link};
//!
//! # #[allow(clippy::needless_doctest_main, reason = "shows a test")]
//! #[test]
//! fn hosts_reach_each_other() {
//!     netlab::run(|lab| {
//!         let left = lab.host("left").build()?;
//!         let right = lab.host("right").build()?;
//!         Link::new(
//!             End::new(&left, "eth0").address("10.0.0.1/24"),
//!             End::new(&right, "eth0").address("10.0.0.2/24"),
//!         )?;
//!         let wire = right.capture("eth0")?;
//!         left.run(["ping", "-c1", "10.0.0.2"])?;
//!         wire.settle()?;
//!         assert_eq!(wire.count(|seen| seen.protocol == Some(netlab::ICMP)), 2);
//!         Ok(())
//!     });
//! }
//! ```

mod capture;
mod components;
mod enter;
mod host;
mod impaired;
mod lab;
mod link;
pub mod peers;
mod poll;
mod process;
mod routing;
mod seen;
mod segment;
mod servers;
pub mod services;
mod sys;
pub mod topology;

pub use capture::Capture;
pub use components::Component;
pub use enter::{TEST_DEADLINE, enter, run, run_within};
pub use host::{COMMAND_DEADLINE, Host, HostBuilder};
pub use impaired::{Counts, Direction, ImpairedLink, Impairment};
pub use lab::{Lab, Skip};
pub use link::{End, Link, Switch};
pub use poll::{Ready, eventually};
pub use process::{Output, Process};
/// The signals that [`Process::signal`] sends.
pub use rustix::process::Signal;
pub use seen::{ICMP, ICMPV6, Seen, TCP, UDP};
pub use servers::{A, AAAA, Behaviour, CNAME, DnsServer, Query, Record, Request, TXT, WebServer};
pub use topology::Topology;
