//! Processes on nodes that outlive the call that started them.

use super::cgroup;
use super::state::{Owner, ProcessRecord, RunDir, netns_path};
use crate::wait::holds_within;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much of a log an error message shows.
const LOG_TAIL_BYTES: usize = 2_000;

/// What this program has spawned, by run, so that taking a lab down collects its dead: a test program that brings many labs
/// up would else gather a zombie for every process that its labs had.
static CHILDREN: Mutex<Vec<(String, Arc<Mutex<Child>>)>> = Mutex::new(Vec::new());

/// A spawned process. Dropping the handle leaves it running; the lab ends it when it goes down.
#[derive(Debug)]
pub struct Process {
    record: ProcessRecord,
    log: PathBuf,
    child: Arc<Mutex<Child>>,
}

/// Tells `command` where to run: in a node's network namespace and its cgroup, from before its first socket.
pub(super) fn place(run: &str, node: &str, command: &mut Command) -> Result<()> {
    let netns = File::open(netns_path(run, node));
    let netns = netns.with_context(|| format!("namespace of {node}: was lab {run} taken down?"))?;
    let procs = cgroup::run_dir(run)?.join(node).join("cgroup.procs");
    let procs = OpenOptions::new().write(true).open(&procs).with_context(|| format!("open {}", procs.display()))?;
    crate::netns::enter_before_exec(command, Arc::new(netns), Some(procs));
    Ok(())
}

/// Starts `command` (already told where to run) detached from the terminal, with its output in its log.
pub(super) fn spawn(dir: &RunDir, node: &str, name: &str, mut command: Command) -> Result<Process> {
    let path = dir.log_path(node, name);
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("open {}", path.display()))?;
    let errors = log.try_clone().context("share the log")?;
    command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let child = command.spawn().map_err(|error| {
        let remedy =
            if error.kind() == ErrorKind::NotFound { " (is its package installed, its path right?)" } else { "" };
        anyhow::Error::from(error).context(format!("start {} on {node} as {name}{remedy}", words.join(" ")))
    })?;
    let pid = child.id();
    // A process that has ended already was never anybody's number but its own until we wait for it: 0 matches nothing.
    let start_ticks = Owner::of(pid).map_or(0, |owner| owner.start_ticks);
    let (node, name) = (node.to_owned(), name.to_owned());
    let record = ProcessRecord { node, name, pid, start_ticks, command: words.join(" ") };
    dir.write_process(&record)?;
    let child = Arc::new(Mutex::new(child));
    locked(&CHILDREN).push((dir.run().to_owned(), Arc::clone(&child)));
    Ok(Process { record, log: path, child })
}

/// Collects the dead of a lab that was taken down.
pub(super) fn reap(run: &str) {
    locked(&CHILDREN).retain(|(of, child)| {
        let is_dead = of == run && !matches!(locked(child).try_wait(), Ok(None));
        !is_dead
    });
}

/// A panic elsewhere leaves these values whole: they are changed by single assignments.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.record.pid
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        locked(&self.child).try_wait().ok().flatten()
    }

    /// Sends a signal; fine if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // Under the lock and not waited for yet, the number is still this process's.
        let mut child = locked(&self.child);
        if child.try_wait().ok().flatten().is_some() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.record.pid.cast_signed());
        kill(pid, signal).with_context(|| format!("send {signal} to {} ({pid})", self.record.name))
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait_exit(Duration::from_secs(5)).with_context(|| format!("{} survived SIGKILL", self.record.name))?;
        Ok(())
    }

    /// Waits for it to end by itself.
    #[must_use]
    pub fn wait_exit(&self, timeout: Duration) -> Option<ExitStatus> {
        let mut status = None;
        let _ = holds_within(timeout, || {
            status = self.exit_status();
            status.is_some()
        });
        status
    }

    /// Everything it has printed, and earlier processes of that name on that node.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of the log, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let start = log.len().saturating_sub(LOG_TAIL_BYTES);
        let start = (start..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
        log[start..].trim_end().to_owned()
    }
}
