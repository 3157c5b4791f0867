//! Two-instruction XDP programs: every frame gets the same verdict.
//!
//! A veth end needs *some* program, and pass is one, before its peer may `XDP_TX` or redirect into it: without, such frames
//! are lost in silence. Loaded by the raw system call: neither clang nor a BPF library is needed for `r0 = 2; exit`, and
//! this crate stays free of both.

use anyhow::{Context, Result};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;
/// The program does not touch frames of several buffers, so an interface of any MTU may have it.
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// What a program says of every frame (`enum xdp_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Gone.
    Drop = 1,
    /// On to the kernel.
    Pass = 2,
    /// Back out of the interface it came in by.
    Tx = 3,
}

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what is left out for zero.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The head of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct ObjPin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Loads the program and pins it at `path` on a BPF file system. Attach it there with
/// `ip link set dev DEV xdpdrv pinned PATH`; it stays until the interface goes.
pub fn load_and_pin(path: &Path, verdict: Verdict) -> Result<()> {
    // r0 = verdict; exit, as two struct bpf_insn.
    let program = [0xb7, 0, 0, 0, verdict as u8, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let load = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: 2,
        insns: program.as_ptr() as u64,
        license: c"Dual BSD/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: BPF_F_XDP_HAS_FRAGS,
    };
    let program = bpf(BPF_PROG_LOAD, &load).context("load an XDP program (needs root and a kernel with BPF)")?;
    let c_path = CString::new(path.as_os_str().as_encoded_bytes()).context("path of the XDP program")?;
    #[expect(unsafe_code, reason = "the bpf system call returns a bare descriptor")]
    // SAFETY: the kernel has just returned this descriptor to us alone.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    let bpf_fd = u32::try_from(program.as_raw_fd()).expect("a descriptor is not negative");
    let pin = ObjPin { pathname: c_path.as_ptr() as u64, bpf_fd, file_flags: 0 };
    bpf(BPF_OBJ_PIN, &pin).with_context(|| format!("pin an XDP program at {}", path.display()))?;
    Ok(())
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    #[expect(unsafe_code, reason = "bpf(2) has no wrapper in libc")]
    // SAFETY: `attributes` is a repr(C) head of union bpf_attr of the stated size, and what its pointers lead to outlives
    // the call (a constant, an array and a CString of the caller). The two commands used only read it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).expect("a descriptor or zero"))
}
