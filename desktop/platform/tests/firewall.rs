//! The firewall in a lab: what the kernel holds of it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod common;

use anyhow::{Context, Result};
use common::{apply, clear, enforced, learnt, none};
use netlab::Host;
use serde_json::Value;
use weft_model::settings::SplitTunnelMode::{Exclude, Include};
use weft_model::{FirewallPlan, LearntPlan, Protocol};
use weft_platform::{Platform, PlatformError};

/// The objects of the table, as the nft program reads them.
fn objects(host: &Host) -> Result<Vec<Value>> {
    let output = host.run(["nft", "--json", "list", "table", "inet", "weft"])?;
    let listing: Value = serde_json::from_str(&output.stdout)?;
    Ok(listing.get("nftables").and_then(Value::as_array).context("a list")?.clone())
}

/// The elements of a set, a range or an address each.
fn elements(host: &Host, set: &str) -> Result<Vec<Value>> {
    let objects = objects(host)?;
    let set = objects.iter().filter_map(|object| object.get("set")).find(|found| found["name"] == set);
    Ok(set.context("no such set")?["elem"].as_array().cloned().unwrap_or_default())
}

/// Each rule in order: its chain, what it is for, and its verdict.
fn rules(host: &Host) -> Result<Vec<String>> {
    let text = |rule: &Value| {
        let last = rule["expr"].as_array().and_then(|parts| parts.last()).and_then(Value::as_object);
        let verdict = last.and_then(|part| part.keys().next()).cloned().unwrap_or_default();
        format!(
            "{} {verdict}: {}",
            rule["chain"].as_str().unwrap_or("?"),
            rule["comment"].as_str().unwrap_or("")
        )
    };
    Ok(objects(host)?.iter().filter_map(|object| object.get("rule")).map(text).collect())
}

fn tables(host: &Host) -> Result<String> {
    Ok(host.run(["nft", "list", "tables"])?.stdout)
}

const RULES: [&str; 41] = [
    "openings accept: tunnel",
    "openings accept: loopback",
    "openings accept: Weft's own",
    "openings accept: Weft's own",
    "openings accept: DHCP",
    "openings accept: DHCPv6",
    "openings accept: DHCPv6",
    "openings accept: NDP",
    "openings accept: learnt, excluded",
    "openings accept: learnt, excluded",
    "output jump: ",
    "output reject: tunnel or nothing",
    "output reject: tunnel or nothing",
    "output reject: tunnel or nothing",
    "output reject: tunnel or nothing",
    "forward accept: ",
    "forward accept: learnt, excluded",
    "forward accept: learnt, excluded",
    "forward reject: tunnel or nothing",
    "forward reject: tunnel or nothing",
    "forward reject: tunnel or nothing",
    "forward reject: tunnel or nothing",
    "postrouting jump: ",
    "postrouting drop: rerouted",
    "postrouting drop: rerouted",
    "input accept: tunnel",
    "input accept: loopback",
    "input drop: the tunnel's own address",
    "input drop: the tunnel's own address",
    "input accept: replies to Weft's own",
    "input accept: replies to Weft's own",
    "input accept: DHCP",
    "input accept: DHCPv6",
    "input accept: NDP",
    "input accept: ICMP unreachable, too big",
    "input accept: ICMP time exceeded, bad header",
    "input accept: ICMPv6 errors",
    "input accept: learnt, excluded",
    "input accept: learnt, excluded",
    "input drop: from a tunnelled address",
    "input drop: from a tunnelled address",
];

#[test]
fn the_table_is_exactly_the_plans_and_goes() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        let tunnelled = ["0.0.0.0/5", "8.0.0.0/7", "11.0.0.0/8", "64.0.0.0/2", "240.0.0.0/4", "2000::/3"];
        let openings = [(Protocol::Udp, "192.0.2.1:2408"), (Protocol::Tcp, "[2001:db8::1]:443")];
        let plan = enforced(&tunnelled, &openings);
        let addresses = ["172.16.0.2/32", "2606:4700:cf1:1000::1/128"];
        for _ in 0..2 {
            apply(&host, &plan, &addresses)?;
            assert_eq!(tables(&host)?, "table inet weft\n");
            assert_eq!(rules(&host)?, RULES);
            assert_eq!(
                Value::from(elements(&host, "tunnelled4")?).to_string(),
                r#"[{"range":["0.0.0.0","9.255.255.255"]},{"prefix":{"addr":"11.0.0.0","len":8}},"#
                    .to_owned()
                    + r#"{"prefix":{"addr":"64.0.0.0","len":2}},{"prefix":{"addr":"240.0.0.0","len":4}}]"#
            );
            let six = elements(&host, "tunnelled6")?;
            assert_eq!(Value::from(six).to_string(), r#"[{"prefix":{"addr":"2000::","len":3}}]"#);
            let four = elements(&host, "openings4")?;
            assert_eq!(Value::from(four).to_string(), r#"[{"concat":["udp","192.0.2.1",2408]}]"#);
            let six = elements(&host, "openings6")?;
            assert_eq!(Value::from(six).to_string(), r#"[{"concat":["tcp","2001:db8::1",443]}]"#);
            assert!(elements(&host, "learnt4")?.is_empty() && elements(&host, "learnt6")?.is_empty());
        }
        let hooks: Vec<String> = objects(&host)?
            .iter()
            .filter_map(|object| object.get("chain"))
            .map(|chain| format!("{} {} {}", chain["name"], chain["prio"], chain["policy"]).replace('"', ""))
            .collect();
        assert_eq!(
            hooks,
            [
                "openings null null",
                "output -10 accept",
                "forward -10 accept",
                "postrouting 300 accept",
                "input -10 accept"
            ]
        );
        clear(&host)?;
        assert_eq!(tables(&host)?, "");
        clear(&host)?;
        Ok(())
    });
}

