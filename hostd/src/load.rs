//! How busy this host is: named numbers from sources of every kind, and the one number `load` that is made of them.
//!
//! [`Source`] says where a number comes from, [`Sampling`] reads each on a task of its own, [`Board`] (pure) remembers the
//! last of each, lets them age out, and evaluates the expressions.

mod board;
mod cpu;
mod number;
mod pressure;
mod sample;

use std::path::PathBuf;
use std::time::Duration;

use slr_model::LoadName;

pub use board::{Board, FLOWS, Formulas, Row};
pub use pressure::{Resource, Share};
pub use sample::{Reading, Sampling};

use crate::http::Get;

/// The name of what an expression makes of the others.
pub const COMBINED: &str = "load";

/// Where a load value comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What it is called in adverts and expressions.
    pub name: LoadName,
    /// What is read.
    pub kind: Kind,
    /// How often.
    pub interval: Duration,
    /// How long reading may take.
    pub timeout: Duration,
    /// How old a value may become before it counts as unknown.
    pub stale_after: Duration,
}

/// What is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The share of the CPUs that is in use.
    Cpu {
        /// That of a cgroup; `None`: the whole machine's.
        cgroup: Option<PathBuf>,
        /// CPUs that are all of it; `None`: the cgroup's quota, or the machine's CPUs.
        cpus: Option<f64>,
    },
    /// The share of the time in which work waited for a resource.
    Pressure {
        /// Which.
        resource: Resource,
        /// Some work or all of it.
        share: Share,
        /// That of a cgroup; `None`: the whole machine's.
        cgroup: Option<PathBuf>,
    },
    /// Connections at virtual addresses; of each service its own.
    Connections,
    /// The number that a command prints.
    Command {
        /// Program and arguments.
        words: Vec<String>,
    },
    /// A number in a document of the application.
    Http {
        /// The document.
        get: Get,
        /// Where in a JSON document (RFC 6901); `None`: the document is the number.
        pointer: Option<String>,
    },
}

impl Kind {
    /// What the configuration calls it.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Cpu { .. } => "cpu",
            Kind::Pressure { .. } => "pressure",
            Kind::Connections => "connections",
            Kind::Command { .. } => "command",
            Kind::Http { .. } => "http",
        }
    }
}
