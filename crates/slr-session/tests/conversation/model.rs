//! A child and its parent over a network that loses, delays and reorders datagrams, breaks connections and stops the child.
//! Whatever happened: once the network is well, the parent knows what the child offers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use slr_model::{HostState, Role, ServiceKey};
use slr_session::conversation::{Child, ChildEvent, ChildPhase, Output, Parent, ParentEvent};
use slr_wire::*;

use crate::common::*;

/// What a test does at some step.
#[derive(Clone, Debug)]
enum Step {
    /// The child offers these states of four services; `None`: not that one.
    Offer([Option<HostState>; 4]),
    /// Time goes by; the datagrams of that time are lost, or arrive backwards.
    Pass { ms: u64, lose: bool, backwards: bool },
    /// The connection breaks.
    Break,
    /// The child sleeps.
    Sleep { ms: u64 },
    /// The operator asks for something.
    Order,
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop::option::of(prop::sample::select(HostState::ALL));
    prop_oneof![
        prop::array::uniform4(state).prop_map(Step::Offer),
        (1u64..2_000, any::<bool>(), any::<bool>()).prop_map(|(ms, lose, backwards)| Step::Pass {
            ms,
            lose,
            backwards
        }),
        Just(Step::Break),
        (1u64..20_000).prop_map(|ms| Step::Sleep { ms }),
        Just(Step::Order),
    ]
}

