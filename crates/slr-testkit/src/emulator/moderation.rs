//! Interrupt moderation, as a network card does it: under a dense stream of frames, wake up less often.
//!
//! Being woken for every frame costs more than carrying it, and preempts the sender each time. So once one direction of a
//! link is dense, the loop lets frames gather for a moment before it looks again. A conversation that waits for each
//! answer is never dense in one direction, whatever its speed, and sees no added delay.

use std::time::{Duration, Instant};

/// Density is judged anew this often.
const WINDOW: Duration = Duration::from_millis(1);
/// Frames in one direction in one window from which on it is dense: 30,000 per second.
const DENSE_FRAMES: usize = 30;
/// How long frames gather: a quarter of what the emulator may add to a delay.
const GATHER: Duration = Duration::from_micros(50);

/// Decides how long to gather frames; pure.
#[derive(Debug, Default)]
pub(super) struct Moderation {
    window_end: Option<Instant>,
    densest_now: usize,
    is_dense: bool,
}

impl Moderation {
    /// Notes that a direction has received `frames_in_window` frames since the window began; see [`Self::begin_turn`].
    pub(super) fn handle_frames(&mut self, frames_in_window: usize) {
        self.densest_now = self.densest_now.max(frames_in_window);
        self.is_dense |= frames_in_window >= DENSE_FRAMES;
    }

    /// Begins a turn of the loop; true if a new window begins and counts start from zero.
    pub(super) fn begin_turn(&mut self, now: Instant) -> bool {
        if self.window_end.is_some_and(|end| now < end) {
            return false;
        }
        self.is_dense = self.densest_now >= DENSE_FRAMES;
        self.densest_now = 0;
        self.window_end = Some(now + WINDOW);
        true
    }

    /// How long to let frames gather before the next look, at most until `deadline`; `None` to look at once.
    pub(super) fn pause(&self, now: Instant, deadline: Option<Instant>) -> Option<Duration> {
        let until_deadline = deadline.map_or(GATHER, |deadline| deadline.saturating_duration_since(now));
        self.is_dense.then_some(GATHER.min(until_deadline)).filter(|pause| !pause.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dense_direction_gathers_until_a_sparse_window_has_passed() {
        let (mut moderation, start) = (Moderation::default(), Instant::now());
        assert!(moderation.begin_turn(start));
        moderation.handle_frames(DENSE_FRAMES - 1);
        assert_eq!(moderation.pause(start, None), None);
        moderation.handle_frames(DENSE_FRAMES);
        assert_eq!(moderation.pause(start, None), Some(GATHER));
        assert!(!moderation.begin_turn(start + WINDOW / 2));
        assert!(moderation.begin_turn(start + WINDOW));
        assert_eq!(moderation.pause(start, None), Some(GATHER), "the window just ended was dense");
        moderation.handle_frames(1);
        assert!(moderation.begin_turn(start + 2 * WINDOW));
        assert_eq!(moderation.pause(start, None), None);
    }

    #[test]
    fn gathering_ends_at_the_next_deadline() {
        let (mut moderation, now) = (Moderation::default(), Instant::now());
        moderation.begin_turn(now);
        moderation.handle_frames(DENSE_FRAMES);
        let soon = Duration::from_micros(7);
        assert_eq!(moderation.pause(now, Some(now + soon)), Some(soon));
        assert_eq!(moderation.pause(now, Some(now)), None);
        assert_eq!(moderation.pause(now, Some(now + WINDOW)), Some(GATHER));
    }
}
