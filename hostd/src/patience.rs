//! A timeout that counts only time in which this program ran.
//!
//! A check that does not answer in time says that a server is broken. But a daemon that was stopped, or got no CPU, finds
//! all its deadlines passed when it runs again, and would blame every server. So patience is a number of short waits, one
//! after the other: whoever missed five seconds of the world has missed one of them.

use std::time::Duration;

/// Waits that make up a timeout. More would cost wake-ups, fewer would trust less in a slow moment.
const WAITS: u32 = 10;

/// What came of `work`, or `None` when `timeout` has passed in pieces that this program saw.
pub async fn within<T>(timeout: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    for _ in 0..WAITS {
        tokio::select! {
            biased; // an answer that is there counts, however late it is looked at
            done = &mut work => return Some(done),
            () = tokio::time::sleep(timeout / WAITS) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let start = std::time::Instant::now();
        assert_eq!(block_on(within(Duration::from_millis(50), std::future::pending::<()>())), None);
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert_eq!(block_on(within(Duration::from_millis(50), async { 7 })), Some(7));
    }

    #[test]
    fn a_program_that_did_not_run_blames_nobody() {
        let answer = async {
            tokio::time::sleep(Duration::from_millis(40)).await;
            7
        };
        let stopped = async {
            // The whole thread stands still, as under SIGSTOP, for far longer than the timeout.
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_millis(300));
        };
        let both = async { tokio::join!(within(Duration::from_millis(100), answer), stopped) };
        assert_eq!(block_on(both).0, Some(7));
    }
}
