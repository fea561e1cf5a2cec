//! Queries as they come in, what is asked of an upstream for them, and the answers that the gateway makes itself.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

use super::wire;

/// The longest UDP message that the gateway takes from an upstream (RFC 9715).
pub const UDP_PAYLOAD: u16 = 1232;
const OPTION_EXTENDED_ERROR: u16 = 15;
const FLAGS_THAT_GO_ON: u16 = 0x0130;

/// The extended errors (RFC 8914) that the gateway answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtendedError {
    /// The policy blocks the name, for this reason.
    Blocked(String),
    /// No upstream answered in time, or none sensibly.
    NoUpstream,
    /// Too many queries wait already.
    Busy,
}

impl ExtendedError {
    fn option(&self) -> EdnsOption {
        let (code, text): (u16, &str) = match self {
            Self::Blocked(reason) => (15, reason),
            Self::NoUpstream => (22, "No upstream resolver answered"),
            Self::Busy => (0, "Too many queries are waiting"),
        };
        let mut data = code.to_be_bytes().to_vec();
        data.extend_from_slice(text.as_bytes());
        EdnsOption::Unknown(OPTION_EXTENDED_ERROR, data)
    }
}

/// Why a message is no query that can be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadQuery {
    /// It cannot even be answered.
    Garbage,
    /// It is answered so.
    Answer(Vec<u8>),
}

