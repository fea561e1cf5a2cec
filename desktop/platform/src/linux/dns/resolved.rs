//! systemd-resolved (org.freedesktop.resolve1(5)): settings of one link, settings of all links, and what it knows.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weft_model::{DNS_PROXY_ADDRESSES, DnsPlan};
use zbus::OwnedObjectPath;

use super::bus::{Bus, BusError};
use super::environment::{RESOLVED, SYSTEMD};
use super::message::Object;
use crate::dns_seam::SystemDns;
use crate::record::LinkChange;
use crate::resolv_conf;

/// Where resolved reads global settings that last until the next start of the device.
pub(super) const DROP_IN: &str = "/run/systemd/resolved.conf.d/90-weft.conf";
/// How a link to the file of resolvers ends that leads to resolved itself.
pub(super) const STUB: &[u8] = b"/systemd/resolve/stub-resolv.conf";
/// Where resolved keeps settings of links over its own restart, in files named by the links' indices.
const KEPT: &str = "/run/systemd/resolve/netif";

const MANAGER: Object<'static> = Object {
    service: RESOLVED,
    path: "/org/freedesktop/resolve1",
    interface: "org.freedesktop.resolve1.Manager",
};
const SYSTEMD_MANAGER: Object<'static> = Object {
    service: SYSTEMD,
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
/// Tells that resolved has come or gone.
pub(super) const COMES_AND_GOES: &str =
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.resolve1'";
/// How long resolved may take to end.
const RESTART_WITHIN: Duration = Duration::from_secs(5);
const LINK: &str = "org.freedesktop.resolve1.Link";
const UNIT: &str = "systemd-resolved.service";
/// All names, where it is the name of a routing domain.
const ALL: &str = ".";

/// The index of the loopback interface, the same in every network namespace.
const LOOPBACK: i32 = 1;
const AF_INET: i32 = libc::AF_INET;
const AF_INET6: i32 = libc::AF_INET6;

/// A domain, and whether it is for routing alone.
type Domain = (String, bool);
/// The servers and domains of a link.
type LinkSettings = (Vec<IpAddr>, Vec<Domain>);

fn encode(address: IpAddr) -> (i32, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    }
}

fn decode(family: i32, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        AF_INET6 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// The search domains of a plan, in resolved's form: to be searched, then all names to be taken.
fn domains(search: &[String]) -> Vec<Domain> {
    search.iter().map(|domain| (domain.clone(), false)).chain([(ALL.to_owned(), true)]).collect()
}

/// Leads every name that no other link claims to the plan's servers, by the link of this index.
pub(super) fn set_link(bus: &mut Bus, index: u32, change: &LinkChange) -> Result<(), BusError> {
    let index = index.cast_signed();
    let servers: Vec<_> = change.servers.iter().copied().map(encode).collect();
    // What the gateway answers is judged by the gateway, and this hop does not leave the device.
    for member in ["SetLinkLLMNR", "SetLinkMulticastDNS", "SetLinkDNSOverTLS", "SetLinkDNSSEC"] {
        bus.call::<_, ()>(MANAGER, member, &(index, "no"))?;
    }
    bus.call::<_, ()>(MANAGER, "SetLinkDNS", &(index, servers))?;
    bus.call::<_, ()>(MANAGER, "SetLinkDomains", &(index, domains(&change.search)))?;
    bus.call::<_, ()>(MANAGER, "SetLinkDefaultRoute", &(index, true))?;
    flush(bus)
}

/// Takes back what [`set_link`] did.
pub(super) fn revert_link(bus: &mut Bus, index: u32) -> Result<(), BusError> {
    bus.call::<_, ()>(MANAGER, "RevertLink", &(index.cast_signed(),))?;
    flush(bus)
}

/// Takes back what [`set_link`] did while resolved does not run, so that it does not read it when it starts.
pub(super) fn forget_link(index: u32) {
    let _ = std::fs::remove_file(format!("{KEPT}/{index}"));
}

fn flush(bus: &mut Bus) -> Result<(), BusError> {
    bus.call(MANAGER, "FlushCaches", &())
}

fn link_path(bus: &mut Bus, index: i32) -> Result<OwnedObjectPath, BusError> {
    bus.call(MANAGER, "GetLink", &(index,)).map(|(path,)| path)
}

fn link_object(path: &OwnedObjectPath) -> Object<'_> {
    Object { service: RESOLVED, path: path.as_str(), interface: LINK }
}

