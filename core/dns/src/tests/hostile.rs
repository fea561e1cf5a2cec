use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{answer, bytes, query};
use crate::{ClientId, DnsConfig, Engine, Entropy, Protocol, Upstream, message};

struct Zero;

impl Entropy for Zero {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// A message that is nearly right: one bent at a few places.
fn bent() -> impl Strategy<Value = Vec<u8>> {
    let whole = answer(&bytes(&query(0, "a.example.", RecordType::TXT)), ResponseCode::NoError, 3);
    vec((0..whole.len(), any::<u8>()), 0..6).prop_map(move |bends| {
        let mut wire = whole.clone();
        for (at, byte) in bends {
            wire[at] = byte;
        }
        wire
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(wire in prop_oneof![vec(any::<u8>(), 0..80), bent()], other in bent()) {
        let mut now = Instant::now();
        let mut engine = Engine::new(Box::new(Zero));
        let upstream = Upstream::Plain(vec!["10.0.0.1".parse().unwrap()]);
        engine.set_config(DnsConfig { upstream, ..DnsConfig::default() }, now);
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let _ = engine.handle_query(ClientId(0), protocol, &wire, &mut Vec::new(), now);
            let mut as_query = wire.clone();
            as_query.get_mut(2).into_iter().for_each(|flags| *flags &= 0x7f);
            let _ = engine.handle_query(ClientId(0), protocol, &as_query, &mut Vec::new(), now);
        }
        while let Some(request) = engine.poll_request() {
            engine.handle_answer(request.id, Ok(other.clone()), now);
        }
        now += Duration::from_secs(60);
        engine.handle_timeout(now);
        prop_assert_eq!(engine.poll_timeout(), None);
        while let Some((_, wire)) = engine.poll_answer() {
            prop_assert!(message::is_answer(&wire));
        }
    }

    #[test]
    fn bending_a_message_never_breaks_it(wire in prop_oneof![vec(any::<u8>(), 0..80), bent()], limit in 0_usize..600) {
        let sound = message::is_well_formed(&wire);
        let steps: [fn(&mut Vec<u8>); 5] = [
            |wire| { message::pad(wire, 128, 1232); },
            message::remove_padding,
            message::remove_edns,
            |wire| message::clamp_payload_size(wire, 1232),
            |wire| message::restore(wire, b"\0\0\0\0\0\x01\0\0\0\0\0\0\x01a\0\0\0\0\0"),
        ];
        for step in steps {
            let mut changed = wire.clone();
            step(&mut changed);
            prop_assert!(!sound || message::is_well_formed(&changed) || changed.len() == wire.len());
        }
        let mut cut = wire.clone();
        message::truncate(&mut cut, limit);
        prop_assert!(!sound || message::is_well_formed(&cut));
        for made in [message::servfail(&wire), message::addresses(&wire, &["127.0.0.1".parse().unwrap()], 1)] {
            prop_assert!(made.is_empty() || message::is_answer(&made));
        }
    }

    /// Where the oracle reads a message to its end, so do we.
    #[test]
    fn what_the_oracle_takes_is_well_formed(wire in bent()) {
        if let Ok(message) = Message::from_vec(&wire)
            && message.queries.len() == 1
            && let Ok(question) = message::question(&wire)
        {
            prop_assert_eq!(question.kind, u16::from(message.queries[0].query_type()));
            let name = message.queries[0].name().to_lowercase();
            // Its own count leaves out a label of "*".
            prop_assert_eq!(question.name.suffixes().count(), name.iter().count());
        }
    }
}
