//! What the routers around are told is configured with: the kernel's table, how gladly is said, how patiently.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How gladly a subnet is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not at all: there is no route.
    Withdrawn,
    /// If nobody else can.
    Lowered,
    /// Like any other.
    Normal,
}

impl Level {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Lowered => "lowered",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// What the daemon's end does to the announcements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// Nothing: the data plane forwards on, and the next daemon takes over.
    #[default]
    Keep,
    /// Lowered, then withdrawn; the daemon ends when that is done.
    Withdraw,
}

/// `[announce]`
#[derive(Clone, Debug, PartialEq)]
pub struct Announce {
    /// The private kernel table.
    pub table: u32,
    /// The routes' protocol number, nobody else's in that table.
    pub protocol: u8,
    /// Metric of what is announced gladly.
    pub metric: u32,
    /// Metric of what is announced as the worse choice.
    pub metric_lowered: u32,
    /// A subnet must be served well for so long before it is announced.
    pub announce_after: Duration,
    /// And not at all, or badly, for so long before that is announced.
    pub withdraw_after: Duration,
    /// How long a drained router is the worse choice, before it is none.
    pub lowered: Duration,
    /// What the daemon's end does.
    pub on_stop: OnStop,
    /// The watchdog withdraws when no daemon was ready for so long.
    pub away: Duration,
    /// The file that says that the daemon is ready, and whether it is drained.
    pub mark: PathBuf,
}

impl Announce {
    /// The metric that says it.
    pub fn metric_of(&self, level: Level) -> Option<u32> {
        match level {
            Level::Normal => Some(self.metric),
            Level::Lowered => Some(self.metric_lowered),
            Level::Withdrawn => None,
        }
    }

    /// What a metric says.
    pub fn level_of(&self, metric: Option<&u32>) -> Level {
        match metric {
            None => Level::Withdrawn,
            Some(metric) if *metric < self.metric_lowered => Level::Normal,
            Some(_) => Level::Lowered,
        }
    }
}
