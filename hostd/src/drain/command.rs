//! `hostd drain` and `hostd undrain`: asks the daemon, and counts down.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use slr_daemon::{admin, output};

use super::Phase;
use crate::cli::Output;
use crate::status::{Drained, Request, Topic};

/// How often the daemon is asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long routers may take to hear of it if the operator gives no timeout: reconnecting takes a few seconds.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// `hostd drain`: why the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Safe,
    Undrained,
    FlowsLeft,
    NobodyHears,
}

impl Ended {
    /// As the command's help says.
    fn code(self) -> u8 {
        match self {
            Ended::Safe => 0,
            Ended::Undrained => 1,
            Ended::FlowsLeft => 3,
            Ended::NobodyHears => 4,
        }
    }
}

/// Drains, and waits if asked to.
pub fn drain(wait: bool, timeout_s: Option<u64>, output: &Output) -> Result<ExitCode> {
    let mut drained: Drained = admin::request(&output.socket, &Request::Drain)?;
    if !wait {
        print(&drained, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    let mut line = Line::default();
    let ended = loop {
        line.show(&words(&drained), output);
        if let Some(ended) = end(&drained, start.elapsed(), timeout_s.map(Duration::from_secs)) {
            break ended;
        }
        sleep(LOOK_EVERY);
        drained = admin::request(&output.socket, &Request::Show(Topic::Drain))?;
    };
    line.finish();
    print(&drained, output)?;
    if !drained.unconnected.is_empty() && ended == Ended::Safe {
        eprintln!("not connected, so not told: {}; they take this host's silence for it", list(&drained.unconnected));
    }
    Ok(ExitCode::from(ended.code()))
}

/// Ends a drain.
pub fn undrain(output: &Output) -> Result<ExitCode> {
    let drained: Drained = admin::request(&output.socket, &Request::Undrain)?;
    print(&drained, output)?;
    Ok(ExitCode::SUCCESS)
}

/// `hostd show drain`.
pub fn show(output: &Output) -> Result<()> {
    print(&admin::request(&output.socket, &Request::Show(Topic::Drain))?, output)
}

/// Whether the wait is over. Pure.
fn end(drained: &Drained, waited: Duration, timeout: Option<Duration>) -> Option<Ended> {
    let is_over = timeout.is_some_and(|timeout| waited >= timeout);
    match drained.phase {
        Phase::Safe => Some(Ended::Safe),
        Phase::Serving => Some(Ended::Undrained),
        Phase::Unheard if waited >= timeout.unwrap_or(HEARD_WITHIN) => Some(Ended::NobodyHears),
        Phase::Telling if is_over => Some(Ended::NobodyHears),
        Phase::Settling | Phase::Waiting if is_over => Some(Ended::FlowsLeft),
        _ => None,
    }
}

fn words(drained: &Drained) -> String {
    let flows = match drained.flows {
        1 => "1 flow".to_owned(),
        flows => format!("{flows} flows"),
    };
    if !drained.problem.is_empty() && drained.phase != Phase::Serving {
        return format!("draining, but connections cannot be counted: {}", drained.problem);
    }
    match drained.phase {
        Phase::Serving => "not drained: new flows are welcome".to_owned(),
        Phase::Unheard => format!("draining, but no router is connected to hear it: {flows} left"),
        Phase::Telling => format!("draining, not yet heard by {}: {flows} left", list(&drained.unheard)),
        Phase::Settling => format!("draining, heard by all routers; new flows may be under way: {flows} left"),
        Phase::Waiting => format!("draining, no new flows: {flows} left"),
        Phase::Safe => "drained: no flow is left, safe to stop".to_owned(),
    }
}

fn list(names: &[slr_model::NodeName]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn print(drained: &Drained, output: &Output) -> Result<()> {
    output::print(if output.json { serde_json::to_string_pretty(drained)? } else { words(drained) });
    Ok(())
}

/// The count as it goes down: in place on a terminal, else a line for each change.
#[derive(Default)]
struct Line {
    shown: String,
}

impl Line {
    fn show(&mut self, words: &str, output: &Output) {
        if output.json || self.shown == words {
            return;
        }
        let mut stderr = std::io::stderr();
        let shown = if stderr.is_terminal() { write!(stderr, "\r\x1b[K{words}") } else { writeln!(stderr, "{words}") };
        // Nobody looks any more; the exit code still tells.
        let _ = shown.and_then(|()| stderr.flush());
        words.clone_into(&mut self.shown);
    }

    fn finish(&self) {
        if std::io::stderr().is_terminal() && !self.shown.is_empty() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_why_the_wait_ended() {
        let drained = |phase| Drained {
            phase,
            cause: None,
            flows: 2,
            unheard: vec![],
            unconnected: vec![],
            problem: String::new(),
        };
        let table = [
            // (phase, seconds waited, timeout, exit code)
            (Phase::Safe, 0, None, Some(0)),
            (Phase::Safe, 60, Some(5), Some(0)),
            (Phase::Serving, 1, None, Some(1)),
            (Phase::Waiting, 1_000, None, None),
            (Phase::Waiting, 4, Some(5), None),
            (Phase::Waiting, 5, Some(5), Some(3)),
            (Phase::Settling, 5, Some(5), Some(3)),
            (Phase::Telling, 1_000, None, None),
            (Phase::Telling, 5, Some(5), Some(4)),
            (Phase::Unheard, 9, None, None),
            (Phase::Unheard, 10, None, Some(4)),
            (Phase::Unheard, 10, Some(20), None),
            (Phase::Unheard, 20, Some(20), Some(4)),
        ];
        for (phase, waited_s, timeout_s, code) in table {
            let ended = end(&drained(phase), Duration::from_secs(waited_s), timeout_s.map(Duration::from_secs));
            assert_eq!(ended.map(Ended::code), code, "{phase:?} after {waited_s} s of {timeout_s:?}");
        }
        assert_eq!(words(&drained(Phase::Waiting)), "draining, no new flows: 2 flows left");
    }
}
