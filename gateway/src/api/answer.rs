//! What a device is told: addresses, endpoints and its profile.

use std::net::{IpAddr, SocketAddr};

use weft_model::api::DeviceAnswer;
use weft_model::profile::AddressMode;
use weft_model::{CheckEndpoints, DohEndpoint, Profile, PublicKey, TunnelEndpoint};

use crate::addresses::INNER_V4;
use crate::config::Config;
use crate::store::Device;

/// The path of the resolver.
pub const DOH_PATH: &str = "/dns-query";
/// The port of the resolver on the inner address.
pub const INNER_DOH_PORT: u16 = 443;
/// The port of the check on the inner address.
pub const INNER_CHECK_PORT: u16 = 80;

/// Writes the answers: all but the device's own part is the same for all.
#[derive(Debug, Clone)]
pub struct Answers {
    tunnel: TunnelEndpoint,
    doh: DohEndpoint,
    checks: CheckEndpoints,
}

impl Answers {
    /// The answers of a gateway.
    #[must_use]
    pub fn new(config: &Config, tunnel_key: PublicKey, ca_pem: Option<String>) -> Self {
        let inner = |port| SocketAddr::new(IpAddr::V4(INNER_V4), port);
        Self {
            tunnel: TunnelEndpoint {
                public_key: tunnel_key,
                preshared_key: None,
                addresses: config.public_addresses.clone(),
                ports: config.tunnel.ports.clone(),
                keepalive: None,
                mtu: Some(config.tunnel.mtu),
                allowed_ips: Vec::new(),
            },
            doh: DohEndpoint {
                name: config.name.clone(),
                path: DOH_PATH.to_owned(),
                inside: inner(INNER_DOH_PORT),
                outside: config.api_endpoints(),
                ca_pem,
            },
            checks: CheckEndpoints { inside: inner(INNER_CHECK_PORT), outside: config.api_endpoints() },
        }
    }

    /// The answer for a device.
    #[must_use]
    pub fn device(&self, device: &Device, profile: &Profile) -> DeviceAnswer {
        let mut profile = profile.clone();
        // A profile that was set before the tunnel's MTU was lowered; a device heeds the profile first.
        profile.mtu = profile.mtu.map(|mtu| mtu.min(self.tunnel.mtu.unwrap_or(mtu)));
        DeviceAnswer {
            addresses: device.slot.interface(profile.tunnel_address == AddressMode::Shared),
            tunnel: self.tunnel.clone(),
            doh: self.doh.clone(),
            checks: self.checks.clone(),
            profile,
        }
    }
}
