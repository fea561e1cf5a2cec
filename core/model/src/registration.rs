//! Who this device is, and the gateways it may talk to.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::domain::DomainName;
use crate::key::{PresharedKey, PrivateKey, PublicKey, Secret};

/// Where a registration came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationSource {
    /// A Weft gateway's device orchestration API: it delivers a profile, answers checks, may revoke.
    Orchestrated,
    /// A wg-quick file: no orchestration, no checks and no profile.
    Imported,
}

/// Who this device is. Kept by the daemon in a file of mode 0600; it never crosses the IPC socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The device's identifier at the gateway; of an imported one, the file's name.
    pub id: String,
    /// Where it came from.
    pub source: RegistrationSource,
    /// The credential for the orchestration API and for DoH outside the tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// The device's tunnel key.
    pub private_key: PrivateKey,
    /// The tunnel interface's addresses, usually a /32 and a /128.
    pub addresses: Vec<IpNet>,
    /// The gateways, in order of preference; at least one.
    pub gateways: Vec<Gateway>,
}

/// One gateway: pinned addresses and names, so that no look-up stands before the first packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// The device orchestration API; absent for an imported endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiEndpoint>,
    /// The tunnel's far end.
    pub tunnel: TunnelEndpoint,
    /// Who answers the names that no other rule takes.
    pub dns: DnsUpstream,
    /// What proves that the tunnel works; absent for an imported endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<CheckEndpoints>,
}

/// The device orchestration API of a gateway (HTTPS, always outside the tunnel).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiEndpoint {
    /// The name in the certificate and in the Host header; may be an address in text form.
    pub name: String,
    /// The pinned addresses, tried in order.
    pub addresses: Vec<SocketAddr>,
    /// The certificate authority in PEM to trust instead of the system's; none = the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

/// The WireGuard end of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelEndpoint {
    /// The gateway's tunnel key.
    pub public_key: PublicKey,
    /// The pre-shared key of the pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preshared_key: Option<PresharedKey>,
    /// The pinned addresses, tried in order, families in turns.
    pub addresses: Vec<IpAddr>,
    /// The UDP ports, tried in order.
    pub ports: Vec<u16>,
    /// Seconds between persistent keepalives, 1 to 65535; none = none are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<u16>,
    /// The tunnel's MTU in bytes where the far end fixes it (wg-quick's MTU=).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The destinations that the far end takes (AllowedIPs); empty = all. An imported endpoint's split tunnel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_ips: Vec<IpNet>,
}

impl TunnelEndpoint {
    /// Every address with every port, in the order to try them: ports first, then addresses.
    pub fn candidates(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ports
            .iter()
            .flat_map(|port| self.addresses.iter().map(move |address| SocketAddr::new(*address, *port)))
    }
}

/// Who answers the names that no fallback rule takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsUpstream {
    /// The gateway's DoH resolver (RFC 8484).
    Doh(DohEndpoint),
    /// Plain resolvers, asked through the tunnel (wg-quick's DNS=), with their search domains.
    Plain {
        /// The resolvers, port 53, in order.
        servers: Vec<IpAddr>,
        /// The search domains.
        search: Vec<DomainName>,
    },
    /// The resolvers that the device had before it connected; Weft leaves DNS alone.
    System,
}

/// A DoH resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DohEndpoint {
    /// The name in the certificate and in `:authority`.
    pub name: String,
    /// The path of the resource, such as "/dns-query".
    pub path: String,
    /// Its address inside the tunnel (always in).
    pub inside: SocketAddr,
    /// Its addresses outside the tunnel, for DNS only mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<SocketAddr>,
    /// The certificate authority in PEM to trust instead of the system's; none = the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

/// What proves that the device reaches its gateway and the tunnel carries packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckEndpoints {
    /// An HTTP (not TLS) address inside the tunnel (always in); `GET /cdn-cgi/trace` answers `weft=on`.
    pub inside: SocketAddr,
    /// Addresses outside the tunnel (always out) that accept a TCP connection.
    pub outside: Vec<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_try_every_address_on_a_port_before_the_next_port() {
        let endpoint = TunnelEndpoint {
            public_key: PublicKey::from([1; 32]),
            preshared_key: None,
            addresses: vec!["203.0.113.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
            ports: vec![2408, 500],
            keepalive: None,
            mtu: None,
            allowed_ips: Vec::new(),
        };
        let texts: Vec<_> = endpoint.candidates().map(|address| address.to_string()).collect();
        assert_eq!(
            texts,
            ["203.0.113.10:2408", "[2001:db8::10]:2408", "203.0.113.10:500", "[2001:db8::10]:500"]
        );
    }
}
