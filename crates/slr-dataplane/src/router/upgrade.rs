//! From one ABI version to another: every table of the old pins is copied into the new ones, field by field.
//!
//! The kernel keeps the BTF of a pinned map's key and value, so the old layout describes itself: fields are matched by
//! name, and a field that only one side has is dropped or left zero. Going back to an older version works the same way.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use crate::abi;
use crate::object::Loaded;
use crate::sys::{self, KernelBtf, MapFacts};

/// Tables that only help in passing, or count what the old version did per CPU: these start anew.
const NOT_COPIED: [&str; 17] = [
    "frags",
    "buckets",
    "icmp_bucket",
    "held_bucket",
    "held_buckets",
    "held_udp_bucket",
    "kept_bucket",
    "held_reading",
    "reasons",
    "hop_usage",
    "subnet_usage",
    "new_pins",
    "new_pin_counts",
    "held",
    "adverts",
    "advert_bucket",
    "advert_buckets",
];

/// Directories of other versions' pins, newest first.
pub fn other_versions(pin_dir: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(pin_dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix('v')?.parse().ok()?;
            (version != abi::VERSION).then(|| (version, entry.path()))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found
}

/// Copy every table.
pub fn copy(old: &Path, new: &Loaded) -> io::Result<()> {
    let names: Vec<String> =
        new.shared_maps().map(str::to_owned).filter(|n| !NOT_COPIED.contains(&n.as_str())).collect();
    for name in names {
        copy_table(old, new, &name, true)?;
    }
    Ok(())
}

/// Copy the flows that the new tables do not have yet.
pub fn copy_flows(old: &Path, new: &Loaded) -> io::Result<u64> {
    ["flows_v4", "flows_v6"].iter().map(|name| copy_table(old, new, name, false)).sum()
}

pub fn copy_table(old: &Path, new: &Loaded, name: &str, replace: bool) -> io::Result<u64> {
    let path = old.join(name);
    if !path.exists() {
        return Ok(0); // that version did not have it
    }
    let from = sys::open_pin(&path)?;
    let to = new.map(name).map_err(|e| io::Error::other(e.to_string()))?;
    let (from_facts, to_facts) = (sys::map_facts(from.as_fd())?, sys::map_facts(to.as_fd())?);
    let key = Plan::new(&from_facts, &to_facts, |facts| (facts.key_type, facts.key_size))?;
    let value = Plan::new(&from_facts, &to_facts, |facts| (facts.value_type, facts.value_size))?;
    let flags = if replace { MapFlags::ANY } else { MapFlags::NO_EXIST };
    let array = to.map_type() == MapType::Array;
    let (mut copied, mut failure) = (0, None);
    visit(&from, &from_facts, |old_key, old_value| {
        if array && old_value.iter().all(|byte| *byte == 0) {
            return; // an untouched element of an array
        }
        match to.update(&key.apply(old_key), &value.apply(old_value), flags) {
            Ok(()) => copied += 1,
            Err(e) if e.kind() == libbpf_rs::ErrorKind::AlreadyExists => {}
            Err(e) => failure = Some(io::Error::other(format!("table {name}: {e}"))),
        }
    })?;
    failure.map_or(Ok(copied), Err)
}

/// Visit every element; tries have no batched read on older kernels, and are small.
fn visit(map: &OwnedFd, facts: &MapFacts, mut each: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
    match sys::for_each(map.as_fd(), facts.key_size, facts.value_size, &mut each) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTSUP) | Some(libc::EINVAL) | Some(524)) => {
            let handle = handle_of(map)?;
            for key in handle.keys() {
                if let Ok(Some(value)) = handle.lookup(&key, MapFlags::ANY) {
                    each(&key, &value);
                }
            }
            Ok(())
        }
        other => other,
    }
}

fn handle_of(map: &OwnedFd) -> io::Result<MapHandle> {
    let id = libbpf_rs::MapInfo::new(map.as_fd()).map_err(|e| io::Error::other(e.to_string()))?.info.id;
    MapHandle::from_map_id(id).map_err(|e| io::Error::other(e.to_string()))
}

/// Which bytes of the old layout go where in the new one.
struct Plan {
    moves: Vec<(usize, usize, usize)>,
    size: usize,
}

impl Plan {
    fn new(from: &MapFacts, to: &MapFacts, side: impl Fn(&MapFacts) -> (u32, usize)) -> io::Result<Self> {
        let ((from_type, from_size), (to_type, to_size)) = (side(from), side(to));
        let from_members = KernelBtf::load(from.btf_id)?.members(from_type);
        let to_members = KernelBtf::load(to.btf_id)?.members(to_type);
        let mut moves: Vec<_> = to_members
            .iter()
            .filter_map(|member| {
                let old = from_members.iter().find(|old| old.name == member.name)?;
                Some((old.offset, member.offset, old.size.min(member.size)))
            })
            .collect();
        if to_members.is_empty() {
            moves = vec![(0, 0, from_size.min(to_size))]; // an integer
        }
        Ok(Self { moves, size: to_size })
    }

    fn apply(&self, old: &[u8]) -> Vec<u8> {
        let mut new = vec![0; self.size];
        for &(from, to, len) in &self.moves {
            new[to..to + len].copy_from_slice(&old[from..from + len]);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use libbpf_rs::ObjectBuilder;

    use super::*;
    use crate::object::is_of_capture;

    /// Names of an object's ring buffers. Opened, not loaded: needs no privileges.
    fn ring_buffers(object: &[u8]) -> Vec<String> {
        let open = ObjectBuilder::default().open_memory(object).expect("it was built");
        let rings = open.maps().filter(|map| map.map_type() == MapType::RingBuf);
        rings.map(|map| map.name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn no_ring_buffer_is_copied() {
        // What is in one has no key. The maps of captures are never pinned.
        let router = ring_buffers(crate::router::OBJECT);
        assert!(router.len() >= 4, "{router:?}");
        for ring in &router {
            assert!(NOT_COPIED.contains(&ring.as_str()) || is_of_capture(ring), "{ring} would be copied");
        }
        let host = ring_buffers(crate::host::OBJECT);
        assert!(host.len() >= 3, "{host:?}");
        for ring in &host {
            assert!(!crate::host::COPIED.contains(&ring.as_str()), "{ring} would be copied");
        }
    }
}
