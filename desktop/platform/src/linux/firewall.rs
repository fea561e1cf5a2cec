//! The firewall: nftables' table `inet weft`.

use std::io;

use ipnet::IpNet;
use rustix::io::Errno;
use weft_model::FirewallPlan;

use super::netlink::{Netlink, NetlinkError};
use super::nft::batch::Transaction;
use super::nft::read::{self, Owner};
use super::nft::{TABLE, ruleset};
use super::{monitor, sys};
use crate::error::PlatformError;
use crate::seam::{Firewall, Watch};

/// Room beside a transaction in the socket's send buffer.
const SLACK: usize = 64 * 1024;

/// The firewall on Linux.
#[derive(Debug, Default)]
pub(super) struct LinuxFirewall;

fn refused(step: &'static str) -> impl Fn(NetlinkError) -> PlatformError {
    move |error| match error.errno() {
        Some(Errno::PERM) => PlatformError::NotPrivileged,
        // The kernel has netlink without this protocol, or this protocol without this subsystem.
        Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::INVAL)
            if step == ASKING =>
        {
            PlatformError::NoNftables(io::Error::from(error))
        }
        // It has nftables without the family inet, or without one of the expressions.
        Some(_) if step == TRYING => PlatformError::NoNftables(io::Error::from(error)),
        _ => PlatformError::system(step, error),
    }
}

const ASKING: &str = "asking for the firewall's table";
const TRYING: &str = "trying the firewall";

fn open() -> Result<Netlink, PlatformError> {
    Netlink::open(netlink_sys::protocols::NETLINK_NETFILTER).map_err(refused(ASKING))
}

/// Whose the table is; nothing is done to another program's.
fn own(netlink: &mut Netlink) -> Result<Owner, PlatformError> {
    match read::owner(netlink).map_err(refused(ASKING))? {
        Owner::Other => Err(PlatformError::FirewallHeld { name: TABLE.to_owned() }),
        owner => Ok(owner),
    }
}

fn commit(transaction: &Transaction, step: &'static str) -> Result<(), PlatformError> {
    let mut netlink = open()?;
    // Where the limit stands, only a transaction that exceeds it is refused.
    let _ = sys::raise_send_buffer(&netlink, transaction.bytes.len() + SLACK);
    let Transaction { bytes, last } = transaction;
    netlink.transact(bytes, *last as usize, *last).map_err(|(_, error)| refused(step)(error))
}

impl Firewall for LinuxFirewall {
    fn preflight(&self) -> Result<(), PlatformError> {
        own(&mut open()?)?;
        commit(&ruleset::trial(), TRYING)
    }

    fn apply(&mut self, plan: &FirewallPlan, addresses: &[IpNet]) -> Result<(), PlatformError> {
        let FirewallPlan::Enforced { tunnelled, openings } = plan else { return self.clear() };
        own(&mut open()?)?;
        commit(&ruleset::enforcement(tunnelled, openings, addresses), "putting the firewall in place")
    }

    fn clear(&mut self) -> Result<(), PlatformError> {
        // Without nftables, or with another program's table, nothing of Weft's is there to be taken back.
        match own(&mut open()?) {
            Ok(Owner::Weft) => commit(&ruleset::removal(), "removing the firewall"),
            Ok(_) | Err(PlatformError::NoNftables(_) | PlatformError::FirewallHeld { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn stands(&self) -> Result<bool, PlatformError> {
        Ok(read::owner(&mut open()?).map_err(refused(ASKING))? == Owner::Weft)
    }

    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        monitor::watch_nftables(tell)
    }

    fn describe(&self) -> Result<String, PlatformError> {
        read::describe(&mut open()?).map_err(refused("reading the firewall"))
    }
}
