//! Checked views of IPv4, IPv6, TCP, UDP and ICMP headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::bytes::{array_at, u8_at, u16_at, u32_at};

/// Protocol numbers as IANA assigns them.
pub mod protocol {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}

/// Bytes of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
/// Bytes of an IPv6 header without extensions.
pub const IPV6_HEADER: usize = 40;
/// Bytes of a TCP header without options.
pub const TCP_HEADER: usize = 20;
/// Bytes of a UDP header.
pub const UDP_HEADER: usize = 8;

/// The most IPv6 extension headers that a view follows. Nobody sends more in good faith.
const MAX_EXTENSIONS: usize = 8;

/// Why bytes are not taken for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Neither version 4 nor 6.
    #[error("not an IP packet")]
    Version,
    /// It ends before its header does, or before the length that it names.
    #[error("shorter than its header says")]
    Truncated,
    /// A length in the header contradicts another.
    #[error("a length in its header contradicts another")]
    Length,
    /// More IPv6 extension headers than anybody sends.
    #[error("more than {MAX_EXTENSIONS} IPv6 extension headers")]
    Extensions,
    /// Longer than the buffer that is there for it.
    #[error("longer than the buffer for it")]
    TooLong,
    /// Offload metadata that does not fit the packet.
    #[error("its offload metadata does not fit it")]
    Offload,
}

/// Which part of a datagram a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fragment {
    /// All of it.
    #[default]
    Whole,
    /// The first of several, which has the transport's header.
    First,
    /// A later one, which has no transport header.
    Later,
}

/// An IP packet with a header that keeps its word.
#[derive(Debug, Clone, Copy)]
pub struct IpView<'a> {
    packet: &'a [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: usize,
    fragment: Fragment,
}

