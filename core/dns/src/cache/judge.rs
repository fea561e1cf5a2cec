//! What may be kept, and for how long.

use std::borrow::Cow;

use super::key::Key;
use crate::message::{
    self, Fields, HEADER_LEN, Record, Section, is_opt, option_code, record_type, response_code, ttl_of,
};

/// The longest that an answer is kept, in seconds: one day.
pub(crate) const MAX_LIFE: u32 = 24 * 60 * 60;
/// The longest that it is kept that there is no such name or no such data, in seconds: three hours, the upper end of
/// what works well (RFC 2308, section 5).
pub(crate) const MAX_NEGATIVE_LIFE: u32 = 3 * 60 * 60;

/// AA, RD, RA, Z, AD, CD and the response code: what of a header's flags is kept.
const KEPT_FLAGS: u16 = 0x05ff;

/// What is kept of an OPT record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opt {
    pub(crate) payload_size: u16,
    /// DO and what else stands beside it.
    pub(crate) flags: u16,
    /// The extended errors, whole; other options are between two neighbours.
    pub(crate) options: Vec<u8>,
}

/// An answer that may be kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged<'a> {
    /// How long, in seconds; at least 1.
    pub(crate) life: u32,
    pub(crate) flags: u16,
    /// Records of the three sections, without the OPT record.
    pub(crate) counts: [u8; 3],
    pub(crate) opt: Option<Opt>,
    /// The records' bytes, without the OPT record's.
    pub(crate) records: Cow<'a, [u8]>,
}

/// Judges an answer. None where it may not be kept: it is no whole and sound answer to this question, was cut (TC),
/// reports an error of the resolver's own, says nothing that lasts, or has over 255 records in a section.
pub(crate) fn judge<'a>(key: &Key<'_>, answer: &'a [u8]) -> Option<Judged<'a>> {
    let place = message::question_place(answer)?;
    let name = answer.get(HEADER_LEN..place.name_end)?;
    let fits = message::is_answer(answer)
        && message::opcode(answer) == 0
        && !message::is_truncated(answer)
        && (place.kind, place.class) == (key.kind, key.class)
        && name.eq_ignore_ascii_case(key.name);
    if !fits || !matches!(message::rcode(answer), response_code::NO_ERROR | response_code::NAME_ERROR) {
        return None;
    }
    let mut survey = Survey::new(key, answer);
    let mut end = place.end;
    for record in message::records(answer, place.end) {
        let record = record?;
        survey.take(answer, &record)?;
        end = record.end;
    }
    let life = survey.life().filter(|_| end == answer.len())?;
    let counts = survey.counts;
    let mut records = Cow::Borrowed(answer.get(place.end..)?);
    let mut opt = None;
    if let Some(record) = survey.opt {
        opt = Some(kept_of_opt(answer, record)?);
        records = Cow::Borrowed(answer.get(place.end..record.start)?);
        if record.end != answer.len() {
            // What stands behind it moves forward.
            let mut without = answer.to_vec();
            message::remove_edns(&mut without);
            let moved = without.get(place.end..)?.to_vec();
            if moved.len() + record.end - record.start + place.end != answer.len() {
                return None;
            }
            records = Cow::Owned(moved);
        }
    }
    let flags = message::read_u16(answer, 2)? & KEPT_FLAGS;
    Some(Judged { life, flags, counts, opt, records })
}

/// None where the options do not fill the record, or it adds to the response code.
fn kept_of_opt(answer: &[u8], record: Record) -> Option<Opt> {
    let [extended, version, flags_0, flags_1] = record.ttl.to_be_bytes();
    let mut options = Vec::new();
    let mut filled = record.data;
    for (code, start, end) in message::options(answer, record) {
        if code == option_code::EXTENDED_ERROR {
            options.extend_from_slice(answer.get(start..end)?);
        }
        filled = end;
    }
    let flags = u16::from_be_bytes([flags_0, flags_1]);
    let whole = extended == 0 && version == 0 && filled == record.end;
    whole.then_some(Opt { payload_size: record.class, flags, options })
}

/// What the records of an answer come to.
struct Survey {
    kind: u16,
    class: u16,
    no_such_name: bool,
    fields: Fields,
    counts: [u8; 3],
    least_ttl: u32,
    /// Whether the answer section has what was asked for.
    answers: bool,
    /// The least of the SOA record's TTL and its MINIMUM.
    negative_ttl: Option<u32>,
    opt: Option<Record>,
}

impl Survey {
    fn new(key: &Key<'_>, answer: &[u8]) -> Self {
        Self {
            kind: key.kind,
            class: key.class,
            no_such_name: message::rcode(answer) == response_code::NAME_ERROR,
            fields: Fields::new(answer),
            counts: [0; 3],
            least_ttl: u32::MAX,
            answers: false,
            negative_ttl: None,
            opt: None,
        }
    }

    /// None where nothing of the answer may be kept.
    fn take(&mut self, answer: &[u8], record: &Record) -> Option<()> {
        let sound = self.fields.add_sound(answer, record);
        if record.kind == record_type::OPT {
            let alone = self.opt.is_none() && record.section == Section::Additional && is_opt(record);
            self.opt = alone.then_some(*record);
            return alone.then_some(());
        }
        // Signatures of the message as a whole fit it as it is alone.
        if matches!(record.kind, record_type::TSIG | record_type::TKEY) || !sound {
            return None;
        }
        let [answers, authority, additional] = &mut self.counts;
        let count = match record.section {
            Section::Answer => answers,
            Section::Authority => authority,
            Section::Additional => additional,
        };
        *count = count.checked_add(1)?;
        self.least_ttl = self.least_ttl.min(ttl_of(record));
        if record.section == Section::Answer {
            self.answers |= record.kind == self.kind || self.kind == record_type::ANY;
        } else if record.section == Section::Authority
            && record.kind == record_type::SOA
            && record.class == self.class
        {
            let minimum =
                answer.get(record.data..record.end)?.last_chunk().copied().map(u32::from_be_bytes)?;
            self.negative_ttl = Some(self.negative_ttl.unwrap_or(u32::MAX).min(ttl_of(record)).min(minimum));
        }
        Some(())
    }

    /// How long the answer may be kept, in seconds; none where not at all.
    fn life(&self) -> Option<u32> {
        let life = if self.answers && !self.no_such_name {
            self.least_ttl.min(MAX_LIFE)
        } else {
            // Without an SOA record nothing says for how long (RFC 2308, section 5).
            self.negative_ttl?.min(self.least_ttl).min(MAX_NEGATIVE_LIFE)
        };
        (life > 0).then_some(life)
    }
}
