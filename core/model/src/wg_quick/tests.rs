//! Files that are read, and lines that are refused by name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const PEER_KEY: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

fn file(interface: &str, peer: &str) -> String {
    format!(
        "[Interface]\nPrivateKey = {KEY}\nAddress = 10.8.0.2/24\n{interface}\n\
         [Peer]\nPublicKey = {PEER_KEY}\nAllowedIPs = 0.0.0.0/0\nEndpoint = 203.0.113.10:51820\n{peer}\n"
    )
}

fn read(text: &str) -> Import {
    parse("office", text.as_bytes()).unwrap()
}

fn refusal(text: &str) -> String {
    parse("office", text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_whole_file_is_read() {
    let text = format!(
        "\u{feff}# of the office\r\n[INTERFACE]\r\nprivatekey={KEY} # mine\r\n\
         Address = 10.8.0.2/24, fd00:8::2/64\r\nADDRESS=10.9.0.2\r\nDNS = 10.8.0.1, corp.example\r\n\
         dns = fd00:8::1,Lab.Example.\r\nMTU = 1420\r\nListenPort = 51820\r\n\r\n  [ peer ]\r\n\
         PublicKey = {PEER_KEY}\r\nPresharedKey = {KEY}\r\nAllowedIPs = 10.0.0.7/8, 2001:db8::1\r\n\
         AllowedIPs = 192.168.0.0/16\r\nEndpoint = [2001:db8::10]:51820\r\nPersistentKeepalive = 25\r\n"
    );
    let import = read(&text);
    let Registration { id, source, token, private_key, addresses, gateways } = import.registration;
    assert_eq!((id.as_str(), source, token), ("office", RegistrationSource::Imported, None));
    assert_eq!(private_key, PrivateKey::from([7; 32]));
    let texts = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(texts(&addresses), "10.8.0.2/24 fd00:8::2/64 10.9.0.2/32");
    let [gateway] = gateways.as_slice() else { panic!("one gateway") };
    assert_eq!(
        gateway.dns,
        DnsUpstream::Plain {
            servers: vec!["10.8.0.1".parse().unwrap(), "fd00:8::1".parse().unwrap()],
            search: vec!["corp.example".parse().unwrap(), "lab.example".parse().unwrap()],
        }
    );
    assert_eq!((gateway.api.is_none(), gateway.checks.is_none()), (true, true));
    let tunnel = &gateway.tunnel;
    assert_eq!(tunnel.public_key, PublicKey::from([8; 32]));
    assert_eq!(tunnel.preshared_key, Some(PresharedKey::from([7; 32])));
    assert_eq!(texts(&tunnel.allowed_ips), "10.0.0.0/8 2001:db8::1/128 192.168.0.0/16");
    let candidates: Vec<String> = tunnel.candidates().map(|address| address.to_string()).collect();
    assert_eq!(candidates, ["[2001:db8::10]:51820"]);
    assert_eq!((tunnel.mtu, tunnel.keepalive), (Some(1420), Some(25)));
    assert_eq!(import.endpoint_host, None);
    assert!(import.notes[0].contains("ListenPort"));
}

#[test]
fn a_short_file_has_no_more_than_it_says() {
    let import = read(&file("", "PersistentKeepalive = off"));
    let gateway = &import.registration.gateways[0];
    assert_eq!(gateway.dns, DnsUpstream::System);
    assert_eq!((gateway.tunnel.keepalive, gateway.tunnel.mtu), (None, None));
    assert_eq!(import.notes, Vec::<String>::new());
    let keepalive = |text: &str| read(&file("", text)).registration.gateways[0].tunnel.keepalive;
    assert_eq!(keepalive("PersistentKeepalive = 0"), None);
    assert_eq!(keepalive("PersistentKeepalive = 65535"), Some(65535));
}

#[test]
fn search_domains_alone_are_noted() {
    let import = read(&file("DNS = corp.example", ""));
    assert_eq!(import.registration.gateways[0].dns, DnsUpstream::System);
    assert!(import.notes[0].contains("no resolver"));
}

#[test]
fn an_endpoint_by_name_waits_for_its_addresses() {
    let text = file("", "").replace("203.0.113.10:51820", "Vpn.Example.com:443");
    let import = read(&text);
    assert_eq!(import.endpoint_host, Some(("vpn.example.com".to_owned(), 443)));
    assert!(import.registration.gateways[0].tunnel.addresses.is_empty());
    let registration = import.resolved(&["192.0.2.1".parse().unwrap()]);
    let candidates: Vec<_> = registration.gateways[0].tunnel.candidates().collect();
    assert_eq!(candidates, ["192.0.2.1:443".parse().unwrap()]);
}

#[test]
fn what_cannot_be_carried_out_is_refused_by_name() {
    for key in ["PreUp", "PostUp", "PreDown", "PostDown", "Table", "FwMark", "SaveConfig", "postup"] {
        let error = refusal(&file(&format!("{key} = off"), ""));
        let named = error.to_ascii_lowercase().contains(&key.to_ascii_lowercase());
        assert!(named && error.starts_with("line 4: ") && error.contains("not supported"), "{error}");
    }
    assert_eq!(refusal(&(file("", "") + "[Peer]\n")), "line 10: a second [Peer]: Weft takes files with one");
}

#[test]
fn a_bad_line_is_refused_by_number_and_name() {
    let cases = [
        ("Address = 10.8.0.2/33", "", "line 4: Address must be"),
        ("Address = 0.0.0.0/0", "", "line 4: Address must be"),
        ("Address = 127.0.0.1", "", "line 4: Address must be"),
        ("Address = 10.8.0.2/24,", "", "line 4: Address must be"),
        ("DNS = 127.0.0.1", "", "line 4: DNS must be"),
        ("DNS = a..b", "", "line 4: DNS must be"),
        ("DNS = 10.8.0.256", "", "line 4: DNS must be"),
        ("MTU = 100", "", "line 4: MTU must be"),
        ("MTU = +1400", "", "line 4: MTU must be"),
        ("MTU = 1400\nMTU = 1400", "", "line 5: MTU is given twice"),
        ("PrivateKey = AAAA", "", "line 4: PrivateKey must be 32 bytes"),
        ("ListenPort = 70000", "", "line 4: ListenPort must be"),
        ("Wibble = 1", "", "line 4: unknown key Wibble"),
        ("PublicKey = x", "", "line 4: unknown key PublicKey"),
        ("just words", "", "line 4: this is neither"),
        ("[Interface]", "", "line 4: a second [Interface]"),
        ("[Wibble]", "", "line 4: the sections are"),
        ("", "AllowedIPs = 10.0.0.0/8 10.1.0.0/16", "line 9: AllowedIPs must be"),
        ("", "AllowedIPs = ::/129", "line 9: AllowedIPs must be"),
        ("", "PersistentKeepalive = 65536", "line 9: PersistentKeepalive must be"),
        ("", "Endpoint = 203.0.113.10:51820", "line 9: Endpoint is given twice"),
        ("", "PrivateKey = x", "line 9: unknown key PrivateKey"),
    ];
    for (interface, peer, expected) in cases {
        let error = refusal(&file(interface, peer));
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert_eq!(refusal("Address = 10.0.0.1"), "line 1: this stands before [Interface] and [Peer]");
    let latin = parse("office", b"[Interface]\n# caf\xe9\n").unwrap_err();
    assert_eq!(latin.to_string(), "line 2: this is not UTF-8 text");
    assert_eq!(parse("office", &vec![b'\n'; MAX_FILE + 1]).unwrap_err(), WgQuickError::TooLarge);
}

#[test]
fn a_bad_endpoint_is_refused() {
    let bad = [
        "",
        "203.0.113.10",
        "203.0.113.10:",
        "203.0.113.10:0",
        "203.0.113.10:65536",
        "203.0.113.10:http",
        "203.0.113.10:+1",
        "2001:db8::1:51820",
        "[2001:db8::1]",
        "[203.0.113.1]:1",
        "[fe80::1%eth0]:1",
        "0.0.0.0:1",
        "255.255.255.255:1",
        "224.0.0.1:1",
        "[ff02::1]:1",
        "203.0.113:1",
        "300.1.1.1:1",
        ":1",
        "a b:1",
        "a..b:1",
    ];
    for endpoint in bad {
        let error = refusal(&file("", "").replace("203.0.113.10:51820", endpoint));
        assert!(error.starts_with("line 8: Endpoint must be"), "{endpoint}: {error}");
    }
    for endpoint in ["127.0.0.1:1", "[::1]:51820", "localhost:1", "a_b.example:2"] {
        read(&file("", "").replace("203.0.113.10:51820", endpoint));
    }
}

#[test]
fn what_is_missing_is_named() {
    let whole = file("", "");
    let cases = [
        ("PrivateKey", "PrivateKey is missing in [Interface]"),
        ("Address", "Address is missing in [Interface]"),
        ("PublicKey", "PublicKey is missing in [Peer]"),
        ("AllowedIPs", "AllowedIPs is missing in [Peer]"),
        ("Endpoint", "Endpoint is missing in [Peer]"),
    ];
    for (key, expected) in cases {
        let text: String =
            whole.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        assert_eq!(refusal(&text), expected);
    }
    assert_eq!(refusal(whole.split("[Peer]").next().unwrap()), "there is no [Peer] section");
    assert_eq!(refusal("# nothing\n"), "there is no [Interface] section");
    assert_eq!(refusal(&whole.replace("= 0.0.0.0/0", "=")), "AllowedIPs is missing in [Peer]");
}

#[test]
fn no_error_quotes_a_key() {
    for text in [
        format!("[Interface]\n{KEY}\n"),
        format!("[Interface]\nPrivateKey = {KEY}{KEY}\n"),
        format!("[Interface]\nAddress = {KEY}\n"),
        format!("[Peer]\nPresharedKey = {}\n", &KEY[1..]),
        format!("[{KEY}]\n"),
        format!("{KEY}\n"),
    ] {
        let error = refusal(&text);
        assert!(!error.contains(&KEY[1..20]), "{error}");
    }
    assert!(!format!("{:?}", read(&file(&format!("#{KEY}"), ""))).contains(&KEY[..20]));
}

/// Text made of pieces that such files are made of.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[Interface]",
        "[Peer]",
        "\n",
        "\n",
        "=",
        "=",
        ",",
        " ",
        "#",
        ":",
        "[",
        "]",
        "/",
        "Address",
        "DNS",
        "AllowedIPs",
        "Endpoint",
        "PrivateKey",
        "PublicKey",
        "PresharedKey",
        "MTU",
        "PersistentKeepalive",
        KEY,
        "10.0.0.1",
        "::1",
        "2001:db8::1",
        "0",
        "24",
        "65535",
        "off",
        "example.com",
        "\u{e4}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Err(error) = parse("x", &bytes) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn no_pieces_make_it_panic(text in pieces()) {
        if let Err(error) = parse("x", text.as_bytes()) {
            prop_assert!(!error.to_string().contains(&KEY[1..20]), "{}", error);
        }
    }

    #[test]
    fn what_is_written_is_read(
        key in any::<[u8; 32]>(), peer in any::<[u8; 32]>(), psk in any::<Option<[u8; 32]>>(),
        networks in prop::collection::vec((any::<u32>(), 0_u8..=32), 1..20),
        port in 1_u16.., mtu in prop::option::of(576_u16..=9000), keepalive in any::<u16>(),
    ) {
        let allowed: Vec<IpNet> = networks.iter()
            .map(|(bits, prefix)| IpNet::new(std::net::Ipv4Addr::from_bits(*bits).into(), *prefix).unwrap())
            .collect();
        let texts: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let line = |key: &str, value: Option<String>| {
            value.map(|value| format!("{key} = {value}\n")).unwrap_or_default()
        };
        let text = format!(
            "[Interface]\nPrivateKey={}\nAddress=10.8.0.2\n{}[Peer]\nPublicKey={}\n{}AllowedIPs={}\n\
             Endpoint=192.0.2.1:{port}\nPersistentKeepalive={keepalive}\n",
            STANDARD.encode(key), line("MTU", mtu.map(|mtu| mtu.to_string())), STANDARD.encode(peer),
            line("PresharedKey", psk.map(|psk| STANDARD.encode(psk))), texts.join(", "),
        );
        let registration = read(&text).registration;
        let expected = TunnelEndpoint {
            public_key: peer.into(), preshared_key: psk.map(PresharedKey::from),
            addresses: vec!["192.0.2.1".parse().unwrap()], ports: vec![port],
            keepalive: Some(keepalive).filter(|seconds| *seconds > 0), mtu,
            allowed_ips: allowed.iter().map(IpNet::trunc).collect(),
        };
        prop_assert_eq!(registration.private_key, PrivateKey::from(key));
        prop_assert_eq!(&registration.gateways[0].tunnel, &expected);
    }
}
