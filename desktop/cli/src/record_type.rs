//! Record types by their names.

/// The types that people ask for, of IANA's registry "Resource Record (RR) TYPEs".
const NAMES: [(&str, u16); 31] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AAAA", 28),
    ("LOC", 29),
    ("SRV", 33),
    ("NAPTR", 35),
    ("CERT", 37),
    ("DNAME", 39),
    ("DS", 43),
    ("SSHFP", 44),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("SMIMEA", 53),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("OPENPGPKEY", 61),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("URI", 256),
    ("CAA", 257),
];

/// Why a text is no record type.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is no record type: A, AAAA, HTTPS, MX, TXT and others have names, the rest is TYPE with a number (TYPE65280)"
)]
pub(crate) struct UnknownType(String);

/// The number of a record type: its name, or TYPE and the number (RFC 3597, section 5), in whatever case.
pub(crate) fn parse(text: &str) -> Result<u16, UnknownType> {
    let upper = text.to_ascii_uppercase();
    let named = NAMES.iter().find(|(name, _)| *name == upper).map(|(_, number)| *number);
    let numbered = || upper.strip_prefix("TYPE")?.parse().ok().filter(|number| *number != 0);
    named.or_else(numbered).ok_or_else(|| UnknownType(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names_and_numbers() {
        let cases = [("A", 1), ("aaaa", 28), ("Https", 65), ("CAA", 257), ("TYPE65280", 65280), ("type1", 1)];
        for (text, number) in cases {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", "AAA", "TYPE", "TYPE0", "TYPE65536", "TYPE-1", "1"] {
            assert_eq!(parse(text), Err(UnknownType(text.to_owned())));
        }
    }
}
