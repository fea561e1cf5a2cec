mod failures;
mod pool;
mod server;
mod tickets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use weft_dns::message;
use weft_model::Secret;

use self::server::{Counts, Does, LONG_SILENCE, SILENCE, Server, query, serve};
use super::{BoxedStream, Dial, Dialing, DohClient, DohConfig, DohError, Outside};
use crate::flows::TunnelStream;
use crate::sockets::SocketFactory;
use crate::testing::Pki;
use crate::tls::Trust;

/// A deadline that a stall of the machine does not miss.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// What becomes of a query until a deadline.
async fn until<T>(
    deadline: Instant,
    query: impl Future<Output = Result<T, DohError>>,
) -> Result<T, DohError> {
    tokio::time::timeout_at(deadline.into(), query).await.unwrap_or(Err(DohError::TimedOut))
}

/// What becomes of a query that nothing should keep.
async fn asked<T>(query: impl Future<Output = Result<T, DohError>>) -> Result<T, DohError> {
    until(soon(), query).await
}

#[tokio::test]
async fn queries_share_a_connection_and_come_back_without_padding() {
    let server = Server::start(&[Does::Answer]).await;
    let client = server.client();
    for edns in [false, true] {
        let mut expected = query(b'a', edns);
        expected[2] |= 0x80;
        assert_eq!(asked(client.query(&query(b'a', edns))).await, Ok(expected));
    }
    let many = (0..200_u8).map(|name| {
        let client = client.clone();
        tokio::spawn(async move { asked(client.query(&query(name, true))).await.unwrap()[13] })
    });
    for (name, task) in many.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(usize::from(task.await.unwrap()), name);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn queries_pass_through_the_tunnel() {
    struct Once(std::sync::Mutex<Option<TunnelStream>>);
    impl Dial for Once {
        fn dial(&self, _: usize) -> Dialing<'_> {
            let stream = self.0.lock().unwrap().take().unwrap();
            Box::pin(async { Ok(Box::new(stream) as BoxedStream) })
        }
    }
    let pki = Pki::new(&["gateway.example"]);
    let pair = crate::flows::tests::pair();
    let [near, far] = crate::flows::tests::connect(&pair, 0).await;
    let tls = pki.server(b"h2", true);
    tokio::spawn(
        async move { serve(tls.accept(far).await.unwrap(), Does::Answer, &Counts::default()).await },
    );
    let config = DohConfig {
        name: "gateway.example".to_owned(),
        port: 8443,
        path: "/dns-query".to_owned(),
        trust: Trust::CaPem(pki.authority_pem),
        token: Some(Secret::from("device-token".to_owned())),
    };
    let client = DohClient::new(config, Box::new(Once(Some(near).into()))).unwrap();
    for name in 0..20 {
        assert!(asked(client.query(&query(name, true))).await.is_ok());
    }
}

