//! Queries by UDP: batches of them, answered at once where the answer is known.

use std::io;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use weft_dns::MAX_QUERY;

use super::core::Core;
use crate::sockets::{AnsweringSocket, Batch};

/// Errors in a row after which a socket is left alone for a while. One alone is the system's word on an answer that
/// was sent before.
const ERRORS: u32 = 8;
/// How long that is.
const AFTER_ERRORS: Duration = Duration::from_millis(100);

/// Answers what comes by a socket, for as long as somebody else holds it: who closes it need not wait for this.
pub(super) async fn serve(socket: Weak<AnsweringSocket>, core: Arc<Core>) {
    // One byte more than the longest query, so that a longer one is seen to be too long.
    let mut batch = Batch::new(MAX_QUERY + 1);
    let mut errors = 0;
    loop {
        match receive(&socket, &mut batch).await {
            Some(Ok(socket)) => {
                errors = 0;
                core.batch(&socket, &mut batch);
                let may_be_more = batch.is_full();
                socket.answer(&mut batch);
                drop(socket);
                if may_be_more {
                    // However much comes, the other tasks have their turn, and the other sockets.
                    tokio::task::yield_now().await;
                }
            }
            Some(Err(error)) => {
                errors += 1;
                if errors >= ERRORS {
                    tracing::debug!("receiving DNS queries: {error}");
                    tokio::time::sleep(AFTER_ERRORS).await;
                }
            }
            None => return,
        }
    }
}

/// Waits for queries and gives the socket that they came by; none once it is closed.
async fn receive(
    socket: &Weak<AnsweringSocket>,
    batch: &mut Batch,
) -> Option<io::Result<Arc<AnsweringSocket>>> {
    std::future::poll_fn(|context| {
        let Some(socket) = socket.upgrade() else { return Poll::Ready(None) };
        let received = socket.poll_receive(context, batch);
        received.map(|received| Some(received.map(|()| socket)))
    })
    .await
}
