//! A long transfer to the server.

use std::{rc::Rc, time::Instant};

use tokio::net::TcpStream;

use super::{
    Scratch,
    exchange::{self, Response},
};
use crate::run::{
    connection,
    failure::{Cause, Failure},
    flow::{Flow, Outcome},
};

/// Sends one body, however long it takes as long as the connection takes bytes, and reads the answer.
pub async fn run(flow: &mut Flow, scratch: &mut Scratch) -> Result<Outcome, Failure> {
    let environment = Rc::clone(&flow.environment);
    let mut stream = connection::connect(flow).await?;
    let (outcome, server_closes) = tokio::select! {
        response = transfer(flow, &mut stream, scratch) => (Outcome::Completed, response?.closes),
        () = environment.until_stopped() => (Outcome::Cut, false),
    };
    connection::close(stream, server_closes, &mut scratch.input).await;
    Ok(outcome)
}

async fn transfer(flow: &mut Flow, stream: &mut TcpStream, scratch: &mut Scratch) -> Result<Response, Failure> {
    let (begun, environment) = (flow.begun, Rc::clone(&flow.environment));
    let length = environment.args.upload_bytes;
    connection::write_request(flow, stream).await?;
    let mut sent = 0;
    while sent < length {
        let piece = environment.pattern.piece(sent, length - sent);
        let written = connection::write(flow, stream, piece).await?;
        sent += written as u64;
        flow.sent(written);
        // What the connection takes is what the peer has made room for: that is an upload's progress.
        flow.record.timeline.progressed(Instant::now(), true);
        // A fast transfer always finds room; the other flows of this thread are to have their turn between two writes.
        tokio::task::yield_now().await;
    }
    let response = exchange::read_response(flow, stream, &mut scratch.input, begun).await?;
    match response.received {
        Some(received) if received != length => {
            Err(Failure::new(Cause::ShortBody, format!("the server got {received} of {length} bytes")))
        }
        _ => Ok(response),
    }
}
