//! Seeds that are text: profiles, answers, wg-quick files, frames, resolver files.

use weft_ipc::{Hello, Request, frame};
use weft_model::Secret;
use weft_model::profile::ServiceMode;

use crate::Seeds;

/// Keys of 32 equal bytes, 7 and 8.
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const PEER_KEY: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

fn text(name: &'static str, text: impl Into<String>) -> (&'static str, Vec<u8>) {
    (name, text.into().into_bytes())
}

pub(crate) fn profile_json() -> Seeds {
    let full = r#"{
  "name": "Office", "description": "all of it", "default": false, "allow_mode_switch": true,
  "allowed_to_leave": false, "auto_connect": 15, "captive_portal": 180, "disable_auto_fallback": true,
  "exclude": [{"address": "10.0.0.0/8", "description": "LAN"}, {"address": "2001:db8::/32"},
    {"address": "203.0.113.9"}, {"host": "example.com"}, {"host": "*.example.org"}],
  "fallback_domains": [{"suffix": "corp", "dns_server": ["192.168.50.53", "fd00::53"]}, {"suffix": "home.arpa"}],
  "dns_search_suffixes": ["corp.example", "lab.example"], "lan_allow_minutes": 30, "lan_allow_subnet_size": 24,
  "service_mode_v2": {"mode": "warp", "port": 40000}, "support_url": "https://help.example",
  "switch_locked": true, "tunnel_protocol": "wireguard", "tunnel_address": "unique", "mtu": 1280,
  "of_next_year": {"deep": [1, 2, {"er": null}]}
}"#;
    vec![
        text("ok-empty.json", "{}"),
        text("ok-full.json", full),
        text(
            "ok-include.json",
            r#"{"include":[{"address":"203.0.113.0/24"},{"address":"::/0"},{"address":"0.0.0.0/0"}],"mtu":576}"#,
        ),
        text("ok-dns-only.json", r#"{"service_mode_v2":{"mode":"1dot1"},"fallback_domains":[]}"#),
        text(
            "ok-edges.json",
            r#"{"exclude":[{"address":"0.0.0.0/1"},{"address":"128.0.0.0/1"},{"address":"255.255.255.255"},
                {"address":"::"},{"address":"ffff::/16"}],"auto_connect":1440,"captive_portal":0,"mtu":1500}"#,
        ),
        text("bad-both-lists.json", r#"{"exclude":[],"include":[]}"#),
        text("bad-entry.json", r#"{"exclude":[{"address":"10.0.0.0/8","host":"example.com"}]}"#),
        text("bad-cidr.json", r#"{"include":[{"address":"10.0.0.0/33"}]}"#),
        text("bad-host.json", r#"{"include":[{"host":"*.*.example.com"}]}"#),
        text("bad-range.json", r#"{"lan_allow_subnet_size":8}"#),
        text("bad-array.json", r#"["Office", null, true]"#),
        text("bad-depth.json", "[".repeat(300)),
        text("bad-number.json", r#"{"mtu":1e400}"#),
        text("bad-surrogate.json", r#"{"name":"\ud800"}"#),
        text("bad-line-break.json", r#"{"service_mode_v2":{"mode":"two\r\nlines"}}"#),
        text("bad-long.json", format!(r#"{{"tunnel_protocol":"{}"}}"#, "x".repeat(3000))),
    ]
}

fn device_answer() -> String {
    format!(
        r#""addresses": ["172.16.0.2/32", "2606:4700:cf1:1000::2/128"],
  "tunnel": {{"public_key": "{PEER_KEY}", "addresses": ["203.0.113.10", "2001:db8::10"],
    "ports": [2408, 500, 1701, 4500], "keepalive": 25, "mtu": 1280, "preshared_key": "{KEY}"}},
  "doh": {{"name": "gateway.example", "path": "/dns-query", "inside": "172.64.128.1:443",
    "outside": ["203.0.113.11:443"], "ca_pem": "-----BEGIN CERTIFICATE-----\n"}},
  "checks": {{"inside": "172.64.128.1:80", "outside": ["203.0.113.11:443"]}},
  "profile": {{"name": "Default", "switch_locked": true}}"#
    )
}

pub(crate) fn orchestration_answer() -> Seeds {
    let device = device_answer();
    vec![
        text("ok-register.json", format!(r#"{{"id": "d-1", "token": "secret", {device}}}"#)),
        text("ok-device.json", format!("{{{device}}}")),
        text("ok-error.json", r#"{"code": "revoked", "message": "the device was revoked"}"#),
        text("bad-key.json", format!("{{{}}}", device.replace(PEER_KEY, "AAAA"))),
        text("bad-address.json", format!("{{{}}}", device.replace("203.0.113.10", "203.0.113.256"))),
        text("bad-port.json", format!("{{{}}}", device.replace("1701", "70000"))),
        text("bad-profile.json", format!("{{{}}}", device.replace("true", "\"perhaps\""))),
        text("bad-missing.json", r#"{"id": "d-1", "token": "secret"}"#),
        text("bad-page.html", "<!doctype html><title>Log in to the hotel's network</title>"),
    ]
}

pub(crate) fn wg_quick() -> Seeds {
    let peer = format!("[Peer]\nPublicKey = {PEER_KEY}\nEndpoint = 203.0.113.10:51820\n");
    let interface = format!("[Interface]\nPrivateKey = {KEY}\nAddress = 10.8.0.2/24\n");
    let full = format!(
        "\u{feff}# of the office\r\n[interface]\r\nPRIVATEKEY={KEY} # mine\r\nAddress = 10.8.0.2/24, fd00:8::2/64\r\n\
         DNS = 10.8.0.1, corp.example\r\nMTU = 1420\r\nListenPort = 51820\r\n\r\n[ peer ]\r\n\
         PublicKey = {PEER_KEY}\r\nPresharedKey = {KEY}\r\nAllowedIPs = 0.0.0.0/0, ::/0\r\n\
         AllowedIPs = 192.168.0.0/16\r\nEndpoint = [2001:db8::10]:51820\r\nPersistentKeepalive = off\r\n"
    );
    vec![
        text("ok-short.conf", format!("{interface}{peer}AllowedIPs = 0.0.0.0/0\n")),
        text("ok-full.conf", full),
        text(
            "ok-name.conf",
            format!("{interface}{peer}AllowedIPs=10.0.0.0/8\n").replace("203.0.113.10", "vpn.example.com"),
        ),
        text("bad-postup.conf", format!("{interface}PostUp = iptables -F\n{peer}AllowedIPs = ::/0\n")),
        text("bad-two-peers.conf", format!("{interface}{peer}AllowedIPs = ::/0\n[Peer]\n")),
        text("bad-cidr.conf", format!("{interface}{peer}AllowedIPs = 10.0.0.0/8 10.1.0.0/16\n")),
        text("bad-key-alone.conf", format!("[Interface]\n{KEY}\n")),
        text("bad-no-peer.conf", interface.clone()),
        text("bad-port.conf", format!("{interface}[Peer]\nEndpoint = [::1]:0\n")),
        ("bad-latin-1.conf", b"[Interface]\n# caf\xe9\n".to_vec()),
    ]
}

pub(crate) fn ipc_frame() -> Seeds {
    let one = |request: &Request| frame::encode(request).unwrap().to_vec();
    let requests = [
        Request::Connect,
        Request::SetMode { mode: ServiceMode::DnsOnly },
        Request::Register {
            url: "https://gateway.example".to_owned(),
            token: Secret::from("enrol".to_owned()),
            ca_fingerprint: Some("00".repeat(32)),
            name: None,
        },
        Request::ImportRegistration {
            name: "office".to_owned(),
            text: Secret::from("[Interface]".to_owned()),
        },
        Request::Log { lines: 10, follow: true },
    ];
    let hello = frame::encode(&Hello::ours()).unwrap().to_vec();
    let all: Vec<u8> = requests.iter().flat_map(one).collect();
    let raw = |body: &[u8]| -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        length.iter().chain(body).copied().collect()
    };
    vec![
        ("ok-hello", hello.clone()),
        ("ok-status", one(&Request::Status)),
        ("ok-all", [hello, all.clone()].concat()),
        ("bad-cut", all[..all.len() - 3].to_vec()),
        ("bad-too-long", vec![0xff; 12]),
        ("bad-unknown", raw(br#""reboot""#)),
        ("bad-field", raw(br#"{"set_mode":{"mode":"warp","and":1}}"#)),
        ("bad-not-json", raw(b"GET / HTTP/1.1\r\n")),
        ("bad-empty", raw(b"")),
    ]
}

pub(crate) fn resolv_conf() -> Seeds {
    vec![
        text(
            "ok-plain.conf",
            "# by hand\nnameserver 192.168.1.1\nnameserver fe80::1%eth0\nsearch corp.example lan\noptions edns0 ndots:2\n",
        ),
        text("ok-domain.conf", "domain example.com\nnameserver 2001:db8::53 ; router\n"),
        text("ok-empty.conf", ""),
        text("ok-root.conf", "search .\n"),
        text("bad-address.conf", "nameserver 300.1.1.1\n"),
        text("bad-search.conf", "search a..b caf\u{e9}.example -ok-\n"),
        text("bad-many.conf", "nameserver 10.0.0.1\n".repeat(70)),
        ("bad-bytes.conf", b"name\0server 10.0.0.1\n\xff\xfe\n".to_vec()),
    ]
}

pub(crate) fn enrolment_link() -> Seeds {
    let ca = "ab".repeat(32);
    let named = format!(
        "weft://enrol?url=https%3A%2F%2Fgw.example%3A8443&token=t0k%2Ben&ca={ca}&name=Ann%27s%20phone"
    );
    vec![
        text("ok-page", format!("https://gw.example:8443/enrol#token=t0k+en&ca={ca}")),
        text("ok-app", &named),
        text("ok-address", "WEFT://enrol/?later=1&token=x&url=https://[2001:db8::1]"),
        text("bad-scheme", "http://gw.example/enrol#token=x"),
        text("bad-action", "weft://leave?url=https://gw.example&token=x"),
        text("bad-twice", "weft://enrol?url=https://gw.example&token=x&token=y"),
        text("bad-percent", "weft://enrol?url=https://gw.example&token=x%f"),
        text("bad-utf8", "weft://enrol?url=https://gw.example&token=%ff"),
        text("bad-token", "weft://enrol?url=https://gw.example&token=two%20words"),
        text("bad-ca", "weft://enrol?url=https://gw.example&token=x&ca=5f1c"),
        text("bad-empty", ""),
    ]
}
