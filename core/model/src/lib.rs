//! Plain data: registrations, profiles, settings, plans, status, events and the errors a user sees.
//!
//! Every other crate speaks in these types, so they hold no behaviour beyond parsing, validation and
//! display. Nothing here does I/O, reads a clock or draws a random number.

pub mod api;
pub mod calendar;
pub mod command;
pub mod dns;
pub mod domain;
pub mod explain;
pub mod key;
pub mod local_policy;
pub mod network;
pub mod plan;
pub mod profile;
pub mod registration;
pub mod settings;
pub mod stats;
pub mod status;
pub mod system_dns;
pub mod wg_quick;

pub use calendar::Civil;
pub use command::{Command, Event, PlanNumber};
pub use dns::{DnsLog, DnsLogEntry, DnsLogNews, DnsLookup, DnsSource, DnsStats, ExtendedError};
pub use domain::{DomainName, DomainNameError};
pub use explain::{AddressExplanation, HostExplanation, Way};
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey, Secret};
pub use local_policy::LocalPolicy;
pub use network::NetworkState;
pub use plan::{AppRules, DnsPlan, FirewallPlan, InterfacePlan, LearntPlan, Opening, Plan, Protocol};
pub use profile::{FallbackDomain, Profile, ProfileError, ServiceMode, SplitTunnel, SplitTunnelEntry};
pub use registration::{
    ApiEndpoint, CheckEndpoints, DnsUpstream, DohEndpoint, Gateway, Registration, RegistrationSource,
    TunnelEndpoint,
};
pub use settings::{Origin, Setting, Settings};
pub use stats::{Counter, DropReason, Stats, TunnelStats};
pub use status::{ConnectStage, Reason, State, Status, UserError};
pub use system_dns::{DnsDescription, DnsMode, PortHolder};

/// The name of the tunnel interface on Linux and Windows.
pub const INTERFACE_NAME: &str = "weft0";
/// The routing table that holds the tunnelled destinations on Linux.
pub const ROUTING_TABLE: u32 = 65743;
/// The mark of the sockets that go outside the tunnel on Linux.
pub const FIREWALL_MARK: u32 = 0x100cf;
/// The tunnel interface's MTU where nothing else is said, in bytes.
pub const DEFAULT_MTU: u16 = 1280;
/// The UDP ports of a WireGuard gateway, in the order a client tries them.
pub const WIREGUARD_PORTS: [u16; 4] = [2408, 500, 1701, 4500];
/// The addresses of the DNS proxy on Linux and macOS, port 53, UDP and TCP.
pub const DNS_PROXY_ADDRESSES: [std::net::IpAddr; 4] = [
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 2, 2)),
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 2, 3)),
    std::net::IpAddr::V6(std::net::Ipv6Addr::new(0xfd01, 0xdb8, 0x1111, 0, 0, 0, 0, 2)),
    std::net::IpAddr::V6(std::net::Ipv6Addr::new(0xfd01, 0xdb8, 0x1111, 0, 0, 0, 0, 3)),
];
/// The addresses of the DNS front in a phone's tunnel interface, where the system's queries come as packets: port 53,
/// UDP and TCP. They are of the ranges kept for benchmarks (RFC 2544, appendix C.2.2; RFC 5180, section 8), so that
/// no host of the Internet or of a local network has them, no default exclude holds them (a system that takes
/// excludes would lead them past the interface), and no gateway gives them to a device.
pub const SENTINEL_ADDRESSES: [std::net::IpAddr; 2] = [
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 53)),
    std::net::IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0x53)),
];
/// The name that only the device's own DNS proxy answers, with its own addresses.
pub const DNS_SELF_CHECK_NAME: &str = "connectivity-check.weftd";
