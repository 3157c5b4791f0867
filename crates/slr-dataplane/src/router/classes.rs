//! Client classes: which has which id in the kernel, and the trie that leads clients there.
//!
//! Names are the configuration's; the kernel knows numbers, per subnet. A daemon that takes tables over finds a class by
//! the prefixes that it has: its rings, with what they remember, stay its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use slr_model::ClassName;

use super::addr;
use super::desired::{Class, Subnet};
use super::tables::Tables;
use crate::abi::{class_key, slr_addr};
use crate::table::MapError;

/// Ids of the classes of all subnets, and what the kernel's trie says.
#[derive(Clone, Debug, Default)]
pub struct ClassTable {
    ids: BTreeMap<(u16, ClassName), u16>,
    /// By subnet id and client prefix.
    clients: BTreeMap<(u16, IpNet), u16>,
}

/// Bits of a key before the address: the subnet's id.
const SUBNET_BITS: u32 = 32;

fn key(subnet: u16, client: IpNet) -> class_key {
    let prefix = addr::prefix_key(client);
    class_key {
        len: SUBNET_BITS + prefix.len,
        subnet: u32::from(subnet).to_be(),
        client: slr_addr { word: prefix.addr },
    }
}

fn from_key(key: &class_key) -> Option<(u16, IpNet)> {
    let len = u8::try_from(key.len.checked_sub(SUBNET_BITS)?).ok()?;
    Some((u16::try_from(u32::from_be(key.subnet)).ok()?, addr::from_prefix(key.client, len)?))
}

/// The id of the class that the kernel's trie leads a client to; 0: none.
pub fn class_of(subnet: u16, client: IpAddr, tables: &Tables) -> Result<u16, MapError> {
    let found = tables.classes.get(&key(subnet, client.into()))?;
    Ok(found.and_then(|id| u16::try_from(id).ok()).unwrap_or_default())
}

/// The prefixes of a class that some client of the subnet can be in.
fn clients<'a>(class: &'a Class, subnet: &Subnet) -> impl Iterator<Item = IpNet> + 'a {
    let is_ipv4 = subnet.prefix.is_ipv4();
    class.clients.iter().map(IpNet::trunc).filter(move |client| client.addr().is_ipv4() == is_ipv4)
}

impl ClassTable {
    /// Take over what the kernel has.
    pub fn adopt(&mut self, tables: &Tables) -> Result<(), MapError> {
        tables.classes.for_each(|key, id| {
            if let (Some(key), Ok(id)) = (from_key(&key), u16::try_from(id)) {
                self.clients.insert(key, id);
            }
        })
    }

    /// The id of a class that has one.
    pub fn id(&self, subnet: u16, name: Option<&ClassName>) -> Option<u16> {
        match name {
            None => Some(0),
            Some(name) => self.ids.get(&(subnet, name.clone())).copied(),
        }
    }

    /// The name of a class; none for clients of no class.
    pub fn name(&self, subnet: u16, id: u16) -> Option<&ClassName> {
        self.ids.iter().find(|((of, _), other)| *of == subnet && **other == id).map(|((_, name), _)| name)
    }

    /// Every class by (subnet, id).
    pub fn names(&self) -> BTreeMap<(u16, u16), ClassName> {
        self.ids.iter().map(|((subnet, name), id)| ((*subnet, *id), name.clone())).collect()
    }

    /// Give each class of a subnet its id: the one it has, or that its prefixes have, or a new one. No id that another
    /// class had until now is given away: its prefixes and its routes change one after the other. Ids that are `held`
    /// belong to rings. False if there are too many classes.
    pub fn assign(&mut self, subnet: u16, desired: &Subnet, held: &BTreeSet<u16>) -> bool {
        let mut before = BTreeMap::new();
        self.ids.retain(|(of, name), id| {
            let is_other = *of != subnet;
            if !is_other {
                before.insert(name.clone(), *id);
            }
            is_other
        });
        let known: Vec<Option<u16>> = desired.classes.iter().map(|class| before.get(&class.name).copied()).collect();
        let mut taken: BTreeSet<u16> = known.iter().flatten().copied().collect();
        let had: BTreeSet<u16> =
            before.values().copied().chain(self.ids_of(subnet)).chain(held.iter().copied()).collect();
        for (class, known) in desired.classes.iter().zip(known) {
            let found = || {
                clients(class, desired).find_map(|c| self.clients.get(&(subnet, c)).filter(|id| !taken.contains(*id)))
            };
            let fresh = || (1..=u16::MAX).find(|id| !taken.contains(id) && !had.contains(id));
            let Some(id) = known.or_else(|| found().copied()).or_else(fresh) else { return false };
            taken.insert(id);
            self.ids.insert((subnet, class.name.clone()), id);
        }
        true
    }

    fn ids_of(&self, subnet: u16) -> impl Iterator<Item = u16> + '_ {
        self.clients.iter().filter(move |((of, _), _)| *of == subnet).map(|(_, id)| *id)
    }

    /// Lead clients to their classes. Returns the subnets for which something changed. The routes of new classes stand.
    pub fn write(&mut self, subnets: &[(u16, &Subnet)], tables: &Tables) -> Result<BTreeSet<u16>, MapError> {
        let mut wanted = BTreeMap::new();
        for (subnet, desired) in subnets {
            for class in &desired.classes {
                let id = self.ids[&(*subnet, class.name.clone())];
                wanted.extend(clients(class, desired).map(|client| ((*subnet, client), id)));
            }
        }
        let mut changed = BTreeSet::new();
        for (&(subnet, client), id) in &wanted {
            if self.clients.get(&(subnet, client)) != Some(id) {
                tables.classes.put(&key(subnet, client), &u32::from(*id))?;
                changed.insert(subnet);
            }
        }
        for (subnet, client) in self.clients.keys().filter(|key| !wanted.contains_key(key)) {
            tables.classes.remove(&key(*subnet, *client))?;
            changed.insert(*subnet);
        }
        self.clients = wanted;
        Ok(changed)
    }

    /// Forget the classes of a subnet that is gone, before another gets its id.
    pub fn forget(&mut self, subnet: u16, tables: &Tables) -> Result<(), MapError> {
        self.ids.retain(|(of, _), _| *of != subnet);
        for (of, client) in self.clients.keys().filter(|(of, _)| *of == subnet) {
            tables.classes.remove(&key(*of, *client))?;
        }
        self.clients.retain(|(of, _), _| *of != subnet);
        Ok(())
    }

    /// How many client prefixes there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }
}
