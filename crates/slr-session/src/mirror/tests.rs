mod load;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use slr_model::{FlowKey, Protocol};
use slr_wire::{Mirror, MirrorAck, bounds};

use super::*;

fn flow(n: u32) -> FlowKey {
    let client = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
    FlowKey::new((client, 40_000).into(), ([192, 0, 2, 9], 80).into(), Protocol::Tcp).unwrap()
}

fn told(n: u32) -> Told {
    Told { host: format!("h{}", n % 3).parse().unwrap(), flow: flow(n), kind: MirrorKind::New }
}

fn sends(teller: &mut Teller, now: Instant) -> Vec<Mirror> {
    let mut all = Vec::new();
    while let Some(output) = teller.poll_output(now) {
        match output {
            Output::Send(batch) => all.push(batch),
            Output::Walk => teller.tell_table(Vec::new(), true),
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
    teller.tell_table((0..3).map(told).collect(), true);
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
        lagging: false,
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

#[test]
fn what_is_late_is_said_by_both_ends_until_it_is_there() {
    let now = Instant::now();
    let (mut teller, mut listener) = (warm(now), Listener::default());
    listener.connected();
    let batch = Mirror {
        sequence: 1,
        kind: MirrorKind::New,
        age_ms: 0,
        complete: true,
        lagging: false,
        hosts: Default::default(),
    };
    listener.handle(&batch);
    teller.tell((0..2 * bounds::MIRROR_FLOWS_MAX as u32).map(told), now);
    let (soon, late) = (now + LATE, now + LATE + Duration::from_millis(1));
    assert_eq!((teller.view(soon).state, teller.view(late).state), (State::Warm, State::Lagging));
    let sent = sends(&mut teller, late);
    assert_eq!(sent.iter().map(|batch| batch.lagging).collect::<Vec<_>>(), [true, false], "the last one is the last");
    for (batch, state) in sent.iter().zip([State::Lagging, State::Warm]) {
        let ack = listener.handle(batch);
        assert_eq!(listener.view().state, state);
        assert_eq!(teller.view(late).state, State::Lagging, "sent is not taken");
        teller.handle_ack(late, ack);
    }
    assert_eq!(teller.view(late).state, State::Warm);
}

#[test]
fn flows_that_speak_are_told_of_behind_what_changes_and_as_there_is_room() {
    let now = Instant::now();
    let mut teller = Teller::default();
    assert!(teller.takes_again(), "nobody is waited for who is not there");
    teller.tell_again(vec![told(1)]);
    assert_eq!(teller.view(now).queue, 0);
    teller = warm(now);
    let again = |range: std::ops::Range<u32>| range.map(|n| Told { kind: MirrorKind::Proven, ..told(n) }).collect();
    teller.tell_again(again(0..100_000));
    assert!(!teller.takes_again());
    teller.tell([told(200_000)], now);
    let sent = sends(&mut teller, now);
    assert_eq!((sent[0].kind, sent[0].len()), (MirrorKind::New, 1));
    assert!(sent[1..].iter().all(|batch| batch.kind == MirrorKind::Proven && !batch.lagging && !batch.complete));
    for sequence in 2..1_000 {
        teller.handle_ack(now + Duration::from_secs(1), MirrorAck { sequence, resync: false });
        sends(&mut teller, now);
    }
    assert!(teller.takes_again());
    assert_eq!(
        teller.view(now).resyncs,
        1,
        "the first one; a hundred thousand flows that speak are no reason for another"
    );
    assert_eq!(teller.view(now).lag.max, Some(Duration::from_secs(1)), "of what has changed only");
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
    /// The first flow that the walk over the table has not come to.
    reading: u32,
}

/// What a walk reads at once.
const PART: usize = 1_500;

impl World {
    fn new() -> Self {
        let (mut teller, mut listener) = (Teller::default(), Listener::default());
        teller.connected();
        listener.connected();
        let (own, mirrored, under_way, reading) = Default::default();
        Self { now: Instant::now(), teller, listener, own, mirrored, under_way, reading }
    }

    fn carry(&mut self) {
        self.read();
        while let Some(output) = self.teller.poll_output(self.now) {
            match output {
                Output::Walk => self.reading = 0,
                Output::Send(batch) => self.under_way.push_back(batch),
            }
            self.read();
        }
        let waiting = WINDOW * bounds::MIRROR_FLOWS_MAX + PART;
        assert!(self.under_way.len() <= WINDOW && self.teller.view(self.now).queue <= QUEUE_MAX + waiting);
    }

    fn read(&mut self) {
        while self.teller.takes_table() {
            let part: Vec<u32> = self.own.range(self.reading..).copied().take(PART).collect();
            self.reading = part.last().map_or(u32::MAX, |last| last + 1);
            let is_last = self.own.range(self.reading..).next().is_none();
            self.teller.tell_table(part.into_iter().map(told).collect(), is_last);
        }
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
