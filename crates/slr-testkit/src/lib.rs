//! What the tests of the other crates and `tools/lab` stand on; never part of a shipped binary.

pub mod emulator;
pub mod lab;
pub mod netns;
pub mod packet;
pub mod seed;
pub mod topology;
mod wait;

pub use wait::{eventually, holds_within, require_root};
