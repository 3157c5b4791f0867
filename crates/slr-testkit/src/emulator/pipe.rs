//! One direction of an emulated link, as a pure queue: frames and `now` go in, frames and the next deadline come out.
//!
//! The order of decisions is that of a real line: blackhole, random loss, the sender's rate with its queue in front, then
//! the delay of the wire. Frames of one direction never overtake each other, also when the delay changes meanwhile.

use super::{Counters, Shape};
use crate::seed::Rng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long frames may wait for a slow rate before the queue is full. Tail drop at 50 ms is a moderately buffered router.
const RATE_QUEUE: Duration = Duration::from_millis(50);
/// A slow rate's queue still holds this much, or a burst of one window would never pass 1 Mbit/s.
const RATE_QUEUE_BYTES_MIN: u64 = 64 * 1024;
/// How far the line may have idled and still catch up: hides the emulator's own scheduling delays from the rate.
const RATE_CATCH_UP: Duration = Duration::from_millis(1);
/// Memory of one direction: 1 Gbit/s for half a second.
const WIRE_BYTES_MAX: usize = 64 << 20;
/// The same in frames, for small ones.
const WIRE_FRAMES_MAX: usize = 1 << 17;

struct OnTheWire<T> {
    due: Instant,
    len: usize,
    frame: T,
}

/// One direction of a link; `T` is whatever holds a frame's bytes.
pub struct Pipe<T> {
    shape: Shape,
    rng: Rng,
    /// Ordered by `due`.
    wire: VecDeque<OnTheWire<T>>,
    wire_bytes: usize,
    /// When the sender has put everything accepted so far onto the line; only the rate moves it.
    line_free_at: Option<Instant>,
    counters: Counters,
}

impl<T> Pipe<T> {
    /// An empty direction; `rng` decides the losses.
    #[must_use]
    pub fn new(shape: Shape, rng: Rng) -> Self {
        Self { shape, rng, wire: VecDeque::new(), wire_bytes: 0, line_free_at: None, counters: Counters::default() }
    }

    /// Takes a frame of `len` bytes in at `now`, or loses it.
    pub fn handle_input(&mut self, now: Instant, len: usize, frame: T) {
        if self.shape.blackhole {
            self.counters.blackholed += 1;
        } else if self.rng.chance(self.shape.loss) {
            self.counters.lost += 1;
        } else if self.wire.len() >= WIRE_FRAMES_MAX || self.wire_bytes + len > WIRE_BYTES_MAX {
            self.counters.wire_full += 1;
        } else if let Some(departure) = self.departure(now, len) {
            let due = departure + Duration::from_micros(self.shape.delay_us);
            let due = self.wire.back().map_or(due, |last| due.max(last.due));
            self.wire.push_back(OnTheWire { due, len, frame });
            self.wire_bytes += len;
        } else {
            self.counters.queue_full += 1;
        }
    }

    /// The next frame that has arrived by `now`. Call until `None`.
    pub fn poll_output(&mut self, now: Instant) -> Option<T> {
        self.wire.front().filter(|first| first.due <= now)?;
        let arrived = self.wire.pop_front()?;
        self.wire_bytes -= arrived.len;
        self.counters.frames += 1;
        self.counters.bytes += arrived.len as u64;
        Some(arrived.frame)
    }

