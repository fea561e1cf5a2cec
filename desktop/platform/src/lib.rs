//! What a desktop system is asked for: TUN devices, routes, DNS settings, firewall, network monitor.
//!
//! One trait each ([`TunDevices`], [`Routes`], [`Firewall`], [`Dns`], [`NetworkMonitor`]), the system's own behind
//! [`Platform::native`], and [`fake::platform`] for the tests of whoever applies plans. Nothing outside this crate
//! asks which system it runs on.
//!
//! The traits are synchronous: a plan is applied on a thread of its own, one step at a time. Every `apply` and
//! `ensure` takes the whole wanted state, is harmless when it already holds, and leaves the former state standing
//! where it fails, as far as the system allows. Every `clear`, `remove` and `restore` is harmless when there is
//! nothing to take back, so an undo may be run any number of times.

mod dns_seam;
mod error;
pub mod fake;
#[cfg(target_os = "linux")]
mod linux;
mod record;
pub mod resolv_conf;
mod resolver_file;
mod seam;

pub use dns_seam::{Dns, DnsStanding, Restored, SystemDns};
pub use error::PlatformError;
#[cfg(target_os = "linux")]
pub use linux::{is_bus_message, network_monitor, who_holds_port};
pub use record::{Before, DnsChange, DnsRecord, FileChange, LinkChange};
pub use seam::{Firewall, NetworkMonitor, Platform, Routes, TunDevices, TunOptions, Watch};
pub use weft_model::{DnsDescription, DnsMode, PortHolder};
