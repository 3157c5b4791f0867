//! The layer below: how each host is reached, kept current from netlink.
//!
//! A hop template holds a finished link header, so the fast path asks nobody; in return user space must notice every
//! change of route, neighbour, address or interface. [`facts`] turns what the kernel says into links and is pure;
//! [`netlink`] asks the kernel; [`watcher`] is the task that does so again whenever something changed, and every ten
//! seconds when nothing did. Left out: of several equal routes the one is used that the kernel picks for the host's
//! address (the outer source does not take part), and VLAN devices are links like any other.

mod facts;
mod netlink;
mod watcher;

use std::collections::BTreeMap;
use std::net::IpAddr;

use slr_dataplane::router::Link;
use slr_model::{MacAddr, NodeName};

pub use facts::Unresolved;
pub use netlink::release;
pub use watcher::Watcher;

use crate::fleet::Hop;

/// A host whose link is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: NodeName,
    /// Its tunnel address.
    pub address: IpAddr,
    /// Its MAC, if the operator fixed it.
    pub mac: Option<MacAddr>,
}

impl From<&Hop> for Target {
    fn from(hop: &Hop) -> Self {
        Self { name: hop.name.clone(), address: hop.address, mac: hop.mac }
    }
}

/// Links by host.
pub type Links = BTreeMap<NodeName, Result<Link, Unresolved>>;

/// What the watcher knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Which set of targets this answers: the number that [`Watcher::watch`] returned.
    pub generation: u64,
    /// The link of every target.
    pub links: Links,
    /// Index of every interface: one that vanished and came back has another.
    pub interfaces: BTreeMap<String, u32>,
}
