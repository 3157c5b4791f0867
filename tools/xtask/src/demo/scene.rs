//! Steps with their times, and what was claimed of them.

use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

use anyhow::{Context, Result};

/// A running commentary: results to stdout, progress to stderr.
pub struct Scenes {
    began: Instant,
    failed: Vec<String>,
    checked: u32,
}

impl Scenes {
    pub fn new() -> Self {
        Self { began: Instant::now(), failed: Vec::new(), checked: 0 }
    }

    /// Do something that takes a while.
    pub fn step<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let terminal = stderr().is_terminal();
        if terminal {
            eprint!("\x1b[1m▸\x1b[0m {what} …");
            let _ = stderr().flush();
        }
        let began = Instant::now();
        let result = work();
        let seconds = began.elapsed().as_secs_f64();
        match (&result, terminal) {
            (Ok(_), true) => eprintln!(" {seconds:.1} s"),
            (Ok(_), false) => eprintln!("▸ {what}: {seconds:.1} s"),
            (Err(_), _) => eprintln!(" failed after {seconds:.1} s"),
        }
        result.with_context(|| what.to_owned())
    }

    /// Say whether something holds.
    pub fn check(&mut self, claim: &str, holds: bool) {
        self.checked += 1;
        println!("  {} {claim}\n", if holds { "✓" } else { "✗ NOT SO:" });
        if !holds {
            self.failed.push(claim.to_owned());
        }
    }

    /// True if everything held.
    pub fn finish(self) -> bool {
        let seconds = self.began.elapsed().as_secs_f64();
        println!("{} of {} claims held; {seconds:.0} s.", self.checked as usize - self.failed.len(), self.checked);
        self.failed.is_empty()
    }
}
