//! What the engine asks the runtime to do.

use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use weft_model::profile::HostPattern;
use weft_model::{CheckEndpoints, DnsUpstream, DomainName, Event, FallbackDomain};
use weft_policy::VerdictSnapshot;
use weft_tunnel::{Inbound, Outbound, SocketId, SocketRequest};

/// Something for the runtime to do. Effects are carried out in order.
pub enum Effect {
    /// Tell the shell.
    Event(Event),
    /// Run packets between the TUN and these two, judged by the last [`Effect::Verdicts`].
    StartTunnel {
        /// Seals what leaves.
        outbound: Arc<dyn Outbound>,
        /// Opens what arrives.
        inbound: Box<dyn Inbound>,
        /// The tunnel's own addresses, for the core's own flows.
        addresses: Vec<IpNet>,
        /// The longest packet of the core's own flows, in bytes.
        mtu: u16,
    },
    /// Take packets from the TUN where there is no tunnel, for the core's own servers alone, judged by the last
    /// [`Effect::Verdicts`]. Ended by [`Effect::StopTunnel`].
    StartFront,
    /// Stop what [`Effect::StartTunnel`] or [`Effect::StartFront`] began, and close its sockets.
    StopTunnel,
    /// Make a socket outside the tunnel, then call [`Engine::handle_socket`](crate::Engine::handle_socket).
    OpenSocket(SocketId, SocketRequest),
    /// Close a socket.
    CloseSocket(SocketId),
    /// Judge packets by this from now on.
    Verdicts(Arc<VerdictSnapshot>),
    /// Answer the system's queries, or go on with other rules. Then call
    /// [`Engine::handle_dns_service`](crate::Engine::handle_dns_service).
    StartDns(Box<DnsService>),
    /// Answer no queries any more. Ends checks and look-ups as [`Effect::EndRound`] does.
    StopDns,
    /// What a connect was to prove is of no more interest: nobody waits for the checks, the look-ups and the word of
    /// the DNS proxy that were asked for. Queries are answered as before.
    EndRound,
    /// Ask the DNS proxy for the addresses of these names, a few at a time, then call
    /// [`Engine::handle_hosts_resolved`](crate::Engine::handle_hosts_resolved), whether or not they were found.
    ResolveHosts(Vec<DomainName>),
    /// Forget the connections and queries in flight: the network is another one.
    ResetDns,
    /// Let these answers go, which waited for their addresses to lead the right way
    /// ([`Engine::handle_learnt`](crate::Engine::handle_learnt)).
    ReleaseAnswers {
        /// The answers.
        holds: Vec<u64>,
        /// Whether their addresses lead the right way now; else why they will not.
        result: Result<(), String>,
    },
    /// A captive portal is open until then, or is not any more: while it is, every name goes to the resolvers that the
    /// device had before Weft, outside the tunnel.
    Portal(Option<Instant>),
    /// Run a check, then call [`Engine::handle_check`](crate::Engine::handle_check).
    Check(Check, CheckEndpoints),
    /// Fetch the profile, then call [`Engine::handle_profile`](crate::Engine::handle_profile).
    FetchProfile,
}

/// A proof of connectivity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Packets pass inside the tunnel and the gateway answers there.
    Inside,
    /// The gateway can be reached outside the tunnel.
    Outside,
}

/// What the DNS proxy is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsService {
    /// Who answers the names that no fallback rule takes.
    pub upstream: DnsUpstream,
    /// Whether that upstream is asked inside the tunnel.
    pub inside: bool,
    /// The suffixes that private resolvers answer.
    pub fallback: Vec<FallbackDomain>,
    /// The names whose addresses are to be learnt; empty where no traffic is tunnelled.
    pub hosts: Vec<HostPattern>,
    /// Whether an answer with such addresses waits until they lead the right way. Else they are learnt all the same,
    /// and the answer does not wait.
    pub hold: bool,
    /// Seconds after its time for which a kept answer is still given while nobody can be asked (RFC 8767); 0 = never.
    pub serve_stale: u32,
    /// Whether, of several resolvers asked at once, the first answer with data wins over an earlier one that says
    /// that there are none.
    pub prefer_positive: bool,
}