/// What a link has.
pub(super) fn link(bus: &mut Bus, index: u32) -> Result<LinkSettings, BusError> {
    let path = link_path(bus, index.cast_signed())?;
    let link = link_object(&path);
    let servers: Vec<(i32, Vec<u8>)> = bus.property(link, "DNS")?;
    let servers = servers.iter().filter_map(|(family, bytes)| decode(*family, bytes)).collect();
    Ok((servers, bus.property(link, "Domains")?))
}

/// Whether a link has what [`set_link`] gave it.
pub(super) fn is_set(found: &LinkSettings, change: &LinkChange) -> bool {
    found.0 == change.servers && found.1 == domains(&change.search)
}

/// Whether servers and domains of this index hold for all links. resolved gives those on IPv4's loopback addresses the
/// index of the loopback interface.
fn is_global(index: i32) -> bool {
    index <= LOOPBACK
}

fn has_default_route(bus: &mut Bus, index: i32) -> Result<bool, BusError> {
    let path = link_path(bus, index)?;
    bus.property(link_object(&path), "DefaultRoute")
}

/// The resolvers and search domains of the links that take all names, but for the link of this index; and of all links
/// together where there is no such link.
pub(super) fn system(bus: &mut Bus, own: Option<u32>) -> Result<SystemDns, BusError> {
    let own = own.map(u32::cast_signed);
    let servers: Vec<(i32, i32, Vec<u8>)> = bus.property(MANAGER, "DNS")?;
    let search: Vec<(i32, String, bool)> = bus.property(MANAGER, "Domains")?;
    let mut defaults: Vec<i32> =
        servers.iter().map(|(index, ..)| *index).filter(|index| !is_global(*index)).collect();
    defaults.dedup();
    // A link that went meanwhile has none.
    defaults.retain(|index| Some(*index) != own && has_default_route(bus, *index).unwrap_or(false));
    let wanted = |index: i32| match defaults.is_empty() {
        true => is_global(index),
        false => defaults.contains(&index),
    };
    let mut system = SystemDns::default();
    for (index, family, bytes) in &servers {
        if let Some(address) = decode(*family, bytes)
            && wanted(*index)
            && !DNS_PROXY_ADDRESSES.contains(&address)
            && !system.servers.contains(&address)
        {
            system.servers.push(address);
        }
    }
    for (index, domain, routing_only) in search {
        if wanted(index) && !routing_only && !system.search.contains(&domain) {
            system.search.push(domain);
        }
    }
    Ok(system)
}

/// The domains that other links claim: names under them do not come to the link of this index.
pub(super) fn claimed_by_others(bus: &mut Bus, own: Option<u32>) -> Result<Vec<String>, BusError> {
    let own = own.map(u32::cast_signed);
    let domains: Vec<(i32, String, bool)> = bus.property(MANAGER, "Domains")?;
    let others = domains.into_iter().filter(|(index, ..)| !is_global(*index) && Some(*index) != own);
    Ok(others.map(|(_, domain, _)| domain).collect())
}

/// Whether all names are claimed besides by the link of this index, by another link or for all links: resolved asks
/// each of them then.
pub(super) fn is_all_claimed_by_others(bus: &mut Bus, own: u32) -> Result<bool, BusError> {
    let domains: Vec<(i32, String, bool)> = bus.property(MANAGER, "Domains")?;
    Ok(domains.iter().any(|(index, domain, _)| *index != own.cast_signed() && domain == ALL))
}

/// The servers that hold for all links.
pub(super) fn global_servers(bus: &mut Bus) -> Result<Vec<IpAddr>, BusError> {
    let servers: Vec<(i32, i32, Vec<u8>)> = bus.property(MANAGER, "DNS")?;
    let global = servers.iter().filter(|(index, ..)| is_global(*index));
    Ok(global.filter_map(|(_, family, bytes)| decode(*family, bytes)).collect())
}

