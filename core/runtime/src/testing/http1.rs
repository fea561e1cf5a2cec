use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::accept;

/// Answers one request with these bytes, then closes; gives the request back, head and body.
pub(crate) async fn answer_once(
    listener: &TcpListener,
    tls: &TlsAcceptor,
    answer: &[u8],
) -> (String, String) {
    let mut stream = accept(listener, tls).await;
    let mut request = Vec::new();
    let (head, body) = loop {
        let mut room = [0; 1024];
        let count = stream.read(&mut room).await.unwrap();
        request.extend_from_slice(&room[..count]);
        let text = String::from_utf8(request.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            break (head, body.to_owned());
        }
    };
    stream.write_all(answer).await.unwrap();
    let _ = stream.shutdown().await;
    (head, body)
}
