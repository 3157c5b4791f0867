//! The host: loading, pinning, attaching, filling and reading the programs of `bpf/host.bpf.c`.
//!
//! Three places carry them: XDP and tc egress on each underlay interface, and a cgroup for the UDP sources. All of it
//! outlives the daemon; a restart takes over what is pinned and swaps the programs in place, so that packets meet the old
//! program or the new one and never none.

mod abi;
mod apply;
mod capture;
mod cgroup;
mod claims;
mod desired;
mod egress;
mod report;
mod settings;
mod stalls;
mod tables;

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use crate::object::LoadError;
pub use crate::router::{Counter, TestRun, UnloadError, XdpVerdict};
pub use crate::table::MapError;
pub use crate::xdp::{AttachError, Attachment, XdpMode};
pub use apply::{HostApplied, HostApplyError};
pub use cgroup::CgroupError;
pub use claims::{ClaimCounts, ClaimReader};
pub use desired::{HostDesired, SocketScope};
pub use egress::{EgressError, PROGRAM as EGRESS_PROGRAM};
pub use report::{PeerStatus, SubnetUsage};
pub use stalls::{Stall, StallKind, Sweeper, Swept, TcpState};

use crate::capture::{Switch, clear_pins};
use crate::object::{Loaded, Spec};
use crate::router::{self, upgrade};
use crate::{sys, xdp};
use tables::Tables;

pub(crate) const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/host.bpf.o"));
const PROGRAM: &str = "slr_host";
/// Tables that an upgrade to another version copies.
#[cfg(test)]
pub(crate) const COPIED: [&str; 1] = [cgroup::NOTES];

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// Where tables and links are pinned, on a bpffs. `None`: nowhere, everything ends with the process.
    pub pin_dir: Option<PathBuf>,
}

/// What was found at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAdoption {
    /// Nothing.
    Fresh,
    /// Tables of this version, taken over as they are.
    SameVersion,
    /// Tables of another version: the UDP clients are copied, the counters start anew.
    Upgraded {
        /// The version.
        from: u32,
    },
}

