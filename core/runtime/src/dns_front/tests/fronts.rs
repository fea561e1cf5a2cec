//! What holds on every front: sockets and packets, IPv4 and IPv6.

use tokio::io::AsyncWriteExt as _;
use weft_dns::{MAX_QUERY, message};

use super::bench::{Bench, Scripted, answer, answers, query, read_answer, send};
use crate::dns_front::tcp::frame;
use crate::testing::eventually;

#[tokio::test]
async fn queries_are_answered_by_datagram_and_by_stream() {
    for (bench, script) in Bench::each(|| Scripted::new(10)) {
        let wire = query(0x1234, "a");
        answers(&bench.peer.ask(&wire).await, &wire, 10);
        let mut stream = bench.peer.connect().await;
        send(&mut stream, &wire).await;
        answers(&read_answer(&mut stream).await.unwrap(), &wire, 10);
        let stats = bench.proxy.stats();
        assert_eq!((stats.queries, stats.failed, script.asked()), (2, 0, 2));
    }
}

#[tokio::test]
async fn what_is_too_long_for_a_datagram_is_cut_and_whole_by_stream() {
    for (bench, _) in Bench::each(|| Scripted::new(40_000)) {
        let wire = query(7, "a");
        let mut with_edns = wire.clone();
        with_edns[11] = 1;
        with_edns.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
        for (asked, longest) in [(&wire, 512), (&with_edns, 1232)] {
            let cut = bench.peer.ask(asked).await;
            assert!(message::is_truncated(&cut) && cut.len() <= longest, "{} bytes", cut.len());
        }
        let mut stream = bench.peer.connect().await;
        send(&mut stream, &wire).await;
        answers(&read_answer(&mut stream).await.unwrap(), &wire, 40_000);
    }
}

/// An OPT record with the option edns-tcp-keepalive.
fn keepalive(value: &[u8]) -> Vec<u8> {
    let length = value.len() as u8;
    [&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 4 + length, 0, 11, 0, length][..], value].concat()
}

#[tokio::test]
async fn who_asks_by_a_stream_is_told_how_long_it_stays_open_if_he_asks_for_that() {
    for (bench, _) in Bench::each(|| Scripted::new(10)) {
        let plain = query(7, "a");
        let mut asking = plain.clone();
        asking[11] = 1;
        asking.extend(keepalive(&[]));
        let mut stream = bench.peer.connect().await;
        for (wire, told) in [(&asking, true), (&plain, false)] {
            send(&mut stream, wire).await;
            let answer = read_answer(&mut stream).await.unwrap();
            assert_eq!(message::id(&answer), Some(7));
            // Ten seconds, in steps of 100 ms.
            assert_eq!(answer.ends_with(&keepalive(&[0, 100])), told, "{answer:?}");
        }
        // It says nothing of datagrams.
        let answer = bench.peer.ask(&asking).await;
        assert!(!message::asks_keepalive(&answer), "{answer:?}");
    }
}

#[tokio::test]
async fn queries_of_one_connection_are_answered_as_their_answers_come() {
    for (bench, script) in Bench::each(|| Scripted::closed(10)) {
        let mut stream = bench.peer.connect().await;
        let queries = [query(1, "z"), query(2, "a")];
        let framed: Vec<u8> = queries.iter().flat_map(|wire| frame(wire).unwrap()).collect();
        // In pieces of one byte, as a network may bring them.
        for byte in framed {
            stream.write_all(&[byte]).await.unwrap();
        }
        script.go.add_permits(1);
        answers(&read_answer(&mut stream).await.unwrap(), &queries[1], 10);
        // The client has no more to ask, and still hears what is under way.
        stream.shutdown().await.unwrap();
        script.go_z.add_permits(1);
        answers(&read_answer(&mut stream).await.unwrap(), &queries[0], 10);
        assert!(read_answer(&mut stream).await.is_err(), "then the connection ends");
    }
}

#[tokio::test]
async fn a_connection_has_so_many_queries_under_way_and_waits_with_the_rest() {
    for (bench, script) in Bench::each(|| Scripted::closed(10)) {
        let mut stream = bench.peer.connect().await;
        for id in 0..40 {
            send(&mut stream, &query(id, &format!("a{id}"))).await;
        }
        eventually("the first are not asked", || script.asked() == 16).await;
        // Another client is not held up.
        let other = bench.peer.datagrams().await;
        let wire = query(99, "z");
        other.send(&wire).await;
        eventually("another client waits", || script.asked() == 17).await;
        script.go_z.add_permits(1);
        answers(&other.receive().await, &wire, 10);
        assert_eq!(script.asked(), 17);
        script.go.add_permits(100);
        let mut ids = Vec::new();
        for _ in 0..40 {
            ids.extend(message::id(&read_answer(&mut stream).await.unwrap()));
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..40).collect::<Vec<u16>>());
    }
}

#[tokio::test]
async fn nonsense_is_refused_and_the_next_query_answered() {
    for (bench, _) in Bench::each(|| Scripted::new(10)) {
        let good = query(6, "a");
        let datagrams = bench.peer.datagrams().await;
        let mut many = query(5, "a");
        many[5] = 2;
        for unanswered in [&b""[..], b"x", &answer(&query(5, "a"), 3)] {
            datagrams.send(unanswered).await;
        }
        datagrams.send(&many).await;
        let refused = datagrams.receive().await;
        assert_eq!((message::id(&refused), message::rcode(&refused)), (Some(5), 1));
        datagrams.send(&good).await;
        answers(&datagrams.receive().await, &good, 10);

        // A query of any length is read, and one that no query has is refused by name; then the connection goes on.
        let mut stream = bench.peer.connect().await;
        for length in [MAX_QUERY + 1, 65_535] {
            let mut long = query(5, "a");
            long.resize(length, 0);
            send(&mut stream, &long).await;
            let refused = read_answer(&mut stream).await.unwrap();
            assert_eq!((message::id(&refused), message::rcode(&refused)), (Some(5), 1));
        }
        send(&mut stream, b"").await;
        send(&mut stream, &good).await;
        answers(&read_answer(&mut stream).await.unwrap(), &good, 10);
        assert_eq!(bench.proxy.stats().refused, 7);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_disturbs_nobody() {
    for (bench, script) in Bench::each(|| Scripted::closed(10)) {
        let gone = bench.peer.datagrams().await;
        gone.send(&query(1, "a")).await;
        let mut stream = bench.peer.connect().await;
        send(&mut stream, &query(2, "b")).await;
        eventually("they are not asked", || script.asked() == 2).await;
        drop((gone, stream));
        script.go.add_permits(2);
        eventually("they are not answered", || bench.proxy.stats().in_flight == 0).await;
        script.go.add_permits(2);
        let wire = query(3, "c");
        let mut stream = bench.peer.connect().await;
        send(&mut stream, &wire).await;
        answers(&read_answer(&mut stream).await.unwrap(), &wire, 10);
    }
}
