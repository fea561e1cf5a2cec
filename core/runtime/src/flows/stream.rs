//! A TCP connection inside the tunnel.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weft_netstack::{FlowId, Received};

use super::shared::{Shared, close_error, port_lost};
use crate::data_plane::Protocol;

/// A TCP connection inside the tunnel. Writing waits where its buffer is full; dropping it ends it in order, or by a
/// reset where bytes are left unread.
pub struct TunnelStream {
    shared: Arc<Shared>,
    id: FlowId,
}

impl std::fmt::Debug for TunnelStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TunnelStream").field(&self.id).finish()
    }
}

impl TunnelStream {
    /// Starts a connection; it is not established yet.
    pub(super) fn connect(shared: Arc<Shared>, port: u16, remote: SocketAddr) -> io::Result<Self> {
        let id = shared.open(Protocol::Tcp, port, |stack, now| stack.connect(remote, port, now))?;
        Ok(Self { shared, id })
    }

    /// The next connection that another opens.
    pub(super) async fn accept(shared: &Arc<Shared>) -> io::Result<Self> {
        let id = std::future::poll_fn(|context| shared.lock().poll_accepted(context)).await?;
        Ok(Self { shared: Arc::clone(shared), id })
    }

    pub(super) fn poll_established(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.shared.lock().poll_established(self.id, context)
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        state.check()?;
        let received = state.stack().receive(self.id, buffer.initialize_unfilled());
        match received.map_err(close_error)? {
            Received::Bytes(count) => {
                buffer.advance(count);
                // The window may have opened.
                self.shared.settle(&mut state, Instant::now());
                Poll::Ready(Ok(()))
            }
            Received::End => Poll::Ready(Ok(())),
            Received::Nothing => {
                state.await_readable(self.id, context);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.lock();
        state.check()?;
        let now = Instant::now();
        if !self.shared.holds_port(&state, self.id) {
            state.stack().abort(self.id, now);
            self.shared.settle(&mut state, now);
            return Poll::Ready(Err(port_lost()));
        }
        let taken = state.stack().send(self.id, bytes, now).map_err(close_error)?;
        if taken == 0 && !bytes.is_empty() {
            state.await_writable(self.id, context);
            return Poll::Pending;
        }
        self.shared.settle(&mut state, now);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        let now = Instant::now();
        state.stack().close(self.id, now);
        self.shared.settle(&mut state, now);
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        self.shared.give_back(self.id);
    }
}
