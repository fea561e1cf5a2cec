//! The proofs of connectivity: does the tunnel carry, and is the gateway reachable outside it?

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use tokio::time::timeout;

use crate::flows::TunnelNet;
use crate::http::{HttpError, exchange};
use crate::sockets::SocketFactory;

/// For the whole of a check inside.
const INSIDE: Duration = Duration::from_secs(5);
/// For a connection to one address outside.
const OUTSIDE: Duration = Duration::from_secs(3);
/// The longest answer of a check, in bytes.
const MAX_TRACE: usize = 4096;
/// What the gateway's answer must say.
const PROOF: &str = "weft=on";

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Nobody answered in time.
    #[error("{0} does not answer")]
    Silent(SocketAddr),
    /// No connection came about.
    #[error("{0}: {1}")]
    Connect(SocketAddr, io::Error),
    /// The answer is no HTTP.
    #[error("{0}: {1}")]
    Http(SocketAddr, HttpError),
    /// Somebody answered who is not the gateway.
    #[error("{0} answers, but not as a gateway does (status {1})")]
    Foreign(SocketAddr, StatusCode),
    /// There is nothing to try.
    #[error("the registration names no address to check")]
    Nowhere,
}

/// Asks the gateway's check address inside the tunnel for `/cdn-cgi/trace`; its answer must say `weft=on`.
///
/// # Errors
/// A [`CheckError`], after 5 s at most.
pub async fn inside(net: &TunnelNet, address: SocketAddr) -> Result<(), CheckError> {
    let ask = async {
        let stream = net.connect_tcp(address).await.map_err(|error| CheckError::Connect(address, error))?;
        let request = Request::get("/cdn-cgi/trace").header(header::HOST, address.ip().to_string());
        let request = request.body(Full::<Bytes>::default());
        let request = request.map_err(|error| CheckError::Connect(address, io::Error::other(error)))?;
        exchange(stream, request, MAX_TRACE).await.map_err(|error| CheckError::Http(address, error))
    };
    let answer = timeout(INSIDE, ask).await.map_err(|_| CheckError::Silent(address))??;
    let proven = answer.status == StatusCode::OK
        && String::from_utf8_lossy(&answer.body).lines().any(|line| line.trim() == PROOF);
    if proven { Ok(()) } else { Err(CheckError::Foreign(address, answer.status)) }
}

/// Opens a TCP connection outside the tunnel to one of the addresses, in their order.
///
/// # Errors
/// What the last address said, after 3 s an address at most.
pub async fn outside(sockets: &SocketFactory, addresses: &[SocketAddr]) -> Result<(), CheckError> {
    let mut last = CheckError::Nowhere;
    for address in addresses {
        match timeout(OUTSIDE, sockets.connect(*address)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => last = CheckError::Connect(*address, error),
            Err(_) => last = CheckError::Silent(*address),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn outside_one_address_that_answers_is_enough() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        let sockets = SocketFactory::new();
        assert!(outside(&sockets, &[closed, open]).await.is_ok());
        assert!(matches!(outside(&sockets, &[closed]).await, Err(CheckError::Connect(address, _)) if address == closed));
        assert!(matches!(outside(&sockets, &[]).await, Err(CheckError::Nowhere)));
    }
}
