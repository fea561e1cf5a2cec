//! What the kernel holds of Weft's firewall.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, GenAttribute, GenMessage, NfTablesMessage, RuleAttribute, RuleMessage,
    SetAttribute, SetElementAttribute, SetElementFlags, SetElementList, SetElementMessage, SetMessage,
    TableAttribute, TableMessage,
};
use netlink_packet_netfilter::nftables::{DataAttribute, ListAttribute};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};

use super::super::netlink::{Netlink, NetlinkError};
use super::batch::nftables;
use super::{TABLE, TABLE_COMMENT, comment_text};

/// Whose the table of Weft's name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::linux) enum Owner {
    Nobody,
    Weft,
    Other,
}

fn nftables_of(message: NetfilterMessage) -> Option<NfTablesMessage> {
    match message.inner {
        NetfilterMessageInner::NfTables(message) => Some(message),
        _ => None,
    }
}

/// Asks whose the table is. An error says that the kernel has no nftables.
pub(in crate::linux) fn owner(netlink: &mut Netlink) -> Result<Owner, NetlinkError> {
    let request = TableMessage { attributes: vec![TableAttribute::Name(TABLE.to_owned())] };
    let found = netlink.get(nftables(NfTablesMessage::GetTable(request)))?;
    let Some(NfTablesMessage::NewTable(table)) = found.and_then(nftables_of) else {
        return Ok(Owner::Nobody);
    };
    let ours = table.attributes.iter().any(|attribute| match attribute {
        TableAttribute::UserData(userdata) => comment_text(userdata).as_deref() == Some(TABLE_COMMENT),
        _ => false,
    });
    Ok(if ours { Owner::Weft } else { Owner::Other })
}

/// The generation of the system's nftables: another one after each change, whoever makes it.
pub(in crate::linux) fn generation(netlink: &mut Netlink) -> Result<Option<u32>, NetlinkError> {
    let found = netlink.get(nftables(NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() })))?;
    let Some(NfTablesMessage::NewGen(message)) = found.and_then(nftables_of) else { return Ok(None) };
    Ok(message.attributes.iter().find_map(|attribute| match attribute {
        GenAttribute::Id(number) => Some(*number),
        _ => None,
    }))
}

/// The table for people: chains with what their rules are for, sets with their elements.
pub(in crate::linux) fn describe(netlink: &mut Netlink) -> Result<String, NetlinkError> {
    let mut text = match owner(netlink)? {
        Owner::Nobody => return Ok(format!("no table inet {TABLE}\n")),
        Owner::Weft => format!("table inet {TABLE}\n"),
        Owner::Other => format!("table inet {TABLE}, which is another program's\n"),
    };
    for chain in chains(netlink)? {
        let _ = writeln!(text, "  chain {chain}");
        for rule in rules(netlink, &chain)? {
            let _ = writeln!(text, "    {rule}");
        }
    }
    for (set, elements) in sets(netlink)? {
        let _ = writeln!(text, "  set {set}: {elements}");
    }
    Ok(text)
}

fn dump(netlink: &mut Netlink, message: NfTablesMessage) -> Result<Vec<NfTablesMessage>, NetlinkError> {
    Ok(netlink.dump(nftables(message))?.into_iter().filter_map(nftables_of).collect())
}

fn chains(netlink: &mut Netlink) -> Result<Vec<String>, NetlinkError> {
    let request = ChainMessage { attributes: Vec::new() };
    Ok(dump(netlink, NfTablesMessage::GetChain(request))?
        .into_iter()
        .filter_map(|message| match message {
            NfTablesMessage::NewChain(chain) => Some(chain.attributes),
            _ => None,
        })
        .filter(|attributes| attributes.contains(&ChainAttribute::Table(TABLE.to_owned())))
        .filter_map(|attributes| {
            attributes.into_iter().find_map(|attribute| match attribute {
                ChainAttribute::Name(name) => Some(name),
                _ => None,
            })
        })
        .collect())
}

