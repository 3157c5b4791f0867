//! Who says hello, and what may be answered.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One connection of the control channel. The edge numbers them and never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "connection {}", self.0)
    }
}

/// Which of a name's sessions it is: later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId {
    /// Greater for each start of the process.
    pub incarnation: u64,
    /// Greater for each connection of that process.
    pub session: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}.{}", self.incarnation, self.session)
    }
}

/// What a node says of itself when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which session it begins.
    pub session: SessionId,
    /// Version of its software, for people.
    pub version: String,
    /// Where it takes tunnels: one address, or one of each family.
    pub tunnels: Vec<IpAddr>,
    /// Prefixes from which it sends tunnels, for an SLR; a host has none.
    pub source_prefixes: Vec<IpNet>,
    /// Whether it adverts at once when it is asked.
    pub answers_asks: bool,
    /// Where the connection comes from.
    pub remote: SocketAddr,
}

/// How a hello was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The older connection of the name, which is to be closed; an event says so as well.
    pub superseded: Option<ConnectionId>,
    /// Whether the name was known, so that its services go on as they were.
    pub known: bool,
}

/// Why a connection is not, or no longer, wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalCode {
    /// A later session of the same name is there.
    Superseded,
    /// Another node uses the name.
    NameInUse,
    /// Another node uses the tunnel address.
    TunnelTaken,
    /// The certificate does not have the tunnel address or source prefix.
    TunnelNotAllowed,
    /// No tunnel address, or more than one of a family.
    TunnelsInvalid,
    /// As many nodes as there is room for.
    Full,
    /// The node was removed: its certificate was revoked or has expired, or an operator did it.
    Removed,
}

impl RefusalCode {
    /// Every code, in the order of the documentation.
    pub const ALL: &[RefusalCode] = &[
        Self::Superseded,
        Self::NameInUse,
        Self::TunnelTaken,
        Self::TunnelNotAllowed,
        Self::TunnelsInvalid,
        Self::Full,
        Self::Removed,
    ];

    /// The word for it, as metrics and logs use it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::NameInUse => "name-in-use",
            Self::TunnelTaken => "tunnel-taken",
            Self::TunnelNotAllowed => "tunnel-not-allowed",
            Self::TunnelsInvalid => "tunnels-invalid",
            Self::Full => "full",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A refusal as both sides log it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{why}: {remedy}")]
pub struct Refusal {
    /// For machines.
    pub code: RefusalCode,
    /// What is wrong.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refusal {
    pub(super) fn new(code: RefusalCode, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, why: why.into(), remedy: remedy.into() }
    }
}
