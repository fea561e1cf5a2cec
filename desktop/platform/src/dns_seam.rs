//! The trait of the system's DNS settings, and the plain data that goes through it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_model::{DnsDescription, DnsMode, DnsPlan};

use crate::error::PlatformError;
use crate::record::DnsRecord;
use crate::seam::Watch;

/// The system's resolvers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SystemDns {
    /// The nameservers, in order, without Weft's own.
    pub servers: Vec<IpAddr>,
    /// The search domains, in order.
    pub search: Vec<String>,
}

/// How a restore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restored {
    /// What was there before is there again.
    Restored,
    /// Nothing was to be done: what was there before is still there.
    Unchanged,
    /// Somebody else changed the settings after Weft did; they were left as they are.
    LeftForeign,
    /// Nothing could be done: whoever would put the settings back does not run. The record is to be kept, and the
    /// restore tried again once it is there.
    Owed,
}

/// Whether settings that were applied still hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsStanding {
    /// They do.
    InForce,
    /// They do, but names go to another program's resolvers as well.
    Shared {
        /// Which, in one line.
        found: String,
    },
    /// They do not, and Weft can set them again.
    Replaced {
        /// What is there instead, in one line, without a name that anybody looked up.
        found: String,
        /// The program that put it there, where it says so.
        by: Option<String>,
    },
    /// The program that keeps them does not run, and names still lead to it; it tells when it is there again.
    Away,
    /// They are to be changed by another means than they were.
    OtherMode(DnsMode),
}

/// The system's DNS settings.
///
/// A change takes three steps, so that it can be taken back after a crash at any moment: [`Dns::prepare`] notes in the
/// record what is about to be written, whoever calls keeps the record where it survives, then [`Dns::apply`] writes.
/// By what means settings are changed is decided by [`Dns::snapshot`]; the record has it from then on.
pub trait Dns: Send {
    /// Whether the DNS proxy's port can be opened, both UDP and TCP, on those of its addresses that are the device's own
    /// already. To be asked before the proxy runs, which holds the port itself.
    ///
    /// # Errors
    /// [`PlatformError::PortHeld`], [`PlatformError::PortNotPrivileged`].
    fn preflight(&self) -> Result<(), PlatformError>;

    /// The resolvers that the system has besides Weft. `record` is that of the settings in force, where they are
    /// Weft's.
    ///
    /// # Errors
    /// [`PlatformError::Dns`] where the settings cannot be read. Entries that make no sense are skipped.
    fn system(&self, record: Option<&DnsRecord>) -> Result<SystemDns, PlatformError>;

    /// What [`Dns::restore`] needs, taken before the first [`Dns::apply`].
    ///
    /// # Errors
    /// [`PlatformError::Dns`] where the settings cannot be read, or are Weft's own already, so that nobody knows any
    /// more what was there before.
    fn snapshot(&self) -> Result<DnsRecord, PlatformError>;

    /// Notes in `record` what [`Dns::apply`] would write, and changes nothing else. Settings that somebody else put
    /// in the place of Weft's, such as a DHCP client with new resolvers, become what is to come back.
    ///
    /// # Errors
    /// [`PlatformError::Dns`].
    fn prepare(&self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError>;

    /// Brings the settings to the plan. Does [`Dns::prepare`] itself where it was not done.
    ///
    /// # Errors
    /// [`PlatformError::Dns`] where the settings cannot be written; they are as they were then.
    fn apply(&mut self, plan: &DnsPlan, record: &mut DnsRecord) -> Result<(), PlatformError>;

    /// Puts back what `record` says was there before, unless somebody else put other settings there since. What is
    /// Weft's with an edit, or empty as after a write that was cut short, is not other settings.
    ///
    /// # Errors
    /// [`PlatformError::Dns`].
    fn restore(&mut self, record: &DnsRecord) -> Result<Restored, PlatformError>;

    /// Whether what was applied with `record` still holds.
    ///
    /// # Errors
    /// [`PlatformError::Dns`] where it cannot be told.
    fn standing(&self, record: &DnsRecord) -> Result<DnsStanding, PlatformError>;

    /// Calls `tell` after each change that may have touched the settings, whoever made it, until the watch is dropped.
    /// `tell` is called on a thread of the watch's own, which sleeps in between without a timer.
    ///
    /// # Errors
    /// What the system refuses.
    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError>;

    /// What the settings are, for people. `record` is that of the settings in force, where they are Weft's.
    fn describe(&self, record: Option<&DnsRecord>) -> DnsDescription;

    /// Makes the addresses of the DNS proxy ([`weft_model::DNS_PROXY_ADDRESSES`]) the device's own, and returns those
    /// that sockets can be bound to: without IPv6, only the IPv4 ones.
    ///
    /// # Errors
    /// What the system refuses.
    fn claim_addresses(&mut self) -> Result<Vec<IpAddr>, PlatformError>;

    /// Takes back what [`Dns::claim_addresses`] did, whichever process did it.
    ///
    /// # Errors
    /// What the system refuses.
    fn release_addresses(&mut self) -> Result<(), PlatformError>;
}
