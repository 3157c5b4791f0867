//! The router: loading, pinning, filling and reading the program of `bpf/router.bpf.c`.
//!
//! The kernel's tables are a cache of a [`Desired`] state plus the memory of the flows. Both outlive the daemon under a
//! pin directory that names the ABI version: a restart takes them over ([`Adoption`]), [`Router::apply`] reconciles.

mod accounts;
pub(crate) mod addr;
mod adopt;
mod adverts;
mod apply;
mod capacity;
mod capture;
mod census;
mod check;
mod claims;
mod classes;
mod desired;
mod flow_key;
mod held;
mod hops;
mod layout;
mod lost_flows;
mod mirror;
mod moved;
mod new_pins;
mod own_pins;
mod pending;
mod pin_walk;
mod pins;
mod place;
mod preview;
#[cfg(test)]
mod recovery_simulation;
mod report;
mod rings;
mod subnets;
mod sweep;
mod tables;
mod template;
mod trace;
mod unpin;
pub(crate) mod upgrade;

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use slr_model::FlowKey;
use thiserror::Error;

pub use crate::object::LoadError;
pub use crate::table::{MapError, Part};
pub use crate::xdp::{AttachError, Attachment, XdpMode};
pub use adverts::AdvertReader;
pub use apply::{Applied, ApplyError};
pub use capacity::TableUse;
pub use census::{Census, FlowShare};
pub use claims::Claimed;
pub use desired::{Class, Config, Desired, Host, Link, Route, Subnet};
pub use held::{HeldReader, Orphan};
pub use lost_flows::LostFlows;
pub use mirror::{Mirrored, REFRESH_S};
pub use moved::Moved;
pub use new_pins::{NewPinReader, NewPins};
pub use own_pins::{OwnPin, OwnPins};
pub use report::{Counter, FlowCount, FlowStatus, HopStatus, RouteStatus, SubnetStatus, Usage};
pub use sweep::{SweepPolicy, SweepReport};
pub use trace::{KnownFlow, Step, Trace, TracedHop, TracedRoute};

use crate::abi;
use crate::capture::{Switch, clear_pins};
use crate::object::{Loaded, Spec};
use crate::{sys, xdp};
use accounts::Accounts;
use classes::ClassTable;
use hops::HopTable;
use rings::Rings;
use subnets::SubnetIds;
use tables::Tables;

pub(crate) const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/router.bpf.o"));
const PROGRAM: &str = "slr_router";

/// How to load.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// Where tables and links are pinned, on a bpffs. `None`: nowhere, everything ends with the process.
    pub pin_dir: Option<PathBuf>,
    /// Capacity of each family's table of pinned flows. Tables that are taken over keep theirs.
    pub flows_per_family: u32,
    /// Capacity of each family's table of flows that have not shown two ends.
    pub new_flows_per_family: u32,
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self { pin_dir: None, flows_per_family: 1 << 20, new_flows_per_family: 1 << 16 }
    }
}

/// What was found at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Nothing: empty tables.
    Fresh,
    /// Tables of this version, taken over as they are.
    SameVersion {
        /// Pinned flows in them.
        flows: u64,
    },
    /// Tables of another version, copied field by field.
    Upgraded {
        /// The version.
        from: u32,
        /// Pinned flows copied.
        flows: u64,
    },
}

/// What XDP would do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpVerdict {
    /// The program failed.
    Aborted,
    /// Discard.
    Drop,
    /// To the kernel's stack.
    Pass,
    /// Back out of the same interface.
    Tx,
    /// Out of another interface.
    Redirect,
}

/// One packet through the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What would be done.
    pub verdict: XdpVerdict,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// How long it took; single shots carry the cost of the call, see docs/measuring.md.
    pub nanoseconds: u32,
}

