//! The firewall's table `inet weft-gateway`: who may go where, and the address translation. Applied as one
//! transaction by the program nft, which reads the rules from its standard input.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::HostError;
use crate::addresses::{DEVICES_V4, DEVICES_V6, INNER_V4, INNER_V6};

/// What the rules depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallPlan {
    /// The tunnel interface.
    pub interface: String,
    /// The interfaces that devices' packets leave by.
    pub uplinks: Vec<String>,
    /// Whether devices may reach each other.
    pub device_to_device: bool,
    /// Whether devices may reach all services of this machine.
    pub host_access: bool,
    /// Whether devices may reach the private networks that this machine reaches.
    pub private_networks: bool,
    /// The interfaces between which nothing was forwarded before, the uplinks among them.
    pub guarded: Vec<String>,
    /// Whether IPv4 is to stay unforwarded between them.
    pub guard_v4: bool,
    /// The same for IPv6.
    pub guard_v6: bool,
}

/// Link-local addresses: no device's business, and where clouds answer a server for its credentials.
const LINK_LOCAL: [&str; 2] = ["ip daddr 169.254.0.0/16", "ip6 daddr fe80::/10"];
/// Private networks (RFC 1918, RFC 4193).
const PRIVATE: [&str; 2] = ["ip daddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 }", "ip6 daddr fc00::/7"];

/// The rules as nft reads them. They stand in the place of whatever the table held before.
#[must_use]
pub fn script(plan: &FirewallPlan) -> String {
    let tun = &plan.interface;
    let list =
        |names: &[String]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let (uplinks, guarded) = (list(&plan.uplinks), list(&plan.guarded));
    let among = if plan.device_to_device { "accept" } else { "reject with icmpx admin-prohibited" };
    let host = if plan.host_access { "accept" } else { "reject with icmpx admin-prohibited" };
    // An interface that comes later is its maker's: a bridge of containers or of virtual machines.
    let guard = |on: bool, family: &str| match on {
        true => format!("meta nfproto {family} iifname {{ {guarded} }} oifname {{ {guarded} }} drop"),
        false => String::new(),
    };
    let (guard_v4, guard_v6) = (guard(plan.guard_v4, "ipv4"), guard(plan.guard_v6, "ipv6"));
    let closed = LINK_LOCAL.iter().chain(PRIVATE.iter().filter(|_| !plan.private_networks));
    let closed = closed
        .map(|to| format!("iifname \"{tun}\" {to} reject with icmpx admin-prohibited"))
        .collect::<Vec<_>>()
        .join("\n        ");
    format!(
        r#"add table inet weft-gateway
delete table inet weft-gateway
table inet weft-gateway {{
    chain prerouting {{
        type filter hook prerouting priority raw; policy accept;
        iifname "{tun}" accept
        ip saddr {DEVICES_V4} drop
        ip6 saddr {DEVICES_V6} drop
        iifname "lo" accept
        ip daddr {INNER_V4} drop
        ip6 daddr {INNER_V6} drop
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{tun}" jump from_devices
    }}
    chain from_devices {{
        ct state established,related accept
        ip daddr {INNER_V4} jump inner
        ip6 daddr {INNER_V6} jump inner
        {host}
    }}
    chain inner {{
        meta l4proto {{ icmp, ipv6-icmp }} accept
        tcp dport {{ 53, 80, 443 }} accept
        udp dport 53 accept
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{tun}" oifname "{tun}" {among}
        {closed}
        iifname "{tun}" oifname {{ {uplinks} }} accept
        iifname "{tun}" reject with icmpx admin-prohibited
        oifname "{tun}" ct state established,related accept
        oifname "{tun}" drop
        {guard_v4}
        {guard_v6}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname {{ {uplinks} }} ip saddr {DEVICES_V4} masquerade
        oifname {{ {uplinks} }} ip6 saddr {DEVICES_V6} masquerade
    }}
}}
"#
    )
}

/// Checks that nft is there.
pub(super) async fn check() -> Result<(), HostError> {
    let status = Command::new("nft").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.await.map(drop).map_err(HostError::NoNft)
}

/// Puts the rules in place.
pub(super) async fn apply(plan: &FirewallPlan) -> Result<(), HostError> {
    feed(&script(plan)).await
}

/// Removes the table; harmless where there is none.
pub(super) async fn remove() -> Result<(), HostError> {
    feed("add table inet weft-gateway\ndelete table inet weft-gateway\n").await
}

async fn feed(script: &str) -> Result<(), HostError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(HostError::NoNft)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().next().unwrap_or("no reason given");
    Err(HostError::Nft(first.chars().take(200).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> FirewallPlan {
        FirewallPlan {
            interface: "weftgw0".to_owned(),
            uplinks: vec!["eth0".to_owned(), "wan.7".to_owned()],
            device_to_device: false,
            host_access: false,
            private_networks: false,
            guarded: vec!["eth0".to_owned(), "wan.7".to_owned(), "eth1".to_owned()],
            guard_v4: true,
            guard_v6: false,
        }
    }

    #[test]
    fn the_configuration_decides_who_may_reach_whom() {
        let line = |plan: &FirewallPlan, start: &str| {
            let script = script(plan);
            script.lines().find(|line| line.trim().starts_with(start)).unwrap_or_default().to_owned()
        };
        let among = "iifname \"weftgw0\" oifname \"weftgw0\"";
        assert!(line(&plan(), among).ends_with("reject with icmpx admin-prohibited"));
        assert!(line(&FirewallPlan { device_to_device: true, ..plan() }, among).ends_with("accept"));
        let host = |plan| script(&plan).split("jump inner\n").last().unwrap().trim_start().to_owned();
        assert!(host(plan()).starts_with("reject"));
        assert!(host(FirewallPlan { host_access: true, ..plan() }).starts_with("accept"));
        let guarded = "{ \"eth0\", \"wan.7\", \"eth1\" }";
        let guard = format!("iifname {guarded} oifname {guarded} drop");
        assert!(
            line(&plan(), "meta nfproto ipv4").ends_with(&guard)
                && line(&plan(), "meta nfproto ipv6").is_empty()
        );
        assert!(line(&plan(), "oifname { \"eth0\", \"wan.7\" } ip saddr").contains("100.96.0.0/12"));
    }

    #[test]
    fn closed_ranges_are_refused_before_the_uplinks_are_open() {
        for (private_networks, ranges) in [(false, 4), (true, 2)] {
            let script = script(&FirewallPlan { private_networks, ..plan() });
            let (before, _) = script.split_once("oifname { \"eth0\", \"wan.7\" } accept").unwrap();
            let refused = |to: &&&str| before.contains(&format!("iifname \"weftgw0\" {to} reject with"));
            assert_eq!(LINK_LOCAL.iter().chain(&PRIVATE).filter(refused).count(), ranges);
            assert_eq!(LINK_LOCAL.iter().filter(refused).count(), 2);
        }
    }

    #[test]
    fn the_table_is_replaced_in_one_transaction() {
        assert!(script(&plan()).starts_with("add table inet weft-gateway\ndelete table inet weft-gateway\n"));
    }
}
