//! How many connections there are.

use std::time::{Duration, Instant};

use super::server::{Does, LONG_SILENCE, Server, query};
use super::{asked, until};
use crate::doh::DohClient;
use crate::testing::eventually;

fn ask(client: &DohClient, name: u8) -> tokio::task::JoinHandle<bool> {
    let client = client.clone();
    tokio::spawn(async move { asked(client.query(&query(name, true))).await.is_ok() })
}

#[tokio::test]
async fn where_a_server_allows_no_more_streams_others_are_opened_up_to_a_bound() {
    let server = Server::start(&[Does::Hold(2)]).await;
    let client = server.patient_client(LONG_SILENCE * 60);
    // What the server allows is known once it has spoken.
    assert!(ask(&client, b'a').await.unwrap());
    let held: Vec<_> = (0..30).map(|_| ask(&client, b'b')).collect();
    eventually("all streams of all connections", || server.requests() == 17).await;
    assert_eq!((server.connections(), server.open()), (8, 8));
    // Who has given up gives back the place, and the next one gets it.
    held[0].abort();
    eventually("the place goes on", || server.requests() == 18).await;
    assert_eq!((server.connections(), server.open()), (8, 8));
}

#[tokio::test]
async fn many_queries_pass_through_few_streams() {
    let server = Server::start(&[Does::Few(3)]).await;
    let client = server.patient_client(LONG_SILENCE * 60);
    assert!(ask(&client, b'a').await.unwrap());
    let tasks: Vec<_> = (0..200).map(|_| ask(&client, b'b')).collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    assert_eq!(server.requests(), 201);
    assert!(server.connections() <= 8);
}

#[tokio::test]
async fn another_connection_goes_on_from_the_session_of_the_first() {
    let server = Server::start(&[Does::Answer]).await;
    let client = server.patient_client(LONG_SILENCE * 60);
    for _ in 0..3 {
        assert!(ask(&client, b'a').await.unwrap());
        client.reset();
    }
    assert_eq!((server.connections(), server.resumed()), (3, 2));
    eventually("connections that were given up are closed", || server.open() == 0).await;
}

#[tokio::test]
async fn a_client_that_nobody_has_any_more_closes_its_connections() {
    let server = Server::start(&[Does::Hold(1)]).await;
    let client = server.patient_client(LONG_SILENCE * 60);
    let deadline = Instant::now() + Duration::from_millis(200);
    assert!(until(deadline, client.query(&query(b'b', true))).await.is_err());
    assert_eq!(server.open(), 1);
    drop(client);
    eventually("the connection is closed", || server.open() == 0).await;
}
