//! A resolver that goes, comes back, or does what it should not: what a query is told, and what is left behind.

use std::time::Instant;

use super::server::{Does, Server, query};
use super::{asked, soon, until};
use crate::doh::DohError;
use crate::testing::eventually;

/// Asks again and again until there is an answer; the errors meanwhile are given back.
async fn ask_until_answered(client: &crate::doh::DohClient) -> Vec<DohError> {
    let mut errors = Vec::new();
    let deadline = soon();
    loop {
        match asked(client.query(&query(b'a', true))).await {
            Ok(_) => return errors,
            Err(error) => errors.push(error),
        }
        assert!(Instant::now() < deadline, "{errors:?}");
    }
}

#[tokio::test]
async fn a_resolver_that_comes_back_is_found_and_not_besieged_meanwhile() {
    let mut server = Server::start(&[Does::Answer]).await;
    let client = server.client();
    assert!(ask_until_answered(&client).await.is_empty());
    server.stop().await;
    // A thousand queries at once and one after the other: each is told, and few connections are tried.
    let mut told = 0;
    for _ in 0..3 {
        let many = (0..300).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { asked(client.query(&query(b'a', true))).await })
        });
        for task in many.collect::<Vec<_>>() {
            let error = task.await.unwrap().unwrap_err();
            assert!(matches!(error, DohError::Unreachable(_)), "{error:?}");
            told += 1;
        }
    }
    assert_eq!(told, 900);
    server.come_back().await;
    assert!(ask_until_answered(&client).await.is_empty(), "the first query finds it");
    assert_eq!((server.connections(), server.open()), (2, 1));
}

#[tokio::test]
async fn a_query_finds_a_silent_connection_dead_and_gets_its_answer_by_another() {
    let server = Server::start(&[Does::FallSilent, Does::Answer]).await;
    let client = server.client();
    assert!(asked(client.query(&query(b'a', true))).await.is_ok());
    assert_eq!(server.connections(), 2);
    // The client has closed its end; this server would never look.
    assert!(asked(client.query(&query(b'a', true))).await.is_ok());
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_answers_signs_of_life_is_kept() {
    let server = Server::start(&[Does::Hold(100)]).await;
    let client = server.client();
    let deadline = Instant::now() + super::SILENCE * 8;
    assert_eq!(until(deadline, client.query(&query(b'b', true))).await, Err(DohError::TimedOut));
    // Four times the silence that would have ended it, were it not for the pings.
    assert_eq!((server.connections(), server.requests()), (1, 1));
}

#[tokio::test]
async fn what_a_hostile_resolver_does_leaves_nothing_behind() {
    let scripts: [&'static [Does]; 8] = [
        &[Does::CloseMidAnswer],
        &[Does::Garbage],
        &[Does::BreakOff],
        &[Does::Fail(503)],
        &[Does::Page],
        &[Does::Long(false)],
        &[Does::GoAway],
        &[Does::NoDns],
    ];
    for script in scripts {
        let server = Server::start(script).await;
        let client = server.client();
        let mut highest = 0;
        for _ in 0..3 {
            let many: Vec<_> = (0..20)
                .map(|_| {
                    let client = client.clone();
                    tokio::spawn(async move { asked(client.query(&query(b'a', true))).await })
                })
                .collect();
            for task in many {
                // Whatever it says, it says something.
                let _answer_or_error = task.await.unwrap();
                highest = highest.max(server.open());
            }
        }
        assert!(highest <= 8, "{script:?}: {highest} connections at once");
        // Two a round, since a query that lost its connection is sent once more.
        let limit = if script == [Does::GoAway] { 120 } else { 7 };
        assert!(server.connections() <= limit, "{script:?}: {} connections", server.connections());
        drop(client);
        eventually("all are closed", || server.open() == 0).await;
    }
}
