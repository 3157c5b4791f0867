//! The HTTP service.
//!
//! - `GET /` (or any path without a meaning of its own): 200, the identity and a line end as `text/plain`;
//! - `GET /bytes/N`: 200, N bytes of [`crate::pattern`], at most R bytes a second with `?rate=R`; a client that shuts
//!   its sending side down meanwhile wants no more, and the connection ends there;
//! - `PUT`, `POST` to any path: 200, `received N` as one line, and N in `X-Probe-Received`; 422 when the body was
//!   announced to follow the pattern and does not.
//!
//! Every response carries the identity in `X-Slr-Server`, the connection in `X-Probe-Connection` and the number of the
//! response on this connection in `X-Probe-Sequence`. Connections persist as HTTP/1.1 has it.

use std::{
    io::{self, Write},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

use super::Shared;
use crate::{
    http::{
        body::{Decoder, Framing},
        head::{self, MAX_HEAD_BYTES, PATTERN_FIELD, RECEIVED_FIELD, RequestHead, SERVER_FIELD},
    },
    pattern,
};

/// What one read takes at most; also the longest request head.
const BUFFER_BYTES: usize = MAX_HEAD_BYTES;
/// Time between two pieces of a paced download.
const PACE: Duration = Duration::from_millis(10);

/// A connection and what stands between the stream and the answers.
struct Conversation<'a> {
    stream: TcpStream,
    shared: &'a Shared,
    connection: u64,
    responses: u64,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
}

/// What to do for a request, in values that do not borrow from its head.
enum Task {
    Name,
    Bytes { length: u64, rate: Option<u64> },
    Receive { framing: Framing, patterned: bool },
    Refuse { status: &'static str },
}

/// Answers requests until either side closes, or nothing moves for the idle time.
pub async fn converse(stream: TcpStream, shared: &Shared, connection: u64) -> io::Result<()> {
    let (input, output) = (vec![0; BUFFER_BYTES], Vec::with_capacity(512));
    let mut conversation = Conversation { stream, shared, connection, responses: 0, input, filled: 0, output };
    while conversation.exchange().await? {}
    conversation.stream.shutdown().await?;
    conversation.drain().await
}

impl Conversation<'_> {
    /// One request and its response; false when no other will follow.
    async fn exchange(&mut self) -> io::Result<bool> {
        let length = loop {
            if let Some(length) = head::length(&self.input[..self.filled]) {
                break length;
            }
            if self.filled == self.input.len() {
                self.respond("431 Request Header Fields Too Large", "", b"head too long\n", true).await?;
                return Ok(false);
            }
            if self.read_more().await? == 0 {
                return Ok(false);
            }
        };
        let (task, closes) = match head::parse_request(&self.input[..length]) {
            Ok(head) => (Task::of(&head), head.closes),
            Err(_) => (Task::Refuse { status: "400 Bad Request" }, true),
        };
        self.take_input(length);
        let goes_on = match task {
            Task::Name => {
                let body = format!("{}\n", self.shared.identity.text());
                self.respond("200 OK", "", body.as_bytes(), closes).await?;
                true
            }
            Task::Bytes { length, rate } => self.send_bytes(length, rate, closes).await?,
            Task::Receive { framing, patterned } => self.receive(framing, patterned, closes).await?,
            Task::Refuse { status } => {
                self.respond(status, "", b"refused\n", true).await?;
                false
            }
        };
        Ok(goes_on && !closes)
    }

    async fn read_more(&mut self) -> io::Result<usize> {
        let read = timeout(self.shared.idle_timeout, self.stream.read(&mut self.input[self.filled..])).await??;
        self.filled += read;
        Ok(read)
    }

    fn take_input(&mut self, length: usize) {
        self.input.copy_within(length..self.filled, 0);
        self.filled -= length;
    }

    fn write_head(&mut self, status: &str, extra: &str, length: u64, closes: bool) {
        self.responses += 1;
        self.output.clear();
        let (identity, connection, responses) = (self.shared.identity.text(), self.connection, self.responses);
        let persistence = if closes { "close" } else { "keep-alive" };
        write!(
            self.output,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: {persistence}\r\n\
             {SERVER_FIELD}: {identity}\r\nX-Probe-Connection: {connection}\r\nX-Probe-Sequence: {responses}\r\n\
             {extra}\r\n"
        )
        .expect("writing to a Vec cannot fail");
    }

