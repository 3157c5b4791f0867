//! How strict a run is about figures.
//!
//! What must hold on any machine (nothing lost, nothing moved, in the right order) is asserted in every run. How *fast* it
//! is depends on what else the machine does: a run that says so (`SLR_ACCEPTANCE=1`, a quiet machine) holds figures to the limit
//! that is promised, any other to twice that, which still tells a mechanism that works from one that does not.

use std::sync::LazyLock;
use std::time::Duration;

static STRICT: LazyLock<bool> = LazyLock::new(|| std::env::var_os("SLR_ACCEPTANCE").is_some_and(|value| value != "0"));

/// Whether promised figures are to be met exactly.
pub fn strict() -> bool {
    *STRICT
}

/// What a run allows where this much is promised.
pub fn allowed(promised: Duration) -> Duration {
    if strict() { promised } else { promised * 2 }
}