impl<'a> IpView<'a> {
    /// Reads the header at the start of `bytes`. What follows the packet's own length is left out of the view.
    ///
    /// # Errors
    /// [`Malformed`] where the header is not one, or names more than there is.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => Self::parse_v4(bytes),
            Some(6) => Self::parse_v6(bytes),
            _ => Err(Malformed::Version),
        }
    }

    fn parse_v4(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = bytes.first_chunk::<IPV4_HEADER>().ok_or(Malformed::Truncated)?;
        let [first, _, len_0, len_1, _, _, offset_0, offset_1, _, protocol, _, _, addresses @ ..] = *header;
        let payload = usize::from(first & 0x0f) * 4;
        let len = usize::from(u16::from_be_bytes([len_0, len_1]));
        if payload < IPV4_HEADER || len < payload {
            return Err(Malformed::Length);
        }
        let packet = bytes.get(..len).ok_or(Malformed::Truncated)?;
        let offset = u16::from_be_bytes([offset_0, offset_1]);
        let fragment = match (offset & 0x1fff, offset & 0x2000) {
            (0, 0) => Fragment::Whole,
            (0, _) => Fragment::First,
            _ => Fragment::Later,
        };
        let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
        Ok(Self {
            packet,
            source: Ipv4Addr::new(s0, s1, s2, s3).into(),
            destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
            protocol,
            payload,
            fragment,
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let len = u16_at(bytes, 4).ok_or(Malformed::Truncated)?;
        let packet = bytes.get(..IPV6_HEADER + usize::from(len)).ok_or(Malformed::Truncated)?;
        let source = array_at::<16>(packet, 8).ok_or(Malformed::Truncated)?;
        let destination = array_at::<16>(packet, 24).ok_or(Malformed::Truncated)?;
        let mut view = Self {
            packet,
            source: Ipv6Addr::from(source).into(),
            destination: Ipv6Addr::from(destination).into(),
            protocol: u8_at(packet, 6).ok_or(Malformed::Truncated)?,
            payload: IPV6_HEADER,
            fragment: Fragment::Whole,
        };
        for _ in 0..MAX_EXTENSIONS {
            if !view.skip_extension()? {
                return Ok(view);
            }
        }
        Err(Malformed::Extensions)
    }

    /// Moves past one extension header, where there is one (RFC 8200, section 4).
    fn skip_extension(&mut self) -> Result<bool, Malformed> {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const AUTHENTICATION: u8 = 51;
        const DESTINATION: u8 = 60;
        const MOBILITY: u8 = 135;
        const HIP: u8 = 139;
        const SHIM6: u8 = 140;

        let unit = match self.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 => 8,
            AUTHENTICATION => 4,
            FRAGMENT if self.fragment == Fragment::Whole => 0,
            _ => return Ok(false),
        };
        let header = self.packet.get(self.payload..).unwrap_or_default();
        let [next, units, field_0, field_1] = array_at::<4>(header, 0).ok_or(Malformed::Truncated)?;
        let len = match unit {
            0 => {
                let field = u16::from_be_bytes([field_0, field_1]);
                self.fragment = match (field & 0xfff8, field & 1) {
                    (0, 0) => Fragment::Whole,
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                8
            }
            4 => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        if header.len() < len {
            return Err(Malformed::Truncated);
        }
        self.payload += len;
        self.protocol = next;
        // What follows a later fragment's header is data, whatever the number says.
        Ok(self.fragment != Fragment::Later)
    }

    /// Whether it is IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// Who sent it.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// Whom it is for.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    /// The protocol behind the IP header and IPv6's extensions.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Which part of a datagram it is.
    #[must_use]
    pub fn fragment(&self) -> Fragment {
        self.fragment
    }

    /// Where the payload begins, in bytes from the packet's start.
    #[must_use]
    pub fn payload_offset(&self) -> usize {
        self.payload
    }

    /// The packet, exactly as long as its header says.
    #[must_use]
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// What follows the IP header and IPv6's extensions.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(self.payload..).unwrap_or_default()
    }

    /// Its TCP header, if it is TCP and has one.
    ///
    /// # Errors
    /// [`Malformed`] where it is TCP and the header is not one.
    pub fn tcp(&self) -> Result<Option<TcpView<'a>>, Malformed> {
        self.transport(protocol::TCP, TcpView::parse)
    }

    /// Its UDP header, if it is UDP and has one.
    ///
    /// # Errors
    /// [`Malformed`] where it is UDP and the header is not one.
    pub fn udp(&self) -> Result<Option<UdpView<'a>>, Malformed> {
        self.transport(protocol::UDP, UdpView::parse)
    }

    /// Its ICMP or ICMPv6 header, if it is of its version's ICMP and has one.
    ///
    /// # Errors
    /// [`Malformed`] where it is ICMP and the header is not one.
    pub fn icmp(&self) -> Result<Option<IcmpView<'a>>, Malformed> {
        let number = if self.is_v6() { protocol::ICMPV6 } else { protocol::ICMP };
        self.transport(number, IcmpView::parse)
    }

    /// Its addresses and ports; ports are 0 where there are none: of other protocols and of later fragments.
    ///
    /// # Errors
    /// [`Malformed`] where it is TCP or UDP and its header is not one.
    pub fn five_tuple(&self) -> Result<FiveTuple, Malformed> {
        let (source_port, destination_port) = match self.protocol {
            protocol::TCP => self.tcp()?.map(|tcp| (tcp.source_port(), tcp.destination_port())),
            protocol::UDP => self.udp()?.map(|udp| (udp.source_port(), udp.destination_port())),
            _ => None,
        }
        .unwrap_or((0, 0));
        Ok(FiveTuple {
            protocol: self.protocol,
            source: SocketAddr::new(self.source, source_port),
            destination: SocketAddr::new(self.destination, destination_port),
        })
    }

    fn transport<T>(
        &self,
        number: u8,
        parse: impl FnOnce(&'a [u8]) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.protocol != number || self.fragment == Fragment::Later {
            return Ok(None);
        }
        parse(self.payload()).map(Some)
    }
}

/// What tells one flow from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FiveTuple {
    /// The protocol's number.
    pub protocol: u8,
    /// Who sends.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

impl FiveTuple {
    /// The tuple of the packets that go the other way.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { protocol: self.protocol, source: self.destination, destination: self.source }
    }
}

/// A TCP segment with a header that keeps its word.
#[derive(Debug, Clone, Copy)]
pub struct TcpView<'a> {
    segment: &'a [u8],
    header: &'a [u8; TCP_HEADER],
}

