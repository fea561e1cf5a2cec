//! What is asked: every kind of query, and what its answer must have for the case to mean something.

use weft_e2e::dns::{Message, Query, kind};

use crate::zone::{longest_label, longest_name};

/// One kind of query and answer.
pub(crate) struct Case {
    pub(crate) about: &'static str,
    pub(crate) query: Query,
    /// Whether the upstream's answer is of the kind that the case is about.
    pub(crate) fits: fn(&Message) -> bool,
}

fn case(about: &'static str, query: Query, fits: fn(&Message) -> bool) -> Case {
    Case { about, query, fits }
}

const CD: u16 = 0x0010;
const AD: u16 = 0x0020;
const NXDOMAIN: u16 = 3;
const BADVERS: u16 = 16;

/// Whether an answer has so many records of a type, and no error.
macro_rules! has {
    ($kind:expr, $count:literal) => {
        |answer| answer.code() == 0 && answer.count($kind) == $count
    };
}

/// Every type that is in use, by a name that has it.
pub(crate) fn types(zone: &str) -> Vec<Case> {
    let of = |label: &str, kind: u16| {
        let name = if label.is_empty() { zone.to_owned() } else { format!("{label}.{zone}") };
        Query::new(&name, kind)
    };
    vec![
        case("A", of("a", kind::A), has!(kind::A, 1)),
        case("AAAA", of("a", kind::AAAA), has!(kind::AAAA, 1)),
        case("several A", of("many", kind::A), has!(kind::A, 4)),
        case("a chain of aliases", of("alias", kind::A), |answer| {
            answer.count(kind::CNAME) == 3 && answer.count(kind::A) == 1
        }),
        case("CNAME itself", of("alias", kind::CNAME), has!(kind::CNAME, 1)),
        case("an alias of nothing", of("dangling", kind::A), |answer| {
            answer.code() == NXDOMAIN && answer.count(kind::CNAME) == 1
        }),
        case("MX", of("", kind::MX), has!(kind::MX, 2)),
        case("TXT", of("short", kind::TXT), has!(kind::TXT, 1)),
        case("NS", of("", kind::NS), has!(kind::NS, 1)),
        case("SOA", of("", kind::SOA), has!(kind::SOA, 1)),
        case("SRV", of("_sip._tcp", kind::SRV), has!(kind::SRV, 1)),
        case("PTR", of("ptr", kind::PTR), has!(kind::PTR, 1)),
        case("CAA", of("caa", kind::CAA), has!(kind::CAA, 1)),
        case("HTTPS", of("web", kind::HTTPS), has!(kind::HTTPS, 1)),
        case("HTTPS, an alias", of("web2", kind::HTTPS), has!(kind::HTTPS, 1)),
        case("SVCB", of("_svc", kind::SVCB), has!(kind::SVCB, 1)),
        case("TLSA", of("_443._tcp", kind::TLSA), has!(kind::TLSA, 1)),
        case("NAPTR", of("naptr", kind::NAPTR), has!(kind::NAPTR, 1)),
        case("SSHFP", of("ssh", kind::SSHFP), has!(kind::SSHFP, 1)),
        case("URI", of("_ftp._tcp", kind::URI), has!(kind::URI, 1)),
        case("LOC", of("where", kind::LOC), has!(kind::LOC, 1)),
        case("HINFO", of("hinfo", kind::HINFO), has!(kind::HINFO, 1)),
        case("DNAME above the name", of("x.below", kind::A), |answer| {
            answer.count(kind::DNAME) == 1 && answer.count(kind::CNAME) == 1 && answer.count(kind::A) == 1
        }),
        case("an unknown type", of("strange", 65280), has!(65280, 1)),
        case("an unknown type that is not there", of("a", 65281), has!(65281, 0)),
        case("ANY", of("a", kind::ANY), |answer| answer.code() == 0 && answer.count(kind::A) == 1),
    ]
}

/// Names of every shape, and names that are not.
pub(crate) fn names(zone: &str) -> Vec<Case> {
    let of = |label: &str, kind: u16| Query::new(&format!("{label}.{zone}"), kind);
    vec![
        case("NODATA", of("a", kind::MX), |answer| answer.code() == 0 && answer.answers().is_empty()),
        case("NXDOMAIN", of("nowhere", kind::A), |answer| answer.code() == NXDOMAIN),
        case("NXDOMAIN, deep", of("a.b.c.nowhere", kind::AAAA), |answer| answer.code() == NXDOMAIN),
        case("a wildcard", of("anything.wild", kind::A), has!(kind::A, 1)),
        case("a wildcard, deep, with its proof", of("a.b.wild", kind::TXT).dnssec(), |answer| {
            answer.count(kind::TXT) == 1 && answer.count(kind::RRSIG) == 1
        }),
        case("a wildcard without the type", of("any.wild", kind::MX), has!(kind::MX, 0)),
        case("an empty non-terminal", of("ent", kind::A), |answer| {
            answer.code() == 0 && answer.answers().is_empty()
        }),
        case("an IDN", of("xn--bcher-kva", kind::A), has!(kind::A, 1)),
        case("letters of either case", of("mIxEd", kind::A), has!(kind::A, 1)),
        case("an underscore", of("under_score", kind::A), has!(kind::A, 1)),
        case("a label of 63 bytes", of(&longest_label(), kind::A), has!(kind::A, 1)),
    ]
}

