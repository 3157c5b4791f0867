//! The parent's end of one connection: admits, listens, acknowledges, orders.
//!
//! ```text
//!             hello                welcome()
//!   Greeting ───────► Introduced ────────────► Open
//!       │                 │                      │ withdraw
//!       │                 │                      ▼
//!       └── too slow, refuse(), a violation, closed ──► Ended
//! ```
//!
//! Who is admitted is not decided here: [`ParentEvent::Hello`] is answered with [`Parent::welcome`] or
//! [`Parent::refuse`]. Nor is it decided here when a child counts as silent.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use slr_model::{FlowKey, Role};
use slr_wire::{
    Ack, Action, AdvertPart, Ask, Channel, Code, DecodeError, FlowEpoch, FlowKeys, Hello, Message, Order, Ordered,
    Refused, Roster, RosterError, Welcome,
};
use thiserror::Error;

use super::acks::Acks;
use super::advertised::Advertisements;
use super::roster::RosterSender;
use super::{Advertised, Counters, Output};
use crate::limit::Limit;

/// Hello comes within this time after the handshake: a connection that says nothing holds memory for no longer.
const HELLO_WITHIN: Duration = Duration::from_secs(3);
/// Frames that a child may send at once, and again each second: the full advert of the largest node takes 17, and a node
/// whose services flap sends ten a second.
const FRAMES_BURST: u32 = 256;
const FRAMES_PERIOD: Duration = Duration::from_secs(1);
/// Datagrams that a child may send in an advert interval, beside one for each service that it has.
const DATAGRAMS_SPARE: u32 = 16;
/// Datagrams of claims that a host may send at once, and again in that time: 10,000 flows of IPv4 in a burst, and 40,000 a
/// second. Who has more to claim than this repeats it with the flows' next packets.
const CLAIMS_BURST: u32 = 128;
const CLAIMS_PERIOD: Duration = Duration::from_millis(250);
/// Orders that wait for their answers: an operator gives one at a time.
const ORDERS_MAX: usize = 16;
/// An order that is not answered for this long will not be.
const ORDER_WITHIN: Duration = Duration::from_secs(5);

/// What a parent's end has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum ParentEvent {
    /// The child has introduced itself: answer with [`Parent::welcome`] or [`Parent::refuse`].
    Hello(Hello),
    /// The child says how it is.
    Advert(Advertised),
    /// The host has these flows, which were searched for. Nothing is believed yet.
    Claimed {
        /// The flows.
        flows: Vec<FlowKey>,
    },
    /// The child, a router, knows this epoch of flow keys.
    Epoch(u32),
    /// The child goes away in order, with all its services. The end of the connection follows.
    Withdrawn {
        /// Why.
        reason: String,
    },
    /// The answer to an order; `Err` has the child's reason, or that there was no answer.
    Ordered {
        /// What [`Parent::order`] returned.
        id: u64,
        /// Whether the child does it.
        outcome: Result<(), String>,
    },
    /// The conversation is over. Told once, and nothing is told after it.
    Ended {
        /// Code of the close, if one was given.
        code: Option<Code>,
        /// What happened.
        why: String,
    },
}

/// An order that is not given.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OrderError {
    /// The child is not connected, or not yet welcomed.
    #[error("the child has no session: it hears no orders")]
    NoSession,
    /// Too many orders wait.
    #[error("{ORDERS_MAX} orders wait for this child's answer: wait for them first")]
    TooMany,
}

/// A parent's end of a connection; see the module documentation for how it is driven.
#[derive(Clone, Debug)]
pub struct Parent {
    role: Role,
    phase: Phase,
    frames: Limit,
    datagrams: Limit,
    claims: Limit,
    outputs: VecDeque<Output<ParentEvent>>,
    counters: Counters,
}

#[derive(Clone, Debug)]
enum Phase {
    Greeting { deadline: Instant },
    Introduced { deadline: Instant, session: u64 },
    Open(Box<Open>),
    Ended,
}

#[derive(Clone, Debug)]
struct Open {
    session: u64,
    adverts: Advertisements,
    acks: Acks,
    orders: BTreeMap<u64, Instant>,
    orders_given: u64,
    roster: RosterSender,
}

/// A phase's name, for tables and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParentPhase {
    /// No Hello yet.
    Greeting,
    /// Somebody has to decide.
    Introduced,
    /// Adverts are taken.
    Open,
    /// It is over.
    Ended,
}

