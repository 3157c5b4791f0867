//! What a restarted member starts from.

use serde::{Deserialize, Serialize};
use slr_model::{ClassName, NodeName, ServiceKey};
use slr_wire::{Edition, RingKey, RingWeights};

use super::lineage::Lineage;

/// The publication that a member held, for its successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSnapshot {
    /// Who had published it.
    pub publisher: NodeName,
    /// The start of the publisher's process.
    pub incarnation: u64,
    /// Its count.
    pub generation: u64,
    /// Each ring.
    pub rings: Vec<RingSnapshot>,
}

/// A ring's weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingSnapshot {
    /// The service.
    pub service: ServiceKey,
    /// The client class.
    pub class: Option<ClassName>,
    /// Its hosts.
    pub weights: RingWeights,
}

impl ClusterSnapshot {
    pub(super) fn of(lineage: &Lineage) -> Option<Self> {
        let edition = lineage.held()?.clone();
        let ring = |(key, weights): (&RingKey, &RingWeights)| RingSnapshot {
            service: key.service,
            class: key.class.clone(),
            weights: weights.clone(),
        };
        Some(Self {
            publisher: edition.publisher,
            incarnation: edition.incarnation,
            generation: edition.generation,
            rings: lineage.rings().iter().map(ring).collect(),
        })
    }

    pub(super) fn into_lineage(self) -> Lineage {
        let edition = Edition { publisher: self.publisher, incarnation: self.incarnation, generation: self.generation };
        let ring = |ring: RingSnapshot| (RingKey { service: ring.service, class: ring.class }, ring.weights);
        Lineage::new(edition, self.rings.into_iter().map(ring).collect())
    }
}
