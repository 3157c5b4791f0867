//! The data plane: the only crate with BPF, clang and `unsafe`.
//!
//! `bpf/abi.h` is the one truth for what kernel and user space share; [`abi`] is that header as Rust sees it through the
//! object's BTF. [`router`] and [`host`] load, pin, attach and fill the two programs.

pub mod abi;
pub mod bench;
pub mod capture;
pub mod hash;
pub mod host;
pub mod object;
pub mod reason;
mod records;
pub mod router;
pub mod sys;
pub mod table;
pub mod xdp;
