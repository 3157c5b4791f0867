//! CPU in use, of the machine or of a cgroup. Two looks at the kernel's counters and the time between them make a share.

use std::path::Path;
use std::time::Duration;

use tokio::fs;

const STAT: &str = "/proc/stat";

/// What the counters said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Time in use since some moment, all CPUs together. Ticks or nanoseconds: only the ratio to `whole` counts.
    used: u64,
    /// All the time there was, in the same unit; `None`: what the clock says.
    whole: Option<u64>,
}

impl Look {
    /// Looks at the machine, or at a cgroup of version 2 (`cpu.stat`) or 1 (`cpuacct.usage`).
    pub async fn take(cgroup: Option<&Path>) -> Result<Self, String> {
        let Some(cgroup) = cgroup else {
            return of_machine(&read(STAT.as_ref()).await?).ok_or_else(|| format!("{STAT} is not understood"));
        };
        let (v2, v1) = (cgroup.join("cpu.stat"), cgroup.join("cpuacct.usage"));
        let used = match read(&v2).await {
            Ok(text) => field(&text, "usage_usec").map(|us| us.saturating_mul(1_000)),
            Err(_) => None,
        };
        let used = match used {
            Some(used) => Some(used),
            None => read(&v1).await.ok().and_then(|text| text.trim().parse().ok()),
        };
        let missing =
            || format!("{} is no cgroup that counts CPU time: no cpu.stat, no cpuacct.usage", cgroup.display());
        Ok(Self { used: used.ok_or_else(missing)?, whole: None })
    }

    /// The share of the CPUs that was in use since `before`; `cpus` are those of a cgroup. `None` if no time passed.
    pub fn since(self, before: Self, elapsed: Duration, cpus: f64) -> Option<f64> {
        let used = self.used.checked_sub(before.used)? as f64;
        let whole = match (self.whole, before.whole) {
            (Some(now), Some(then)) => now.checked_sub(then)? as f64,
            _ => elapsed.as_nanos() as f64 * cpus,
        };
        (whole > 0.0).then(|| used / whole)
    }
}

/// How many CPUs a cgroup may use: the narrowest quota of it and those around it, or what the machine has.
pub async fn cpus_of(cgroup: &Path) -> Result<f64, String> {
    let machine = cpu_count(&read(STAT.as_ref()).await?);
    let mut least = machine as f64;
    for dir in cgroup.ancestors() {
        if let Ok(text) = fs::read_to_string(dir.join("cpu.max")).await {
            least = least.min(quota_v2(&text).unwrap_or(least));
        } else if let (Ok(quota), Ok(period)) = (
            fs::read_to_string(dir.join("cpu.cfs_quota_us")).await,
            fs::read_to_string(dir.join("cpu.cfs_period_us")).await,
        ) {
            least = least.min(quota_v2(&format!("{} {}", quota.trim(), period.trim())).unwrap_or(least));
        }
    }
    Ok(least)
}

async fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display()))
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal, and guests, which are in user already.
/// Time that a hypervisor took away (steal) is in use: it cannot be had.
fn of_machine(text: &str) -> Option<Look> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let whole: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(Look { used: whole - idle, whole: Some(whole) })
}

fn cpu_count(text: &str) -> usize {
    let is_cpu =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    text.lines().filter(is_cpu).count().max(1)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// `"50000 100000"` is half a CPU; `"max 100000"`, and version 1's -1, no quota.
fn quota_v2(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.trim().parse().ok()?);
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_as_busy_as_its_ticks_say() {
        let before = of_machine("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2\n").unwrap();
        let after = of_machine("cpu  130 10 110 800 100 0 0 50 99 0\n").unwrap();
        // 100 of 200 ticks: 30 user, 10 nice, 10 system, 50 stolen.
        assert_eq!(after.since(before, Duration::from_secs(9), 7.0), Some(0.5));
        assert_eq!(after.since(after, Duration::from_secs(1), 1.0), None, "no tick passed");
        assert_eq!(before.since(after, Duration::from_secs(1), 1.0), None, "counters that went back mean nothing");
        for bad in ["", "cpu x y", "cpu  1 2 3", "intr 7\n"] {
            assert_eq!(of_machine(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_cgroup_is_as_busy_as_its_quota_allows() {
        let look = |used| Look { used, whole: None };
        // 0.2 s of CPU in one second, of half a CPU.
        let share = look(1_200_000_000).since(look(1_000_000_000), Duration::from_secs(1), 0.5).unwrap();
        assert!((share - 0.4).abs() < 1e-9, "{share}");
        let table =
            [("max 100000\n", None), ("50000 100000\n", Some(0.5)), ("-1 100000", None), ("x", None), ("1 0", None)];
        for (text, cpus) in table {
            assert_eq!(quota_v2(text), cpus, "{text:?}");
        }
        assert_eq!(cpu_count("cpu  1\ncpu0 1\ncpu1 1\nctxt 7\n"), 2);
        assert_eq!(field("usage_usec 12\nuser_usec 7\n", "user_usec"), Some(7));
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn files_of_both_versions_are_read_and_the_narrowest_quota_counts() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a");
        std::fs::create_dir(&inner).unwrap();
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        let error = block_on(Look::take(Some(&inner))).unwrap_err();
        assert!(error.contains("no cpu.stat, no cpuacct.usage"), "{error}");
        write(&inner.join("cpuacct.usage"), "7000\n");
        assert_eq!(block_on(Look::take(Some(&inner))), Ok(Look { used: 7_000, whole: None }));
        write(&inner.join("cpu.stat"), "usage_usec 9\n");
        assert_eq!(block_on(Look::take(Some(&inner))), Ok(Look { used: 9_000, whole: None }));
        write(&inner.join("cpu.max"), "80000 100000\n");
        write(&folder.path().join("cpu.max"), "30000 100000\n");
        assert_eq!(block_on(cpus_of(&inner)), Ok(0.3));
        write(&inner.join("cpu.max"), "max 100000\n");
        assert_eq!(block_on(cpus_of(&inner)), Ok(0.3));
    }

    #[test]
    fn this_machine_has_counters() {
        let (first, second) = block_on(async {
            let first = Look::take(None).await.unwrap();
            (first, Look::take(None).await.unwrap())
        });
        assert!(second.whole >= first.whole && second.used >= first.used);
    }
}
