//! Profiles that the gateway refuses.

use anyhow::Result;
use weft_e2e::{GatewayServer, Setup, weft_gateway};

use crate::{Standing, assert_carries, assert_refused, shown};

const DIR: &str = "/var/lib/weft-gateway";

/// Malformed profiles, and what their refusal names.
fn malformed() -> Vec<(Vec<u8>, &'static str)> {
    let texts = [
        ("", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{", "EOF"),
        ("{} {}", "trailing"),
        (r#"{"exclude": [], "include": []}"#, "not both"),
        (r#"{"exclude": [{"description": "?"}]}"#, "entry 1"),
        (r#"{"exclude": [{"address": "10.0.0.0/33"}]}"#, "10.0.0.0/33"),
        (r#"{"exclude": [{"address": "10.0.0.0/8\n10.0.0.0/8"}]}"#, "CIDR"),
        (r#"{"include": [{"host": "a..b"}]}"#, "a..b"),
        (r#"{"include": "203.0.113.0/24"}"#, "sequence"),
        (r#"{"fallback_domains": [{"suffix": "corp", "dns_server": ["ns.corp"]}]}"#, "IP address"),
        (r#"{"auto_connect": 1441}"#, "auto_connect"),
        (r#"{"auto_connect": -1}"#, "-1"),
        (r#"{"captive_portal": 1e9}"#, "1000000000"),
        (r#"{"mtu": 100}"#, "mtu"),
        (r#"{"lan_allow_subnet_size": 8}"#, "lan_allow_subnet_size"),
        (r#"{"support_url": "javascript:alert(1)"}"#, "support_url"),
        (r#"{"service_mode_v2": {"mode": "magic"}}"#, "magic"),
        (r#"{"service_mode_v2": {"mode": "two\nlines"}}"#, "lines"),
        (r#"{"switch_locked": "yes"}"#, "boolean"),
        (r#"{"name": "a", "name": "b"}"#, "duplicate"),
    ];
    let mut cases: Vec<_> =
        texts.into_iter().map(|(text, named)| (text.as_bytes().to_vec(), named)).collect();
    let entries = vec![r#"{"address": "203.0.113.0/24"}"#; 1001].join(",");
    cases.push((format!(r#"{{"include": [{entries}]}}"#).into_bytes(), "1001"));
    let suffixes = (0..26).map(|number| format!(r#""s{number}.example""#)).collect::<Vec<_>>().join(",");
    cases.push((format!(r#"{{"dns_search_suffixes": [{suffixes}]}}"#).into_bytes(), "26"));
    cases.push((b"{\"name\": \"\xff\"}".to_vec(), "UTF-8"));
    cases.push((format!(r#"{{"of_next_year": {}"#, "[".repeat(100_000)).into_bytes(), "EOF"));
    // A profile that is whole before the limit of 1 MiB, and goes on behind it.
    cases.push((format!("{{}}{}x", " ".repeat(1 << 20)).into_bytes(), "larger than"));
    cases
}

fn set(gateway: &GatewayServer, path: &str) -> Result<netlab::Output> {
    gateway.host().attempt([
        weft_gateway()?.as_os_str(),
        "profile".as_ref(),
        "set".as_ref(),
        path.as_ref(),
        "--dir".as_ref(),
        DIR.as_ref(),
    ])
}

#[test]
fn a_malformed_profile_is_refused_and_the_former_one_stays() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, r#"{"description": "the former"}"#)?;
        let profiles = || -> Result<String> {
            let gateway = &setup.gateway;
            Ok(gateway.command(&["profile", "list"])?.stdout
                + &gateway.command(&["profile", "show", "--json"])?.stdout)
        };
        let (former, standing) = (profiles()?, Standing::of(&setup.device)?);
        assert!(former.contains("the former"), "{former}");
        for (text, named) in malformed() {
            println!("{}", shown(&text));
            setup.gateway.host().write_file("/run/bad.json", &text)?;
            assert_refused(&set(&setup.gateway, "/run/bad.json")?, 1, named);
        }
        assert_refused(&set(&setup.gateway, "/run/none.json")?, 1, "/run/none.json");
        assert_refused(&set(&setup.gateway, "/run")?, 1, "directory");
        assert_eq!(profiles()?, former);
        assert_eq!(Standing::of(&setup.device)?, standing);
        assert_carries(&setup)
    });
}
