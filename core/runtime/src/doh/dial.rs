//! Where a resolver's connection comes from.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

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
    /// Opens a stream. Dropping the future gives it up.
    fn dial(&self) -> Dialing<'_>;
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
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async { Ok(Box::new(self.net.connect_tcp(self.remote).await?) as BoxedStream) })
    }
}

/// Dials outside the tunnel: the first address that takes a connection.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Makes the sockets.
    pub sockets: SocketFactory,
    /// The resolver's addresses, in the order to try them.
    pub addresses: Vec<SocketAddr>,
}

/// How long one of several addresses may take.
const PER_ADDRESS: Duration = Duration::from_millis(1500);

impl Dial for Outside {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async {
            let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address is known");
            for address in &self.addresses {
                last = match tokio::time::timeout(PER_ADDRESS, self.sockets.connect(*address)).await {
                    Ok(Ok(stream)) => return Ok(Box::new(stream) as BoxedStream),
                    Ok(Err(error)) => error,
                    Err(_) => io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer")),
                };
            }
            Err(last)
        })
    }
}
