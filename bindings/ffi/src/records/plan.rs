//! Plans: the complete desired state of the device's network.

use ipnet::IpNet;

/// A range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct IpNetwork {
    /// Its first address; of an interface, the interface's own.
    pub address: String,
    /// The length of its prefix in bits.
    pub prefix: u8,
}

impl From<&IpNet> for IpNetwork {
    fn from(network: &IpNet) -> Self {
        Self { address: network.addr().to_string(), prefix: network.prefix_len() }
    }
}

pub(super) fn networks(networks: &[IpNet]) -> Vec<IpNetwork> {
    networks.iter().map(IpNetwork::from).collect()
}

/// The complete desired state of the device's network: always whole, never a delta.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Plan {
    /// To be acknowledged once it is in force, or has failed. Acknowledging N acknowledges every number below it.
    pub number: u64,
    /// The tunnel interface; none = there shall be none.
    pub interface: Option<InterfacePlan>,
    /// The destinations that are routed into it, minimal and sorted.
    pub routes: Vec<IpNetwork>,
    /// What stays outside, minimal and sorted, for systems that take excludes: the complement of `routes`, but for
    /// IPv6 where the interface's MTU is below IPv6's least, which is in neither and so blocked.
    pub excluded_routes: Vec<IpNetwork>,
    /// The system's DNS settings; none = as they were before Weft.
    pub dns: Option<DnsPlan>,
    /// Which apps the tunnel carries.
    pub apps: AppRules,
    /// Whether tunnelled destinations shall be blocked though there is no interface: the device cannot be brought up.
    /// A shell that can (lockdown) keeps an interface that leads nowhere.
    pub blocks: bool,
}

/// The tunnel interface.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct InterfacePlan {
    /// Its addresses.
    pub addresses: Vec<IpNetwork>,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// Whether apps should count its traffic as metered.
    pub metered: bool,
}

/// The system's DNS settings.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DnsPlan {
    /// The nameservers, in order.
    pub servers: Vec<String>,
    /// The search domains.
    pub search: Vec<String>,
}

/// Which apps the tunnel carries, by the system's own names for them.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum AppRules {
    /// Every app.
    All,
    /// Only these.
    Only {
        /// Their package names.
        packages: Vec<String>,
    },
    /// All but these.
    Except {
        /// Their package names.
        packages: Vec<String>,
    },
}

impl From<&weft_model::AppRules> for AppRules {
    fn from(rules: &weft_model::AppRules) -> Self {
        match rules {
            weft_model::AppRules::All => Self::All,
            weft_model::AppRules::Only(packages) => Self::Only { packages: packages.clone() },
            weft_model::AppRules::Except(packages) => Self::Except { packages: packages.clone() },
        }
    }
}

impl From<&weft_model::Plan> for Plan {
    fn from(plan: &weft_model::Plan) -> Self {
        let interface = plan.interface.as_ref().map(|interface| InterfacePlan {
            addresses: networks(&interface.addresses),
            mtu: interface.mtu,
            metered: interface.metered,
        });
        let dns = plan.dns.as_ref().map(|dns| DnsPlan {
            servers: dns.servers.iter().map(ToString::to_string).collect(),
            search: dns.search.iter().map(ToString::to_string).collect(),
        });
        Self {
            number: plan.number,
            blocks: plan.interface.is_none() && plan.firewall != weft_model::FirewallPlan::Open,
            interface,
            routes: networks(&plan.routes),
            excluded_routes: networks(&plan.excluded_routes),
            dns,
            apps: (&plan.apps).into(),
        }
    }
}
