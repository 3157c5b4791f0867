//! Asks the API of another node, for the command line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long one node may take from the first packet to the last: one that is cut off is told of soon.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer: tens of thousands of flows.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Why another node's answer cannot be had.
#[derive(Debug, Error)]
pub enum AskError {
    /// It cannot be reached.
    #[error(
        "cannot reach {address}: {source}; does [api] listen there, and does a filter on the way let its port through?"
    )]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing came in time.
    #[error("{0} does not answer within 3 s; is the node up, and is the way there and back open?")]
    Silent(SocketAddr),
    /// It does not speak HTTP as it should.
    #[error("{address} does not answer as the API does: {why}; does another program listen there?")]
    Odd {
        /// Where.
        address: SocketAddr,
        /// What happened.
        why: String,
    },
    /// It refuses, in its own words.
    #[error("{address} says: {why}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Its words.
        why: String,
    },
}

/// GETs `path`, with its query, from a node that shows the certificate that `tls` asks for. Blocks.
pub fn ask<T: DeserializeOwned>(
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    path: &str,
) -> Result<T, AskError> {
    let odd = |why: String| AskError::Odd { address, why };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| AskError::Unreachable { address, source })?;
    let exchanged = runtime.block_on(async { timeout(PATIENCE, get(address, tls, path)).await });
    let (is_good, body) = exchanged.map_err(|_| AskError::Silent(address))??;
    if is_good {
        return serde_json::from_slice(&body).map_err(|error| odd(error.to_string()));
    }
    let words: Value = serde_json::from_slice(&body).map_err(|error| odd(error.to_string()))?;
    let why = words["error"].as_str().unwrap_or("no reason").to_owned();
    Err(AskError::Refused { address, why })
}

async fn get(
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    path: &str,
) -> Result<(bool, bytes::Bytes), AskError> {
    let odd = |why: String| AskError::Odd { address, why };
    let unreachable = |source| AskError::Unreachable { address, source };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let name = ServerName::IpAddress(address.ip().into());
    let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(unreachable)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| odd(error.to_string()))?;
    tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, address.to_string()).header(header::CONNECTION, "close");
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|error| odd(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|error| odd(error.to_string()))?;
    let is_good = answer.status().is_success();
    let body =
        Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| odd(error.to_string()))?;
    Ok((is_good, body.to_bytes()))
}