impl Parent {
    /// The end of a connection that a child with this role in its certificate has just opened.
    pub fn new(role: Role, now: Instant) -> Self {
        Self {
            role,
            phase: Phase::Greeting { deadline: now + HELLO_WITHIN },
            frames: Limit::new(FRAMES_BURST, FRAMES_PERIOD),
            // Until it is welcomed a child has no datagrams to send.
            datagrams: Limit::new(DATAGRAMS_SPARE, FRAMES_PERIOD),
            claims: Limit::new(CLAIMS_BURST, CLAIMS_PERIOD),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Admits the child. `welcome.session` is filled in. In an open conversation it changes intervals and tunnel sources.
    pub fn welcome(&mut self, now: Instant, welcome: Welcome) {
        let interval = Duration::from_millis(welcome.ack_interval_ms.into());
        let session = match &mut self.phase {
            Phase::Introduced { session, .. } => {
                let session = *session;
                self.phase = Phase::Open(Box::new(Open {
                    session,
                    adverts: Advertisements::new(),
                    acks: Acks::new(interval),
                    orders: BTreeMap::new(),
                    orders_given: 0,
                    roster: RosterSender::default(),
                }));
                session
            }
            Phase::Open(open) => {
                open.acks.configure(interval);
                open.session
            }
            Phase::Greeting { .. } | Phase::Ended => return,
        };
        self.datagrams = Limit::new(DATAGRAMS_SPARE, Duration::from_millis(welcome.advert_interval_ms.into()));
        self.outputs.push_back(Output::SendStream(Message::Welcome(Welcome { session, ..welcome })));
        self.handle_timeout(now);
    }

    /// Refuses the child, or ends its session: it is told why, then the connection is closed.
    pub fn refuse(&mut self, refused: Refused) {
        if let Phase::Ended = self.phase {
            return;
        }
        let (code, why) = (refused.code, refused.reason.clone());
        self.outputs.push_back(Output::SendStream(Message::Refused(refused)));
        self.end(code, why);
    }

    /// Gives an order; returns its id, with which the answer comes.
    pub fn order(&mut self, now: Instant, action: Action, requested_by: &str) -> Result<u64, OrderError> {
        let Phase::Open(open) = &mut self.phase else {
            return Err(OrderError::NoSession);
        };
        if open.orders.len() == ORDERS_MAX {
            return Err(OrderError::TooMany);
        }
        open.orders_given += 1;
        let id = open.orders_given;
        open.orders.insert(id, now + ORDER_WITHIN);
        let order = Order { id, action, requested_by: requested_by.to_owned() };
        self.outputs.push_back(Output::SendStream(Message::Order(order)));
        Ok(id)
    }

    /// Asks the child to advert now, if it is there. It must have said in its hello that it answers.
    pub fn ask(&mut self) {
        if let Phase::Open(_) = self.phase {
            self.outputs.push_back(Output::SendDatagram(Message::Ask(Ask)));
        }
    }

    /// The site's hosts, without this one. Sent when its generation is another than the last one's, at a bounded rate.
    pub fn set_roster(&mut self, now: Instant, roster: &Roster) -> Result<(), RosterError> {
        if let Phase::Open(open) = &mut self.phase {
            open.roster.set(roster)?;
            self.send_roster(now);
        }
        Ok(())
    }

    /// Grants a host its flow keys.
    pub fn grant(&mut self, keys: FlowKeys) {
        if let (Phase::Open(_), Role::Host) = (&self.phase, self.role) {
            self.outputs.push_back(Output::SendStream(Message::FlowKeys(keys)));
        }
    }

    /// Tells a router of the tier below which epoch flow keys are of.
    pub fn tell_epoch(&mut self, epoch: u32) {
        if let (Phase::Open(_), true) = (&self.phase, self.role != Role::Host) {
            self.outputs.push_back(Output::SendStream(Message::FlowEpoch(FlowEpoch { epoch })));
        }
    }

    /// The connection ended, whoever did it.
    pub fn handle_closed(&mut self, code: Option<Code>, why: &str) {
        if !matches!(self.phase, Phase::Ended) {
            self.phase = Phase::Ended;
            self.tell(ParentEvent::Ended { code, why: why.to_owned() });
        }
    }

    /// An envelope from the stream.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        if !self.frames.take(now) {
            self.counters.limited += 1;
            return self.violation("more frames than a child has a use for");
        }
        match Message::decode(frame) {
            Ok(message) => self.handle_message(now, Channel::Stream, message),
            Err(error) => {
                self.counters.undecoded(&error);
                if error != DecodeError::Unknown {
                    self.violation(&error.to_string());
                }
            }
        }
    }

