//! Two SLRs of one cluster: they greet each other, then carry rings and beats for [`crate::cluster`].
//!
//! ```text
//!              timeout                 connected              hello
//!   Waiting ────────────► Connecting ────────────► Greeting ──────────► Open
//!      ▲   (the dialing end only)                  ▲   │                 │
//!      │                               accepted ───┘   │                 │
//!      └── closed, refused, too slow, a violation ◄────┴─────────────────┘
//!          (the accepting end: Ended)
//! ```
//!
//! Of two peers the one with the smaller name dials, so that there is one connection and not two.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use slr_model::{NodeName, Role};
use slr_wire::{Channel, Code, DecodeError, Hello, Message, Refused};

use super::backoff::BackoffSettings;
use super::dialer::{CONNECT_WITHIN, Dialer, GREET_WITHIN};
use super::{Counters, Output};
use crate::limit::Limit;

/// Frames that a peer may send at once, and again each second: a publication of the largest cluster, in full.
const FRAMES_BURST: u32 = 2 * slr_wire::bounds::RINGS_PARTS_MAX as u32;
const FRAMES_PERIOD: Duration = Duration::from_secs(1);
/// Datagrams that a peer may send at once, and again each second: beats are a few a second, questions about flows a hundred, each
/// with an answer or two.
const DATAGRAMS_BURST: u32 = 512;
const DATAGRAMS_PERIOD: Duration = Duration::from_secs(1);

/// Which end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerSide {
    /// Opens it, again and again.
    Dials,
    /// Was called.
    Accepts,
}

impl PeerSide {
    /// Which of two peers this one is.
    pub fn of(own: &NodeName, other: &NodeName) -> Self {
        if own < other { PeerSide::Dials } else { PeerSide::Accepts }
    }
}

/// What an SLR says of itself to its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Strictly larger for each start of the process, never 0.
    pub incarnation: u64,
    /// Number of the first session, never 0. The accepting end says it too, for the logs.
    pub first_session: u64,
    /// Name and version of the program.
    pub software: String,
    /// The tier, as both certificates must say.
    pub role: Role,
    /// Where it takes tunnels.
    pub tunnel_addresses: Vec<IpAddr>,
    /// From where it sends them.
    pub tunnel_sources: Vec<IpNet>,
    /// Waits between attempts.
    pub backoff: BackoffSettings,
}

/// What a peer's end has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerEvent {
    /// The other end has introduced itself: [`crate::cluster`] hears of it now. May be answered with [`Peer::refuse`].
    Met(Hello),
    /// A message for the cluster: rings, a beat, of the mirror, about a flow that somebody looks for, an epoch.
    Message(Message),
    /// The other end refuses this one, or ends the session, and says why.
    Refused(Refused),
    /// The connection ended or could not be opened. The dialing end tries again at that time; the accepting end is over.
    Lost {
        /// Code of the close, if one was given.
        code: Option<Code>,
        /// What happened.
        why: String,
        /// When it is tried again.
        retry_at: Option<Instant>,
    },
}

/// One end of a connection between peers; see the module documentation for how it is driven.
#[derive(Clone, Debug)]
pub struct Peer {
    settings: PeerSettings,
    /// `None` at the accepting end.
    dialer: Option<Dialer>,
    phase: Phase,
    frames: Limit,
    datagrams: Limit,
    outputs: VecDeque<Output<PeerEvent>>,
    counters: Counters,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Waiting { until: Instant },
    Connecting { deadline: Instant },
    Greeting { deadline: Instant },
    Open,
    Ended,
}

/// A phase's name, for tables and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerPhase {
    /// For the next attempt.
    Waiting,
    /// A connection is being opened.
    Connecting,
    /// Hello was sent, none has come.
    Greeting,
    /// Rings and beats go both ways.
    Open,
    /// It is over, at the accepting end.
    Ended,
}

impl Peer {
    /// The end that dials; it does so at once. The seed makes its waits its own.
    pub fn dial(settings: PeerSettings, seed: u64, now: Instant) -> Self {
        let dialer = Dialer::new(settings.backoff, settings.first_session, seed);
        Self::with(settings, Some(dialer), Phase::Waiting { until: now })
    }

