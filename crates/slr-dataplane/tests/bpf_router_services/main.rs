//! What the daemon knows and does for each service of a host: counting its flows, forgetting them, telling what a change
//! of routes moves.

#[path = "../common/mod.rs"]
mod common;

mod census;
mod claims;
mod mirror;
mod moved;
mod scene;
mod trace;
mod unpin;
mod usage;
