//! Why the system could not be brought to the wanted state.

use std::io;

use weft_model::PortHolder;

/// Why a step failed: one line, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// The process may not change the network.
    #[error("the privilege to change the network is missing: run weftd as root or with CAP_NET_ADMIN")]
    NotPrivileged,
    /// The system has no TUN devices.
    #[error(
        "/dev/net/tun cannot be opened ({0}): load the kernel's module tun, or let weftd's container have the device"
    )]
    NoTun(#[source] io::Error),
    /// The kernel has no nftables, or lacks a part of it that the firewall needs.
    #[error(
        "the kernel has no nftables, or not all of it ({0}): load its modules nf_tables and nft_reject_inet, or use a \
         kernel that has them"
    )]
    NoNftables(#[source] io::Error),
    /// Another program holds the tunnel interface's name.
    #[error("the interface {name} belongs to {holder}: stop it or rename its interface")]
    InterfaceHeld {
        /// The interface's name.
        name: String,
        /// Who holds it, as far as it is known.
        holder: String,
    },
    /// Another program has routes in Weft's routing table.
    #[error(
        "the routing table {table} belongs to another program, which has the route {route} there: remove it"
    )]
    TableHeld {
        /// The table's number.
        table: u32,
        /// One of the routes that are not Weft's.
        route: String,
    },
    /// Another program has a rule where Weft's stands, or one that leads to Weft's table.
    #[error("the routing rule {rule} belongs to another program: remove it")]
    RuleHeld {
        /// The rule that is not Weft's.
        rule: String,
    },
    /// Another program has a firewall table of Weft's name.
    #[error(
        "the nftables table `inet {name}` belongs to another program: rename it, or `nft delete table inet {name}`"
    )]
    FirewallHeld {
        /// The table's name.
        name: String,
    },
    /// Another program has the DNS proxy's port open.
    #[error("{0}, which the DNS proxy needs: stop it, or let it listen on its own addresses alone")]
    PortHeld(PortHolder),
    /// The process may not open the DNS proxy's port.
    #[error("the privilege to open port {port} is missing: run weftd as root or with CAP_NET_BIND_SERVICE")]
    PortNotPrivileged {
        /// The port.
        port: u16,
    },
    /// The tunnel interface is not there.
    #[error("the interface {name} is not there")]
    InterfaceMissing {
        /// The interface's name.
        name: String,
    },
    /// The system's DNS settings cannot be read or changed.
    #[error("{path}: {detail}")]
    Dns {
        /// The file.
        path: String,
        /// What is wrong with it, and what to do.
        detail: String,
    },
    /// The system refused a step.
    #[error("{step}: {source}")]
    System {
        /// What was tried.
        step: String,
        /// What the system said.
        source: io::Error,
    },
}

impl PlatformError {
    /// The system refused `step`.
    pub fn system(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { step: step.into(), source: source.into() }
    }
}
