//! The state directory: everything needed to find, show and remove a lab from another process.

use super::plan::EMULATOR_NODE;
use crate::topology::Topology;
use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where all labs keep their state.
pub(super) const STATE_ROOT: &str = "/run/slr-lab";
const NETNS_ROOT: &str = "/run/netns";
/// Leaves room for `-NODE` in names and for the control socket's path in 108 bytes.
const RUN_NAME_MAX: usize = 40;

/// A process that may own a lab, told apart from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
}

impl Owner {
    /// Identifies a running process.
    pub fn of(pid: u32) -> Result<Self> {
        let start_ticks = alive_since(pid).with_context(|| format!("process {pid} does not run"))?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether this very process still runs (a zombie does not).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        alive_since(self.pid) == Some(self.start_ticks)
    }
}

/// What is known about a spawned process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// The node it runs on.
    pub node: String,
    /// Its name there.
    pub name: String,
    /// Process id.
    pub pid: u32,
    /// See [`Owner::start_ticks`].
    pub start_ticks: u64,
    /// The command line, for people.
    pub command: String,
}

impl ProcessRecord {
    /// Whether this very process still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Owner { pid: self.pid, start_ticks: self.start_ticks }.is_alive()
    }
}

/// The state directory of one run.
#[derive(Clone, Debug)]
pub(super) struct RunDir {
    run: String,
    path: PathBuf,
}

impl RunDir {
    /// The directory of `run`, whether it exists or not.
    pub(super) fn of(run: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if run.len() > RUN_NAME_MAX || !run.starts_with(first) || !run.chars().all(allowed) {
            bail!(
                "a run name is up to {RUN_NAME_MAX} of a-z, 0-9, - and _, and starts with one of the first two: {run:?}"
            );
        }
        Ok(Self { run: run.to_owned(), path: Path::new(STATE_ROOT).join(run) })
    }

    pub(super) fn existing(run: &str) -> Result<Self> {
        let dir = Self::of(run)?;
        if !dir.path.is_dir() {
            let runs = list_runs()?;
            let hint = if runs.is_empty() { "no lab is up".to_owned() } else { format!("up: {}", runs.join(", ")) };
            bail!("no lab {run:?} ({hint}); bring one up with `lab up --run {run}`");
        }
        Ok(dir)
    }

    /// Makes the directory; refuses if it exists.
    pub(super) fn create(&self) -> Result<()> {
        fs::create_dir_all(STATE_ROOT).with_context(|| format!("make {STATE_ROOT}"))?;
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("lab {:?} is up already; take it down with `lab down --run {}`", self.run, self.run)
            }
            other => other.with_context(|| format!("make {}", self.path.display()))?,
        }
        for part in ["log", "process"] {
            fs::create_dir(self.path.join(part)).with_context(|| format!("make {part} in {}", self.path.display()))?;
        }
        Ok(())
    }

    pub(super) fn run(&self) -> &str {
        &self.run
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn service_dir(&self, node: &str, service: &str) -> PathBuf {
        self.path.join("node").join(node).join(service)
    }

    pub(super) fn log_path(&self, node: &str, process: &str) -> PathBuf {
        self.path.join("log").join(format!("{node}.{process}.log"))
    }

    pub(super) fn control_socket(&self) -> PathBuf {
        self.path.join("emu.sock")
    }

    pub(super) fn emulator_config(&self) -> PathBuf {
        self.path.join("emu.json")
    }

    pub(super) fn write_topology(&self, topology: &Topology) -> Result<()> {
        write_json(&self.path.join("topology.json"), topology)
    }

    pub(super) fn read_topology(&self) -> Result<Topology> {
        read_json(&self.path.join("topology.json"))
    }

    pub(super) fn write_owner(&self, owner: Option<Owner>) -> Result<()> {
        write_json(&self.path.join("owner.json"), &owner)
    }

    pub(super) fn read_owner(&self) -> Result<Option<Owner>> {
        read_json(&self.path.join("owner.json"))
    }

    pub(super) fn write_process(&self, record: &ProcessRecord) -> Result<()> {
        write_json(&self.process_path(&record.node, &record.name), record)
    }

    pub(super) fn process_record(&self, node: &str, name: &str) -> Result<Option<ProcessRecord>> {
        let path = self.process_path(node, name);
        if path.exists() { read_json(&path).map(Some) } else { Ok(None) }
    }

    pub(super) fn process_records(&self) -> Result<Vec<ProcessRecord>> {
        let mut names = names_in(&self.path.join("process"))?;
        names.retain(|name| name.ends_with(".json"));
        names.iter().map(|name| read_json(&self.path.join("process").join(name))).collect()
    }

    fn process_path(&self, node: &str, name: &str) -> PathBuf {
        self.path.join("process").join(format!("{node}.{name}.json"))
    }
}

/// The run names of all labs that are up or half up.
pub fn list_runs() -> Result<Vec<String>> {
    let mut names = names_in(Path::new(STATE_ROOT))?;
    names.retain(|name| !name.starts_with('.'));
    Ok(names)
}

/// Holds off other processes that bring labs up or take them down; dropped, it lets them go on. It locks a directory that
/// exists anyway, so it leaves no lock file.
pub(super) fn lock() -> Result<Flock<File>> {
    let dir = File::open("/run").context("open /run")?;
    Flock::lock(dir, FlockArg::LockExclusive).map_err(|(_, error)| error).context("lock /run")
}

pub(super) fn netns_name(run: &str, node: &str) -> String {
    format!("{run}-{node}")
}

pub(super) fn netns_path(run: &str, node: &str) -> PathBuf {
    Path::new(NETNS_ROOT).join(netns_name(run, node))
}

/// The nodes of which a namespace exists, found by name: also for a lab of which only these are left.
pub(super) fn nodes_with_netns(run: &str) -> Result<Vec<String>> {
    let names = names_in(Path::new(NETNS_ROOT))?;
    // Node names hold no dash, so the last dash is the border and run "a" does not claim what belongs to run "a-b".
    let nodes = names.iter().filter_map(|name| name.rsplit_once('-')).filter(|(prefix, _)| *prefix == run);
    Ok(nodes.map(|(_, node)| node.to_owned()).collect())
}

pub(super) fn all_netns(topology: &Topology) -> impl Iterator<Item = &str> {
    topology.nodes.iter().map(|node| node.name.as_str()).chain(std::iter::once(EMULATOR_NODE))
}

/// The sorted names in a directory; none if it does not exist.
pub(super) fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("list {}", dir.display()))?,
    };
    let names: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let names = names.with_context(|| format!("list {}", dir.display()))?;
    let mut names: Vec<String> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// The start time of a running process; `None` if there is none or it is a zombie. One whose first thread alone has ended still has its
/// sockets: a daemon that was killed is gone when its last thread is.
fn alive_since(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything; fields count from after the last one.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let is_zombie = matches!(*fields.first()?, "Z" | "X");
    let threads: u32 = fields.get(17)?.parse().ok()?;
    if is_zombie && threads <= 1 { None } else { fields.get(19)?.parse().ok() }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).context("state as JSON")?;
    // Renamed into place: another process reads a whole file or none.
    let draft = path.with_extension("draft");
    fs::write(&draft, text).and_then(|()| fs::rename(&draft, path)).with_context(|| format!("write {}", path.display()))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not of this version", path.display()))
}
