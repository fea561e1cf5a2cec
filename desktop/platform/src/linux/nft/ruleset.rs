//! A firewall plan as one transaction.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, HookNumber, InetHookNumber, NfTablesMessage, RuleAttribute,
    RuleMessage, SetAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute,
    TableMessage,
};
use weft_model::{LearntPlan, Opening};

use super::batch::{Batch, Transaction};
use super::elements::{self, Element};
use super::expression::Family;
use super::rules::{self, FORWARD, INPUT, OPENINGS, OUTPUT, POSTROUTING};
use super::{TABLE, TABLE_COMMENT, comment};

const NF_ACCEPT: u32 = 1;
/// Before the chains where firewalls usually are, behind everything that changes a destination.
const EARLY: i32 = -10;
/// Behind source NAT (100).
const LATE: i32 = 300;

/// A message carries at most 64 KiB of elements (an attribute's length has 16 bits); one of an IPv6 range takes 40.
const ELEMENTS_A_MESSAGE: usize = 1024;

// The numbers that the nft program gives to its data types, so that it can show them; the kernel does not mind.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_SERVICE: u32 = 13;
const TYPE_BITS: u32 = 6;

/// A set, before it has elements.
struct Set {
    name: String,
    key_type: u32,
    key_len: u32,
    flags: SetFlags,
}

fn address_type(family: Family) -> u32 {
    match family {
        Family::V4 => TYPE_IPV4,
        Family::V6 => TYPE_IPV6,
    }
}

/// Removes Weft's table with all that is in it; harmless where there is none.
pub(in crate::linux) fn removal() -> Transaction {
    let mut batch = Batch::default();
    forget(&mut batch);
    batch.finish()
}

fn forget(batch: &mut Batch) {
    // The first makes the table where there is none, since only what exists can be deleted.
    batch.create(NfTablesMessage::NewTable(table()));
    batch.delete(NfTablesMessage::DeleteTable(TableMessage {
        attributes: vec![TableAttribute::Name(TABLE.to_owned())],
    }));
}

fn table() -> TableMessage {
    let name = TableAttribute::Name(TABLE.to_owned());
    TableMessage { attributes: vec![name, TableAttribute::UserData(comment(TABLE_COMMENT))] }
}

/// Has the kernel say whether it could put such rules in place, and changes nothing.
pub(in crate::linux) fn trial() -> Transaction {
    let everything: [IpNet; 2] = [ipnet::Ipv4Net::default().into(), ipnet::Ipv6Net::default().into()];
    enforcement(&everything, &[], &LearntPlan::default(), &everything).trial()
}

/// Adds and removes learnt addresses, and changes nothing else.
pub(in crate::linux) fn learnt_change(removed: &[IpAddr], added: &[IpAddr]) -> Batch {
    let mut batch = Batch::default();
    for family in Family::BOTH {
        let name = rules::learnt(family);
        for message in element_messages(&name, None, &elements::of_addresses(removed, family)) {
            batch.delete(NfTablesMessage::DeleteSetElement(message));
        }
        for message in element_messages(&name, None, &elements::of_addresses(added, family)) {
            batch.create(NfTablesMessage::NewSetElement(message));
        }
    }
    batch
}

