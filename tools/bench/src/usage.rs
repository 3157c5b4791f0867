//! What a process has used so far: proc_pid_stat(5) and proc_pid_status(5).

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Ticks of `utime` and `stime` in a second: USER_HZ, which is part of the kernel's interface (proc(5)).
const TICKS_PER_S: f64 = 100.0;

/// CPU time of a process and its threads at a moment.
pub struct Cpu {
    at: Instant,
    whole: Ticks,
    threads: BTreeMap<u32, (String, Ticks)>,
}

#[derive(Clone, Copy, Default)]
struct Ticks {
    user: u64,
    system: u64,
}

/// CPU time between two moments, in per cent of a core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuShare {
    /// All of it.
    pub percent: f64,
    /// In user space.
    pub user_percent: f64,
    /// In the kernel.
    pub system_percent: f64,
    /// By thread, by name.
    pub threads: BTreeMap<String, f64>,
    /// Seconds between the moments.
    pub seconds: f64,
}

/// Memory in megabytes of 1,000,000 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// VmRSS: resident now.
    pub resident_mb: f64,
    /// VmHWM: resident at most, ever.
    pub peak_mb: f64,
    /// RssAnon: the part that is the process's own, without files and mapped tables.
    pub anonymous_mb: f64,
}

impl Cpu {
    /// Now.
    pub fn of(pid: u32) -> Result<Self> {
        let mut threads = BTreeMap::new();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("threads of process {pid}"))?;
        for task in tasks.flatten() {
            let Some(id) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A thread may end between the two.
            let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
            threads.extend(parse(&stat).map(|parsed| (id, parsed)));
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
        let (_, whole) = parse(&stat).context("proc_pid_stat(5)")?;
        Ok(Self { at: Instant::now(), whole, threads })
    }

    /// From `earlier` to now.
    pub fn since(&self, earlier: &Self) -> CpuShare {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        let percent = |now: u64, then: u64| now.saturating_sub(then) as f64 / TICKS_PER_S / seconds * 100.0;
        let mut threads = BTreeMap::new();
        for (id, (name, now)) in &self.threads {
            let then = earlier.threads.get(id).map_or(Ticks::default(), |(_, ticks)| *ticks);
            *threads.entry(name.clone()).or_default() +=
                percent(now.user, then.user) + percent(now.system, then.system);
        }
        let user_percent = percent(self.whole.user, earlier.whole.user);
        let system_percent = percent(self.whole.system, earlier.whole.system);
        CpuShare { percent: user_percent + system_percent, user_percent, system_percent, threads, seconds }
    }
}

/// A thread's name and ticks. The name may hold anything, brackets too; the last one ends it.
fn parse(stat: &str) -> Option<(String, Ticks)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // Fields 14 and 15 of all; the state, which is the first here, is number 3.
    Some((name, Ticks { user: fields.get(11)?.parse().ok()?, system: fields.get(12)?.parse().ok()? }))
}

impl Memory {
    /// Now.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let megabytes = |key: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
            Ok(kibibytes.with_context(|| format!("{key} in {path}"))? * 1_024.0 / 1e6)
        };
        Ok(Self { resident_mb: megabytes("VmRSS")?, peak_mb: megabytes("VmHWM")?, anonymous_mb: megabytes("RssAnon")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_has_a_name_and_two_figures() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 40 0 0 20 0 3 0 999 1 1";
        let (name, ticks) = parse(line).unwrap();
        assert_eq!((name.as_str(), ticks.user, ticks.system), ("a) b", 250, 40));
    }

    #[test]
    fn a_busy_thread_uses_a_core_and_memory() {
        let pid = std::process::id();
        let before = Cpu::of(pid).unwrap();
        let begin = Instant::now();
        let mut x = 1u64;
        while begin.elapsed().as_millis() < 200 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        let used = Cpu::of(pid).unwrap().since(&before);
        assert!(used.percent > 5.0 && used.user_percent <= used.percent, "{used:?}");
        assert!(Memory::of(pid).unwrap().peak_mb >= Memory::of(pid).unwrap().anonymous_mb);
    }
}
