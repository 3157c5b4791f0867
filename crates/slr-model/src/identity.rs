//! Who a node is, as its certificate says: trust domain, role, name, and what it may use and advertise.

use ipnet::IpNet;

use crate::text::word_enum;
use crate::{NodeName, Tier, VirtualSubnet};

word_enum! {
    /// What a node is: a host, or an SLR of a tier.
    pub enum Role, "a role" {
        /// A physical server.
        Host = "host",
        /// An SLR that chooses a host.
        Site = "site",
        /// An SLR that chooses a site.
        As = "as",
        /// An SLR that chooses an autonomous system.
        Network = "network",
    }
}

impl From<Tier> for Role {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Site => Role::Site,
            Tier::As => Role::As,
            Tier::Network => Role::Network,
        }
    }
}

/// What a certificate says of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose certificate authority vouches for it.
    pub trust_domain: String,
    /// What it is.
    pub role: Role,
    /// Its name, one node's alone within the trust domain.
    pub name: NodeName,
    /// Addresses at which it takes tunnels, and prefixes from which it sends them.
    pub tunnels: Vec<IpNet>,
    /// Virtual subnets that it may advertise, or parts of.
    pub subnets: Vec<VirtualSubnet>,
}
