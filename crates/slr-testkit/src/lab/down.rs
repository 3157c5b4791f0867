//! Taking labs down: works from names and places alone, so also for a lab that came up half-way or whose owner was killed,
//! and may be repeated.

use super::state::{RunDir, STATE_ROOT, list_runs, lock, netns_name, nodes_with_netns};
use super::{bpffs, cgroup, process};
use crate::netns::run_ip_batch;
use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

/// How long daemons get to end by themselves after SIGTERM.
const POLITE_END: Duration = Duration::from_secs(2);

/// Takes one lab down. Fine if it is not up. Goes on after an error, and reports them all.
pub fn down(run: &str) -> Result<()> {
    let dir = RunDir::of(run)?;
    let mut errors = Vec::new();
    let mut attempt = |result: Result<()>| errors.extend(result.err());
    attempt(end_processes(run));
    let _lock = lock()?;
    attempt(remove_namespaces(run));
    attempt(bpffs::remove_pins(run));
    attempt(match fs::remove_dir_all(dir.path()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("remove {}", dir.path().display())),
    });
    attempt(remove_shared_if_unused());
    match errors.len() {
        0 => Ok(()),
        _ => Err(anyhow!(errors.iter().map(|error| format!("{error:#}")).collect::<Vec<_>>().join("; ")))
            .with_context(|| format!("take lab {run} down")),
    }
}

/// The same for a process that is itself inside the lab: it leaves the lab's cgroup first, to survive the lab's end.
pub fn down_from_outside(run: &str) -> Result<()> {
    let procs = cgroup::mount()?.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("leave the lab's cgroup by {}", procs.display()))?;
    down(run)
}

/// Takes all labs down and returns their names.
pub fn down_all() -> Result<Vec<String>> {
    let runs = list_runs()?;
    runs.iter().try_for_each(|run| down(run))?;
    // Also what the last lab leaves if it was killed between removing its state and the shared rest.
    let _lock = lock()?;
    remove_shared_if_unused()?;
    Ok(runs)
}

/// Takes those labs down whose owner has ended, and returns their names. Normally none: link emulators see to it.
pub fn down_orphans() -> Result<Vec<String>> {
    let mut runs = list_runs()?;
    runs.retain(|run| {
        let owner = RunDir::of(run).and_then(|dir| dir.read_owner());
        matches!(owner, Ok(Some(owner)) if !owner.is_alive())
    });
    runs.iter().try_for_each(|run| down(run))?;
    Ok(runs)
}

fn end_processes(run: &str) -> Result<()> {
    let dir = cgroup::run_dir(run)?;
    for pid in cgroup::processes(&dir) {
        // It was in the lab's cgroup an instant ago; numbers are given out in a circle, so it cannot be another's yet.
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
    }
    let _ = cgroup::is_empty_within(&dir, POLITE_END);
    cgroup::kill_and_remove(&dir)?;
    process::reap(run);
    Ok(())
}

fn remove_namespaces(run: &str) -> Result<()> {
    let nodes = nodes_with_netns(run)?;
    if nodes.is_empty() {
        return Ok(());
    }
    let lines: String = nodes.iter().map(|node| format!("netns delete {}\n", netns_name(run, node))).collect();
    run_ip_batch(Command::new("ip"), &lines).context("delete the network namespaces")
}

/// The caller holds the lock.
fn remove_shared_if_unused() -> Result<()> {
    if !list_runs()?.is_empty() {
        return Ok(());
    }
    bpffs::unmount_if_ours()?;
    cgroup::remove_root_if_unused()?;
    match fs::remove_dir(STATE_ROOT) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| format!("remove {STATE_ROOT}")),
        _ => Ok(()),
    }
}
