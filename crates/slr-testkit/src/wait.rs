//! Waiting for a condition instead of sleeping in its place, and insisting on root instead of skipping.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often [`eventually`] looks: far below what a test waits for, far above what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Returns as soon as `condition` holds.
///
/// # Panics
/// If it does not within `timeout`, naming `what` was awaited.
pub fn eventually(timeout: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(timeout, condition), "waited {timeout:?} in vain for {what}");
}

/// True as soon as `condition` holds, false if it does not within `timeout`. It is looked at once at least.
#[must_use]
pub fn holds_within(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK_EVERY);
    }
}

/// For tests that need namespaces or BPF: they fail when they cannot run, for a silent skip looks like a success.
///
/// # Panics
/// If the effective user is not root.
pub fn require_root() {
    let user = nix::unistd::geteuid();
    assert!(
        user.is_root(),
        "this test makes network namespaces or loads BPF and must run as root, not as user {user}; try sudo ./tools/test"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        eventually(Duration::from_secs(5), "the third look", || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[test]
    fn a_condition_that_stays_false_is_reported_after_the_timeout() {
        let start = Instant::now();
        assert!(!holds_within(Duration::from_millis(20), || false));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
