//! Checks of what a gateway answers, all before anything of it is used.

use std::net::{IpAddr, SocketAddr};

use rustls_pki_types::ServerName;
use weft_model::api::{ApiError, DeviceAnswer};
use weft_model::{DohEndpoint, Secret, TunnelEndpoint};

use super::OrchestrationError;
use crate::tls::{TlsClient, Trust};

/// The most addresses, and the most ports, that one endpoint may have.
pub(super) const MAX_ADDRESSES: usize = 16;
/// The most ranges that a tunnel endpoint may take.
const MAX_RANGES: usize = 1000;
/// The longest credential in bytes.
const MAX_TOKEN: usize = 4096;

fn require(holds: bool, what: &str) -> Result<(), OrchestrationError> {
    if holds { Ok(()) } else { Err(OrchestrationError::BadAnswer(what.to_owned())) }
}

/// A device's identifier becomes a part of a path.
pub(super) fn check_id(id: &str) -> Result<(), OrchestrationError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    require(
        (1..=128).contains(&id.len()) && id.bytes().all(is_plain),
        "the device's identifier is not usable",
    )
}

/// A credential becomes a part of a header.
pub(super) fn check_token(token: &Secret) -> Result<(), OrchestrationError> {
    let text = token.expose();
    let usable = (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    require(usable, "the device's credential is not usable")
}

/// Everything that the types cannot say.
pub(super) fn check(answer: &DeviceAnswer) -> Result<(), OrchestrationError> {
    answer.profile.validate().map_err(|error| OrchestrationError::BadAnswer(error.to_string()))?;
    require(
        (1..=MAX_ADDRESSES).contains(&answer.addresses.len())
            && answer.addresses.iter().all(|address| is_unicast(address.addr())),
        "the tunnel's addresses are not usable",
    )?;
    check_tunnel(&answer.tunnel)?;
    check_doh(&answer.doh)?;
    require(
        is_usable(&answer.checks.inside) && are_usable(&answer.checks.outside),
        "the addresses of the checks are not usable",
    )
}

fn check_tunnel(tunnel: &TunnelEndpoint) -> Result<(), OrchestrationError> {
    require(tunnel.public_key.as_bytes() != &[0; 32], "the tunnel's key is not usable")?;
    let addresses = &tunnel.addresses;
    let some = (1..=MAX_ADDRESSES).contains(&addresses.len()) && addresses.iter().all(|ip| is_unicast(*ip));
    require(some, "the tunnel's endpoints are not usable")?;
    let ports = (1..=MAX_ADDRESSES).contains(&tunnel.ports.len()) && !tunnel.ports.contains(&0);
    require(ports, "the tunnel's ports are not usable")?;
    require(tunnel.keepalive != Some(0), "the tunnel's keepalive is 0")?;
    require(tunnel.mtu.is_none_or(|mtu| (576..=1500).contains(&mtu)), "the tunnel's MTU is not 576 to 1500")?;
    require(tunnel.allowed_ips.len() <= MAX_RANGES, "the tunnel takes too many ranges")
}

fn check_doh(doh: &DohEndpoint) -> Result<(), OrchestrationError> {
    require(ServerName::try_from(doh.name.as_str()).is_ok(), "the resolver's name is not usable")?;
    let path = doh.path.starts_with('/') && http::uri::PathAndQuery::try_from(doh.path.as_str()).is_ok();
    require(path && doh.path.len() <= 1024, "the resolver's path is not usable")?;
    require(is_usable(&doh.inside) && are_usable(&doh.outside), "the resolver's addresses are not usable")?;
    let Some(pem) = &doh.ca_pem else { return Ok(()) };
    let usable = TlsClient::new(&Trust::CaPem(pem.clone()), &[]);
    usable.map(drop).map_err(|error| OrchestrationError::BadAnswer(error.to_string()))
}

fn are_usable(addresses: &[SocketAddr]) -> bool {
    addresses.len() <= MAX_ADDRESSES && addresses.iter().all(is_usable)
}

fn is_usable(address: &SocketAddr) -> bool {
    address.port() != 0 && is_unicast(address.ip())
}

fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

/// Makes a refusal fit to be shown: one line, of a length that somebody reads.
pub(super) fn tidy(error: ApiError) -> ApiError {
    let line = |text: String| text.chars().filter(|letter| !letter.is_control()).take(300).collect();
    ApiError { code: line(error.code), message: line(error.message) }
}
