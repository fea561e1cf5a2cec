//! The extended errors that Weft itself gives (RFC 8914), in words for whoever asked.

use weft_model::{DnsSource, ExtendedError};

use super::types::UpstreamErrorKind;
use crate::message::info_code;

/// "Stale NXDOMAIN Answer" (RFC 8914, section 4.20).
const STALE_NXDOMAIN_ANSWER: u16 = 19;

/// Why a query has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Who was asked has failed.
    Upstream(UpstreamErrorKind),
    /// There is nobody to ask.
    Nobody,
    /// The device is in another network than when it was asked.
    OtherNetwork,
    /// A captive portal opened or closed meanwhile.
    Portal,
    /// Too many wait.
    TooMany,
    /// The answer's addresses do not lead the right way.
    Hold,
}

impl Failure {
    /// An answer's addresses cannot be read.
    pub(super) fn unreadable() -> Self {
        Self::Upstream(UpstreamErrorKind::Garbage)
    }

    pub(super) fn error(self, source: &DnsSource) -> ExtendedError {
        use UpstreamErrorKind::{Garbage, NotReady, Refused, TimedOut, Unreachable};
        let (who, is_one) = who(source);
        let verb = |one: &'static str, many: &'static str| if is_one { one } else { many };
        let (code, text) = match self {
            Self::Upstream(Unreachable) => (info_code::NETWORK_ERROR, format!("{who} cannot be reached")),
            Self::Upstream(TimedOut) => {
                let text = format!("{who} {} not answer", verb("does", "do"));
                (info_code::NO_REACHABLE_AUTHORITY, text)
            }
            Self::Upstream(NotReady) => (info_code::NOT_READY, "the tunnel is not up".to_owned()),
            Self::Upstream(Refused { status }) => {
                let code = if matches!(status, 401 | 403) { info_code::PROHIBITED } else { info_code::OTHER };
                (code, format!("{who} {} with HTTP status {status}", verb("refuses", "refuse")))
            }
            Self::Upstream(Garbage) => {
                let text = format!("{who} {} with what is no answer to the query", verb("answers", "answer"));
                (info_code::OTHER, text)
            }
            Self::Nobody => (info_code::NO_REACHABLE_AUTHORITY, "no resolver is known to ask".to_owned()),
            Self::OtherNetwork => (info_code::NETWORK_ERROR, "the network is another one".to_owned()),
            Self::Portal => (info_code::NETWORK_ERROR, "a captive portal opened or closed".to_owned()),
            Self::TooMany => (info_code::OTHER, "too many queries wait for an answer".to_owned()),
            Self::Hold => {
                (info_code::OTHER, "the way to its addresses could not be set up in time".to_owned())
            }
        };
        ExtendedError { code, text }
    }
}

/// Says that an answer's time was over.
pub(super) fn stale(is_no_such_name: bool) -> ExtendedError {
    let code = if is_no_such_name { STALE_NXDOMAIN_ANSWER } else { info_code::STALE_ANSWER };
    ExtendedError { code, text: "nobody could be asked; this is an earlier answer".to_owned() }
}

/// Who was asked, and whether that is one.
fn who(source: &DnsSource) -> (String, bool) {
    let (servers, place) = match source {
        DnsSource::Doh => return ("the gateway's resolver".to_owned(), true),
        DnsSource::Plain { servers } => (servers, " in the tunnel"),
        DnsSource::Fallback { servers, .. }
        | DnsSource::System { servers }
        | DnsSource::Portal { servers } => (servers, ""),
        DnsSource::Local | DnsSource::Hosts | DnsSource::Cache { .. } | DnsSource::Refused => {
            return ("the resolver".to_owned(), true);
        }
    };
    let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let is_one = names.len() == 1;
    (format!("the resolver{} {}{place}", if is_one { "" } else { "s" }, names.join(", ")), is_one)
}
