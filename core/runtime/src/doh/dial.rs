//! Where a resolver's connection comes from.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::flows::TunnelNet;
use crate::sockets::SocketFactory;

/// An ordered stream of bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Some stream.
pub type BoxedStream = Box<dyn Stream>;

/// A stream that is being opened.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send + 'a>>;

/// Opens streams to one resolver.
pub trait Dial: Send + Sync {
    /// Opens a stream: the nth attempt takes the nth address, and begins again behind the last. Dropping the future
    /// gives it up.
    fn dial(&self, attempt: usize) -> Dialing<'_>;

    /// How many addresses there are.
    fn addresses(&self) -> usize {
        1
    }
}

/// Dials through the tunnel.
#[derive(Debug, Clone)]
pub struct Inside {
    /// The tunnel's flows.
    pub net: TunnelNet,
    /// The resolver.
    pub remote: SocketAddr,
}

impl Dial for Inside {
    fn dial(&self, _: usize) -> Dialing<'_> {
        Box::pin(async { Ok(Box::new(self.net.connect_tcp(self.remote).await?) as BoxedStream) })
    }
}

/// Dials outside the tunnel.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Makes the sockets.
    pub sockets: SocketFactory,
    /// The resolver's addresses, in the order to try them.
    pub addresses: Vec<SocketAddr>,
}

impl Dial for Outside {
    fn dial(&self, attempt: usize) -> Dialing<'_> {
        let address = attempt.checked_rem(self.addresses.len()).and_then(|index| self.addresses.get(index));
        Box::pin(async move {
            let unknown = || io::Error::new(io::ErrorKind::AddrNotAvailable, "no address is known");
            let stream = self.sockets.connect(*address.ok_or_else(unknown)?).await?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }

    fn addresses(&self) -> usize {
        self.addresses.len()
    }
}
