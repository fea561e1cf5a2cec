//! The tunnels that are measured.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use netlab::eventually;
use netlab::peers::{Implementation, Keys, Remote, WireGuardPeer};

use super::field::{FAR, Field, INSIDE, SINK, UPLINK};
use super::{pair, weft};

const PORT: u16 = 2408;
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

/// A tunnel, at both ends the same implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// weftd and weft-gateway.
    Weft,
    /// Weft's data plane at both ends, without daemon and gateway.
    TunnelPair,
    /// Somebody else's.
    Peer(Implementation),
}

impl Contender {
    /// Every one, in the order of the turns.
    pub(crate) const ALL: [Self; 5] = [
        Self::Weft,
        Self::TunnelPair,
        Self::Peer(Implementation::WireGuardGo),
        Self::Peer(Implementation::Gotatun),
        Self::Peer(Implementation::Boringtun),
    ];

    /// Its name in the table and the results.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::TunnelPair => "tunnel-pair",
            Self::Peer(implementation) => implementation.name(),
        }
    }

    /// Whether its programs are there.
    ///
    /// # Errors
    ///
    /// When they are not; the message says how to get them.
    pub(crate) fn find(self) -> Result<()> {
        match self {
            Self::Weft => weft::find(),
            Self::TunnelPair => pair::find().map(drop),
            Self::Peer(implementation) => implementation.find().map(drop),
        }
    }

    /// Raises it between the device and the far end of `field`, and waits until the sink answers through it.
    ///
    /// # Errors
    ///
    /// When a program does not start or the sink does not answer.
    pub(crate) fn raise(self, field: &Field, mtu: u16) -> Result<Raised> {
        let raised = match self {
            Self::Weft => weft::raise(field, mtu),
            Self::TunnelPair => pair::raise(field, mtu),
            Self::Peer(implementation) => raise_peer(implementation, field, mtu),
        };
        let raised = raised.with_context(|| format!("{self} at MTU {mtu}"))?;
        let sink = SINK.to_string();
        eventually(CONNECT_DEADLINE, format!("an answer through {self}"), || {
            field.device.run(["ping", "-n", "-c1", "-W1", &sink])
        })?;
        Ok(raised)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A tunnel that is up, until it is dropped.
pub(crate) struct Raised {
    /// The processes at the device.
    pub(crate) device: Vec<u32>,
    /// The processes at the far end.
    pub(crate) far: Vec<u32>,
    /// What keeps them running.
    pub(crate) _programs: Box<dyn Any>,
}

impl Raised {
    /// The processes at both ends.
    #[must_use]
    pub(crate) fn both(&self) -> Vec<u32> {
        self.device.iter().chain(&self.far).copied().collect()
    }
}

fn raise_peer(implementation: Implementation, field: &Field, mtu: u16) -> Result<Raised> {
    let (ours, theirs) = (Keys::generate(&field.device)?, Keys::generate(&field.far)?);
    field.far.forward()?;
    field.far.masquerade(UPLINK)?;
    let far = WireGuardPeer::new(implementation, &theirs)
        .listen(PORT)
        .address("100.96.0.1/24")
        .mtu(mtu)
        .remote(Remote::new(&ours.public).allow("100.96.0.2/32"))
        .start(&field.far)?;
    let device = WireGuardPeer::new(implementation, &ours)
        .address("100.96.0.2/32")
        .mtu(mtu)
        .remote(Remote::new(&theirs.public).allow(INSIDE).endpoint(SocketAddr::from((FAR, PORT))))
        .start(&field.device)?;
    Ok(Raised {
        device: vec![device.process().id()],
        far: vec![far.process().id()],
        _programs: Box::new((device, far)),
    })
}
