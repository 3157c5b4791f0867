//! Reading the tables for people: what `hostd show` prints.

use ipnet::IpNet;
use slr_model::VirtualSubnet;

use super::abi::{counter, host_usage, slr_host_const};
use super::{Counter, Host};
use crate::reason::HostReason;
use crate::table::MapError;

/// Traffic of a virtual subnet at this host, in packets and bytes of IP datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubnetUsage {
    /// The range.
    pub subnet: VirtualSubnet,
    /// Delivered out of tunnels.
    pub received: Counter,
    /// Sent directly, as on the wire: segments, not the stack's large buffers.
    pub sent: Counter,
}

/// A registered peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its prefix.
    pub prefix: IpNet,
    /// May send tunnels and keepalives.
    pub router: bool,
    /// May send chains, and chains may go on to it.
    pub site_host: bool,
}

impl Host {
    /// Packets and bytes by reason, in the reasons' order.
    pub fn counters(&self) -> Result<Vec<(HostReason, Counter)>, MapError> {
        let sum = |parts: Vec<counter>| {
            parts.iter().fold(Counter::default(), |sum, part| Counter {
                packets: sum.packets + part.packets,
                bytes: sum.bytes + part.bytes,
            })
        };
        HostReason::ALL.iter().map(|reason| Ok((*reason, sum(self.tables.reasons.get(*reason as u32)?)))).collect()
    }

    /// Traffic by virtual subnet, in the subnets' order.
    pub fn usage(&self) -> Result<Vec<SubnetUsage>, MapError> {
        let add = |subnet, parts: Vec<host_usage>| {
            let total = |field: fn(&host_usage) -> u64| parts.iter().map(field).sum();
            SubnetUsage {
                subnet,
                received: Counter { packets: total(|u| u.rx_packets), bytes: total(|u| u.rx_bytes) },
                sent: Counter { packets: total(|u| u.tx_packets), bytes: total(|u| u.tx_bytes) },
            }
        };
        self.served()?.into_iter().map(|(subnet, index)| Ok(add(subnet, self.tables.usage.get(index)?))).collect()
    }

    /// Registered peers, in the prefixes' order.
    pub fn peers(&self) -> Result<Vec<PeerStatus>, MapError> {
        let status = |(prefix, flags)| PeerStatus {
            prefix,
            router: flags & slr_host_const::TUNNEL_ROUTER.0 != 0,
            site_host: flags & slr_host_const::TUNNEL_SITE_HOST.0 != 0,
        };
        Ok(self.known_peers()?.into_iter().map(status).collect())
    }
}
