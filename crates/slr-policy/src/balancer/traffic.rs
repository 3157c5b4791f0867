//! Which part of the traffic each host has, as this router counts it.

use std::collections::BTreeMap;

use slr_model::NodeName;

use super::host::Host;

/// Packets per host below which counts are too few to say who has which part.
const PACKETS_MIN: f64 = 10.0;

/// Counters of packets, as they were said before the last evaluation and before this one.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    before: BTreeMap<NodeName, u64>,
    now: Option<BTreeMap<NodeName, u64>>,
}

impl Traffic {
    pub(super) fn note<'a>(&mut self, packets: impl IntoIterator<Item = (&'a NodeName, u64)>) {
        self.now = Some(packets.into_iter().map(|(name, packets)| (name.clone(), packets)).collect());
    }

    /// Each of these hosts' part of what was counted since the last time, as a multiple of their mean. `None` unless it
    /// was counted for all of them, and enough.
    pub(super) fn take<'a>(&mut self, hosts: impl Iterator<Item = &'a Host>) -> Option<BTreeMap<NodeName, f64>> {
        let now = self.now.take()?;
        let since = |host: &Host| {
            let packets = now.get(&host.name)?.checked_sub(*self.before.get(&host.name)?)?;
            Some((host.name.clone(), packets as f64))
        };
        let counted: Option<BTreeMap<NodeName, f64>> = hosts.map(since).collect();
        self.before = now;
        let mut counted = counted?;
        let mean = counted.values().sum::<f64>() / counted.len().max(1) as f64;
        if mean < PACKETS_MIN {
            return None;
        }
        counted.values_mut().for_each(|packets| *packets /= mean);
        Some(counted)
    }
}
