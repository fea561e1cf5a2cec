//! Queries by UDP.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use weft_dns::MAX_QUERY;

use super::core::{Client, Core};

/// How long a socket that fails is left alone.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Takes queries until it is dropped.
pub(super) async fn serve(socket: Arc<UdpSocket>, core: Arc<Core>) {
    // One byte more than the longest query, so that a longer one is seen to be too long.
    let mut room = vec![0; MAX_QUERY + 1];
    loop {
        match socket.recv_from(&mut room).await {
            Ok((length, from)) => {
                let client = Client::Udp { socket: Arc::clone(&socket), from };
                core.query(client, room.get(..length).unwrap_or_default());
            }
            Err(error) => {
                tracing::debug!("receiving DNS queries: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}
