//! Extended DNS errors (RFC 8914).

use weft_model::ExtendedError;

use super::edit::set_dnssec_ok;
use super::edns::{add_edns, add_option, edns, find, option_code, options};
use super::{SAFE_UDP_LIMIT, read_u16};

/// The most text of an error that is kept or sent, in bytes: a sentence or two, and no answer grows over its limit
/// by it.
const MAX_TEXT: usize = 200;

/// The INFO-CODEs that Weft itself gives (RFC 8914, section 4).
pub mod info_code {
    /// No code fits.
    pub const OTHER: u16 = 0;
    /// The answer's time was over (RFC 8767).
    pub const STALE_ANSWER: u16 = 3;
    /// What answers is not ready.
    pub const NOT_READY: u16 = 14;
    /// Who asks is not allowed to.
    pub const PROHIBITED: u16 = 18;
    /// Nobody who could answer was reached.
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
    /// The network failed on the way.
    pub const NETWORK_ERROR: u16 = 23;
}

/// Every extended error of an answer, in order; their texts without control characters and at most 200 bytes.
#[must_use]
pub fn extended_errors(answer: &[u8]) -> Vec<ExtendedError> {
    let Some(record) = find(answer) else { return Vec::new() };
    let error = |(code, start, end): (u16, usize, usize)| {
        let code = (code == option_code::EXTENDED_ERROR).then(|| read_u16(answer, start + 4))??;
        let text = answer.get(start + 6..end)?;
        Some(ExtendedError { code, text: one_line(text) })
    };
    options(answer, record).filter_map(error).collect()
}

fn one_line(text: &[u8]) -> String {
    let mut line: String =
        String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(MAX_TEXT));
    line.trim().to_owned()
}

/// Adds an extended error to an answer, with an OPT record where it has none; only if `query` has one. Says whether
/// it did.
pub fn add_extended_error(answer: &mut Vec<u8>, query: &[u8], error: &ExtendedError) -> bool {
    let Some(asked) = edns(query) else { return false };
    if find(answer).is_none() {
        if !add_edns(answer, SAFE_UDP_LIMIT) {
            return false;
        }
        set_dnssec_ok(answer, asked.dnssec_ok);
    }
    let text = error.text.get(..error.text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
    let value = [&error.code.to_be_bytes(), text.as_bytes()].concat();
    add_option(answer, option_code::EXTENDED_ERROR, &value)
}
