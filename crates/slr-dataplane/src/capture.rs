//! Capturing: packets as they came and as they left, each with the reason that it ended by.
//!
//! Whoever captures loads the entry program that does it, over the tables that the daemon has pinned ([`Capture::load`]), pins it
//! for a moment and asks the daemon to put it on the interfaces ([`Switch`]). Filter, ring and counts are the capture's own and go
//! with it; while nobody captures there is nothing of this in the kernel.

mod filter;
mod record;
mod switch;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

pub use filter::{Filter, SNAP, SNAP_MAX, Share};
pub use record::{Action, Captured, Image};
pub use switch::{SwitchError, is_pin_name, pin_name};

pub(crate) use switch::{Switch, clear_pins};

use crate::abi::{capture_filter, slr_const};
use crate::object::{LoadError, Loaded};
use crate::records::Records;
use crate::router::{self, TestRun};
use crate::sys;
use crate::table::{MapError, PerCpu, Table};

/// Records that are taken at once.
const AT_ONCE: usize = 4_096;

/// Whose packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The router's program.
    Router,
    /// The host's.
    Host,
}

impl Kind {
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Router => "slr_router_capture",
            Self::Host => "slr_host_capture",
        }
    }

    fn object(self) -> &'static [u8] {
        match self {
            Self::Router => crate::router::OBJECT,
            Self::Host => crate::host::OBJECT,
        }
    }
}

/// What became of packets that were to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the ring.
    pub written: u64,
    /// Looked past, since the rate that was asked for was used up: some of them may not have been asked for.
    pub limited: u64,
    /// The ring was full: the reader is too slow.
    pub lost: u64,
}

/// A program that captures, loaded, with what it has found. It captures once it is on an interface and as long as
/// [`Capture::set`] says.
pub struct Capture {
    kind: Kind,
    loaded: Loaded,
    filter: Table<u32, capture_filter>,
    counts: PerCpu<u64>,
    records: Records<Captured>,
}

impl Capture {
    /// Over the tables that the daemon has pinned in `pins`, the folder of this version.
    pub fn load(kind: Kind, pins: &Path) -> Result<Self, LoadError> {
        Self::over(kind, |name| {
            let path = pins.join(name);
            sys::open_pin(&path).map_err(|source| LoadError::Pin { path, source })
        })
    }

    /// Over the tables that `table` has.
    pub(crate) fn over(kind: Kind, table: impl Fn(&str) -> Result<OwnedFd, LoadError>) -> Result<Self, LoadError> {
        let loaded = Loaded::beside("capture program", kind.object(), kind.program(), table)?;
        let failed = |error: MapError| LoadError::Pin { path: PathBuf::from(error.table), source: error.source };
        Ok(Self {
            kind,
            filter: Table::open(&loaded, "capture_filter")?,
            counts: PerCpu::open(&loaded, "capture_counts")?,
            records: Records::open(&loaded, "capture_ring", AT_ONCE, Captured::from_record).map_err(failed)?,
            loaded,
        })
    }

    /// The program, to be attached or run.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.loaded.program(self.kind.program()).expect("in the object")
    }

    /// Pin the program where the daemon looks for that of process `pid`.
    pub fn pin(&self, pins: &Path, pid: u32) -> io::Result<Pin> {
        let path = pins.join(pin_name(pid));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {} // of a process that had this number before
        }
        sys::pin(self.program(), &path)?;
        Ok(Pin(path))
    }

    /// From now on, and for so long, what `filter` says.
    pub fn set(&self, filter: &Filter, lasting: Duration) -> Result<(), MapError> {
        let until = monotonic() + lasting;
        self.filter.put(&0, &filter.to_abi(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Run one packet through the program, as if it came in on interface 0.
    pub fn test_run(&self, packet: &[u8]) -> Result<TestRun, MapError> {
        router::test_run(self.program(), packet)
    }

    /// What has come since; nobody is woken for it. More may be there: to be called until it returns nothing.
    pub fn take(&mut self) -> Result<Vec<Captured>, MapError> {
        self.records.take()
    }

    /// What became of packets that were to be looked at, so far.
    pub fn counts(&self) -> Result<Counts, MapError> {
        let sum = |kind: slr_const| Ok::<_, MapError>(self.counts.get(kind.0)?.into_iter().sum::<u64>());
        Ok(Counts {
            written: sum(slr_const::CAPTURE_WRITTEN)?,
            limited: sum(slr_const::CAPTURE_LIMITED)?,
            lost: sum(slr_const::CAPTURE_LOST)?,
        })
    }
}

/// A pinned program; the pin goes with this.
pub struct Pin(PathBuf);

impl Drop for Pin {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // the daemon has taken it
    }
}

/// The clock that captured packets are stamped by.
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has it").into()
}

/// A table of a loaded object, for [`Capture::over`].
pub(crate) fn table_of(loaded: &Loaded, name: &str) -> Result<OwnedFd, LoadError> {
    let map = loaded.map(name)?;
    map.as_fd().try_clone_to_owned().map_err(|source| LoadError::Pin { path: name.into(), source })
}
