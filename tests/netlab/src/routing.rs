//! Addresses, routes, forwarding and NAT of a host: short names for what `ip` and `nft` do.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::host::Host;

impl Host {
    /// Adds an address with its prefix length to an interface; it can be used at once.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or it has the address already.
    pub fn add_address(&self, interface: &str, address: &str) -> Result<()> {
        let mut words = vec!["ip", "address", "add", address, "dev", interface];
        if address.contains(':') {
            words.push("nodad");
        }
        self.run(words).map(drop)
    }

    /// Adds a route; `route` is what follows `ip route add`, as `10.0.0.0/8 via 192.168.50.1`. The family is
    /// that of the first address in it.
    ///
    /// # Errors
    ///
    /// When the route exists, or its next hop cannot be reached.
    pub fn add_route(&self, route: &str) -> Result<()> {
        let family = if route.contains(':') { "-6" } else { "-4" };
        self.run(["ip", family, "route", "add"].into_iter().chain(route.split_whitespace())).map(drop)
    }

    /// Sends what has no other route to `router`, in that address's family.
    ///
    /// # Errors
    ///
    /// As [`Host::add_route`].
    pub fn default_route(&self, router: IpAddr) -> Result<()> {
        self.add_route(&format!("default via {router}"))
    }

    /// Makes the host a router of IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// When the kernel has no IPv6.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("net.ipv4.ip_forward", "1")?;
        self.sysctl("net.ipv6.conf.all.forwarding", "1")
    }

    /// Gives whatever is forwarded out of `interface` the interface's own address, in both families, as a
    /// home router does. The nftables table is `inet netlab_INTERFACE`.
    ///
    /// # Errors
    ///
    /// When `nft` fails.
    pub fn masquerade(&self, interface: &str) -> Result<()> {
        self.nft(&format!(
            "table inet netlab_{interface} {{
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    oifname \"{interface}\" masquerade
                }}
            }}"
        ))
    }

    /// Applies an nftables script as one transaction.
    ///
    /// # Errors
    ///
    /// When `nft` refuses it; nothing of it is in force then.
    pub fn nft(&self, script: &str) -> Result<()> {
        let words = ["sh", "-c", "printf %s \"$1\" | nft -f -", "sh", script];
        self.run(words).map(drop).with_context(|| format!("nft script:\n{script}"))
    }

    /// Switches IPv6 off on all interfaces, so that the host sends nothing of its own accord.
    pub(crate) fn silence_ipv6(&self) -> Result<()> {
        self.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        self.sysctl("net.ipv6.conf.default.disable_ipv6", "1")
    }
}
