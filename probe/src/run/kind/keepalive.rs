//! HTTP with many requests on one connection, one after the other.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::{Scratch, exchange};
use crate::run::{
    connection,
    failure::{Cause, Failure},
    flow::{Flow, Outcome},
};

/// Asks until the group's requests are used up, the run ends, or the server announces that it closes. The first request
/// was already taken from the budget by whoever started the flow.
pub async fn run(flow: &mut Flow, scratch: &mut Scratch) -> Result<Outcome, Failure> {
    let (limit, think) = (flow.environment.args.timeout, flow.environment.args.think);
    let mut stream = connection::connect(flow).await?;
    let closes = loop {
        let asking = async {
            let begun = Instant::now();
            connection::write_request(flow, &mut stream).await?;
            exchange::read_response(flow, &mut stream, &mut scratch.input, begun).await
        };
        let late = || Err(Failure::new(Cause::Timeout, format!("no whole answer within {limit:?}")));
        let response = timeout(limit, asking).await.unwrap_or_else(|_| late())?;
        if response.closes {
            break true;
        }
        if think > Duration::ZERO {
            tokio::select! {
                () = sleep(think) => {}
                () = flow.environment.until_stopped() => {}
            }
        }
        if flow.environment.is_stopped() || !flow.group.take() {
            break false;
        }
    };
    connection::close(stream, closes, &mut scratch.input).await;
    Ok(Outcome::Completed)
}
