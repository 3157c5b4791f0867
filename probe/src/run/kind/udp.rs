//! A small UDP message every interval, echoed.
//!
//! The socket is not connected, so an answer from a wrong address is seen and counted instead of vanishing in the
//! kernel. A failure does not end the flow: what happens after it is what a recovery looks like.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use tokio::{net::UdpSocket, time::sleep_until};

use super::Scratch;
use crate::{
    run::{
        clock::Beat,
        failure::{Cause, Failure, Phase},
        flow::{Flow, Outcome},
        source::Target,
    },
    wire,
};

/// Most messages remembered as unanswered. With the default timeout this allows one every 2.5 ms; a faster flow gives
/// its oldest ones up as lost early.
const MAX_OUTSTANDING: usize = 4096;
/// Datagrams taken in one turn, so that a flood towards one flow does not starve the thousand others on the thread.
const MAX_BURST: usize = 64;

/// The state of the exchange.
struct Talk {
    beat: Beat,
    /// Messages left to send; `None` is without limit.
    left: Option<u64>,
    speaking: bool,
    next_sequence: u64,
    /// Sequence number of the oldest message remembered.
    first_sequence: u64,
    /// When each message left; `None` once answered. The front is always unanswered.
    outstanding: VecDeque<Option<Instant>>,
    highest_answered: Option<u64>,
    timeout: Duration,
}

/// Talks until the messages are used up or the run ends, and everything sent is answered or given up.
pub async fn run(flow: &mut Flow, scratch: &mut Scratch) -> Result<Outcome, Failure> {
    let socket = bind(flow)?;
    let mut talk = Talk::new(flow);
    let stopped = flow.environment.until_stopped();
    tokio::pin!(stopped);
    while talk.speaking || !talk.outstanding.is_empty() {
        let expires_at = talk.expires_at();
        tokio::select! {
            biased;
            ready = socket.readable() => {
                ready.map_err(|error| Failure::from_io(Phase::Exchange, &error))?;
                talk.listen(flow, &socket, scratch);
            }
            () = &mut stopped, if talk.speaking => {
                talk.say_something(flow, &socket, &mut scratch.output);
                talk.speaking = false;
            }
            () = sleep_until(talk.beat.due().into()), if talk.speaking => talk.speak(flow, &socket, &mut scratch.output),
            () = sleep_until(expires_at.unwrap_or_else(Instant::now).into()), if expires_at.is_some() => {
                talk.give_up(flow, Instant::now());
            }
        }
    }
    judge_losses(flow);
    Ok(Outcome::Completed)
}

fn bind(flow: &mut Flow) -> Result<UdpSocket, Failure> {
    let (environment, target) = (&flow.environment, flow.group.plan.target);
    let source = environment.sources.next_for(target.ip());
    let socket = environment
        .sources
        .udp_socket(Target(target.ip()), source, environment.args.udp_df)
        .and_then(|socket| UdpSocket::from_std(socket.into()))
        .map_err(|error| Failure::from_io(Phase::Bind, &error))?;
    flow.record.client = socket.local_addr().ok();
    Ok(socket)
}

/// Sends one message; false when it did not leave. An ICMP error about an earlier message comes out of the next call,
/// whatever that is: it is noted, and the message tried once more. A full socket buffer loses the message, like a full
/// queue anywhere on the way.
fn send(flow: &mut Flow, socket: &UdpSocket, message: &[u8]) -> bool {
    for _ in 0..2 {
        match socket.try_send_to(message, flow.group.plan.target) {
            Ok(_) => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => flow.note(Failure::from_io(Phase::Exchange, &error)),
        }
    }
    false
}

/// Loss beyond what is allowed fails the flow.
fn judge_losses(flow: &mut Flow) {
    let exchanges = flow.record.exchanges;
    let allowed = flow.environment.args.udp_loss_ok / 100.0 * exchanges.sent as f64;
    if exchanges.lost as f64 > allowed {
        flow.note(Failure::new(Cause::Lost, format!("{} of {} messages unanswered", exchanges.lost, exchanges.sent)));
    }
}

