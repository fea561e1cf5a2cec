use super::*;

/// Entries and size of what is kept.
fn table(decoder: &Decoder) -> (usize, usize) {
    (decoder.entries.len(), decoder.size)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn the_answers_of_the_standard_are_read() {
    // RFC 7541, appendices C.5 and C.6: the same three answers, in plain and in Huffman code, with a table of 256 bytes.
    let plain = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54
         6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f
         3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076
         657273696f6e3d31",
    ];
    let coded = [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f
         0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df
         dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ];
    for answers in [plain, coded] {
        let mut decoder = Decoder::new();
        decoder.resize(256).unwrap();
        let expected = [(302, (4, 222)), (307, (4, 222)), (200, (3, 215))];
        for (answer, (status, kept)) in answers.iter().zip(expected) {
            assert_eq!(decoder.decode(&bytes(answer)).unwrap().status, Some(status), "{answer}");
            assert_eq!(table(&decoder), kept, "{answer}");
        }
    }
}

#[test]
fn heads_say_whether_a_message_follows_and_how_long_it_is() {
    let literal = |name: &str, value: &str| {
        let mut head = vec![0x10];
        for text in [name, value] {
            put_integer(&mut head, 0, 7, text.len());
            head.extend_from_slice(text.as_bytes());
        }
        head
    };
    let dns = Head { status: None, is_dns: true, length: None };
    let cases = [
        (literal("content-type", "application/dns-message"), dns),
        (literal("content-type", "Application/DNS-Message ; charset=x"), dns),
        (literal("content-type", "application/dns-message2"), Head::default()),
        (literal("content-type", "text/html"), Head::default()),
        (literal("content-length", "512"), Head { length: Some(512), ..Head::default() }),
        (literal("content-length", "many"), Head::default()),
        (literal("content-length", "+5"), Head::default()),
        (literal(":status", "+20"), Head::default()),
        (literal(":status", "204"), Head { status: Some(204), ..Head::default() }),
        (literal(":status", "2000"), Head::default()),
        (literal(":status", "abc"), Head::default()),
        (literal("x-content-type", "application/dns-message"), Head::default()),
        (vec![0x8d], Head { status: Some(404), ..Head::default() }),
        (vec![0x9c], Head::default()),
    ];
    for (head, expected) in cases {
        assert_eq!(Decoder::new().decode(&head), Ok(expected), "{head:x?}");
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    let cases: [(&[u8], &str); 12] = [
        (&[0x80], "index 0"),
        (&[0xbe], "an index beyond the table"),
        (&[0x7e], "a name beyond the table"),
        (&[0xff], "an integer that is cut"),
        (&[0xff, 0xff, 0xff, 0xff, 0x7f], "an integer that is too long"),
        (&[0x40], "no name"),
        (&[0x40, 1, b'a'], "no value"),
        (&[0x40, 2, b'a'], "a string that is cut"),
        (&[0x48, 0x81, 0xff], "no Huffman code"),
        (&[0x88, 0x20], "a size after a header"),
        (&[0x3f, 0xe2, 0x1f], "a table of 4097 bytes"),
        (&[0x0f], "a name that is cut"),
    ];
    for (head, what) in cases {
        assert_eq!(Decoder::new().decode(head), Err(Malformed), "{what}");
    }
    assert_eq!(
        Decoder::new().decode(&[0x20, 0x3f, 0xe1, 0x1f, 0x88]).unwrap().status,
        Some(200),
        "two sizes"
    );
}

#[test]
fn the_table_forgets_the_oldest_and_what_is_too_long_for_it() {
    let mut decoder = Decoder::new();
    let entry = |value: usize| {
        let mut head = vec![0x40, 1, b'a'];
        put_integer(&mut head, 0, 7, value);
        head.resize(head.len() + value, b'x');
        head
    };
    decoder.decode(&entry(2000)).unwrap();
    decoder.decode(&entry(2000)).unwrap();
    assert_eq!(table(&decoder), (2, 4066));
    decoder.decode(&entry(3)).unwrap();
    assert_eq!(table(&decoder), (2, 2069));
    decoder.decode(&entry(4064)).unwrap();
    assert_eq!(table(&decoder), (0, 0));
}

/// The heads of queries of these lengths.
fn heads(encoder: &mut Encoder, lengths: &[usize]) -> Vec<Vec<u8>> {
    let encode = |length: &usize| {
        let mut head = Vec::new();
        encoder.encode(*length, &mut head);
        head
    };
    lengths.iter().map(encode).collect()
}

#[test]
fn the_first_head_is_spelt_out_and_the_others_name_it() {
    let mut encoder = Encoder::new("dns.example:8443", "/dns-query", Some("t0ken"));
    let [first, second, third] = heads(&mut encoder, &[128, 128, 1000]).try_into().unwrap();
    let spelt = [
        b"\x83\x87\x41\x10dns.example:8443\x44\x0a/dns-query\x53\x17application/dns-message".as_slice(),
        b"\x5f\x17application/dns-message\x0f\x0d\x03128\x1f\x08\x0cBearer t0ken",
    ];
    assert_eq!(first, spelt.concat());
    assert_eq!(second, b"\x83\x87\xc1\xc0\xbf\xbe\x0f\x0d\x03128\x1f\x08\x0cBearer t0ken");
    assert_eq!(third, b"\x83\x87\xc1\xc0\xbf\xbe\x0f\x0d\x041000\x1f\x08\x0cBearer t0ken");
}

#[test]
fn a_server_that_keeps_less_is_spelt_everything() {
    let mut encoder = Encoder::new("a", "/", None);
    let plain = b"\x83\x87\x01\x01a\x04\x01/\x0f\x04\x17application/dns-message\x0f\x10\x17application/dns-message\x0f\x0d\x011";
    heads(&mut encoder, &[1]);
    encoder.set_table(4096);
    encoder.set_table(100_000);
    assert_eq!(heads(&mut encoder, &[1])[0][..6], *b"\x83\x87\xc1\xc0\xbf\xbe");
    encoder.set_table(4095);
    // Once it is told that nothing is kept any more.
    let [first, second] = heads(&mut encoder, &[1, 1]).try_into().unwrap();
    assert_eq!(first, [b"\x20".as_slice(), plain].concat());
    encoder.set_table(0);
    assert_eq!(
        (second.as_slice(), heads(&mut encoder, &[1])[0].as_slice()),
        (plain.as_slice(), plain.as_slice())
    );
    // Headers that do not fit the table are not put into it.
    let mut encoder = Encoder::new("a", &"/".repeat(4000), None);
    assert_eq!(heads(&mut encoder, &[1])[0][..5], *b"\x83\x87\x01\x01a");
    encoder.set_table(100);
    assert_eq!(heads(&mut encoder, &[1])[0][..6], *b"\x20\x83\x87\x01\x01a");
}
