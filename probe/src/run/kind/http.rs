//! HTTP, one connection per request: the flow *is* the request.

use tokio::time::timeout;

use super::{Scratch, exchange};
use crate::run::{
    connection,
    failure::{Cause, Failure},
    flow::{Flow, Outcome},
};

/// Connects, asks, reads the answer, and lets the server close. The latency is that of a user without a connection:
/// from before the connect to the last byte.
pub async fn run(flow: &mut Flow, scratch: &mut Scratch) -> Result<Outcome, Failure> {
    let (begun, limit) = (flow.begun, flow.environment.args.timeout);
    let asking = async {
        let mut stream = connection::connect(flow).await?;
        connection::write_request(flow, &mut stream).await?;
        let response = exchange::read_response(flow, &mut stream, &mut scratch.input, begun).await?;
        Ok((stream, response))
    };
    let (stream, response) = timeout(limit, asking)
        .await
        .unwrap_or_else(|_| Err(Failure::new(Cause::Timeout, format!("no whole answer within {limit:?}"))))?;
    connection::close(stream, response.closes, &mut scratch.input).await;
    Ok(Outcome::Completed)
}
