//! A tunnel to one far side, behind the [`Transport`] seam.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use ipnet::IpNet;
use weft_model::{DropReason, PresharedKey, PrivateKey, PublicKey};
use weft_packet::Run;

use super::control::ClientControl;
use super::cookie::Mac1Check;
use super::handshake::Dates;
use super::inbox::{Front, Inbox, Mail, split_front};
use super::link::{Link, Path, Roaming, either};
use super::message::Kind;
use super::packet::SourceCheck;
use super::read;
use crate::outbox::Outbox;
use crate::transport::{
    Anchor, Entropy, Inbound, Nudge, Opened, Outbound, PacketSink, Received, Sealed, Transport,
};

/// The most handshake messages that wait for control.
const INBOX: usize = 32;

/// What a client needs to know of itself and its far side.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The device's key.
    pub private_key: PrivateKey,
    /// The far side's key.
    pub public_key: PublicKey,
    /// The pre-shared key of the pair.
    pub preshared_key: Option<PresharedKey>,
    /// The far side's addresses, in the order to try them.
    pub candidates: Vec<SocketAddr>,
    /// Seconds between persistent keepalives; none or 0 = none are sent.
    pub keepalive: Option<u16>,
    /// The sources that packets of the far side may have; empty = all.
    pub allowed_ips: Vec<IpNet>,
    /// The device's own addresses, which no packet of the far side may have as its source.
    pub own_addresses: Vec<IpNet>,
    /// The longest IP packet that is carried, in bytes.
    pub mtu: usize,
    /// The dates of the device's initiations, shared with its transports before this one and after it.
    pub dates: Dates,
}

/// A WireGuard tunnel to one far side.
pub struct Client;

impl Client {
    /// Makes the parts of a tunnel. `anchor` lies before every later moment; `entropy` makes its keys.
    #[must_use]
    pub fn transport(config: ClientConfig, anchor: Anchor, entropy: Box<dyn Entropy>) -> Transport {
        let sources = SourceCheck::new(&config.allowed_ips, &config.own_addresses);
        let link = Link::new(sources, config.mtu, Roaming::Endpoint, anchor.instant, config.keepalive);
        let shared = Arc::new(Shared {
            link,
            inbox: Inbox::new(INBOX),
            mac1: Mac1Check::new(config.private_key.public().as_bytes()),
            expected: RwLock::default(),
        });
        Transport {
            outbound: Arc::clone(&shared) as Arc<dyn Outbound>,
            inbound: Box::new(ClientInbound(Arc::clone(&shared))),
            control: Box::new(ClientControl::new(shared, &config, anchor, entropy)),
        }
    }
}

/// What the parts of a client share.
pub(crate) struct Shared {
    pub(crate) link: Link,
    pub(crate) inbox: Inbox,
    mac1: Mac1Check,
    /// The indices of handshakes that may be answered: what names another is no answer.
    pub(crate) expected: RwLock<Vec<u32>>,
}

impl Outbound for Shared {
    fn seal(&self, run: Run, now: Instant, out: &mut Outbox) -> Sealed {
        self.link.seal(run, now, out)
    }

    fn mtu(&self) -> usize {
        self.link.mtu()
    }
}

struct ClientInbound(Arc<Shared>);

impl Inbound for ClientInbound {
    fn open(&mut self, received: Received<'_>, now: Instant, sink: &mut dyn PacketSink) -> Opened {
        let Received::Datagrams { socket, from, data, stride } = received else {
            self.0.link.drop_received(DropReason::BadDatagram, sink);
            return Opened::default();
        };
        let from = Path { socket, endpoint: from };
        let stride = stride.max(1);
        let mut nudge = Nudge::None;
        let mut rest = data;
        while !rest.is_empty() {
            let (front, head, tail) = split_front(rest, stride);
            rest = tail;
            let raised = match front {
                Front::Data(index) => self.0.open_data(index, from, (head, stride), now, sink),
                Front::Handshake(kind) => self.0.take_handshake(kind, from, head, sink),
                Front::Bad => {
                    self.0.link.drop_received(DropReason::BadDatagram, sink);
                    Nudge::None
                }
            };
            nudge = either(nudge, raised);
        }
        Opened { nudge }
    }
}

impl Shared {
    fn open_data(
        &self,
        index: u32,
        from: Path,
        (data, stride): (&mut [u8], usize),
        now: Instant,
        sink: &mut dyn PacketSink,
    ) -> Nudge {
        let Some(session) = self.link.keys(|keys| keys.find(index, now).cloned()) else {
            data.chunks(stride).for_each(|_| self.link.drop_received(DropReason::BadSeal, sink));
            return Nudge::None;
        };
        self.link.open(&session, from, (data, stride), now, sink)
    }

    /// Leaves a handshake message for control, if it can be for us.
    fn take_handshake(&self, kind: Kind, from: Path, message: &[u8], sink: &mut dyn PacketSink) -> Nudge {
        if !self.mac1.admits(kind, message, |index| read(&self.expected).contains(&index)) {
            self.link.drop_received(DropReason::BadDatagram, sink);
            return Nudge::None;
        }
        self.inbox.push(Mail::new(kind, from, message)).unwrap_or_else(|| {
            self.link.drop_received(DropReason::QueueFull, sink);
            Nudge::None
        })
    }
}
