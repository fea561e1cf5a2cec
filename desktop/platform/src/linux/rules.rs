//! The routing rule: what is not marked as Weft's own goes by Weft's table first, in both families.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use weft_model::{FIREWALL_MARK, ROUTING_TABLE};

use super::netlink::{Netlink, NetlinkError};
use super::routes::families;
use crate::error::PlatformError;

/// The rule's place: behind the table of the device's own addresses (0), before the main table (32766) and what
/// other programs put in front of that, such as Tailscale from 5210 and wg-quick from 32765 downwards.
const PRIORITY: u32 = 5000;

/// A rule in the terms that tell whether it is Weft's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    family: AddressFamily,
    priority: u32,
    table: u32,
    mark: u32,
    mask: u32,
    inverted: bool,
    to_table: bool,
    /// Whether it looks at anything but the mark.
    selects: bool,
}

impl Rule {
    fn of_weft(family: AddressFamily) -> Self {
        Self {
            family,
            priority: PRIORITY,
            table: ROUTING_TABLE,
            mark: FIREWALL_MARK,
            mask: u32::MAX,
            inverted: true,
            to_table: true,
            selects: false,
        }
    }

    fn of(message: &RuleMessage) -> Self {
        let header = &message.header;
        let mut rule = Self {
            family: header.family,
            priority: 0,
            table: header.table.into(),
            mark: 0,
            mask: 0,
            inverted: header.flags.contains(RuleFlags::Invert),
            to_table: header.action == RuleAction::ToTable,
            selects: header.src_len != 0 || header.dst_len != 0 || header.tos != 0,
        };
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::Table(table) => rule.table = *table,
                RuleAttribute::FwMark(mark) => rule.mark = *mark,
                RuleAttribute::FwMask(mask) => rule.mask = *mask,
                RuleAttribute::Iifname(_)
                | RuleAttribute::Oifname(_)
                | RuleAttribute::UidRange(_)
                | RuleAttribute::IpProtocol(_)
                | RuleAttribute::SourcePortRange(_)
                | RuleAttribute::DestinationPortRange(_)
                | RuleAttribute::TunId(_)
                | RuleAttribute::L3MDev(true) => rule.selects = true,
                _ => {}
            }
        }
        rule
    }

    fn is_wefts(&self) -> bool {
        *self == Self::of_weft(self.family)
    }

    /// Whether another program's rule stands where Weft's does, or leads to Weft's table.
    fn is_in_the_way(&self) -> bool {
        !self.is_wefts() && (self.priority == PRIORITY || (self.to_table && self.table == ROUTING_TABLE))
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = self.family;
        message.header.action = RuleAction::ToTable;
        message.header.flags = RuleFlags::Invert;
        message.attributes = vec![
            RuleAttribute::Priority(self.priority),
            RuleAttribute::Table(self.table),
            RuleAttribute::FwMark(self.mark),
            RuleAttribute::FwMask(self.mask),
            // systemd-networkd removes rules that it does not know, but for those of this origin.
            RuleAttribute::Protocol(RouteProtocol::Kernel),
        ];
        message
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = if self.family == AddressFamily::Inet6 { "IPv6" } else { "IPv4" };
        write!(f, "{} ({family}, to table {})", self.priority, self.table)
    }
}

fn refused(step: &'static str) -> impl Fn(NetlinkError) -> PlatformError {
    move |error| match error.errno() {
        Some(Errno::PERM) => PlatformError::NotPrivileged,
        _ => PlatformError::system(step, error),
    }
}

fn present(netlink: &mut Netlink, family: AddressFamily) -> Result<Vec<Rule>, PlatformError> {
    let mut request = RuleMessage::default();
    request.header.family = family;
    let found =
        netlink.dump(RouteNetlinkMessage::GetRule(request)).map_err(refused("reading the routing rules"))?;
    Ok(found
        .iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewRule(message) if message.header.family == family => {
                Some(Rule::of(message))
            }
            _ => None,
        })
        .collect())
}

/// Whether no rule of another program is in the way.
pub(super) fn preflight(netlink: &mut Netlink) -> Result<(), PlatformError> {
    for family in families() {
        if let Some(foreign) = present(netlink, family)?.iter().find(|rule| rule.is_in_the_way()) {
            return Err(PlatformError::RuleHeld { rule: foreign.to_string() });
        }
    }
    Ok(())
}

/// Puts the rule in place once in each family.
pub(super) fn ensure(netlink: &mut Netlink) -> Result<(), PlatformError> {
    for family in families() {
        if present(netlink, family)?.iter().any(Rule::is_wefts) {
            continue;
        }
        let message = RouteNetlinkMessage::NewRule(Rule::of_weft(family).message());
        netlink.change_one(message, NLM_F_CREATE | NLM_F_EXCL).map_err(refused("adding the routing rule"))?;
    }
    Ok(())
}

/// Removes the rule, however often it is there.
pub(super) fn remove(netlink: &mut Netlink) -> Result<(), PlatformError> {
    for family in families() {
        for rule in present(netlink, family)?.iter().filter(|rule| rule.is_wefts()) {
            match netlink.change_one(RouteNetlinkMessage::DelRule(rule.message()), 0) {
                Err(error) if error.errno() != Some(Errno::NOENT) => {
                    return Err(refused("removing the routing rule")(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
