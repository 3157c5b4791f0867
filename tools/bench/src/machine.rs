//! The machine that figures come from: what it is, and whether it was quiet enough for them to mean something.

use std::fs;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Set-up of a measurement, to be kept with its figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the machine.
    pub host: String,
    /// Day of the measurement, UTC.
    pub date: String,
    /// Model, family, model number and stepping; virtual machines say little in the name.
    pub cpu: String,
    /// CPUs that are online.
    pub cpus: usize,
    /// The CPU that the measurement ran on, if on one.
    pub pinned_to: Option<usize>,
    /// Kernel release.
    pub kernel: String,
    /// Frequency governor; virtual machines often have none.
    pub governor: String,
    /// The kernel's clock: what durations are taken with.
    pub clock: String,
    /// Mitigations that make returns and indirect calls dearer; both are frequent in the paths measured.
    pub mitigations: Vec<String>,
    /// Whether a hypervisor is below.
    pub virtual_machine: bool,
}

/// What else the machine did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Load average over a minute, at the start.
    pub load_at_start: f64,
    /// The same, at the end. The measurement itself contributes up to 1.
    pub load_at_end: f64,
    /// Times that the measuring thread was pushed off its CPU.
    pub preemptions: u64,
    /// Share of all CPUs' time that others used while it ran.
    pub others_share: f64,
    /// Share of all CPUs' time that the hypervisor gave to other machines.
    pub stolen_share: f64,
    /// Other processes that were running or runnable at the start or at the end.
    pub running: Vec<String>,
}

/// Others may use this share of the machine before figures are called into question.
const OTHERS_SHARE_MAX: f64 = 0.05;
/// The hypervisor may take this share.
const STOLEN_SHARE_MAX: f64 = 0.01;

/// Pin this thread to the last CPU (interrupts prefer the first) and say what the machine is.
pub fn settle() -> Result<Machine> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let pinned_to = cpus - 1;
    let mut set = CpuSet::new();
    set.set(pinned_to).context("CPU number")?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pin to CPU {pinned_to}"))?;
    Ok(Machine { pinned_to: Some(pinned_to), ..describe()? })
}

/// Say what the machine is.
pub fn describe() -> Result<Machine> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':')).map_or("?", |(_, value)| value.trim()).to_owned()
    };
    let vulnerability =
        |name: &str| format!("{name}: {}", word_of(&format!("devices/system/cpu/vulnerabilities/{name}")));
    Ok(Machine {
        host: host_name(),
        date: crate::results::today(),
        cpu: format!(
            "{}, family {} model {} stepping {}",
            field("model name"),
            field("cpu family"),
            field("model"),
            field("stepping")
        ),
        cpus,
        pinned_to: None,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").context("kernel release")?.trim().to_owned(),
        governor: word_of("devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        clock: word_of("devices/system/clocksource/clocksource0/current_clocksource"),
        mitigations: ["spectre_v2", "spec_rstack_overflow", "retbleed"].map(vulnerability).to_vec(),
        virtual_machine: field("flags").split(' ').any(|flag| flag == "hypervisor"),
    })
}

impl Machine {
    /// The set-up as a table, with the warning if one is due.
    pub fn markdown(&self, noise: &Noise) -> String {
        let vm = if self.virtual_machine { " (virtual machine)" } else { "" };
        let running = if noise.running.is_empty() { "-".to_owned() } else { noise.running.join(", ") };
        let rows = [
            ("CPU", format!("{}{vm}", self.cpu)),
            ("CPUs", self.pinned_to.map_or(self.cpus.to_string(), |cpu| format!("{}, pinned to {cpu}", self.cpus))),
            ("Kernel", format!("Linux {}", self.kernel)),
            ("Governor", self.governor.clone()),
            ("Clock", self.clock.clone()),
            ("Mitigations", self.mitigations.join("; ")),
            ("Load average", format!("{:.2} to {:.2}", noise.load_at_start, noise.load_at_end)),
            ("Used by others", format!("{:.1} % of all CPUs", noise.others_share * 100.0)),
            ("Stolen by the hypervisor", format!("{:.1} %", noise.stolen_share * 100.0)),
            ("Preemptions", noise.preemptions.to_string()),
            ("Also running", running),
        ];
        let rows: String = rows.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
        let warning = noise.warning().map_or(String::new(), |warning| format!("\n{warning}\n"));
        format!("| Set-up | |\n|---|---|\n{rows}{warning}")
    }
}

