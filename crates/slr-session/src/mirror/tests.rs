use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use slr_model::FlowKey;
use slr_wire::{Mirror, MirrorAck, bounds};

use super::*;

fn flow(n: u32) -> FlowKey {
    let [_, _, high, low] = n.to_be_bytes();
    format!("tcp 198.51.{}.7:{} > 192.0.2.9:80", n >> 16, u16::from_be_bytes([high, low]).max(1)).parse().unwrap()
}

fn told(n: u32) -> Told {
    Told { host: format!("h{}", n % 3).parse().unwrap(), flow: flow(n), kind: MirrorKind::New }
}

fn sends(teller: &mut Teller, now: Instant) -> Vec<Mirror> {
    let mut all = Vec::new();
    while let Some(output) = teller.poll_output(now) {
        match output {
            Output::Send(batch) => all.push(batch),
            Output::Walk => teller.tell_table(Vec::new()),
        }
    }
    all
}

/// A teller whose peer has everything.
fn warm(now: Instant) -> Teller {
    let mut teller = Teller::default();
    teller.connected();
    assert_eq!(teller.view(now).state, State::Cold);
    assert_eq!(
        sends(&mut teller, now).iter().map(|batch| (batch.sequence, batch.complete)).collect::<Vec<_>>(),
        [(1, true)]
    );
    assert_eq!(teller.view(now).state, State::Cold, "sent is not taken");
    teller.handle_ack(now, MirrorAck { sequence: 1, resync: false });
    assert_eq!(teller.view(now).state, State::Warm);
    teller
}

#[test]
fn nothing_is_kept_for_a_peer_that_is_not_there() {
    let now = Instant::now();
    let mut teller = Teller::default();
    teller.tell([told(1)], now);
    assert_eq!((teller.view(now).queue, teller.poll_output(now)), (0, None));
}

#[test]
fn a_window_of_batches_is_under_way_and_the_lag_is_from_the_pin_to_the_answer() {
    let now = Instant::now();
    let mut teller = warm(now);
    let all = (WINDOW as u32 + 1) * bounds::MIRROR_FLOWS_MAX as u32;
    teller.tell((0..all).map(told), now);
    let later = now + Duration::from_millis(30);
    let sent = sends(&mut teller, later);
    assert_eq!(sent.len(), WINDOW);
    assert!(sent.iter().all(|batch| batch.len() == bounds::MIRROR_FLOWS_MAX && batch.age_ms == 30));
    teller.handle_ack(now + Duration::from_millis(50), MirrorAck { sequence: 2, resync: false });
    assert_eq!(sends(&mut teller, later).len(), 1);
    assert_eq!(teller.view(later).lag.max, Some(Duration::from_millis(50)));
}

#[test]
fn a_peer_that_is_behind_gets_the_table_when_it_answers_and_no_queue_until_then() {
    let now = Instant::now();
    let mut teller = warm(now);
    teller.tell([told(1)], now);
    assert_eq!(sends(&mut teller, now).len(), 1);
    let late = teller.poll_timeout().unwrap();
    assert_eq!(late, now + LAG_MAX);
    teller.handle_timeout(late);
    assert_eq!((teller.poll_timeout(), teller.view(late).state), (None, State::Lagging));
    teller.tell((0..100).map(told), late);
    assert_eq!((teller.view(late).queue, teller.poll_output(late)), (0, None));
    teller.handle_ack(late, MirrorAck { sequence: 2, resync: false });
    assert_eq!(teller.poll_output(late), Some(Output::Walk));
    teller.tell_table((0..3).map(told).collect());
    let sent = sends(&mut teller, late);
    assert_eq!(
        sent.iter().map(|batch| (batch.sequence, batch.len(), batch.complete)).collect::<Vec<_>>(),
        [(3, 3, true)]
    );
    teller.handle_ack(late, MirrorAck { sequence: 3, resync: false });
    assert_eq!(teller.view(late).state, State::Warm);
}

#[test]
fn a_queue_that_is_too_long_is_told_as_a_table() {
    let now = Instant::now();
    let mut teller = warm(now);
    teller.tell((0..=QUEUE_MAX as u32).map(told), now);
    assert_eq!((teller.view(now).queue, teller.poll_output(now)), (0, Some(Output::Walk)));
}

