//! What outlives the daemon: a router is dropped and loaded again on the same pins, by the same version and by the next.

#[path = "../common/mod.rs"]
mod common;

mod bpffs;
mod same;
mod snapshot;
mod upgrade;
