//! A long transfer to the server.

use std::{rc::Rc, time::Instant};

use super::{
    Scratch,
    exchange::{self, Response},
};
use crate::run::{
    clock::Beat,
    connection::{self, Connection},
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

async fn transfer(flow: &mut Flow, stream: &mut Connection, scratch: &mut Scratch) -> Result<Response, Failure> {
    let (begun, environment) = (flow.begun, Rc::clone(&flow.environment));
    let length = environment.args.upload_bytes;
    connection::write_request(flow, stream).await?;
    match environment.args.upload_rate {
        Some(rate) => send_paced(flow, stream, rate).await?,
        None => send_fast(flow, stream).await?,
    }
    let response = exchange::read_response(flow, stream, &mut scratch.input, begun).await?;
    match response.received {
        Some(received) if received != length => {
            Err(Failure::new(Cause::ShortBody, format!("the server got {received} of {length} bytes")))
        }
        _ => Ok(response),
    }
}

/// As fast as the connection takes it: what it takes is what the peer has made room for, and that is the progress.
async fn send_fast(flow: &mut Flow, stream: &mut Connection) -> Result<(), Failure> {
    let environment = Rc::clone(&flow.environment);
    let (mut sent, length) = (0, environment.args.upload_bytes);
    while sent < length {
        let piece = environment.pattern.piece(sent, length - sent);
        let written = connection::write(flow, stream, piece).await?;
        sent += written as u64;
        flow.sent(written);
        flow.progressed(Instant::now(), true);
        // A fast transfer always finds room; the other flows of this thread are to have their turn between two writes.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// A piece each interval. The connection takes it at once, so only its acknowledgement is progress.
async fn send_paced(flow: &mut Flow, stream: &mut Connection, rate: u64) -> Result<(), Failure> {
    let environment = Rc::clone(&flow.environment);
    let (interval, length) = (environment.args.interval, environment.args.upload_bytes);
    let piece_bytes = ((rate as f64 * interval.as_secs_f64()) as u64).max(1);
    let head = flow.group.request.len() as u64;
    let mut beat = Beat::new(Instant::now(), interval, flow.seed);
    let mut sent = 0;
    while sent < length {
        tokio::time::sleep_until(beat.due().into()).await;
        beat.next_after(Instant::now());
        let end = (sent + piece_bytes).min(length);
        flow.sent((end - sent) as usize);
        let begun = sent;
        while sent < end {
            let piece = environment.pattern.piece(sent, end - sent);
            sent += connection::write(flow, stream, piece).await? as u64;
        }
        connection::acknowledged(flow, stream, head + sent).await?;
        flow.progressed(Instant::now(), false);
        if let Some(ledger) = &environment.ledger {
            ledger.moved(Instant::now(), sent - begun);
        }
    }
    Ok(())
}