/// A query.
#[derive(Debug, Clone)]
pub struct Query {
    message: Message,
    question: Vec<u8>,
    flags: u16,
    /// The name, as [`wire::name_text`] writes it.
    pub name: String,
    /// Whether it carried padding.
    pub padded: bool,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// [`BadQuery`]: a message that is no query, or one that asks for what no resolver does.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadQuery> {
        if wire::is_query(bytes) != Some(true) {
            return Err(BadQuery::Garbage);
        }
        let message = Message::from_vec(bytes).map_err(|_| BadQuery::Garbage)?;
        let refuse = |code| match bare_answer(&message, code, None) {
            Some(answer) => BadQuery::Answer(answer),
            None => BadQuery::Garbage,
        };
        if message.metadata.op_code != OpCode::Query {
            return Err(refuse(ResponseCode::NotImp));
        }
        let ([asked], Ok(question)) = (message.queries.as_slice(), wire::question(bytes)) else {
            return Err(refuse(ResponseCode::FormErr));
        };
        if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return Err(refuse(ResponseCode::BADVERS));
        }
        let name = wire::name_text(asked.name().iter());
        let padded = message.edns.as_ref().is_some_and(|edns| edns.option(EdnsCode::Padding).is_some());
        let flags = bytes.get(2..4).and_then(<[u8]>::first_chunk).copied().map_or(0, u16::from_be_bytes);
        Ok(Self { question: question.to_vec(), flags, name, padded, message })
    }

    /// The client's ID.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.message.metadata.id
    }

    /// Name, type and class as bytes.
    #[must_use]
    pub fn question(&self) -> &[u8] {
        &self.question
    }

    /// The longest answer that the client takes over UDP, in bytes.
    #[must_use]
    pub fn udp_limit(&self) -> usize {
        let payload = self.message.edns.as_ref().map_or(0, Edns::max_payload);
        usize::from(payload).clamp(wire::PLAIN_UDP, usize::from(UDP_PAYLOAD))
    }

    /// What is asked of an upstream: the same question and flags, without the client's EDNS options.
    #[must_use]
    pub fn for_upstream(&self, id: u16) -> Vec<u8> {
        let edns = self.message.edns.as_ref();
        let mut bytes = Vec::with_capacity(wire::HEADER + self.question.len() + 11);
        bytes.extend(id.to_be_bytes());
        bytes.extend((self.flags & FLAGS_THAT_GO_ON).to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
        bytes.extend_from_slice(&self.question);
        if let Some(edns) = edns {
            bytes.extend([0, 0, 41]);
            bytes.extend(UDP_PAYLOAD.to_be_bytes());
            bytes.extend([0, 0, if edns.flags().dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
        }
        bytes
    }

    /// An answer of the gateway's own, without records.
    #[must_use]
    pub fn own_answer(&self, code: ResponseCode, error: Option<&ExtendedError>) -> Vec<u8> {
        let mut answer = bare_answer(&self.message, code, error).unwrap_or_default();
        if self.padded
            && let Ok(summary) = wire::summarise(&answer)
        {
            wire::pad(&mut answer, &summary);
        }
        answer
    }
}

fn bare_answer(query: &Message, code: ResponseCode, error: Option<&ExtendedError>) -> Option<Vec<u8>> {
    let mut answer = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.checking_disabled = query.metadata.checking_disabled;
    answer.metadata.response_code = code;
    answer.queries.clone_from(&query.queries);
    if let Some(asked) = &query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        edns.set_rcode_high(code.high());
        if let Some(error) = error {
            edns.options_mut().insert(error.option());
        }
        answer.set_edns(edns);
    }
    answer.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::op::Query as Question;
    use hickory_proto::rr::{Name, RecordType};
    use proptest::prelude::*;

    use super::*;

    fn query(padded: bool, edns: bool) -> Vec<u8> {
        let mut message = Message::new(9, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = true;
        message.add_query(Question::query(Name::from_str("WWW.Example.").unwrap(), RecordType::AAAA));
        if edns {
            let mut extension = Edns::new();
            extension.set_max_payload(4096).set_dnssec_ok(true);
            if padded {
                extension.options_mut().insert(EdnsOption::Unknown(12, vec![0; 20]));
            }
            message.set_edns(extension);
        }
        message.to_vec().unwrap()
    }

    #[test]
    fn a_query_is_read_and_asked_on_without_its_options() {
        let parsed = Query::parse(&query(true, true)).unwrap();
        assert_eq!((parsed.id(), parsed.name.as_str(), parsed.padded), (9, "www.example", true));
        assert_eq!(parsed.udp_limit(), 1232);
        let asked = Message::from_vec(&parsed.for_upstream(77)).unwrap();
        assert_eq!(asked.metadata.id, 77);
        assert!(asked.metadata.recursion_desired && asked.metadata.checking_disabled);
        assert_eq!(asked.queries, parsed.message.queries);
        let edns = asked.edns.unwrap();
        assert!(edns.flags().dnssec_ok && edns.options().as_ref().is_empty());

        let bare = Query::parse(&query(false, false)).unwrap();
        assert!(Message::from_vec(&bare.for_upstream(1)).unwrap().edns.is_none());
        assert_eq!((bare.udp_limit(), bare.padded), (512, false));
    }

    #[test]
    fn a_blocked_name_does_not_exist_and_says_why() {
        let parsed = Query::parse(&query(true, true)).unwrap();
        let blocked = ExtendedError::Blocked("for a test".to_owned());
        let bytes = parsed.own_answer(ResponseCode::NXDomain, Some(&blocked));
        assert_eq!(bytes.len() % 468, 0);
        let answer = Message::from_vec(&bytes).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(answer.metadata.id, 9);
        let option = answer.edns.as_ref().unwrap().option(EdnsCode::from(15)).unwrap();
        assert!(matches!(option, EdnsOption::Unknown(15, data) if data == b"\0\x0ffor a test"));

        let bare = Query::parse(&query(false, false)).unwrap();
        let answer = Message::from_vec(&bare.own_answer(ResponseCode::NXDomain, Some(&blocked)));
        assert!(answer.unwrap().edns.is_none());
    }

    #[test]
    fn what_no_resolver_does_is_answered_so() {
        let code = |bytes: &[u8]| match Query::parse(bytes) {
            Err(BadQuery::Answer(answer)) => {
                Some(u16::from(Message::from_vec(&answer).unwrap().metadata.response_code))
            }
            _ => None,
        };
        let mut update = query(false, false);
        update[2] |= 0x28;
        assert_eq!(code(&update), Some(u16::from(ResponseCode::NotImp)));
        let none = Message::new(3, MessageType::Query, OpCode::Query).to_vec().unwrap();
        assert_eq!(code(&none), Some(u16::from(ResponseCode::FormErr)));
        let mut newer = query(false, true);
        let version = newer.len() - 5;
        newer[version] = 1;
        assert_eq!(code(&newer), Some(u16::from(ResponseCode::BADVERS)));
    }

    #[test]
    fn what_is_no_query_is_not_answered() {
        let mut answer = query(false, false);
        answer[2] |= 0x80;
        for bytes in [&[][..], &[0; 11], &answer, &query(false, false)[..20]] {
            assert!(matches!(Query::parse(bytes), Err(BadQuery::Garbage)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(parsed) = Query::parse(&bytes) {
                prop_assert!(wire::is_query(&parsed.for_upstream(1)) == Some(true));
            }
        }
    }
}