fn rules(netlink: &mut Netlink, chain: &str) -> Result<Vec<String>, NetlinkError> {
    let request = RuleMessage {
        attributes: vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(chain.to_owned())],
    };
    Ok(dump(netlink, NfTablesMessage::GetRule(request))?
        .into_iter()
        .filter_map(|message| match message {
            NfTablesMessage::NewRule(rule) => Some(rule_text(&rule)),
            _ => None,
        })
        .collect())
}

/// What a rule is for, and how many packets it stopped.
fn rule_text(rule: &RuleMessage) -> String {
    let mut text = String::new();
    let mut packets = None;
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::UserData(userdata) => text = comment_text(userdata).unwrap_or_default(),
            RuleAttribute::Expressions(expressions) => packets = counted_packets(expressions),
            _ => {}
        }
    }
    if text.is_empty() {
        "the ways past".clone_into(&mut text);
    }
    match packets {
        Some(packets) => format!("{text}: stopped {packets} packets"),
        None => text,
    }
}

fn counted_packets(
    expressions: &[ListAttribute<netlink_packet_netfilter::nftables::ExpressionAttribute>],
) -> Option<u64> {
    use netlink_packet_core::Nla as _;
    use netlink_packet_netfilter::nftables::{ExpressionAttribute, Expressions};
    const NFTA_COUNTER_PACKETS: u16 = 2;

    let parts = expressions.iter().filter_map(|expression| match expression {
        ListAttribute::Element(parts) => Some(parts),
        _ => None,
    });
    parts.flatten().find_map(|part| match part {
        ExpressionAttribute::Data(Expressions::Other { expression_type, attributes })
            if expression_type == "counter" =>
        {
            let packets = attributes.iter().find(|attribute| attribute.kind() == NFTA_COUNTER_PACKETS)?;
            let mut bytes = [0; 8];
            (packets.value_len() == bytes.len()).then(|| packets.emit_value(&mut bytes))?;
            Some(u64::from_be_bytes(bytes))
        }
        _ => None,
    })
}

fn sets(netlink: &mut Netlink) -> Result<BTreeMap<String, String>, NetlinkError> {
    let request = SetMessage { attributes: vec![SetAttribute::Table(TABLE.to_owned())] };
    let mut found = BTreeMap::new();
    for message in dump(netlink, NfTablesMessage::GetSet(request))? {
        let NfTablesMessage::NewSet(set) = message else { continue };
        let name = set.attributes.into_iter().find_map(|attribute| match attribute {
            SetAttribute::Name(name) => Some(name),
            _ => None,
        });
        if let Some(name) = name {
            let count = elements(netlink, &name)?;
            found.insert(name, format!("{count} elements"));
        }
    }
    Ok(found)
}

/// How many elements a set has; a range is one.
fn elements(netlink: &mut Netlink, set: &str) -> Result<usize, NetlinkError> {
    let request = SetElementMessage {
        attributes: vec![SetElementList::Table(TABLE.to_owned()), SetElementList::Set(set.to_owned())],
    };
    let mut count = 0;
    for message in dump(netlink, NfTablesMessage::GetSetElement(request))? {
        let NfTablesMessage::NewSetElement(list) = message else { continue };
        for attribute in list.attributes {
            let SetElementList::Elements(elements) = attribute else { continue };
            count += elements.iter().filter(|element| is_start(element)).count();
        }
    }
    Ok(count)
}

fn is_start(element: &ListAttribute<SetElementAttribute>) -> bool {
    let ListAttribute::Element(attributes) = element else { return false };
    let has_key = attributes
        .iter()
        .any(|attribute| matches!(attribute, SetElementAttribute::Key(DataAttribute::Value(_))));
    let is_end = attributes.iter().any(|attribute| {
        matches!(attribute, SetElementAttribute::Flags(flags) if flags.contains(SetElementFlags::IntervalEnd))
    });
    has_key && !is_end
}
