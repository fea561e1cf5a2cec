//! The command line as its users see it: requests, outputs, exit codes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use daemon::{Daemon, Ran};
use serde_json::{Value, json};
use weft_ipc::{DiagnosticSection, Diagnostics, Failure, LogLine, RegistrationSummary, Request, Response};
use weft_model::{
    DropReason, Profile, Reason, RegistrationSource, Secret, ServiceMode, Settings, State, Stats, Status,
    UserError,
};

fn status(state: State, reason: Reason) -> Status {
    let service_mode = ServiceMode::TrafficAndDns;
    let (warnings, timers) = (Vec::new(), Vec::new());
    Status { state, reason, service_mode, endpoint: None, plan: 1, warnings, timers }
}

fn status_answer(state: State, reason: Reason) -> Response {
    Response::Status(Box::new(status(state, reason)))
}

fn refusal(error: UserError) -> Vec<Response> {
    vec![Response::Failure(error.into())]
}

fn settings() -> Settings {
    let setting = |value: Value| json!({ "value": value, "origin": "default" });
    let profile = Profile::default();
    serde_json::from_value(json!({
        "profile_name": profile.name,
        "service_mode": { "value": "warp", "origin": "network_policy" },
        "allow_mode_switch": setting(json!(false)),
        "switch_locked": setting(json!(true)),
        "allowed_to_leave": setting(json!(true)),
        "auto_connect": setting(json!(15)),
        "captive_portal": setting(json!(180)),
        "tunnel_protocol": setting(json!("wireguard")),
        "disable_auto_fallback": setting(json!(false)),
        "split_tunnel": setting(json!({ "mode": "exclude", "networks": ["10.0.0.0/8"], "hosts": ["*.corp.example"] })),
        "fallback_domains": setting(json!([{ "suffix": "corp", "dns_server": ["10.0.0.53"] }, { "suffix": "lan" }])),
        "dns_search_suffixes": setting(json!([])),
        "dns_serve_stale_seconds": { "value": 86400, "origin": "network_policy" },
        "dns_prefer_positive": setting(json!(false)),
        "mtu": { "value": 1280, "origin": "user_set" },
        "support_url": setting(Value::Null),
        "apps": setting(json!("all")),
    }))
    .unwrap()
}

fn registration() -> RegistrationSummary {
    serde_json::from_value(json!({
        "id": "d-1",
        "source": RegistrationSource::Orchestrated,
        "public_key": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        "addresses": ["172.16.0.2/32"],
        "gateways": [{
            "api": "gateway.example",
            "endpoints": ["203.0.113.10:2408"],
            "public_key": "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
            "dns": { "kind": "doh", "url": "https://dns.example/dns-query" },
        }],
        "profile": "Office",
    }))
    .unwrap()
}

#[test]
fn status_is_told_in_warps_manner() {
    let daemon = Daemon::start(|_| vec![status_answer(State::Connected, Reason::Healthy)]);
    let ran = daemon.weft(&["status"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Status update: Connected\nNetwork: healthy\n"));
    let ran = daemon.weft(&["status", "--json"]);
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&value["state"], &value["service_mode"]), (&json!("connected"), &json!("warp")));
    assert_eq!(ran.out.lines().count(), 1);

    let error = UserError::EndpointUnreachable;
    let daemon = Daemon::start(move |_| {
        let reason = Reason::Error { error: error.clone() };
        let warnings = vec!["the clock is wrong".to_owned()];
        vec![Response::Status(Box::new(Status { warnings, ..status(State::Unable, reason) }))]
    });
    let ran = daemon.weft(&["status"]);
    let expected = "Status update: Unable to connect\nReason: no tunnel endpoint answers: is UDP to the gateway \
                    blocked?\nWarning: the clock is wrong\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, expected));
}

