//! Faults of what runs on a host: its nginx, and programs that get no processor time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use slr_testkit::holds_within;

use crate::site::Site;

const SOON: Duration = Duration::from_secs(5);

/// What can happen to nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NginxFault {
    /// Ended in order.
    Terminated,
    /// Killed.
    Killed,
    /// Stopped: the kernel goes on accepting for it.
    Frozen,
    /// Every answer is an error.
    Errors,
}

impl NginxFault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Terminated, Self::Killed, Self::Frozen, Self::Errors];

    /// Make it happen.
    pub fn begin(self, site: &Site, host: &str) -> Result<()> {
        match self {
            Self::Terminated => signal(site, host, Signal::SIGTERM),
            Self::Killed => signal(site, host, Signal::SIGKILL),
            Self::Frozen => signal(site, host, Signal::SIGSTOP),
            Self::Errors => configure(site, host, "root", "location /who { return 500; } root"),
        }
    }

    /// And end.
    pub fn end(self, site: &Site, host: &str) -> Result<()> {
        match self {
            Self::Terminated | Self::Killed => start(site, host),
            Self::Frozen => signal(site, host, Signal::SIGCONT),
            Self::Errors => configure(site, host, "location /who { return 500; } root", "root"),
        }
    }
}

fn group(site: &Site, host: &str) -> Result<Pid> {
    let mut all = site.lab().processes()?.into_iter();
    let found = all.find(|process| process.node == host && process.name == "nginx" && process.is_alive());
    let found = found.with_context(|| format!("nginx does not run on {host}"))?;
    Ok(Pid::from_raw(found.pid.cast_signed()))
}

/// To the master and its worker: they are a process group of their own.
fn signal(site: &Site, host: &str, signal: Signal) -> Result<()> {
    killpg(group(site, host)?, signal).with_context(|| format!("send {signal} to nginx on {host}"))
}

fn start(site: &Site, host: &str) -> Result<()> {
    let dir = site.lab().service_dir(host, "nginx");
    let gone = holds_within(SOON, || group(site, host).is_err());
    ensure!(gone, "nginx on {host} did not end");
    let mut command = Command::new("nginx");
    command.arg("-e").arg(dir.join("error.log")).arg("-c").arg(dir.join("nginx.conf"));
    site.lab().spawn(host, "nginx", command).map(drop)
}

/// Another configuration, taken over as an operator does it.
fn configure(site: &Site, host: &str, from: &str, to: &str) -> Result<()> {
    let path = site.lab().service_dir(host, "nginx").join("nginx.conf");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let (line, new) = (format!("        {from} "), format!("        {to} "));
    ensure!(text.contains(&line), "{} has no line that begins with {from:?}", path.display());
    fs::write(&path, text.replacen(&line, &new, 1)).with_context(|| format!("write {}", path.display()))?;
    // The master alone: it tells its worker.
    nix::sys::signal::kill(group(site, host)?, Signal::SIGHUP).context("reload nginx")
}

/// A process that gets hardly any processor time, until this goes out of scope.
#[derive(Debug)]
pub struct Starved {
    dir: PathBuf,
    home: PathBuf,
    pid: u32,
}

/// The hierarchy of version 1 that has the controller, where there is one.
const CPU_V1: &str = "/sys/fs/cgroup/cpu";
const CPU_V2: &str = "/sys/fs/cgroup";

impl Starved {
    /// A hundredth of a processor, in pieces of 2 ms: with 198 ms without any between them.
    pub fn begin(pid: u32) -> Result<Self> {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).context("where it is")?;
        let of = |mid: &str| cgroups.lines().find_map(|line| line.split_once(mid).map(|(_, path)| path.to_owned()));
        let (root, home) = match of(":cpu:") {
            Some(path) => (CPU_V1, path),
            None => (CPU_V2, of("0::").context("it is in no cgroup")?),
        };
        let is_v1 = root == CPU_V1;
        let dir = Path::new(root).join(format!("slr-starved-{pid}"));
        fs::create_dir(&dir).with_context(|| format!("make cgroup {}", dir.display()))?;
        let home = Path::new(root).join(home.trim_start_matches('/'));
        let starved = Self { dir, home, pid };
        if is_v1 {
            starved.write("cpu.cfs_period_us", "200000")?;
            starved.write("cpu.cfs_quota_us", "2000")?;
        } else {
            starved.write("cpu.max", "2000 200000").context("the cpu controller must be on in the root cgroup")?;
        }
        starved.write("cgroup.procs", &pid.to_string())?;
        Ok(starved)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, text).with_context(|| format!("write {text:?} to {}", path.display()))
    }

    /// How long it had to wait for its next piece, in all.
    pub fn throttled(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.dir.join("cpu.stat")).context("read cpu.stat")?;
        let number = |name| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let found = number("throttled_usec ").map(Duration::from_micros);
        found.or_else(|| number("throttled_time ").map(Duration::from_nanos)).context("cpu.stat says how long")
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        // What has ended is nowhere.
        let _ = fs::write(self.home.join("cgroup.procs"), self.pid.to_string());
        if !holds_within(SOON, || fs::remove_dir(&self.dir).is_ok()) {
            eprintln!("cgroup {} is left behind", self.dir.display());
        }
    }
}