/// The flags of a TCP header.
pub mod tcp_flags {
    /// The sender has no more data.
    pub const FIN: u8 = 0x01;
    /// Sequence numbers are to be synchronised.
    pub const SYN: u8 = 0x02;
    /// The connection is reset.
    pub const RST: u8 = 0x04;
    /// What came is to be handed on at once.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// ECN echo (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// The congestion window was reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

impl<'a> TcpView<'a> {
    /// Reads the header at the start of `bytes`, which are an IP packet's payload.
    ///
    /// # Errors
    /// [`Malformed`] where the header is longer than the bytes, or shorter than a header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        let view = Self { segment: bytes, header };
        if view.header_len() < TCP_HEADER {
            return Err(Malformed::Length);
        }
        if view.header_len() > bytes.len() {
            return Err(Malformed::Truncated);
        }
        Ok(view)
    }

    /// The source port.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        u16_at(self.header, 0).unwrap_or_default()
    }

    /// The destination port.
    #[must_use]
    pub fn destination_port(&self) -> u16 {
        u16_at(self.header, 2).unwrap_or_default()
    }

    /// The sequence number of the first byte of the payload.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        u32_at(self.header, 4).unwrap_or_default()
    }

    /// The next sequence number that the sender expects.
    #[must_use]
    pub fn acknowledgement(&self) -> u32 {
        u32_at(self.header, 8).unwrap_or_default()
    }

    /// Bytes of the header with its options.
    #[must_use]
    pub fn header_len(&self) -> usize {
        let [.., offset, _, _, _, _, _, _, _] = *self.header;
        usize::from(offset >> 4) * 4
    }

    /// The flags, as [`tcp_flags`] names them.
    #[must_use]
    pub fn flags(&self) -> u8 {
        let [.., flags, _, _, _, _, _, _] = *self.header;
        flags
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &'a [u8] {
        self.segment.get(TCP_HEADER..self.header_len()).unwrap_or_default()
    }

    /// What follows the header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.segment.get(self.header_len()..).unwrap_or_default()
    }
}

/// A UDP datagram with a header that keeps its word.
#[derive(Debug, Clone, Copy)]
pub struct UdpView<'a> {
    datagram: &'a [u8],
    header: &'a [u8; UDP_HEADER],
}

impl<'a> UdpView<'a> {
    /// Reads the header at the start of `bytes`, which are an IP packet's payload. A first fragment's datagram is
    /// cut off where the fragment ends.
    ///
    /// # Errors
    /// [`Malformed`] where there is no header, or it names less than itself.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        let len = usize::from(u16_at(header, 4).unwrap_or_default());
        if len < UDP_HEADER {
            return Err(Malformed::Length);
        }
        Ok(Self { datagram: bytes.get(..len).unwrap_or(bytes), header })
    }

    /// The source port.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        u16_at(self.header, 0).unwrap_or_default()
    }

    /// The destination port.
    #[must_use]
    pub fn destination_port(&self) -> u16 {
        u16_at(self.header, 2).unwrap_or_default()
    }

    /// The length that the header names, with the header, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(u16_at(self.header, 4).unwrap_or_default())
    }

    /// Whether the datagram carries nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == UDP_HEADER
    }

    /// The checksum; 0 where the sender made none.
    #[must_use]
    pub fn checksum(&self) -> u16 {
        u16_at(self.header, 6).unwrap_or_default()
    }

    /// What follows the header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.datagram.get(UDP_HEADER..).unwrap_or_default()
    }
}

/// An ICMP or ICMPv6 message.
#[derive(Debug, Clone, Copy)]
pub struct IcmpView<'a> {
    kind: u8,
    code: u8,
    body: &'a [u8],
}

impl<'a> IcmpView<'a> {
    /// Reads the header at the start of `bytes`, which are an IP packet's payload.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] for less than the 8 bytes of a header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let [kind, code, ..] = *bytes.first_chunk::<8>().ok_or(Malformed::Truncated)?;
        Ok(Self { kind, code, body: bytes.get(8..).unwrap_or_default() })
    }

    /// The message's type.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// The message's code.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }

    /// What follows the 8 bytes of header: an error's quoted packet, an echo's data.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}
