//! What a figure must not exceed, and whether it does. A verdict compares the unrounded median.

use serde::{Deserialize, Serialize};

/// Which figure of a case a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Times the floor program's figure in the same run.
    RatioToFloor,
    /// Nanoseconds over the null program.
    OverNullNs,
    /// Milliseconds from members to a ring that packets use.
    BuildMs,
    /// Per cent of a core.
    CorePercent,
    /// Megabytes that were resident at most.
    MemoryMb,
    /// Milliseconds from a host's word to the rings, 99 of 100 times.
    ChangeMs,
    /// Milliseconds until another member of the cluster has a new flow, 99 of 100 times.
    MirrorMs,
}

impl Measure {
    fn phrase(self, limit: f64) -> String {
        match self {
            Self::RatioToFloor => format!("≤ {limit} × floor"),
            Self::OverNullNs => format!("≤ {limit} ns"),
            Self::BuildMs => format!("≤ {limit} ms"),
            Self::CorePercent => format!("≤ {limit} % of a core"),
            Self::MemoryMb => format!("≤ {limit} MB"),
            Self::ChangeMs | Self::MirrorMs => format!("p99 ≤ {limit} ms"),
        }
    }
}

/// An upper limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Of which figure.
    pub measure: Measure,
    /// The largest value that meets it.
    pub limit: f64,
}

/// A target beside what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which figure.
    pub measure: Measure,
    /// The largest value that meets the target.
    pub limit: f64,
    /// The median that was measured, unrounded.
    pub measured: f64,
    /// Whether it is at most the limit.
    pub met: bool,
}

impl Target {
    /// Holds a median against the limit.
    pub fn judge(self, measured: f64) -> Verdict {
        Verdict { measure: self.measure, limit: self.limit, measured, met: measured <= self.limit }
    }
}

impl Verdict {
    /// For a table: the limit.
    pub fn limit_text(&self) -> String {
        self.measure.phrase(self.limit)
    }

    /// For a table: the outcome.
    pub fn outcome(&self) -> &'static str {
        if self.met { "met" } else { "MISSED" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_does_not_round() {
        let target = Target { measure: Measure::RatioToFloor, limit: 1.4 };
        assert!(target.judge(1.4).met);
        assert!(!target.judge(1.400_000_1).met);
        assert_eq!(target.judge(1.5).limit_text(), "≤ 1.4 × floor");
        assert_eq!(target.judge(1.5).outcome(), "MISSED");
    }

    #[test]
    fn a_figure_that_is_no_number_meets_nothing() {
        assert!(!Target { measure: Measure::OverNullNs, limit: 73.0 }.judge(f64::NAN).met);
    }
}
