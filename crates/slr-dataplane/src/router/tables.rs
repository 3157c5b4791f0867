//! The router's maps, typed.

use std::os::fd::AsFd;

use crate::abi::{
    Pod, bucket, bucket_key, class_key, counter, flow, flow_key_v4, flow_key_v6, frag_key, hop, pending_head,
    pending_set_v4, pending_set_v6, prefix_v4, prefix_v6, router_config, service, service_key, slr_addr, slr_const,
    subnet, usage,
};
use crate::object::{LoadError, Loaded};
use crate::sys::MappedWords;
use crate::table::{MapError, PerCpu, Table};

/// See `bpf/router_maps.h` for who writes and who reads.
pub struct Tables {
    pub clock: Table<u32, u32>,
    pub flows_v4: Table<flow_key_v4, flow>,
    pub flows_v6: Table<flow_key_v6, flow>,
    pub pending_v4: Table<u32, pending_set_v4>,
    pub pending_v6: Table<u32, pending_set_v6>,
    pub frags: Table<frag_key, flow>,
    pub hops: Table<u32, hop>,
    pub hop_by_addr: Table<slr_addr, u32>,
    pub prefixes_v4: Table<prefix_v4, u32>,
    pub prefixes_v6: Table<prefix_v6, u32>,
    pub subnets: Table<u32, subnet>,
    pub classes: Table<class_key, u32>,
    pub services: Table<service_key, service>,
    pub tunnel_addrs: Table<slr_addr, u32>,
    pub upstreams: Table<prefix_v6, u32>,
    pub buckets: Table<bucket_key, bucket>,
    pub settings: Table<u32, router_config>,
    pub reasons: PerCpu<counter>,
    pub hop_usage: PerCpu<usage>,
    pub subnet_usage: PerCpu<usage>,
    pub slots: MappedWords,
    pub rings: MappedWords,
}

fn remove_where<K: Pod>(table: &Table<K, flow>, unwanted: &impl Fn(&flow) -> bool) -> Result<u64, MapError> {
    let mut keys = Vec::new();
    table.for_each(|key, flow| keys.extend(unwanted(&flow).then_some(key)))?;
    keys.iter().map(|key| table.remove(key).map(u64::from)).sum()
}

/// A path of the pending cache in the words of a flow.
pub fn flow_of_path(path: u64, seen: u32) -> flow {
    let lane = |n: u32| (path >> (16 * n)) as u16;
    flow { hop: lane(0), hop_gen: lane(1), subnet: lane(2), entropy: lane(3), seen, ..flow::default() }
}

/// A set of the pending cache, of either family.
pub trait PendingSet: Pod {
    /// What both families' sets have.
    fn head_mut(&mut self) -> &mut pending_head;
}

impl PendingSet for pending_set_v4 {
    fn head_mut(&mut self) -> &mut pending_head {
        &mut self.head
    }
}

impl PendingSet for pending_set_v6 {
    fn head_mut(&mut self) -> &mut pending_head {
        &mut self.head
    }
}

fn clear_where<V: PendingSet>(table: &Table<u32, V>, unwanted: &impl Fn(&flow) -> bool) -> Result<u64, MapError> {
    let mut changed = Vec::new();
    table.for_each(|index, mut set| {
        let head = set.head_mut();
        let mut cleared = 0u64;
        for (path, seen) in head.path.iter_mut().zip(head.seen) {
            if *path != 0 && unwanted(&flow_of_path(*path, seen)) {
                *path = 0;
                cleared += 1;
            }
        }
        changed.extend((cleared > 0).then_some((index, set, cleared)));
    })?;
    changed.iter().map(|(index, set, cleared)| table.put(index, set).map(|()| *cleared)).sum()
}

impl Tables {
    /// Remove flows from every table that remembers some; returns how many.
    pub fn forget_flows(&self, unwanted: impl Fn(&flow) -> bool) -> Result<u64, MapError> {
        Ok(remove_where(&self.flows_v4, &unwanted)?
            + remove_where(&self.flows_v6, &unwanted)?
            + clear_where(&self.pending_v4, &unwanted)?
            + clear_where(&self.pending_v6, &unwanted)?
            + remove_where(&self.frags, &unwanted)?)
    }

    /// Remove all flows that have not shown two ends.
    pub fn forget_pending(&self) -> Result<u64, MapError> {
        Ok(clear_where(&self.pending_v4, &|_| true)? + clear_where(&self.pending_v6, &|_| true)?)
    }

    pub fn open(loaded: &Loaded) -> Result<Self, LoadError> {
        let mapped = |name: &str, words: u32| {
            let map = loaded.map(name)?;
            MappedWords::new(map.as_fd(), words as usize).map_err(|source| LoadError::Pin { path: name.into(), source })
        };
        Ok(Self {
            clock: Table::open(loaded, "clock")?,
            flows_v4: Table::open(loaded, "flows_v4")?,
            flows_v6: Table::open(loaded, "flows_v6")?,
            pending_v4: Table::open(loaded, "pending_v4")?,
            pending_v6: Table::open(loaded, "pending_v6")?,
            frags: Table::open(loaded, "frags")?,
            hops: Table::open(loaded, "hops")?,
            hop_by_addr: Table::open(loaded, "hop_by_addr")?,
            prefixes_v4: Table::open(loaded, "prefixes_v4")?,
            prefixes_v6: Table::open(loaded, "prefixes_v6")?,
            subnets: Table::open(loaded, "subnets")?,
            classes: Table::open(loaded, "classes")?,
            services: Table::open(loaded, "services")?,
            tunnel_addrs: Table::open(loaded, "tunnel_addrs")?,
            upstreams: Table::open(loaded, "upstreams")?,
            buckets: Table::open(loaded, "buckets")?,
            settings: Table::open(loaded, "settings")?,
            reasons: PerCpu::open(loaded, "reasons")?,
            hop_usage: PerCpu::open(loaded, "hop_usage")?,
            subnet_usage: PerCpu::open(loaded, "subnet_usage")?,
            slots: mapped("slots", slr_const::SLR_SLOTS_MAX.0)?,
            rings: mapped("rings", slr_const::SLR_RINGS_MAX.0)?,
        })
    }
}
