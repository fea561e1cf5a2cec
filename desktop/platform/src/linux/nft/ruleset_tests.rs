use std::fmt::Write as _;

use weft_model::Protocol;

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
    let transaction = enforcement(
        &nets(&["0.0.0.0/5", "8.0.0.0/7", "64.0.0.0/2", "240.0.0.0/4", "2000::/3"]),
        &[opening(Protocol::Udp, "192.0.2.1:2408"), opening(Protocol::Tcp, "[2001:db8::1]:443")],
        &nets(&["172.16.0.2/32", "2606:4700:cf1:1000::1/128"]),
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/enforcement.hex");
    if std::env::var_os("WEFT_GOLDEN").is_some() {
        std::fs::write(path, lines(&transaction)).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (number, (line, expected)) in lines(&transaction).lines().zip(golden.lines()).enumerate() {
        assert_eq!(line, expected, "message {number}");
    }
    assert_eq!(lines(&transaction), golden);
}

#[test]
fn every_message_is_numbered_and_the_last_answered() {
    let many: Vec<IpNet> =
        (0..3000u32).map(|number| format!("2001:db8:{number:x}::/64").parse().unwrap()).collect();
    let transaction = enforcement(&many, &[], &[]);
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
        let commit = |transaction: &Transaction| {
            let mut netlink = Netlink::open(netlink_sys::protocols::NETLINK_NETFILTER).unwrap();
            netlink.transact(&transaction.bytes, transaction.last as usize, transaction.last)
        };
        let list = || host.run(["nft", "list", "table", "inet", TABLE]).map(|output| output.stdout);
        let (first, second) = (nets(&["64.0.0.0/2"]), nets(&["0.0.0.0/0"]));
        host.inside(|| commit(&enforcement(&first, &[], &[])))?.unwrap();
        let before = list()?;

        let mut batch = enforcement_batch(&second, &[], &[]);
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

        host.inside(|| commit(&enforcement(&second, &[], &[])))?.unwrap();
        assert_ne!(list()?, before);
        Ok(())
    });
}