#[tokio::test]
async fn the_first_queries_wait_for_one_connection_together() {
    let server = Server::start(&[Does::Answer]).await;
    let client = server.client();
    let (one, two) = (query(b'a', true), query(b'b', true));
    let (one, two) = tokio::join!(asked(client.query(&one)), asked(client.query(&two)));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_failing_connection_is_replaced_and_the_query_sent_once_more() {
    let cases: [(&'static [Does], usize); 4] = [
        (&[Does::CloseMidAnswer, Does::Answer], 2),
        (&[Does::Garbage, Does::Answer], 2),
        (&[Does::FallSilent, Does::Answer], 2),
        (&[Does::GoAway, Does::Answer], 2),
    ];
    for (script, connections) in cases {
        let server = Server::start(script).await;
        let client = server.client();
        for _ in 0..2 {
            let answer = asked(client.query(&query(b'a', true))).await;
            assert!(answer.is_ok(), "{script:?}: {answer:?}");
        }
        assert_eq!(server.connections(), connections, "{script:?}");
    }
}

#[tokio::test]
async fn a_query_is_sent_no_more_than_twice() {
    for (script, fits) in [
        (&[Does::CloseMidAnswer], (|error| matches!(error, DohError::Lost(_))) as fn(&DohError) -> bool),
        (&[Does::FallSilent], |error| *error == DohError::Silent),
    ] {
        let server = Server::start(script).await;
        let error = asked(server.client().query(&query(b'a', true))).await.unwrap_err();
        assert!(fits(&error), "{script:?}: {error:?}");
        assert_eq!((server.connections(), server.requests()), (2, 2));
    }
}

#[tokio::test]
async fn a_bad_answer_is_named_and_the_connection_kept() {
    let cases: [(&'static [Does], DohError); 8] = [
        (&[Does::NoDns], DohError::NotDns),
        (&[Does::Other], DohError::OtherQuestion),
        (&[Does::Fail(500)], DohError::Status(500)),
        (&[Does::Fail(401)], DohError::Status(401)),
        (&[Does::Page], DohError::NotDns),
        (&[Does::Long(true)], DohError::TooLong),
        (&[Does::Long(false)], DohError::TooLong),
        (&[Does::BreakOff], DohError::Broken(String::new())),
    ];
    for (script, expected) in cases {
        let server = Server::start(script).await;
        let client = server.client();
        for _ in 0..2 {
            let error = asked(client.query(&query(b'a', true))).await.unwrap_err();
            let same = std::mem::discriminant(&error) == std::mem::discriminant(&expected);
            assert!(same, "{script:?}: {error:?}");
            assert!(matches!(error, DohError::Broken(_)) || error == expected);
            assert!(!error.to_string().contains('\n'));
        }
        assert_eq!(server.connections(), 1, "{script:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_while_the_connection_lives() {
    let server = Server::start(&[Does::Slow]).await;
    let client = server.patient_client(LONG_SILENCE);
    let slow = query(b'z', true);
    let mut slow = std::pin::pin!(asked(client.query(&slow)));
    let mut others = tokio::time::interval(LONG_SILENCE / 8);
    loop {
        tokio::select! {
            answer = &mut slow => break assert!(answer.is_ok(), "{answer:?}"),
            _ = others.tick() => assert!(asked(client.query(&query(b'a', true))).await.is_ok()),
        }
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn who_cannot_be_reached_or_trusted_is_named() {
    let server = Server::start(&[Does::Answer]).await;
    let stranger = Pki::new(&["gateway.example"]);
    let client = server.client_with(Trust::CaPem(stranger.authority_pem), None);
    let error = asked(client.query(&query(b'a', true))).await.unwrap_err();
    assert!(matches!(error, DohError::Untrusted(_)), "{error:?}");

    struct Nowhere(AtomicUsize);
    impl Dial for Arc<Nowhere> {
        fn dial(&self, _: usize) -> Dialing<'_> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {
                tokio::task::yield_now().await;
                Err::<BoxedStream, _>(std::io::ErrorKind::ConnectionRefused.into())
            })
        }
    }
    let nowhere = Arc::new(Nowhere(AtomicUsize::new(0)));
    let config = DohConfig {
        name: "gateway.example".to_owned(),
        port: 443,
        path: "/dns-query".to_owned(),
        trust: Trust::CaPem(server.pki.authority_pem.clone()),
        token: None,
    };
    let client = DohClient::new(config, Box::new(Arc::clone(&nowhere))).unwrap();
    let wire = query(b'a', true);
    let (one, two) = tokio::join!(asked(client.query(&wire)), asked(client.query(&wire)));
    assert!(matches!((one, two), (Err(DohError::Unreachable(_)), Err(DohError::Unreachable(_)))));
    assert_eq!(nowhere.0.load(Ordering::SeqCst), 1, "those who wait hear of the first's failure");
    assert!(asked(client.query(&wire)).await.is_err());
    assert_eq!(nowhere.0.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn after_a_reset_queries_go_on_over_another_connection() {
    let server = Server::start(&[Does::FallSilent, Does::Answer]).await;
    // Silence alone would end nothing within the deadline.
    let client = server.patient_client(Duration::from_secs(60));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { asked(client.query(&query(b'a', true))).await }
    });
    let deadline = soon();
    while server.requests() == 0 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    client.reset();
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_reset_ends_what_is_being_opened_too() {
    struct First(AtomicUsize, SocketAddr);
    impl Dial for First {
        fn dial(&self, _: usize) -> Dialing<'_> {
            let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
            Box::pin(async move {
                if first {
                    std::future::pending::<()>().await;
                }
                let stream = SocketFactory::new().connect(self.1).await?;
                Ok(Box::new(stream) as BoxedStream)
            })
        }
    }
    let server = Server::start(&[Does::Answer]).await;
    let config = Server::config(Trust::CaPem(server.pki.authority_pem.clone()), Some("device-token"));
    let client = DohClient::new(config, Box::new(First(AtomicUsize::new(0), server.address))).unwrap();
    let wire = query(b'a', true);
    let asking = asked(client.query(&wire));
    let resetting = async {
        tokio::task::yield_now().await;
        client.reset();
    };
    let (answer, ()) = tokio::join!(asking, resetting);
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn an_unusable_configuration_is_refused() {
    let good = || DohConfig {
        name: "gateway.example".to_owned(),
        port: 443,
        path: "/dns-query".to_owned(),
        trust: Trust::CaPem(Pki::new(&["gateway.example"]).authority_pem),
        token: None,
    };
    let bad = [
        DohConfig { name: "a b".to_owned(), ..good() },
        DohConfig { path: "no slash".to_owned(), ..good() },
        DohConfig { trust: Trust::CaPem("hello".to_owned()), ..good() },
        DohConfig { token: Some(Secret::from("two\nlines".to_owned())), ..good() },
    ];
    for config in bad {
        let dial = Outside { sockets: SocketFactory::new(), addresses: Vec::new() };
        let error = DohClient::new(config, Box::new(dial)).unwrap_err();
        assert!(matches!(error, DohError::Config(_)), "{error:?}");
    }
    assert!(message::is_well_formed(&query(b'a', true)) && message::is_well_formed(&query(b'a', false)));
}