#[test]
fn another_plan_takes_the_former_ones_place() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        host.run(["nft", "add", "table", "inet", "other"])?;
        host.inside(|| Platform::native()?.firewall.preflight())??;
        assert_eq!(tables(&host)?, "table inet other\n", "a preflight changes nothing");
        apply(
            &host,
            &enforced(&["0.0.0.0/0", "::/0"], &[(Protocol::Tcp, "192.0.2.1:443")]),
            &["172.16.0.2/32"],
        )?;
        // What somebody put into Weft's table goes with the next plan.
        host.run(["nft", "insert", "rule", "inet", "weft", "output", "accept"])?;
        apply(&host, &enforced(&["64.0.0.0/2"], &[]), &[])?;
        assert_eq!(elements(&host, "tunnelled4")?.len(), 1);
        assert_eq!(elements(&host, "tunnelled6")?.len() + elements(&host, "openings4")?.len(), 0);
        assert!(!rules(&host)?.iter().any(|rule| rule.contains("own address")));
        assert_eq!(rules(&host)?.len(), RULES.len() - 2);
        apply(&host, &FirewallPlan::Open, &[])?;
        assert_eq!(tables(&host)?, "table inet other\n");
        Ok(())
    });
}

#[test]
fn thousands_of_networks_go_in_at_once() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        let many: Vec<String> = (0..2000u32)
            .flat_map(|number| {
                [format!("20.{}.{}.0/26", number / 250, number % 250), format!("2001:db8:{number:x}:1::/64")]
            })
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        apply(&host, &enforced(&many, &[]), &[])?;
        assert_eq!(elements(&host, "tunnelled4")?.len(), 2000);
        assert_eq!(elements(&host, "tunnelled6")?.len(), 2000);
        let description = host.inside(|| Platform::native()?.firewall.describe())??;
        assert!(description.contains("set tunnelled6: 2000 elements"), "{description}");
        Ok(())
    });
}

/// The number that the kernel gave the table, another one for each that is made.
fn table_number(host: &Host) -> Result<Value> {
    let objects = objects(host)?;
    let table = objects.iter().find_map(|object| object.get("table")).context("no table")?;
    Ok(table["handle"].clone())
}

/// A firewall that lives on, as the daemon's does.
fn apply_with(host: &Host, platform: &mut Platform, plan: &FirewallPlan, learnt: &LearntPlan) -> Result<()> {
    Ok(host.inside(|| platform.firewall.apply(plan, learnt, &[]))??)
}

fn known(host: &Host) -> Result<Vec<Value>> {
    Ok([elements(host, "learnt4")?, elements(host, "learnt6")?].concat())
}

