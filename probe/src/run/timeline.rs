//! What a flow did when: the time it spent waiting, and a bounded record of its sends and its progress.
//!
//! Pure: every instant is an argument. A flow **waits** from the first thing it sends that is owed an answer until
//! nothing is owed any more; **progress** is any byte or answer that arrives (for an upload, any byte that the
//! connection takes). A **gap** is a stretch of waiting without progress. Time in which nothing was asked is no gap,
//! so the longest gap of a flow that speaks once a minute is still its network's and its server's.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Events nearer than this are recorded as one span: the resolution of what can be computed from the record later.
/// A millisecond is the resolution of the runtime's own timers.
pub const SPAN_MERGE: Duration = Duration::from_millis(1);
/// Spans kept of each kind per flow, the newest. A flow that speaks every 50 ms fills it in 100 s; a thousand such
/// flows take 96 MB at most.
pub const SPANS_KEPT: usize = 2048;

/// Events with less than [`SPAN_MERGE`] between each and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: Instant,
    pub last: Instant,
    pub events: u32,
}

/// The newest spans of one kind of event.
#[derive(Debug, Default)]
pub struct Spans {
    kept: VecDeque<Span>,
    /// Spans dropped because newer ones came.
    pub forgotten: u64,
}

impl Spans {
    fn add(&mut self, now: Instant) {
        if let Some(span) = self.kept.back_mut()
            && now.saturating_duration_since(span.last) <= SPAN_MERGE
        {
            span.last = span.last.max(now);
            span.events = span.events.saturating_add(1);
            return;
        }
        if self.kept.len() == SPANS_KEPT {
            self.kept.pop_front();
            self.forgotten += 1;
        }
        self.kept.push_back(Span { first: now, last: now, events: 1 });
    }

    /// The spans, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Span> {
        self.kept.iter()
    }
}

/// One flow's waiting, and what it did when if that is asked for.
#[derive(Debug)]
pub struct Timeline {
    recording: bool,
    waiting_since: Option<Instant>,
    longest_gap: Duration,
    pub sends: Spans,
    pub progress: Spans,
}

impl Timeline {
    /// An empty record; spans are kept only when `recording`.
    pub fn new(recording: bool) -> Self {
        Self {
            recording,
            waiting_since: None,
            longest_gap: Duration::ZERO,
            sends: Spans::default(),
            progress: Spans::default(),
        }
    }

    /// Something that is owed an answer left.
    pub fn sent(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
        if self.recording {
            self.sends.add(now);
        }
    }

    /// Something arrived; `still_owed` when more has to.
    pub fn progressed(&mut self, now: Instant, still_owed: bool) {
        self.close_gap(now);
        if still_owed {
            self.waiting_since = Some(now);
        }
        if self.recording {
            self.progress.add(now);
        }
    }

    /// What had arrived turned out to be all.
    pub fn settled(&mut self) {
        self.waiting_since = None;
    }

    /// The flow ended; what it was still waiting for counts as a gap up to here.
    pub fn ended(&mut self, now: Instant) {
        self.close_gap(now);
    }

    /// Since when the flow has been waiting without progress.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// The longest gap so far.
    pub fn longest_gap(&self) -> Duration {
        self.longest_gap
    }

    fn close_gap(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.longest_gap = self.longest_gap.max(now.saturating_duration_since(since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Event {
        Sent(u64),
        Progress(u64),
        LastProgress(u64),
        End(u64),
    }
    use Event::*;

    fn longest_gap_ms(events: &[Event]) -> u128 {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timeline = Timeline::new(false);
        for event in events {
            match *event {
                Sent(ms) => timeline.sent(at(ms)),
                Progress(ms) => timeline.progressed(at(ms), true),
                LastProgress(ms) => timeline.progressed(at(ms), false),
                End(ms) => timeline.ended(at(ms)),
            }
        }
        timeline.longest_gap().as_millis()
    }

    #[test]
    fn gaps() {
        let cases: [(&str, &[Event], u128); 9] = [
            ("nothing happened", &[End(1000)], 0),
            ("one answer", &[Sent(0), LastProgress(12), End(500)], 12),
            ("idle time is no gap", &[Sent(0), LastProgress(5), Sent(900), LastProgress(907), End(2000)], 7),
            ("a download that pauses", &[Sent(0), Progress(5), Progress(9), Progress(309), LastProgress(310)], 300),
            ("never answered", &[Sent(10), End(5010)], 5000),
            ("cut while waiting", &[Sent(0), Progress(5), End(205)], 200),
            ("waiting starts at the first of several sends", &[Sent(0), Sent(100), Sent(200), LastProgress(250)], 250),
            ("progress with more owed restarts the clock", &[Sent(0), Sent(10), Progress(20), LastProgress(95)], 75),
            ("unasked progress closes nothing", &[LastProgress(400), Sent(500), LastProgress(501)], 1),
        ];
        for (name, events, gap) in cases {
            assert_eq!(longest_gap_ms(events), gap, "{name}");
        }
    }

    #[test]
    fn settled_waits_for_nothing() {
        let start = Instant::now();
        let mut timeline = Timeline::new(false);
        timeline.sent(start);
        timeline.progressed(start + Duration::from_millis(3), true);
        timeline.settled();
        timeline.ended(start + Duration::from_secs(9));
        assert_eq!(timeline.longest_gap(), Duration::from_millis(3));
    }

    #[test]
    fn near_events_share_a_span_and_old_spans_are_forgotten() {
        let start = Instant::now();
        let mut spans = Spans::default();
        for us in [0, 400, 1_300, 2_400, 2_500] {
            spans.add(start + Duration::from_micros(us));
        }
        let found: Vec<_> = spans.iter().map(|span| (span.events, (span.last - span.first).as_micros())).collect();
        assert_eq!(found, [(3, 1_300), (2, 100)]);

        for ms in 0..SPANS_KEPT as u64 {
            spans.add(start + Duration::from_millis(10 + 2 * ms));
        }
        assert_eq!(spans.iter().count(), SPANS_KEPT);
        assert_eq!(spans.forgotten, 2);
    }

    #[test]
    fn spans_are_kept_only_when_asked_for() {
        let now = Instant::now();
        for recording in [false, true] {
            let mut timeline = Timeline::new(recording);
            timeline.sent(now);
            timeline.progressed(now, false);
            assert_eq!(timeline.sends.iter().count(), usize::from(recording));
            assert_eq!(timeline.progress.iter().count(), usize::from(recording));
        }
    }
}
