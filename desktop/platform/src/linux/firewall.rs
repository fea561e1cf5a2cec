//! The firewall: nftables' table `inet weft`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use rustix::io::Errno;
use weft_model::{FirewallPlan, LearntPlan};

use super::netlink::{Netlink, NetlinkError};
use super::nft::batch::{Batch, Transaction};
use super::nft::read::{self, Owner};
use super::nft::{TABLE, ruleset};
use super::{monitor, sys};
use crate::error::PlatformError;
use crate::seam::{Firewall, Watch};

/// Room beside a transaction in the socket's send buffer.
const SLACK: usize = 64 * 1024;

/// How often the firewall is put in place anew because another program changed its own meanwhile.
const ATTEMPTS: usize = 8;

/// The firewall on Linux.
#[derive(Default)]
pub(super) struct LinuxFirewall {
    standing: Option<Standing>,
}

/// What this value put in place last.
struct Standing {
    plan: FirewallPlan,
    learnt: LearntPlan,
    addresses: Vec<IpNet>,
    /// The generation of the system's nftables since: as long as there is no other, nobody has changed anything.
    generation: u32,
    /// Kept open, since to close it is to wait until the kernel has freed what the last change removed, which takes
    /// it tens of milliseconds.
    netlink: RefCell<Netlink>,
}

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
const PLACING: &str = "putting the firewall in place";
const CHANGING: &str = "changing the learnt addresses";

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

fn transact(netlink: &mut Netlink, transaction: &Transaction) -> Result<(), NetlinkError> {
    // Where the limit stands, only a transaction that exceeds it is refused.
    let _ = sys::raise_send_buffer(netlink, transaction.bytes.len() + SLACK);
    let Transaction { bytes, last } = transaction;
    netlink.transact(bytes, *last as usize, *last).map_err(|(_, error)| error)
}

fn commit(transaction: &Transaction, step: &'static str) -> Result<(), PlatformError> {
    transact(&mut open()?, transaction).map_err(refused(step))
}

/// The generation that a change of this one makes; 0 is none.
fn next_generation(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

/// Puts `batch` in place whatever others do meanwhile, where the table is nobody's or Weft's. Returns the generation
/// that stands then, unless others change so much that nobody can say.
fn replace(netlink: &mut Netlink, batch: &Batch) -> Result<Option<u32>, PlatformError> {
    for _ in 0..ATTEMPTS {
        let generation = read::generation(netlink).map_err(refused(ASKING))?;
        own(netlink)?;
        match transact(netlink, &batch.clone().finish_on(generation)) {
            Err(error) if error.errno() == Some(Errno::RESTART) => {}
            result => {
                result.map_err(refused(PLACING))?;
                return Ok(generation.map(next_generation));
            }
        }
    }
    own(netlink)?;
    transact(netlink, &batch.clone().finish()).map_err(refused(PLACING))?;
    Ok(None)
}

impl Standing {
    /// Whether nothing but learnt addresses tells the wanted firewall from this one.
    fn differs_in_learnt_alone(&self, plan: &FirewallPlan, learnt: &LearntPlan, addresses: &[IpNet]) -> bool {
        self.learnt.mode == learnt.mode
            && self.learnt.addresses != learnt.addresses
            && self.addresses == addresses
            && self.plan == *plan
    }

    /// Changes the learnt addresses, where nobody has changed anything of nftables meanwhile.
    fn change(&mut self, learnt: &LearntPlan) -> Result<(), PlatformError> {
        let former: BTreeSet<IpAddr> = self.learnt.addresses.iter().copied().collect();
        let wanted: BTreeSet<IpAddr> = learnt.addresses.iter().copied().collect();
        let removed: Vec<_> = former.difference(&wanted).copied().collect();
        let added: Vec<_> = wanted.difference(&former).copied().collect();
        if !removed.is_empty() || !added.is_empty() {
            let change = ruleset::learnt_change(&removed, &added).finish_on(Some(self.generation));
            transact(self.netlink.get_mut(), &change).map_err(refused(CHANGING))?;
            self.generation = next_generation(self.generation);
        }
        self.learnt.clone_from(learnt);
        Ok(())
    }

    /// Whether nobody has changed anything of nftables since.
    fn is_the_last_change(&self) -> bool {
        read::generation(&mut self.netlink.borrow_mut()).ok().flatten() == Some(self.generation)
    }
}

impl Firewall for LinuxFirewall {
    fn preflight(&self) -> Result<(), PlatformError> {
        own(&mut open()?)?;
        commit(&ruleset::trial(), TRYING)
    }

    fn apply(
        &mut self,
        plan: &FirewallPlan,
        learnt: &LearntPlan,
        addresses: &[IpNet],
    ) -> Result<(), PlatformError> {
        let FirewallPlan::Enforced { tunnelled, openings } = plan else { return self.clear() };
        if let Some(mut standing) = self.standing.take()
            && standing.differs_in_learnt_alone(plan, learnt, addresses)
        {
            match standing.change(learnt) {
                Ok(()) => {
                    self.standing = Some(standing);
                    return Ok(());
                }
                Err(error) => tracing::debug!("the firewall is put in place as a whole: {error}"),
            }
        }
        let mut netlink = open()?;
        let batch = ruleset::enforcement(tunnelled, openings, learnt, addresses);
        let generation = replace(&mut netlink, &batch)?;
        self.standing = generation.map(|generation| Standing {
            plan: plan.clone(),
            learnt: learnt.clone(),
            addresses: addresses.to_vec(),
            generation,
            netlink: RefCell::new(netlink),
        });
        Ok(())
    }

    fn clear(&mut self) -> Result<(), PlatformError> {
        self.standing = None;
        // Without nftables, or with another program's table, nothing of Weft's is there to be taken back.
        match own(&mut open()?) {
            Ok(Owner::Weft) => commit(&ruleset::removal(), "removing the firewall"),
            Ok(_) | Err(PlatformError::NoNftables(_) | PlatformError::FirewallHeld { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn stands(&self) -> Result<bool, PlatformError> {
        if self.standing.as_ref().is_some_and(Standing::is_the_last_change) {
            return Ok(true);
        }
        Ok(read::owner(&mut open()?).map_err(refused(ASKING))? == Owner::Weft)
    }

    fn watch(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        monitor::watch_nftables(tell)
    }

    fn describe(&self) -> Result<String, PlatformError> {
        read::describe(&mut open()?).map_err(refused("reading the firewall"))
    }
}
