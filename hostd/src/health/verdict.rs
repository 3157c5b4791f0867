//! From single tries to a state. Pure.
//!
//! ```text
//!             1 success           fall failures in a row
//!   unknown ────────────► up ─────────────────────────────► down
//!      │                   ▲                                ▲ │
//!      │                   └────────────────────────────────│─┘
//!      │                        rise successes in a row     │
//!      └────────────────────────────────────────────────────┘
//!                     fall failures in a row
//! ```
//!
//! One success is enough at the start: a daemon that was restarted shall not keep a healthy service waiting. A failure is
//! not: calling a service down un-pins its flows.

/// What one try came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service answered as it should.
    Success,
    /// It did not, and this is why.
    Failure(String),
}

/// What is known of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl Health {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// The state of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    health: Health,
    /// Tries in a row that speak against the state.
    contrary: u32,
    /// Failures since the last success.
    failures: u64,
    last_failure: String,
}

impl Verdict {
    /// Takes what a try came to; true if the state changed.
    pub fn take(&mut self, outcome: Outcome, rise: u32, fall: u32) -> bool {
        let speaks_for = match outcome {
            Outcome::Success => {
                self.failures = 0;
                Health::Up
            }
            Outcome::Failure(why) => {
                self.failures += 1;
                self.last_failure = why;
                Health::Down
            }
        };
        if speaks_for == self.health {
            self.contrary = 0;
            return false;
        }
        self.contrary =
            if self.health == Health::Unknown && speaks_for == Health::Up { rise } else { self.contrary + 1 };
        let enough = if speaks_for == Health::Up { rise } else { fall };
        if self.contrary < enough {
            return false;
        }
        self.contrary = 0;
        self.health = speaks_for;
        true
    }

    /// What is known.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Why it is down, for people; empty while it is up and answers.
    pub fn reason(&self) -> String {
        match self.failures {
            0 => String::new(),
            1 => self.last_failure.clone(),
            n => format!("{}, {n} times", self.last_failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(letter: char) -> Outcome {
        if letter == '+' { Outcome::Success } else { Outcome::Failure("refused".to_owned()) }
    }

    /// States after each of the tries, as letters.
    fn states(tries: &str, rise: u32, fall: u32) -> String {
        let mut verdict = Verdict::default();
        let mut letters = String::new();
        for letter in tries.chars() {
            let before = verdict.health();
            let changed = verdict.take(outcome(letter), rise, fall);
            assert_eq!(changed, verdict.health() != before, "{tries}");
            letters.push(match verdict.health() {
                Health::Unknown => '?',
                Health::Up => 'U',
                Health::Down => 'D',
            });
        }
        letters
    }

    #[test]
    fn every_way_from_state_to_state() {
        let table = [
            ("+", "U"),
            ("-+", "?U"),
            ("--+---", "??UUUD"),
            ("---", "??D"),
            ("+--+---", "UUUUUUD"),
            ("---+", "??DD"),
            ("---++", "??DDU"),
            ("---+-++", "??DDDDU"),
            ("---++--+--+", "??DDUUUUUUU"),
        ];
        for (tries, expected) in table {
            assert_eq!(states(tries, 2, 3), expected, "{tries}");
        }
        assert_eq!(states("+-+-", 1, 1), "UDUD");
    }

    #[test]
    fn the_reason_is_the_last_failure_and_how_often() {
        let mut verdict = Verdict::default();
        let mut reasons = Vec::new();
        for letter in "+--+".chars() {
            verdict.take(outcome(letter), 2, 3);
            reasons.push(verdict.reason());
        }
        assert_eq!(reasons, ["", "refused", "refused, 2 times", ""]);
    }

    proptest::proptest! {
        /// Whatever the tries: a service goes down only after `fall` failures in a row, up only after `rise` successes.
        #[test]
        fn a_change_has_as_many_tries_in_a_row_behind_it(tries: Vec<bool>, rise in 1u32..5, fall in 1u32..5) {
            let mut verdict = Verdict::default();
            for end in 1..=tries.len() {
                let before = verdict.health();
                let good = tries[end - 1];
                let changed = verdict.take(outcome(if good { '+' } else { '-' }), rise, fall);
                let in_a_row = tries[..end].iter().rev().take_while(|try_| **try_ == good).count();
                let needed = match (before, good) {
                    (Health::Unknown, true) => 1,
                    (_, true) => rise as usize,
                    (_, false) => fall as usize,
                };
                let contrary = before != if good { Health::Up } else { Health::Down };
                proptest::prop_assert_eq!(changed, contrary && in_a_row >= needed);
            }
        }
    }
}
