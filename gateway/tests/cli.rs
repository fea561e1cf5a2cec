//! The commands that need no server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use weft_gateway::config::Config;
use weft_gateway::store::{NewDevice, Store, TokenHash};
use weft_model::{PrivateKey, PublicKey};

struct Gateway {
    home: TempDir,
}

impl Gateway {
    fn empty() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn new() -> Self {
        let gateway = Self::empty();
        gateway.done(&["init", "--public-address", "203.0.113.10,2001:db8::10", "--name", "gw.example"]);
        gateway
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("state").join(name)
    }

    fn run(&self, words: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weft-gateway"))
            .args(words)
            .arg("--dir")
            .arg(self.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may have ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let output = self.run(words, "");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Checks that a command fails with this exit code and one line that names what is wrong.
    #[track_caller]
    fn fails(&self, words: &[&str], input: &str, code: i32, named: &str) {
        let output = self.run(words, input);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        assert!(text.contains(named), "{words:?}: {text}");
        assert!(code == 2 || text.lines().count() == 1, "{words:?}: {text}");
    }
}

#[test]
fn init_makes_everything_for_its_owner_alone_and_never_twice() {
    let gateway = Gateway::empty();
    for words in [vec!["token", "create"], vec!["device", "list"], vec!["profile", "show"], vec!["status"]] {
        gateway.fails(&words, "", 1, "init");
    }
    let said = gateway.done(&["init", "--public-address", "203.0.113.10", "--api-port", "8443"]);
    let fingerprint = gateway.done(&["certificate", "fingerprint"]);
    assert!(said.contains(fingerprint.trim()) && said.contains("token create"), "{said}");
    assert_eq!(fs::metadata(gateway.path("")).unwrap().permissions().mode() & 0o777, 0o700);
    for file in fs::read_dir(gateway.path("")).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
    let config = Config::parse(&fs::read_to_string(gateway.path("config.toml")).unwrap()).unwrap();
    assert_eq!((config.name.as_str(), config.api.port), ("203.0.113.10", 8443));

    let key = fs::read(gateway.path("wireguard.key")).unwrap();
    gateway.fails(&["init", "--public-address", "203.0.113.10"], "", 1, "never overwrites");
    assert_eq!(fs::read(gateway.path("wireguard.key")).unwrap(), key);
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_happens() {
    let gateway = Gateway::empty();
    gateway.fails(&["init"], "", 2, "--public-address");
    gateway.fails(&["init", "--public-address", "here"], "", 2, "here");
    gateway.fails(&["init", "--public-address", "203.0.113.10", "--name", "a b"], "", 1, "a b");
    gateway.fails(&["init", "--public-address", "0.0.0.0"], "", 1, "public_addresses");
    gateway.fails(&["init", "--public-address", "203.0.113.10", "--uplink", "a\"b"], "", 1, "interface");
    assert!(!gateway.path("config.toml").exists());
    let gateway = Gateway::new();
    gateway.fails(&["token", "create", "--uses", "0"], "", 2, "--uses");
    gateway.fails(&["token", "create", "--expires", "soon"], "", 2, "--expires");
    gateway.fails(&["device", "add", "--name", "x", "--key", "AAAA"], "", 2, "44 characters");
}

#[test]
fn a_phone_gets_a_link_and_its_code() {
    let gateway = Gateway::new();
    let output = gateway.run(&["token", "create", "--phone", "--uses", "2"], "");
    assert!(output.status.success());
    let link = String::from_utf8(output.stdout).unwrap();
    let fingerprint = gateway.done(&["certificate", "fingerprint"]).trim().replace(':', "");
    let token = link
        .trim_end()
        .strip_prefix("weft://enrol?url=https%3A%2F%2Fgw.example&token=")
        .and_then(|rest| rest.strip_suffix(&format!("&ca={fingerprint}")))
        .unwrap_or_else(|| panic!("{link}"));
    let shown = String::from_utf8(output.stderr).unwrap();
    let code: Vec<_> = shown.lines().filter(|line| line.contains('█')).collect();
    assert!(
        code.len() > 20 && code.iter().all(|line| line.chars().count() == code[0].chars().count()),
        "{shown}"
    );
    assert!(shown.contains("scan this code") && !shown.contains(token), "{shown}");

    let mut store = Store::open(&gateway.path("gateway.db")).unwrap();
    let now = weft_gateway::registry::now();
    let key = PublicKey::from([1; 32]);
    let new = NewDevice { name: "n", os: "android", version: "1", key, token: None };
    store.register(&TokenHash::of(token), &new, now).unwrap();
}

#[test]
fn a_token_is_the_only_line_of_output_and_works() {
    let gateway = Gateway::new();
    let token = gateway.done(&["token", "create", "--uses", "2", "--expires", "1h"]);
    let token = token.strip_suffix('\n').unwrap();
    assert!(token.starts_with("weft-e-") && !token.contains('\n'), "{token}");
    let output = gateway.run(&["token", "create"], "");
    let hint = String::from_utf8(output.stderr).unwrap();
    assert!(hint.contains("https://gw.example ") && hint.contains("--ca-fingerprint"), "{hint}");
    // A token among the arguments would show in the process list.
    assert!(hint.contains(" --token-file - ") && hint.contains("paste the token"), "{hint}");
    assert!(!hint.contains("--token "), "{hint}");

    let mut store = Store::open(&gateway.path("gateway.db")).unwrap();
    let now = weft_gateway::registry::now();
    let mut register = |key: u8| {
        let key = PublicKey::from([key; 32]);
        let new = NewDevice { name: "n", os: "linux", version: "1", key, token: None };
        store.register(&TokenHash::of(token), &new, now)
    };
    assert!(register(1).is_ok() && register(2).is_ok() && register(3).is_err());
    gateway.fails(&["token", "create", "--profile", "Nobody"], "", 3, "Nobody");
}

#[test]
fn devices_are_added_listed_revoked_and_deleted() {
    let gateway = Gateway::new();
    let file = gateway.done(&["device", "add", "--name", "router"]);
    let private = file.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap();
    let private: PrivateKey = private.parse().unwrap();
    let key = STANDARD.encode([7; 32]);
    let file = gateway.done(&["device", "add", "--name", "phone", "--key", &key]);
    assert!(!file.contains("\nPrivateKey") && file.contains("Address = 100.96.0.2/32"), "{file}");
    gateway.fails(&["device", "add", "--name", "phone", "--key", &key], "", 1, "another device has this key");
    gateway.fails(&["device", "add", "--name", "a\u{7}"], "", 1, "--name");

    let list: serde_json::Value = serde_json::from_str(&gateway.done(&["device", "list", "--json"])).unwrap();
    assert_eq!(list[0]["key"].as_str().unwrap(), private.public().to_string());
    assert_eq!(list[1]["addresses"][0], "100.96.0.2");
    let id = list[0]["id"].as_str().unwrap();
    gateway.done(&["device", "revoke", &id[..8]]);
    let table = gateway.done(&["device", "list"]);
    assert!(table.lines().nth(1).unwrap().ends_with("revoked"), "{table}");
    gateway.done(&["device", "delete", id]);
    gateway.fails(&["device", "delete", id], "", 3, id);
    gateway.fails(&["device", "revoke", "nobody"], "", 3, "nobody");
}

#[test]
fn a_profile_is_set_whole_or_not_at_all() {
    let gateway = Gateway::new();
    let before = gateway.done(&["profile", "show", "--json"]);
    for (text, named) in [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        (r#"{"exclude":[],"include":[]}"#, "not both"),
        (r#"{"auto_connect":5000}"#, "auto_connect"),
    ] {
        gateway.fails(&["profile", "set", "-"], text, 1, named);
    }
    gateway.fails(&["profile", "set", "/nonexistent.json"], "", 1, "/nonexistent.json");
    assert_eq!(gateway.done(&["profile", "show", "--json"]), before);

    let text = before.replace("\"switch_locked\": false", "\"switch_locked\": true");
    assert!(gateway.run(&["profile", "set", "-"], &text).status.success());
    assert_eq!(gateway.done(&["profile", "show", "--json"]), text);
    assert!(gateway.run(&["profile", "set", "-"], r#"{"name":"Office"}"#).status.success());
    assert_eq!(gateway.done(&["profile", "list"]).lines().count(), 3);
    assert!(gateway.done(&["profile", "show", "Office"]).starts_with("Office\n"));
    gateway.fails(&["profile", "show", "Nobody"], "", 3, "Nobody");
}

#[test]
fn a_profile_has_no_larger_mtu_than_the_tunnel() {
    let gateway = Gateway::new();
    let before = gateway.done(&["profile", "show", "--json"]);
    gateway.fails(&["profile", "set", "-"], r#"{"mtu":1400}"#, 1, "mtu: 1400");
    gateway.fails(&["profile", "set", "-"], r#"{"mtu":1400}"#, 1, "tunnel.mtu in config.toml, 1280");
    assert_eq!(gateway.done(&["profile", "show", "--json"]), before);
    assert!(gateway.run(&["profile", "set", "-"], r#"{"mtu":1280}"#).status.success());

    let config = fs::read_to_string(gateway.path("config.toml")).unwrap();
    fs::write(gateway.path("config.toml"), config.replace("#mtu = 1280", "mtu = 1400")).unwrap();
    assert!(gateway.run(&["profile", "set", "-"], r#"{"mtu":1400}"#).status.success());
    assert!(gateway.done(&["profile", "show", "--json"]).contains("\"mtu\": 1400"));
}

#[test]
fn a_renewed_certificate_has_the_same_authority() {
    let gateway = Gateway::new();
    let read = || (fs::read(gateway.path("ca.pem")).unwrap(), fs::read(gateway.path("server.pem")).unwrap());
    let (authority, server) = read();
    gateway.done(&["certificate", "renew"]);
    assert_eq!(read().0, authority);
    assert_ne!(read().1, server);
    assert_eq!(fs::metadata(gateway.path("server.key")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_exit_code_says_that_no_server_runs() {
    Gateway::new().fails(&["status"], "", 4, "not running");
}

#[test]
fn help_teaches_the_first_steps_and_the_exit_codes() {
    let help = Gateway::empty().done(&["--help"]);
    for words in ["token create", "Exit codes", "init --public-address"] {
        assert!(help.contains(words), "{words}");
    }
}
