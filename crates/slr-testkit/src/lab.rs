//! Labs: a topology brought up as network namespaces, cgroups, veth pairs and processes, and taken down without residue.
//!
//! A lab has a *run name*; several may be up at once. What belongs to run `R` is named after it and nothing else is:
//!
//! | what | where |
//! |---|---|
//! | namespace of node `n` | `/run/netns/R-n` (and `R-emu` for the link emulator's ends) |
//! | cgroup of node `n` | `<cgroup2 mount>/slr-lab/R/n` |
//! | state: topology, logs, process records, control socket | `/run/slr-lab/R/` |
//! | place for BPF pins of node `n`, removed with the lab | `/sys/fs/bpf/slr-lab/R/n` |
//!
//! Tests use [`Lab::scoped`], which makes up a unique name and takes the lab down when the guard is dropped. Should the
//! test die without unwinding (Ctrl-C, SIGKILL), the lab's link emulator sees its owner end and takes the lab down.
//!
//! ```no_run
//! use slr_testkit::lab::{Lab, Shaping};
//! use slr_testkit::topology::Topology;
//! use std::process::Command;
//! use std::time::Duration;
//!
//! let lab = Lab::scoped(&Topology::one_site(), "doc")?;
//! let page = lab.sh("c1", "curl --silent http://10.1.11.2/who")?;
//! assert_eq!(page, "h1\n");
//! lab.shape("c1", "internet", Shaping::default().delay(Duration::from_millis(5)).loss(0.01))?;
//! let mut daemon = Command::new("target/release/hostd");
//! daemon.arg("run");
//! let hostd = lab.spawn("h1", "hostd", daemon)?; // logs to lab.log_path("h1", "hostd"), killed with the lab
//! assert!(hostd.is_alive());
//! # anyhow::Ok(())
//! ```
//!
//! **`slr-linkemu`** must exist beside the program that brings a lab up: `target/release/slr-linkemu` for tests in
//! `target/release/deps` and for `target/release/lab`. `cargo test --workspace` and `cargo build --workspace` build it; a
//! test run with `-p` of another crate builds it on demand (through `$CARGO`); `SLR_LINKEMU` names another place.

mod bpffs;
mod cgroup;
mod down;
mod linkemu;
mod offload;
mod plan;
mod process;
mod service;
mod shaping;
mod state;
mod up;

pub use bpffs::BPFFS;
pub use down::{down, down_all, down_from_outside, down_orphans};
pub use process::Process;
pub use service::{parse_listen, parse_size};
pub use shaping::Shaping;
pub use state::{Owner, ProcessRecord, list_runs};
pub use up::UpOptions;

use crate::netns::NetNs;
use crate::topology::Topology;
use anyhow::{Context, Result, bail};
use state::RunDir;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    dir: RunDir,
}

/// A lab that is taken down when this guard goes out of scope; otherwise a [`Lab`].
#[derive(Debug)]
pub struct ScopedLab {
    lab: Lab,
}

/// Bringing labs up and finding them again.
impl Lab {
    /// Brings a topology up. On failure everything created so far is removed.
    pub fn up(topology: &Topology, options: &UpOptions) -> Result<Self> {
        let dir = up::up(topology, options)?;
        Ok(Self { topology: topology.clone(), dir })
    }

    /// Brings a topology up under a unique name that begins with `prefix`, owned by this process and this guard.
    pub fn scoped(topology: &Topology, prefix: &str) -> Result<ScopedLab> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let run = format!("{prefix}-{pid}-{number}");
        Ok(ScopedLab { lab: Self::up(topology, &UpOptions::new(&run).owned_by(pid)?)? })
    }

    /// Opens a lab that some process brought up.
    pub fn open(run: &str) -> Result<Self> {
        let dir = RunDir::existing(run)?;
        Ok(Self { topology: dir.read_topology()?, dir })
    }

    /// Takes the lab down: processes, namespaces, cgroups, pins, files.
    pub fn down(self) -> Result<()> {
        down(self.run())
    }
}

/// Facts.
impl Lab {
    /// The run name.
    #[must_use]
    pub fn run(&self) -> &str {
        self.dir.run()
    }