#[test]
fn learnt_addresses_alone_change_without_a_new_table() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        for mode in [Exclude, Include] {
            let mut platform = host.inside(Platform::native)??;
            let plan = enforced(&["64.0.0.0/2", "2000::/3"], &[]);
            let first = learnt(mode, &["198.51.100.7", "2001:db8::7"]);
            apply_with(&host, &mut platform, &plan, &first)?;
            assert_eq!(known(&host)?, ["198.51.100.7", "2001:db8::7"]);
            let (rules_before, number) = (rules(&host)?, table_number(&host)?);
            host.run(["nft", "add table inet dummy"])?;
            let many: Vec<String> = (0..1000u32)
                .flat_map(|number| {
                    [format!("20.0.{}.{}", number / 250, number % 250), format!("2001:db8:1::{number:x}")]
                })
                .collect();
            let many: Vec<&str> = many.iter().map(String::as_str).collect();
            // The other program's table makes the first of these a whole one.
            apply_with(&host, &mut platform, &plan, &learnt(mode, &many))?;
            assert_ne!(table_number(&host)?, number);
            assert_eq!((elements(&host, "learnt4")?.len(), elements(&host, "learnt6")?.len()), (1000, 1000));
            let number = table_number(&host)?;
            for _ in 0..3 {
                apply_with(&host, &mut platform, &plan, &learnt(mode, &many[1..]))?;
                assert_eq!(elements(&host, "learnt4")?.len(), 999);
                apply_with(&host, &mut platform, &plan, &learnt(mode, &many))?;
                assert_eq!(elements(&host, "learnt4")?.len(), 1000);
            }
            apply_with(&host, &mut platform, &plan, &learnt(mode, &[]))?;
            assert_eq!(known(&host)?, [""; 0]);
            apply_with(&host, &mut platform, &plan, &first)?;
            assert_eq!(known(&host)?, ["198.51.100.7", "2001:db8::7"]);
            assert_eq!((rules(&host)?, table_number(&host)?), (rules_before, number));

            // Together with another plan they go in at once.
            let other = enforced(&["128.0.0.0/2"], &[]);
            apply_with(&host, &mut platform, &other, &learnt(mode, &["198.51.100.8"]))?;
            assert_eq!(known(&host)?, ["198.51.100.8"]);
            host.inside(|| platform.firewall.clear())??;
            host.run(["nft", "delete table inet dummy"])?;
        }
        Ok(())
    });
}

#[test]
fn whatever_another_program_does_the_next_change_puts_right() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        let mut platform = host.inside(Platform::native)??;
        let plan = enforced(&["64.0.0.0/2", "2000::/3"], &[]);
        apply_with(&host, &mut platform, &plan, &none())?;
        let whole = rules(&host)?;
        let deeds = [
            "insert rule inet weft output accept",
            "add element inet weft learnt4 { 192.0.2.1 }",
            "flush ruleset",
            "flush chain inet weft input",
            "delete table inet weft",
        ];
        for (number, deed) in deeds.iter().enumerate() {
            host.run(["nft", deed])?;
            let address = format!("198.51.100.{number}");
            apply_with(&host, &mut platform, &plan, &learnt(Exclude, &[&address]))?;
            assert_eq!((rules(&host)?, known(&host)?), (whole.clone(), vec![address.into()]), "{deed}");
        }
        // What is another program's now stays so.
        host.run(["nft", "flush ruleset; add table inet weft"])?;
        let error = apply_with(&host, &mut platform, &plan, &none()).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(PlatformError::FirewallHeld { .. })), "{error}");
        Ok(())
    });
}

#[test]
fn a_table_of_another_program_is_named_and_left() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        host.run(["nft", "add table inet weft; add chain inet weft mine"])?;
        let error = apply(&host, &enforced(&["0.0.0.0/0"], &[]), &[]).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(PlatformError::FirewallHeld { .. })), "{error}");
        assert_eq!(
            error.to_string(),
            "the nftables table `inet weft` belongs to another program: rename it, or `nft delete table inet weft`"
        );
        let preflight = host.inside(|| Platform::native()?.firewall.preflight())?;
        assert!(matches!(preflight, Err(PlatformError::FirewallHeld { .. })));
        clear(&host)?;
        assert!(host.run(["nft", "list", "table", "inet", "weft"])?.stdout.contains("chain mine"));
        Ok(())
    });
}

#[test]
fn the_description_says_what_each_rule_is_for_and_what_it_stopped() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        let describe = || host.inside(|| Platform::native()?.firewall.describe());
        assert_eq!(describe()??, "no table inet weft\n");
        apply(&host, &enforced(&["64.0.0.0/2"], &[(Protocol::Udp, "192.0.2.1:2408")]), &[])?;
        let text = describe()??;
        for line in ["table inet weft", "  chain output", "    NDP", "  set openings4: 1 elements"] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in {text}");
        }
        assert!(text.contains("tunnel or nothing: stopped 0 packets"), "{text}");
        Ok(())
    });
}

#[test]
fn a_host_without_privilege_is_told_so() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        let error = host.inside(|| {
            let none = rustix::thread::CapabilitySets {
                effective: rustix::thread::CapabilitySet::empty(),
                permitted: rustix::thread::CapabilitySet::empty(),
                inheritable: rustix::thread::CapabilitySet::empty(),
            };
            rustix::thread::set_capabilities(None, none).map(|()| Platform::native().err())
        })??;
        assert!(matches!(error, Some(PlatformError::NotPrivileged)));
        Ok(())
    });
}
