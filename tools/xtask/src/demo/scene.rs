//! Steps with their times, and what was claimed of them.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::Instant;

use anyhow::{Context, Result};

/// A running commentary: headings and results to stdout, what is under way to stderr.
pub struct Scenes {
    began: Instant,
    failed: Vec<String>,
    checked: u32,
}

impl Scenes {
    pub fn new() -> Self {
        Self { began: Instant::now(), failed: Vec::new(), checked: 0 }
    }

    /// Do something that takes a while; its heading, with the time it took, comes when it is done.
    pub fn step<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let terminal = stderr().is_terminal();
        if terminal {
            eprint!("▸ {what} …");
            let _ = stderr().flush();
        }
        let began = Instant::now();
        let result = work();
        if terminal {
            eprint!("\r\x1b[K");
        }
        let (bold, plain) = if stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let outcome = if result.is_ok() { "" } else { "failed after " };
        println!("{bold}▸ {what}{plain}: {outcome}{:.1} s", began.elapsed().as_secs_f64());
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
