//! Connections whose host is down, and whose client may only listen: it would wait until it gives up, since nobody answers what it
//! does not send (RFC 9293 3.5.1 calls them half-open).
//!
//! Each is nudged twice, by a segment that the client has to answer. The answer is a packet of a flow that nobody has; what becomes of
//! such a packet becomes of it: it goes through the hosts of its slot, is asked about, and draws a reset with numbers that the client
//! accepts. The first nudge waits, so that a host which comes back at once keeps its connections, and so that other routers know
//! that it is down.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use slr_model::FlowKey;

/// From the end of the host to the first nudge: with the 0.8 to 1.3 s until a host is down, connections end within 3 s of the failure.
pub const FIRST_AFTER: Duration = Duration::from_millis(700);
/// From there to the second, in case the first was lost. Linux answers one such segment of a connection in 500 ms.
pub const AGAIN_AFTER: Duration = Duration::from_millis(600);
/// How many have their turn at once, and how often: 5,000 a second, which the search for their answers can bear.
pub const AT_ONCE: usize = 50;
const EVERY: Duration = Duration::from_millis(10);
/// Sequence numbers of the two: so far apart that one of them at least is outside the client's window.
pub const SEQUENCES: [u32; 2] = [0, 1 << 31];
/// Connections that wait. Those beyond find out by themselves.
pub const WAITING_MAX: usize = 65_536;

/// What became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Nudges that were due, to connections.
    pub nudged: u64,
    /// Connections for which there was no room.
    pub refused: u64,
}

/// Those that wait for their nudges.
#[derive(Debug, Default)]
pub struct HalfOpen {
    /// In the order of their time.
    first: VecDeque<(Instant, FlowKey)>,
    again: VecDeque<(Instant, FlowKey)>,
    /// No sooner than this.
    paced_at: Option<Instant>,
    counters: Counters,
}

impl HalfOpen {
    /// The host of these connections went down at `now`, which is not before that of an earlier call.
    pub fn add(&mut self, flows: impl IntoIterator<Item = FlowKey>, now: Instant) {
        for flow in flows {
            if self.first.len() + self.again.len() < WAITING_MAX {
                self.first.push_back((now + FIRST_AFTER, flow));
            } else {
                self.counters.refused += 1;
            }
        }
    }

    /// When [`HalfOpen::poll`] has something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next =
            [&self.first, &self.again].into_iter().filter_map(|queue| queue.front().map(|(due, _)| *due)).min()?;
        Some(self.paced_at.map_or(next, |at| next.max(at)))
    }

    /// Who is to be nudged now, and with which of the numbers. `is_over` says of one that it has a host by now: it is left alone.
    pub fn poll(&mut self, now: Instant, mut is_over: impl FnMut(&FlowKey) -> bool) -> Vec<(FlowKey, u32)> {
        let mut due = Vec::new();
        if self.paced_at.is_some_and(|at| now < at) {
            return due;
        }
        for _ in 0..AT_ONCE {
            let (flow, is_first) = match next(&mut self.again, now) {
                Some(flow) => (flow, false),
                None => match next(&mut self.first, now) {
                    Some(flow) => (flow, true),
                    None => break,
                },
            };
            self.paced_at = Some(now + EVERY);
            if is_over(&flow) {
                continue;
            }
            due.push((flow, SEQUENCES[usize::from(!is_first)]));
            if is_first {
                self.again.push_back((now + AGAIN_AFTER, flow));
            }
        }
        self.counters.nudged += due.len() as u64;
        due
    }

    /// So far.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

fn next(queue: &mut VecDeque<(Instant, FlowKey)>, now: Instant) -> Option<FlowKey> {
    queue.front().is_some_and(|(due, _)| *due <= now).then(|| queue.pop_front()).flatten().map(|(_, flow)| flow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(n: u16) -> FlowKey {
        format!("tcp 198.51.100.7:{n} > 192.0.2.9:80").parse().unwrap()
    }

    /// Lets time pass; when which were nudged, in milliseconds.
    fn run(
        half_open: &mut HalfOpen,
        begun: Instant,
        is_over: impl Fn(&FlowKey) -> bool,
    ) -> Vec<(u128, Vec<(FlowKey, u32)>)> {
        let mut seen = Vec::new();
        while let Some(at) = half_open.poll_timeout() {
            let nudged = half_open.poll(at, &is_over);
            if !nudged.is_empty() {
                seen.push(((at - begun).as_millis(), nudged));
            }
        }
        seen
    }

    #[test]
    fn each_is_nudged_twice_at_its_time_unless_it_has_a_host_by_then() {
        let begun = Instant::now();
        let mut half_open = HalfOpen::default();
        assert_eq!(half_open.poll_timeout(), None);
        half_open.add([flow(1), flow(2)], begun);
        half_open.add([flow(3)], begun + Duration::from_millis(100));
        assert_eq!(half_open.poll(begun + FIRST_AFTER - Duration::from_millis(1), |_| false), []);
        let seen = run(&mut half_open, begun, |one| *one == flow(2));
        let expected = [(700, 1, 0), (800, 3, 0), (1_300, 1, 1), (1_400, 3, 1)];
        assert_eq!(seen, expected.map(|(at, n, round)| (at, vec![(flow(n), SEQUENCES[round])])));
        assert_eq!(half_open.counters(), Counters { nudged: 4, refused: 0 });
    }

    #[test]
    fn many_are_nudged_one_after_the_other_and_too_many_not_at_all() {
        let begun = Instant::now();
        let mut half_open = HalfOpen::default();
        half_open.add((0..WAITING_MAX + 7).map(|n| flow(n as u16)), begun);
        assert_eq!(half_open.counters().refused, 7);
        let seen = run(&mut half_open, begun, |_| false);
        assert!(seen.windows(2).all(|pair| pair[1].0 - pair[0].0 >= EVERY.as_millis()));
        assert!(seen.iter().all(|(_, nudged)| nudged.len() <= AT_ONCE));
        assert_eq!(half_open.counters().nudged, 2 * WAITING_MAX as u64);
    }
}
