//! The programs on a cgroup that give wildcard UDP sockets their source, through pinned links.

#![expect(unsafe_code, reason = "system calls take pointers")]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::object::{LoadError, Loaded};
use crate::router::upgrade;
use crate::sys;

/// The one that notes which client spoke to which virtual address; the others read its notes.
const NOTING: (&str, libbpf_sys::bpf_attach_type) = ("slr_udp_seen", libbpf_sys::BPF_CGROUP_INET_INGRESS);
/// Its notes.
pub(super) const NOTES: &str = "udp_peers";
/// Program, attach type.
const READING: [(&str, libbpf_sys::bpf_attach_type); 4] = [
    ("slr_udp_send4", libbpf_sys::BPF_CGROUP_UDP4_SENDMSG),
    ("slr_udp_send6", libbpf_sys::BPF_CGROUP_UDP6_SENDMSG),
    ("slr_udp_connect4", libbpf_sys::BPF_CGROUP_INET4_CONNECT),
    ("slr_udp_connect6", libbpf_sys::BPF_CGROUP_INET6_CONNECT),
];

/// Why the programs are not on the cgroup.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// No such cgroup.
    #[error("cgroup {}: {source}; give the path of a cgroup v2 (`grep cgroup2 /proc/mounts` shows the root)", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("cgroup {}: program {program}: {source}", path.display())]
    Attach {
        /// The cgroup.
        path: PathBuf,
        /// The program.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The object is incomplete.
    #[error(transparent)]
    Object(#[from] LoadError),
}

/// The links; they hold the programs in place while there are no pins.
#[derive(Debug)]
pub struct Links(#[expect(dead_code, reason = "held, not read")] Vec<OwnedFd>);

/// Put the programs on the cgroup at `path`. Links pinned by an earlier process are taken over if they are on this cgroup.
///
/// Another version has its own table of notes. So that no answer finds its client in neither, ours takes notes beside the
/// other, then gets the older notes; only then the programs that read are swapped, and the other goes.
pub fn attach(loaded: &Loaded, path: &Path, pins: Option<&Path>, older: &[PathBuf]) -> Result<Links, CgroupError> {
    let refused = |source| CgroupError::Open { path: path.to_owned(), source };
    let cgroup = fs::File::open(path).map_err(refused)?;
    // A cgroup's id is its directory's inode number (kernfs).
    let id = cgroup.metadata().map_err(refused)?.ino();
    let place = |(name, kind): (&'static str, _), older: &[PathBuf]| {
        let link = place(loaded.program(name)?, (cgroup.as_fd(), id), kind, name, pins, older);
        link.map_err(|source| CgroupError::Attach { path: path.to_owned(), program: name, source })
    };
    let mut links = vec![place(NOTING, &[])?];
    for version in older {
        // Best effort: what is not copied is learned from the client's next datagram.
        if let Err(error) = upgrade::copy_table(version, loaded, NOTES, false) {
            tracing::warn!(%error, from = %version.display(), "UDP clients were not all copied");
        }
    }
    for program in READING {
        links.push(place(program, older)?);
    }
    for pin in older.iter().map(|version| pin_of(version, NOTING.0)).filter(|pin| pin.exists()) {
        let gone = detach_pinned(&pin).and_then(|()| fs::remove_file(&pin));
        gone.map_err(|source| CgroupError::Attach { path: path.to_owned(), program: NOTING.0, source })?;
    }
    Ok(Links(links))
}

fn pin_of(pins: &Path, program: &str) -> PathBuf {
    pins.join(format!("cgroup-{program}"))
}

fn place(
    program: BorrowedFd<'_>,
    (cgroup, id): (BorrowedFd<'_>, u64),
    kind: libbpf_sys::bpf_attach_type,
    name: &str,
    pins: Option<&Path>,
    older: &[PathBuf],
) -> io::Result<OwnedFd> {
    let pin = pins.map(|dir| pin_of(dir, name));
    for found in pin.iter().cloned().chain(older.iter().map(|dir| pin_of(dir, name))) {
        if !found.exists() {
            continue;
        }
        let link = sys::open_pin(&found)?;
        if link_cgroup(link.as_fd())? != id {
            fs::remove_file(&found)?; // the configuration names another cgroup now
            continue;
        }
        sys::update_link(link.as_fd(), program)?;
        if let Some(pin) = pin.filter(|pin| *pin != found) {
            sys::pin(link.as_fd(), &pin)?;
        }
        return Ok(link);
    }
    let link = create_link(program, cgroup, kind)?;
    if let Some(pin) = pin {
        sys::pin(link.as_fd(), &pin)?;
    }
    Ok(link)
}

fn create_link(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    kind: libbpf_sys::bpf_attach_type,
) -> io::Result<OwnedFd> {
    // SAFETY: both descriptors are borrowed for the call; null options are allowed. A link to a cgroup allows others
    // beside it (BPF_F_ALLOW_MULTI).
    let fd = unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), cgroup.as_raw_fd(), kind, std::ptr::null()) };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the program of a pinned link, of whatever kind, off at once. Removing the pin would do so as well, but some time
/// later: the kernel drops a pin's reference in the background.
pub fn detach_pinned(pin: &Path) -> io::Result<()> {
    let link = sys::open_pin(pin)?;
    // SAFETY: the descriptor is ours for the call.
    let ret = unsafe { libbpf_sys::bpf_link_detach(link.as_raw_fd()) };
    if ret < 0 { Err(io::Error::from_raw_os_error(-ret)) } else { Ok(()) }
}

/// Id of the cgroup that a link is on; 0 once the cgroup is gone.
fn link_cgroup(link: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: plain data for the kernel to fill.
    let mut info: libbpf_sys::bpf_link_info = unsafe { std::mem::zeroed() };
    let mut len = u32::try_from(size_of_val(&info)).expect("a few hundred bytes");
    // SAFETY: `info` is as long as `len` says.
    let ret = unsafe { libbpf_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &mut info, &mut len) };
    if ret < 0 {
        return Err(io::Error::from_raw_os_error(-ret));
    }
    // SAFETY: the union's cgroup member is plain integers; any bytes are a value.
    Ok(unsafe { info.__bindgen_anon_1.cgroup.cgroup_id })
}

/// Cookie of the caller's network namespace.
pub fn netns_cookie() -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71; // <asm-generic/socket.h>; libc has it for some targets only
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").or_else(|_| std::net::UdpSocket::bind("[::]:0"))?;
    let mut cookie = 0u64;
    let mut len = libc::socklen_t::try_from(size_of_val(&cookie)).expect("eight");
    // SAFETY: the value is as long as `len` says, and the socket is open.
    let ret = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, (&raw mut cookie).cast(), &mut len)
    };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}
