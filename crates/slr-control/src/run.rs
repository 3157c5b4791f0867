//! Runs one conversation of `slr-session` over its connection: feeds it what comes in, carries out what it puts out.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Instant;

use slr_session::conversation::{Child, ChildEvent, Output, Parent, ParentEvent, Peer, PeerEvent};
use slr_wire::Code;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use crate::ending::Ending;
use crate::endpoint::{Endpoint, Target};
use crate::line::{Arrival, Line};

/// What the three conversations have in common.
pub(crate) trait Conversation {
    type Event;
    /// Bytes that may wait for a node that does not read.
    const OUTGOING_MAX: usize;
    fn handle_connected(&mut self, now: Instant);
    fn handle_connect_failed(&mut self, now: Instant, why: &str);
    fn handle_closed(&mut self, now: Instant, code: Option<Code>, why: &str);
    fn handle_frame(&mut self, now: Instant, frame: &[u8]);
    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_timeout(&self) -> Option<Instant>;
    fn poll_output(&mut self) -> Option<Output<Self::Event>>;
}

macro_rules! conversation {
    ($type:ty, $event:ty, $outgoing_max:expr, { $($own:item)* }) => {
        impl Conversation for $type {
            type Event = $event;
            const OUTGOING_MAX: usize = $outgoing_max;
            $($own)*
            fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
                self.handle_frame(now, frame);
            }
            fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
                self.handle_datagram(now, datagram);
            }
            fn handle_timeout(&mut self, now: Instant) {
                self.handle_timeout(now);
            }
            fn poll_timeout(&self) -> Option<Instant> {
                self.poll_timeout()
            }
            fn poll_output(&mut self) -> Option<Output<Self::Event>> {
                self.poll_output()
            }
        }
    };
}

macro_rules! dialling_conversation {
    ($type:ty, $event:ty, $outgoing_max:expr) => {
        conversation!($type, $event, $outgoing_max, {
            fn handle_connected(&mut self, now: Instant) {
                self.handle_connected(now);
            }
            fn handle_connect_failed(&mut self, now: Instant, why: &str) {
                self.handle_connect_failed(now, why);
            }
            fn handle_closed(&mut self, now: Instant, code: Option<Code>, why: &str) {
                self.handle_closed(now, code, why);
            }
        });
    };
}

/// Adverts in full, or rosters in full, several of the largest.
const FEW_OUTGOING_MAX: usize = 4 << 20;
/// A publication of the largest cluster in full, twice.
const PEER_OUTGOING_MAX: usize = 48 << 20;

dialling_conversation!(Child, ChildEvent, FEW_OUTGOING_MAX);
dialling_conversation!(Peer, PeerEvent, PEER_OUTGOING_MAX);
conversation!(Parent, ParentEvent, FEW_OUTGOING_MAX, {
    fn handle_connected(&mut self, _: Instant) {}
    fn handle_connect_failed(&mut self, _: Instant, _: &str) {}
    fn handle_closed(&mut self, _: Instant, code: Option<Code>, why: &str) {
        self.handle_closed(code, why);
    }
});

/// A conversation and its connection.
pub(crate) struct Run<C> {
    pub conversation: C,
    wire: Wire,
    dialer: Option<(Endpoint, Target)>,
    /// How the last connection ended, or why there was none.
    last_ending: Option<Ending>,
    /// The last connection, while it sends what is outstanding.
    closing: Option<JoinHandle<()>>,
}

enum Wire {
    None,
    Dialling(Pin<Box<dyn Future<Output = Result<Line, Ending>> + Send>>),
    Open(Box<Line>),
}

/// What happened on the wire.
enum Happening {
    Dialled(Result<Box<Line>, Ending>),
    Arrival(Arrival),
}

impl<C: Conversation> Run<C> {
    /// A conversation that dials.
    pub fn dialling(conversation: C, endpoint: Endpoint, target: Target) -> Self {
        Self { conversation, wire: Wire::None, dialer: Some((endpoint, target)), last_ending: None, closing: None }
    }

    /// A conversation on a connection that is open.
    pub fn accepted(conversation: C, line: Line) -> Self {
        Self { conversation, wire: Wire::Open(Box::new(line)), dialer: None, last_ending: None, closing: None }
    }

