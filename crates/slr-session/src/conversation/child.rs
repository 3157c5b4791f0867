//! The child's end: reconnects, says hello, adverts, obeys.
//!
//! ```text
//!              timeout                 connected                welcome
//!   Waiting ────────────► Connecting ────────────► Greeting ────────────► Open
//!      ▲                      │                        │                    │
//!      └── failed, closed, refused, too slow, a violation, not heard ◄──────┘
//!
//!   any ── withdraw ──► Ended
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use slr_model::{Advert, FlowKey, HostState, Role, ServiceKey};
use slr_wire::{
    AdvertError, AdvertPart, Assembly, Channel, Claims, Code, FlowEpoch, FlowKeys, Hello, Message, Order, Ordered,
    Refused, Roster, RosterNode, RosterPart, Welcome, Withdraw, bounds,
};

use super::backoff::BackoffSettings;
use super::dialer::{CONNECT_WITHIN, Dialer, GREET_WITHIN};
use super::offer::{Hearing, Offering};
use super::{Counters, Output};
use crate::limit::Limit;

/// Datagrams of claims that are sent at once, and again in that time: three quarters of what a parent takes.
const CLAIMS_BURST: u32 = 96;
const CLAIMS_PERIOD: Duration = Duration::from_millis(250);

/// What a child says of itself, and how it reconnects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSettings {
    /// Strictly larger for each start of the process, never 0.
    pub incarnation: u64,
    /// Number of the first session, never 0: larger than that of any earlier connection of this process to the parent.
    pub first_session: u64,
    /// Name and version of the program.
    pub software: String,
    /// What the child is.
    pub role: Role,
    /// Where it takes tunnels.
    pub tunnel_addresses: Vec<IpAddr>,
    /// SLRs: from where it sends tunnels.
    pub tunnel_sources: Vec<IpNet>,
    /// Waits between attempts.
    pub backoff: BackoffSettings,
}

/// What a child has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum ChildEvent {
    /// The parent takes it, or wants other intervals or tunnel sources than before.
    Welcomed(Welcome),
    /// Whether adverts reach the parent, when that changes. A session begins as heard.
    Heard(bool),
    /// The site's hosts.
    Roster(Roster),
    /// The operator at the parent asks for something: answer with [`Child::ordered`].
    Order(Order),
    /// Hosts: the keys of an epoch. Those of earlier ones stay good for a while.
    FlowKeys(FlowKeys),
    /// Routers: the epoch of flow keys that the parent knows.
    Epoch(u32),
    /// The parent refuses the child, or ends the session, and says why.
    Refused(Refused),
    /// The connection ended or could not be opened; the next attempt is at that time.
    Lost {
        /// Code of the close, if one was given.
        code: Option<Code>,
        /// What happened.
        why: String,
        /// When it is tried again.
        retry_at: Instant,
    },
}

/// A child towards one parent; see the module documentation for how it is driven.
#[derive(Clone, Debug)]
pub struct Child {
    settings: ChildSettings,
    dialer: Dialer,
    phase: Phase,
    offer: Option<Advert>,
    outputs: VecDeque<Output<ChildEvent>>,
    counters: Counters,
}

#[derive(Clone, Debug)]
enum Phase {
    Waiting { until: Instant },
    Connecting { deadline: Instant },
    Greeting { deadline: Instant },
    Open(Box<Open>),
    Ended,
}

#[derive(Clone, Debug)]
struct Open {
    offering: Offering,
    heard: bool,
    roster: Assembly<u64, RosterNode>,
    claims: Limit,
}

/// A phase's name, for tables and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildPhase {
    /// For the next attempt.
    Waiting,
    /// A connection is being opened.
    Connecting,
    /// Hello was sent.
    Greeting,
    /// The parent takes adverts.
    Open,
    /// The child has withdrawn.
    Ended,
}