impl Talk {
    fn new(flow: &Flow) -> Self {
        let left = flow.group.plan.budget;
        Self {
            beat: Beat::new(flow.begun, flow.environment.args.interval, flow.seed),
            left,
            speaking: left != Some(0),
            next_sequence: 0,
            first_sequence: 0,
            outstanding: VecDeque::new(),
            highest_answered: None,
            timeout: flow.environment.args.timeout,
        }
    }

    fn expires_at(&self) -> Option<Instant> {
        self.outstanding.front().copied().flatten().map(|sent| sent + self.timeout)
    }

    fn speak(&mut self, flow: &mut Flow, socket: &UdpSocket, scratch: &mut Vec<u8>) {
        let now = Instant::now();
        if self.outstanding.len() == MAX_OUTSTANDING {
            self.forget_front(flow);
        }
        wire::write_message(scratch, flow.nonce, self.next_sequence, flow.environment.args.message_bytes);
        let left_for_good = send(flow, socket, scratch);
        self.next_sequence += 1;
        self.outstanding.push_back(left_for_good.then_some(now));
        flow.exchange_sent(scratch.len());
        if !left_for_good {
            flow.record.exchanges.lost += 1;
            self.drop_answered();
        }
        self.beat.next_after(now);
        if let Some(left) = &mut self.left {
            *left -= 1;
            self.speaking &= *left > 0;
        }
    }

    /// A flow that the end of the run meets before its first beat asks once: one that never asked has shown nothing.
    fn say_something(&mut self, flow: &mut Flow, socket: &UdpSocket, scratch: &mut Vec<u8>) {
        if self.next_sequence == 0 {
            self.speak(flow, socket, scratch);
        }
    }

    fn listen(&mut self, flow: &mut Flow, socket: &UdpSocket, scratch: &mut Scratch) {
        for _ in 0..MAX_BURST {
            match socket.try_recv_from(&mut scratch.input) {
                Ok((length, from)) => {
                    flow.record.bytes_received += length as u64;
                    if from != flow.group.plan.target {
                        flow.record.exchanges.wrong_source += 1;
                        let asked = flow.group.plan.target;
                        flow.note(Failure::new(Cause::WrongSource, format!("asked {asked}, answered from {from}")));
                    }
                    self.hear(flow, &scratch.input[..length], &mut scratch.output);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => flow.note(Failure::from_io(Phase::Exchange, &error)),
            }
        }
    }

    /// One answer: to a message of this flow, unchanged.
    fn hear(&mut self, flow: &mut Flow, datagram: &[u8], scratch: &mut Vec<u8>) {
        let reply = wire::parse_reply(datagram).filter(|reply| {
            wire::write_message(scratch, flow.nonce, reply.sequence, flow.environment.args.message_bytes);
            reply.message == scratch.as_slice() && reply.sequence < self.next_sequence
        });
        let Some(reply) = reply else {
            return flow.note(Failure::new(Cause::BadContent, "a datagram that answers no message of this flow"));
        };
        if let Err(failure) = flow.answered_by(reply.server) {
            flow.note(failure);
        }
        let at = reply.sequence.checked_sub(self.first_sequence).map(|at| at as usize);
        let Some(sent) = at.and_then(|at| self.outstanding.get_mut(at)).and_then(Option::take) else {
            flow.record.exchanges.duplicate += 1;
            return;
        };
        if self.highest_answered.is_some_and(|highest| reply.sequence < highest) {
            flow.record.exchanges.reordered += 1;
        }
        self.highest_answered = self.highest_answered.max(Some(reply.sequence));
        // Only a message sent after this one is still waited for: an older one may well be lost.
        let younger_owed = reply.sequence + 1 < self.next_sequence;
        flow.answered(sent, younger_owed);
        self.drop_answered();
    }

    /// Gives up every message whose time has passed.
    fn give_up(&mut self, flow: &mut Flow, now: Instant) {
        while self.expires_at().is_some_and(|at| at <= now) {
            self.forget_front(flow);
        }
    }

    fn forget_front(&mut self, flow: &mut Flow) {
        self.outstanding.pop_front();
        self.first_sequence += 1;
        flow.record.exchanges.lost += 1;
        self.drop_answered();
    }

    /// Keeps the front unanswered.
    fn drop_answered(&mut self) {
        while let Some(None) = self.outstanding.front() {
            self.outstanding.pop_front();
            self.first_sequence += 1;
        }
    }
}
