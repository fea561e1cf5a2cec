//! What most tests begin with: the standard topology, a gateway and a device.

use anyhow::Result;
use netlab::topology::GATEWAY;
use netlab::{Lab, Topology};

use crate::device::Device;
use crate::gateway::GatewayServer;

/// The standard topology with a running gateway and a device that is not registered yet.
pub struct Setup {
    /// The hosts and their servers.
    pub topology: Topology,
    /// The gateway, with a resolver that asks the internet's DNS server and blocks `blocked.example`.
    pub gateway: GatewayServer,
    /// The device.
    pub device: Device,
}

impl Setup {
    /// Raises it, with this profile in JSON.
    ///
    /// # Errors
    /// A program does not start, or the machine lends no TUN device (a skip).
    pub fn new(lab: &Lab, profile: &str) -> Result<Self> {
        lab.require_tun()?;
        let topology = Topology::standard(lab)?;
        let gateway = GatewayServer::start(&topology.gateway, GATEWAY.into(), profile)?;
        let device = Device::start(&topology.device)?;
        Ok(Self { topology, gateway, device })
    }

    /// The same, registered and connected.
    ///
    /// # Errors
    /// The device does not come up.
    pub fn connected(lab: &Lab, profile: &str) -> Result<Self> {
        let setup = Self::new(lab, profile)?;
        setup.device.register(&setup.gateway)?;
        setup.device.connect()?;
        Ok(setup)
    }

    /// Fetches a page from the device with curl's further words; gives the body, or curl's complaint.
    ///
    /// # Errors
    /// curl cannot be run.
    pub fn curl(&self, words: &[&str]) -> Result<String> {
        let mut command = self.device.host().command("curl");
        command.args(["--silent", "--show-error", "--max-time", "10"]).args(words);
        let output = self.device.host().finish(command, crate::PATIENCE)?;
        Ok(format!("{}{}", output.stdout, output.stderr))
    }
}
