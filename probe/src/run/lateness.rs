//! The probe's own measuring error: how much later than asked it runs.
//!
//! Every flow shares one thread. When that thread is busy, or the machine does not run it, progress is *noticed* late
//! and looks like a gap. A tick at a fixed interval measures just that: no gap shorter than the lateness reported
//! beside it says anything about the network. (The runtime's timers round up to a millisecond, so an idle machine
//! shows about one.)

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::histogram;

/// Time between two ticks: several in any gap worth reporting, at a cost of 200 wake-ups a second.
const TICK: Duration = Duration::from_millis(5);

/// Lateness of every tick, in microseconds.
pub struct Lateness {
    pub late_us: Histogram<u64>,
    /// Ticks that were wholly missed because the one before came that late.
    pub missed: u64,
}

impl Lateness {
    /// No ticks yet.
    pub fn new() -> Self {
        Self { late_us: histogram::empty(), missed: 0 }
    }

    /// A tick due at `due` came at `now`. Returns when the next one is due: on the same grid, after `now`.
    fn ticked(&mut self, due: Instant, now: Instant) -> Instant {
        let late = now.saturating_duration_since(due);
        histogram::record(&mut self.late_us, late);
        let skipped = (late.as_nanos() / TICK.as_nanos()) as u32;
        self.missed += u64::from(skipped);
        due + TICK * (skipped + 1)
    }
}

/// Ticks until its task is aborted.
pub async fn measure(lateness: Rc<RefCell<Lateness>>) {
    let mut due = Instant::now() + TICK;
    loop {
        tokio::time::sleep_until(due.into()).await;
        due = lateness.borrow_mut().ticked(due, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_tick_keeps_the_grid_and_counts_what_it_missed() {
        let start = Instant::now();
        let mut lateness = Lateness::new();
        let next = lateness.ticked(start, start + Duration::from_micros(300));
        assert_eq!(next, start + TICK);
        let next = lateness.ticked(next, next + Duration::from_millis(12));
        assert_eq!(next, start + 4 * TICK);
        assert_eq!(lateness.missed, 2);
        assert_eq!(lateness.late_us.len(), 2);
        assert!(lateness.late_us.max().abs_diff(12_000) < 20);
    }

    #[test]
    fn a_tick_before_its_time_is_not_late() {
        let start = Instant::now();
        let mut lateness = Lateness::new();
        assert_eq!(lateness.ticked(start + TICK, start), start + 2 * TICK);
        assert_eq!(lateness.late_us.max(), 0);
    }
}
