//! A long transfer to the client.

use std::rc::Rc;

use super::{Scratch, exchange};
use crate::run::{
    connection,
    failure::Failure,
    flow::{Flow, Outcome},
};

/// Fetches one body, however long it takes as long as bytes come. When the run ends first, the client shuts its sending
/// side down: `probe serve` then stops, and the connection ends without a reset. (Another server may send on, and is
/// reset after a second.)
pub async fn run(flow: &mut Flow, scratch: &mut Scratch) -> Result<Outcome, Failure> {
    let (begun, environment) = (flow.begun, Rc::clone(&flow.environment));
    let mut stream = connection::connect(flow).await?;
    let transferring = async {
        connection::write_request(flow, &mut stream).await?;
        exchange::read_response(flow, &mut stream, &mut scratch.input, begun).await
    };
    let (outcome, server_closes) = tokio::select! {
        response = transferring => (Outcome::Completed, response?.closes),
        () = environment.until_stopped() => (Outcome::Cut, false),
    };
    connection::close(stream, server_closes, &mut scratch.input).await;
    Ok(outcome)
}
