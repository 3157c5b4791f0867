//! How much CPU a server may use: a host of this capacity, on a machine that has more.
//!
//! By cgroup v2 where it has the `cpu` controller, else by v1's. What was used is always counted by a v2 cgroup inside the
//! node's own, which the lab removes; v1's cgroup is removed when the guard is dropped, or by the next run if that never
//! came to be.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use slr_testkit::holds_within;
use slr_testkit::lab::Lab;

/// Where a hybrid system has version 1's controller.
const V1: &str = "/sys/fs/cgroup/cpu";
/// Of its cgroups.
const V1_ROOT: &str = "slr-lab";
/// A quota is of so much time: short, so that a server that has used it up does not sleep long.
const PERIOD_US: u64 = 50_000;
/// How the kernel shares CPUs out when they are short, as a multiple of the default: the quota is to be the limit, and not
/// what else the machine does.
const URGENCY: u64 = 10;
/// How long the last process may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A limit on some processes of a node.
#[derive(Debug)]
pub struct Quota {
    /// Counts what they use.
    counted: PathBuf,
    /// Limits it.
    limit: Limit,
    /// CPUs.
    cpus: f64,
}

#[derive(Debug)]
enum Limit {
    V1(PathBuf),
    V2(PathBuf),
}

impl Quota {
    /// Limit the processes of a service of the topology, and all they start, to so many CPUs.
    pub fn on_service(lab: &Lab, node: &str, service: &str, cpus: f64) -> Result<Self> {
        let node_dir = lab.cgroup_dir(node)?;
        let counted = node_dir.join(service);
        let limit = if has_cpu(node_dir.ancestors().nth(3).context("a lab's cgroup has a mount")?) {
            delegate(&node_dir)?;
            make(&counted)?;
            write(&counted.join("cgroup.type"), "threaded")?;
            write(&node_dir.join("cgroup.subtree_control"), "+cpu")?;
            Limit::V2(counted.clone())
        } else {
            make(&counted)?;
            let root = Path::new(V1).join(V1_ROOT);
            ensure!(Path::new(V1).is_dir(), "neither cgroup v2 nor {V1} limits CPU: no cpu controller");
            sweep(&root);
            let dir = root.join(format!("{}-{node}-{service}", lab.run()));
            make(&dir)?;
            Limit::V1(dir)
        };
        let mut quota = Self { counted, limit, cpus };
        quota.set(cpus)?;
        quota.take_in(lab, node, service)?;
        Ok(quota)
    }

    /// The cgroup v2 that counts what is used.
    pub fn cgroup(&self) -> &Path {
        &self.counted
    }

    /// CPUs.
    pub fn cpus(&self) -> f64 {
        self.cpus
    }

    /// Another limit from now on.
    pub fn set(&mut self, cpus: f64) -> Result<()> {
        let quota_us = (cpus * PERIOD_US as f64).round() as u64;
        ensure!(
            quota_us >= 1_000,
            "the kernel takes no quota below 1 ms: {cpus} CPUs are {quota_us} us of {PERIOD_US}"
        );
        match &self.limit {
            Limit::V1(dir) => {
                write(&dir.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
                write(&dir.join("cpu.cfs_quota_us"), &quota_us.to_string())?;
                write(&dir.join("cpu.shares"), &(1_024 * URGENCY).to_string())?;
            }
            Limit::V2(dir) => {
                write(&dir.join("cpu.max"), &format!("{quota_us} {PERIOD_US}"))?;
                write(&dir.join("cpu.weight"), &(100 * URGENCY).to_string())?;
            }
        }
        self.cpus = cpus;
        Ok(())
    }

    /// CPU time used so far, in seconds.
    pub fn used_s(&self) -> Result<f64> {
        let path = self.counted.join("cpu.stat");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse::<f64>().ok());
        Ok(used.with_context(|| format!("{} counts no usage_usec", path.display()))? / 1e6)
    }

    /// Moves every process of the service: its first one, so that what that begins from now on is in it, and then those
    /// that it has begun.
    fn take_in(&self, lab: &Lab, node: &str, service: &str) -> Result<()> {
        let first = fs::read_to_string(lab.service_dir(node, service).join(format!("{service}.pid")))
            .with_context(|| format!("process id of {service} on {node}"))?;
        self.move_in(first.trim())?;
        let children = format!("/proc/{0}/task/{0}/children", first.trim());
        let text = fs::read_to_string(&children).with_context(|| format!("read {children}"))?;
        for pid in text.split_whitespace() {
            let moved = self.move_in(pid);
            // A worker that a reload replaced may be gone by now.
            if Path::new("/proc").join(pid).exists() {
                moved?;
            }
        }
        Ok(())
    }

    fn move_in(&self, pid: &str) -> Result<()> {
        write(&self.counted.join("cgroup.procs"), pid)?;
        match &self.limit {
            Limit::V1(dir) => write(&dir.join("cgroup.procs"), pid),
            Limit::V2(_) => Ok(()),
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let Limit::V1(dir) = &self.limit else { return };
        for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
            // It may just have ended.
            let _ = fs::write(Path::new(V1).join("cgroup.procs"), pid);
        }
        if !holds_within(GONE_WITHIN, || fs::remove_dir(dir).is_ok() || !dir.exists()) {
            eprintln!("{} cannot be removed: rmdir it when its processes are gone", dir.display());
        }
        sweep(&Path::new(V1).join(V1_ROOT));
    }
}

/// Removes what runs left that were killed; a cgroup with processes cannot be removed.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(entry.path());
    }
    let _ = fs::remove_dir(root);
}

fn has_cpu(mount: &Path) -> bool {
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|controller| controller == "cpu")
}

/// Lets the cgroups from the mount down to the node's parent hand the controller on.
fn delegate(node_dir: &Path) -> Result<()> {
    let mut above: Vec<&Path> = node_dir.ancestors().skip(1).take(3).collect();
    above.reverse();
    above.iter().try_for_each(|dir| write(&dir.join("cgroup.subtree_control"), "+cpu"))
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {text:?} to {}", path.display()))
}