/// The programs cannot be put on an interface.
#[derive(Debug, Error)]
pub enum HostAttachError {
    /// Ingress.
    #[error(transparent)]
    Xdp(#[from] AttachError),
    /// Egress.
    #[error(transparent)]
    Egress(#[from] EgressError),
}

/// The loaded programs with their tables.
pub struct Host {
    loaded: Loaded,
    tables: Tables,
    /// Directory of this version's pins.
    pins: Option<PathBuf>,
    /// Directories of other versions' pins, until [`Host::settle`].
    older: Vec<PathBuf>,
    attachments: Vec<Attachment>,
    /// Which XDP program is on them.
    switch: Switch,
    cgroup: Option<cgroup::Links>,
    desired: HostDesired,
}

impl Host {
    /// Load the programs; take over what is pinned.
    pub fn load(options: &HostOptions) -> Result<(Self, HostAdoption), LoadError> {
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Debug, log_libbpf)));
        let pins = options.pin_dir.as_ref().map(|dir| dir.join(format!("v{}", crate::abi::VERSION)));
        let known = pins.as_ref().is_some_and(|dir| dir.join("settings").exists());
        let older = options.pin_dir.as_deref().map(upgrade::other_versions).unwrap_or_default();
        let loaded =
            Loaded::load(&Spec { name: "host program", bytes: OBJECT, capacities: &[], pins: pins.as_deref() })?;
        let tables = Tables::open(&loaded)?;
        let adoption = match older.first() {
            _ if known => HostAdoption::SameVersion,
            Some((from, _)) => HostAdoption::Upgraded { from: *from },
            None => HostAdoption::Fresh,
        };
        let older = older.into_iter().map(|(_, path)| path).collect();
        pins.as_deref().into_iter().for_each(clear_pins);
        let (attachments, desired) = (Vec::new(), HostDesired::default());
        let switch = Switch::default();
        Ok((Self { loaded, tables, pins, older, attachments, switch, cgroup: None, desired }, adoption))
    }

    /// Put the programs on an interface, or swap them into what an earlier process left there. Egress comes first: no
    /// client is accepted whose reply would not be clamped.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<XdpMode, HostAttachError> {
        self.attach_egress(interface)?;
        let attachment =
            xdp::attach(self.switch.program(self.program()), interface, mode, self.pins.as_deref(), &self.older)?;
        let mode = attachment.mode;
        self.attachments.retain(|other| other.interface != interface);
        self.attachments.push(attachment);
        Ok(mode)
    }

    /// Put the egress program back where somebody may have taken it off.
    pub fn attach_egress(&self, interface: &str) -> Result<(), EgressError> {
        egress::attach(self.egress_program(), interface, self.pins.as_deref())
    }

    /// Take the programs off an interface, whether this process attached them or an earlier one; nothing if they are not
    /// there.
    pub fn detach(&mut self, interface: &str) -> io::Result<()> {
        match self.attachments.iter().position(|attachment| attachment.interface == interface) {
            Some(index) => self.attachments.swap_remove(index).detach()?,
            None => remove_pin(self.pins.as_deref(), interface)?,
        }
        egress::detach(interface, self.pins.as_deref())
    }

    /// Interfaces that pins say the programs are on, whether this process attached them or an earlier one.
    pub fn pinned_interfaces(&self) -> Vec<String> {
        self.pins.as_deref().map(interfaces_of).unwrap_or_default()
    }

    /// Give the sockets in a cgroup (version 2) their virtual UDP sources.
    pub fn attach_cgroup(&mut self, path: &Path) -> Result<(), CgroupError> {
        let links = cgroup::attach(&self.loaded, path, self.pins.as_deref(), &self.older)?;
        self.cgroup = Some(links);
        Ok(())
    }

    /// Where the programs are.
    pub fn attached(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Call once everything is attached: after an upgrade, the old version's pins go.
    pub fn settle(&mut self) -> Result<(), LoadError> {
        for path in std::mem::take(&mut self.older) {
            // The UDP clients were copied with the cgroup. The notes in connected sockets (`udp_connected`) cannot be: such a
            // socket has no second chance, but its client's next datagram goes to the listening one.
            egress::carry_marks(&path, self.pins.as_deref());
            fs::remove_dir_all(&path).map_err(|source| LoadError::Pin { path, source })?;
        }
        Ok(())
    }

    /// Run one packet through the XDP program. Its sockets are those of the caller's network namespace.
    pub fn test_run(&self, packet: &[u8]) -> Result<TestRun, MapError> {
        router::test_run(self.program(), packet)
    }

    /// Run one frame through the egress program; returns the frame afterwards.
    pub fn test_run_egress(&self, frame: &[u8]) -> Result<Vec<u8>, MapError> {
        let mut out = Vec::new();
        sys::test_run(self.egress_program(), frame, &mut out).map_err(failed_run)?;
        Ok(out)
    }

    /// The egress program's descriptor, for benchmarks.
    pub fn egress_program(&self) -> BorrowedFd<'_> {
        self.loaded.program(egress::PROGRAM).expect("in the object")
    }

    /// The XDP program's descriptor, for benchmarks.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.loaded.program(PROGRAM).expect("in the object")
    }

    /// Take off and remove everything pinned under `pin_dir`, of any version.
    pub fn unload(pin_dir: &Path) -> Result<(), UnloadError> {
        let failed = |source| UnloadError { path: pin_dir.to_owned(), source };
        let versions = match fs::read_dir(pin_dir) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(failed(e)),
        };
        for version in versions {
            for interface in interfaces_of(&version) {
                egress::detach(&interface, Some(&version)).map_err(failed)?;
            }
            for link in links_of(&version) {
                cgroup::detach_pinned(&link).map_err(failed)?;
            }
        }
        fs::remove_dir_all(pin_dir).map_err(failed)
    }
}

/// libbpf writes to stderr, also what is no failure: "no such qdisc" only means that we make it. Errors come back as such.
fn log_libbpf(_: libbpf_rs::PrintLevel, text: String) {
    tracing::debug!(target: "libbpf", "{}", text.trim_end());
}

fn failed_run(source: io::Error) -> MapError {
    MapError { table: "program", action: "test run", source }
}

fn remove_pin(pins: Option<&Path>, interface: &str) -> io::Result<()> {
    match pins.map(|pins| fs::remove_file(pins.join(xdp::pin_name("link-", interface)))) {
        Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Pinned links in this directory, on interfaces and cgroups.
fn links_of(pins: &Path) -> impl Iterator<Item = PathBuf> {
    let is_link = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("link-") || name.starts_with("cgroup-")
    };
    fs::read_dir(pins).into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_link)
}

/// Interfaces with a pinned link in this directory.
fn interfaces_of(pins: &Path) -> Vec<String> {
    let entries = fs::read_dir(pins).into_iter().flatten().flatten();
    entries.filter_map(|entry| xdp::interface_of_pin("link-", entry.file_name().to_str()?)).collect()
}
