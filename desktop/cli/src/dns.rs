//! What people see of the DNS proxy.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use weft_ipc::{DnsFallback, DnsStatus};
use weft_model::{DnsLog, DnsLogEntry, DnsLookup, DnsStats, ExtendedError};

use crate::render::{bytes, fallback_domain, list, origin};
use crate::time;

/// The INFO-CODEs' names (RFC 8914, section 4, and what IANA has registered since), by their numbers.
const EXTENDED_ERRORS: [&str; 31] = [
    "Other Error",
    "Unsupported DNSKEY Algorithm",
    "Unsupported DS Digest Type",
    "Stale Answer",
    "Forged Answer",
    "DNSSEC Indeterminate",
    "DNSSEC Bogus",
    "Signature Expired",
    "Signature Not Yet Valid",
    "DNSKEY Missing",
    "RRSIGs Missing",
    "No Zone Key Bit Set",
    "NSEC Missing",
    "Cached Error",
    "Not Ready",
    "Blocked",
    "Censored",
    "Filtered",
    "Prohibited",
    "Stale NXDOMAIN Answer",
    "Not Authoritative",
    "Not Supported",
    "No Reachable Authority",
    "Network Error",
    "Invalid Data",
    "Signature Expired before Valid",
    "Too Early",
    "Unsupported NSEC3 Iterations Value",
    "Unable to conform to policy",
    "Synthesized",
    "Invalid Query Type",
];

/// What became of the queries so far.
pub(crate) fn stats(stats: &DnsStats) -> String {
    let DnsStats {
        queries,
        local,
        hosts,
        cached,
        stale,
        fallback,
        upstream,
        portal,
        refused,
        joined,
        prefetched,
        failed,
        mismatched,
        held,
        hold_failures,
        in_flight,
        cache_entries,
        cache_bytes,
    } = stats;
    let mut text = format!("Queries: {queries}\nOf these:");
    let answered = [
        ("Answered by Weft itself", local),
        ("Answered from the hosts file", hosts),
        ("Answered from the cache", cached),
        ("Answered from the cache, after their time", stale),
        ("Sent to fallback resolvers", fallback),
        ("Sent to the upstream", upstream),
        ("Sent to a captive portal's resolvers", portal),
        ("Refused at once", refused),
    ];
    let besides = [
        ("Waited for the answer to the same query", joined),
        ("Nobody answered in time", failed),
        ("Held back until the split tunnel had their addresses", held),
        ("Held back, and their addresses were not in force in time", hold_failures),
    ];
    let rest = [
        ("Waiting for an answer now", in_flight),
        ("Fetched anew before their time ended", prefetched),
        ("Answers that nobody asked for", mismatched),
    ];
    let lines = |group: &[(&str, &u64)]| list(group.iter().map(|(what, count)| format!("{what}: {count}")));
    text.push_str(&lines(&answered));
    text.push_str("\nAlso counted among them:");
    text.push_str(&lines(&besides));
    for (what, count) in rest {
        // Writing into a String never fails.
        let _ = write!(text, "\n{what}: {count}");
    }
    let _ = write!(text, "\nCache: {cache_entries} answers in {}", bytes(*cache_bytes));
    text
}

fn addresses(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "none".to_owned(),
        addresses => addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// How names are answered.
pub(crate) fn status(status: &DnsStatus) -> String {
    let DnsStatus { state, service_mode, upstream, system_resolvers, settings } = status;
    let upstream = match upstream {
        Some(upstream) => upstream.to_string(),
        None if service_mode.handles_dns() => "none: the device is not registered".to_owned(),
        None => "none: this service mode leaves DNS alone".to_owned(),
    };
    let mut text = format!(
        "State: {state}\nService mode: {service_mode}\nUpstream: {upstream}\nThe system's own resolvers: {}\n\
         Means of changing the system's settings: {}\nBecause:{}\nKept by: {}\nPlace: {}\nIn force there: {}\n\
         Nameservers: {}\nSearch domains: {}",
        addresses(system_resolvers),
        settings.mode,
        list(&settings.trace),
        settings.owner.as_deref().unwrap_or("nobody"),
        settings.place,
        if settings.ours { "Weft's settings" } else { "not Weft's settings" },
        addresses(&settings.servers),
        if settings.search.is_empty() { "none".to_owned() } else { settings.search.join(", ") },
    );
    for holder in &settings.port_holders {
        let _ = write!(text, "\nPort in use: {holder}");
    }
    for warning in &settings.warnings {
        let _ = write!(text, "\nWarning: {warning}");
    }
    text
}

/// The fallback rules.
pub(crate) fn fallback(fallback: &DnsFallback) -> String {
    let DnsFallback { origin: decided_by, domains, system_resolvers } = fallback;
    let mut text = format!("Fallback domains ({}):", origin(*decided_by));
    if domains.is_empty() {
        text.push_str(" none");
    }
    text.push_str(&list(domains.iter().map(|domain| match &domain.description {
        Some(description) => format!("{} ({description})", fallback_domain(domain)),
        None => fallback_domain(domain),
    })));
    let _ = write!(text, "\nThose without resolvers of their own use: {}", addresses(system_resolvers));
    text
}

fn extended_error(error: &ExtendedError) -> String {
    let name = EXTENDED_ERRORS.get(usize::from(error.code)).copied().unwrap_or("not registered");
    match error.text.as_str() {
        "" => format!("{name} ({})", error.code),
        text => format!("{name} ({}): {text}", error.code),
    }
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{:03} ms", micros / 1000, micros % 1000)
}

/// What became of one name.
pub(crate) fn lookup(lookup: &DnsLookup) -> String {
    let DnsLookup { name, kind, source, host_entry, rcode, errors, answers, micros, message: _ } = lookup;
    let mut text = format!("Name: {name}\nType: {kind}\nAnswered by: {source}");
    if let Some(entry) = host_entry {
        let _ = write!(text, "\nSplit-tunnel entry: {entry}");
    }
    let _ = write!(text, "\nResponse code: {rcode}");
    for error in errors {
        let _ = write!(text, "\nExtended error: {}", extended_error(error));
    }
    match answers.is_empty() {
        true => text.push_str("\nAnswer: no records"),
        false => {
            text.push_str("\nAnswer:");
            text.push_str(&list(answers));
        }
    }
    let _ = write!(text, "\nTime: {}", milliseconds(*micros));
    text
}

/// What to do where the log is off.
pub(crate) const FOLLOWED_LOG_IS_OFF: &str = "the DNS log is off, since names are private; what is asked once `weft dns log --on` has switched it on is shown here";

/// The log of names that were asked for.
pub(crate) fn log(log: &DnsLog) -> String {
    let DnsLog { on, entries } = log;
    match (on, entries.as_slice()) {
        (false, _) => {
            "The DNS log is off, since names are private. `weft dns log --on` switches it on; it is kept in \
                       memory alone."
                .to_owned()
        }
        (true, []) => "The DNS log is on, and empty so far. `weft dns log --off` switches it off.".to_owned(),
        (true, entries) => entries.iter().map(log_entry).collect::<Vec<_>>().join("\n"),
    }
}

/// One line of the log.
pub(crate) fn log_entry(entry: &DnsLogEntry) -> String {
    let DnsLogEntry { at, name, kind, source, rcode, micros, error } = entry;
    let stamp = time::stamp(unix_ms(*at));
    let mut text = format!("{stamp} {name} {kind} {rcode} {} by {source}", milliseconds(*micros));
    if let Some(error) = error {
        let _ = write!(text, "; {}", extended_error(error));
    }
    text
}

fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
