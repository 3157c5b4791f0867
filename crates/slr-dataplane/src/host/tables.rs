//! The host's maps, typed; `bpf/host_maps.h` says who writes and who reads.

use super::abi::{counter, host_config, host_usage, prefix_v4, prefix_v6, stall_limit};
use crate::object::{LoadError, Loaded};
use crate::table::{PerCpu, Table};

pub struct Tables {
    pub settings: Table<u32, host_config>,
    pub active: Table<u32, u32>,
    pub peers_v4: Table<prefix_v4, u32>,
    pub peers_v6: Table<prefix_v6, u32>,
    pub served_v4: Table<prefix_v4, u32>,
    pub served_v6: Table<prefix_v6, u32>,
    pub reasons: PerCpu<counter>,
    pub usage: PerCpu<host_usage>,
    pub claim_counts: PerCpu<u64>,
    pub stall_limits: Table<u32, stall_limit>,
}

impl Tables {
    pub fn open(loaded: &Loaded) -> Result<Self, LoadError> {
        Ok(Self {
            settings: Table::open(loaded, "settings")?,
            active: Table::open(loaded, "active")?,
            peers_v4: Table::open(loaded, "peers_v4")?,
            peers_v6: Table::open(loaded, "peers_v6")?,
            served_v4: Table::open(loaded, "served_v4")?,
            served_v6: Table::open(loaded, "served_v6")?,
            reasons: PerCpu::open(loaded, "reasons")?,
            usage: PerCpu::open(loaded, "usage")?,
            claim_counts: PerCpu::open(loaded, "claim_counts")?,
            stall_limits: Table::open(loaded, "stall_limits")?,
        })
    }
}
