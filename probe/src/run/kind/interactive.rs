//! A small TCP message every interval, echoed: a user at a terminal. An idle flow is one who went away: one message,
//! silence until the flow is woken, then as before; when nobody wakes it, one message at the end of the run.
//!
//! Messages leave on time whether or not earlier ones were answered, so that a stall does not thin out the samples
//! that would show it.

use std::{collections::VecDeque, time::Instant};

use tokio::{net::TcpStream, time::sleep_until};

use super::Scratch;
use crate::{
    run::{
        clock::Beat,
        connection,
        failure::{Cause, Failure, Phase},
        flow::{Flow, Outcome},
        kind::FlowKind,
    },
    wire,
};

/// Most messages on their way; beyond it the flow falls silent until one is answered. At the default interval this is
/// nearly seven minutes of stall.
const MAX_OUTSTANDING: usize = 4096;

/// Told apart from the seed of the flow's first phase: it would speak again in the same order as at the start.
const WAKING: u64 = 0x5741_4b45;

/// The state of the exchange on one connection.
struct Talk {
    beat: Beat,
    /// Messages left to send; `None` is without limit.
    left: Option<u64>,
    speaking: bool,
    /// An idle flow that has not been woken.
    dormant: bool,
    next_sequence: u64,
    /// When each unanswered message left, oldest first.
    outstanding: VecDeque<Instant>,
    /// Bytes composed that the connection has not taken.
    unsent: Vec<u8>,
    /// Bytes of an answer that is not whole.
    partial: Vec<u8>,
    /// The message that the next answer must hold.
    expected: Vec<u8>,
    /// The server's number for this connection, from its first answer.
    connection: Option<u64>,
}

/// Talks until the messages are used up or the run ends, and everything sent is answered.
pub async fn run(flow: &mut Flow, scratch: &mut Scratch) -> Result<Outcome, Failure> {
    let stream = connection::connect(flow).await?;
    // Connected, and nothing asked yet: what follows until the first message is no waiting.
    flow.record.timeline.settled();
    let mut talk = Talk::new(flow);
    let (stopped, woken) = (flow.environment.until_stopped(), flow.environment.until_woken());
    tokio::pin!(stopped, woken);
    while talk.speaking || !talk.outstanding.is_empty() {
        let stall = flow.environment.args.stall_timeout;
        let waiting_since = flow.record.timeline.waiting_since();
        let stalls_at = waiting_since.unwrap_or_else(Instant::now) + stall;
        let may_speak = talk.speaking && !talk.is_silent() && talk.outstanding.len() < MAX_OUTSTANDING;
        tokio::select! {
            biased;
            ready = stream.readable() => {
                ready.map_err(|error| Failure::from_io(Phase::Exchange, &error))?;
                talk.listen(flow, &stream, &mut scratch.input)?;
            }
            () = &mut stopped, if talk.speaking => {
                talk.say_something(flow, &stream, &mut scratch.output)?;
                talk.speaking = false;
            }
            () = &mut woken, if talk.dormant && talk.speaking => talk.wake(flow),
            () = sleep_until(talk.beat.due().into()), if may_speak => talk.speak(flow, &stream, &mut scratch.output)?,
            ready = stream.writable(), if !talk.unsent.is_empty() => {
                ready.map_err(|error| Failure::from_io(Phase::Exchange, &error))?;
                talk.flush(&stream)?;
            }
            () = sleep_until(stalls_at.into()), if waiting_since.is_some() => return Err(connection::stalled(stall)),
        }
    }
    connection::close(stream, false, &mut scratch.input).await;
    Ok(Outcome::Completed)
}

impl Talk {
    fn new(flow: &Flow) -> Self {
        let left = flow.group.plan.budget;
        Self {
            beat: Beat::new(flow.begun, flow.environment.args.interval, flow.seed),
            left,
            speaking: left != Some(0),
            dormant: flow.group.plan.kind == FlowKind::Idle,
            next_sequence: 0,
            outstanding: VecDeque::new(),
            unsent: Vec::new(),
            partial: Vec::new(),
            expected: Vec::new(),
            connection: None,
        }
    }

    /// An idle flow has said its first word.
    fn is_silent(&self) -> bool {
        self.dormant && self.next_sequence > 0
    }

