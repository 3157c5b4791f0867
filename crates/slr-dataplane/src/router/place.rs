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

impl Router {
    /// The hop that the flow's slot has now, in the ring that decides for it in this subnet. It may be down: then who had the
    /// slot before stands in until the next ring is published.
    pub(super) fn placed(&self, subnet: u16, key: &FlowKey, seed: u64) -> Result<Option<HopId>, MapError> {
        let Some((ring, mask)) = self.deciding(subnet, key)? else { return Ok(None) };
        let descriptor = word_of(&self.tables, ring).load(Ordering::Acquire);
        let (offset, slots) = ((descriptor >> 32) as usize, descriptor as u32);
        let slot = slot_of((flow_hash(seed, key, mask) >> 32) as u32, slots);
        let area = self.tables.slots.words().get(offset..).and_then(|rest| rest.get(..slots as usize));
        let word = area.unwrap_or_default().get(slot as usize).map(|word| word.load(Ordering::Relaxed));
        Ok(word.and_then(|word| HopId::new(word as u16).ok()))
    }

    /// Ring and key mask of the route that decides, as the kernel's tables have them.
    fn deciding(&self, subnet: u16, key: &FlowKey) -> Result<Option<(u32, KeyMask)>, MapError> {
        let Some(own) = subnets::read(subnet, &self.tables)? else { return Ok(None) };
        let is_set = |flag: slr_const| own.flags & flag.0 != 0;
        let has_classes = is_set(slr_const::SUBNET_CLASSES);
        let class = if has_classes { classes::class_of(subnet, key.client().ip(), &self.tables)? } else { 0 };
        let port = key.virtual_host().port().try_into().ok();
        let service = port.map(|port| Service { protocol: key.protocol(), port });
        for route in (RouteId { subnet, class, service }).fallbacks(is_set(slr_const::SUBNET_PORTS)) {
            if route.is_of_subnet() {
                return Ok(Some((own.ring, mask_of(own.mask.into()))));
            }
            if let Some(found) = self.tables.services.get(&route.key())? {
                return Ok(Some((found.ring, mask_of(found.mask))));
            }
        }
        Ok(None)
    }
}

fn mask_of(bits: u32) -> KeyMask {
    u8::try_from(bits).ok().and_then(KeyMask::from_bits).unwrap_or_default()
}
