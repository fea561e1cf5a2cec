//! Brings the system to a plan, and back. Each change stands in the journal before it is made.
//!
//! Up: firewall, interface and its addresses, routes, DNS. Back: DNS, routes, interface, the firewall last. So no
//! packet to a tunnelled destination finds a way outside at any moment in between.

mod dns;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ipnet::IpNet;
use weft_model::{DnsMode, DnsPlan, FirewallPlan, InterfacePlan, LearntPlan, Plan};
use weft_platform::{Platform, PlatformError, Watch};

pub(crate) use self::dns::DnsLook;
use crate::journal::Journal;

/// Why a plan is not in force: which part, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The system did not do it.
    #[error("{part}: {error}")]
    Platform {
        /// The part of the plan.
        part: &'static str,
        /// Why.
        error: PlatformError,
    },
    /// The change could not be written down, so it was not made.
    #[error("{part}: the undo journal cannot be written: {error}")]
    Journal {
        /// The part of the plan.
        part: &'static str,
        /// Why.
        error: io::Error,
    },
}

const FIREWALL: &str = "firewall";
const INTERFACE: &str = "tunnel interface";
const ROUTES: &str = "routes";
const DNS: &str = "DNS settings";
const PROXY: &str = "addresses of the DNS proxy";

trait InPart<T> {
    fn in_part(self, part: &'static str) -> Result<T, ApplyError>;
}

impl<T> InPart<T> for Result<T, PlatformError> {
    fn in_part(self, part: &'static str) -> Result<T, ApplyError> {
        self.map_err(|error| ApplyError::Platform { part, error })
    }
}

impl<T> InPart<T> for io::Result<T> {
    fn in_part(self, part: &'static str) -> Result<T, ApplyError> {
        self.map_err(|error| ApplyError::Journal { part, error })
    }
}

/// What became of one thing that was to be undone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    /// It is as it was before.
    Restored(&'static str),
    /// Another program changed the DNS settings since; they were left alone, and the former ones are in this file,
    /// where there were any.
    LeftDns(Option<PathBuf>),
    /// Whoever keeps the DNS settings does not run; they are put back once it does.
    Owed(DnsMode),
    /// It is still there.
    Failed(String),
}

impl Undone {
    fn failed(error: ApplyError) -> Self {
        Self::Failed(error.to_string())
    }

    /// Notes it in the log.
    pub(crate) fn log(&self) {
        match self {
            Self::Restored(_) | Self::LeftDns(_) | Self::Owed(_) => tracing::info!("{self}"),
            Self::Failed(_) => tracing::warn!("{self}"),
        }
    }
}

impl std::fmt::Display for Undone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restored(part) => write!(f, "{part}: as before"),
            Self::LeftDns(former) => {
                write!(f, "{DNS}: left as they are, since another program changed them")?;
                match former {
                    Some(path) => write!(f, "; the former ones are in {}", path.display()),
                    None => Ok(()),
                }
            }
            Self::Owed(mode) => write!(f, "{DNS}: to be put back once {} runs", keeper(*mode)),
            Self::Failed(why) => write!(f, "not undone: {why}"),
        }
    }
}

/// The program that keeps the DNS settings in this mode, for people.
pub(crate) fn keeper(mode: DnsMode) -> &'static str {
    match mode {
        DnsMode::ResolvedLink | DnsMode::ResolvedGlobal => "systemd-resolved",
        DnsMode::NetworkManager => "NetworkManager",
        DnsMode::Resolvconf => "resolvconf",
        DnsMode::File | DnsMode::FileInPlace | DnsMode::None => "nobody",
    }
}

/// The system, and what of it has to be undone.
pub(crate) struct Applier {
    platform: Platform,
    journal: Journal,
    /// The firewall that stands; none = open, or a former daemon's.
    closed: Option<Closed>,
    /// The plan that was brought in force last, as long as nothing has failed since.
    in_force: Option<Plan>,
    /// The DNS settings that were set last, all of them; none = not known to be set.
    dns_set: Option<DnsPlan>,
}

/// A firewall that stands.
struct Closed {
    plan: FirewallPlan,
    learnt: LearntPlan,
    /// The addresses that it guards.
    addresses: Vec<IpNet>,
}

