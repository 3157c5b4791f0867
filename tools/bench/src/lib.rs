//! What the data plane costs, measured beside a floor in the same run, the control plane with simulated hosts, and the mirror
//! under new flows; all held against the targets.
//!
//! Each subcommand of `bench` is a module with its options, a `run` and a report. [`machine`] says what the figures were
//! taken on and whether it was quiet, [`statistics`] turns samples into figures, [`target`] into verdicts, [`results`] keeps
//! them. A library only so that tests reach inside.

pub mod control;
pub mod dataplane;
pub mod machine;
pub mod mirror;
pub mod process;
pub mod results;
pub mod rings;
pub mod stalls;
pub mod statistics;
pub mod target;
pub mod throughput;
pub mod usage;
