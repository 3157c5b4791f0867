//! The host's figures: a plain [`Snapshot`] that the daemon's loop fills, and its text. Names: docs/metrics.md.

mod families;
#[cfg(test)]
pub mod sample;
mod snapshot;
#[cfg(test)]
mod tests;
mod write;

#[cfg(test)]
pub use families::FAMILIES;
pub use snapshot::*;