impl Applier {
    pub(crate) fn new(platform: Platform, journal: Journal) -> Self {
        Self { platform, journal, closed: None, in_force: None, dns_set: None }
    }

    /// Calls `tell` now and after each change of the system's firewall, until the watch is dropped.
    pub(crate) fn watch_firewall(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        self.platform.firewall.watch(tell)
    }

    /// Puts the firewall in place again where it shall stand and another program has removed it. Says whether it had.
    pub(crate) fn close_again(&mut self) -> Result<bool, ApplyError> {
        match &self.closed {
            Some(Closed { plan, learnt, addresses })
                if !self.platform.firewall.stands().in_part(FIREWALL)? =>
            {
                self.platform.firewall.apply(plan, learnt, addresses).in_part(FIREWALL)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Brings the system to `plan`. `attach` takes the descriptor of an interface that was made for it.
    ///
    /// # Errors
    /// The first step that failed. On the way up nothing after it was tried, and the firewall stands; on the way back
    /// everything else was undone, but the firewall only if nothing failed.
    pub(crate) fn apply(&mut self, plan: &Plan, attach: &mut dyn FnMut(OwnedFd)) -> Result<(), ApplyError> {
        let former = self.in_force.take();
        match former.as_ref().is_some_and(|former| differs_in_learnt_alone(former, plan)) {
            true => self.apply_learnt(plan)?,
            false => self.apply_whole(plan, attach)?,
        }
        self.in_force = Some(plan.clone());
        Ok(())
    }

    /// Brings the learnt addresses to the plan's where everything else is in force. An address that comes may leave
    /// outside, or by the tunnel alone, before it is led there; one that goes is guarded again before its route goes.
    fn apply_learnt(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        if plan.firewall != FirewallPlan::Open {
            self.close(plan)?;
        }
        if plan.interface.is_some() {
            self.platform.routes.apply(&plan.routes, &plan.learnt).in_part(ROUTES)?;
        }
        Ok(())
    }

    fn apply_whole(&mut self, plan: &Plan, attach: &mut dyn FnMut(OwnedFd)) -> Result<(), ApplyError> {
        if plan.firewall != FirewallPlan::Open {
            self.close(plan)?;
        }
        // What goes, goes before anything comes.
        let dns_gone = if plan.dns.is_none() { self.restore_dns().map(drop) } else { Ok(()) };
        let interface_gone = if plan.interface.is_none() { self.remove_interface() } else { Ok(()) };
        dns_gone?;
        interface_gone?;
        if let Some(interface) = &plan.interface {
            self.make_interface(interface, attach)?;
            self.journal.update(|records| records.routes = true).in_part(ROUTES)?;
            self.platform.routes.apply(&plan.routes, &plan.learnt).in_part(ROUTES)?;
        }
        if let Some(dns) = &plan.dns {
            // Whoever keeps them may be away; what is missing is set by whoever watches it come.
            let _is_set = self.switch_dns(dns)?;
        }
        if plan.firewall == FirewallPlan::Open {
            self.open()?;
        }
        Ok(())
    }

    /// Whether every part of the system can work.
    pub(crate) fn preflight(&self) -> Result<(), PlatformError> {
        self.platform.preflight()
    }

    /// Whether the firewall can work.
    pub(crate) fn preflight_firewall(&self) -> Result<(), PlatformError> {
        self.platform.firewall.preflight()
    }

    /// What a start does first: the firewall stands, or not, before everything else of a former daemon's is undone;
    /// where it shall be open it is undone last.
    ///
    /// # Errors
    /// The firewall that shall stand does not; nothing was undone then.
    pub(crate) fn recover(&mut self, firewall: &FirewallPlan) -> Result<Vec<Undone>, ApplyError> {
        if *firewall == FirewallPlan::Open {
            return Ok(self.undo());
        }
        self.close(&Plan { firewall: firewall.clone(), ..Plan::disconnected(0) })?;
        Ok(self.undo_behind_firewall())
    }

    /// Undoes everything, whichever daemon did it, the firewall last. Harmless when there is nothing to undo.
    pub(crate) fn undo(&mut self) -> Vec<Undone> {
        let mut undone = self.undo_behind_firewall();
        let there = self.journal.records().firewall;
        note(&mut undone, there, FIREWALL, self.open());
        undone
    }

    fn undo_behind_firewall(&mut self) -> Vec<Undone> {
        self.in_force = None;
        let before = self.journal.records().clone();
        let mut undone = self.settle_dns();
        undone.extend(self.restore_dns().unwrap_or_else(|error| Some(Undone::failed(error))));
        note(&mut undone, before.routes, ROUTES, self.clear_routes());
        note(&mut undone, before.interface, INTERFACE, self.clear_interface());
        note(&mut undone, before.proxy_addresses, PROXY, self.release());
        undone
    }

    /// Makes the DNS proxy's addresses the device's own. Returns those that sockets can be bound to.
    pub(crate) fn claim(&mut self) -> Result<Vec<IpAddr>, ApplyError> {
        self.journal.update(|records| records.proxy_addresses = true).in_part(PROXY)?;
        self.platform.dns.claim_addresses().in_part(PROXY)
    }

    /// Takes [`Applier::claim`] back.
    pub(crate) fn release(&mut self) -> Result<(), ApplyError> {
        self.platform.dns.release_addresses().in_part(PROXY)?;
        self.journal.update(|records| records.proxy_addresses = false).in_part(PROXY)
    }

    /// What the system holds of Weft's firewall, for people.
    pub(crate) fn describe_firewall(&self) -> Result<String, PlatformError> {
        self.platform.firewall.describe()
    }

    /// Closes the firewall. Its record is not waited for: the firewall is undone without one, and a full disk must
    /// not keep it open.
    fn close(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        if let Err(error) = self.journal.update(|records| records.firewall = true) {
            tracing::warn!("the undo journal cannot be written: {error}");
        }
        let addresses = plan.interface.as_ref().map(|interface| interface.addresses.clone());
        let addresses = addresses.unwrap_or_default();
        self.platform.firewall.apply(&plan.firewall, &plan.learnt, &addresses).in_part(FIREWALL)?;
        self.closed = Some(Closed { plan: plan.firewall.clone(), learnt: plan.learnt.clone(), addresses });
        Ok(())
    }

    fn open(&mut self) -> Result<(), ApplyError> {
        self.platform.firewall.clear().in_part(FIREWALL)?;
        self.closed = None;
        self.journal.update(|records| records.firewall = false).in_part(FIREWALL)
    }

    fn make_interface(
        &mut self,
        plan: &InterfacePlan,
        attach: &mut dyn FnMut(OwnedFd),
    ) -> Result<(), ApplyError> {
        self.journal.update(|records| records.interface = true).in_part(INTERFACE)?;
        if let Some(descriptor) = self.platform.tun.ensure(plan).in_part(INTERFACE)? {
            attach(descriptor);
        }
        Ok(())
    }

    fn remove_interface(&mut self) -> Result<(), ApplyError> {
        let routes = self.clear_routes();
        let interface = self.clear_interface();
        routes.and(interface)
    }

    fn clear_routes(&mut self) -> Result<(), ApplyError> {
        self.platform.routes.clear().in_part(ROUTES)?;
        self.journal.update(|records| records.routes = false).in_part(ROUTES)
    }

    fn clear_interface(&mut self) -> Result<(), ApplyError> {
        self.platform.tun.remove().in_part(INTERFACE)?;
        self.journal.update(|records| records.interface = false).in_part(INTERFACE)
    }
}

/// Whether the plans differ in their learnt addresses, and in nothing else but their numbers.
fn differs_in_learnt_alone(former: &Plan, plan: &Plan) -> bool {
    former.learnt != plan.learnt && former.same_state(&Plan { learnt: former.learnt.clone(), ..plan.clone() })
}

/// Notes what became of one thing; nothing where it was not there and there was no trouble.
fn note(undone: &mut Vec<Undone>, there: bool, part: &'static str, result: Result<(), ApplyError>) {
    match result {
        Ok(()) if there => undone.push(Undone::Restored(part)),
        Ok(()) => {}
        Err(error) => undone.push(Undone::failed(error)),
    }
}

#[cfg(test)]
#[path = "applier_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "applier_lab_tests.rs"]
mod lab_tests;

#[cfg(test)]
#[path = "applier_kill_tests.rs"]
mod kill_tests;
