//! What happened lately, for people who come when it is over. Bounded: the newest stay.

use std::collections::VecDeque;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// So many are remembered.
const KEPT: usize = 200;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Happening {
    /// In Unix milliseconds.
    pub at_ms: u64,
    /// To whom: a host, or a router.
    pub whom: String,
    /// What.
    pub what: String,
}

/// What is remembered.
#[derive(Clone, Debug, Default)]
pub struct Happenings(VecDeque<(Instant, String, String)>);

impl Happenings {
    /// Something happened.
    pub fn add(&mut self, now: Instant, whom: impl ToString, what: impl ToString) {
        if self.0.len() == KEPT {
            self.0.pop_back();
        }
        self.0.push_front((now, whom.to_string(), what.to_string()));
    }

    /// The newest first; `unix_ms` gives the time of day of a moment, from now and it.
    pub fn list(&self, now: Instant, unix_ms: impl Fn(Instant, Instant) -> u64) -> Vec<Happening> {
        let happening = |(at, whom, what): &(Instant, String, String)| Happening {
            at_ms: unix_ms(now, *at),
            whom: whom.clone(),
            what: what.clone(),
        };
        self.0.iter().map(happening).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_come_first() {
        let now = Instant::now();
        let mut happenings = Happenings::default();
        (0..KEPT + 3).for_each(|n| happenings.add(now, "h1", n));
        let list = happenings.list(now, |_, _| 7);
        assert_eq!((list.len(), list[0].what.as_str(), list[KEPT - 1].what.as_str()), (KEPT, "202", "3"));
        assert_eq!((list[0].at_ms, list[0].whom.as_str()), (7, "h1"));
    }
}
