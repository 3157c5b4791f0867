//! A scenario's commands: run beside the flows, bounded in time and in what they say.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{io::AsyncReadExt, process::Command, time::timeout};

/// Most bytes kept of what a command prints: a JSON of counters fits many times.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;
/// How a command says when the failure happened.
const FAILURE_LINE: &str = "failure at ";
/// How far outside of its command's life a told instant may lie: what two clocks read one after the other may differ by.
const SLACK: Duration = Duration::from_millis(50);

/// How commands are run.
pub struct Shell {
    pub directory: PathBuf,
    pub variables: Vec<(&'static str, String)>,
    pub limit: Duration,
}

/// What came of one.
#[derive(Debug)]
pub struct Outcome {
    pub started: Instant,
    pub ended: Instant,
    pub stdout: String,
    /// The clock of day when the command was started, in microseconds since 1970.
    started_unix_us: u64,
}

impl Shell {
    /// Runs a command to its end; `what` names it in errors. Other than status 0 is an error.
    pub async fn run(&self, what: &str, command: &str) -> Result<Outcome> {
        let started_unix_us =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_micros() as u64);
        let started = Instant::now();
        // A group of its own: a time-out ends whatever it started, and Ctrl-C is for the probe, which then heals.
        let mut child = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.directory)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {what} `{command}` in {}", self.directory.display()))?;
        let group = child.id().context("a child that was not waited for has an id")?;
        let (out, err) = (child.stdout.take().context("piped")?, child.stderr.take().context("piped")?);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let talking = async {
            let (mut out, mut err) = (out.take(MAX_OUTPUT_BYTES), err.take(MAX_OUTPUT_BYTES));
            let (status, ..) = tokio::join!(child.wait(), out.read_to_end(&mut stdout), err.read_to_end(&mut stderr));
            status
        };
        let Ok(status) = timeout(self.limit, talking).await else {
            let _ = killpg(Pid::from_raw(group.cast_signed()), Signal::SIGKILL);
            bail!("{what} `{command}` did not end within {:?} (--command-timeout)", self.limit);
        };
        let (ended, status) = (Instant::now(), status.with_context(|| format!("cannot wait for {what}"))?);
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        if !status.success() {
            let said = String::from_utf8_lossy(&stderr);
            bail!("{what} `{command}`: {status}: {}{}", stdout, said.trim());
        }
        Ok(Outcome { started, ended, stdout, started_unix_us })
    }
}

impl Outcome {
    /// When it said that the failure happened, in order; when it was started, if it said nothing.
    pub fn failures(&self) -> Result<Vec<Instant>> {
        let mut failures = Vec::new();
        for line in self.stdout.lines() {
            let Some(told) = line.trim().strip_prefix(FAILURE_LINE) else { continue };
            let unix_us: u64 = told.parse().with_context(|| format!("`{line}`: not microseconds since 1970"))?;
            let since = Duration::from_micros(unix_us.saturating_add(SLACK.as_micros() as u64))
                .checked_sub(Duration::from_micros(self.started_unix_us))
                .filter(|&since| since <= self.ended - self.started + 2 * SLACK)
                .with_context(|| format!("`{line}`: not while the command ran"))?;
            failures.push(self.started + since.saturating_sub(SLACK));
        }
        failures.sort_unstable();
        if failures.is_empty() {
            failures.push(self.started);
        }
        Ok(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stdout: &str) -> Result<Vec<u64>> {
        let started = Instant::now();
        let ended = started + Duration::from_millis(500);
        let outcome = Outcome { started, ended, stdout: stdout.to_owned(), started_unix_us: 1_700_000_000_000_000 };
        Ok(outcome.failures()?.into_iter().map(|at| (at - started).as_micros() as u64).collect())
    }

    #[test]
    fn the_instant_of_a_failure() {
        assert_eq!(told("").expect("nothing said"), [0]);
        assert_eq!(told("killed 7\nfailure at 1700000000120000\n").expect("one"), [120_000]);
        assert_eq!(
            told("failure at 1700000000400000\nfailure at 1700000000100000\n").expect("two"),
            [100_000, 400_000]
        );
        for bad in ["failure at noon", "failure at 1600000000000000", "failure at 1700000009000000"] {
            assert!(told(bad).is_err(), "{bad}");
        }
    }
}
