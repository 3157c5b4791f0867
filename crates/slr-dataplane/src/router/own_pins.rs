//! This member's flows, for those who mirror them: a walk over the flow tables in parts, since a table of millions takes longer
//! than the daemon may be away from everything else.

use slr_model::{FlowKey, HopId, NodeName};

use super::Router;
use super::flow_key::Key;
use super::mirror::{has, is_own};
use crate::abi::{flow, flow_key_v4, flow_key_v6, slr_const};
use crate::table::{MapError, Part, Walk};

/// An own flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPin {
    /// Its host.
    pub host: NodeName,
    /// Which.
    pub flow: FlowKey,
    /// Has spoken since it was pinned.
    pub proven: bool,
}

/// A walk under way. A flow that is pinned after its beginning may be missing; one that is forgotten may be among them.
pub struct OwnPins {
    v4: Walk<flow_key_v4, flow>,
    v6: Walk<flow_key_v6, flow>,
    is_v4_over: bool,
    within_s: Option<u32>,
}

impl Router {
    /// Begins a walk over this member's flows, but for those that have ended. `within_s`: only over those that have spoken again
    /// in the last so many seconds.
    pub fn walk_own_pins(&self, within_s: Option<u32>) -> Result<OwnPins, MapError> {
        let (v4, v6) = (self.tables.flows_v4.walk()?, self.tables.flows_v6.walk()?);
        Ok(OwnPins { v4, v6, is_v4_over: false, within_s })
    }

    /// What was read next; of some thousand flows there may be none of this member. Waits for nothing.
    pub fn next_own_pins(&self, walk: &mut OwnPins) -> Result<Part<Vec<OwnPin>>, MapError> {
        self.next_part(walk, false)
    }

    /// All of them at once.
    pub fn own_pins(&self, within_s: Option<u32>) -> Result<Vec<OwnPin>, MapError> {
        let mut walk = self.walk_own_pins(within_s)?;
        let mut all = Vec::new();
        while let Part::Read(part) = self.next_part(&mut walk, true)? {
            all.extend(part);
        }
        Ok(all)
    }

    fn next_part(&self, walk: &mut OwnPins, waits: bool) -> Result<Part<Vec<OwnPin>>, MapError> {
        if !walk.is_v4_over {
            match walk.v4.next(waits)? {
                Part::Read(flows) => return Ok(Part::Read(self.own(flows, walk.within_s)?)),
                Part::NotYet => return Ok(Part::NotYet),
                Part::Over => walk.is_v4_over = true,
            }
        }
        Ok(match walk.v6.next(waits)? {
            Part::Read(flows) => Part::Read(self.own(flows, walk.within_s)?),
            Part::NotYet => Part::NotYet,
            Part::Over => Part::Over,
        })
    }

    /// Those of them that are wanted.
    fn own<K: Key>(&self, flows: Vec<(K, flow)>, within_s: Option<u32>) -> Result<Vec<OwnPin>, MapError> {
        let (generations, names, now) = (self.generations(), self.hop_names(), self.clock()?);
        let recent = |flow: &flow| match within_s {
            None => true,
            Some(within) => has(flow, slr_const::FLOW_REFRESHED) && now.saturating_sub(flow.seen) <= within,
        };
        let wanted =
            |flow: &flow| is_own(flow) && generations.has(flow) && !has(flow, slr_const::FLOW_CLOSING) && recent(flow);
        let pin = |(key, flow): (K, flow)| {
            let host = HopId::new(flow.hop).ok().and_then(|id| names.get(&id)).filter(|_| wanted(&flow))?;
            Some(OwnPin { host: (*host).clone(), flow: key.flow()?, proven: has(&flow, slr_const::FLOW_REFRESHED) })
        };
        Ok(flows.into_iter().filter_map(pin).collect())
    }
}
