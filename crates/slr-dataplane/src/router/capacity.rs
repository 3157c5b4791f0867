//! How full the tables are.

use super::Router;
use crate::abi::{Pod, slr_const};
use crate::table::{MapError, Table};

/// A table's use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableUse {
    /// Its name, as `bpf/router_maps.h` has it.
    pub name: &'static str,
    /// Entries in use.
    pub used: u64,
    /// Entries that fit.
    pub capacity: u64,
    /// A cache: it fills up in use, and what is new takes the place of what is oldest.
    pub is_cache: bool,
}

impl Router {
    /// Every table whose use can grow. Flows are as the last sweep found them; the others are counted now.
    pub fn table_use(&self) -> Result<Vec<TableUse>, MapError> {
        fn counted<K: Pod, V: Pod>(name: &'static str, table: &Table<K, V>) -> Result<TableUse, MapError> {
            let mut used = 0;
            table.for_each(|_, _| used += 1)?;
            Ok(TableUse { name, used, capacity: table.capacity().into(), is_cache: false })
        }
        let known = |name, used: usize, capacity: slr_const| {
            let (used, capacity) = (used as u64, capacity.0.into());
            TableUse { name, used, capacity, is_cache: false }
        };
        let cache = |table: TableUse| TableUse { is_cache: true, ..table };
        let tables = &self.tables;
        let flows = |name, used, table: u64| TableUse { name, used, capacity: table, is_cache: false };
        let (pinned, pending) = (self.census.pinned, self.census.pending);
        let (rings, slots) = self.rings.used();
        let v4 = self.subnets.iter().filter(|(prefix, _)| prefix.is_ipv4()).count();
        let subnets = self.subnets.iter().count();
        Ok(vec![
            flows("flows_v4", pinned[0], tables.flows_v4.capacity().into()),
            flows("flows_v6", pinned[1], tables.flows_v6.capacity().into()),
            cache(flows("pending_v4", pending[0], tables.pending_v4.capacity())),
            cache(flows("pending_v6", pending[1], tables.pending_v6.capacity())),
            cache(counted("frags", &tables.frags)?),
            cache(counted("buckets", &tables.buckets)?),
            known("hops", self.hops.iter().count(), slr_const::SLR_HOPS_MAX),
            known("subnets", subnets, slr_const::SLR_SUBNETS_MAX),
            known("prefixes_v4", v4, slr_const::SLR_PREFIXES_MAX),
            known("prefixes_v6", subnets - v4, slr_const::SLR_PREFIXES_MAX),
            known("classes", self.classes.len(), slr_const::SLR_CLASSES_MAX),
            counted("services", &tables.services)?,
            counted("upstreams", &tables.upstreams)?,
            counted("tunnel_addrs", &tables.tunnel_addrs)?,
            known("rings", rings as usize, slr_const::SLR_RINGS_MAX),
            known("slots", slots as usize, slr_const::SLR_SLOTS_MAX),
        ])
    }
}