/// The drop-in of a plan. An empty assignment forgets what other files say.
pub(super) fn drop_in(plan: &DnsPlan) -> String {
    let words = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(" ");
    let servers = words(&mut plan.servers.iter().map(ToString::to_string));
    let search = words(&mut plan.search.iter().map(ToString::to_string).chain([format!("~{ALL}")]));
    format!(
        "{}\n[Resolve]\nDNS=\nDNS={servers}\nDomains={search}\nLLMNR=no\nMulticastDNS=no\nDNSOverTLS=no\nDNSSEC=no\n",
        resolv_conf::HEADER
    )
}

/// Whether it runs.
pub(super) fn runs(bus: &mut Bus) -> Result<bool, BusError> {
    bus.has_owner(RESOLVED)
}

/// Has systemd restart resolved, since the versions that need a drop-in read it at no other time, and waits until it
/// has ended. False: systemd is not there to do it.
pub(super) fn restart(bus: &mut Bus) -> Result<bool, BusError> {
    let Some(former) = process(bus)? else {
        // It reads the drop-in when it starts; whoever starts it decides when.
        return ask_for_restart(bus);
    };
    // A connection for the signals alone: whatever comes there wakes, and nothing else is read from it.
    let mut signals = Bus::system()?;
    signals.subscribe(COMES_AND_GOES)?;
    if !ask_for_restart(bus)? {
        return Ok(false);
    }
    let until = Instant::now() + RESTART_WITHIN;
    while process(bus)? == Some(former) {
        let Some(left) = until.checked_duration_since(Instant::now()) else {
            return Err(
                io::Error::other("systemd-resolved goes on without the restart it was asked for").into()
            );
        };
        let left = Timespec::try_from(left).ok();
        let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], left.as_ref());
        if !signals.drain() {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
        }
    }
    Ok(true)
}

/// Has systemd start resolved once more where it is starting: it reads its settings before it can be seen on the bus, so
/// that it may have read what is gone by now. One that is stopped stays so (systemctl(1), "try-restart").
pub(super) fn restart_if_starting(bus: &mut Bus) {
    if let Err(error) = ask_systemd(bus, "TryRestartUnit") {
        tracing::warn!("systemd-resolved may have started with Weft's settings: {error}");
    }
}

fn ask_for_restart(bus: &mut Bus) -> Result<bool, BusError> {
    ask_systemd(bus, "RestartUnit")
}

fn ask_systemd(bus: &mut Bus, member: &'static str) -> Result<bool, BusError> {
    match bus.call::<_, (OwnedObjectPath,)>(SYSTEMD_MANAGER, member, &(UNIT, "replace")) {
        Ok(_job) => Ok(true),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Its process; none where it does not run.
///
/// # Errors
/// Nobody says: it may run, or not.
fn process(bus: &mut Bus) -> Result<Option<u32>, BusError> {
    match bus.process_of(RESOLVED) {
        Ok(process) => Ok(Some(process)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn addresses_go_to_resolved_and_back() {
        for address in DNS_PROXY_ADDRESSES {
            let (family, bytes) = encode(address);
            assert_eq!(decode(family, &bytes), Some(address));
        }
        assert_eq!(decode(AF_INET, &[1, 2, 3]), None);
        assert_eq!(decode(99, &[1, 2, 3, 4]), None);
    }

    #[test]
    fn a_bus_that_goes_away_does_not_mean_that_resolved_has() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut bus = Bus::over(near);
        drop(far);
        assert!(process(&mut bus).is_err());
    }

    #[test]
    fn a_drop_in_takes_every_name_and_forgets_other_servers() {
        let plan = DnsPlan {
            servers: DNS_PROXY_ADDRESSES[..2].to_vec(),
            search: vec!["corp.example".parse().unwrap()],
        };
        let expected = "[Resolve]\nDNS=\nDNS=127.0.2.2 127.0.2.3\nDomains=corp.example ~.\nLLMNR=no\n\
                        MulticastDNS=no\nDNSOverTLS=no\nDNSSEC=no\n";
        assert_eq!(drop_in(&plan).split_once('\n').unwrap().1, expected);
        assert!(resolv_conf::is_ours(drop_in(&plan).as_bytes()));
    }
}
