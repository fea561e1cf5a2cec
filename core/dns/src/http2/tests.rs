use super::*;

/// Status 200 and the type of a DNS message.
const HEAD: &[u8] = b"\x88\x0f\x10\x17application/dns-message";
const NO_SETTINGS: [u8; 9] = [0, 0, 0, kind::SETTINGS, 0, 0, 0, 0, 0];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put(&mut out, kind, flags, stream, payload);
    out
}

fn setting(setting: u8, value: u32) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[&[0, setting][..], &value.to_be_bytes()].concat())
}

/// An answer on a stream.
fn answer(stream: u32, body: &[u8]) -> Vec<u8> {
    let head = frame(kind::HEADERS, flag::END_HEADERS, stream, HEAD);
    [head, frame(kind::DATA, flag::END_STREAM, stream, body)].concat()
}

/// A client and what it says, read as frames: kind, flags, stream, payload.
struct Bench {
    client: Client,
    answers: Vec<(u32, Result<Vec<u8>, StreamError>)>,
}

impl Bench {
    /// Both sides have said how they are set.
    fn new() -> Self {
        let client = Client::new("dns.example", "/dns-query", None).unwrap();
        let mut bench = Self { client, answers: Vec::new() };
        assert!(bench.client.output().starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        bench.client.handle_sent(24);
        bench.hear(&NO_SETTINGS).unwrap();
        let said: Vec<u8> = bench.said().iter().map(|said| said.0).collect();
        assert_eq!(said, [kind::SETTINGS, kind::WINDOW_UPDATE, kind::SETTINGS]);
        bench
    }

    fn ask(&mut self, query: &[u8]) -> u32 {
        self.client.ask(query).unwrap().0
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let result = self.client.handle_input(bytes);
        while let Some((id, answer)) = self.client.poll_answer() {
            self.answers.push((id.0, answer));
        }
        result
    }

    fn said(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let output = self.client.output().to_vec();
        self.client.handle_sent(output.len());
        let (mut rest, mut said) = (output.as_slice(), Vec::new());
        while let Some(frame) = Frame::take(&mut rest).unwrap() {
            said.push((frame.kind, frame.flags, frame.stream, frame.payload.to_vec()));
        }
        assert!(rest.is_empty());
        said
    }

    /// The bytes of queries that it sent, stream by stream, and whether that was all.
    fn data(&mut self) -> Vec<(u32, usize, bool)> {
        let data = self.said().into_iter().filter(|said| said.0 == kind::DATA);
        data.map(|(_, flags, stream, payload)| (stream, payload.len(), flags == flag::END_STREAM)).collect()
    }
}

#[test]
fn queries_are_asked_side_by_side_and_answered_in_any_order() {
    let mut bench = Bench::new();
    assert_eq!((bench.ask(b"one"), bench.ask(b"two"), bench.ask(b"three")), (1, 3, 5));
    let said: Vec<_> =
        bench.said().into_iter().map(|(kind, flags, stream, _)| (kind, flags, stream)).collect();
    let query = |stream| [(kind::HEADERS, flag::END_HEADERS, stream), (kind::DATA, flag::END_STREAM, stream)];
    assert_eq!(said, [query(1), query(3), query(5)].concat());
    bench.hear(&[answer(5, b"THREE"), answer(1, b"ONE")].concat()).unwrap();
    bench.hear(&answer(3, b"TWO")).unwrap();
    let expected = [(5, b"THREE".to_vec()), (1, b"ONE".to_vec()), (3, b"TWO".to_vec())];
    assert_eq!(bench.answers, expected.map(|(stream, answer)| (stream, Ok(answer))));
    assert!(bench.said().is_empty());
}

#[test]
fn what_a_stream_may_not_say_fails_that_query_alone() {
    let head = |bytes: &[u8], flags| frame(kind::HEADERS, flag::END_HEADERS | flags, 1, bytes);
    let data = |length: usize, flags| frame(kind::DATA, flags, 1, &vec![0; length]);
    let dns = head(HEAD, 0);
    let long = [dns.clone(), (0..5).flat_map(|_| data(16_000, 0)).collect()].concat();
    let said_long = head(b"\x88\x0f\x10\x17application/dns-message\x0f\x0d\x0565536", 0);
    let malformed = StreamError::Malformed;
    let says_ten = head(b"\x88\x0f\x10\x17application/dns-message\x0f\x0d\x0210", 0);
    let short = [says_ten, data(9, flag::END_STREAM)].concat();
    let cases: [(Vec<u8>, StreamError, Option<Code>); 12] = [
        (short, malformed("another length than it said"), None),
        (head(&[0x8d], flag::END_STREAM), StreamError::Status(404), None),
        (head(&[0x8d], 0), StreamError::Status(404), Some(Code::Cancel)),
        (head(b"\x88\x0f\x10\x09text/html", 0), StreamError::NotDns, Some(Code::Cancel)),
        (head(&[0x88], flag::END_STREAM), StreamError::NotDns, None),
        (head(b"\x0f\x10\x01a", 0), malformed("no status"), Some(Code::Protocol)),
        (said_long, StreamError::TooLong, Some(Code::Cancel)),
        (long, StreamError::TooLong, Some(Code::Cancel)),
        (data(1, flag::END_STREAM), malformed("an answer without a head"), Some(Code::Protocol)),
        ([dns.clone(), dns].concat(), malformed("trailers before the end"), Some(Code::Protocol)),
        (frame(kind::RST_STREAM, 0, 1, &7_u32.to_be_bytes()), StreamError::Refused, None),
        (frame(kind::RST_STREAM, 0, 1, &2_u32.to_be_bytes()), StreamError::Reset(2), None),
    ];
    for (bytes, error, reset) in cases {
        let mut bench = Bench::new();
        bench.ask(b"one");
        bench.ask(b"two");
        bench.said();
        bench.hear(&bytes).unwrap();
        // What comes late of it is passed over.
        bench.hear(&[frame(kind::DATA, 0, 1, b"late"), answer(3, b"TWO")].concat()).unwrap();
        assert_eq!(bench.answers, [(1, Err(error)), (3, Ok(b"TWO".to_vec()))]);
        let resets: Vec<_> = bench.said().into_iter().filter(|said| said.0 == kind::RST_STREAM).collect();
        let expected = reset.map(|code| (kind::RST_STREAM, 0, 1, code.to_bytes().to_vec()));
        assert_eq!(resets, Vec::from_iter(expected));
    }
}

#[test]
fn early_heads_padding_trailers_and_what_is_not_known_are_no_trouble() {
    let mut bench = Bench::new();
    bench.ask(b"one");
    let frames = [
        frame(0xbe, 0xff, 77, b"what is this"),
        frame(2, 0, 1, &[0; 5]),
        setting(0x99, 7),
        frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x08\x03103"),
        frame(
            kind::HEADERS,
            flag::PADDED | flag::PRIORITY,
            1,
            &[&[2, 0, 0, 0, 0, 9], &HEAD[..3], &[0, 0]].concat(),
        ),
        frame(kind::CONTINUATION, 0, 1, &HEAD[3..9]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, &HEAD[9..]),
        frame(kind::DATA, flag::PADDED, 1, b"\x03an\0\0\0"),
        frame(kind::DATA, 0, 1, b"swer"),
        frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, b"\x00\x01a\x01b"),
    ];
    // Byte by byte.
    for byte in frames.concat() {
        bench.hear(&[byte]).unwrap();
    }
    assert_eq!(bench.answers, [(1, Ok(b"answer".to_vec()))]);
    assert!(bench.client.partial.is_empty());
}

