//! `weft dns`: what people and programs are told of names, by a daemon that answers them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::net::{TcpListener, UdpSocket};

use anyhow::{Context, Result, ensure};
use netlab::topology::LAN;
use serde_json::{Value, json};
use weft_e2e::Setup;

const PROFILE: &str = r#"{
    "fallback_domains": [{"suffix": "corp", "dns_server": ["192.168.50.20"]}, {"suffix": "lan"}],
    "exclude": [{"address": "192.168.0.0/16"}, {"host": "*.corp"}],
    "dns_search_suffixes": ["branch.example"]
}"#;

fn json(setup: &Setup, words: &[&str]) -> Result<Value> {
    let words = [&["dns"], words, &["--json"]].concat();
    let said = setup.device.attempt(&words)?.stdout;
    ensure!(said.lines().count() == 1, "{words:?}: {said}");
    serde_json::from_str(&said).with_context(|| format!("{words:?}: {said}"))
}

/// What `weft dns query` says of a name, to people and to programs.
fn query(setup: &Setup, name: &str, code: i32) -> Result<(String, Value)> {
    let asked = setup.device.attempt(&["dns", "query", name])?;
    ensure!(asked.status.code() == Some(code), "{asked:?}");
    Ok((asked.stdout, json(setup, &["query", name])?))
}

#[test]
fn a_query_says_who_answered_by_which_rule_and_why_a_name_is_blocked() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, PROFILE)?;
        assert_eq!(LAN.to_string(), "192.168.50.20");
        let (text, _) = query(&setup, "intranet.corp", 0)?;
        for line in [
            "Answered by: Local Domain Fallback, suffix corp: 192.168.50.20",
            "Split-tunnel entry: *.corp",
            "Response code: NOERROR",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }
        // By now it is kept.
        let (text, value) = query(&setup, "intranet.corp", 0)?;
        assert!(text.contains("\nAnswered by: the cache\n"), "{text}");
        assert_eq!((&value["rcode"], &value["host_entry"]), (&json!("NOERROR"), &json!("*.corp")), "{value}");

        let (text, _) = query(&setup, "web.example", 0)?;
        assert!(text.contains("Answered by: the gateway, by DoH\n") && text.contains(" IN A "), "{text}");
        assert!(!text.contains("Split-tunnel entry"), "{text}");

        let blocked = setup.device.attempt(&["dns", "query", "blocked.example"])?;
        assert!(blocked.stdout.contains("\nExtended error: Blocked (15)"), "{blocked:?}");
        let value = json(&setup, &["query", "blocked.example"])?;
        assert_eq!(value["errors"][0]["code"], 15, "{value}");

        query(&setup, "no-such-name.example", 9)?;
        let stats = json(&setup, &["stats"])?;
        assert!(stats["queries"].as_u64() >= Some(7) && stats["fallback"].as_u64() >= Some(1), "{stats}");
        assert!(setup.device.weft(&["dns", "stats"])?.starts_with("Queries: "));
        Ok(())
    });
}

#[test]
fn rules_and_settings_are_shown_as_they_are_in_force() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, PROFILE)?;
        let shown = setup.device.weft(&["dns", "fallback", "list"])?;
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "Fallback domains (network policy):", "{shown}");
        assert_eq!(lines[1..3], ["    corp -> 192.168.50.20", "    lan"], "{shown}");
        assert_eq!(json(&setup, &["fallback", "list"])?["domains"][0]["suffix"], "corp");

        let status = json(&setup, &["status"])?;
        let settings = &status["settings"];
        assert_eq!((&status["state"], &settings["ours"]), (&json!("connected"), &json!(true)), "{status}");
        assert_eq!(settings["mode"], "file", "{status}");
        assert_eq!(settings["search"], json!(["branch.example"]), "{status}");
        assert_eq!(settings["port_holders"], json!([]), "{status}");
        let text = setup.device.weft(&["dns", "status"])?;
        assert!(text.contains("\nIn force there: Weft's settings\n"), "{text}");
        Ok(())
    });
}

#[test]
fn whoever_holds_the_port_is_named() {
    netlab::run(|lab| {
        let setup = Setup::new(lab, PROFILE)?;
        setup.device.register(&setup.gateway)?;
        let _udp = setup.device.host().inside(|| UdpSocket::bind("127.0.2.2:53"))??;
        let _tcp = setup.device.host().inside(|| TcpListener::bind("127.0.2.2:53"))??;
        let held = json(&setup, &["status"])?["settings"]["port_holders"].clone();
        let own = json!(std::process::id());
        let is_own = |holder: &Value| holder["process"][1] == own;
        assert!(held.as_array().is_some_and(|held| held.iter().any(is_own)), "{held}");
        let text = setup.device.weft(&["dns", "status"])?;
        assert!(text.contains("\nPort in use: UDP 127.0.2.2:53 is held by cli_dns"), "{text}");

        let before = setup.device.traces()?.resolv_conf;
        let refused = setup.device.attempt(&["connect", "--wait", "10"])?;
        assert_eq!(refused.status.code(), Some(6), "{refused:?}");
        assert!(refused.stderr.contains("127.0.2.2:53"), "{refused:?}");
        assert_eq!(setup.device.traces()?.resolv_conf, before, "names would go nowhere");
        Ok(())
    });
}
