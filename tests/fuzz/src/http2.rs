//! What a DNS server says over HTTP/2.

use std::collections::BTreeSet;

use weft_dns::http2::{Client, MAX_ANSWER, StreamError, StreamId};

use crate::script::{Step, steps};
use crate::{Outcome, assert_one_line};

/// What a client says first: that it speaks HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type Answers = Vec<(StreamId, Result<Vec<u8>, StreamError>)>;

/// A script: 0 asks a query of `how` times 16 bytes, 1 gives the query up that was asked `how` before the last, 2 lets so
/// many times 16 bytes be sent, 3 has the server say its bytes. No query is answered twice, or after it was given up; what
/// the client says is made of whole frames; and answers are the same however the server's bytes are cut.
pub fn http2_answers(data: &[u8]) -> Outcome {
    let whole = run(data, usize::MAX);
    assert!(whole == run(data, 1), "cut in bytes, it says something else");
    let (answers, taken) = whole;
    Outcome::from(taken && answers.iter().all(|(_, answer)| answer.is_ok()))
}

fn run(data: &[u8], cut: usize) -> (Answers, bool) {
    let Some(mut client) = Client::new("dns.example", "/dns-query", Some("token")) else {
        panic!("it is short")
    };
    let (mut asked, mut open, mut answers) = (Vec::new(), BTreeSet::new(), Vec::new());
    let (mut said, mut taken) = (Vec::new(), true);
    for step in steps(data) {
        let count = usize::from(step.how) * 16;
        match step.what % 4 {
            0 => {
                let Some(id) = client.ask(&vec![step.how; count]) else { continue };
                assert!(open.insert(id), "an id is used twice");
                asked.push(id);
            }
            1 => {
                let Some(id) = asked.iter().rev().nth(usize::from(step.how)) else { continue };
                client.give_up(*id);
                open.remove(id);
            }
            2 => send(&mut client, count, &mut said),
            _ => taken = say(&mut client, step, cut),
        }
        while let Some((id, answer)) = client.poll_answer() {
            assert!(open.remove(&id), "nobody waits for this answer");
            match &answer {
                Ok(answer) => assert!(answer.len() <= MAX_ANSWER),
                Err(error) => assert_one_line(error),
            }
            answers.push((id, answer));
        }
        if !taken {
            break;
        }
    }
    send(&mut client, usize::MAX, &mut said);
    assert!(client.output().is_empty());
    assert_whole_frames(&said);
    (answers, taken)
}

/// Whether the client goes on.
fn say(client: &mut Client, step: Step<'_>, cut: usize) -> bool {
    step.bytes.chunks(cut.min(step.bytes.len()).max(1)).all(|bytes| match client.handle_input(bytes) {
        Ok(()) => true,
        Err(error) => {
            assert_one_line(&error);
            false
        }
    })
}

fn send(client: &mut Client, count: usize, said: &mut Vec<u8>) {
    let output = client.output();
    let output = output.get(..count).unwrap_or(output);
    said.extend_from_slice(output);
    let count = output.len();
    client.handle_sent(count);
}

fn assert_whole_frames(said: &[u8]) {
    let mut rest = said.strip_prefix(PREFACE).unwrap_or_default();
    assert!(!rest.is_empty(), "it begins with the preface and settings");
    while let Some(([a, b, c, ..], _)) = rest.split_first_chunk::<9>() {
        let length = 9 + usize::from(*a) * 65_536 + usize::from(*b) * 256 + usize::from(*c);
        let Some((_, after)) = rest.split_at_checked(length) else { break };
        rest = after;
    }
    assert!(rest.is_empty(), "a frame is cut");
}
