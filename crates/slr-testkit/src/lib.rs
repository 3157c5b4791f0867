//! What the tests of the other crates and `tools/lab` stand on; never part of a shipped binary.
//!
//! - [`packet`] builds packets for fixtures and checks the checksums of what came back;
//! - [`netns`] is one throw-away network namespace, for tests of a single program;
//! - [`topology`] and [`lab`] are whole networks: nodes, emulated links, real servers;
//! - [`emulator`] is the process that carries a lab's frames;
//! - [`acceptance`] says how strict a run is about figures;
//! - [`clock`] has the kernel think well of the clock, or badly;
//! - [`seed`] is randomness that can be replayed; [`eventually`] waits for a condition.
//!
//! Tests that need root call [`require_root`] first: they fail where they cannot run.

pub mod acceptance;
pub mod clock;
pub mod documentation;
pub mod emulator;
pub mod lab;
pub mod netns;
pub mod packet;
pub mod seed;
pub mod topology;
mod wait;

pub use wait::{eventually, holds_within, require_root};
