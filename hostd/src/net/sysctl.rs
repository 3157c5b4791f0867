//! Sysctls: what an underlay interface needs so that addresses which are local by a route do no harm there.
//!
//! - `arp_ignore` 1: answer ARP only for addresses configured on the interface. Otherwise every host on the link would
//!   claim the whole virtual subnet. (IPv6 answers for configured addresses only, always.)
//! - `arp_announce` 2: ask with the interface's own address. A reply from a virtual address would otherwise put that
//!   address into the neighbours' tables, beside this host's MAC.
//! - `rp_filter` 2 where it is 1: a client's datagram out of a tunnel arrives on this interface although the way back to
//!   the client may lead through another; the strict check would drop it. Loose still refuses sources without any route.
//!
//! And one for the network namespace:
//!
//! - `ipv6.ip_nonlocal_bind` 1: IPv6, unlike IPv4, lets a program bind to or send from configured addresses only; an
//!   address that is local by a route is refused. Servers that name their virtual address need this.
//!
//! What was there before is remembered in a file, so that `hostd unload` can put it back.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const ROOT: &str = "/proc/sys/net";

/// Values that were there before hostd changed them, by path below [`ROOT`].
type Before = BTreeMap<String, String>;

/// The file beside the admin socket.
pub fn memory(admin_socket: &Path) -> PathBuf {
    admin_socket.with_extension("sysctls.json")
}

/// Prepares an underlay interface.
pub fn prepare_underlay(interface: &str, memory: &Path) -> Result<()> {
    let mut before = recall(memory)?;
    for (key, value) in [("arp_ignore", 1), ("arp_announce", 2)] {
        if read(&conf(interface, key))? < value {
            set(&conf(interface, key), value, &mut before, memory)?;
        }
    }
    // The larger of the two counts.
    if read(&conf("all", "rp_filter"))?.max(read(&conf(interface, "rp_filter"))?) == 1 {
        set(&conf(interface, "rp_filter"), 2, &mut before, memory)?;
    }
    Ok(())
}

/// Lets programs use the addresses of IPv6 virtual subnets by name.
pub fn allow_virtual_v6(memory: &Path) -> Result<()> {
    const NONLOCAL: &str = "ipv6/ip_nonlocal_bind";
    let mut before = recall(memory)?;
    if Path::new(ROOT).join(NONLOCAL).exists() && read(NONLOCAL)? == 0 {
        set(NONLOCAL, 1, &mut before, memory)?;
    }
    Ok(())
}

/// Puts back what was there before; an interface that has gone took its sysctls along.
pub fn restore(memory: &Path) -> Result<()> {
    for (path, value) in recall(memory)? {
        match fs::write(Path::new(ROOT).join(&path), &value) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other.with_context(|| format!("cannot set {ROOT}/{path} back to {value}"))?,
        }
    }
    match fs::remove_file(memory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).with_context(|| format!("remove {}", memory.display())),
        _ => Ok(()),
    }
}

/// Before a virtual-subnet interface comes up: no address of its own makes, no router to listen to.
pub fn silence(interface: &str) -> Result<()> {
    for (key, value) in [("addr_gen_mode", "1"), ("accept_ra", "0"), ("autoconf", "0")] {
        let path = Path::new(ROOT).join(format!("ipv6/conf/{interface}/{key}"));
        match fs::write(&path, value) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {} // a kernel without IPv6, or without the knob
            other => other.with_context(|| format!("cannot set {} to {value}", path.display()))?,
        }
    }
    Ok(())
}

fn conf(interface: &str, key: &str) -> String {
    format!("ipv4/conf/{interface}/{key}")
}

fn read(path: &str) -> Result<u32> {
    let full = Path::new(ROOT).join(path);
    let text = fs::read_to_string(&full).with_context(|| format!("cannot read {}", full.display()))?;
    text.trim().parse().with_context(|| format!("{} is {text:?}", full.display()))
}

fn set(path: &str, value: u32, before: &mut Before, memory: &Path) -> Result<()> {
    let full = Path::new(ROOT).join(path);
    // Remember first: a crash between the two leaves a note too many, which does no harm.
    before.entry(path.to_owned()).or_insert(read(path)?.to_string());
    remember(memory, before)?;
    tracing::info!(sysctl = %full.display(), value, "set");
    fs::write(&full, value.to_string()).with_context(|| format!("cannot set {} to {value}", full.display()))
}

fn recall(memory: &Path) -> Result<Before> {
    match fs::read_to_string(memory) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is damaged: remove it", memory.display())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Before::new()),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", memory.display())),
    }
}

/// Written aside and renamed: a crash leaves the old file or the new one.
fn remember(memory: &Path, before: &Before) -> Result<()> {
    let aside = memory.with_extension("new");
    let folder = memory.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&aside, serde_json::to_string_pretty(before)?))
        .and_then(|()| fs::rename(&aside, memory))
        .with_context(|| format!("cannot write {}", memory.display()))
}
