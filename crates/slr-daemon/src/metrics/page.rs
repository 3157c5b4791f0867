//! What the exporter knows, and its answers: pure, but for the instant that is handed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::exporter::Snapshot;
use super::text::{Family, Kind, Text};

/// A loop that has not turned for so long is stuck: each has a timer of 5 s.
pub const TURN_AGE_MAX: Duration = Duration::from_secs(15);

/// What is said of every daemon.
pub const COMMON: &[Family] = &[INFO, READY, TURN_AGE, SNAPSHOT_AGE];
const INFO: Family = Family {
    name: "slr_daemon_info",
    kind: Kind::Gauge,
    labels: &["version"],
    help: "Always 1; the daemon's version.",
};
const READY: Family = Family {
    name: "slr_daemon_ready",
    kind: Kind::Gauge,
    labels: &[],
    help: "1 if /readyz says yes: a configuration is in force and the data plane is attached.",
};
const TURN_AGE: Family = Family {
    name: "slr_daemon_turn_age_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "Time since the control loop turned last; /healthz says no from 15 on.",
};
const SNAPSHOT_AGE: Family = Family {
    name: "slr_daemon_snapshot_age_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "Age of what this page says.",
};

/// Between the loop and the thread.
pub struct Page {
    start: Instant,
    /// Milliseconds from `start` to the loop's last turn.
    turned_ms: AtomicU64,
    /// Ready, or why not.
    ready: ArcSwap<Result<(), String>>,
    snapshot: ArcSwapOption<(Instant, Box<dyn Snapshot>)>,
}

impl Page {
    pub fn new(now: Instant) -> Self {
        let starting = Err("it is starting: no configuration is in force yet".to_owned());
        Self {
            start: now,
            turned_ms: AtomicU64::new(0),
            ready: ArcSwap::from_pointee(starting),
            snapshot: ArcSwapOption::empty(),
        }
    }

    pub fn turned(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.start).as_millis();
        self.turned_ms.store(u64::try_from(passed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn set_ready(&self, ready: Result<(), String>) {
        if **self.ready.load() != ready {
            self.ready.store(Arc::new(ready));
        }
    }

    pub fn publish(&self, snapshot: Box<dyn Snapshot>, now: Instant) {
        self.snapshot.store(Some(Arc::new((now, snapshot))));
    }

    fn turn_age(&self, now: Instant) -> Duration {
        let turned = self.start + Duration::from_millis(self.turned_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(turned)
    }

    /// Whether the loop turns; if not, why that is thought.
    pub fn health(&self, now: Instant) -> Result<(), String> {
        let age = self.turn_age(now);
        if age < TURN_AGE_MAX {
            return Ok(());
        }
        Err(format!(
            "the control loop has not turned for {} s: restart the daemon, packets keep flowing",
            age.as_secs()
        ))
    }

    /// Whether the daemon does its work; if not, why not.
    pub fn readiness(&self, now: Instant) -> Result<(), String> {
        self.health(now)?;
        (**self.ready.load()).clone()
    }

    /// All figures.
    pub fn metrics(&self, now: Instant) -> String {
        let mut text = Text::new();
        text.family(&INFO).add(&[env!("CARGO_PKG_VERSION")], 1_u64);
        text.family(&READY).add(&[], self.readiness(now).is_ok());
        text.family(&TURN_AGE).add(&[], self.turn_age(now).as_secs_f64());
        if let Some(snapshot) = self.snapshot.load_full() {
            let (taken, snapshot) = &*snapshot;
            text.family(&SNAPSHOT_AGE).add(&[], now.saturating_duration_since(*taken).as_secs_f64());
            snapshot.write(&mut text);
        }
        text.into_page()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_a_loop_that_turns_and_readiness_what_it_says() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let page = Page::new(start);
        assert_eq!(page.health(at(1)), Ok(()));
        assert!(page.readiness(at(1)).unwrap_err().contains("starting"));
        page.set_ready(Ok(()));
        assert_eq!(page.readiness(at(14)), Ok(()));
        assert!(page.health(at(15)).unwrap_err().contains("has not turned for 15 s"));
        assert!(page.readiness(at(15)).is_err(), "stuck is not ready");
        page.turned(at(15));
        assert_eq!((page.health(at(29)), page.readiness(at(29))), (Ok(()), Ok(())));
        page.set_ready(Err("no interface takes the program".into()));
        assert_eq!(page.readiness(at(16)), Err("no interface takes the program".into()));
    }

    #[test]
    fn a_page_says_how_old_it_is() {
        struct Nothing;
        impl Snapshot for Nothing {
            fn write(&self, _: &mut Text) {}
        }
        let start = Instant::now();
        let page = Page::new(start);
        assert!(!page.metrics(start).contains("snapshot_age"));
        page.publish(Box::new(Nothing), start + Duration::from_secs(1));
        let text = page.metrics(start + Duration::from_millis(3_500));
        assert!(text.contains("\nslr_daemon_snapshot_age_seconds 2.5\n"), "{text}");
        assert!(
            text.contains("\nslr_daemon_turn_age_seconds 3.5\n") && text.contains("\nslr_daemon_ready 0\n"),
            "{text}"
        );
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let expected = super::super::text::table(COMMON);
        let documented = std::fs::read_to_string(path).unwrap();
        assert!(documented.contains(&expected), "{path} lacks this table:\n{expected}");
    }
}
