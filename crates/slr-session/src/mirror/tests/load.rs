//! New flows at a rate, over a way with a round trip, to a peer that takes so many a second: what the window, the queue and the
//! states make of it. Time is the test's own, so that rates mean the same on any machine.

use std::collections::VecDeque;

use super::*;

const MS: Duration = Duration::from_millis(1);
/// The daemon's: how often new pins are read.
const READ_EVERY_MS: u64 = 20;
/// What a walk over the flow tables reads at once.
const PART: usize = 8_192;

/// Two members and the way between them, a millisecond at a time.
struct Way {
    now: Instant,
    ms: u64,
    one_way: Duration,
    /// Flows that the peer takes in a millisecond.
    takes_per_ms: usize,
    teller: Teller,
    listener: Listener,
    /// Flows so far, each a number.
    pinned: u32,
    /// Those that the daemon has read, and when.
    read: u32,
    read_at: Instant,
    walked: u32,
    /// What was in the table when the walk began. The rest is told as it comes.
    walk_end: u32,
    known: Vec<bool>,
    batches: VecDeque<(Instant, Mirror)>,
    answers: VecDeque<(Instant, MirrorAck)>,
    /// What the peer could have taken so far and has not.
    credit: usize,
}

impl Way {
    /// Both ends have everything.
    fn new(round_trip_ms: u64, takes_per_s: usize) -> Self {
        let now = Instant::now();
        let (mut teller, mut listener) = (Teller::default(), Listener::default());
        teller.connected();
        listener.connected();
        let mut way = Self {
            now,
            ms: 0,
            one_way: MS * round_trip_ms as u32 / 2,
            takes_per_ms: takes_per_s / 1_000,
            teller,
            listener,
            pinned: 0,
            read: 0,
            read_at: now,
            walked: 0,
            walk_end: 0,
            known: Vec::new(),
            batches: VecDeque::new(),
            answers: VecDeque::new(),
            credit: 0,
        };
        way.run(200, 0, |_| ());
        assert_eq!(way.states(), [State::Warm; 2]);
        way
    }

    /// As the teller and the listener say.
    fn states(&self) -> [State; 2] {
        [self.teller.view(self.now).state, self.listener.view().state]
    }

    fn run(&mut self, ms: u64, flows_per_s: u32, mut look: impl FnMut(&Self)) {
        for _ in 0..ms {
            self.now += MS;
            self.ms += 1;
            self.pinned += flows_per_s / 1_000;
            self.known.resize(self.pinned as usize, false);
            if self.ms.is_multiple_of(READ_EVERY_MS) {
                self.teller.tell((self.read..self.pinned).map(told), std::mem::replace(&mut self.read_at, self.now));
                self.read = self.pinned;
                self.teller.handle_timeout(self.now);
            }
            self.take();
            while self.answers.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, answer) = self.answers.pop_front().expect("it was just looked at");
                self.teller.handle_ack(self.now, answer);
            }
            self.send();
            look(self);
        }
    }

    /// The peer's end.
    fn take(&mut self) {
        self.credit = (self.credit + self.takes_per_ms).min(self.takes_per_ms + bounds::MIRROR_FLOWS_MAX);
        while self.batches.front().is_some_and(|(at, batch)| *at <= self.now && batch.len() <= self.credit) {
            let (_, batch) = self.batches.pop_front().expect("it was just looked at");
            self.credit -= batch.len();
            for flow in batch.hosts.values().flatten() {
                let std::net::IpAddr::V4(client) = flow.client().ip() else { unreachable!("all are of IPv4") };
                self.known[(client.to_bits() - 0x0a00_0000) as usize] = true;
            }
            let answer = self.listener.handle(&batch);
            self.answers.push_back((self.now + self.one_way, answer));
        }
    }

    fn send(&mut self) {
        loop {
            while self.teller.takes_table() {
                let end = self.walk_end.min(self.walked + PART as u32);
                self.teller.tell_table((self.walked..end).map(told).collect(), end == self.walk_end);
                self.walked = end;
            }
            match self.teller.poll_output(self.now) {
                // The table has what was pinned by now, read or not.
                Some(Output::Walk) => (self.walked, self.walk_end) = (0, self.pinned),
                Some(Output::Send(batch)) => self.batches.push_back((self.now + self.one_way, batch)),
                None => return,
            }
        }
    }
}

#[test]
fn the_window_is_enough_for_a_hundred_thousand_flows_a_second() {
    for round_trip_ms in [0, 1, 10, 30] {
        let mut way = Way::new(round_trip_ms, 150_000);
        way.run(3_000, 100_000, |way| assert_eq!(way.states(), [State::Warm; 2], "{round_trip_ms} ms, at {}", way.ms));
        let view = way.teller.view(way.now);
        assert!(view.lag.p99.unwrap() <= LATE, "{round_trip_ms} ms: {:?}", view.lag);
        assert_eq!(view.resyncs, 1, "the first one");
        way.run(200, 0, |_| ());
        assert!(way.known.iter().all(|known| *known));
    }
}

#[test]
fn more_than_the_peer_takes_is_lagging_at_both_ends_and_warm_again_afterwards() {
    let mut way = Way::new(10, 250_000);
    way.run(500, 100_000, |_| ());
    assert_eq!(way.states(), [State::Warm; 2]);
    // The peer takes five of eight: after 0.3 s the oldest has waited for more than 0.1 s, and the peer hears so.
    way.run(400, 400_000, |_| ());
    way.run(2_000, 400_000, |way| assert_eq!(way.states(), [State::Lagging; 2], "at {}", way.ms));
    assert!(way.teller.view(way.now).resyncs > 1, "the queue was too long, and everything is told again");
    let mut warm_after = None;
    let ended = way.ms;
    way.run(20_000, 100_000, |way| {
        if way.states() == [State::Warm; 2] {
            warm_after.get_or_insert(way.ms - ended);
        } else {
            assert_eq!(warm_after, None, "warm, and then not: at {}", way.ms);
        }
    });
    // A million flows in the table, and 150,000 a second that nothing else takes.
    assert!(warm_after.is_some_and(|ms| ms < 12_000), "{warm_after:?}");
    way.run(200, 0, |_| ());
    assert!(way.known.iter().all(|known| *known), "warm, and it lacks something");
}
