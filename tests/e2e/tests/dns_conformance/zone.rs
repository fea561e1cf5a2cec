//! A zone with a record of every kind.

use netlab::services::{Denial, Zone};
use weft_e2e::dns::AUTHORITY;

/// A label of the longest kind.
pub(crate) fn longest_label() -> String {
    "l".repeat(63)
}

/// A name of 255 bytes in wire form, in a zone.
pub(crate) fn longest_name(zone: &str) -> String {
    // Each label takes a byte more than its letters, the zone's own included, and the root one.
    let room = 255 - (zone.len() + 2);
    let whole = room / 64;
    let rest = room % 64;
    let mut labels = vec!["n".repeat(63); whole];
    if rest > 1 {
        labels.insert(0, "m".repeat(rest - 1));
    }
    format!("{}.{zone}", labels.join("."))
}

/// Texts of `length` bytes altogether, in strings of 250.
fn texts(length: usize) -> String {
    let strings = (0..length.div_ceil(250)).map(|number| format!("\"{number:0250}\""));
    strings.collect::<Vec<_>>().join(" ")
}

/// The zone `name`, signed.
pub(crate) fn zone(name: &str, denial: Denial) -> Zone {
    let long_label = longest_label();
    // With NSEC3, a wildcard below each name has to have a hash, and this one has no room for it.
    let long_name = match denial {
        Denial::Nsec3 => String::new(),
        _ => format!("{}. IN A 192.0.2.18", longest_name(name)),
    };
    let text = format!(
        r#"a IN A 192.0.2.1
a IN AAAA 2001:db8::1
many IN A 192.0.2.11
many IN A 192.0.2.12
many IN A 192.0.2.13
many IN A 192.0.2.14
alias IN CNAME alias2
alias2 IN CNAME alias3
alias3 IN CNAME a
dangling IN CNAME nowhere
@ IN MX 10 mail
@ IN MX 20 mail2
mail IN A 192.0.2.2
mail2 IN AAAA 2001:db8::2
short IN TXT "one" "two \" quoted"
txt600 IN TXT {t600}
txt1300 IN TXT {t1300}
txt4500 IN TXT {t4500}
_sip._tcp IN SRV 10 60 5060 mail
ptr IN PTR a
caa IN CAA 0 issue "ca.example.net"
web IN HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1
web2 IN HTTPS 0 web
_svc IN SVCB 1 a port=8443 alpn=h2
child IN NS ns.child
ns.child IN A 192.0.2.53
child IN DS 60485 13 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A
_443._tcp IN TLSA 3 1 1 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A
naptr IN NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@example.net!" .
ssh IN SSHFP 4 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A
_ftp._tcp IN URI 10 1 "ftp://ftp.example.net/public"
where IN LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
hinfo IN HINFO "PDP-11" "UNIX"
rp IN RP admin a
below IN DNAME other
x.other IN A 192.0.2.7
*.wild IN A 192.0.2.8
*.wild IN TXT "wild"
deep.ent IN A 192.0.2.9
strange IN TYPE65280 \# 5 0102030405
xn--bcher-kva IN A 192.0.2.10
MiXeD IN A 192.0.2.15
under_score IN A 192.0.2.16
{long_label} IN A 192.0.2.17
{long_name}
"#,
        t600 = texts(600),
        t1300 = texts(1300),
        t4500 = texts(4500),
    );
    Zone::new(name, AUTHORITY, &text).signed(denial)
}
