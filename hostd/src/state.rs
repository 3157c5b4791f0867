//! What outlives the daemon: how often it has started, whether it is drained, what parents told.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::drain::Cause;
use crate::peers::Learned;

/// Longest file that is read: 4,096 hosts with two addresses each are 400 KiB.
const LEN_MAX: u64 = 4 << 20;

/// The remembered state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Larger at each start of the daemon: routers take the larger one for the living one.
    pub incarnation: u64,
    /// Why this host is drained, if it is. The end of the daemon is no reason: its successor serves.
    pub drained: Option<Cause>,
    /// What parents told.
    pub learned: Learned,
}

/// Where it is kept.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The state in `folder`, which is made, with an incarnation larger than any before, already written down.
    pub fn open(folder: &Path) -> Result<(Self, State)> {
        fs::create_dir_all(folder).with_context(|| format!("make the state folder {}", folder.display()))?;
        let store = Self { path: folder.join("state.json") };
        let mut state = store.read();
        // By the clock, so that a lost file does no harm, and never less than before, so that a clock set back does none.
        let clock_ms =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |past| past.as_millis() as u64);
        state.incarnation = clock_ms.max(state.incarnation + 1);
        store.write(&state)?;
        Ok((store, state))
    }

    fn read(&self) -> State {
        let read = || -> Result<State> {
            let len = fs::metadata(&self.path)?.len();
            anyhow::ensure!(len <= LEN_MAX, "it has {len} bytes");
            Ok(serde_json::from_slice(&fs::read(&self.path)?)?)
        };
        match read() {
            Ok(state) => state,
            Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => {
                State::default()
            }
            Err(error) => {
                tracing::warn!("{} is not understood, starts without it: {error:#}", self.path.display());
                State::default()
            }
        }
    }

    /// Writes it down, whole or not at all.
    pub fn write(&self, state: &State) -> Result<()> {
        let new = self.path.with_extension("json.new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(state)?)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        write().with_context(|| format!("write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_is_later_than_the_one_before_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib/hostd");
        let (store, mut state) = Store::open(&path).unwrap();
        assert_eq!((state.drained.clone(), state.learned.clone()), (None, Learned::default()));
        state.drained = Some(Cause::Router { name: "slr1".parse().unwrap(), requested_by: "ann".to_owned() });
        state
            .learned
            .hosts(&"slr1".parse().unwrap(), [("h2".parse().unwrap(), vec!["10.0.0.1".parse().unwrap()])].into());
        // A clock that was set back.
        state.incarnation += 1_000_000_000;
        store.write(&state).unwrap();
        let (_, again) = Store::open(&path).unwrap();
        assert_eq!(again, State { incarnation: state.incarnation + 1, ..state });
    }

    #[test]
    fn a_broken_file_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("state.json"), "{\"incarnation\": ").unwrap();
        let (_, state) = Store::open(folder.path()).unwrap();
        assert!(state.incarnation > 1_700_000_000_000, "the clock's");
    }
}