    /// When the next frame arrives, if one is on the wire.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wire.front().map(|first| first.due)
    }

    /// Changes the emulation from `now` on. A shorter delay also brings frames on the wire forward; a beginning blackhole
    /// swallows them.
    pub fn set_shape(&mut self, now: Instant, shape: Shape) {
        if shape.blackhole {
            self.counters.blackholed += self.wire.len() as u64;
            self.wire.clear();
            self.wire_bytes = 0;
        }
        let shorter_by = Duration::from_micros(self.shape.delay_us.saturating_sub(shape.delay_us));
        for frame in &mut self.wire {
            frame.due = frame.due.checked_sub(shorter_by).map_or(now, |due| due.max(now));
        }
        if shape.rate_bps != self.shape.rate_bps {
            self.line_free_at = None;
        }
        self.shape = shape;
    }

    /// The emulation in force.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// For what only the socket edge sees: a frame handed out that could not be sent, frames the kernel dropped.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// When the last bit of a frame leaves the sender at the configured rate; `None` when its queue is full.
    fn departure(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.shape.rate_bps else { return Some(now) };
        let earliest = now.checked_sub(RATE_CATCH_UP).unwrap_or(now);
        let start = self.line_free_at.map_or(now, |free| free.max(earliest));
        let limit = RATE_QUEUE.max(time_to_send(RATE_QUEUE_BYTES_MIN, rate.get()));
        if start.saturating_duration_since(now) > limit {
            return None;
        }
        let end = start + time_to_send(len as u64, rate.get());
        self.line_free_at = Some(end);
        Some(end.max(now))
    }
}

