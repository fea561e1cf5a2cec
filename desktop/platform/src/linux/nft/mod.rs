//! nftables by netlink: what a plan is in tables, chains, sets and rules, and how that goes to the kernel in one
//! transaction. Everything here but [`read`] is pure.

pub(super) mod batch;
mod elements;
mod expression;
pub(super) mod read;
mod rules;
pub(super) mod ruleset;

/// The table, of the family `inet`.
pub(super) const TABLE: &str = "weft";
/// What tells Weft's table from another program's of the same name: the table's comment.
pub(super) const TABLE_COMMENT: &str = "weftd";

/// A text in the form that the nft program keeps its comments in: kind 0, length, bytes, an end mark.
fn comment(text: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend(text.bytes().take(usize::from(u8::MAX) - 1));
    bytes.push(0);
    bytes
}

/// The text of a comment, where there is one.
fn comment_text(userdata: &[u8]) -> Option<String> {
    match userdata {
        [0, length, rest @ ..] => {
            let text = rest.get(..usize::from(*length))?;
            Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
        }
        _ => None,
    }
}