    /// From here on it speaks like any other.
    fn wake(&mut self, flow: &Flow) {
        let interval = flow.environment.args.interval;
        self.beat = Beat::spread(Instant::now(), flow.environment.idle_spread, interval, flow.seed ^ WAKING);
        self.dormant = false;
    }

    fn speak(&mut self, flow: &mut Flow, stream: &TcpStream, scratch: &mut Vec<u8>) -> Result<(), Failure> {
        let now = Instant::now();
        wire::write_message(scratch, flow.nonce, self.next_sequence, flow.environment.args.message_bytes);
        self.unsent.extend_from_slice(scratch);
        self.next_sequence += 1;
        self.outstanding.push_back(now);
        flow.exchange_sent(scratch.len());
        self.beat.next_after(now);
        if let Some(left) = &mut self.left {
            *left -= 1;
            self.speaking &= *left > 0;
        }
        self.flush(stream)
    }

    /// A flow that the end of the run meets before its first beat asks once: one that never asked has shown nothing, and
    /// one that fell silent has not shown that it is still there.
    fn say_something(&mut self, flow: &mut Flow, stream: &TcpStream, scratch: &mut Vec<u8>) -> Result<(), Failure> {
        if self.next_sequence == 0 || self.dormant { self.speak(flow, stream, scratch) } else { Ok(()) }
    }

    fn flush(&mut self, stream: &TcpStream) -> Result<(), Failure> {
        match stream.try_write(&self.unsent) {
            Ok(written) => {
                self.unsent.drain(..written);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(Failure::from_io(Phase::Exchange, &error)),
        }
    }

    /// Takes what has arrived, and the answers in it.
    fn listen(&mut self, flow: &mut Flow, stream: &TcpStream, buffer: &mut [u8]) -> Result<(), Failure> {
        let read = match stream.try_read(buffer) {
            Ok(0) if self.partial.is_empty() => {
                return Err(Failure::new(Cause::EarlyEof, "the server ended the connection"));
            }
            Ok(0) => return Err(Failure::new(Cause::ShortBody, "the server ended the connection inside an answer")),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Failure::from_io(Phase::Exchange, &error)),
        };
        flow.record.bytes_received += read as u64;
        self.partial.extend_from_slice(&buffer[..read]);
        let mut taken = 0;
        while let Some(end) = self.partial[taken..].iter().position(|&byte| byte == b'\n') {
            let line = taken..taken + end + 1;
            taken = line.end;
            self.hear(flow, line)?;
        }
        self.partial.drain(..taken);
        if self.partial.len() > wire::MAX_MESSAGE_BYTES + wire::MAX_PREFIX_BYTES {
            return Err(Failure::new(Cause::BadContent, "an answer without an end"));
        }
        Ok(())
    }

    /// One answer: the next in order, on the same connection of the same server.
    fn hear(&mut self, flow: &mut Flow, line: std::ops::Range<usize>) -> Result<(), Failure> {
        let line = &self.partial[line];
        let bad = |cause, detail: String| Err(Failure::new(cause, detail));
        let Some(reply) = wire::parse_reply(line) else {
            let text = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
            return bad(Cause::BadContent, format!("not an answer: {text:?}"));
        };
        let expected = self.next_sequence - self.outstanding.len() as u64;
        wire::write_message(&mut self.expected, flow.nonce, reply.sequence, flow.environment.args.message_bytes);
        if reply.message != self.expected.as_slice() {
            return bad(Cause::BadContent, "the answer is to another flow's message, or changed it".to_owned());
        }
        if reply.sequence != expected || self.outstanding.is_empty() {
            return bad(Cause::BadSequence, format!("answer to message {}, expected {expected}", reply.sequence));
        }
        let same = *self.connection.get_or_insert(reply.connection.unwrap_or(0)) == reply.connection.unwrap_or(0);
        if !same || reply.answer.is_some_and(|answer| answer != expected + 1) {
            let detail = format!("{} took the connection for another one", reply.server);
            return bad(if same { Cause::BadSequence } else { Cause::WrongServer }, detail);
        }
        let sent = self.outstanding.pop_front().expect("checked above");
        flow.answered(sent, !self.outstanding.is_empty());
        flow.answered_by(reply.server)
    }
}
