//! Pointing a registered device at another DoH server than its gateway's.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::foreign::{DOH, ForeignDoh};
use crate::PATIENCE;
use crate::device::Device;

const REGISTRATION: &str = "/var/lib/weft/reg.json";

impl Device {
    /// Makes a foreign DoH server the device's upstream, inside the tunnel and outside it, as a gateway's registration
    /// may say. The daemon is started anew.
    ///
    /// # Errors
    /// The device is not registered, or the daemon does not start.
    pub fn use_doh(&mut self, server: &ForeignDoh) -> Result<()> {
        self.use_doh_at(server, SocketAddr::new(DOH.into(), 443))
    }

    /// The same, where the server is reached at another address than its certificate names.
    ///
    /// # Errors
    /// As [`Device::use_doh`].
    pub fn use_doh_at(&mut self, server: &ForeignDoh, at: SocketAddr) -> Result<()> {
        self.daemon()?.terminate(PATIENCE)?;
        let mut registration: Value = serde_json::from_str(&self.host().read_file(REGISTRATION)?)?;
        let doh =
            registration.pointer_mut("/gateways/0/dns/doh").context("no DoH server in the registration")?;
        *doh = json!({
            "name": DOH,
            "path": "/dns-query",
            "inside": at,
            "outside": [at],
            "ca_pem": server.authority.pem(),
        });
        self.host().write_file(REGISTRATION, registration.to_string())?;
        self.start_daemon()
    }
}
