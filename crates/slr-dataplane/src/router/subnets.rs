//! Which virtual subnet has which id, and what the kernel knows of it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use slr_model::{EchoPolicy, KeyMask, OrphanPolicy, VirtualSubnet};

use super::addr;
use super::desired::Subnet;
use super::tables::Tables;
use crate::abi::{Pod, prefix_v4, slr_const, subnet};
use crate::table::MapError;

/// Ids in use. An id of a subnet that is gone may be given to another: its flows went with it.
#[derive(Clone, Debug, Default)]
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
    let mut set = |flag: slr_const, on: bool| flags |= if on { flag.0 } else { 0 };
    set(slr_const::SUBNET_PORTS, desired.listed_only);
    set(slr_const::SUBNET_ROUTES, desired.routes.iter().any(|route| route.service.is_some()));
    set(slr_const::SUBNET_CLASSES, desired.routes.iter().any(|route| route.class.is_some()));
    set(slr_const::SUBNET_ORPHAN_DROP, desired.orphan == OrphanPolicy::Drop);
    set(slr_const::SUBNET_ORPHAN_CHAIN, desired.orphan.is_chain());
    set(slr_const::SUBNET_UDP_CHAIN, matches!(desired.orphan, OrphanPolicy::ChainUdp | OrphanPolicy::SearchUdp));
    set(slr_const::SUBNET_UDP_SEARCH, desired.orphan == OrphanPolicy::SearchUdp);
    set(slr_const::SUBNET_ECHO_FORWARD, desired.echo == EchoPolicy::Forward);
    set(slr_const::SUBNET_ECHO_DROP, desired.echo == EchoPolicy::Drop);
    flags
}

/// Flags while routes change: whatever was or will be looked up is looked up, and only what neither serves is refused.
pub fn flags_between(before: u32, after: u32) -> u32 {
    let (ports, routes) = (slr_const::SUBNET_PORTS.0, slr_const::SUBNET_ROUTES.0);
    let lookups = routes | slr_const::SUBNET_CLASSES.0;
    let listed = if before & ports != 0 { routes } else { 0 }; // a list was looked up without the other flag
    after & !ports | before & lookups | listed | before & after & ports
}

/// What the kernel shall know of a subnet whose own route has this ring; 0: none.
pub fn value(desired: &Subnet, ring: u32) -> subnet {
    let net = desired.prefix.net();
    let own = desired.routes.iter().find(|route| route.class.is_none() && route.service.is_none());
    subnet {
        prefix: addr::key(net.network()),
        flags: flags(desired),
        account: desired.account,
        ring,
        mask: own.map_or(KeyMask::ALL, |route| route.key_mask).bits(),
        prefix_len: u8::try_from(addr::mapped_len(net)).expect("at most 128"),
        ..subnet::default()
    }
}

/// What the kernel knows of a subnet; `None` if nobody has this id.
pub fn read(id: u16, tables: &Tables) -> Result<Option<subnet>, MapError> {
    Ok(tables.subnets.get(&u32::from(id))?.filter(|subnet| subnet.flags & slr_const::SUBNET_LIVE.0 != 0))
}

/// Write it, unless the kernel knows it already.
pub fn write(id: u16, value: &subnet, tables: &Tables) -> Result<(), MapError> {
    let same = read(id, tables)?.is_some_and(|before| before.bytes() == value.bytes());
    if same { Ok(()) } else { tables.subnets.put(&u32::from(id), value) }
}

/// Give the subnet's own route another ring; nothing if the subnet is gone.
pub fn set_ring(id: u16, ring: u32, tables: &Tables) -> Result<(), MapError> {
    match read(id, tables)? {
        Some(before) => tables.subnets.put(&u32::from(id), &subnet { ring, ..before }),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: u32 = slr_const::SUBNET_LIVE.0;
    const PORTS: u32 = slr_const::SUBNET_PORTS.0;
    const ROUTES: u32 = slr_const::SUBNET_ROUTES.0;
    const CLASSES: u32 = slr_const::SUBNET_CLASSES.0;
    const STRICT: u32 = slr_const::SUBNET_ORPHAN_DROP.0;

    #[test]
    fn between_two_states_nothing_is_refused_that_either_serves() {
        for (what, before, after, between) in [
            ("nothing changes", LIVE, LIVE, LIVE),
            ("a list begins once it is whole", LIVE, LIVE | PORTS | ROUTES, LIVE | ROUTES),
            ("a list ends before it is taken apart", LIVE | PORTS | ROUTES, LIVE, LIVE | ROUTES),
            ("a list of the first version is a list", LIVE | PORTS, LIVE, LIVE | ROUTES),
            ("and stays one", LIVE | PORTS, LIVE | PORTS | ROUTES, LIVE | PORTS | ROUTES),
            ("what goes is looked up to the end", LIVE | CLASSES | ROUTES, LIVE, LIVE | CLASSES | ROUTES),
            ("what comes from the beginning", LIVE, LIVE | CLASSES, LIVE | CLASSES),
            ("policies hold at once", LIVE | STRICT, LIVE, LIVE),
        ] {
            assert_eq!(flags_between(before, after), between, "{what}");
        }
    }
}