/// Puts exactly this in the place of Weft's table, whatever it held: `tunnelled` leaves by the tunnel interface, or by
/// `openings`, or not at all; `learnt` stands above that; nothing reaches `addresses` by another interface.
pub(in crate::linux) fn enforcement(
    tunnelled: &[IpNet],
    openings: &[Opening],
    learnt: &LearntPlan,
    addresses: &[IpNet],
) -> Batch {
    let mut batch = Batch::default();
    forget(&mut batch);
    batch.create(NfTablesMessage::NewTable(table()));
    let mut id = 0;
    for family in Family::BOTH {
        for (set, elements) in sets(family, tunnelled, openings, &learnt.addresses) {
            id += 1;
            add_set(&mut batch, set, id, elements);
        }
    }
    add_chain(&mut batch, OPENINGS, None);
    add_chain(&mut batch, OUTPUT, Some((InetHookNumber::LocalOut, EARLY)));
    add_chain(&mut batch, FORWARD, Some((InetHookNumber::Forward, EARLY)));
    add_chain(&mut batch, POSTROUTING, Some((InetHookNumber::PostRouting, LATE)));
    add_chain(&mut batch, INPUT, Some((InetHookNumber::LocalIn, EARLY)));
    for rule in rules::all(learnt.mode, addresses) {
        let mut attributes = vec![
            RuleAttribute::Table(TABLE.to_owned()),
            RuleAttribute::Chain(rule.chain.to_owned()),
            RuleAttribute::Expressions(rule.expressions.into_expressions()),
        ];
        if !rule.comment.is_empty() {
            attributes.push(RuleAttribute::UserData(comment(rule.comment)));
        }
        batch.append(NfTablesMessage::NewRule(RuleMessage { attributes }));
    }
    batch
}

fn sets(
    family: Family,
    tunnelled: &[IpNet],
    openings: &[Opening],
    learnt: &[IpAddr],
) -> [(Set, Vec<Element>); 3] {
    let address = address_type(family);
    let key_len = family.address_len();
    let flow = (TYPE_PROTOCOL << (2 * TYPE_BITS)) | (address << TYPE_BITS) | TYPE_SERVICE;
    [
        (
            Set { name: rules::tunnelled(family), key_type: address, key_len, flags: SetFlags::Interval },
            elements::of_networks(tunnelled, family),
        ),
        (
            Set {
                name: rules::openings(family),
                key_type: flow,
                key_len: key_len + 8,
                flags: SetFlags::empty(),
            },
            elements::of_openings(openings, family),
        ),
        (
            Set { name: rules::learnt(family), key_type: address, key_len, flags: SetFlags::empty() },
            elements::of_addresses(learnt, family),
        ),
    ]
}

fn add_set(batch: &mut Batch, set: Set, id: u32, elements: Vec<Element>) {
    let attributes = vec![
        SetAttribute::Table(TABLE.to_owned()),
        SetAttribute::Name(set.name.clone()),
        SetAttribute::Flags(set.flags),
        SetAttribute::KeyType(set.key_type),
        SetAttribute::KeyLen(set.key_len),
        SetAttribute::Id(id),
    ];
    batch.create(NfTablesMessage::NewSet(SetMessage { attributes }));
    for message in element_messages(&set.name, Some(id), &elements) {
        batch.create(NfTablesMessage::NewSetElement(message));
    }
}

/// The elements of a set, of one made in the same transaction with its number in it.
fn element_messages(
    set: &str,
    id: Option<u32>,
    elements: &[Element],
) -> impl Iterator<Item = SetElementMessage> {
    elements.chunks(ELEMENTS_A_MESSAGE).map(move |elements| {
        let mut attributes =
            vec![SetElementList::Table(TABLE.to_owned()), SetElementList::Set(set.to_owned())];
        attributes.extend(id.map(SetElementList::SetId));
        attributes.push(SetElementList::Elements(elements.to_vec()));
        SetElementMessage { attributes }
    })
}

fn add_chain(batch: &mut Batch, name: &str, hook: Option<(InetHookNumber, i32)>) {
    let mut attributes = vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(name.to_owned())];
    if let Some((hook, priority)) = hook {
        attributes.extend([
            ChainAttribute::Type("filter".to_owned()),
            ChainAttribute::Hook(vec![
                Hook::Number(HookNumber::Inet(hook)),
                Hook::Priority(priority.cast_unsigned()),
            ]),
            ChainAttribute::Policy(NF_ACCEPT),
        ]);
    }
    batch.create(NfTablesMessage::NewChain(ChainMessage { attributes }));
}

#[cfg(test)]
#[path = "ruleset_tests.rs"]
mod tests;
