//! The egress program on an interface: a classifier of `clsact`, since a tc link (tcx) needs kernel 6.6 and Debian 12 has
//! 6.1. It is replaced in place at a restart and stays when the daemon ends. Whether `clsact` was made by us is remembered
//! as an empty directory among the pins, for a bpffs takes no ordinary files.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use libbpf_rs::{TC_EGRESS, TC_INGRESS, TcHook, TcHookBuilder};
use thiserror::Error;

/// The program's name.
pub const PROGRAM: &str = "slr_host_egress";

/// Our place among an interface's filters: early, and at an odd handle that no script picks.
const PRIORITY: u32 = 61;
const HANDLE: u32 = 0x51;

/// Why the program is not on an interface.
#[derive(Debug, Error)]
#[error(
    "interface {interface}: the egress program cannot be attached: {source} (kernel with CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS?)"
)]
pub struct EgressError {
    interface: String,
    source: io::Error,
}

fn hook(program: BorrowedFd<'_>, interface: &str) -> io::Result<TcHook> {
    let ifindex = nix::net::if_::if_nametoindex(interface)?;
    let mut builder = TcHookBuilder::new(program);
    builder.ifindex(i32::try_from(ifindex).expect("the kernel's indices are positive"));
    builder.replace(true).handle(HANDLE).priority(PRIORITY);
    Ok(builder.hook(TC_EGRESS))
}

fn mark(pins: &Path, interface: &str) -> PathBuf {
    pins.join(crate::xdp::pin_name("clsact-", interface))
}

/// Put the program on an interface, or in the place of the one that is there.
pub fn attach(program: BorrowedFd<'_>, interface: &str, pins: Option<&Path>) -> Result<(), EgressError> {
    put(program, interface, pins).map_err(|source| EgressError { interface: interface.to_owned(), source })
}

fn put(program: BorrowedFd<'_>, interface: &str, pins: Option<&Path>) -> io::Result<()> {
    let mut hook = hook(program, interface)?;
    if hook.attach().is_ok() {
        return Ok(());
    }
    // Most likely there is no clsact yet.
    hook.create().map_err(io_error)?;
    if let Some(pins) = pins {
        fs::create_dir_all(mark(pins, interface))?;
    }
    hook.attach().map(drop).map_err(io_error)
}

fn io_error(error: libbpf_rs::Error) -> io::Error {
    io::Error::new(
        match error.kind() {
            libbpf_rs::ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            libbpf_rs::ErrorKind::NotFound => io::ErrorKind::NotFound,
            _ => io::ErrorKind::Other,
        },
        error.to_string(),
    )
}

/// Take the program off, and `clsact` with it if we made it. Nothing to take off is no error.
pub fn detach(interface: &str, pins: Option<&Path>) -> io::Result<()> {
    let mark = pins.map(|pins| mark(pins, interface)).filter(|mark| mark.exists());
    if nix::net::if_::if_nametoindex(interface).is_ok() {
        // Detaching names the filter, not the program; any descriptor does.
        let null = fs::File::open("/dev/null")?;
        let mut hook = hook(null.as_fd(), interface)?;
        let detached = hook.detach().map_err(io_error);
        if mark.is_some() {
            // Takes along every filter that is left.
            hook.attach_point(TC_EGRESS | TC_INGRESS).destroy().map_err(io_error)?;
        } else if let Err(e) = detached {
            // The kernel's words for "no clsact" and "no such filter" are several; the filter's absence is what counts.
            if hook.query().is_ok() {
                return Err(e);
            }
        }
    }
    mark.map_or(Ok(()), fs::remove_dir)
}

/// Move the marks of another version's pins to ours.
pub fn carry_marks(old: &Path, pins: Option<&Path>) {
    let names = fs::read_dir(old).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter(|name| name.to_string_lossy().starts_with("clsact-")) {
        if let Some(pins) = pins {
            let _ = fs::create_dir_all(pins.join(&name)); // at worst a clsact without filters stays behind
        }
    }
}