    /// The end of a connection that another SLR has just opened.
    pub fn accept(settings: PeerSettings, now: Instant) -> Self {
        let mut peer = Self::with(settings, None, Phase::Ended);
        peer.greet(now);
        peer
    }

    fn with(settings: PeerSettings, dialer: Option<Dialer>, phase: Phase) -> Self {
        Self {
            settings,
            dialer,
            phase,
            frames: Limit::new(FRAMES_BURST, FRAMES_PERIOD),
            datagrams: Limit::new(DATAGRAMS_BURST, DATAGRAMS_PERIOD),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Sends a message of the cluster on the channel that it travels on; while the conversation is not open it is dropped.
    pub fn send(&mut self, message: Message) {
        if let Phase::Open = self.phase {
            self.outputs.push_back(match message.travels(Channel::Datagram) {
                true => Output::SendDatagram(message),
                false => Output::SendStream(message),
            });
        }
    }

    /// Refuses the other end, or ends the session: it is told why, then the connection is closed.
    pub fn refuse(&mut self, now: Instant, refused: Refused) {
        if let Phase::Greeting { .. } | Phase::Open = self.phase {
            let (code, why) = (refused.code, refused.reason.clone());
            self.outputs.push_back(Output::SendStream(Message::Refused(refused)));
            self.give_up(now, code, why);
        }
    }

    /// The connection and its stream are open. At the dialing end only.
    pub fn handle_connected(&mut self, now: Instant) {
        if let Phase::Connecting { .. } = self.phase {
            self.greet(now);
        }
    }

    /// No connection was to be had: no answer, an untrusted certificate.
    pub fn handle_connect_failed(&mut self, now: Instant, why: &str) {
        if let Phase::Connecting { .. } = self.phase {
            self.lost(now, None, why.to_owned());
        }
    }

    /// The connection ended, whoever did it.
    pub fn handle_closed(&mut self, now: Instant, code: Option<Code>, why: &str) {
        match self.phase {
            Phase::Connecting { .. } | Phase::Greeting { .. } | Phase::Open => self.lost(now, code, why.to_owned()),
            Phase::Waiting { .. } | Phase::Ended => {}
        }
    }

    /// An envelope from the stream.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        if !self.frames.take(now) {
            self.counters.limited += 1;
            return self.violation(now, "more frames than a peer has a use for");
        }
        match Message::decode(frame) {
            Ok(message) => self.handle_message(now, Channel::Stream, message),
            Err(error) => {
                self.counters.undecoded(&error);
                if error != DecodeError::Unknown {
                    self.violation(now, &error.to_string());
                }
            }
        }
    }

