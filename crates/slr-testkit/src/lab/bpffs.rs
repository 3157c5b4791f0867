//! The BPF file system: mounted if nobody did, and unmounted by the last lab only if a lab mounted it.

use super::state::{STATE_ROOT, names_in};
use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount, umount};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the BPF file system is expected.
pub const BPFFS: &str = "/sys/fs/bpf";
/// Remembers that a lab mounted it.
const MARKER: &str = "/run/slr-lab/.bpffs-mounted";

/// The pin directory of a node.
pub(super) fn pin_dir(run: &str, node: &str) -> PathBuf {
    run_dir(run).join(node)
}

fn run_dir(run: &str) -> PathBuf {
    root().join(run)
}

fn root() -> PathBuf {
    Path::new(BPFFS).join("slr-lab")
}

/// Mounts the file system if need be. The caller holds the lock.
pub(super) fn ensure_mounted() -> Result<()> {
    if is_mounted()? {
        return Ok(());
    }
    fs::create_dir_all(STATE_ROOT).with_context(|| format!("make {STATE_ROOT}"))?;
    fs::write(MARKER, "").with_context(|| format!("write {MARKER}"))?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mount the BPF file system at {BPFFS}"))
}

pub(super) fn create_pin_dir(run: &str, node: &str) -> Result<()> {
    let dir = pin_dir(run, node);
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))
}

/// Removes a run's pins. Fine if there are none.
pub(super) fn remove_pins(run: &str) -> Result<()> {
    let dir = run_dir(run);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("remove pins in {}", dir.display()))?;
    }
    if root().exists() && names_in(&root())?.is_empty() {
        fs::remove_dir(root()).with_context(|| format!("remove {}", root().display()))?;
    }
    Ok(())
}

/// Unmounts what a lab mounted, unless somebody else uses it by now. The caller holds the lock and no lab is up.
pub(super) fn unmount_if_ours() -> Result<()> {
    if !Path::new(MARKER).exists() {
        return Ok(());
    }
    // The kernel puts its own iterators, maps.debug and progs.debug, into every fresh mount.
    let in_use = || names_in(Path::new(BPFFS)).map(|names| names.iter().any(|name| !name.ends_with(".debug")));
    if is_mounted()? && !in_use()? {
        umount(BPFFS).with_context(|| format!("unmount {BPFFS}"))?;
    }
    fs::remove_file(MARKER).with_context(|| format!("remove {MARKER}"))
}

fn is_mounted() -> Result<bool> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let is_bpffs = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    };
    Ok(mounts.lines().any(is_bpffs))
}