#[test]
fn a_gap_is_answered_with_a_wish_for_everything() {
    let mut listener = Listener::default();
    listener.connected();
    let batch = |sequence, complete| Mirror {
        sequence,
        kind: MirrorKind::New,
        age_ms: 0,
        complete,
        hosts: [("h1".parse().unwrap(), vec![flow(1)])].into(),
    };
    let table = [(1, false, false, State::Cold), (2, true, false, State::Warm), (4, false, true, State::Lagging)];
    for (sequence, complete, resync, state) in table.into_iter().chain([(5, true, false, State::Warm)]) {
        assert_eq!(listener.handle(&batch(sequence, complete)), MirrorAck { sequence, resync });
        assert_eq!(listener.view().state, state, "{sequence}");
    }
    listener.disconnected();
    assert_eq!((listener.view().state, listener.ask()), (State::Cold, None));
}

#[derive(Clone, Debug)]
enum Step {
    Pin(u32),
    Forget(u32),
    /// This many batches arrive, and their answers.
    Deliver(usize),
    /// The next batch is dropped on its way to the connection.
    Drop,
    Reconnect,
    Wait,
    /// The program's records were lost.
    Lost(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u32..5_000).prop_map(Step::Pin),
        2 => (0u32..5_000).prop_map(Step::Forget),
        6 => (0usize..10).prop_map(Step::Deliver),
        1 => Just(Step::Drop),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Wait),
        1 => (0u32..5_000).prop_map(Step::Lost),
    ]
}

/// Both ends, with what each has.
struct World {
    now: Instant,
    teller: Teller,
    listener: Listener,
    own: BTreeSet<u32>,
    mirrored: BTreeSet<FlowKey>,
    under_way: std::collections::VecDeque<Mirror>,
}

impl World {
    fn new() -> Self {
        let (mut teller, mut listener) = (Teller::default(), Listener::default());
        teller.connected();
        listener.connected();
        let (own, mirrored, under_way) = Default::default();
        Self { now: Instant::now(), teller, listener, own, mirrored, under_way }
    }

    fn carry(&mut self) {
        while let Some(output) = self.teller.poll_output(self.now) {
            match output {
                Output::Walk => self.teller.tell_table(self.own.iter().copied().map(told).collect()),
                Output::Send(batch) => self.under_way.push_back(batch),
            }
        }
        assert!(self.under_way.len() <= WINDOW && self.teller.view(self.now).queue <= QUEUE_MAX + self.own.len());
    }

    fn deliver(&mut self) {
        let Some(batch) = self.under_way.pop_front() else { return };
        for flow in batch.hosts.values().flatten() {
            match batch.kind {
                MirrorKind::Forgotten => self.mirrored.remove(flow),
                _ => self.mirrored.insert(*flow),
            };
        }
        let ack = self.listener.handle(&batch);
        self.teller.handle_ack(self.now, ack);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            // Their batches are many, so that gaps and windows matter.
            Step::Pin(n) => {
                let flows = n..n + 300;
                self.own.extend(flows.clone());
                self.teller.tell(flows.map(told), self.now);
            }
            Step::Forget(n) => {
                let gone: Vec<u32> = (n..n + 300).filter(|n| self.own.remove(n)).collect();
                let kind = MirrorKind::Forgotten;
                self.teller.tell(gone.into_iter().map(|n| Told { kind, ..told(n) }), self.now);
            }
            Step::Deliver(batches) => (0..batches).for_each(|_| self.deliver()),
            Step::Drop => drop(self.under_way.pop_front()),
            Step::Reconnect => {
                self.under_way.clear();
                self.teller.disconnected();
                self.listener.disconnected();
                self.teller.connected();
                self.listener.connected();
            }
            Step::Wait => {
                self.now += LAG_MAX;
                self.teller.handle_timeout(self.now);
            }
            Step::Lost(n) => {
                self.own.insert(n);
                self.teller.resync();
            }
        }
        self.carry();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happened: once batches arrive again, and something is pinned, the peer has every flow that the owner has.
    #[test]
    fn a_mirror_that_is_warm_lacks_nothing(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        world.take(&Step::Pin(6_000));
        for _ in 0..200 {
            world.take(&Step::Deliver(WINDOW));
        }
        // If all that was under way was dropped, nobody answers until a connection begins.
        if world.teller.view(world.now).state != State::Warm {
            world.take(&Step::Reconnect);
            (0..200).for_each(|_| world.take(&Step::Deliver(WINDOW)));
        }
        prop_assert_eq!(world.teller.view(world.now).state, State::Warm);
        prop_assert_eq!(world.listener.view().state, State::Warm);
        prop_assert!(world.own.iter().all(|n| world.mirrored.contains(&flow(*n))));
    }
}