/// Both ends, and what the parent's user has made of what it was told.
struct World {
    now: Instant,
    child: Child,
    parent: Option<Parent>,
    /// Frames on their way, to the parent and to the child: always in order.
    to_parent: Vec<Message>,
    to_child: Vec<Message>,
    /// Datagrams on their way to the parent.
    datagrams: Vec<Message>,
    known: BTreeMap<ServiceKey, (u64, HostState)>,
    full: u64,
    orders: usize,
    answers: usize,
    sessions: Vec<u64>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let child = new_child(now);
        Self {
            now,
            child,
            parent: None,
            to_parent: Vec::new(),
            to_child: Vec::new(),
            datagrams: Vec::new(),
            known: BTreeMap::new(),
            full: 0,
            orders: 0,
            answers: 0,
            sessions: Vec::new(),
        }
    }

    /// Everything that is due, and all frames, until nothing more happens at this moment.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1_000, "the two ends never come to rest");
            let mut quiet = true;
            while let Some(output) = self.child.poll_output() {
                quiet = false;
                self.carry_out_child(output);
            }
            while let Some(output) = self.parent.as_mut().and_then(Parent::poll_output) {
                quiet = false;
                self.carry_out_parent(output);
            }
            for message in std::mem::take(&mut self.to_parent) {
                quiet = false;
                if let Some(parent) = &mut self.parent {
                    parent.handle_frame(self.now, &message.encode_frame().unwrap()[4..]);
                }
            }
            for message in std::mem::take(&mut self.to_child) {
                quiet = false;
                self.child.handle_frame(self.now, &message.encode_frame().unwrap()[4..]);
            }
            if quiet {
                return;
            }
        }
    }

    fn carry_out_child(&mut self, output: Output<ChildEvent>) {
        match output {
            Output::Connect { session } => {
                assert!(self.sessions.last().is_none_or(|last| *last < session), "sessions grow");
                self.sessions.push(session);
                self.parent = Some(Parent::new(Role::Host, self.now));
                self.child.handle_connected(self.now);
            }
            Output::SendStream(message) => {
                assert!(message.travels(Channel::Stream));
                self.to_parent.push(message);
            }
            Output::SendDatagram(message) => {
                assert!(message.travels(Channel::Datagram));
                self.datagrams.push(message);
            }
            Output::Close { code, reason } => {
                assert_eq!(code, Code::Silence, "{reason}");
                self.cut();
            }
            Output::Event(ChildEvent::Order(order)) => self.child.ordered(order.id, Ok(())),
            Output::Event(_) => {}
        }
    }

    fn carry_out_parent(&mut self, output: Output<ParentEvent>) {
        match output {
            Output::SendStream(message) => self.to_child.push(message),
            Output::SendDatagram(message) => {
                let datagram = message.encode_datagram().unwrap();
                self.child.handle_datagram(self.now, &datagram);
            }
            Output::Event(ParentEvent::Hello(_)) => {
                (self.known, self.full) = (BTreeMap::new(), 0);
                self.parent.as_mut().expect("it has just spoken").welcome(self.now, welcome(0));
            }
            Output::Event(ParentEvent::Advert(news)) => self.learn(news),
            Output::Event(ParentEvent::Ordered { .. }) => self.answers += 1,
            Output::Event(ParentEvent::Claimed { .. } | ParentEvent::Epoch(_)) => {}
            Output::Event(ParentEvent::Withdrawn { .. }) => panic!("nobody withdrew"),
            Output::Event(ParentEvent::Ended { .. }) => {}
            Output::Connect { .. } => panic!("a parent never connects"),
            Output::Close { code, reason } => panic!("closed: {code}: {reason}"),
        }
    }

    /// The rule by which adverts count, as the documentation has it.
    fn learn(&mut self, news: slr_session::conversation::Advertised) {
        if news.sequence < self.full {
            return;
        }
        for service in news.advert.services {
            let known = self.known.entry(service.key).or_insert((0, service.state));
            if known.0 <= news.sequence {
                *known = (news.sequence, service.state);
            }
        }
        if news.full {
            self.full = news.sequence;
            self.known.retain(|_, (sequence, _)| *sequence >= news.sequence);
        }
    }

    fn cut(&mut self) {
        if let Some(mut parent) = self.parent.take() {
            parent.handle_closed(None, "cut");
            let told: Vec<_> = std::iter::from_fn(|| parent.poll_output()).collect();
            assert!(
                told.iter().any(|output| matches!(output, Output::Event(ParentEvent::Ended { .. }))) || told.is_empty()
            );
        }
        self.to_parent.clear();
        self.to_child.clear();
        self.datagrams.clear();
        self.child.handle_closed(self.now, None, "cut");
    }

    fn pass(&mut self, span: Duration, lose: bool, backwards: bool) {
        let end = self.now + span;
        loop {
            let child = self.child.poll_timeout().expect("it goes on for ever");
            let next = self.parent.as_ref().and_then(Parent::poll_timeout).map_or(child, |at| at.min(child));
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            self.child.handle_timeout(self.now);
            if let Some(parent) = &mut self.parent {
                parent.handle_timeout(self.now);
            }
            self.settle();
            if lose {
                self.datagrams.clear();
            } else if !backwards {
                self.deliver(false);
            }
        }
        self.now = end;
        self.deliver(backwards);
    }

    fn deliver(&mut self, backwards: bool) {
        let mut datagrams = std::mem::take(&mut self.datagrams);
        if backwards {
            datagrams.reverse();
        }
        for message in datagrams {
            if let Some(parent) = &mut self.parent {
                parent.handle_datagram(self.now, &message.encode_datagram().unwrap());
            }
        }
        self.settle();
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Offer(states) => self.offer(states),
            Step::Pass { ms, lose, backwards } => self.pass(Duration::from_millis(*ms), *lose, *backwards),
            Step::Break => {
                self.cut();
                self.settle();
            }
            Step::Sleep { ms } => self.now += Duration::from_millis(*ms),
            Step::Order => {
                if let Some(parent) = &mut self.parent
                    && parent.order(self.now, Action::Drain, "operator").is_ok()
                {
                    self.orders += 1;
                    self.settle();
                }
            }
        }
    }

    fn offer(&mut self, states: &[Option<HostState>; 4]) {
        let keys = ["tcp/80@192.0.2.0/24", "udp/53@192.0.2.0/24", "any@2001:db8::/48", "tcp/443@2001:db8::/48"];
        let services: Vec<_> = keys.iter().zip(states).filter_map(|(key, state)| state.map(|s| (*key, s))).collect();
        self.child.offer(self.now, advert(&services)).unwrap();
        self.settle();
    }
}

proptest! {

    #[test]
    fn the_parent_comes_to_know_what_the_child_offers(
        steps in prop::collection::vec(step(), 1..40),
        last in prop::array::uniform4(prop::option::of(prop::sample::select(HostState::ALL))),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.offer(&last);
        // As long as the longest wait for the next attempt, and some adverts.
        world.pass(Duration::from_secs(8), false, false);
        prop_assert_eq!(world.child.phase(), ChildPhase::Open);
        let known: Vec<HostState> = world.known.values().map(|(_, state)| *state).collect();
        let mut offered: Vec<HostState> = last.into_iter().flatten().collect();
        let mut sorted = known.clone();
        offered.sort();
        sorted.sort();
        prop_assert_eq!(sorted, offered);
        prop_assert!(world.answers <= world.orders);
        prop_assert_eq!(world.child.counters().undecoded, [0; 7]);
    }
}