#[test]
fn what_a_connection_may_not_say_ends_it_and_is_told() {
    let settings = NO_SETTINGS.to_vec();
    let endless = || frame(kind::CONTINUATION, 0, 1, &[]).repeat(2000);
    let cases: [(&str, Code, Vec<u8>); 26] = [
        ("garbage", Code::FrameSize, vec![0x55; 100]),
        ("a frame of 16,385 bytes", Code::FrameSize, vec![0, 0x40, 1, kind::DATA, 0, 0, 0, 0, 1]),
        ("an odd setting", Code::FrameSize, frame(kind::SETTINGS, 0, 0, &[0; 5])),
        ("settings of a stream", Code::Protocol, frame(kind::SETTINGS, 0, 1, &[])),
        ("a setting in a confirmation", Code::FrameSize, frame(kind::SETTINGS, flag::ACK, 0, &[0; 6])),
        ("a window of 2^31", Code::FlowControl, setting(4, 1 << 31)),
        ("a frame size of 100", Code::Protocol, setting(5, 100)),
        ("a short ping", Code::FrameSize, frame(kind::PING, 0, 0, &[0; 7])),
        ("a ping of a stream", Code::Protocol, frame(kind::PING, 0, 1, &[0; 8])),
        ("a goodbye of a stream", Code::Protocol, frame(kind::GOAWAY, 0, 1, &[0; 8])),
        ("a short reset", Code::FrameSize, frame(kind::RST_STREAM, 0, 1, &[0; 3])),
        ("a short goodbye", Code::FrameSize, frame(kind::GOAWAY, 0, 0, &[0; 7])),
        ("a window that grows by nothing", Code::Protocol, frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4])),
        (
            "a window too large",
            Code::FlowControl,
            frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        (
            "a stream's window too large",
            Code::FlowControl,
            frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        ("a push", Code::Protocol, frame(kind::PUSH_PROMISE, 0, 1, &[0; 8])),
        ("data of the connection", Code::Protocol, frame(kind::DATA, 0, 0, &[])),
        ("a head of a stream that is to come", Code::Protocol, frame(kind::HEADERS, 4, 9, HEAD)),
        ("a head of the server's own", Code::Protocol, frame(kind::HEADERS, 4, 2, HEAD)),
        ("more padding than content", Code::Protocol, frame(kind::DATA, flag::PADDED, 1, &[3, 0, 0])),
        ("no padding length", Code::Protocol, frame(kind::DATA, flag::PADDED, 1, &[])),
        ("a head that goes on from nowhere", Code::Protocol, frame(kind::CONTINUATION, 4, 1, HEAD)),
        (
            "a head that is interrupted",
            Code::Protocol,
            [frame(kind::HEADERS, 0, 1, HEAD), NO_SETTINGS.to_vec()].concat(),
        ),
        (
            "a head that goes on elsewhere",
            Code::Protocol,
            [frame(kind::HEADERS, 0, 1, HEAD), frame(kind::CONTINUATION, 0, 3, &[])].concat(),
        ),
        (
            "a head without an end",
            Code::EnhanceYourCalm,
            [frame(kind::HEADERS, 0, 1, HEAD), endless()].concat(),
        ),
        ("a head that cannot be read", Code::Compression, frame(kind::HEADERS, 4, 1, &[0xbe])),
    ];
    for (what, code, bytes) in cases {
        let mut bench = Bench::new();
        bench.ask(b"one");
        bench.ask(b"two");
        bench.said();
        let error = bench.hear(&[answer(3, b"TWO"), bytes].concat()).unwrap_err();
        assert_eq!(error.code, code, "{what}: {error}");
        assert_eq!(bench.answers, [(3, Ok(b"TWO".to_vec()))], "{what}");
        let last = bench.said().pop().unwrap();
        assert_eq!((last.0, &last.3[4..]), (kind::GOAWAY, code.to_bytes().as_slice()), "{what}");
    }
    let mut client = Client::new("a", "/", None).unwrap();
    assert_eq!(client.handle_input(&frame(kind::PING, 0, 0, &[0; 8])).unwrap_err().code, Code::Protocol);
    assert!(Client::new("a", "/", None).unwrap().handle_input(&settings).is_ok());
}