#[test]
fn a_listener_gets_each_change_until_the_daemon_ends() {
    let daemon = Daemon::start(|request| {
        assert_eq!(*request, Request::Subscribe);
        vec![
            status_answer(State::Connecting, Reason::SettingsChanged),
            status_answer(State::Connected, Reason::Healthy),
        ]
    });
    let mut child = daemon.command(&["--json", "status", "--listen"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(2);
    let states: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!((&states[0]["state"], &states[1]["state"]), (&json!("connecting"), &json!("connected")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn connect_waits_for_what_it_was_told_to_wait_for() {
    let daemon = Daemon::start(|request| match request {
        Request::Connect => vec![Response::Done],
        _ => vec![
            status_answer(State::Disconnected, Reason::Manual),
            status_answer(State::Connecting, Reason::SettingsChanged),
            status_answer(State::Connected, Reason::Healthy),
        ],
    });
    let ran = daemon.weft(&["connect"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Success\n"));
    assert_eq!(daemon.requests(), [Request::Connect]);
    let ran = daemon.weft(&["connect", "--wait"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Status update: Connected\nNetwork: healthy\n"));

    let daemon = Daemon::start(|request| match request {
        Request::Connect => vec![Response::Done],
        _ => vec![status_answer(State::Connecting, Reason::TunnelSilent)],
    });
    let ran = daemon.weft(&["connect", "--wait", "0"]);
    assert_eq!(ran.code, 6);
    assert_eq!(ran.err, "weft: not connected within 0 s: Connecting, The gateway does not answer\n");

    let daemon = Daemon::start(|request| match request {
        Request::Connect => vec![Response::Done],
        _ => vec![status_answer(State::Unable, Reason::Error { error: UserError::RegistrationRevoked })],
    });
    let ran = daemon.weft(&["connect", "--wait=600"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("the gateway has revoked this device"), "{ran:?}");
}

#[test]
fn disconnect_ends_when_the_network_is_as_before() {
    let daemon = Daemon::start(|request| match request {
        Request::Disconnect => vec![Response::Done],
        _ => vec![
            status_answer(State::Disconnecting, Reason::Manual),
            status_answer(State::Disconnected, Reason::Manual),
        ],
    });
    let ran = daemon.weft(&["disconnect"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Success\n"));
    assert_eq!(daemon.requests(), [Request::Disconnect, Request::Subscribe]);
}

#[test]
fn every_kind_of_failure_has_its_exit_code() {
    let forbidden = UserError::Forbidden { detail: "the switch is locked".into() };
    let cases = [
        (Failure::User { error: UserError::RegistrationMissing }, 5, "weft registration new"),
        (Failure::User { error: UserError::RegistrationRevoked }, 5, "revoked"),
        (Failure::User { error: forbidden }, 7, "the switch is locked"),
        (Failure::User { error: UserError::NoNetwork }, 1, "no network"),
        (Failure::Denied { group: "weft".into() }, 4, "group weft"),
        (Failure::Version { version: "9".into() }, 8, "version 9"),
        (Failure::Busy { detail: "too many".into() }, 1, "too many"),
        (Failure::ShuttingDown, 1, "going down"),
        (Failure::Registered, 1, "registered already"),
        (Failure::File { detail: "line 3: PostUp".into() }, 1, "line 3"),
        (Failure::Malformed { detail: "x".into() }, 1, "could not read"),
    ];
    for (failure, code, named) in cases {
        let answer = failure.clone();
        let daemon = Daemon::start(move |_| vec![Response::Failure(answer.clone())]);
        let ran = daemon.weft(&["connect"]);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{failure:?}: {ran:?}");
        assert!(ran.err.contains(named) && ran.err.lines().count() == 1, "{failure:?}: {ran:?}");
        let ran = daemon.weft(&["connect", "--json"]);
        let value: Value = serde_json::from_str(&ran.err).unwrap();
        assert_eq!((ran.code, &value["exit_code"]), (code, &json!(code)), "{failure:?}");
    }
    let help: Ran = Command::new(env!("CARGO_BIN_EXE_weft")).arg("--help").output().unwrap().into();
    for code in 0..=10 {
        assert!(help.out.contains(&format!("\n  {code:<2} ")), "{code}: {}", help.out);
    }
}

#[test]
fn a_daemon_that_is_not_there_is_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    let ran: Ran = command.args(["--socket", "/nonexistent/sock", "status"]).output().unwrap().into();
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("not running") && ran.err.contains("/nonexistent/sock"), "{ran:?}");
}

#[test]
fn a_wrong_command_line_never_reaches_the_daemon() {
    let daemon = Daemon::start(|_| vec![Response::Done]);
    let empty = daemon.file("empty", " \n");
    let cases: [&[&str]; 9] = [
        &[],
        &["fly"],
        &["mode", "magic"],
        &["connect", "--wait", "soon"],
        &["registration", "new", "https://gateway.example"],
        &["registration", "new", "https://gateway.example", "--token", "t", "--token-file", "f"],
        &["registration", "new", "https://gateway.example", "--token-file", empty.to_str().unwrap()],
        &["registration", "import", "-"],
        &["log", "-n", "-1"],
    ];
    for args in cases {
        let ran = daemon.weft(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
    }
    let ran = daemon.weft(&["registration", "import", "/nonexistent/wg.conf"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with("weft: /nonexistent/wg.conf: "), "{ran:?}");
    assert_eq!(daemon.requests(), []);
}

#[test]
fn a_token_comes_from_an_argument_a_file_or_the_standard_input() {
    let daemon = Daemon::start(|_| vec![Response::Done]);
    let expected = |token: &str, name: Option<&str>| Request::Register {
        url: "https://gateway.example".into(),
        token: Secret::from(token.to_owned()),
        ca_fingerprint: Some("ab:cd".into()),
        name: name.map(str::to_owned),
    };
    let file = daemon.file("token", "from-file\n");
    let new = ["registration", "new", "https://gateway.example", "--ca-fingerprint", "ab:cd"];
    assert_eq!(daemon.weft(&[&new[..], &["--token", "from-argument"]].concat()).out, "Success\n");
    assert_eq!(daemon.weft(&[&new[..], &["--token-file", file.to_str().unwrap()]].concat()).code, 0);
    let piped = [&new[..], &["--token-file", "-", "--name", "laptop"]].concat();
    let mut child = daemon.command(&piped).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from-input").unwrap();
    assert!(child.wait().unwrap().success());
    let tokens = [("from-argument", None), ("from-file", None), ("from-input", Some("laptop"))];
    assert_eq!(daemon.requests(), tokens.map(|(token, name)| expected(token, name)));
}

#[test]
fn a_wg_quick_file_is_read_by_the_user_and_named_after_itself() {
    let daemon = Daemon::start(|request| match request {
        Request::ImportRegistration { text, .. } if text.expose().contains("PostUp") => {
            refusal(UserError::Settings { detail: "PostUp is not supported".into() })
        }
        _ => vec![Response::Done],
    });
    daemon.file("office.conf", "[Interface]\n");
    daemon.file("bad.conf", "PostUp = reboot\n");
    assert_eq!(daemon.weft(&["registration", "import", "office.conf"]).code, 0);
    assert_eq!(daemon.weft(&["registration", "import", "office.conf", "--name", "home"]).code, 0);
    let imported = |name: &str| Request::ImportRegistration {
        name: name.into(),
        text: Secret::from("[Interface]\n".to_owned()),
    };
    assert_eq!(daemon.requests(), [imported("office"), imported("home")]);
    let ran = daemon.weft(&["registration", "import", "bad.conf"]);
    assert_eq!((ran.code, ran.err.contains("PostUp is not supported")), (1, true), "{ran:?}");
}

#[test]
fn registrations_are_shown_and_deleted() {
    let daemon = Daemon::start(|request| match request {
        Request::Registration => vec![Response::Registration(Box::new(registration()))],
        Request::DeleteRegistration => vec![Response::Noted(vec!["the gateway was not told".into()])],
        _ => refusal(UserError::NoNetwork),
    });
    let ran = daemon.weft(&["registration", "show"]);
    let expected = "Device: d-1\nSource: registered with a gateway\n\
        Public key: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\nAddresses:\n    172.16.0.2/32\nProfile: Office\n\
        Gateway:\n    API: gateway.example\n    Public key: AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n    \
        DNS: https://dns.example/dns-query\n    Endpoints:\n        203.0.113.10:2408\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, expected));
    let shown = daemon.weft(&["reg", "show", "-j"]);
    assert_eq!(serde_json::from_str::<RegistrationSummary>(&shown.out).unwrap(), registration());
    let deleted = daemon.weft(&["registration", "delete"]);
    assert_eq!((deleted.code, deleted.out.as_str()), (0, "Success\nNote: the gateway was not told\n"));
    let deleted: Value =
        serde_json::from_str(&daemon.weft(&["registration", "delete", "--json"]).out).unwrap();
    assert_eq!(deleted, json!({ "result": "success", "notes": ["the gateway was not told"] }));
}

#[test]
fn settings_name_who_decided_them() {
    let daemon = Daemon::start(|_| vec![Response::Settings(Box::new(settings()))]);
    let ran = daemon.weft(&["settings"]);
    for line in [
        "Profile: Default",
        "(network policy)  Mode: traffic-and-dns",
        "(default)         Switch locked: true",
        "(default)         Auto connect: after 15 min",
        "(default)         Captive portal: open for at most 180 s",
        "(user set)        MTU: 1280",
        "(default)         Split tunnel: Exclude mode, with hosts/IPs:",
        "    10.0.0.0/8",
        "    *.corp.example",
        "    corp -> 10.0.0.53",
        "    lan",
    ] {
        assert!(ran.out.lines().any(|shown| shown == line), "{line}\n{}", ran.out);
    }
    assert_eq!(daemon.weft(&["settings", "--refresh"]).code, 0);
    assert_eq!(daemon.requests(), [Request::Settings, Request::RefreshProfile]);
    let shown = daemon.weft(&["settings", "--json"]);
    assert_eq!(serde_json::from_str::<Settings>(&shown.out).unwrap(), settings());
}

#[test]
fn counters_are_shown() {
    let mut stats = Stats::default();
    stats.tunnel.protocol = "WireGuard".into();
    stats.tunnel.endpoint = Some("203.0.113.10:2408".parse().unwrap());
    stats.tunnel.last_handshake_ms = Some(61_500);
    stats.tunnel.handshake_rtt_us = Some(12_034);
    stats.tunnel.sent.bytes = 2048;
    stats.tunnel.drops = vec![(DropReason::BadSeal, 7)];
    stats.dns.queries = 42;
    let daemon = Daemon::start(move |_| vec![Response::Stats(Box::new(stats.clone()))]);
    let ran = daemon.weft(&["tunnel", "stats"]);
    let expected = "Tunnel protocol: WireGuard\nEndpoint: 203.0.113.10:2408\nTime since last handshake: 1m1s\n\
        Handshake round trip: 12.034 ms\nSent: 2.0 KiB in 0 packets\nReceived: 0 B in 0 packets\nDropped:\n    \
        bad seal: 7\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, expected));
    assert!(daemon.weft(&["dns", "stats"]).out.starts_with("Queries: 42\n"));
    let value: Value = serde_json::from_str(&daemon.weft(&["dns", "stats", "--json"]).out).unwrap();
    assert_eq!(value["queries"], json!(42));
}

#[test]
fn modes_are_named_as_in_the_settings() {
    let daemon = Daemon::start(|request| match request {
        Request::SetMode { mode: ServiceMode::DnsOnly } => vec![Response::Done],
        _ => refusal(UserError::Forbidden { detail: "the profile decides the mode".into() }),
    });
    assert_eq!(daemon.weft(&["mode", "dns-only"]).code, 0);
    assert_eq!(daemon.weft(&["mode", "traffic-only"]).code, 7);
}

#[test]
fn the_log_is_shown_line_by_line() {
    let line = |text: &str| LogLine {
        unix_ms: 951_868_799_999,
        level: "INFO".into(),
        target: "weftd".into(),
        text: text.into(),
    };
    let daemon = Daemon::start(move |request| match request {
        Request::Log { lines: 2, follow: false } => vec![Response::Log(vec![line("one"), line("two")])],
        Request::Log { lines: 100, follow: true } => {
            vec![Response::Log(vec![line("one")]), Response::Log(vec![line("two")])]
        }
        _ => refusal(UserError::NoNetwork),
    });
    let expected = "2000-02-29T23:59:59.999Z  INFO weftd: one\n2000-02-29T23:59:59.999Z  INFO weftd: two\n";
    assert_eq!(daemon.weft(&["log", "-n", "2"]).out, expected);
    let mut child = daemon.command(&["log", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(2);
    assert_eq!(lines.map(|line| line.unwrap() + "\n").collect::<String>(), expected);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_bundle_is_one_file_for_its_user_alone() {
    let diagnostics = Diagnostics {
        version: "0.1.0".into(),
        system: "Linux".into(),
        status: status(State::Connected, Reason::Healthy),
        settings: settings(),
        stats: Stats::default(),
        registration: Some(registration()),
        sections: vec![DiagnosticSection {
            source: "ip rule".into(),
            lines: vec!["0: from all lookup local".into()],
        }],
        log: Vec::new(),
    };
    let daemon = Daemon::start(move |_| vec![Response::Diagnostics(Box::new(diagnostics.clone()))]);
    let path = daemon.directory.path().join("report.json");
    let ran = daemon.weft(&["diag", "-o", path.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out), (0, format!("Written to {}\n", path.display())));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let bundle: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(bundle["system"]["ip rule"], json!(["0: from all lookup local"]));
    assert_eq!(bundle["versions"]["weftd"], json!("0.1.0"));
    assert_eq!(bundle["status"]["state"], json!("connected"));
    let printed: Value = serde_json::from_str(&daemon.weft(&["diag", "-o", "-"]).out).unwrap();
    assert_eq!(printed["settings"], bundle["settings"]);
    let named = daemon.weft(&["diag", "--json"]);
    let named: Value = serde_json::from_str(&named.out).unwrap();
    assert!(daemon.directory.path().join(PathBuf::from(named["file"].as_str().unwrap())).exists());
    assert_eq!(daemon.weft(&["diag", "-o", "/nonexistent/report.json"]).code, 1);
}

#[test]
fn completions_need_no_daemon() {
    for shell in ["bash", "zsh", "fish"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        let ran: Ran =
            command.args(["--socket", "/nonexistent/sock", "completions", shell]).output().unwrap().into();
        assert_eq!(ran.code, 0, "{shell}");
        assert!(ran.out.contains("registration") && ran.out.contains("ca-fingerprint"), "{shell}");
    }
}
