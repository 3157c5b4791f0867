//! Pressure-stall information (Linux `Documentation/accounting/psi.rst`): the share of the time in which work waited.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::fs;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// A CPU to run on.
    Cpu,
    /// Memory to be reclaimed or read back.
    Memory,
    /// A disk.
    Io,
}

/// How much of the work waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// At least one task.
    #[default]
    Some,
    /// All that want to run, at once.
    Full,
}

impl Resource {
    fn word(self) -> &'static str {
        match self {
            Resource::Cpu => "cpu",
            Resource::Memory => "memory",
            Resource::Io => "io",
        }
    }

    fn file(self, cgroup: Option<&Path>) -> PathBuf {
        match cgroup {
            Some(cgroup) => cgroup.join(format!("{}.pressure", self.word())),
            None => Path::new("/proc/pressure").join(self.word()),
        }
    }
}

/// Microseconds of waiting since the machine started. Their growth tells the share of any interval, exactly and at once,
/// where the kernel's own averages lag by ten seconds.
pub async fn waited_us(resource: Resource, share: Share, cgroup: Option<&Path>) -> Result<u64, String> {
    let path = resource.file(cgroup);
    match fs::read_to_string(&path).await {
        Ok(text) => {
            total(&text, share).ok_or_else(|| format!("{} has no {:?} total", path.display(), share).to_lowercase())
        }
        Err(error) => Err(format!(
            "no pressure-stall information at {}: {error}; the kernel needs CONFIG_PSI, and psi=1 where it is off by default",
            path.display()
        )),
    }
}

/// The share of `elapsed` in which work waited; never above 1, for the file and the clock are read one after the other.
pub fn share(before_us: u64, now_us: u64, elapsed: Duration) -> Option<f64> {
    let waited = now_us.checked_sub(before_us)? as f64;
    let elapsed = elapsed.as_micros() as f64;
    (elapsed > 0.0).then(|| (waited / elapsed).min(1.0))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`
fn total(text: &str, share: Share) -> Option<u64> {
    let word = match share {
        Share::Some => "some ",
        Share::Full => "full ",
    };
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split(' ').find_map(|field| field.strip_prefix("total=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "some avg10=1.53 avg60=0.87 avg300=0.61 total=5400\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=77\n";

    #[test]
    fn totals_are_found_and_become_shares() {
        assert_eq!((total(FILE, Share::Some), total(FILE, Share::Full)), (Some(5_400), Some(77)));
        assert_eq!(total("some avg10=1.53\n", Share::Some), None);
        assert_eq!(total("some avg10=1.53 total=5\n", Share::Full), None);
        let second = Duration::from_secs(1);
        assert_eq!(share(1_000, 251_000, second), Some(0.25));
        assert_eq!(share(0, 1_100_000, second), Some(1.0));
        assert_eq!((share(5, 4, second), share(5, 6, Duration::ZERO)), (None, None));
    }

    #[test]
    fn where_there_is_none_is_said_with_the_remedy() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let read = |share| runtime.block_on(waited_us(Resource::Io, share, Some(folder.path())));
        let error = read(Share::Some).unwrap_err();
        assert!(error.contains("io.pressure") && error.contains("CONFIG_PSI"), "{error}");
        std::fs::write(folder.path().join("io.pressure"), "some avg10=0.00 total=9\n").unwrap();
        assert_eq!(read(Share::Some), Ok(9));
        assert!(read(Share::Full).unwrap_err().ends_with("io.pressure has no full total"));
    }
}
