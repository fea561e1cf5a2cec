//! One rule's expressions: each looks at the packet and ends the rule where it does not match, or decides.

use std::net::IpAddr;

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Lookup, Meta,
    MetaKey, Operator, Payload, Register, Verdict, VerdictAttribute,
};

use super::super::sys::NAME_MAX;

// linux/netfilter/nf_tables.h and linux/netfilter.h.
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NFTA_REJECT_TYPE: u16 = 1;
const NFTA_REJECT_ICMP_CODE: u16 = 2;
const REJECT_TCP_RESET: u32 = 1;
const REJECT_ICMPX: u32 = 2;
const ICMPX_ADMIN_PROHIBITED: u8 = 3;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The length of an address, in bytes.
    pub(super) fn address_len(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// How a set's name ends.
    pub(super) fn suffix(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }
}

/// Which of a packet's two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

impl End {
    fn address_offset(self, family: Family) -> u32 {
        match (self, family) {
            (Self::Source, Family::V4) => 12,
            (Self::Destination, Family::V4) => 16,
            (Self::Source, Family::V6) => 8,
            (Self::Destination, Family::V6) => 24,
        }
    }

    fn port_offset(self) -> u32 {
        match self {
            Self::Source => 0,
            Self::Destination => 2,
        }
    }
}

/// An address's bytes.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The expressions of one rule, in order. What a packet does not match, ends the rule for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Match(Vec<ListAttribute<ExpressionAttribute>>);

impl Match {
    pub(super) fn into_expressions(self) -> Vec<ListAttribute<ExpressionAttribute>> {
        self.0
    }

    fn with(mut self, expression: Expressions) -> Self {
        self.0.push(expression.into());
        self
    }

