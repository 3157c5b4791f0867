//! HTTP/1.1 GET of one document from this host, with a bound on what is read.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;

use crate::dial;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Where.
    pub to: SocketAddr,
    /// The connection comes from the same address.
    pub own_source: bool,
    /// The Host header.
    pub host: String,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// Why there is no document.
#[derive(Debug, Error)]
pub enum GetError {
    /// Nobody took the connection.
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    /// What came is no answer to it, or the connection ended early.
    #[error("no HTTP answer: {}", root(.0))]
    Http(#[from] hyper::Error),
    /// The document is longer than what is read.
    #[error("the answer has more than {max} bytes")]
    TooLong {
        /// What is read.
        max: usize,
    },
}

/// hyper's own text says which step failed; what it stands on says why.
fn root(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The status, and the document if it is to be read. The caller sets the time limit by dropping this.
pub async fn get(get: &Get, body_len_max: Option<usize>) -> Result<(StatusCode, Bytes), GetError> {
    let stream = dial::tcp(get.to, get.own_source).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(&get.path)
        .header(HOST, &get.host)
        .header(USER_AGENT, concat!("hostd/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .expect("path and host are checked with the configuration");
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let (status, body) = (answer.status(), answer.into_body());
        let Some(max) = body_len_max else { return Ok((status, Bytes::new())) };
        match Limited::new(body, max).collect().await {
            Ok(collected) => Ok((status, collected.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(GetError::TooLong { max }),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(error) => GetError::Http(*error),
                Err(other) => GetError::Connect(std::io::Error::other(other)),
            }),
        }
    };
    // The connection does its work in here, not on a task: both end together, and nothing outlives a dropped attempt.
    tokio::select! {
        biased;
        done = exchange => done,
        ended = async {
            if let Err(error) = connection.await { return GetError::Http(error) }
            // A connection that ended well has given its answer; the exchange takes it at its next turn.
            std::future::pending().await
        } => Err(ended),
    }
}
