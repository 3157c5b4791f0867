//! Where the rings place a flow that nobody remembers: what the program does in `bpf/place.h`, for user space to count by. No
//! packet goes by it.

use std::sync::atomic::Ordering;

use slr_model::{FlowKey, HopId, KeyMask, Service};
use slr_policy::slot_of;

use super::rings::{RouteId, word_of};
use super::{Router, classes, subnets};
use crate::abi::slr_const;
use crate::hash::flow_hash;
use crate::table::MapError;

/// What decides where new flows of a kind go.
pub(super) struct Deciding {
    pub route: RouteId,
    pub ring: u32,
    pub mask: KeyMask,
}

/// A ring's slot: the hosts that it has and had, the newest first, and its second choice. 0: nobody.
pub(super) struct Slot {
    pub number: u32,
    pub of: u32,
    pub lanes: [u16; slr_const::SLR_CHAIN_MAX.0 as usize],
    pub second: u16,
}

impl Router {
    /// The hop that the flow's slot has now, in the ring that decides for it in this subnet. It may be down: then who had the
    /// slot before stands in until the next ring is published.
    pub(super) fn placed(&self, subnet: u16, key: &FlowKey, seed: u64) -> Result<Option<HopId>, MapError> {
        let Some(deciding) = self.deciding(subnet, key)? else { return Ok(None) };
        Ok(self.slot(&deciding, key, seed).and_then(|slot| HopId::new(slot.lanes[0]).ok()))
    }

    /// The slot of a flow in the ring that decides; `None` if that has no host.
    pub(super) fn slot(&self, deciding: &Deciding, key: &FlowKey, seed: u64) -> Option<Slot> {
        let descriptor = word_of(&self.tables, deciding.ring).load(Ordering::Acquire);
        let (offset, of) = ((descriptor >> 32) as usize, descriptor as u32);
        let number = slot_of((flow_hash(seed, key, deciding.mask) >> 32) as u32, of);
        let area = self.tables.slots.words().get(offset..).and_then(|rest| rest.get(..of as usize))?;
        let word = area.get(number as usize)?.load(Ordering::Relaxed);
        let lane = |n: usize| (word >> (16 * n)) as u16;
        Some(Slot { number, of, lanes: std::array::from_fn(lane), second: lane(slr_const::SLR_CHAIN_MAX.0 as usize) })
    }

    /// The route that decides, as the kernel's tables have it; `None` if the subnet does not serve this.
    pub(super) fn deciding(&self, subnet: u16, key: &FlowKey) -> Result<Option<Deciding>, MapError> {
        let Some(own) = subnets::read(subnet, &self.tables)? else { return Ok(None) };
        let is_set = |flag: slr_const| own.flags & flag.0 != 0;
        let has_classes = is_set(slr_const::SUBNET_CLASSES);
        let class = if has_classes { classes::class_of(subnet, key.client().ip(), &self.tables)? } else { 0 };
        let port = key.virtual_host().port().try_into().ok();
        let service = port.map(|port| Service { protocol: key.protocol(), port });
        for route in (RouteId { subnet, class, service }).fallbacks(is_set(slr_const::SUBNET_PORTS)) {
            if route.is_of_subnet() {
                return Ok(Some(Deciding { route, ring: own.ring, mask: mask_of(own.mask.into()) }));
            }
            if let Some(found) = self.tables.services.get(&route.key())? {
                return Ok(Some(Deciding { route, ring: found.ring, mask: mask_of(found.mask) }));
            }
        }
        Ok(None)
    }
}

fn mask_of(bits: u32) -> KeyMask {
    u8::try_from(bits).ok().and_then(KeyMask::from_bits).unwrap_or_default()
}
