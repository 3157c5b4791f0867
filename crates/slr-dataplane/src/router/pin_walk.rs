//! A walk over both flow tables in parts, since a table of millions takes longer than the daemon may be away from everything else.

use slr_model::FlowKey;

use super::flow_key::Key;
use super::tables::Tables;
use crate::abi::{flow, flow_key_v4, flow_key_v6};
use crate::table::{MapError, Part, Walk};

/// A walk under way. A flow that is pinned after its beginning may be missing; one that is forgotten may be among them.
pub struct PinWalk {
    v4: Walk<flow_key_v4, flow>,
    v6: Walk<flow_key_v6, flow>,
    is_v4_over: bool,
}

impl PinWalk {
    pub fn begin(tables: &Tables) -> Result<Self, MapError> {
        Ok(Self { v4: tables.flows_v4.walk()?, v6: tables.flows_v6.walk()?, is_v4_over: false })
    }

    /// What `select` makes of the flows that are read next; of some thousand there may be none that it wants. With `waits` there
    /// is always a part, or the end.
    pub fn next<T>(
        &mut self,
        waits: bool,
        select: impl Fn(FlowKey, &flow) -> Option<T>,
    ) -> Result<Part<Vec<T>>, MapError> {
        if !self.is_v4_over {
            match self.v4.next(waits)? {
                Part::Read(flows) => return Ok(Part::Read(selected(flows, select))),
                Part::NotYet => return Ok(Part::NotYet),
                Part::Over => self.is_v4_over = true,
            }
        }
        Ok(match self.v6.next(waits)? {
            Part::Read(flows) => Part::Read(selected(flows, select)),
            Part::NotYet => Part::NotYet,
            Part::Over => Part::Over,
        })
    }
}

fn selected<K: Key, T>(flows: Vec<(K, flow)>, select: impl Fn(FlowKey, &flow) -> Option<T>) -> Vec<T> {
    flows.into_iter().filter_map(|(key, flow)| select(key.flow()?, &flow)).collect()
}
