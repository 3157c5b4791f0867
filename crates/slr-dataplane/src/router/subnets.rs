//! Which virtual subnet has which id, and what the kernel knows of it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use slr_model::{EchoPolicy, OrphanPolicy, VirtualSubnet};

use super::addr;
use super::desired::Subnet;
use super::tables::Tables;
use crate::abi::{prefix_v4, slr_const, subnet};
use crate::table::MapError;

/// Ids in use. An id of a subnet that is gone may be given to another: flows only use it for accounting.
#[derive(Debug, Default)]
pub struct SubnetIds {
    ids: BTreeMap<VirtualSubnet, u16>,
}

impl SubnetIds {
    /// Take over an id found in the kernel's table.
    pub fn adopt(&mut self, prefix: VirtualSubnet, id: u16) {
        self.ids.insert(prefix, id);
    }

    pub fn get(&self, prefix: &VirtualSubnet) -> Option<u16> {
        self.ids.get(prefix).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (VirtualSubnet, u16)> + '_ {
        self.ids.iter().map(|(prefix, id)| (*prefix, *id))
    }

    /// The id of a subnet, a new one if it has none; `None` if all are taken.
    pub fn assign(&mut self, prefix: VirtualSubnet) -> Option<u16> {
        if let Some(id) = self.get(&prefix) {
            return Some(id);
        }
        let used: std::collections::BTreeSet<u16> = self.ids.values().copied().collect();
        let max = u16::try_from(slr_const::SLR_SUBNETS_MAX.0).expect("ids are 16 bits");
        let id = (0..max).find(|id| !used.contains(id))?;
        self.ids.insert(prefix, id);
        Some(id)
    }

    pub fn release(&mut self, prefix: &VirtualSubnet) {
        self.ids.remove(prefix);
    }
}

fn flags(desired: &Subnet) -> u32 {
    let mut flags = slr_const::SUBNET_LIVE.0;
    if desired.services.is_some() {
        flags |= slr_const::SUBNET_PORTS.0;
    }
    if desired.orphan == OrphanPolicy::Drop {
        flags |= slr_const::SUBNET_ORPHAN_DROP.0;
    }
    match desired.echo {
        EchoPolicy::Answer => {}
        EchoPolicy::Forward => flags |= slr_const::SUBNET_ECHO_FORWARD.0,
        EchoPolicy::Drop => flags |= slr_const::SUBNET_ECHO_DROP.0,
    }
    flags
}

/// Write what a subnet is, with a ring if it has another one now. True if something changed.
pub fn write(id: u16, desired: &Subnet, ring: Option<u32>, tables: &Tables) -> Result<bool, MapError> {
    use crate::abi::Pod;
    let net = desired.prefix.net();
    let before = tables.subnets.get(&u32::from(id))?.unwrap_or_default();
    let value = subnet {
        prefix: addr::key(net.network()),
        flags: flags(desired),
        account: desired.account,
        ring: ring.unwrap_or(before.ring),
        mask: desired.key_mask.bits(),
        prefix_len: u8::try_from(addr::mapped_len(net)).expect("at most 128"),
        ..subnet::default()
    };
    let changed = before.bytes() != value.bytes();
    if changed {
        tables.subnets.put(&u32::from(id), &value)?;
    }
    Ok(changed)
}

/// Let packets to the prefix find the subnet. Writes only what differs; true if packets did not find it before.
pub fn expose(id: u16, prefix: VirtualSubnet, tables: &Tables) -> Result<(), MapError> {
    let id = u32::from(id);
    match prefix.net() {
        IpNet::V4(net) => {
            let key = prefix_v4 { len: u32::from(net.prefix_len()), addr: addr::word(net.network()) };
            tables.prefixes_v4.put(&key, &id)
        }
        net @ IpNet::V6(_) => tables.prefixes_v6.put(&addr::prefix_key(net), &id),
    }
}

/// Packets to the prefix are no longer ours.
pub fn hide(prefix: VirtualSubnet, tables: &Tables) -> Result<(), MapError> {
    match prefix.net() {
        IpNet::V4(net) => {
            let key = prefix_v4 { len: u32::from(net.prefix_len()), addr: addr::word(net.network()) };
            tables.prefixes_v4.remove(&key).map(drop)
        }
        net @ IpNet::V6(_) => tables.prefixes_v6.remove(&addr::prefix_key(net)).map(drop),
    }
}
