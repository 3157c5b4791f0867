//! Bringing a lab up, step by step; a failing or cancelled step takes down what the earlier ones made.

use super::plan::EMULATOR_NODE;
use super::state::{Owner, RunDir, all_netns, lock, netns_path};
use super::{Lab, bpffs, cgroup, down, linkemu, offload, plan, service};
use crate::emulator::xdp_verdict::{Verdict, load_and_pin};
use crate::netns::{NetNs, run_ip_batch};
use crate::topology::Topology;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How to bring a lab up.
#[derive(Clone, Debug)]
pub struct UpOptions {
    run: String,
    owner: Option<Owner>,
    cancel: Option<Arc<AtomicBool>>,
    seed: u64,
}

impl UpOptions {
    /// A lab of that run name (a-z, 0-9, `-`, `_`, at most 40), without owner: it stays until somebody takes it down.
    #[must_use]
    pub fn new(run: &str) -> Self {
        Self { run: run.to_owned(), owner: None, cancel: None, seed: 1 }
    }

    /// The lab is taken down when this process ends, however it ends.
    pub fn owned_by(mut self, pid: u32) -> Result<Self> {
        self.owner = Some(Owner::of(pid)?);
        Ok(self)
    }

    /// Bringing up stops between two steps, and undoes them, once `flag` is set (by a signal handler).
    #[must_use]
    pub fn cancelled_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancel = Some(flag);
        self
    }

    /// The seed of the emulator's losses.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            bail!("interrupted while lab {} was coming up", self.run);
        }
        Ok(())
    }
}

pub(super) fn up(topology: &Topology, options: &UpOptions) -> Result<RunDir> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a lab makes network namespaces and needs root; try sudo");
    }
    let dir = RunDir::of(&options.run)?;
    // Before anything exists: without the emulator's program nothing else is worth starting.
    let linkemu = linkemu::locate()?;
    {
        let _lock = lock()?;
        dir.create()?;
    }
    match build(topology, options, &dir, &linkemu) {
        Ok(()) => Ok(dir),
        Err(error) => match down::down(&options.run) {
            Ok(()) => Err(error),
            Err(second) => Err(error.context(format!("and what was made could not be removed: {second:#}"))),
        },
    }
}

fn build(topology: &Topology, options: &UpOptions, dir: &RunDir, linkemu: &std::path::Path) -> Result<()> {
    let run = options.run.as_str();
    dir.write_topology(topology)?;
    dir.write_owner(options.owner)?;
    let pass_pin = prepare_system(topology, run)?;
    options.check_cancelled()?;
    for node in &topology.nodes {
        settings(run, &node.name, &plan::early_settings(node))?;
    }
    settings(run, EMULATOR_NODE, &plan::emulator_settings())?;
    run_ip_batch(Command::new("ip"), &plan::cables(topology, run)).context("make the links")?;
    options.check_cancelled()?;
    build_emulator(topology, options, dir, linkemu, &pass_pin)?;
    options.check_cancelled()?;
    for node in &topology.nodes {
        build_node(topology, run, node, &pass_pin).with_context(|| format!("set up node {}", node.name))?;
    }
    let lab = Lab { topology: topology.clone(), dir: dir.clone() };
    for node in &topology.nodes {
        options.check_cancelled()?;
        for command in &node.commands {
            lab.sh(&node.name, command).with_context(|| format!("a command of node {}", node.name))?;
        }
    }
    service::start_all(&lab, || options.check_cancelled())
}

/// What is shared by all labs or named in a shared place: BPF file system, cgroups, namespaces.
fn prepare_system(topology: &Topology, run: &str) -> Result<PathBuf> {
    let _lock = lock()?;
    bpffs::ensure_mounted()?;
    for node in all_netns(topology) {
        bpffs::create_pin_dir(run, node)?;
        cgroup::create(run, node)?;
    }
    let pass_pin = bpffs::pin_dir(run, EMULATOR_NODE).join("xdp_pass");
    load_and_pin(&pass_pin, Verdict::Pass)?;
    run_ip_batch(Command::new("ip"), &plan::namespaces(topology, run)).context("make the network namespaces")?;
    Ok(pass_pin)
}

/// Connects the emulator's ends before the nodes', so that the latter see a carrier when they come up.
fn build_emulator(
    topology: &Topology,
    options: &UpOptions,
    dir: &RunDir,
    linkemu: &std::path::Path,
    pass_pin: &std::path::Path,
) -> Result<()> {
    let netns = NetNs::open(netns_path(&options.run, EMULATOR_NODE))?;
    netns.with(|| plan::all_emulator_interfaces(topology).try_for_each(|interface| offload::turn_off(&interface)))?;
    netns.ip_batch(&plan::inside_emulator(topology, pass_pin)).context("bring the emulator's interfaces up")?;
    linkemu::start(dir, topology, linkemu, options.owner, options.seed)
}

fn build_node(topology: &Topology, run: &str, node: &crate::topology::Node, pass_pin: &std::path::Path) -> Result<()> {
    let netns = NetNs::open(netns_path(run, &node.name))?;
    netns
        .with(|| plan::ends_of(topology, &node.name).try_for_each(|(_, interface, _)| offload::turn_off(&interface)))?;
    settings(run, &node.name, &plan::late_settings(node))?;
    netns.ip_batch(&plan::inside_node(topology, node, pass_pin))
}

/// Writes kernel settings in a node's namespace.
fn settings(run: &str, node: &str, settings: &[(String, String)]) -> Result<()> {
    NetNs::open(netns_path(run, node))?.with(|| {
        settings.iter().try_for_each(|(key, value)| {
            let path = format!("/proc/sys/{}", key.replace('.', "/"));
            fs::write(&path, value).with_context(|| format!("sysctl {key}={value} on node {node} ({path})"))
        })
    })
}
