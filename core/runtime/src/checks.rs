//! The two proofs of connectivity: inside the tunnel and outside it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use tokio::time::timeout;

use crate::flows::TunnelNet;
use crate::http::exchange;
use crate::orchestration::authority;
use crate::sockets::SocketFactory;

/// For the whole check inside; a SYN that is lost goes out again after 1 s and 3 s.
pub const INSIDE_DEADLINE: Duration = Duration::from_secs(5);
/// For one address outside.
pub const OUTSIDE_DEADLINE: Duration = Duration::from_secs(5);

/// The longest answer of the check address, in bytes.
const MAX_TRACE: usize = 4096;
/// What the answer of the check address holds where the tunnel works.
const PROOF: &str = "weft=on";

/// Why a check failed, one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CheckError(String);

fn failed(detail: impl fmt::Display) -> CheckError {
    CheckError(detail.to_string())
}

/// Fetches `http://ADDRESS/cdn-cgi/trace` through the tunnel: the gateway answers that it sees the device in it.
///
/// # Errors
/// What failed: no connection, no answer in [`INSIDE_DEADLINE`], or another answer.
pub async fn inside(net: &TunnelNet, address: SocketAddr) -> Result<(), CheckError> {
    let check = async {
        let stream =
            net.connect_tcp(address).await.map_err(|error| failed(format_args!("{address}: {error}")))?;
        trace(stream, address).await
    };
    timeout(INSIDE_DEADLINE, check).await.unwrap_or_else(|_| Err(silent(address)))
}

async fn trace<S>(stream: S, address: SocketAddr) -> Result<(), CheckError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let host = match address.port() {
        80 => authority(&address.ip().to_string(), 443),
        _ => address.to_string(),
    };
    let request = Request::get("/cdn-cgi/trace")
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("weft/", env!("CARGO_PKG_VERSION")))
        .body(Full::<Bytes>::default())
        .map_err(failed)?;
    let answer = exchange(stream, request, MAX_TRACE).await;
    let answer = answer.map_err(|error| failed(format_args!("{address}: {error}")))?;
    if answer.status != StatusCode::OK {
        return Err(failed(format_args!("{address} answers with HTTP status {}", answer.status.as_u16())));
    }
    if answer.body.split(|byte| *byte == b'\n').any(|line| line.trim_ascii() == PROOF.as_bytes()) {
        Ok(())
    } else {
        Err(failed(format_args!("{address} answers, but is not the gateway's check address")))
    }
}

/// Opens a TCP connection outside the tunnel to any of the addresses, and closes it. All are tried at once.
///
/// # Errors
/// What the last address to fail said, in [`OUTSIDE_DEADLINE`] at most.
pub async fn outside(sockets: &SocketFactory, addresses: &[SocketAddr]) -> Result<(), CheckError> {
    let mut attempts = tokio::task::JoinSet::new();
    for address in addresses.iter().copied() {
        let sockets = sockets.clone();
        attempts.spawn(async move {
            match timeout(OUTSIDE_DEADLINE, sockets.connect(address)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(failed(error)),
                Err(_) => Err(silent(address)),
            }
        });
    }
    let mut last = failed("no address is known");
    while let Some(joined) = attempts.join_next().await {
        match joined {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => last = error,
            Err(error) => last = failed(error),
        }
    }
    Err(last)
}

fn silent(address: SocketAddr) -> CheckError {
    failed(format_args!("{address} does not answer"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::flows::tests::{connect, pair};

    /// Checks against a server inside that answers with these bytes.
    async fn ask(answer: &str) -> Result<(), CheckError> {
        let pair = pair();
        let [near, mut far] = connect(&pair, 0).await;
        let server = async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(far.read_u8().await.unwrap());
            }
            far.write_all(answer.as_bytes()).await.unwrap();
            far.shutdown().await.unwrap();
            String::from_utf8(request).unwrap()
        };
        let address = "172.64.128.1:80".parse().unwrap();
        let (result, request) = tokio::join!(trace(near, address), server);
        assert!(request.starts_with("GET /cdn-cgi/trace HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: 172.64.128.1\r\n"), "{request}");
        result
    }

    #[tokio::test]
    async fn the_check_inside_wants_the_gateways_word() {
        let answer = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        assert_eq!(ask(&answer("fl=weft\nip=172.16.0.2\nweft=on\n")).await, Ok(()));
        let portal = "HTTP/1.1 302 Found\r\nlocation: http://portal/\r\ncontent-length: 0\r\n\r\n".to_owned();
        let long = answer(&format!("weft=on\n{}", "x".repeat(5000)));
        for bad in
            [answer("weft=off\n"), answer("xweft=on"), portal, "garbage".to_owned(), long, String::new()]
        {
            let error = ask(&bad).await.unwrap_err().to_string();
            assert!(error.contains("172.64.128.1:80") && !error.contains('\n'), "{error}");
        }
    }

    #[tokio::test]
    async fn the_check_outside_wants_one_address_that_answers() {
        let sockets = SocketFactory::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (open, closed) = (listener.local_addr().unwrap(), {
            let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
            other.local_addr().unwrap()
        });
        assert_eq!(outside(&sockets, &[closed, open]).await, Ok(()));
        let error = outside(&sockets, &[closed]).await.unwrap_err().to_string();
        assert!(error.contains(&closed.to_string()) && !error.contains('\n'), "{error}");
        assert!(outside(&sockets, &[]).await.is_err());
    }
}
