//! The file by which a ready daemon is known: locked while it is. The lock goes with the process, however it ends, so a
//! watchdog needs no clock that the daemon ticks, and no daemon that is merely slow looks dead. What the file says is whose
//! it was last, and whether the operator has drained the router: the next daemon goes on so.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// What stands behind the process's number.
const READY: &str = " ready\n";
const DRAINED: &str = " drained\n";
/// What is longer is not ours.
const LEN_MAX: u64 = 64;

/// The locked file.
#[derive(Debug)]
pub struct Mark(Flock<File>);

impl Mark {
    /// Takes the lock, for a daemon that is ready or a watchdog that withdraws; `None` if somebody has it.
    pub fn take(path: &Path) -> Result<Option<Self>> {
        let file = open(path).with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => Ok(Some(Self(locked))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Whether a daemon holds it. Looking takes a shared lock for a moment, which a starting daemon waits for.
    pub fn is_held(path: &Path) -> Result<bool> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
        };
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(false),
            Err((_, Errno::EWOULDBLOCK)) => Ok(true),
            Err((_, error)) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
        }
    }

    /// Whether the router was drained when this was last written; a file that is not there says no.
    pub fn is_drained(path: &Path) -> bool {
        Self::text(path).ends_with(DRAINED)
    }

    /// What it says: another text each time that another process had it. Empty if there is none.
    pub fn text(path: &Path) -> String {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LEN_MAX).read_to_string(&mut text));
        read.map_or_else(|_| String::new(), |_| text)
    }

    /// Writes whether it is.
    pub fn set_drained(&mut self, is_drained: bool) -> io::Result<()> {
        self.0.rewind()?;
        self.0.set_len(0)?;
        let state = if is_drained { DRAINED } else { READY };
        self.0.write_all(format!("{}{state}", std::process::id()).as_bytes())
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_while_it_is_held_and_goes_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run").join("announce");
        assert!(!Mark::is_held(&path).unwrap(), "no file, no daemon");
        let held = Mark::take(&path).unwrap().unwrap();
        assert!(Mark::is_held(&path).unwrap());
        assert!(Mark::take(&path).unwrap().is_none());
        drop(held);
        assert!(!Mark::is_held(&path).unwrap());
        assert!(Mark::take(&path).unwrap().is_some());
    }

    #[test]
    fn a_drain_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("announce");
        assert!(!Mark::is_drained(&path) && Mark::text(&path).is_empty());
        let mut mark = Mark::take(&path).unwrap().unwrap();
        mark.set_drained(true).unwrap();
        assert!(Mark::is_drained(&path));
        mark.set_drained(false).unwrap();
        assert!(!Mark::is_drained(&path));
        assert_eq!(Mark::text(&path), format!("{} ready\n", std::process::id()));
    }
}