/// Pins could not be removed.
#[derive(Debug, Error)]
#[error("{}: {source}", path.display())]
pub struct UnloadError {
    /// Where.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// A loaded router program with its tables.
pub struct Router {
    loaded: Loaded,
    tables: Tables,
    hops: HopTable,
    subnets: SubnetIds,
    classes: ClassTable,
    rings: Rings,
    accounts: Accounts,
    /// Directory of this version's pins.
    pins: Option<PathBuf>,
    /// Directories of other versions' pins, until [`Router::settle`].
    older: Vec<PathBuf>,
    attachments: Vec<Attachment>,
    /// Which program is on them.
    switch: Switch,
    census: Census,
    /// A sweep under way.
    sweeping: Option<sweep::Sweep>,
    /// What sweeps have forgotten of this member's flows, for those who mirror them; `None`: nobody does.
    forgotten: Option<Vec<FlowKey>>,
}

impl Router {
    /// Load the program; take over what is pinned.
    pub fn load(options: &RouterOptions) -> Result<(Self, Adoption), LoadError> {
        let pins = options.pin_dir.as_ref().map(|dir| dir.join(format!("v{}", abi::VERSION)));
        let known = pins.as_ref().is_some_and(|dir| dir.exists());
        let older = options.pin_dir.as_deref().map(upgrade::other_versions).unwrap_or_default();
        // Tables are whole before they have their final name: who is interrupted while copying begins anew.
        let staging = options.pin_dir.as_ref().filter(|_| !known).map(|dir| dir.join(format!("v{}-new", abi::VERSION)));
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| LoadError::Pin { path, source }
        };
        if let Some(staging) = staging.as_deref().filter(|staging| staging.exists()) {
            fs::remove_dir_all(staging).map_err(at(staging))?;
        }
        let sets = options.new_flows_per_family.div_ceil(abi::slr_const::SLR_PENDING_WAYS.0).max(1);
        let loaded = Loaded::load(&Spec {
            name: "router program",
            bytes: OBJECT,
            capacities: &[
                ("flows_v4", options.flows_per_family),
                ("flows_v6", options.flows_per_family),
                ("pending_v4", sets),
                ("pending_v6", sets),
            ],
            pins: staging.as_deref().or(pins.as_deref()),
        })?;
        let tables = Tables::open(&loaded)?;
        // The newest of the older ones counts. With pins of our own an upgrade was interrupted later: settle() will finish it.
        if let (false, Some((_, path))) = (known, older.first()) {
            upgrade::copy(path, &loaded).map_err(at(path))?;
        }
        if let (Some(staging), Some(pins)) = (&staging, &pins) {
            fs::rename(staging, pins).map_err(at(staging))?;
        }
        pins.as_deref().into_iter().for_each(clear_pins);
        let adopted = adopt::read(&tables).map_err(|e| LoadError::Pin {
            path: pins.clone().unwrap_or_default(),
            source: io::Error::other(e.to_string()),
        })?;
        let adoption = match older.first() {
            Some((from, _)) if !known => Adoption::Upgraded { from: *from, flows: adopted.flows },
            _ if known => Adoption::SameVersion { flows: adopted.flows },
            _ => Adoption::Fresh,
        };
        let router = Self {
            loaded,
            tables,
            hops: adopted.hops,
            subnets: adopted.subnets,
            classes: adopted.classes,
            rings: adopted.rings,
            accounts: Accounts::default(),
            pins,
            older: older.into_iter().map(|(_, path)| path).collect(),
            attachments: Vec::new(),
            switch: Switch::default(),
            census: Census::default(),
            sweeping: None,
            forgotten: None,
        };
        Ok((router, adoption))
    }

    /// Put the program on an interface, or swap it into a link that an earlier process left there.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<XdpMode, AttachError> {
        let program = self.switch.program(self.program());
        let attachment = xdp::attach(program, interface, mode, self.pins.as_deref(), &self.older)?;
        let mode = attachment.mode;
        self.attachments.retain(|other| other.interface != interface);
        self.attachments.push(attachment);
        Ok(mode)
    }

    /// Take the program off an interface; nothing if it is not there.
    pub fn detach(&mut self, interface: &str) -> io::Result<()> {
        match self.attachments.iter().position(|attachment| attachment.interface == interface) {
            Some(index) => self.attachments.swap_remove(index).detach(),
            None => Ok(()),
        }
    }

    /// Where the program is.
    pub fn attached(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Call once all interfaces are attached: after an upgrade, the flows that changed meanwhile are copied and the old
    /// version's pins go. Returns how many flows that were.
    pub fn settle(&mut self) -> Result<u64, LoadError> {
        let mut flows = 0;
        for path in std::mem::take(&mut self.older) {
            let copied = upgrade::copy_flows(&path, &self.loaded).and_then(|count| {
                fs::remove_dir_all(&path)?;
                Ok(count)
            });
            flows += copied.map_err(|source| LoadError::Pin { path, source })?;
        }
        Ok(flows)
    }

    /// Run one packet through the program, as if it came in on interface 0.
    pub fn test_run(&self, packet: &[u8]) -> Result<TestRun, MapError> {
        test_run(self.program(), packet)
    }

    /// The program's descriptor, for benchmarks.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.loaded.program(PROGRAM).expect("checked at load")
    }

    /// Remove every link and table pinned under `pin_dir`, of any version. The packets of virtual subnets then go where
    /// the kernel sends them.
    pub fn unload(pin_dir: &Path) -> Result<(), UnloadError> {
        match fs::remove_dir_all(pin_dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|source| UnloadError { path: pin_dir.to_owned(), source }),
        }
    }
}

/// One packet through an XDP program.
pub(crate) fn test_run(program: BorrowedFd<'_>, packet: &[u8]) -> Result<TestRun, MapError> {
    let mut out = Vec::new();
    let (verdict, nanoseconds) = sys::test_run(program, packet, &mut out).map_err(|source| MapError {
        table: "program",
        action: "test run",
        source,
    })?;
    let verdict = match verdict {
        1 => XdpVerdict::Drop,
        2 => XdpVerdict::Pass,
        3 => XdpVerdict::Tx,
        4 => XdpVerdict::Redirect,
        _ => XdpVerdict::Aborted,
    };
    Ok(TestRun { verdict, packet: out, nanoseconds })
}
