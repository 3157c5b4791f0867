//! This member's flows, for those who mirror them.

use slr_model::{FlowKey, HopId, NodeName};

use super::Router;
use super::mirror::{has, is_own};
use super::pin_walk::PinWalk;
use crate::abi::{flow, slr_const};
use crate::table::{MapError, Part};

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
    walk: PinWalk,
    within_s: Option<u32>,
}

impl Router {
    /// Begins a walk over this member's flows, but for those that have ended. `within_s`: only over those that have spoken again
    /// in the last so many seconds.
    pub fn walk_own_pins(&self, within_s: Option<u32>) -> Result<OwnPins, MapError> {
        Ok(OwnPins { walk: PinWalk::begin(&self.tables)?, within_s })
    }

    /// What was read next; of some thousand flows there may be none of this member. Waits for nothing.
    pub fn next_own_pins(&self, walk: &mut OwnPins) -> Result<Part<Vec<OwnPin>>, MapError> {
        self.next_own(walk, false)
    }

    /// All of them at once.
    pub fn own_pins(&self, within_s: Option<u32>) -> Result<Vec<OwnPin>, MapError> {
        let mut walk = self.walk_own_pins(within_s)?;
        let mut all = Vec::new();
        while let Part::Read(part) = self.next_own(&mut walk, true)? {
            all.extend(part);
        }
        Ok(all)
    }

    fn next_own(&self, walk: &mut OwnPins, waits: bool) -> Result<Part<Vec<OwnPin>>, MapError> {
        let (generations, names, now) = (self.generations(), self.hop_names(), self.clock()?);
        let recent = |flow: &flow| match walk.within_s {
            None => true,
            Some(within) => has(flow, slr_const::FLOW_REFRESHED) && now.saturating_sub(flow.seen) <= within,
        };
        let wanted =
            |flow: &flow| is_own(flow) && generations.has(flow) && !has(flow, slr_const::FLOW_CLOSING) && recent(flow);
        walk.walk.next(waits, |key, flow| {
            let host = HopId::new(flow.hop).ok().and_then(|id| names.get(&id)).filter(|_| wanted(flow))?;
            Some(OwnPin { host: (*host).clone(), flow: key, proven: has(flow, slr_const::FLOW_REFRESHED) })
        })
    }
}