    /// An envelope from a datagram.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if !self.datagrams.take(now) {
            self.counters.limited += 1;
            return;
        }
        match Message::decode(datagram) {
            Ok(message) => self.handle_message(now, Channel::Datagram, message),
            Err(error) => self.counters.undecoded(&error),
        }
    }

    /// A message that was decoded elsewhere.
    pub fn handle_message(&mut self, now: Instant, channel: Channel, message: Message) {
        if !message.travels(channel) {
            return self.misplaced(now, channel, &message);
        }
        match (self.phase, message) {
            (Phase::Waiting { .. } | Phase::Connecting { .. } | Phase::Ended, _) => self.counters.misplaced += 1,
            (Phase::Greeting { .. }, Message::Hello(hello)) => self.met(now, hello),
            (Phase::Greeting { .. } | Phase::Open, Message::Refused(refused)) => {
                let (code, why) = (refused.code, refused.reason.clone());
                self.tell(PeerEvent::Refused(refused));
                self.give_up(now, code, why);
            }
            (
                Phase::Open,
                message @ (Message::Rings(_)
                | Message::RingsAck(_)
                | Message::Mirror(_)
                | Message::MirrorAck(_)
                | Message::FlowEpoch(_)
                | Message::WhoHas(_)
                | Message::Has(_)),
            ) => self.tell(PeerEvent::Message(message)),
            (_, message) => self.misplaced(now, channel, &message),
        }
    }

    /// What is due is done.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting { until } if until <= now => {
                let dialer = self.dialer.as_mut().expect("only the dialing end waits");
                let session = dialer.begin();
                self.phase = Phase::Connecting { deadline: now + CONNECT_WITHIN };
                self.outputs.push_back(Output::Connect { session });
            }
            Phase::Connecting { deadline } if deadline <= now => {
                let why = format!("no connection within {} s", CONNECT_WITHIN.as_secs());
                self.give_up(now, Code::Silence, why);
            }
            Phase::Greeting { deadline } if deadline <= now => {
                self.give_up(now, Code::HelloTimeout, format!("no hello within {} s", GREET_WITHIN.as_secs()));
            }
            _ => {}
        }
    }

    /// When [`Peer::handle_timeout`] has something to do; `None`: not before something else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Connecting { deadline } | Phase::Greeting { deadline } => Some(deadline),
            Phase::Open | Phase::Ended => None,
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<PeerEvent>> {
        self.outputs.pop_front()
    }

    /// Where the conversation stands.
    pub fn phase(&self) -> PeerPhase {
        match self.phase {
            Phase::Waiting { .. } => PeerPhase::Waiting,
            Phase::Connecting { .. } => PeerPhase::Connecting,
            Phase::Greeting { .. } => PeerPhase::Greeting,
            Phase::Open => PeerPhase::Open,
            Phase::Ended => PeerPhase::Ended,
        }
    }

    /// Which end this is.
    pub fn side(&self) -> PeerSide {
        if self.dialer.is_some() { PeerSide::Dials } else { PeerSide::Accepts }
    }

    /// What came in and was not taken.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn greet(&mut self, now: Instant) {
        let session = self.dialer.as_ref().map_or(self.settings.first_session, Dialer::session);
        let hello = Hello {
            incarnation: self.settings.incarnation,
            session,
            software: self.settings.software.clone(),
            role: self.settings.role,
            tunnel_addresses: self.settings.tunnel_addresses.clone(),
            tunnel_sources: self.settings.tunnel_sources.clone(),
            answers_asks: false,
        };
        self.outputs.push_back(Output::SendStream(Message::Hello(hello)));
        self.phase = Phase::Greeting { deadline: now + GREET_WITHIN };
    }

    fn met(&mut self, now: Instant, hello: Hello) {
        if hello.role != self.settings.role {
            let reason =
                format!("a cluster is of one tier: this SLR is of {}, that of {}", self.settings.role, hello.role);
            return self.refuse(now, Refused::new(Code::Role, reason, "correct the list of peers"));
        }
        if let Some(dialer) = &mut self.dialer {
            dialer.welcomed(now);
        }
        self.phase = Phase::Open;
        self.tell(PeerEvent::Met(hello));
    }

    /// A datagram may be late and is let go; on the stream the two ends no longer agree on where they are.
    fn misplaced(&mut self, now: Instant, channel: Channel, message: &Message) {
        self.counters.misplaced += 1;
        if channel == Channel::Stream {
            self.violation(now, &format!("a message ({}) that has no place here", message.kind()));
        }
    }

    fn violation(&mut self, now: Instant, what: &str) {
        self.refuse(now, Refused::new(Code::Violation, what, "run the same version of the software at both ends"));
    }

    fn give_up(&mut self, now: Instant, code: Code, why: String) {
        self.outputs.push_back(Output::Close { code, reason: why.clone() });
        self.lost(now, Some(code), why);
    }

    fn lost(&mut self, now: Instant, code: Option<Code>, why: String) {
        let refused = code.is_some_and(Code::needs_an_operator);
        let retry_at = self.dialer.as_mut().map(|dialer| dialer.retry_at(now, refused));
        self.phase = retry_at.map_or(Phase::Ended, |until| Phase::Waiting { until });
        self.tell(PeerEvent::Lost { code, why, retry_at });
    }

    fn tell(&mut self, event: PeerEvent) {
        self.outputs.push_back(Output::Event(event));
    }
}
