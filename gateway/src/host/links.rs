//! Interfaces: the tunnel's, and those that lead out.

use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::netlink::Link;
use super::{HostError, sys};
use crate::addresses::{DEVICES_V4, DEVICES_V6, INNER_V4, INNER_V6};
use crate::config::check_interface;

/// Makes the tunnel interface. It goes when the descriptor does.
pub(super) fn make_tun(name: &str) -> Result<OwnedFd, HostError> {
    sys::make_tun(name)
}

/// Whether there is an interface of this name.
pub(super) fn exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
        || Path::new("/proc/sys/net/ipv4/conf").join(name).exists()
}

/// The uplinks and every other interface of this machine but the tunnel's, loopback and bridges: guests of this
/// machine are behind these, which are forwarded to as soon as somebody wants it.
pub(super) fn guarded(uplinks: &[String], tunnel: &str) -> Vec<String> {
    let listed = fs::read_dir("/proc/sys/net/ipv4/conf").into_iter().flatten().flatten();
    let mut names: Vec<String> = listed.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| {
        let bridge = Path::new("/sys/class/net").join(name).join("bridge").exists();
        let ours = uplinks.contains(name) || ["all", "default", "lo", tunnel].contains(&name.as_str());
        // Whatever a name may hold besides, nft is not to read it.
        !ours && !bridge && check_interface("interface", name).is_ok()
    });
    uplinks.iter().cloned().chain(names).collect()
}

/// The interfaces of the default routes, of both families.
///
/// # Errors
/// [`HostError::NoDefaultRoute`].
pub fn default_uplinks() -> Result<Vec<String>, HostError> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let found = default_of(&read("/proc/net/route"), &read("/proc/net/ipv6_route"));
    if found.is_empty() { Err(HostError::NoDefaultRoute) } else { Ok(found) }
}

/// Gives the tunnel interface its MTU, the inner addresses and the devices' routes, and brings it up.
pub(super) fn configure(name: &str, mtu: u16) -> Result<(), HostError> {
    let failed = |what| move |error| HostError::Link { what, error };
    let mut link = Link::open(index_of(name)?)?;
    let v6 = Path::new("/proc/sys/net/ipv6/conf").join(name).exists();
    if v6 {
        link.without_link_local()
            .map_err(failed("keeping the tunnel interface without a link-local address"))?;
    }
    link.up(mtu).map_err(failed("bringing the tunnel interface up"))?;
    let families = [(IpAddr::V4(INNER_V4), DEVICES_V4.into()), (INNER_V6.into(), DEVICES_V6.into())];
    for (inner, devices) in families.into_iter().filter(|(inner, _)| v6 || inner.is_ipv4()) {
        link.add_address(inner).map_err(failed("giving the tunnel interface its address"))?;
        link.add_route(devices).map_err(failed("routing the devices' addresses"))?;
    }
    Ok(())
}

fn index_of(name: &str) -> Result<u32, HostError> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
        .map_err(std::io::Error::from)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name).map_err(std::io::Error::from)?)
}

/// The interfaces of default routes in /proc/net/route and /proc/net/ipv6_route.
fn default_of(v4: &str, v6: &str) -> Vec<String> {
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        (words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000"))
            .then(|| words.first().copied())?
    });
    let v6 = v6.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let default =
            words.get(1) == Some(&"00") && words.first().is_some_and(|to| to.bytes().all(|c| c == b'0'));
        // The kernel lists its "unreachable" entries too, on lo.
        default.then(|| words.get(9).copied())?.filter(|name| *name != "lo")
    });
    let mut found: Vec<String> = Vec::new();
    for name in v4.chain(v6) {
        if !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_name_the_uplinks() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                  tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n\
                  eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        let zeroes = "0".repeat(32);
        let v6 = format!(
            "{zeroes} 00 {zeroes} 00 fe800000000000000000000000000001 00000400 1 0 00000003 wwan0\n\
             20010db8000000000000000000000000 40 {zeroes} 00 {zeroes} 00000100 1 0 00000001 eth1\n\
             {zeroes} 00 {zeroes} 00 {zeroes} ffffffff 1 0 00200200 lo\n"
        );
        assert_eq!(default_of(v4, &v6), ["eth0", "wwan0"]);
        assert!(default_of("", "").is_empty());
    }
}
