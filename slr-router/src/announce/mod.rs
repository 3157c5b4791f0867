//! What the routers around are told: which virtual subnets this router serves, and how gladly.
//!
//! The daemon keeps a route for each subnet that it can serve in a private kernel table, under a protocol number of its own; a
//! routing daemon beside it (BIRD, see `etc/bird/`) reads the table and says the same to the neighbours. No rule looks the
//! table up, and its routes are blackholes: they forward nothing by themselves. A metric says how gladly.
//!
//! [`decision`] is pure: who may be announced, and when it may change. [`speaker`] is the task that keeps the kernel's table
//! so, [`kernel`] its netlink. Routes outlive the daemon, as the data plane does: [`mark`] is how the [`watchdog`], another
//! process, knows that the daemon is there, and how the next daemon takes over.

mod command;
mod decision;
mod kernel;
mod mark;
mod speaker;
pub mod watchdog;

use std::collections::BTreeMap;

use ipnet::IpNet;

pub use crate::config::announce::{Announce as Settings, Level, OnStop};
pub use command::{Options, run};
pub use decision::{Ability, Announcer, Entry, Phase};
pub use kernel::withdraw_all;
pub use mark::Mark;
pub use speaker::{Speaker, Status, Wanted};

/// What is announced, with the metric of its route.
pub type Routes = BTreeMap<IpNet, u32>;
