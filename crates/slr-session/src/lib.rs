//! The control plane's decisions, without its sockets: what is said on a connection, and what is known of every node.
//!
//! Pure: no clock, no thread, no I/O, no randomness. `now` and seeds come in, outputs and the next deadline come out.

pub mod cluster;
pub mod conversation;
pub mod echoes;
pub mod epochs;
pub mod half_open;
pub mod limit;
pub mod mirror;
pub mod registry;
pub mod search;
