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
/// `NFNL_BATCH_GENID`: the attribute of a begin with the generation that the transaction builds on.
const BATCH_GENERATION: u16 = 1;

/// A message of nf_tables with the header of the family `inet`.
pub(in crate::linux) fn nftables(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

fn control(message: ControlMessage) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM_NFTABLES);
    NetfilterMessage::new(header, NetfilterMessageInner::None(message))
}

/// The first message of a transaction. With a generation, the kernel refuses the whole of it (`ERESTART`) where
/// anything of nftables has been changed since; kernels before 4.12 do not look.
fn begin(generation: Option<u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    netlink::append(&mut bytes, control(ControlMessage::BatchBegin), 0, 1);
    if let Some(generation) = generation {
        let length = 2 * size_of::<u16>() + size_of::<u32>();
        bytes.extend(u16::try_from(length).unwrap_or_default().to_ne_bytes());
        bytes.extend(BATCH_GENERATION.to_ne_bytes());
        bytes.extend(generation.to_be_bytes());
        let whole = u32::try_from(bytes.len()).unwrap_or_default();
        if let Some(length) = bytes.first_chunk_mut() {
            *length = whole.to_ne_bytes();
        }
    }
    bytes
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
        self.finish_on(None)
    }

    /// As [`Self::finish`], and it takes effect only on this generation of the system's nftables, where one is given.
    pub(in crate::linux) fn finish_on(self, generation: Option<u32>) -> Transaction {
        let mut transaction = self.unfinished(generation);
        netlink::append(&mut transaction.bytes, control(ControlMessage::BatchEnd), 0, transaction.last + 1);
        transaction
    }

    /// The transaction without its end: the kernel checks it, and then lets it be.
    pub(in crate::linux) fn trial(self) -> Transaction {
        self.unfinished(None)
    }

    fn unfinished(self, generation: Option<u32>) -> Transaction {
        let mut bytes = begin(generation);
        let (mut sequence, last) = (1, self.0.len());
        for (index, (message, flags)) in self.0.into_iter().enumerate() {
            sequence += 1;
            let acknowledged = if index + 1 == last { NLM_F_ACK } else { 0 };
            netlink::append(&mut bytes, nftables(message), flags | acknowledged, sequence);
        }
        Transaction { bytes, last: sequence }
    }
}