    /// The topology as it was brought up.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The state directory; files that a test puts there go with the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of a service of the topology on a node (`{dir}` in the topology file).
    #[must_use]
    pub fn service_dir(&self, node: &str, service: &str) -> PathBuf {
        self.dir.service_dir(node, service)
    }

    /// The log of a spawned process or service.
    #[must_use]
    pub fn log_path(&self, node: &str, process: &str) -> PathBuf {
        self.dir.log_path(node, process)
    }

    /// A directory on the BPF file system for the pins of a node's programs; it is removed with the lab.
    #[must_use]
    pub fn pin_dir(&self, node: &str) -> PathBuf {
        bpffs::pin_dir(self.run(), node)
    }

    /// The cgroup v2 directory of a node.
    pub fn cgroup_dir(&self, node: &str) -> Result<PathBuf> {
        self.require_node(node)?;
        Ok(cgroup::run_dir(self.run())?.join(node))
    }

    /// The network namespace of a node.
    pub fn netns(&self, node: &str) -> Result<NetNs> {
        self.require_node(node)?;
        NetNs::open(state::netns_path(self.run(), node))
    }

    /// Records of everything spawned, dead or alive, by node and name.
    pub fn processes(&self) -> Result<Vec<ProcessRecord>> {
        self.dir.process_records()
    }

    fn require_node(&self, node: &str) -> Result<()> {
        if self.topology.node(node).is_some() {
            return Ok(());
        }
        let names: Vec<&str> = self.topology.nodes.iter().map(|node| node.name.as_str()).collect();
        bail!("lab {} has no node {node:?}; its nodes are {}", self.run(), names.join(", "))
    }
}

/// Running programs on nodes.
impl Lab {
    /// Runs a closure in a node's network namespace (not its cgroup: the thread stays in this process).
    pub fn with_netns<R: Send>(&self, node: &str, f: impl FnOnce() -> R + Send) -> Result<R> {
        Ok(self.netns(node)?.with(f))
    }

    /// A command that will run on a node: in its network namespace and its cgroup, with `SLR_LAB_RUN`, `SLR_LAB_NODE`,
    /// `SLR_LAB_DIR` and `SLR_LAB_PINS` set. It keeps the mounts of the caller, so pins stay visible.
    pub fn command(&self, node: &str, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        self.place(node, &mut command)?;
        Ok(command)
    }

    /// Runs a command on a node, waits for it and returns its output, whatever its exit status.
    pub fn exec(&self, node: &str, words: &[&str]) -> Result<Output> {
        let (program, arguments) = words.split_first().context("exec needs a command")?;
        let mut command = self.command(node, program)?;
        command.args(arguments).stdin(Stdio::null());
        command.output().with_context(|| format!("start {program} on {node}"))
    }

    /// Runs a shell script on a node and returns what it printed. A status other than zero is an error with its stderr.
    pub fn sh(&self, node: &str, script: &str) -> Result<String> {
        let output = self.exec(node, &["sh", "-c", script])?;
        if !output.status.success() {
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            bail!("`{script}` on {node}: {}\n{}{}", output.status, out, err);
        }
        String::from_utf8(output.stdout).with_context(|| format!("output of `{script}` on {node}"))
    }

    /// Starts a long-running program on a node: its own process group, output into [`log_path`](Self::log_path)
    /// (appended), recorded, and ended with the lab at the latest. A name may be used again once its process is dead.
    pub fn spawn(&self, node: &str, name: &str, mut command: Command) -> Result<Process> {
        if let Some(record) = self.dir.process_record(node, name)?.filter(ProcessRecord::is_alive) {
            bail!("{name} runs on {node} already, as process {}", record.pid);
        }
        self.place(node, &mut command)?;
        process::spawn(&self.dir, node, name, command)
    }

    fn place(&self, node: &str, command: &mut Command) -> Result<()> {
        self.require_node(node)?;
        command.env("SLR_LAB_RUN", self.run()).env("SLR_LAB_NODE", node);
        command.env("SLR_LAB_DIR", self.dir()).env("SLR_LAB_PINS", self.pin_dir(node));
        process::place(self.run(), node, command)
    }
}

impl std::ops::Deref for ScopedLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for ScopedLab {
    fn drop(&mut self) {
        if let Err(error) = down(self.lab.run()) {
            eprintln!("lab {} left something behind: {error:#}", self.lab.run());
        }
    }
}
