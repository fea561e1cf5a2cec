//! A transaction of nf_tables: messages between a begin and an end, sent at once, of which all take effect or none.

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use super::super::netlink;

/// The subsystem's number, which a transaction's begin and end carry.
const SUBSYSTEM_NFTABLES: u16 = 10;

/// A message of nf_tables with the header of the family `inet`.
pub(in crate::linux) fn nftables(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

fn control(message: ControlMessage) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM_NFTABLES);
    NetfilterMessage::new(header, NetfilterMessageInner::None(message))
}

/// The bytes of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::linux) struct Transaction {
    /// What is sent in one piece.
    pub(in crate::linux) bytes: Vec<u8>,
    /// The sequence numbers of its messages are 1 to this, without the end's, which is not answered.
    pub(in crate::linux) last: u32,
}

/// A transaction in the making.
#[derive(Debug, Clone, Default)]
pub(in crate::linux) struct Batch(Vec<(NfTablesMessage, u16)>);

impl Batch {
    /// Adds what makes something.
    pub(super) fn create(&mut self, message: NfTablesMessage) {
        self.0.push((message, NLM_F_CREATE));
    }

    /// Adds a rule behind those of its chain.
    pub(super) fn append(&mut self, message: NfTablesMessage) {
        self.0.push((message, NLM_F_CREATE | NLM_F_APPEND));
    }

    /// Adds what removes something.
    pub(super) fn delete(&mut self, message: NfTablesMessage) {
        self.0.push((message, 0));
    }

    /// The whole transaction. Of its messages only the last is acknowledged, and those that are refused.
    pub(in crate::linux) fn finish(self) -> Transaction {
        let mut transaction = self.trial();
        netlink::append(&mut transaction.bytes, control(ControlMessage::BatchEnd), 0, transaction.last + 1);
        transaction
    }

    /// The transaction without its end: the kernel checks it, and then lets it be.
    pub(in crate::linux) fn trial(self) -> Transaction {
        let mut bytes = Vec::new();
        netlink::append(&mut bytes, control(ControlMessage::BatchBegin), 0, 1);
        let (mut sequence, last) = (1, self.0.len());
        for (index, (message, flags)) in self.0.into_iter().enumerate() {
            sequence += 1;
            let acknowledged = if index + 1 == last { NLM_F_ACK } else { 0 };
            netlink::append(&mut bytes, nftables(message), flags | acknowledged, sequence);
        }
        Transaction { bytes, last: sequence }
    }
}
