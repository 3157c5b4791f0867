//! Running an operator's command with bounds: time, output, and nothing left behind.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::patience;

/// Output that is kept of each stream. A number, or the words of a failure, are far shorter; what comes behind is read
/// and thrown away, so that a talkative command does not block.
const OUTPUT_LEN_MAX: usize = 4096;

/// Why a command gave no result.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It did not start.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It ran too long, and was killed with all it had started.
    #[error("{program} took longer than {} ms and was killed", timeout.as_millis())]
    Timeout {
        /// The program.
        program: String,
        /// What it was given.
        timeout: Duration,
    },
    /// It did not end well.
    #[error("{program} ended with {status}{}{words}", if words.is_empty() { "" } else { ": " })]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last line of what it said on standard error.
        words: String,
    },
}

/// Runs `words` in a process group of its own, with `environment` added to this program's, and returns the beginning of
/// what it printed. The whole group is dead when this returns, or when it is dropped.
pub async fn run(words: &[String], environment: &[(&str, String)], timeout: Duration) -> Result<String, CommandError> {
    let (program, arguments) = words.split_first().expect("a command has a word: the configuration is checked");
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let start = |source| CommandError::Start { program: program.clone(), source };
    let mut child = command.spawn().map_err(start)?;
    // Declared after the child, so that it is dropped before it: the group's number is the child's until that is reaped.
    let group = Group::of(&child);
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let ended =
        patience::within(timeout, async { tokio::join!(beginning(&mut stdout), beginning(&mut stderr), child.wait()) });
    let outcome = ended.await;
    drop(group);
    let Some((printed, said, status)) = outcome else {
        // Reaped here, so that no zombie stays; it was killed, so this does not take long.
        let _ = child.wait().await;
        return Err(CommandError::Timeout { program: program.clone(), timeout });
    };
    let status = status.map_err(start)?;
    if !status.success() {
        let words = said.trim().lines().last().unwrap_or_default().to_owned();
        return Err(CommandError::Failed { program: program.clone(), status, words });
    }
    Ok(printed)
}

/// Reads to the end, keeps the beginning.
async fn beginning(stream: &mut Option<impl AsyncRead + Unpin>) -> String {
    let Some(stream) = stream else { return String::new() };
    let (mut kept, mut chunk) = (Vec::new(), [0; 1024]);
    while let Ok(len @ 1..) = stream.read(&mut chunk).await {
        let room = OUTPUT_LEN_MAX.saturating_sub(kept.len());
        kept.extend(&chunk[..len.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The command and whatever it started; killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Nobody left to kill is the usual case.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout_ms: u64) -> Result<String, CommandError> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let environment = [("SLR_TEST", "blue".to_owned())];
        runtime.block_on(run(&words, &environment, Duration::from_millis(timeout_ms)))
    }

    #[test]
    fn output_is_returned_and_bounded() {
        assert_eq!(sh("echo $SLR_TEST 0.5", 5_000).unwrap(), "blue 0.5\n");
        let printed = sh("yes | head --bytes=1000000", 5_000).unwrap();
        assert_eq!(printed.len(), OUTPUT_LEN_MAX);
    }

    #[test]
    fn failures_say_how_and_in_the_commands_own_words() {
        let failed = sh("echo first >&2; echo no such queue >&2; exit 3", 5_000).unwrap_err().to_string();
        assert_eq!(failed, "/bin/sh ended with exit status: 3: no such queue");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let missing = runtime.block_on(run(&["/nonexistent/x".to_owned()], &[], Duration::from_secs(1))).unwrap_err();
        assert!(missing.to_string().starts_with("/nonexistent/x cannot be started: No such file"), "{missing}");
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("sleep 1000 & echo $! $$ > {}; wait", pids.display());
        let error = sh(&script, 300).unwrap_err().to_string();
        assert_eq!(error, "/bin/sh took longer than 300 ms and was killed");
        let written = std::fs::read_to_string(&pids).unwrap();
        assert_eq!(written.split_whitespace().count(), 2);
        for pid in written.split_whitespace() {
            let gone = || {
                // Init or the test may not have reaped it yet; a zombie runs nothing any more.
                std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
            };
            slr_testkit::eventually(Duration::from_secs(5), "the process to be gone", gone);
        }
    }
}