    /// An envelope from a datagram.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        let limit = if Message::looks_like_claims(datagram) { &mut self.claims } else { &mut self.datagrams };
        if !limit.take(now) {
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
            return self.misplaced(channel, &message);
        }
        match (&mut self.phase, message) {
            (Phase::Ended, _) => self.counters.misplaced += 1,
            (Phase::Greeting { deadline }, Message::Hello(hello)) => {
                let deadline = *deadline;
                self.introduced(deadline, hello);
            }
            (Phase::Open(_), Message::Advert(part)) => self.advert(now, part),
            (Phase::Open(_), Message::Claims(claims)) if self.role == Role::Host => {
                self.tell(ParentEvent::Claimed { flows: claims.flows });
            }
            (Phase::Open(_), Message::FlowEpoch(FlowEpoch { epoch })) if self.role != Role::Host => {
                self.tell(ParentEvent::Epoch(epoch));
            }
            (Phase::Open(_), Message::Withdraw(withdraw)) => {
                self.tell(ParentEvent::Withdrawn { reason: withdraw.reason.clone() });
                self.end(Code::GoingAway, withdraw.reason);
            }
            (Phase::Open(open), Message::Ordered(Ordered { id, outcome })) => match open.orders.remove(&id) {
                Some(_) => self.tell(ParentEvent::Ordered { id, outcome }),
                // Its time was over, and that was told.
                None => self.counters.misplaced += 1,
            },
            (_, message) => self.misplaced(channel, &message),
        }
    }

    /// What is due is done.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Greeting { deadline } if *deadline <= now => {
                let why = format!("no hello within {} s", HELLO_WITHIN.as_secs());
                self.refuse(Refused::new(Code::HelloTimeout, why, "see whether the child is overloaded"));
            }
            Phase::Introduced { deadline, .. } if *deadline <= now => {
                self.refuse(Refused::new(Code::Internal, "nobody decided in time", ""));
            }
            Phase::Open(open) => {
                if open.acks.take_due(now) {
                    let sequence = open.adverts.newest();
                    self.outputs.push_back(Output::SendDatagram(Message::Ack(Ack { sequence })));
                }
                let late: Vec<u64> = open.orders.iter().filter(|&(_, at)| *at <= now).map(|(&id, _)| id).collect();
                for id in late {
                    open.orders.remove(&id);
                    let outcome = Err(format!("no answer within {} s", ORDER_WITHIN.as_secs()));
                    self.outputs.push_back(Output::Event(ParentEvent::Ordered { id, outcome }));
                }
                self.send_roster(now);
            }
            _ => {}
        }
    }

    /// When [`Parent::handle_timeout`] has something to do; `None`: not before something else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Greeting { deadline } | Phase::Introduced { deadline, .. } => Some(*deadline),
            Phase::Open(open) => {
                let order = open.orders.values().min().copied();
                [open.acks.poll_timeout(), order, open.roster.poll_timeout()].into_iter().flatten().min()
            }
            Phase::Ended => None,
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<ParentEvent>> {
        self.outputs.pop_front()
    }

    /// Where the conversation stands.
    pub fn phase(&self) -> ParentPhase {
        match self.phase {
            Phase::Greeting { .. } => ParentPhase::Greeting,
            Phase::Introduced { .. } => ParentPhase::Introduced,
            Phase::Open(_) => ParentPhase::Open,
            Phase::Ended => ParentPhase::Ended,
        }
    }

    /// What came in and was not taken.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn introduced(&mut self, deadline: Instant, hello: Hello) {
        if hello.role != self.role {
            let reason = format!("the node says it is of role {}, its certificate says {}", hello.role, self.role);
            let remedy = format!("start it as {}, or issue it a certificate of role {}", self.role, hello.role);
            return self.refuse(Refused::new(Code::Role, reason, remedy));
        }
        self.phase = Phase::Introduced { deadline, session: hello.session };
        self.tell(ParentEvent::Hello(hello));
    }

    fn advert(&mut self, now: Instant, part: AdvertPart) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        let news = if part.full {
            match open.adverts.take_full(part) {
                Ok(news) => news,
                Err(fault) => return self.violation(&fault.to_string()),
            }
        } else {
            let news = open.adverts.take_datagram(part);
            self.counters.stale += u64::from(news.is_none());
            news
        };
        if let Some(news) = news {
            self.datagrams.set_burst(DATAGRAMS_SPARE + open.adverts.services() as u32);
            open.acks.heard(now, news.full);
            self.tell(ParentEvent::Advert(news));
        }
        self.handle_timeout(now);
    }

    fn send_roster(&mut self, now: Instant) {
        if let Phase::Open(open) = &mut self.phase {
            let parts = open.roster.take_due(now).into_iter();
            self.outputs.extend(parts.map(|part| Output::SendStream(Message::Roster(part))));
        }
    }

    /// A datagram may be late and is let go; on the stream the two ends no longer agree on where they are.
    fn misplaced(&mut self, channel: Channel, message: &Message) {
        self.counters.misplaced += 1;
        if channel == Channel::Stream {
            self.violation(&format!("a message ({}) that has no place here", message.kind()));
        }
    }

    fn violation(&mut self, what: &str) {
        self.refuse(Refused::new(Code::Violation, what, "run the same version of the software at both ends"));
    }

    fn end(&mut self, code: Code, why: String) {
        self.phase = Phase::Ended;
        self.outputs.push_back(Output::Close { code, reason: why.clone() });
        self.tell(ParentEvent::Ended { code: Some(code), why });
    }

    fn tell(&mut self, event: ParentEvent) {
        self.outputs.push_back(Output::Event(event));
    }
}
