//! `weft dns`: what it asks of the daemon, what it shows, and how it ends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;

use std::time::{Duration, UNIX_EPOCH};

use daemon::Daemon;
use serde_json::{Value, json};
use weft_ipc::{DnsFallback, DnsStatus, Failure, Request, Response};
use weft_model::{
    DnsLog, DnsLogEntry, DnsLogNews, DnsLookup, DnsSource, DnsStats, ExtendedError, Origin, Stats, UserError,
};

fn status() -> DnsStatus {
    serde_json::from_value(json!({
        "state": "connected",
        "service_mode": "warp",
        "upstream": { "kind": "doh", "url": "https://dns.example/dns-query" },
        "system_resolvers": ["192.0.2.53"],
        "settings": {
            "mode": "resolved-link",
            "trace": ["systemd-resolved 255 answers on the bus", "the link weft0 is there"],
            "owner": "systemd-resolved",
            "place": "the link weft0",
            "ours": true,
            "servers": ["127.0.2.2", "127.0.2.3"],
            "search": ["corp.example"],
            "warnings": ["/etc/resolv.conf names resolvers that are neither Weft's nor systemd-resolved's"],
            "port_holders": [{ "protocol": "udp", "local": "0.0.0.0:53", "process": ["dnsmasq", 7] }],
        },
    }))
    .unwrap()
}

fn lookup(rcode: &str, errors: Vec<ExtendedError>) -> DnsLookup {
    DnsLookup {
        name: "db.corp".into(),
        kind: "A".into(),
        source: DnsSource::Fallback {
            suffix: "corp".into(),
            servers: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
        },
        host_entry: Some("*.corp".parse().unwrap()),
        rcode: rcode.into(),
        errors,
        answers: match rcode {
            "NOERROR" => vec!["db.corp. 60 IN A 10.1.2.3".into()],
            _ => Vec::new(),
        },
        micros: 12_034,
        message: vec![0, 1],
    }
}