impl Child {
    /// A child that connects at once. The seed makes its waits its own.
    pub fn new(settings: ChildSettings, seed: u64, now: Instant) -> Self {
        let dialer = Dialer::new(settings.backoff, settings.first_session, seed);
        let phase = Phase::Waiting { until: now };
        Self { settings, dialer, phase, offer: None, outputs: VecDeque::new(), counters: Counters::default() }
    }

    /// A second conversation with the same parent, later in its sessions: for a renewed certificate. Once it is welcomed
    /// the parent has closed this one's connection or will; drop this one then.
    pub fn successor(&mut self, now: Instant) -> Self {
        // Later than whatever this one may still open.
        let first_session = self.dialer.session() + SUCCESSOR_STEP;
        let settings = ChildSettings { first_session, ..self.settings.clone() };
        let mut child = Self::new(settings, self.dialer.fork(), now);
        child.offer = self.offer.clone();
        child
    }

    /// What is advertised from now on. Changes of state, new and missing services reach the parent at once, anything
    /// else with the next advert. Nothing is advertised before the first offer.
    pub fn offer(&mut self, now: Instant, advert: Advert) -> Result<(), AdvertError> {
        AdvertPart::check(&advert)?;
        if let Phase::Open(open) = &mut self.phase {
            open.offering.offered(now, &advert);
        }
        self.offer = Some(advert);
        self.handle_timeout(now);
        Ok(())
    }

    /// Tells the parent that this node has these flows. What exceeds the rate that a parent takes is not sent, nor is anything
    /// while there is no session: the flows' next packets are searched for again.
    pub fn claim(&mut self, now: Instant, flows: &[FlowKey]) {
        let Phase::Open(open) = &mut self.phase else { return };
        for claims in Claims::split(flows.iter().copied()) {
            if !open.claims.take(now) {
                return;
            }
            self.outputs.push_back(Output::SendDatagram(Message::Claims(claims)));
        }
    }

    /// Tells the parent, router to router, which epoch flow keys are of.
    pub fn tell_epoch(&mut self, epoch: u32) {
        if let (Phase::Open(_), true) = (&self.phase, self.settings.role != Role::Host) {
            self.outputs.push_back(Output::SendStream(Message::FlowEpoch(FlowEpoch { epoch })));
        }
    }

    /// Answers an order.
    pub fn ordered(&mut self, id: u64, outcome: Result<(), String>) {
        if let Phase::Open(_) = self.phase {
            self.outputs.push_back(Output::SendStream(Message::Ordered(Ordered { id, outcome })));
        }
    }

