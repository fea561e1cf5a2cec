//! NetworkManager's global DNS settings: they stand above those of every connection, outlast its restart, and it writes
//! resolv.conf by them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use weft_model::DNS_PROXY_ADDRESSES;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::bus::{Bus, BusError};
use super::message::Object;
use crate::dns_seam::SystemDns;

/// Its name on the message bus.
pub(super) const NAME: &str = "org.freedesktop.NetworkManager";
const MANAGER: Object<'static> = Object {
    service: NAME,
    path: "/org/freedesktop/NetworkManager",
    interface: "org.freedesktop.NetworkManager",
};
pub(super) const DNS_MANAGER: Object<'static> = Object {
    service: NAME,
    path: "/org/freedesktop/NetworkManager/DnsManager",
    interface: "org.freedesktop.NetworkManager.DnsManager",
};
const ACTIVE: &str = "org.freedesktop.NetworkManager.Connection.Active";
const IP4: &str = "org.freedesktop.NetworkManager.IP4Config";
const IP6: &str = "org.freedesktop.NetworkManager.IP6Config";
const GLOBAL: &str = "GlobalDnsConfiguration";
/// The domain of the servers for all names.
const ALL: &str = "*";
/// The path of what is not there.
const NOWHERE: &str = "/";

type Dictionary = HashMap<String, OwnedVariant>;

/// The global DNS settings.
#[derive(Debug, Default)]
pub(super) struct Global(Dictionary);

impl Global {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The servers for all names.
    pub(super) fn servers(&self) -> Vec<IpAddr> {
        let domain = |settings: &Dictionary, name: &str| {
            settings.get(name).and_then(|value| Dictionary::try_from(value.try_clone().ok()?).ok())
        };
        let all = domain(&self.0, "domains").and_then(|domains| domain(&domains, ALL));
        let servers = all.and_then(|all| Vec::<String>::try_from(all.get("servers")?.try_clone().ok()?).ok());
        servers.unwrap_or_default().iter().filter_map(|server| server.parse().ok()).collect()
    }

    /// Whether they are Weft's.
    pub(super) fn is_ours(&self) -> bool {
        self.servers().iter().any(|server| DNS_PROXY_ADDRESSES.contains(server))
    }
}

/// The global DNS settings now.
pub(super) fn global(bus: &mut Bus) -> Result<Global, BusError> {
    bus.property(MANAGER, GLOBAL).map(Global)
}

/// Sets them.
pub(super) fn set_global(bus: &mut Bus, servers: &[IpAddr], search: &[String]) -> Result<(), BusError> {
    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let all = HashMap::from([("servers", Variant::from(servers))]);
    let domains = HashMap::from([(ALL, Variant::from(all))]);
    let settings = HashMap::from([
        ("searches", Variant::from(search.to_vec())),
        ("options", Variant::from(vec!["edns0".to_owned(), "trust-ad".to_owned()])),
        ("domains", Variant::from(domains)),
    ]);
    bus.set_property(MANAGER, GLOBAL, &settings)
}

/// Takes them back.
pub(super) fn clear_global(bus: &mut Bus) -> Result<(), BusError> {
    bus.set_property(MANAGER, GLOBAL, &HashMap::<&str, Variant<'_>>::new())
}

/// The resolvers and search domains that the connections of the default routes bring; of all connections where there
/// is no default route.
pub(super) fn system(bus: &mut Bus) -> Result<SystemDns, BusError> {
    let connections: Vec<OwnedObjectPath> = bus.property(MANAGER, "ActiveConnections")?;
    let mut defaults = Vec::new();
    for connection in &connections {
        let active = Object { service: NAME, path: connection.as_str(), interface: ACTIVE };
        // One that goes meanwhile is none.
        let flags = ["Default", "Default6"].map(|flag| bus.property::<bool>(active, flag).unwrap_or(false));
        if flags.contains(&true) {
            defaults.push(connection.clone());
        }
    }
    let mut system = SystemDns::default();
    for connection in if defaults.is_empty() { &connections } else { &defaults } {
        let active = Object { service: NAME, path: connection.as_str(), interface: ACTIVE };
        for (property, interface) in [("Ip4Config", IP4), ("Ip6Config", IP6)] {
            let path: OwnedObjectPath = match bus.property(active, property) {
                Ok(path) => path,
                Err(_) => continue,
            };
            if path.as_str() != NOWHERE {
                let config = Object { service: NAME, path: path.as_str(), interface };
                merge(&mut system, bus, config);
            }
        }
    }
    Ok(system)
}

fn merge(system: &mut SystemDns, bus: &mut Bus, config: Object<'_>) {
    let servers: Vec<IpAddr> = match config.interface {
        IP4 => {
            let data: Vec<Dictionary> = bus.property(config, "NameserverData").unwrap_or_default();
            let addresses = data.iter().filter_map(|server| {
                String::try_from(server.get("address")?.try_clone().ok()?).ok()?.parse().ok()
            });
            addresses.collect()
        }
        _ => {
            let data: Vec<Vec<u8>> = bus.property(config, "Nameservers").unwrap_or_default();
            let address = |bytes: &Vec<u8>| <[u8; 16]>::try_from(bytes.as_slice()).ok().map(Ipv6Addr::from);
            // A link-local one cannot be asked without its link.
            let servers = data.iter().filter_map(address).filter(|address| !address.is_unicast_link_local());
            servers.map(IpAddr::from).collect()
        }
    };
    for server in servers {
        if !DNS_PROXY_ADDRESSES.contains(&server) && !system.servers.contains(&server) {
            system.servers.push(server);
        }
    }
    for property in ["Searches", "Domains"] {
        let domains: Vec<String> = bus.property(config, property).unwrap_or_default();
        for domain in domains {
            // "~" marks a domain that is for routing alone.
            if !domain.starts_with('~') && !domain.is_empty() && !system.search.contains(&domain) {
                system.search.push(domain);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(value: Variant<'_>) -> OwnedVariant {
        value.try_into_owned().unwrap()
    }

    #[test]
    fn global_settings_are_wefts_by_their_servers() {
        let settings = |server: &str| {
            let all = HashMap::from([("servers", Variant::from(vec![server.to_owned()]))]);
            let domains = HashMap::from([(ALL, Variant::from(all))]);
            Global(HashMap::from([("domains".to_owned(), owned(Variant::from(domains)))]))
        };
        assert!(settings("127.0.2.2").is_ours());
        assert!(!settings("192.0.2.1").is_ours());
        assert_eq!(settings("192.0.2.1").servers(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert!(Global::default().is_empty() && !Global::default().is_ours());
        let odd = Global(HashMap::from([("domains".to_owned(), owned(Variant::from("no dictionary")))]));
        assert!(odd.servers().is_empty());
    }
}
