//! Which part of the traffic each host has, as this router counts it.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::sync::Arc;

use slr_model::NodeName;

use super::Packets;
use super::host::Host;

/// Packets per host below which counts are too few to say who has which part.
const PACKETS_MIN: f64 = 10.0;

/// Counters of packets, as they were said before the last evaluation and before this one.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    before: Arc<Packets>,
    now: Option<Arc<Packets>>,
}

impl Traffic {
    pub(super) fn note(&mut self, packets: &Arc<Packets>) {
        self.now = Some(Arc::clone(packets));
    }

    /// Each of these hosts' part of what was counted since the last time, as a multiple of their mean, in their order,
    /// which is by name. `None` unless it was counted for all of them, and enough.
    pub(super) fn take<'a>(&mut self, hosts: impl Iterator<Item = &'a Host>) -> Option<Vec<f64>> {
        let now = self.now.take()?;
        let before = std::mem::replace(&mut self.before, Arc::clone(&now));
        let (mut now, mut before) = (InOrder::of(&now), InOrder::of(&before));
        let since = |host: &Host| Some(now.get(&host.name)?.checked_sub(before.get(&host.name)?)? as f64);
        let mut counted: Vec<f64> = hosts.map(since).collect::<Option<_>>()?;
        let mean = counted.iter().sum::<f64>() / counted.len().max(1) as f64;
        if mean < PACKETS_MIN {
            return None;
        }
        counted.iter_mut().for_each(|packets| *packets /= mean);
        Some(counted)
    }
}

/// Counters that are asked for in the order of their names: a walk beside the one over a thousand hosts, not as many
/// searches.
struct InOrder<'a>(Peekable<btree_map::Iter<'a, NodeName, u64>>);

impl<'a> InOrder<'a> {
    fn of(packets: &'a BTreeMap<NodeName, u64>) -> Self {
        Self(packets.iter().peekable())
    }

    fn get(&mut self, name: &NodeName) -> Option<u64> {
        while self.0.next_if(|(other, _)| *other < name).is_some() {}
        self.0.next_if(|(other, _)| *other == name).map(|(_, packets)| *packets)
    }
}