    /// A response that fits one write.
    async fn respond(&mut self, status: &str, extra: &str, body: &[u8], closes: bool) -> io::Result<()> {
        self.write_head(status, extra, body.len() as u64, closes);
        self.output.extend_from_slice(body);
        timeout(self.shared.idle_timeout, self.stream.write_all(&self.output)).await?
    }

    /// A download; false when the client wanted no more before its end.
    async fn send_bytes(&mut self, length: u64, rate: Option<u64>, closes: bool) -> io::Result<bool> {
        self.write_head("200 OK", &format!("{PATTERN_FIELD}: {}\r\n", pattern::NAME), length, closes);
        timeout(self.shared.idle_timeout, self.stream.write_all(&self.output)).await??;
        let begun = Instant::now();
        let piece_limit = rate.map_or(u64::MAX, |rate| (rate / (1_000 / PACE.as_millis() as u64)).max(1));
        let mut sent = 0;
        while sent < length {
            if let Some(rate) = rate {
                sleep_until(begun + Duration::from_secs_f64(sent as f64 / rate as f64)).await;
            }
            if self.client_has_closed()? {
                return Ok(false);
            }
            let piece = self.shared.pattern.piece(sent, (length - sent).min(piece_limit));
            timeout(self.shared.idle_timeout, self.stream.write_all(piece)).await??;
            sent += piece.len() as u64;
            tokio::task::yield_now().await;
        }
        Ok(true)
    }

    /// Whether the client's end of the stream is there to be read. (Pipelined bytes would be too: then it is not.)
    fn client_has_closed(&self) -> io::Result<bool> {
        let mut byte = [0];
        match nix::sys::socket::recv(
            std::os::fd::AsRawFd::as_raw_fd(&self.stream),
            &mut byte,
            nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(read) => Ok(read == 0),
            Err(nix::errno::Errno::EAGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// An upload; false when its body was cut or is not what it was announced to be.
    async fn receive(&mut self, framing: Framing, patterned: bool, closes: bool) -> io::Result<bool> {
        let mut decoder = Decoder::new(framing);
        let (mut received, mut wrong) = (0, None);
        loop {
            let pattern = &self.shared.pattern;
            let fed = decoder.feed(&self.input[..self.filled], |content| {
                if patterned && wrong.is_none() {
                    wrong = pattern.first_wrong(received, content);
                }
                received += content.len() as u64;
            });
            let Ok(taken) = fed else {
                self.respond("400 Bad Request", "", b"malformed body\n", true).await?;
                return Ok(false);
            };
            self.take_input(taken);
            if decoder.is_done() {
                break;
            }
            if self.read_more().await? == 0 {
                return Ok(false);
            }
            tokio::task::yield_now().await;
        }
        if let Some(offset) = wrong {
            let body = format!("wrong byte at offset {offset}\n");
            self.respond("422 Unprocessable Content", "", body.as_bytes(), true).await?;
            return Ok(false);
        }
        let body = format!("received {received}\n");
        self.respond("200 OK", &format!("{RECEIVED_FIELD}: {received}\r\n"), body.as_bytes(), closes).await?;
        Ok(true)
    }

    /// Reads on until the client closes too, so that what it still sends draws no reset over the answer it is reading.
    async fn drain(&mut self) -> io::Result<()> {
        const LINGER: Duration = Duration::from_secs(2);
        let deadline = Instant::now() + LINGER;
        while tokio::time::timeout_at(deadline, self.stream.read(&mut self.input)).await?? > 0 {}
        Ok(())
    }
}

impl Task {
    fn of(head: &RequestHead<'_>) -> Self {
        match head.method {
            "PUT" | "POST" => Self::Receive { framing: head.framing, patterned: head.patterned },
            "GET" if head.framing == Framing::Length(0) => match head.target.strip_prefix("/bytes/") {
                None => Self::Name,
                Some(wanted) => parse_bytes(wanted).unwrap_or(Self::Refuse { status: "400 Bad Request" }),
            },
            _ => Self::Refuse { status: "405 Method Not Allowed" },
        }
    }
}

/// `N` or `N?rate=R`.
fn parse_bytes(wanted: &str) -> Option<Task> {
    let (length, query) = wanted.split_once('?').map_or((wanted, None), |(length, query)| (length, Some(query)));
    let rate = match query {
        None => None,
        Some(query) => Some(query.strip_prefix("rate=")?.parse().ok().filter(|&rate| rate > 0)?),
    };
    Some(Task::Bytes { length: length.parse().ok()?, rate })
}
