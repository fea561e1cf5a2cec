//! What the policy says of a name and of an address, and why.

use super::{DnsSource, SplitTunnelMode};

/// Which way packets to a destination go while the device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Way {
    /// Into the tunnel.
    Tunnel,
    /// As they would without Weft.
    Outside,
    /// Nowhere: the tunnel alone may carry them, and cannot.
    Blocked,
}

impl From<weft_model::Way> for Way {
    fn from(way: weft_model::Way) -> Self {
        match way {
            weft_model::Way::Tunnel => Self::Tunnel,
            weft_model::Way::Outside => Self::Outside,
            weft_model::Way::Blocked => Self::Blocked,
        }
    }
}

/// By whom a name is resolved, and which way its addresses go.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct HostExplanation {
    /// The name, in its canonical form.
    pub name: String,
    /// Who answers for it; none where the system's own resolvers do, past Weft.
    pub source: Option<DnsSource>,
    /// What the split-tunnel lists mean.
    pub mode: SplitTunnelMode,
    /// The host entry that matches it.
    pub entry: Option<String>,
    /// Which way its addresses go, once they are learnt; none where each goes by its own range.
    pub way: Option<Way>,
    /// The reasons, a sentence each, the deciding one last.
    pub why: Vec<String>,
}

impl From<&weft_model::HostExplanation> for HostExplanation {
    fn from(explanation: &weft_model::HostExplanation) -> Self {
        Self {
            name: explanation.name.to_string(),
            source: explanation.source.as_ref().map(DnsSource::from),
            mode: explanation.mode.into(),
            entry: explanation.entry.as_ref().map(ToString::to_string),
            way: explanation.way.map(Way::from),
            why: explanation.why.clone(),
        }
    }
}

/// Which way an address goes.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct AddressExplanation {
    /// The address, in its canonical form.
    pub address: String,
    /// What the split-tunnel lists mean.
    pub mode: SplitTunnelMode,
    /// The narrowest entry of the list that has it in.
    pub entry: Option<String>,
    /// Whether it was learnt from an answer for a host entry.
    pub learnt: bool,
    /// Which way it goes.
    pub way: Way,
    /// The reasons, a sentence each, the deciding one last.
    pub why: Vec<String>,
}

impl From<&weft_model::AddressExplanation> for AddressExplanation {
    fn from(explanation: &weft_model::AddressExplanation) -> Self {
        Self {
            address: explanation.address.to_string(),
            mode: explanation.mode.into(),
            entry: explanation.entry.map(|entry| entry.to_string()),
            learnt: explanation.learnt,
            way: explanation.way.into(),
            why: explanation.why.clone(),
        }
    }
}