/// A file under /sys, or a dash.
fn word_of(path: &str) -> String {
    fs::read_to_string(format!("/sys/{path}")).map_or_else(|_| "-".to_owned(), |text| text.trim().to_owned())
}

/// Name of the machine, fit for a folder's name.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// Watches what else happens from `start` to `finish`.
pub struct Watch {
    load: f64,
    preemptions: u64,
    own_ticks: u64,
    cpu: CpuTicks,
    running: Vec<String>,
}

impl Watch {
    /// From now on.
    pub fn start() -> Self {
        Self {
            load: load(),
            preemptions: preemptions(),
            own_ticks: own_ticks(),
            cpu: CpuTicks::now(),
            running: running(),
        }
    }

    /// Until now.
    pub fn finish(self) -> Noise {
        let cpu = CpuTicks::now();
        let total = cpu.total.saturating_sub(self.cpu.total).max(1) as f64;
        let busy = cpu.busy.saturating_sub(self.cpu.busy);
        let own = own_ticks().saturating_sub(self.own_ticks);
        let mut names = self.running;
        names.extend(running());
        names.sort();
        names.dedup();
        Noise {
            load_at_start: self.load,
            load_at_end: load(),
            preemptions: preemptions().saturating_sub(self.preemptions),
            others_share: busy.saturating_sub(own) as f64 / total,
            stolen_share: cpu.stolen.saturating_sub(self.cpu.stolen) as f64 / total,
            running: names,
        }
    }
}

impl Noise {
    /// Why the figures are not to be trusted, if so.
    pub fn warning(&self) -> Option<String> {
        (self.others_share > OTHERS_SHARE_MAX || self.stolen_share > STOLEN_SHARE_MAX).then(|| {
            format!(
                "WARNING: the machine was busy: others used {:.1} % of its CPUs (limit {:.0} %), the hypervisor took {:.1} % \
                 (limit {:.0} %), load {:.2} to {:.2}, {} preemptions; running: {}. Ratios may hold, figures do not: run again \
                 when it is quiet.",
                self.others_share * 100.0,
                OTHERS_SHARE_MAX * 100.0,
                self.stolen_share * 100.0,
                STOLEN_SHARE_MAX * 100.0,
                self.load_at_start,
                self.load_at_end,
                self.preemptions,
                if self.running.is_empty() { "-".to_owned() } else { self.running.join(", ") }
            )
        })
    }
}

/// Jiffies of all CPUs since boot.
struct CpuTicks {
    total: u64,
    busy: u64,
    stolen: u64,
}

impl CpuTicks {
    fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// The first line: user nice system idle iowait irq softirq steal (proc_stat(5)).
    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
        let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
        let total = ticks.iter().sum();
        Self { total, busy: total - at(3) - at(4) - at(7), stolen: at(7) }
    }
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

fn preemptions() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Name and state of a process, and its user and system jiffies, from /proc/PID/stat (the name may hold anything but ')').
fn parse_stat(stat: &str) -> Option<(&str, &str, u64)> {
    let (name, rest) = (stat.get(stat.find('(')? + 1..stat.rfind(')')?)?, stat.get(stat.rfind(')')? + 2..)?);
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some((name, fields.first()?, ticks))
}

fn own_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    parse_stat(&stat).map_or(0, |(_, _, ticks)| ticks)
}

/// Names of other processes in state R.
fn running() -> Vec<String> {
    let own = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let others = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.bytes().all(|byte| byte.is_ascii_digit()) && *name != *own
    });
    let mut names = Vec::new();
    for entry in others {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((name, "R", _)) = parse_stat(&stat) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting_nor_stolen() {
        let ticks = CpuTicks::parse("cpu  10 1 20 300 40 2 3 5 0 0\ncpu0 1 1 1 1\n");
        assert_eq!((ticks.total, ticks.busy, ticks.stolen), (381, 36, 5));
    }

    #[test]
    fn a_process_name_may_hold_brackets_and_blanks() {
        let stat = "42 (a (b) c) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14";
        assert_eq!(parse_stat(stat), Some(("a (b) c", "R", 23)));
    }

    #[test]
    fn a_quiet_machine_draws_no_warning_and_a_busy_one_does() {
        let mut noise = Noise {
            load_at_start: 0.1,
            load_at_end: 0.9,
            preemptions: 3,
            others_share: 0.02,
            stolen_share: 0.0,
            running: Vec::new(),
        };
        assert_eq!(noise.warning(), None);
        noise.others_share = 0.3;
        assert!(noise.warning().unwrap().contains("30.0 %"));
    }
}