#[test]
fn a_query_waits_for_room_and_loses_nothing() {
    let mut bench = Bench::new();
    bench.hear(&setting(4, 100)).unwrap();
    bench.said();
    bench.ask(&[1; 250]);
    bench.ask(&[2; 50]);
    assert_eq!(bench.data(), [(1, 100, false), (3, 50, true)]);
    bench.hear(&frame(kind::WINDOW_UPDATE, 0, 1, &30_u32.to_be_bytes())).unwrap();
    assert_eq!(bench.data(), [(1, 30, false)]);
    // The server takes room back: less than nothing is left, until it has given that much again.
    bench.hear(&setting(4, 40)).unwrap();
    bench.hear(&frame(kind::WINDOW_UPDATE, 0, 1, &60_u32.to_be_bytes())).unwrap();
    assert_eq!(bench.data(), []);
    bench.hear(&setting(4, 1000)).unwrap();
    assert_eq!(bench.data(), [(1, 120, true)]);
    // The connection's own window: 65,535, less what was sent.
    bench.hear(&setting(4, 1 << 20)).unwrap();
    bench.ask(&vec![3; 70_000]);
    let sent = bench.data();
    assert_eq!(sent.iter().map(|(_, length, _)| length).sum::<usize>(), 65_535 - 300);
    assert!(
        sent.iter().all(|(stream, length, last)| (*stream, *last) == (5, false) && *length <= MAX_PAYLOAD)
    );
    bench.hear(&frame(kind::WINDOW_UPDATE, 0, 0, &100_000_u32.to_be_bytes())).unwrap();
    assert_eq!(bench.data(), [(5, 70_000 - (65_535 - 300), true)]);
    // One that answers before it has heard all need not hear the rest.
    bench.hear(&setting(4, 10)).unwrap();
    bench.ask(&[4; 20]);
    bench.said();
    bench.hear(&answer(7, b"early")).unwrap();
    assert_eq!(bench.answers, [(7, Ok(b"early".to_vec()))]);
    assert_eq!(bench.said(), [(kind::RST_STREAM, 0, 7, Code::Cancel.to_bytes().to_vec())]);
}

