//! A running router's flow tables as anybody sees them who may: by the paths that they are pinned at. Only read.

use std::path::Path;

use slr_model::FlowKey;

use crate::abi::{self, flow, flow_key_v4, flow_key_v6, slr_const};
use crate::table::{MapError, PerCpu, Table};

/// The tables.
pub struct Pinned {
    v4: Table<flow_key_v4, flow>,
    v6: Table<flow_key_v6, flow>,
    new_pins: PerCpu<u64>,
}

impl Pinned {
    /// Opens what a router of this version has pinned at its `pin_path`.
    pub fn open(pin_path: &Path) -> Result<Self, MapError> {
        let folder = pin_path.join(format!("v{}", abi::VERSION));
        Ok(Self {
            v4: Table::pinned(&folder.join("flows_v4"), "flows_v4")?,
            v6: Table::pinned(&folder.join("flows_v6"), "flows_v6")?,
            new_pins: PerCpu::pinned(&folder.join("new_pin_counts"), "new_pin_counts")?,
        })
    }

    /// Whether a flow is pinned there.
    pub fn has(&self, flow: &FlowKey) -> Result<bool, MapError> {
        Ok(match flow_key_v4::of(flow) {
            Some(key) => self.v4.get(&key)?.is_some(),
            None => self.v6.get(&flow_key_v6::of(flow))?.is_some(),
        })
    }

    /// Flows that the program has pinned and told its daemon of, and those that it had no room to tell of.
    pub fn new_pins(&self) -> Result<(u64, u64), MapError> {
        let count = |what: slr_const| Ok(self.new_pins.get(what.0)?.into_iter().sum());
        Ok((count(slr_const::NEW_PIN_TOLD)?, count(slr_const::NEW_PIN_LOST)?))
    }
}
