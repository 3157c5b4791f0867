//! The router's maps, typed.

use std::os::fd::AsFd;

use super::pending::Pending;
use crate::abi::{
    Pod, advert_master, bucket, bucket_key, class_key, counter, flow, flow_key_v4, flow_key_v6, frag_key, hop,
    prefix_v4, prefix_v6, router_config, service, service_key, slr_addr, slr_const, subnet, usage,
};
use crate::object::{LoadError, Loaded};
use crate::sys::MappedWords;
use crate::table::{MapError, PerCpu, Table};

/// See `bpf/router_maps.h` for who writes and who reads.
pub struct Tables {
    pub clock: Table<u32, u32>,
    pub flows_v4: Table<flow_key_v4, flow>,
    pub flows_v6: Table<flow_key_v6, flow>,
    pub pending_v4: Pending<flow_key_v4>,
    pub pending_v6: Pending<flow_key_v6>,
    pub frags: Table<frag_key, flow>,
    pub hops: Table<u32, hop>,
    pub hop_by_addr: Table<slr_addr, u32>,
    pub chain_ends: Table<u32, hop>,
    pub advert_masters: Table<u32, advert_master>,
    pub search_ends: Table<u32, hop>,
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
    pub new_pin_counts: PerCpu<u64>,
    pub subnet_usage: PerCpu<usage>,
    pub slots: MappedWords,
    pub rings: MappedWords,
}

fn remove_where<K: Pod>(table: &Table<K, flow>, unwanted: &impl Fn(&flow) -> bool) -> Result<u64, MapError> {
    let mut keys = Vec::new();
    table.for_each(|key, flow| keys.extend(unwanted(&flow).then_some(key)))?;
    keys.iter().map(|key| table.remove(key).map(u64::from)).sum()
}

impl Tables {
    /// Remove flows from every table that remembers some; returns how many.
    pub fn forget_flows(&self, unwanted: impl Fn(&flow) -> bool) -> Result<u64, MapError> {
        Ok(remove_where(&self.flows_v4, &unwanted)?
            + remove_where(&self.flows_v6, &unwanted)?
            + self.pending_v4.forget(|_, flow| unwanted(flow))
            + self.pending_v6.forget(|_, flow| unwanted(flow))
            + remove_where(&self.frags, &unwanted)?)
    }

    /// Remove all flows that have not shown two ends; returns how many.
    pub fn forget_pending(&self) -> u64 {
        self.pending_v4.forget(|_, _| true) + self.pending_v6.forget(|_, _| true)
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
            pending_v4: Pending::open(loaded, "pending_v4")?,
            pending_v6: Pending::open(loaded, "pending_v6")?,
            frags: Table::open(loaded, "frags")?,
            hops: Table::open(loaded, "hops")?,
            hop_by_addr: Table::open(loaded, "hop_by_addr")?,
            chain_ends: Table::open(loaded, "chain_ends")?,
            advert_masters: Table::open(loaded, "advert_masters")?,
            search_ends: Table::open(loaded, "search_ends")?,
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
            new_pin_counts: PerCpu::open(loaded, "new_pin_counts")?,
            subnet_usage: PerCpu::open(loaded, "subnet_usage")?,
            slots: mapped("slots", slr_const::SLR_SLOTS_MAX.0)?,
            rings: mapped("rings", slr_const::SLR_RINGS_MAX.0)?,
        })
    }
}