#[test]
fn a_server_may_send_as_much_as_it_was_told_and_no_more() {
    let mut bench = Bench::new();
    let part = vec![0; MAX_PAYLOAD];
    // Of a query that was given up, too.
    let id = bench.client.ask(b"one").unwrap();
    bench.client.give_up(id);
    bench.said();
    let mut given = 0;
    for _ in 0..200 {
        bench.hear(&frame(kind::DATA, 0, 1, &part)).unwrap();
        for (kind, _, stream, payload) in bench.said() {
            assert_eq!((kind, stream), (kind::WINDOW_UPDATE, 0));
            given += usize::try_from(u32::from_be_bytes(payload.try_into().unwrap())).unwrap();
        }
    }
    let taken = 200 * MAX_PAYLOAD;
    assert!(given <= taken && taken - given <= WINDOW as usize / 2, "{given} of {taken}");
    // Padding counts against the stream's own.
    bench.ask(b"two");
    bench.hear(&frame(kind::HEADERS, flag::END_HEADERS, 3, HEAD)).unwrap();
    let padded = frame(kind::DATA, flag::PADDED, 3, &[&[255][..], &[0; 256]].concat());
    while bench.answers.is_empty() {
        bench.hear(&padded).unwrap();
    }
    assert_eq!(bench.answers, [(3, Err(StreamError::Malformed("more than there is room for")))]);
}

#[test]
fn a_server_that_goes_takes_no_more_and_answers_what_it_has() {
    let mut bench = Bench::new();
    for query in [b"1", b"2", b"3"] {
        bench.ask(query);
    }
    // First to everybody, then to those that it did not look at.
    bench.hear(&frame(kind::GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])).unwrap();
    assert!(bench.client.is_closing() && bench.client.ask(b"4").is_none() && bench.answers.is_empty());
    assert_eq!(bench.client.goodbye(), Some(0));
    bench.hear(&frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11])).unwrap();
    assert_eq!(bench.client.goodbye(), Some(11));
    bench.hear(&answer(1, b"ONE")).unwrap();
    let refused = || Err(StreamError::Refused);
    assert_eq!(bench.answers, [(3, refused()), (5, refused()), (1, Ok(b"ONE".to_vec()))]);
}

#[test]
fn signs_of_life_are_asked_for_once_and_given() {
    let mut bench = Bench::new();
    bench.client.ping();
    bench.client.ping();
    assert_eq!(bench.said(), [(kind::PING, 0, 0, vec![0; 8])]);
    bench.hear(&frame(kind::PING, 0, 0, b"12345678")).unwrap();
    assert_eq!(bench.said(), [(kind::PING, flag::ACK, 0, b"12345678".to_vec())]);
    bench.hear(&frame(kind::PING, flag::ACK, 0, &[0; 8])).unwrap();
    bench.client.ping();
    assert_eq!(bench.said().len(), 1);
}

#[test]
fn a_server_that_wants_replies_and_reads_none_is_cut_off() {
    let mut bench = Bench::new();
    let pings = frame(kind::PING, 0, 0, &[0; 8]).repeat(1000);
    let error = (0..1000).find_map(|_| bench.hear(&pings).err()).unwrap();
    assert_eq!(error.code, Code::EnhanceYourCalm);
    assert!(bench.client.output().len() <= MAX_UNSENT + 100);
}

#[test]
fn a_server_that_does_not_read_is_asked_no_more() {
    let mut bench = Bench::new();
    // Windows bound what it is sent of queries, and not their heads.
    let query = [0; 128];
    let asked = std::iter::from_fn(|| {
        let id = bench.client.ask(&query)?;
        bench.client.give_up(id);
        Some(id)
    });
    assert!((5_000..50_000).contains(&asked.take(100_000).count()));
    assert!(bench.client.is_closing() && bench.client.output().len() <= MAX_UNSENT + 500);
}

#[test]
fn how_many_at_a_time_is_what_the_server_said_last() {
    let mut client = Client::new("a", "/", None).unwrap();
    assert_eq!(client.max_streams(), None);
    client.handle_input(&NO_SETTINGS).unwrap();
    assert_eq!(client.max_streams(), Some(u32::MAX));
    client.handle_input(&setting(3, 7)).unwrap();
    assert_eq!(client.max_streams(), Some(7));
    assert!(Client::new("a", &"/".repeat(9000), None).is_none(), "a head that no server has to take");
    client.next = u32::MAX >> 1;
    assert!(client.ask(b"last").is_some() && client.ask(b"no id is left").is_none() && client.is_closing());
}
