//! What devices and upstreams send to a gateway's resolver.

use weft_gateway::dns::message::{BadQuery, Query};
use weft_gateway::dns::wire;

use crate::{Outcome, assert_one_line};

/// A query of a device, as DoH or plain DNS delivers it.
pub fn gateway_query(data: &[u8]) -> Outcome {
    match Query::parse(data) {
        Ok(query) => {
            let asked = query.for_upstream(7);
            assert_eq!(wire::is_query(&asked), Some(true));
            assert_eq!(wire::question(&asked), Ok(query.question()), "what was asked is asked");
            assert!((wire::PLAIN_UDP..=65_535).contains(&query.udp_limit()));
            assert!(query.name.is_ascii() && !query.name.contains(char::is_whitespace));
            Outcome::Taken
        }
        Err(BadQuery::Answer(answer)) => {
            assert_eq!(wire::is_query(&answer), Some(false), "an answer says that it is one");
            Outcome::Refused
        }
        Err(BadQuery::Garbage) => Outcome::Refused,
    }
}

/// An answer of an upstream resolver.
pub fn gateway_answer(data: &[u8]) -> Outcome {
    let summary = match wire::summarise(data) {
        Ok(summary) => summary,
        Err(error) => {
            assert_one_line(&error);
            return Outcome::Refused;
        }
    };
    assert!(summary.aliases.iter().all(|name| name.is_ascii()), "names are compared as text");
    let mut padded = data.to_vec();
    wire::pad(&mut padded, &summary);
    assert!(padded.starts_with(data.get(..10).unwrap_or_default()) && padded.len() >= data.len());
    let again = wire::summarise(&padded);
    assert!(again.is_ok_and(|again| again.aliases == summary.aliases), "padding breaks nothing");
    if let Ok(short) = wire::truncate(data) {
        assert!(wire::is_truncated(&short) && short.len() <= data.len());
    }
    let _ = wire::answers(data, 7, b"\x03www\x07example\0\0\x01\0\x01");
    Outcome::Taken
}
