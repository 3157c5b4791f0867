//! One open connection with its stream: frames and datagrams in, frames and datagrams out.
//!
//! The task that runs a conversation owns the line. Everything here is bounded: what is read by the frame's bound and
//! the time a frame may take, what waits to be written by the caller's bound.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use slr_wire::{Code, FrameError, FrameReader, Message};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use crate::{Certificate, Ending};

/// A frame is whole this long after its first byte: longer than any path needs for 64 KiB, shorter than a hoarder likes.
const FRAME_WITHIN: Duration = Duration::from_secs(10);
/// What is taken from the stream at once.
const CHUNK_MAX: usize = 16 << 10;
/// What was sent before a close gets this long to arrive.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// Longest reason of a close, in bytes: it must fit into one packet.
const REASON_MAX: usize = 320;

/// Why this node closed a connection, for the task that reads from it.
pub(crate) type OwnEnding = Arc<OnceLock<Ending>>;

/// An open connection.
pub(crate) struct Line {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    reader: FrameReader,
    /// When the frame that is not yet whole has begun.
    begun_at: Option<Instant>,
    outgoing: VecDeque<Bytes>,
    outgoing_len: usize,
    own_ending: OwnEnding,
    certificate: Arc<Certificate>,
}

/// What came in.
pub(crate) enum Arrival {
    /// Bytes on the stream: there may be frames.
    Stream,
    /// A datagram.
    Datagram(Bytes),
    /// The connection ended.
    Ended(Ending),
}

impl Line {
    pub fn new(
        connection: Connection,
        stream: (SendStream, RecvStream),
        own_ending: OwnEnding,
        certificate: Arc<Certificate>,
    ) -> Self {
        let (send, recv) = stream;
        Self {
            connection,
            send,
            recv,
            reader: FrameReader::default(),
            begun_at: None,
            outgoing: VecDeque::new(),
            outgoing_len: 0,
            own_ending,
            certificate,
        }
    }

    /// Whose certificate is at the other end.
    pub fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Waits for what comes in, and sends what waits meanwhile. May be cancelled.
    pub async fn arrival(&mut self) -> Arrival {
        if self.reader.is_empty() {
            self.begun_at = None;
        }
        loop {
            let stalled_at = self.begun_at.map(|at| at + FRAME_WITHIN);
            tokio::select! {
                biased;
                written = self.send.write(self.outgoing.front().map_or(&[], |bytes| bytes)), if !self.outgoing.is_empty() => {
                    match written {
                        Ok(len) => self.written(len),
                        Err(_) => return Arrival::Ended(self.ended("the other node reads no more")),
                    }
                }
                datagram = self.connection.read_datagram() => {
                    return match datagram {
                        Ok(datagram) => Arrival::Datagram(datagram),
                        Err(_) => Arrival::Ended(self.ended("")),
                    };
                }
                chunk = self.recv.read_chunk(CHUNK_MAX, true) => {
                    return match chunk {
                        Ok(Some(chunk)) => {
                            self.reader.push(&chunk.bytes);
                            self.begun_at.get_or_insert_with(Instant::now);
                            Arrival::Stream
                        }
                        _ => Arrival::Ended(self.ended("the other node ended the stream")),
                    };
                }
                () = sleep_until(stalled_at.unwrap_or_else(Instant::now)), if stalled_at.is_some() => {
                    let why = format!("a frame that is not whole after {} s", FRAME_WITHIN.as_secs());
                    return Arrival::Ended(Ending::new(Code::Violation, why, "see the other node's log"));
                }
            }
        }
    }

    /// The next whole frame, without its length. To be called until there is none after [`Arrival::Stream`].
    pub fn frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let frame = self.reader.next_frame()?;
        if frame.is_some() {
            // What is behind it has begun no earlier than now, as far as this node knows.
            self.begun_at = Some(Instant::now());
        }
        Ok(frame)
    }

    /// Queues a message for the stream. `false`: more than `max` bytes wait, the connection is of no use any more.
    pub fn send_stream(&mut self, message: &Message, max: usize) -> bool {
        match message.encode_frame() {
            Ok(frame) => {
                self.outgoing_len += frame.len();
                self.outgoing.push_back(frame.into());
            }
            Err(error) => warn!(%error, "a message was not sent"),
        }
        self.outgoing_len <= max
    }

    /// Sends a datagram, which may be lost.
    pub fn send_datagram(&self, message: &Message) {
        match message.encode_datagram() {
            // A connection that is closing, or too small a path: as if lost on the way.
            Ok(datagram) => drop(self.connection.send_datagram(datagram.into())),
            Err(error) => warn!(%error, "a message was not sent"),
        }
    }

    /// Sends what waits, then closes, in a task of its own.
    pub fn close(mut self, code: Code, reason: &str) -> JoinHandle<()> {
        let ending = Ending::new(code, reason, "");
        let reason = reason.to_owned();
        let _ = self.own_ending.set(ending);
        tokio::spawn(async move {
            let flushed = async {
                for bytes in std::mem::take(&mut self.outgoing) {
                    self.send.write_all(&bytes).await.ok()?;
                }
                self.send.finish().ok()?;
                self.send.stopped().await.ok()
            };
            // Whether it arrived or not, this is the end.
            let _ = timeout(FLUSH_WITHIN, flushed).await;
            close(&self.connection, code, &reason);
        })
    }

    fn written(&mut self, len: usize) {
        self.outgoing_len -= len;
        let front = self.outgoing.front_mut().expect("something of it was written");
        let _ = front.split_to(len);
        if front.is_empty() {
            self.outgoing.pop_front();
        }
    }

    /// Why the connection ended: by us, by what QUIC says, or else as the stream tells.
    fn ended(&self, stream: &str) -> Ending {
        match (self.own_ending.get(), self.connection.close_reason()) {
            (Some(own), _) => own.clone(),
            (None, Some(error)) => Ending::of_connection(&error),
            (None, None) => Ending::new(Code::Violation, stream, "see its log"),
        }
    }
}

/// Closes a connection at once.
pub(crate) fn close(connection: &Connection, code: Code, reason: &str) {
    let mut len = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(len) {
        len -= 1;
    }
    connection.close(VarInt::from_u32(code.number()), &reason.as_bytes()[..len]);
}
