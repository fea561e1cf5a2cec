use std::fmt::Write as _;
use std::net::Ipv4Addr;

use weft_model::Protocol;
use weft_model::settings::SplitTunnelMode;

use super::super::expression::{End, Match};
use super::*;
use crate::linux::netlink::Netlink;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn opening(protocol: Protocol, remote: &str) -> Opening {
    Opening { purpose: "tunnel".to_owned(), protocol, remote: remote.parse().unwrap() }
}

/// The messages of a transaction: what the golden file keeps, a line each.
fn lines(transaction: &Transaction) -> String {
    let mut text = String::new();
    let mut rest = transaction.bytes.as_slice();
    while let Some(length) = rest.first_chunk::<4>() {
        let (message, behind) = rest.split_at(u32::from_ne_bytes(*length) as usize);
        for byte in message {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
        rest = behind;
    }
    text
}

/// What goes to the kernel, to the byte. A change here is to be looked at with `nft list`; then
/// `WEFT_GOLDEN=write cargo test -p weft-platform golden` keeps it.
#[test]
#[cfg(target_endian = "little")]
fn the_golden_bytes() {
    let enforced = |learnt| {
        enforcement(
            &nets(&["0.0.0.0/5", "8.0.0.0/7", "64.0.0.0/2", "240.0.0.0/4", "2000::/3"]),
            &[opening(Protocol::Udp, "192.0.2.1:2408"), opening(Protocol::Tcp, "[2001:db8::1]:443")],
            learnt,
            &nets(&["172.16.0.2/32", "2606:4700:cf1:1000::1/128"]),
        )
        .finish()
    };
    let addresses: Vec<IpAddr> = ["198.51.100.7", "2001:db8::7"].map(|text| text.parse().unwrap()).into();
    let learnt = |mode| LearntPlan { mode, addresses: addresses.clone() };
    let cases = [
        ("exclude", enforced(&learnt(SplitTunnelMode::Exclude))),
        ("include", enforced(&learnt(SplitTunnelMode::Include))),
        ("learnt", learnt_change(&addresses, &addresses).finish_on(Some(0x0102_0304))),
    ];
    for (name, transaction) in cases {
        let path = format!("{}/tests/data/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("WEFT_GOLDEN").is_some() {
            std::fs::write(&path, lines(&transaction)).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        for (number, (line, expected)) in lines(&transaction).lines().zip(golden.lines()).enumerate() {
            assert_eq!(line, expected, "message {number} of {name}");
        }
        assert_eq!(lines(&transaction), golden, "{name}");
    }
}

#[test]
fn every_message_is_numbered_and_the_last_answered() {
    let many: Vec<IpNet> =
        (0..3000u32).map(|number| format!("2001:db8:{number:x}::/64").parse().unwrap()).collect();
    let addresses = (0..3000u32).map(|number| IpAddr::from(Ipv4Addr::from(number))).collect();
    let learnt = LearntPlan { mode: SplitTunnelMode::Exclude, addresses };
    let transaction = enforcement(&many, &[], &learnt, &[]).finish();
    let text = lines(&transaction);
    let field = |line: &str, byte: usize| u32::from_str_radix(&line[byte * 2..byte * 2 + 2], 16).unwrap();
    for (number, line) in (1..).zip(text.lines()) {
        assert_eq!(field(line, 8) + 256 * field(line, 9), number, "the sequence number");
        assert!(line.len() / 2 <= 0xffff, "a message of {} bytes", line.len() / 2);
        let acknowledged = field(line, 6) & 4 != 0;
        assert_eq!(acknowledged, number == transaction.last, "message {number}");
    }
    assert_eq!(text.lines().count() as u32, transaction.last + 1);
}

#[test]
fn a_transaction_with_one_bad_message_changes_nothing() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        let none = LearntPlan::default();
        let enforcement = |tunnelled: &[IpNet]| enforcement(tunnelled, &[], &none, &[]);
        let commit = |transaction: &Transaction| {
            let mut netlink = Netlink::open(netlink_sys::protocols::NETLINK_NETFILTER).unwrap();
            netlink.transact(&transaction.bytes, transaction.last as usize, transaction.last)
        };
        let list = || host.run(["nft", "list", "table", "inet", TABLE]).map(|output| output.stdout);
        let (first, second) = (nets(&["64.0.0.0/2"]), nets(&["0.0.0.0/0"]));
        host.inside(|| commit(&enforcement(&first).finish()))?.unwrap();
        let before = list()?;

        let mut batch = enforcement(&second);
        let expressions =
            Match::default().address_in(Family::V4, End::Source, "nosuchset".to_owned()).accept();
        let attributes = vec![
            RuleAttribute::Table(TABLE.to_owned()),
            RuleAttribute::Chain(OUTPUT.to_owned()),
            RuleAttribute::Expressions(expressions.into_expressions()),
        ];
        batch.append(NfTablesMessage::NewRule(RuleMessage { attributes }));
        let (at, error) = host.inside(|| commit(&batch.clone().trial()))?.unwrap_err();
        assert_eq!((at > 0, error.errno()), (true, Some(rustix::io::Errno::NOENT)), "a trial finds it too");
        let bad = batch.finish();
        let (at, error) = host.inside(|| commit(&bad))?.unwrap_err();
        assert_eq!(error.errno(), Some(rustix::io::Errno::NOENT), "{error}");
        assert_eq!(at + 1, bad.last as usize);
        assert_eq!(list()?, before);

        host.inside(|| commit(&enforcement(&second).finish()))?.unwrap();
        assert_ne!(list()?, before);
        Ok(())
    });
}

#[test]
fn a_transaction_on_a_generation_of_before_changes_nothing() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        let open = || Netlink::open(netlink_sys::protocols::NETLINK_NETFILTER).unwrap();
        let generation = || crate::linux::nft::read::generation(&mut open()).unwrap().unwrap();
        let commit = |transaction: &Transaction| {
            open().transact(&transaction.bytes, transaction.last as usize, transaction.last)
        };
        host.inside(|| {
            let batch = enforcement(&nets(&["64.0.0.0/2"]), &[], &LearntPlan::default(), &[]);
            let first = generation();
            commit(&batch.clone().finish_on(Some(first))).unwrap();
            assert_eq!(generation(), first + 1, "a transaction makes one generation");
            let addresses = ["198.51.100.7".parse().unwrap()];
            let change = learnt_change(&[], &addresses);
            let (at, error) = commit(&change.clone().finish_on(Some(first))).unwrap_err();
            assert_eq!((at, error.errno()), (0, Some(rustix::io::Errno::RESTART)));
            assert_eq!(generation(), first + 1);
            commit(&change.finish_on(Some(first + 1))).unwrap();
            commit(&learnt_change(&addresses, &[]).finish_on(Some(first + 2))).unwrap();
        })?;
        Ok(())
    });
}
