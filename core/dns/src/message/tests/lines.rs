//! Presentation forms.

use super::*;

#[test]
fn names_are_written_and_read_with_escapes() {
    let cases: [(&str, &[u8], &str); 6] = [
        ("www.Example.", b"\x03www\x07example\0", "www.example"),
        (".", b"\0", "."),
        (r"a\.b.c", b"\x03a.b\x01c\0", r"a\.b.c"),
        (r"\000\255\032x", b"\x04\0\xff x\0", r"\000\255\032x"),
        (r"q\\\;\@", b"\x04q\\;@\0", r"q\\\;\@"),
        ("_dns._udp", b"\x04_dns\x04_udp\0", "_dns._udp"),
    ];
    for (text, wire, written) in cases {
        let name = Name::parse(text).unwrap();
        assert_eq!(name.as_bytes(), wire, "{text}");
        assert_eq!(name.to_string(), written);
    }
    let long = "a".repeat(64);
    let longest = vec!["a".repeat(62); 4].join(".");
    assert!(Name::parse(&longest).is_some());
    for text in ["a..b", ".a", r"a\", r"a\25", r"a\256", &long, &format!("{longest}.aa")] {
        assert_eq!(Name::parse(text), None, "{text}");
    }
}

#[test]
fn types_and_codes_have_their_mnemonics() {
    for number in 0..=u16::MAX {
        assert_eq!(RecordType(number).to_string().parse(), Ok(RecordType(number)));
    }
    assert_eq!("aaaa".parse(), Ok(RecordType(28)));
    assert_eq!(RecordType(65280).to_string(), "TYPE65280");
    for text in ["", "TYPE", "TYPE65536", "TYPE+1", "AAAAA"] {
        assert!(text.parse::<RecordType>().is_err(), "{text}");
    }
    assert_eq!(
        (ResponseCode(3).to_string(), ResponseCode(12).to_string()),
        ("NXDOMAIN".into(), "RCODE12".into())
    );
    assert_eq!((Class(1).to_string(), Class(5).to_string()), ("IN".into(), "CLASS5".into()));
}

#[test]
fn records_are_lines_of_a_zone_file() {
    let cases: [(u16, &[u8], &str); 21] = [
        (1, &[192, 0, 2, 1], "A 192.0.2.1"),
        (1, &[192, 0, 2], r"A \# 3 C00002"),
        (28, b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", "AAAA 2001:db8::1"),
        (5, b"\x01x\xc0\x0c", "CNAME x.www.example."),
        (2, b"\0", "NS ."),
        (5, b"\x01x\0\0", r"CNAME \# 4 01780000"),
        (12, b"\xc0\x10", "PTR example."),
        (15, b"\0\x0a\xc0\x0c", "MX 10 www.example."),
        (16, b"\x03a\"b\x00\x02\x00\xff", r#"TXT "a\"b" "" "\000\255""#),
        (16, b"\x03a", r"TXT \# 2 0361"),
        (6, b"\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05", "SOA . . 1 2 3 4 5"),
        (33, b"\0\x01\0\x02\0\x35\xc0\x0c", "SRV 1 2 53 www.example."),
        (257, b"\x80\x05issueca.test", r#"CAA 128 issue "ca.test""#),
        (43, b"\x12\x34\x0d\x02\xab\xcd", "DS 4660 13 2 ABCD"),
        (48, b"\x01\x01\x03\x0dabcd", "DNSKEY 257 3 13 YWJjZA=="),
        (
            46,
            b"\0\x01\x0d\x02\0\0\x0e\x10\x65\xe0\x12\x80\0\0\0\0\0\x07\0sig",
            "RRSIG A 13 2 3600 20240229051336 19700101000000 7 . c2ln",
        ),
        (47, b"\xc0\x0c\0\x06\x40\0\0\0\0\x03\x01\x01\x40", "NSEC www.example. A RRSIG NSEC CAA"),
        (
            65,
            b"\0\x01\0\0\x01\0\x06\x02h2\x02h3\0\x03\0\x02\x01\xbb\0\x04\0\x04\xc0\0\x02\x05\xff\0\0\x01x",
            r#"HTTPS 1 . alpn="h2,h3" port=443 ipv4hint=192.0.2.5 key65280="x""#,
        ),
        (64, b"\0\0\x01t\0", "SVCB 0 t."),
        (65280, b"\x0a\0", r"TYPE65280 \# 2 0A00"),
        (65280, b"", r"TYPE65280 \# 0"),
    ];
    for (kind, data, expected) in cases {
        let wire = message(0x81, kind, [&[&record(b"\xc0\x0c", kind, 300, data)], &[], &[]]);
        assert_eq!(answer_lines(&wire), [format!("www.example. 300 IN {expected}")]);
    }
}
