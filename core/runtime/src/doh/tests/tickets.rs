//! What is asked while a connection is open, and nobody waits for by itself: asked of the proxy, as programs do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use weft_dns::{DnsConfig, Upstream};
use weft_model::DnsLookup;

use super::server::{Does, LONG_SILENCE, Server};
use crate::dns_front::{DnsProxy, Resolvers};
use crate::doh::DohClient;
use crate::sockets::SocketFactory;
use crate::testing::eventually;

/// A proxy without a cache that asks this client. Its connection is open, and has answered the name "a".
async fn proxy_of(client: &DohClient) -> DnsProxy {
    let config = DnsConfig { upstream: Upstream::Doh, cache_bytes: 0, ..DnsConfig::default() };
    let mut resolvers = Resolvers::outside(SocketFactory::new());
    resolvers.doh = Some(client.clone());
    let proxy = DnsProxy::start(&[], config, Arc::new(resolvers)).unwrap();
    assert_eq!(ask(&proxy, "a").await.rcode, "NOERROR");
    proxy
}

/// A proxy of this server, whose connections may be silent for `silence`.
async fn proxy(server: &Server, silence: Duration) -> DnsProxy {
    proxy_of(&server.patient_client(silence)).await
}

fn ask(proxy: &DnsProxy, name: &str) -> impl Future<Output = DnsLookup> + Send + use<> {
    let lookup = proxy.lookup(&format!("{name}.example").parse().unwrap(), 1);
    async { timeout(Duration::from_secs(20), lookup).await.unwrap().unwrap() }
}

/// What comes of many names that are asked for at once.
async fn all(proxy: &DnsProxy, names: impl Iterator<Item = String>) -> Vec<DnsLookup> {
    let asked: Vec<_> = names.map(|name| tokio::spawn(ask(proxy, &name))).collect();
    let mut lookups = Vec::new();
    for lookup in asked {
        lookups.push(lookup.await.unwrap());
    }
    lookups
}

/// As many names of one letter as can be looked up at once; none is "a".
fn others() -> impl Iterator<Item = String> {
    ('b'..='q').map(String::from)
}

#[tokio::test]
async fn each_gets_its_own_answer_over_the_one_connection() {
    let server = Server::start(&[Does::Answer]).await;
    let proxy = proxy(&server, LONG_SILENCE).await;
    let lookups = all(&proxy, others()).await;
    for (name, lookup) in others().zip(lookups) {
        assert_eq!((lookup.name.as_str(), lookup.rcode.as_str()), (&*format!("{name}.example"), "NOERROR"));
    }
    assert_eq!((server.connections(), server.requests()), (1, 17));
}

#[tokio::test]
async fn those_of_a_lost_connection_are_asked_once_more_over_another() {
    let server = Server::start(&[Does::Hold(100), Does::Answer]).await;
    let client = server.patient_client(LONG_SILENCE * 60);
    let proxy = proxy_of(&client).await;
    let lost = async {
        eventually("all are under way", || server.requests() == 17).await;
        client.reset();
    };
    let (lookups, ()) = tokio::join!(all(&proxy, others()), lost);
    assert!(lookups.iter().all(|lookup| lookup.rcode == "NOERROR"));
    assert_eq!((server.connections(), server.requests()), (2, 33));
}

#[tokio::test]
async fn those_of_a_silent_connection_are_asked_once_more_over_another() {
    let server = Server::start(&[Does::AnswerOnce, Does::Answer]).await;
    let proxy = proxy(&server, LONG_SILENCE).await;
    let lookups = all(&proxy, others()).await;
    assert!(lookups.iter().all(|lookup| lookup.rcode == "NOERROR"));
    assert_eq!(server.connections(), 2);
    let twice = server.requests();
    assert_eq!(ask(&proxy, "b").await.rcode, "NOERROR");
    assert_eq!((server.connections(), server.requests()), (2, twice + 1), "the silent one is not used again");
}

#[tokio::test]
async fn a_resolver_that_refuses_is_told_of_and_asked_no_second_time() {
    let server = Server::start(&[Does::FailOthers(403)]).await;
    let proxy = proxy(&server, LONG_SILENCE).await;
    let lookup = ask(&proxy, "b").await;
    assert_eq!(lookup.rcode, "SERVFAIL");
    assert!(lookup.errors.iter().any(|error| error.code == 18), "{:?}", lookup.errors);
    assert_eq!((server.connections(), server.requests()), (1, 2));
}

#[tokio::test]
async fn what_is_given_up_gives_its_place_back() {
    let server = Server::start(&[Does::Hold(2)]).await;
    let proxy = proxy(&server, LONG_SILENCE * 60).await;
    for round in 1..4 {
        let given_up = async {
            eventually("both are under way", || server.requests() == round * 3).await;
            proxy.flush();
        };
        let (held, ()) = tokio::join!(all(&proxy, ["b", "c"].map(String::from).into_iter()), given_up);
        assert!(held.iter().all(|lookup| lookup.rcode == "SERVFAIL"));
        assert_eq!(ask(&proxy, "a").await.rcode, "NOERROR");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_finds_no_room_waits_for_it() {
    let server = Server::start(&[Does::Few(3)]).await;
    let proxy = proxy(&server, LONG_SILENCE * 60).await;
    let lookups = all(&proxy, others()).await;
    assert!(lookups.iter().all(|lookup| lookup.rcode == "NOERROR"));
    assert_eq!(server.requests(), 17);
}

#[tokio::test]
async fn what_is_under_way_keeps_neither_proxy_nor_connection() {
    let server = Server::start(&[Does::Hold(100)]).await;
    let client = server.patient_client(LONG_SILENCE * 60);
    let proxy = proxy_of(&client).await;
    let held = tokio::spawn(proxy.lookup(&"b.example".parse().unwrap(), 1));
    eventually("it is under way", || server.requests() == 2).await;
    drop(client);
    drop(proxy);
    assert!(held.await.unwrap().is_none());
    eventually("the connection is closed", || server.open() == 0).await;
}