    /// Goes away in order: the parent forgets the child's services. The conversation ends.
    pub fn withdraw(&mut self, reason: &str) {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Open(_) => {
                self.outputs.push_back(Output::SendStream(Message::Withdraw(Withdraw { reason: reason.to_owned() })));
                self.close(Code::GoingAway, reason);
            }
            Phase::Connecting { .. } | Phase::Greeting { .. } => self.close(Code::GoingAway, reason),
            Phase::Waiting { .. } | Phase::Ended => {}
        }
    }

    /// The connection and its stream are open.
    pub fn handle_connected(&mut self, now: Instant) {
        let Phase::Connecting { .. } = self.phase else {
            return;
        };
        let hello = Hello {
            incarnation: self.settings.incarnation,
            session: self.dialer.session(),
            software: self.settings.software.clone(),
            role: self.settings.role,
            tunnel_addresses: self.settings.tunnel_addresses.clone(),
            tunnel_sources: self.settings.tunnel_sources.clone(),
            answers_asks: true,
        };
        self.outputs.push_back(Output::SendStream(Message::Hello(hello)));
        self.phase = Phase::Greeting { deadline: now + GREET_WITHIN };
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
            Phase::Connecting { .. } | Phase::Greeting { .. } | Phase::Open(_) => self.lost(now, code, why.to_owned()),
            Phase::Waiting { .. } | Phase::Ended => {}
        }
    }

    /// An envelope from the stream.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        match Message::decode(frame) {
            Ok(message) => self.handle_message(now, Channel::Stream, message),
            Err(error) => {
                self.counters.undecoded(&error);
                if error != slr_wire::DecodeError::Unknown {
                    self.violation(now, &error.to_string());
                }
            }
        }
    }

    /// An envelope from a datagram.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
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
        match (&mut self.phase, message) {
            (Phase::Waiting { .. } | Phase::Connecting { .. } | Phase::Ended, _) => self.counters.misplaced += 1,
            (Phase::Greeting { .. } | Phase::Open(_), Message::Welcome(welcome)) => self.welcomed(now, welcome),
            (Phase::Greeting { .. } | Phase::Open(_), Message::Refused(refused)) => self.refused(now, refused),
            (Phase::Open(open), Message::Ack(ack)) => {
                if !open.offering.acked(ack.sequence) {
                    self.counters.misplaced += 1;
                }
                self.listen(now);
            }
            (Phase::Open(open), Message::Ask(_)) => {
                open.offering.asked(now);
                self.handle_timeout(now);
            }
            (Phase::Open(_), Message::Order(order)) => self.tell(ChildEvent::Order(order)),
            (Phase::Open(_), Message::Roster(part)) => self.roster(now, part),
            (Phase::Open(_), Message::FlowKeys(keys)) if self.settings.role == Role::Host => {
                self.tell(ChildEvent::FlowKeys(keys));
            }
            (Phase::Open(_), Message::FlowEpoch(FlowEpoch { epoch })) if self.settings.role != Role::Host => {
                self.tell(ChildEvent::Epoch(epoch));
            }
            (_, message) => self.misplaced(now, channel, &message),
        }
    }

    /// What is due is done.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Waiting { until } if *until <= now => {
                let session = self.dialer.begin();
                self.phase = Phase::Connecting { deadline: now + CONNECT_WITHIN };
                self.outputs.push_back(Output::Connect { session });
            }
            Phase::Connecting { deadline } if *deadline <= now => {
                self.give_up(now, Code::Silence, format!("no connection within {} s", CONNECT_WITHIN.as_secs()));
            }
            Phase::Greeting { deadline } if *deadline <= now => {
                self.give_up(now, Code::Silence, format!("no welcome within {} s", GREET_WITHIN.as_secs()));
            }
            Phase::Open(open) => match &self.offer {
                Some(offer) => {
                    // A full advert and one in datagrams may be due together: the full one first.
                    for _ in 0..2 {
                        for part in open.offering.take_due(now, offer) {
                            let full = part.full;
                            let message = Message::Advert(part);
                            self.outputs.push_back(match full {
                                true => Output::SendStream(message),
                                false => Output::SendDatagram(message),
                            });
                        }
                    }
                    self.listen(now);
                }
                None => open.offering.skip_due(now),
            },
            _ => {}
        }
    }

    /// When [`Child::handle_timeout`] has something to do; `None`: never again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting { until } => Some(*until),
            Phase::Connecting { deadline } | Phase::Greeting { deadline } => Some(*deadline),
            Phase::Open(open) => Some(open.offering.poll_timeout()),
            Phase::Ended => None,
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<ChildEvent>> {
        self.outputs.pop_front()
    }

    /// Where the conversation stands.
    pub fn phase(&self) -> ChildPhase {
        match self.phase {
            Phase::Waiting { .. } => ChildPhase::Waiting,
            Phase::Connecting { .. } => ChildPhase::Connecting,
            Phase::Greeting { .. } => ChildPhase::Greeting,
            Phase::Open(_) => ChildPhase::Open,
            Phase::Ended => ChildPhase::Ended,
        }
    }

    /// The session of the connection that was opened last; 0 before the first.
    pub fn session(&self) -> u64 {
        self.dialer.session()
    }

    /// The states that the parent was last told in this session and has acknowledged; `None`: none yet, or it was told
    /// others since. A host that drains knows from this that a parent has heard.
    pub fn acknowledged(&self) -> Option<&BTreeMap<ServiceKey, HostState>> {
        match &self.phase {
            Phase::Open(open) => open.offering.acknowledged(),
            _ => None,
        }
    }

    /// What came in and was not taken.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn welcomed(&mut self, now: Instant, welcome: Welcome) {
        if welcome.session != self.dialer.session() {
            let session = self.dialer.session();
            return self.violation(now, &format!("a welcome for session {}, not {session}", welcome.session));
        }
        if let Phase::Open(open) = &mut self.phase {
            open.offering.configure(now, &welcome);
        } else {
            self.dialer.welcomed(now);
            let interval = Duration::from_millis(welcome.advert_interval_ms.into());
            let mut offering = Offering::new(now, &welcome, self.dialer.within(interval));
            if let Some(offer) = &self.offer {
                offering.offered(now, offer);
            }
            let roster = Assembly::new(bounds::ROSTER_NODES_MAX);
            self.phase = Phase::Open(Box::new(Open {
                offering,
                heard: true,
                roster,
                claims: Limit::new(CLAIMS_BURST, CLAIMS_PERIOD),
            }));
        }
        self.tell(ChildEvent::Welcomed(welcome));
        self.handle_timeout(now);
    }

    fn refused(&mut self, now: Instant, refused: Refused) {
        let (code, why) = (refused.code, refused.reason.clone());
        self.close(code, "refused");
        self.tell(ChildEvent::Refused(refused));
        self.lost(now, Some(code), why);
    }

    fn roster(&mut self, now: Instant, part: RosterPart) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        match open.roster.push(part.generation, part.part, part.parts, part.nodes) {
            Ok(Some((generation, nodes))) => self.tell(ChildEvent::Roster(Roster { generation, nodes })),
            Ok(None) => {}
            Err(error) => self.violation(now, &format!("roster: {error}")),
        }
    }

    /// Notes whether the parent hears the child.
    fn listen(&mut self, now: Instant) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        let hearing = open.offering.hearing();
        if hearing == Hearing::Dead {
            return self.give_up(now, Code::Silence, "the parent acknowledges nothing".to_owned());
        }
        let heard = hearing == Hearing::Heard;
        if open.heard != heard {
            open.heard = heard;
            self.tell(ChildEvent::Heard(heard));
        }
    }

    /// A message that has no place here. A datagram may be late, or forged by nobody but the parent: it is let go. On the
    /// stream it means that the two ends no longer agree on where they are.
    fn misplaced(&mut self, now: Instant, channel: Channel, message: &Message) {
        self.counters.misplaced += 1;
        if channel == Channel::Stream {
            self.violation(now, &format!("a message ({}) that has no place here", message.kind()));
        }
    }

    fn violation(&mut self, now: Instant, what: &str) {
        match self.phase {
            Phase::Greeting { .. } | Phase::Open(_) => self.give_up(now, Code::Violation, what.to_owned()),
            Phase::Waiting { .. } | Phase::Connecting { .. } | Phase::Ended => {}
        }
    }

    fn give_up(&mut self, now: Instant, code: Code, why: String) {
        self.close(code, &why);
        self.lost(now, Some(code), why);
    }

    fn close(&mut self, code: Code, reason: &str) {
        self.outputs.push_back(Output::Close { code, reason: reason.to_owned() });
    }

    fn lost(&mut self, now: Instant, code: Option<Code>, why: String) {
        let refused = code.is_some_and(Code::needs_an_operator);
        let retry_at = self.dialer.retry_at(now, refused);
        self.phase = Phase::Waiting { until: retry_at };
        self.tell(ChildEvent::Lost { code, why, retry_at });
    }

    fn tell(&mut self, event: ChildEvent) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// A successor's sessions begin this much later: more than this one opens while both live.
const SUCCESSOR_STEP: u64 = 1 << 20;
