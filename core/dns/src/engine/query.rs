//! A query, read.

use super::types::Protocol;
use super::{ClientId, MAX_QUERY, Waiter};
use crate::cache::KeyBuf;
use crate::message::{self, HEADER_LEN, SAFE_UDP_LIMIT, record_type, response_code};

/// The longest UDP answer of who takes any length.
const ANY_LENGTH: usize = 65_535;

/// A query as far as the engine must know it.
pub(super) struct Query<'a> {
    pub(super) wire: &'a [u8],
    pub(super) key: KeyBuf,
    /// Whether what is asked is in the key alone, so that one answer serves all who ask the same.
    pub(super) shareable: bool,
    /// Whether it has no records but an OPT record: its question may be bent.
    pub(super) unsigned: bool,
    /// The longest answer that its client takes, in bytes.
    pub(super) limit: usize,
    question_end: usize,
}

impl<'a> Query<'a> {
    /// Reads a query. Else the response code to refuse it with; none where it gets no answer at all.
    pub(super) fn read(wire: &'a [u8], protocol: Protocol) -> Result<Self, Option<u8>> {
        if message::is_answer(wire) || wire.len() < HEADER_LEN {
            return Err(None);
        }
        if message::opcode(wire) != 0 {
            return Err(Some(response_code::NOT_IMPLEMENTED));
        }
        let place = message::question_place(wire).ok_or(Some(response_code::FORMAT_ERROR))?;
        if wire.len() > MAX_QUERY || !message::is_well_formed(wire) {
            return Err(Some(response_code::FORMAT_ERROR));
        }
        // A zone comes in several messages, which no DoH answer holds.
        if matches!(place.kind, record_type::AXFR | record_type::IXFR) {
            return Err(Some(response_code::REFUSED));
        }
        let (unsigned, shareable) = records_of(wire, place.end);
        let limit = match protocol {
            Protocol::Udp => message::udp_limit(wire),
            Protocol::Tcp => ANY_LENGTH,
        };
        let key = KeyBuf::of(wire).ok_or(Some(response_code::FORMAT_ERROR))?;
        Ok(Self { wire, key, shareable, unsigned, limit, question_end: place.end })
    }

    /// The key with everything in it, to be kept.
    pub(super) fn shared_key(&self) -> Box<[u8]> {
        let key = self.key.key();
        [&[key.flags.bits()], &key.kind.to_be_bytes()[..], &key.class.to_be_bytes(), key.name].concat().into()
    }

    /// The query without options and other records: enough to answer it by.
    pub(super) fn head(&self) -> Vec<u8> {
        let flags = self.key.key().flags;
        let mut head = Vec::with_capacity(self.question_end + 11);
        head.extend_from_slice(self.wire.get(..self.question_end).unwrap_or_default());
        for count in [6, 8, 10] {
            message::write_u16(&mut head, count, 0);
        }
        if flags.edns {
            message::add_edns(&mut head, SAFE_UDP_LIMIT);
            message::set_dnssec_ok(&mut head, flags.dnssec_ok);
        }
        head
    }

    /// What a resolver is asked. One that may be shared tells nothing of its first client but what is in its key.
    pub(super) fn to_ask(&self) -> Vec<u8> {
        let mut asked = if self.shareable { self.head() } else { self.wire.to_vec() };
        if self.unsigned {
            message::strip_hop_options(&mut asked);
        }
        if self.shareable {
            if let Some(flags) = asked.get_mut(2) {
                *flags &= 0x01;
            }
            if let Some(flags) = asked.get_mut(3) {
                *flags &= 0x30;
            }
            if let Some(name) = asked.get_mut(HEADER_LEN..self.question_end) {
                // Type and class are put back: their bytes may look like letters.
                let (kind, class) = (self.key.key().kind, self.key.key().class);
                name.make_ascii_lowercase();
                message::write_u16(&mut asked, self.question_end - 4, kind);
                message::write_u16(&mut asked, self.question_end - 2, class);
            }
        }
        message::set_id(&mut asked, 0);
        asked
    }

    /// Its client, to be answered later.
    pub(super) fn waiter(&self, client: ClientId, now: std::time::Instant) -> Waiter {
        Waiter { client, head: self.head(), limit: self.limit, since: now }
    }
}

/// Whether the query has no records but an OPT record, and whether that says nothing that is not in a key.
fn records_of(wire: &[u8], question_end: usize) -> (bool, bool) {
    let mut records = message::records(wire, question_end).flatten();
    let Some(opt) = records.next() else { return (true, true) };
    // Its owner is the root, which takes one byte, and 10 bytes of fixed fields follow.
    if records.next().is_some() || opt.kind != record_type::OPT || opt.data != opt.start + 11 {
        return (false, false);
    }
    // The TTL of an OPT record holds the extended response code and the version.
    let plain = opt.ttl & 0xffff_0000 == 0 && opt.section == message::Section::Additional;
    (true, plain && !message::has_end_to_end_options(wire))
}