    fn load(self, key: MetaKey) -> Self {
        self.with(Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(key)]))
    }

    fn load_bytes(self, base: u32, offset: u32, len: u32, register: Register) -> Self {
        self.with(Expressions::Payload(vec![
            Payload::DestinationRegister(register),
            Payload::Base(base),
            Payload::Offset(offset),
            Payload::Len(len),
        ]))
    }

    fn compare(self, operator: Operator, value: Vec<u8>) -> Self {
        self.with(Expressions::Cmp(vec![
            Cmp::SourceRegister(Register::Reg1),
            Cmp::Op(operator),
            Cmp::Data(DataAttribute::Value(value)),
        ]))
    }

    fn equals(self, value: Vec<u8>) -> Self {
        self.compare(Operator::Equal, value)
    }

    /// By name, so that it matters not whether there is such an interface at the moment.
    fn interface(self, key: MetaKey, name: &str) -> Self {
        let mut padded = name.as_bytes().to_vec();
        padded.resize(NAME_MAX + 1, 0);
        self.load(key).equals(padded)
    }

    pub(super) fn leaves_by(self, name: &str) -> Self {
        self.interface(MetaKey::Oifname, name)
    }

    pub(super) fn came_by(self, name: &str) -> Self {
        self.interface(MetaKey::Iifname, name)
    }

    pub(super) fn marked(self, mark: u32) -> Self {
        self.load(MetaKey::Mark).equals(mark.to_ne_bytes().to_vec())
    }

    pub(super) fn family(self, family: Family) -> Self {
        let number = match family {
            Family::V4 => NFPROTO_IPV4,
            Family::V6 => NFPROTO_IPV6,
        };
        self.load(MetaKey::Nfproto).equals(vec![number])
    }

    /// The protocol above IP, behind whatever extension headers.
    pub(super) fn protocol(self, number: u8) -> Self {
        self.load(MetaKey::L4Proto).equals(vec![number])
    }

    fn load_address(self, family: Family, end: End, register: Register) -> Self {
        self.load_bytes(BASE_NETWORK, end.address_offset(family), family.address_len(), register)
    }

    /// The address is this one. Says the family too.
    pub(super) fn address(self, end: End, address: IpAddr) -> Self {
        let family = Family::of(address);
        self.family(family).load_address(family, end, Register::Reg1).equals(octets(address))
    }

    /// The address is in this network. Says the family too.
    pub(super) fn network(self, end: End, address: IpAddr, mask: IpAddr) -> Self {
        let family = Family::of(address);
        let mask = octets(mask);
        let zeroes = vec![0; mask.len()];
        self.family(family)
            .load_address(family, end, Register::Reg1)
            .with(Expressions::Bitwise(vec![
                Bitwise::SourceRegister(Register::Reg1),
                Bitwise::DestinationRegister(Register::Reg1),
                Bitwise::Length(family.address_len()),
                Bitwise::Mask(DataAttribute::Value(mask)),
                Bitwise::Xor(DataAttribute::Value(zeroes)),
            ]))
            .equals(octets(address))
    }

    /// The address is in this set of addresses.
    pub(super) fn address_in(self, family: Family, end: End, set: String) -> Self {
        self.family(family).load_address(family, end, Register::Reg1).lookup(set)
    }

    /// The protocol, address and port are in this set of all three.
    pub(super) fn flow_in(self, family: Family, end: End, set: String) -> Self {
        let port = match family {
            Family::V4 => Register::Reg32_02,
            Family::V6 => Register::Reg32_05,
        };
        self.family(family)
            .load(MetaKey::L4Proto)
            .load_address(family, end, Register::Reg32_01)
            .load_bytes(BASE_TRANSPORT, end.port_offset(), 2, port)
            .lookup(set)
    }

    fn lookup(self, set: String) -> Self {
        self.with(Expressions::Lookup(vec![Lookup::SourceRegister(Register::Reg1), Lookup::Set(set)]))
    }

    /// A TCP or UDP packet's two ports.
    pub(super) fn ports(self, source: u16, destination: u16) -> Self {
        let mut ports = source.to_be_bytes().to_vec();
        ports.extend(destination.to_be_bytes());
        self.load_bytes(BASE_TRANSPORT, 0, 4, Register::Reg1).equals(ports)
    }

    /// An ICMP or ICMPv6 message's type, both ends included.
    pub(super) fn icmp_types(self, first: u8, last: u8) -> Self {
        let loaded = self.load_bytes(BASE_TRANSPORT, 0, 1, Register::Reg1);
        if first == last {
            return loaded.equals(vec![first]);
        }
        loaded.compare(Operator::GreatherThanEqual, vec![first]).compare(Operator::LessThanEqual, vec![last])
    }

    /// Counts the packets that came this far.
    pub(super) fn counted(self) -> Self {
        self.with(Expressions::Other { expression_type: "counter".to_owned(), attributes: Vec::new() })
    }

    fn verdict(self, attributes: Vec<VerdictAttribute>) -> Self {
        self.with(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(attributes)),
        ]))
    }

    pub(super) fn accept(self) -> Self {
        self.verdict(vec![VerdictAttribute::Code(Verdict::Other(NF_ACCEPT))])
    }

    pub(super) fn drop(self) -> Self {
        self.verdict(vec![VerdictAttribute::Code(Verdict::Other(NF_DROP))])
    }

    pub(super) fn jump(self, chain: &str) -> Self {
        self.verdict(vec![VerdictAttribute::Code(Verdict::Jump), VerdictAttribute::Chain(chain.to_owned())])
    }

    fn reject(self, kind: u32, code: u8) -> Self {
        self.with(Expressions::Other {
            expression_type: "reject".to_owned(),
            attributes: vec![
                DefaultNla::new(NFTA_REJECT_TYPE, kind.to_be_bytes().to_vec()),
                DefaultNla::new(NFTA_REJECT_ICMP_CODE, vec![code]),
            ],
        })
    }

    /// Answers with a TCP reset; for TCP alone.
    pub(super) fn reset(self) -> Self {
        self.reject(REJECT_TCP_RESET, 0)
    }

    /// Answers with ICMP's or ICMPv6's "administratively prohibited".
    pub(super) fn prohibit(self) -> Self {
        self.reject(REJECT_ICMPX, ICMPX_ADMIN_PROHIBITED)
    }
}
