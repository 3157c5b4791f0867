//! The router: loading, pinning, filling and reading the program of `bpf/router.bpf.c`.

mod desired;

pub use desired::{Config, Desired, Host, Link, Subnet};
