//! One HTTP/1.1 exchange over a stream that is already there.
//!
//! The core's requests are few and far between (a check, a profile), so each has a connection of its own. A general
//! client such as reqwest has no place to hand in a socket, and every socket of the core's has to come from its factory
//! or from the tunnel.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// Whether the body is of this media type, parameters aside (RFC 9110, section 8.3).
    #[must_use]
    pub fn is_of_type(&self, media_type: &str) -> bool {
        let value = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = value.and_then(|value| value.split(';').next());
        essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type))
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection ended or what came over it is not HTTP.
    #[error("{0}")]
    Protocol(#[from] hyper::Error),
    /// The body is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The body ended before its end.
    #[error("the answer broke off: {0}")]
    Broken(String),
}

/// Sends `request` over `stream` and takes the whole answer, with a body of up to `max_body` bytes.
///
/// It waits as long as the far side keeps the connection: give it a deadline. Dropping the future closes it.
///
/// # Errors
/// An [`HttpError`].
pub async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    max_body: usize,
) -> Result<Answer, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _driver = AbortOnDrop(tokio::spawn(async move {
        // What goes wrong with the connection is told to the request.
        let _told = connection.await;
    }));
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, max_body).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            HttpError::TooLong(max_body)
        } else {
            HttpError::Broken(error.to_string())
        }
    })?;
    Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
}

/// A task that ends with who wants its work.
pub(crate) struct AbortOnDrop(pub(crate) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Asks a server that answers with these bytes and closes.
    async fn ask(answer: &'static str) -> Result<Answer, HttpError> {
        let (client, mut server) = duplex(1024);
        let server = tokio::spawn(async move {
            let mut room = [0; 1024];
            let _ = server.read(&mut room).await;
            let _ = server.write_all(answer.as_bytes()).await;
        });
        let request = Request::get("/").header(header::HOST, "a").body(Full::default()).unwrap();
        let answer = exchange(client, request, 10).await;
        server.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_whole_answer_is_taken() {
        let answer =
            ask("HTTP/1.1 200 OK\r\ncontent-type: Text/Plain; charset=utf-8\r\ncontent-length: 3\r\n\r\nabc");
        let answer = answer.await.unwrap();
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"abc"[..]));
        assert!(answer.is_of_type("text/plain") && !answer.is_of_type("text/html"));
    }

    #[tokio::test]
    async fn what_is_too_long_broken_or_no_http_is_refused() {
        type Fits = fn(&HttpError) -> bool;
        let cases: [(&str, Fits); 5] = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n12345678901", |e| {
                matches!(e, HttpError::TooLong(10))
            }),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", |e| matches!(e, HttpError::Broken(_))),
            ("SSH-2.0-OpenSSH_9\r\n", |e| matches!(e, HttpError::Protocol(_))),
            ("HTTP/1.1 200 OK\r\nconte", |e| matches!(e, HttpError::Protocol(_))),
            ("", |e| matches!(e, HttpError::Protocol(_))),
        ];
        for (answer, fits) in cases {
            let error = ask(answer).await.unwrap_err();
            assert!(fits(&error), "{answer}: {error:?}");
        }
    }
}
