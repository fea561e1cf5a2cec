//! The hosts that each tunnel is measured between.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use netlab::{End, Host, Lab, Link};

/// The device, before the tunnel.
pub(crate) const DEVICE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The far end of the tunnel, as the device reaches it.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The far end, as the sink sees it.
pub(crate) const FAR_INSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The host behind the far end, where the iperf3 server is.
pub(crate) const SINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// What the tunnel has to carry, for the sink to be reached.
pub(crate) const INSIDE: &str = "198.51.100.0/24";
/// The far end's interface towards the sink.
pub(crate) const UPLINK: &str = "eth1";

/// Three hosts in a row, the same for every tunnel:
///
/// ```text
///   device 192.0.2.2 ---- 192.0.2.1 far 198.51.100.1 ---- 198.51.100.2 sink
///          eth0           eth0          eth1              eth0
/// ```
///
/// Nothing but a tunnel leads from the device to the sink: `far` does not forward what comes by `eth0`.
#[derive(Debug)]
pub(crate) struct Field {
    /// Where the transfers start.
    pub(crate) device: Host,
    /// Where the tunnel ends; it forwards and translates.
    pub(crate) far: Host,
    /// Where they end.
    pub(crate) sink: Host,
}

impl Field {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// When the kernel lacks what the lab needs.
    pub(crate) fn build(lab: &Lab) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Nobody answers there; weft-gateway wants to know of a resolver.
        let host = |name: &str| lab.host(&format!("{name}{number}")).resolver(SINK.into()).build();
        let (device, far, sink) = (host("device")?, host("far")?, host("sink")?);
        Link::new(
            End::new(&device, "eth0").address(&format!("{DEVICE}/24")),
            End::new(&far, "eth0").address(&format!("{FAR}/24")),
        )?;
        Link::new(
            End::new(&far, UPLINK).address(&format!("{FAR_INSIDE}/24")),
            End::new(&sink, "eth0").address(&format!("{SINK}/24")),
        )?;
        // A device has a default route; Weft takes it for the path to the network.
        device.default_route(FAR.into())?;
        far.nft(&format!(
            "table inet no_bypass {{
                chain forward {{
                    type filter hook forward priority filter - 10
                    iifname \"eth0\" oifname \"{UPLINK}\" drop
                }}
            }}"
        ))?;
        Ok(Self { device, far, sink })
    }
}
