//! One cgroup v2 directory per node: BPF programs on a cgroup are not confined to a network namespace, so each "host" needs
//! its own; and `cgroup.kill` ends exactly what a lab started.

use crate::wait::holds_within;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Killed processes are gone in microseconds; longer means one hangs in the kernel.
const DEATH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where cgroup v2 is mounted, which on hybrid systems is not `/sys/fs/cgroup`.
pub(super) fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let path =
        fields.filter(|fields| fields.get(2) == Some(&"cgroup2")).find_map(|fields| fields.get(1).map(PathBuf::from));
    path.context("cgroup v2 is not mounted; try `mount -t cgroup2 none /sys/fs/cgroup`")
}

/// The directory that holds the cgroups of a run's nodes.
pub(super) fn run_dir(run: &str) -> Result<PathBuf> {
    Ok(mount()?.join("slr-lab").join(run))
}

pub(super) fn create(run: &str, node: &str) -> Result<()> {
    let dir = run_dir(run)?.join(node);
    fs::create_dir_all(&dir).with_context(|| format!("make cgroup {}", dir.display()))
}

/// The processes in a cgroup and below.
pub(super) fn processes(dir: &Path) -> Vec<u32> {
    let own = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    pids.extend(children(dir).iter().flat_map(|child| processes(child)));
    pids
}

/// True once no process is left in a cgroup and below.
pub(super) fn is_empty_within(dir: &Path, timeout: Duration) -> bool {
    holds_within(timeout, || {
        fs::read_to_string(dir.join("cgroup.events")).map_or(true, |events| events.contains("populated 0"))
    })
}

/// Kills what is left in a cgroup and removes it with all below. Fine if it does not exist.
pub(super) fn kill_and_remove(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    fs::write(dir.join("cgroup.kill"), "1").with_context(|| format!("kill the processes in {}", dir.display()))?;
    if !is_empty_within(dir, DEATH_TIMEOUT) {
        bail!("processes {:?} in {} survived SIGKILL", processes(dir), dir.display());
    }
    remove(dir)
}

/// Removes the common parent of all labs' cgroups if it is empty.
pub(super) fn remove_root_if_unused() -> Result<()> {
    let root = mount()?.join("slr-lab");
    match fs::remove_dir(&root) {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy
            ) =>
        {
            Err(error).with_context(|| format!("remove {}", root.display()))
        }
        _ => Ok(()),
    }
}

fn remove(dir: &Path) -> Result<()> {
    for child in children(dir) {
        remove(&child)?;
    }
    // An emptied cgroup may stay busy for an instant while the last process is reaped.
    let mut last = Ok(());
    let removed = holds_within(DEATH_TIMEOUT, || {
        last = fs::remove_dir(dir);
        last.is_ok()
    });
    if removed { Ok(()) } else { last.with_context(|| format!("remove cgroup {}", dir.display())) }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
