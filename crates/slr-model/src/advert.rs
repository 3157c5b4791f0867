//! What a node says it serves, and how it is.

use crate::{HostState, Loads, ServiceKey};

/// Everything that a node advertises at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advert {
    /// Load values of the node as a whole.
    pub loads: Loads,
    /// Each service it serves, by key, each once.
    pub services: Vec<ServiceAdvert>,
}

/// One service of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceAdvert {
    /// Which.
    pub key: ServiceKey,
    /// What the node says it is doing.
    pub state: HostState,
    /// Why, for people: `http: status 500, 3 times`. At most [`ServiceAdvert::REASON_MAX`] bytes.
    pub reason: String,
    /// Load values of this service alone; they hide those of the node that have the same name.
    pub loads: Loads,
    /// Connections it has.
    pub flows: u64,
    /// Its share of new flows relative to the other nodes of this service, before any load is looked at.
    pub weight: crate::Weight,
}

impl ServiceAdvert {
    /// Longest reason, in bytes: a line on a screen.
    pub const REASON_MAX: usize = 160;
}
