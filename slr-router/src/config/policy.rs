//! Which of a subnet's packets are placed by rules of their own.

use ipnet::IpNet;
use slr_model::{ClassName, KeyMask, NodeName, Service};
use slr_policy::Policy;

/// `[[subnet.class]]`. Of two classes, a client is in that of the longer prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: ClassName,
    /// Its clients.
    pub clients: Vec<IpNet>,
}

/// `[[subnet.rule]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Whose packets; `None`: everybody's.
    pub class: Option<ClassName>,
    /// To which ports; none: all.
    pub services: Vec<Service>,
    /// Which hosts may be chosen; `None`: all that serve.
    pub hosts: Option<Vec<NodeName>>,
    /// F, and how fast shares follow it.
    pub policy: Policy,
    /// What decides where a flow goes.
    pub key_mask: KeyMask,
}