    /// The open connection.
    pub fn line(&self) -> Option<&Line> {
        match &self.wire {
            Wire::Open(line) => Some(line),
            Wire::None | Wire::Dialling(_) => None,
        }
    }

    /// How the last connection ended, or why there was none.
    pub fn last_ending(&self) -> Option<&Ending> {
        self.last_ending.as_ref()
    }

    /// Waits for the next thing that happens and hands it in. [`Run::settle`] comes after it. May be cancelled.
    pub async fn step(&mut self) {
        let deadline = self.conversation.poll_timeout();
        let happening = tokio::select! {
            biased;
            happening = self.wire.next() => Some(happening),
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => None,
        };
        let now = Instant::now();
        match happening {
            Some(Happening::Dialled(Ok(line))) => {
                self.wire = Wire::Open(line);
                self.conversation.handle_connected(now);
            }
            Some(Happening::Dialled(Err(ending))) => {
                self.wire = Wire::None;
                self.lost(now, ending);
            }
            Some(Happening::Arrival(Arrival::Datagram(datagram))) => self.conversation.handle_datagram(now, &datagram),
            Some(Happening::Arrival(Arrival::Stream)) => self.read_frames(now),
            Some(Happening::Arrival(Arrival::Ended(ending))) => self.end(now, ending),
            None => {}
        }
        // Whatever else happens, what is due is done.
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.conversation.handle_timeout(now);
        }
    }

    /// Carries out what the conversation puts out; what it tells is added to `events`.
    pub fn settle(&mut self, events: &mut Vec<C::Event>) {
        while let Some(output) = self.conversation.poll_output() {
            match output {
                Output::Connect { session } => self.dial(session),
                Output::SendStream(message) => {
                    let Wire::Open(line) = &mut self.wire else { continue };
                    if !line.send_stream(&message, C::OUTGOING_MAX) {
                        let ending = Ending::new(Code::Internal, "the other node does not read", "see its log");
                        self.end(Instant::now(), ending);
                    }
                }
                Output::SendDatagram(message) => {
                    if let Wire::Open(line) = &self.wire {
                        line.send_datagram(&message);
                    }
                }
                Output::Close { code, reason } => {
                    self.close(code, &reason);
                }
                Output::Event(event) => events.push(event),
            }
        }
    }

    /// Ends the connection, if there is one; the conversation is not told.
    pub fn close(&mut self, code: Code, reason: &str) {
        if let Wire::Open(line) = std::mem::replace(&mut self.wire, Wire::None) {
            self.closing = Some(line.close(code, reason));
        }
    }

    /// Waits until the last connection has sent what was outstanding: about a second at most.
    pub async fn closed(&mut self) {
        if let Some(closing) = self.closing.take() {
            let _ = closing.await;
        }
    }

    fn dial(&mut self, session: u64) {
        let Some((endpoint, target)) = self.dialer.clone() else { return };
        self.wire = Wire::Dialling(Box::pin(async move { endpoint.dial(&target, session).await }));
    }

    fn read_frames(&mut self, now: Instant) {
        loop {
            let Wire::Open(line) = &mut self.wire else { return };
            match line.frame() {
                Ok(Some(frame)) => self.conversation.handle_frame(now, frame),
                Ok(None) => return,
                Err(error) => {
                    let remedy = "run the same version of the software at both ends";
                    return self.end(now, Ending::new(Code::Violation, error.to_string(), remedy));
                }
            }
        }
    }

    fn end(&mut self, now: Instant, ending: Ending) {
        self.close(ending.code.unwrap_or(Code::GoingAway), &ending.to_string());
        self.lost(now, ending);
    }

    fn lost(&mut self, now: Instant, ending: Ending) {
        let why = ending.to_string();
        match ending.code {
            None => {
                // Whichever of the two fits the phase that the conversation is in.
                self.conversation.handle_connect_failed(now, &why);
                self.conversation.handle_closed(now, None, &why);
            }
            Some(code) => self.conversation.handle_closed(now, Some(code), &why),
        }
        self.last_ending = Some(ending);
    }
}

impl Wire {
    async fn next(&mut self) -> Happening {
        match self {
            Wire::None => pending().await,
            Wire::Dialling(dialling) => Happening::Dialled(dialling.await.map(Box::new)),
            Wire::Open(line) => Happening::Arrival(line.arrival().await),
        }
    }
}