fn answering(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Daemon {
    Daemon::start(move |request| vec![answer(request)])
}

#[test]
fn status_says_by_what_means_and_why() {
    let daemon = answering(|_| Response::DnsStatus(Box::new(status())));
    let ran = daemon.weft(&["dns", "status"]);
    let expected = "State: Connected\nService mode: traffic-and-dns\nUpstream: https://dns.example/dns-query\n\
        The system's own resolvers: 192.0.2.53\nMeans of changing the system's settings: resolved-link\nBecause:\n    \
        systemd-resolved 255 answers on the bus\n    the link weft0 is there\nKept by: systemd-resolved\n\
        Place: the link weft0\nIn force there: Weft's settings\nNameservers: 127.0.2.2, 127.0.2.3\n\
        Search domains: corp.example\nPort in use: UDP 0.0.0.0:53 is held by dnsmasq (process 7)\n\
        Warning: /etc/resolv.conf names resolvers that are neither Weft's nor systemd-resolved's\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, expected));
    let shown = daemon.weft(&["dns", "status", "--json"]);
    assert_eq!(serde_json::from_str::<DnsStatus>(&shown.out).unwrap(), status());
    assert_eq!(daemon.requests(), [Request::DnsStatus, Request::DnsStatus]);

    let cases =
        [("tunnelonly", "this service mode leaves DNS alone"), ("1dot1", "the device is not registered")];
    for (mode, why) in cases {
        let mut status = status();
        status.service_mode = serde_json::from_value(json!(mode)).unwrap();
        status.upstream = None;
        let daemon = answering(move |_| Response::DnsStatus(Box::new(status.clone())));
        let ran = daemon.weft(&["dns", "status"]);
        assert!(ran.out.contains(&format!("\nUpstream: none: {why}\n")), "{}", ran.out);
    }
}

#[test]
fn every_counter_is_shown() {
    let names: Vec<String> = match serde_json::to_value(DnsStats::default()).unwrap() {
        Value::Object(map) => map.keys().cloned().collect(),
        other => panic!("{other}"),
    };
    let numbered: Value =
        names.iter().zip(101..).map(|(name, number)| (name.clone(), json!(number))).collect();
    let dns: DnsStats = serde_json::from_value(numbered.clone()).unwrap();
    let daemon =
        answering(move |_| Response::Stats(Box::new(Stats { dns: dns.clone(), ..Stats::default() })));
    let ran = daemon.weft(&["dns", "stats"]);
    for (name, number) in names.iter().zip(101..) {
        let shown = match name.as_str() {
            "cache_bytes" => format!(" in {number} B\n"),
            "cache_entries" => format!(": {number} answers"),
            _ => format!(": {number}\n"),
        };
        assert!(ran.out.contains(&shown), "{name}: {}", ran.out);
    }
    let shown: Value = serde_json::from_str(&daemon.weft(&["dns", "stats", "--json"]).out).unwrap();
    assert_eq!(shown, numbered);
}

#[test]
fn a_query_shows_who_answered_and_why_and_ends_with_what_came_of_it() {
    let blocked = ExtendedError { code: 15, text: "category: gambling".into() };
    let unknown = ExtendedError { code: 4711, text: String::new() };
    let cases = [
        ("NOERROR", vec![], 0, ""),
        ("NOERROR", vec![blocked.clone()], 0, ""),
        ("NXDOMAIN", vec![blocked, unknown], 9, "weft: the name does not exist (NXDOMAIN)\n"),
        ("SERVFAIL", vec![], 10, "weft: the name could not be resolved (SERVFAIL)\n"),
        ("REFUSED", vec![], 10, "weft: the name could not be resolved (REFUSED)\n"),
    ];
    for (rcode, errors, code, said) in cases {
        let answer = lookup(rcode, errors.clone());
        let expected = answer.clone();
        let daemon = answering(move |_| Response::DnsLookup(Box::new(answer.clone())));
        let ran = daemon.weft(&["dns", "query", "DB.corp.", "--type", "aaaa"]);
        assert_eq!((ran.code, ran.err.as_str()), (code, said), "{rcode}");
        let mut shown = "Name: db.corp\nType: A\n\
            Answered by: Local Domain Fallback, suffix corp: 10.0.0.1, 10.0.0.2\nSplit-tunnel entry: *.corp\n"
            .to_owned();
        shown += &format!("Response code: {rcode}\n");
        for error in &errors {
            shown += match error.code {
                15 => "Extended error: Blocked (15): category: gambling\n",
                _ => "Extended error: not registered (4711)\n",
            };
        }
        shown += match rcode {
            "NOERROR" => "Answer:\n    db.corp. 60 IN A 10.1.2.3\n",
            _ => "Answer: no records\n",
        };
        shown += "Time: 12.034 ms\n";
        assert_eq!(ran.out, shown);
        let shown = daemon.weft(&["dns", "query", "db.corp", "--json"]);
        assert_eq!(shown.code, code);
        assert_eq!(serde_json::from_str::<DnsLookup>(&shown.out).unwrap(), expected);
        let asked = |kind| Request::DnsLookup { name: "db.corp".parse().unwrap(), kind };
        assert_eq!(daemon.requests(), [asked(28), asked(1)]);
    }
}

#[test]
fn a_query_that_cannot_be_asked_is_a_failure() {
    let daemon = answering(|_| Response::Failure(UserError::DnsOff.into()));
    let ran = daemon.weft(&["dns", "query", "db.corp"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("answers no DNS queries"), "{}", ran.err);
    let long = format!("{}.example", "x".repeat(64));
    for args in [
        &["dns", "query", "db.corp", "--type", "TYPE99999"][..],
        &["dns", "query", &long],
        &["dns", "query"],
        &["dns", "log", "--on", "--off"],
        &["dns", "fallback"],
    ] {
        assert_eq!(daemon.weft(args).code, 2, "{args:?}");
    }
    assert_eq!(daemon.requests().len(), 1);
    let daemon = answering(|_| Response::Failure(Failure::Denied { group: "weft".into() }));
    assert_eq!(daemon.weft(&["dns", "log"]).code, 4);
}

#[test]
fn the_log_says_when_it_is_off_and_how_to_switch_it_on() {
    let entry = DnsLogEntry {
        at: UNIX_EPOCH + Duration::from_millis(951_868_799_999),
        name: "ads.example".into(),
        kind: "A".into(),
        source: DnsSource::Doh,
        rcode: "NXDOMAIN".into(),
        micros: 999,
        error: Some(ExtendedError { code: 17, text: String::new() }),
    };
    let daemon = answering(move |request| {
        let Request::DnsLog { enable } = request else { return Response::Done };
        let entries = if *enable == Some(true) { vec![entry.clone()] } else { Vec::new() };
        Response::DnsLog(Box::new(DnsLog { on: *enable != Some(false), entries }))
    });
    let off = daemon.weft(&["dns", "log", "--off"]).out;
    assert!(off.contains("is off") && off.contains("`weft dns log --on`"), "{off}");
    assert!(daemon.weft(&["dns", "log"]).out.contains("empty so far"));
    let shown = daemon.weft(&["dns", "log", "--on"]).out;
    assert_eq!(
        shown,
        "2000-02-29T23:59:59.999Z ads.example A NXDOMAIN 0.999 ms by the gateway, by DoH; Filtered (17)\n"
    );
    let value: Value = serde_json::from_str(&daemon.weft(&["dns", "log", "--json"]).out).unwrap();
    assert_eq!(value, json!({ "on": true, "entries": [] }));
    let switches = [Some(false), None, Some(true), None];
    assert_eq!(daemon.requests(), switches.map(|enable| Request::DnsLog { enable }));
}

#[test]
fn the_log_is_followed_query_by_query() {
    let entry = |name: &str| DnsLogEntry {
        at: UNIX_EPOCH + Duration::from_millis(951_868_799_999),
        name: name.into(),
        kind: "A".into(),
        source: DnsSource::Cache { stale: false },
        rcode: "NOERROR".into(),
        micros: 7,
        error: None,
    };
    let news = move |on, missed, names: &[&str]| {
        let entries = names.iter().copied().map(entry).collect();
        Response::DnsLogNews(Box::new(DnsLogNews { on, missed, entries }))
    };
    let daemon = Daemon::start(move |request| match request {
        Request::DnsLog { .. } => vec![Response::DnsLog(Box::default())],
        Request::DnsLogFollow { .. } => vec![
            news(false, 0, &[]),
            news(true, 0, &["a.example"]),
            news(true, 37, &["b.example", "c.example"]),
            news(false, 0, &[]),
            // Nobody reads on after this.
            Response::Done,
        ],
        _ => Vec::new(),
    });
    let off = "the DNS log is off, since names are private; what is asked once `weft dns log --on` has switched it on \
               is shown here";
    let missed = "37 queries are not shown: too many came at once";
    let unexpected = "weftd gave an answer that does not fit the request";
    let ran = daemon.weft(&["dns", "log", "--follow"]);
    let line = |name| format!("2000-02-29T23:59:59.999Z {name} A NOERROR 0.007 ms by the cache\n");
    assert_eq!(ran.out, ["a.example", "b.example", "c.example"].map(line).concat());
    assert_eq!(ran.err, [off, missed, off, unexpected].map(|text| format!("weft: {text}\n")).concat());

    let ran = daemon.weft(&["dns", "log", "-f", "-n", "3", "--on", "--json"]);
    let shown: Vec<DnsLogEntry> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown, ["a.example", "b.example", "c.example"].map(entry));
    let first: Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
    assert_eq!((&first["unix_ms"], &first["at"]), (&json!(951_868_799_999_u64), &Value::Null));
    let notes: Vec<Value> = ran.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(notes[..3], [off, missed, off].map(|note| json!({ "note": note })));
    let asked = [
        Request::DnsLogFollow { entries: 10 },
        Request::DnsLog { enable: Some(true) },
        Request::DnsLogFollow { entries: 3 },
    ];
    assert_eq!(daemon.requests(), asked);
    assert_eq!(daemon.weft(&["dns", "log", "--off", "--follow"]).code, 2);
    assert_eq!(daemon.weft(&["dns", "log", "-n", "3"]).code, 2, "nothing is followed");
}

#[test]
fn fallback_rules_are_listed_with_the_resolvers_they_use() {
    let fallback = DnsFallback {
        origin: Origin::NetworkPolicy,
        domains: serde_json::from_value(json!([
            { "suffix": "corp", "dns_server": ["10.0.0.1"], "description": "head office" },
            { "suffix": "lan" },
        ]))
        .unwrap(),
        system_resolvers: vec!["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()],
    };
    let answer = fallback.clone();
    let daemon = answering(move |_| Response::DnsFallback(Box::new(answer.clone())));
    assert_eq!(
        daemon.weft(&["dns", "fallback", "list"]).out,
        "Fallback domains (network policy):\n    corp -> 10.0.0.1 (head office)\n    lan\n\
         Those without resolvers of their own use: 192.0.2.53, 2001:db8::53\n"
    );
    let shown = daemon.weft(&["dns", "fallback", "list", "-j"]);
    assert_eq!(serde_json::from_str::<DnsFallback>(&shown.out).unwrap(), fallback);
}

#[test]
fn a_flush_is_asked_for() {
    let daemon = answering(|_| Response::Done);
    assert_eq!(daemon.weft(&["dns", "flush"]).out, "Success\n");
    assert_eq!(daemon.requests(), [Request::DnsFlush]);
}

#[test]
fn the_help_teaches() {
    let daemon = answering(|_| Response::Done);
    let cases: [(&[&str], &[&str]); 4] = [
        (&["dns", "--help"], &["stats", "status", "log", "fallback", "query", "flush"]),
        (&["dns", "query", "--help"], &["RFC 8914", "--type", "HTTPS", "For example:"]),
        (&["dns", "log", "--help"], &["private", "--on", "--off", "--follow", "--lines", "For example:"]),
        (&["dns", "fallback", "--help"], &["list"]),
    ];
    for (args, words) in cases {
        let ran = daemon.weft(args);
        for word in words {
            assert!(ran.code == 0 && ran.out.contains(word), "{args:?}: {word}\n{}", ran.out);
        }
    }
}