fn time_to_send(bytes: u64, rate_bps: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(8).saturating_mul(1_000_000_000) / rate_bps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    const MS: Duration = Duration::from_millis(1);

    fn pipe(shape: Shape) -> (Pipe<u32>, Instant) {
        (Pipe::new(shape, Rng::new(7)), Instant::now())
    }

    fn drain(pipe: &mut Pipe<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| pipe.poll_output(now)).collect()
    }

    #[test]
    fn without_emulation_a_frame_arrives_at_once() {
        let (mut pipe, now) = pipe(Shape::default());
        pipe.handle_input(now, 100, 1);
        assert_eq!(pipe.poll_timeout(), Some(now));
        assert_eq!(drain(&mut pipe, now), [1]);
        assert_eq!((pipe.counters().frames, pipe.counters().bytes, pipe.poll_timeout()), (1, 100, None));
    }

    #[test]
    fn a_delayed_frame_arrives_at_its_deadline_and_not_before() {
        let (mut pipe, now) = pipe(Shape { delay_us: 5_000, ..Shape::default() });
        pipe.handle_input(now, 100, 1);
        pipe.handle_input(now + MS, 100, 2);
        assert_eq!(pipe.poll_timeout(), Some(now + 5 * MS));
        assert!(drain(&mut pipe, now + 5 * MS - Duration::from_nanos(1)).is_empty());
        assert_eq!(drain(&mut pipe, now + 5 * MS), [1]);
        assert_eq!(pipe.poll_timeout(), Some(now + 6 * MS));
        assert_eq!(drain(&mut pipe, now + 6 * MS), [2]);
    }

    #[test]
    fn a_blackhole_swallows_what_comes_and_what_is_on_the_wire_until_it_ends() {
        let (mut pipe, now) = pipe(Shape { delay_us: 5_000, ..Shape::default() });
        pipe.handle_input(now, 100, 1);
        pipe.set_shape(now, Shape { blackhole: true, ..Shape::default() });
        pipe.handle_input(now, 100, 2);
        assert!(drain(&mut pipe, now + 10 * MS).is_empty());
        pipe.set_shape(now + 10 * MS, Shape::default());
        pipe.handle_input(now + 10 * MS, 100, 3);
        assert_eq!(drain(&mut pipe, now + 10 * MS), [3]);
        assert_eq!((pipe.counters().blackholed, pipe.counters().frames), (2, 1));
    }

    #[test]
    fn loss_converges_to_its_probability() {
        for loss in [0.01, 0.1, 0.5] {
            let (mut pipe, now) = pipe(Shape { loss, ..Shape::default() });
            let offered = 200_000_u32;
            for n in 0..offered {
                pipe.handle_input(now, 100, n);
                drain(&mut pipe, now);
            }
            let seen = f64::from(u32::try_from(pipe.counters().lost).unwrap()) / f64::from(offered);
            let four_sigma = 4.0 * (loss * (1.0 - loss) / f64::from(offered)).sqrt();
            assert!((seen - loss).abs() < four_sigma, "loss {loss}: {seen} seen, {four_sigma} allowed");
            assert_eq!(pipe.counters().lost + pipe.counters().frames, u64::from(offered));
        }
    }

    #[test]
    fn the_rate_holds_under_overload_and_the_queue_stays_bounded() {
        let rate = 10_000_000;
        let (mut pipe, start) = pipe(Shape { rate_bps: NonZeroU64::new(rate), ..Shape::default() });
        let mut bytes_at_half = 0;
        for tick in 0..2_000_u32 {
            let now = start + tick * MS;
            for _ in 0..3 {
                pipe.handle_input(now, 1_000, tick); // 24 Mbit/s offered
            }
            drain(&mut pipe, now);
            if tick == 1_000 {
                bytes_at_half = pipe.counters().bytes;
            }
        }
        let in_last_second = (pipe.counters().bytes - bytes_at_half) * 8;
        assert!(in_last_second.abs_diff(rate) < rate / 100, "{in_last_second} bit in the last second");
        assert!(pipe.counters().queue_full > 0);
        let waiting = pipe.poll_timeout().map_or(0, |_| pipe.wire_bytes);
        assert!(waiting <= 80_000, "{waiting} bytes wait: more than the queue of 64 KiB and a frame");
    }

    #[test]
    fn a_rate_below_capacity_adds_only_the_time_to_send() {
        let (mut pipe, now) = pipe(Shape { rate_bps: NonZeroU64::new(8_000_000), delay_us: 2_000, ..Shape::default() });
        pipe.handle_input(now, 1_000, 1);
        assert_eq!(pipe.poll_timeout(), Some(now + 3 * MS));
    }

    #[test]
    fn whatever_changes_meanwhile_frames_never_overtake_each_other() {
        let seed = crate::seed::announced_seed("frames_never_overtake");
        let mut rng = Rng::new(seed);
        let (mut pipe, mut now) = pipe(Shape::default());
        let (mut arrived, mut deadline_misses) = (Vec::new(), 0);
        for n in 0..50_000 {
            now += Duration::from_micros(rng.below(300));
            if rng.chance(0.01) {
                let shape = Shape {
                    delay_us: rng.below(20_000),
                    loss: 0.2,
                    rate_bps: NonZeroU64::new(rng.below(3) * 50_000_000),
                    blackhole: rng.chance(0.05),
                };
                pipe.set_shape(now, shape);
            }
            pipe.handle_input(now, 60 + usize::try_from(rng.below(1_400)).unwrap(), n);
            arrived.extend(drain(&mut pipe, now));
            deadline_misses += u32::from(pipe.poll_timeout().is_some_and(|due| due <= now));
        }
        arrived.extend(drain(&mut pipe, now + 1_000 * MS));
        assert!(arrived.is_sorted(), "seed {seed}");
        assert_eq!(deadline_misses, 0, "a drained pipe has no deadline in the past");
        let Counters { frames, lost, blackholed, queue_full, wire_full, .. } = pipe.counters();
        assert_eq!(frames, arrived.len() as u64);
        assert_eq!(frames + lost + blackholed + queue_full + wire_full, 50_000, "every frame is accounted for");
    }

    #[test]
    fn memory_is_bounded_in_bytes_and_frames() {
        let (mut pipe, now) = pipe(Shape { delay_us: 1_000_000, ..Shape::default() });
        for n in 0..(WIRE_FRAMES_MAX as u32 + 5) {
            pipe.handle_input(now, 60, n);
        }
        assert_eq!((pipe.wire.len(), pipe.counters().wire_full), (WIRE_FRAMES_MAX, 5));
        drain(&mut pipe, now + 1_000 * MS);
        for n in 0..1_100 {
            pipe.handle_input(now, 65_536, n);
        }
        assert!(pipe.wire_bytes <= WIRE_BYTES_MAX && pipe.counters().wire_full == 5 + 76);
    }
}