/// Answers and names of the largest sizes.
pub(crate) fn sizes(zone: &str) -> Vec<Case> {
    let of = |label: &str| Query::new(&format!("{label}.{zone}"), kind::TXT);
    let whole: fn(&Message) -> bool = has!(kind::TXT, 1);
    vec![
        case("600 bytes without EDNS", of("txt600").bare(), whole),
        case("600 bytes with EDNS", of("txt600"), whole),
        case("600 bytes with an EDNS size of 512", of("txt600").size(512), whole),
        case("600 bytes with an EDNS size below 512", of("txt600").size(100), whole),
        case("1,300 bytes", of("txt1300"), whole),
        case("1,300 bytes with a size of 4,096", of("txt1300").size(4096), whole),
        case("4,500 bytes", of("txt4500"), whole),
        case("a name of 255 bytes", Query::new(&longest_name(zone), kind::A), has!(kind::A, 1)),
        case("4,500 bytes with the largest size", of("txt4500").size(65535), whole),
    ]
}

/// EDNS, header bits, classes.
pub(crate) fn extensions(zone: &str) -> Vec<Case> {
    let of = |label: &str| Query::new(&format!("{label}.{zone}"), kind::A);
    let found: fn(&Message) -> bool = has!(kind::A, 1);
    let ecs = [0, 1, 24, 0, 198, 51, 100];
    vec![
        case("no EDNS", of("a").bare(), |answer| !answer.has_edns() && answer.count(kind::A) == 1),
        case("EDNS", of("a"), |answer| answer.has_edns() && answer.count(kind::A) == 1),
        case("AD wanted", of("a").flags(AD), found),
        case("CD", of("a").flags(CD), found),
        case("NSID", of("a").option(3, &[]), found),
        case("a cookie", of("a").option(10, &[7; 8]), found),
        case("padding", of("a").option(12, &[0; 40]), found),
        case("a client subnet", of("a").option(8, &ecs), found),
        case("an unknown option", of("a").option(65001, b"anything"), found),
        case("version 1 of EDNS", of("a").version(1), |answer| answer.code() == BADVERS),
    ]
}

/// DNSSEC: its types, its bits and its proofs.
pub(crate) fn dnssec(zone: &str) -> Vec<Case> {
    let of = |label: &str, kind: u16| {
        let name = if label.is_empty() { zone.to_owned() } else { format!("{label}.{zone}") };
        Query::new(&name, kind)
    };
    vec![
        case("DNSKEY", of("", kind::DNSKEY).dnssec(), |answer| {
            answer.count(kind::DNSKEY) > 0 && answer.count(kind::RRSIG) > 0
        }),
        case("DNSKEY without DO", of("", kind::DNSKEY), |answer| {
            answer.count(kind::DNSKEY) > 0 && answer.count(kind::RRSIG) == 0
        }),
        case("DS", of("child", kind::DS).dnssec(), |answer| {
            answer.count(kind::DS) == 1 && answer.count(kind::RRSIG) == 1
        }),
        case("signatures", of("a", kind::A).dnssec(), |answer| answer.count(kind::RRSIG) == 1),
        case("signatures with CD", of("a", kind::AAAA).dnssec().flags(CD), |answer| {
            answer.count(kind::RRSIG) == 1
        }),
        case("signatures of a chain", of("alias", kind::AAAA).dnssec(), |answer| {
            answer.count(kind::RRSIG) == 4
        }),
        case("the denial of a name", of("nowhere", kind::A).dnssec(), |answer| {
            answer.code() == NXDOMAIN && denies(answer)
        }),
        case("the denial of a type", of("a", kind::MX).dnssec(), |answer| {
            answer.code() == 0 && denies(answer)
        }),
        case("the denial of a DS", of("ns.child", kind::DS).dnssec(), |_| true),
        case("NSEC3PARAM", of("", kind::NSEC3PARAM), |answer| answer.code() == 0),
    ]
}

/// What the server says of itself, and of what it does not take for granted.
pub(crate) fn server(zone: &str) -> Vec<Case> {
    let of = |label: &str| Query::new(&format!("{label}.{zone}"), kind::A);
    const CHAOS: u16 = 3;
    vec![
        case("an answer that is authentic, by DO", of("a").dnssec(), Message::is_authentic),
        case("an answer that is authentic, by AD", of("a").flags(AD), Message::is_authentic),
        case("not said where nobody asked", of("a"), |answer| !answer.is_authentic()),
        case("a denial that is authentic", of("nobody").dnssec(), Message::is_authentic),
        case("class CH", Query::new("version.bind", kind::TXT).class(CHAOS), |_| true),
        case("the root", Query::new("", kind::MX), |_| true),
    ]
}

/// Whether the authority section proves that something is not there.
fn denies(answer: &Message) -> bool {
    let [_, authority, _] = &answer.sections;
    authority.iter().any(|record| [kind::NSEC, kind::NSEC3].contains(&record.kind))
}
