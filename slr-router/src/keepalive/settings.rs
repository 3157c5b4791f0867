//! How often a path is asked, how long an answer may take, and when silence means that the path is lost.

use std::time::Duration;

use thiserror::Error;

/// Probes of a target that are remembered: enough to judge those on their way and to know a late or doubled answer.
pub const REMEMBERED: usize = 64;

/// The shipped values: a path that is cut is known to be lost 0.8 to 1.2 s later.
const INTERVAL: Duration = Duration::from_millis(400);
const REPLY_WAIT: Duration = Duration::from_millis(200);
const LOST_AFTER: u32 = 20;

/// Insisting probes of all targets together: when a thousand hosts are cut off at once, a few per cent of a core a
/// second long, and no burst that would lose answers.
pub const INSISTING_PER_S: u32 = 20_000;
/// So many without an answer in a row, and the path is in doubt: the host is asked by other means.
pub const DOUBTED_AFTER: u32 = 3;

/// Faster is a flood, slower tells nobody in time.
const INTERVAL_RANGE: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(60)];
/// More in a row than this is no detection any more.
const LOST_AFTER_MAX: u32 = 50;

/// When probes are sent and judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    interval: Duration,
    reply_wait: Duration,
    lost_after: u32,
}

/// Values that do not work.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// Too often, or too rarely.
    #[error("a keepalive interval of {given:?} does not work: 10 ms to 60 s do")]
    Interval {
        /// As given.
        given: Duration,
    },
    /// The wait is zero, or so long that too many probes are on their way.
    #[error("a keepalive reply wait of {given:?} does not work: more than 0 and at most {most:?}, 32 intervals, do")]
    ReplyWait {
        /// As given.
        given: Duration,
        /// The longest that works with the interval.
        most: Duration,
    },
    /// No loss, or too many.
    #[error("a path cannot be lost after {given} keepalives without an answer: 1 to 50 work")]
    LostAfter {
        /// As given.
        given: u32,
    },
}

impl Settings {
    /// A probe each `interval`; one is unanswered after `reply_wait`, which must be longer than any round trip; a path is
    /// lost after `lost_after` unanswered ones in a row, those that insist among them: see [`Settings::insisting`].
    pub fn new(interval: Duration, reply_wait: Duration, lost_after: u32) -> Result<Self, SettingsError> {
        if interval < INTERVAL_RANGE[0] || interval > INTERVAL_RANGE[1] {
            return Err(SettingsError::Interval { given: interval });
        }
        let most = interval * (REMEMBERED as u32 / 2);
        if reply_wait.is_zero() || reply_wait > most {
            return Err(SettingsError::ReplyWait { given: reply_wait, most });
        }
        if lost_after == 0 || lost_after > LOST_AFTER_MAX {
            return Err(SettingsError::LostAfter { given: lost_after });
        }
        Ok(Self { interval, reply_wait, lost_after })
    }

    /// Between two probes of a target.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// How long an answer may take.
    pub fn reply_wait(&self) -> Duration {
        self.reply_wait
    }

    /// An answer is overdue after this: four times faster than it must be, or twice what is usual on the path. Then somebody
    /// begins to insist.
    pub fn overdue(&self, usual: Option<Duration>) -> Duration {
        (self.reply_wait / 4).max(usual.unwrap_or_default() * 2).min(self.reply_wait)
    }

    /// Between two probes of a target whose answer is overdue, when so many targets are silent: so that not more than
    /// eight are on their way, and all together not more than [`INSISTING_PER_S`], or one each an interval. None if nobody
    /// could insist more often than that.
    pub fn insisting(&self, silent: usize) -> Option<Duration> {
        let shared = Duration::from_secs(1) / INSISTING_PER_S * silent as u32;
        let apart = (self.interval * 3 / 40).max(self.reply_wait / 8);
        (apart < self.interval).then_some(apart.max(shared).min(self.interval))
    }

    /// So many unanswered ones in a row: the path is lost.
    pub fn lost_after(&self) -> u32 {
        self.lost_after
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { interval: INTERVAL, reply_wait: REPLY_WAIT, lost_after: LOST_AFTER }
    }
}
