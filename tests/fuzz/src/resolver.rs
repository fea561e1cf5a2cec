//! The system's resolver file, which any program may have written, and the message bus that programs which keep it
//! answer on.

use weft_model::{DNS_PROXY_ADDRESSES, DnsPlan};
use weft_platform::is_bus_message;
use weft_platform::resolv_conf::{author, is_ours, parse, render};

use crate::{Outcome, assert_one_line};

/// `/etc/resolv.conf` as it was found.
pub fn resolv_conf(data: &[u8]) -> Outcome {
    let found = parse(data);
    found.warnings.iter().for_each(|warning| assert_one_line(warning));
    if let Some(author) = author(data) {
        assert_one_line(&author);
    }
    let plan = DnsPlan {
        servers: DNS_PROXY_ADDRESSES.to_vec(),
        search: found.search.iter().filter_map(|domain| domain.parse().ok()).collect(),
    };
    let written = render(&plan, &found.search);
    assert!(is_ours(written.as_bytes()), "what Weft writes is known as Weft's");
    assert_eq!(author(written.as_bytes()).as_deref(), Some("weftd"));
    let read = parse(written.as_bytes());
    assert_eq!(read.warnings, Vec::<String>::new(), "what Weft writes is well-formed");
    assert_eq!(read.addresses().collect::<Vec<_>>(), DNS_PROXY_ADDRESSES);
    assert_eq!(read.search, found.search, "the system's search domains are kept");
    found.warnings.is_empty().into()
}

/// What the message bus sends.
pub fn bus_message(data: &[u8]) -> Outcome {
    is_bus_message(data).into()
}
