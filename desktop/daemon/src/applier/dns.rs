//! The system's DNS settings: set, taken back, owed to whoever keeps them, and looked at.

use std::net::IpAddr;

use weft_model::{DnsMode, DnsPlan};
use weft_platform::{DnsDescription, DnsRecord, DnsStanding, PlatformError, Restored, Watch};

use super::{Applier, ApplyError, DNS, InPart as _, Undone};
use crate::journal::Records;

/// How the DNS settings of the plan in force stand.
#[derive(Debug)]
pub(crate) enum DnsLook {
    /// The plan has none.
    Unwanted,
    /// They were not set, or not all of them: something failed, or whoever keeps them was away when the plan came.
    Unset,
    /// They were set in this mode; whether they hold.
    Set(DnsMode, Result<DnsStanding, PlatformError>),
}

impl Applier {
    /// The resolvers that the device has besides Weft.
    pub(crate) fn system_dns(&self) -> Result<Vec<IpAddr>, PlatformError> {
        let record = self.journal.records().dns.as_ref();
        self.platform.dns.system(record).map(|system| system.servers)
    }

    /// Calls `tell` after each change that may have touched the DNS settings, until the watch is dropped.
    pub(crate) fn watch_dns(&self, tell: Box<dyn Fn() + Send + Sync>) -> Result<Watch, PlatformError> {
        self.platform.dns.watch(tell)
    }

    /// What the system's DNS settings are, for people.
    pub(crate) fn describe_dns(&self) -> DnsDescription {
        self.platform.dns.describe(self.journal.records().dns.as_ref())
    }

    /// Looks at the DNS settings of the plan in force.
    pub(crate) fn look_at_dns(&self) -> DnsLook {
        let Some(plan) = self.in_force.as_ref().and_then(|plan| plan.dns.as_ref()) else {
            return DnsLook::Unwanted;
        };
        let Some(record) = &self.journal.records().dns else { return DnsLook::Unset };
        match self.platform.dns.standing(record) {
            // They hold, and are a former plan's.
            Ok(DnsStanding::InForce | DnsStanding::Shared { .. }) if self.dns_set.as_ref() != Some(plan) => {
                DnsLook::Unset
            }
            standing => DnsLook::Set(record.mode, standing),
        }
    }

    /// Puts back the DNS settings that are owed, of whoever runs by now.
    pub(crate) fn settle_dns(&mut self) -> Vec<Undone> {
        let owed = self.journal.records().owed_dns.clone();
        owed.iter().map(|record| self.settle(record).unwrap_or_else(Undone::failed)).collect()
    }

    fn settle(&mut self, record: &DnsRecord) -> Result<Undone, ApplyError> {
        let outcome = self.restore_of(record)?;
        if !matches!(outcome, Undone::Owed(_)) {
            let settled = |records: &mut Records| records.owed_dns.retain(|owed| owed != record);
            self.journal.update(settled).in_part(DNS)?;
        }
        Ok(outcome)
    }

    /// Sets the DNS settings of the plan in force again; `anew` by the means that the system has now, once the former
    /// are taken back. Says whether they were set: not where there are none, or whoever keeps them is away.
    ///
    /// # Errors
    /// They were not set, or not all of them; [`DnsLook::Unset`] tells until they are.
    pub(crate) fn set_dns_again(&mut self, anew: bool) -> Result<bool, ApplyError> {
        let plan = self.in_force.as_ref().and_then(|plan| plan.dns.clone());
        let Some(plan) = plan else { return Ok(false) };
        if anew {
            self.restore_dns()?;
        }
        self.switch_dns(&plan)
    }

    /// Says whether the settings were set: where whoever keeps them is away, they are not, and names wait for it.
    pub(super) fn switch_dns(&mut self, plan: &DnsPlan) -> Result<bool, ApplyError> {
        if let Some(record) = &self.journal.records().dns {
            match self.platform.dns.standing(record) {
                Ok(DnsStanding::Away) => return Ok(false),
                Ok(DnsStanding::OtherMode(_)) => drop(self.restore_dns()?),
                _ => {}
            }
        }
        let mut record = match self.journal.records().dns.clone() {
            Some(record) => record,
            None => {
                self.settle_dns().iter().for_each(Undone::log);
                self.platform.dns.snapshot().in_part(DNS)?
            }
        };
        self.platform.dns.prepare(plan, &mut record).in_part(DNS)?;
        let prepared = record.clone();
        let keep = |records: &mut Records| {
            // One restore takes back what either did.
            records.owed_dns.retain(|owed| owed.mode != prepared.mode);
            records.dns = Some(prepared);
        };
        self.journal.update(keep).in_part(DNS)?;
        self.dns_set = None;
        let applied = self.platform.dns.apply(plan, &mut record).in_part(DNS);
        // Where this is not written, the former record still says all that a restore needs.
        self.journal.update(|records| records.dns = Some(record)).in_part(DNS).and(applied)?;
        self.dns_set = Some(plan.clone());
        Ok(true)
    }

    /// None: there was nothing to restore.
    pub(super) fn restore_dns(&mut self) -> Result<Option<Undone>, ApplyError> {
        self.dns_set = None;
        let Some(record) = self.journal.records().dns.clone() else { return Ok(None) };
        let outcome = self.restore_of(&record)?;
        let is_owed = matches!(outcome, Undone::Owed(_));
        if is_owed {
            tracing::warn!("{outcome}");
        }
        let forget = |records: &mut Records| {
            records.dns = None;
            if is_owed {
                records.owed_dns.retain(|owed| owed.mode != record.mode);
                records.owed_dns.push(record);
            }
        };
        self.journal.update(forget).in_part(DNS)?;
        Ok(Some(outcome))
    }

    fn restore_of(&mut self, record: &DnsRecord) -> Result<Undone, ApplyError> {
        Ok(match self.platform.dns.restore(record).in_part(DNS)? {
            Restored::Restored | Restored::Unchanged => Undone::Restored(DNS),
            Restored::Owed => Undone::Owed(record.mode),
            // The record is the only copy of them.
            Restored::LeftForeign => {
                let left = Undone::LeftDns(self.journal.keep_former(record.former_text()).in_part(DNS)?);
                tracing::warn!("{left}");
                left
            }
        })
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
