//! The core's part in a cluster: one member weighs and publishes, the others place by what it published.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use slr_model::NodeName;
use slr_session::cluster::{Cluster, ClusterEvent, ClusterOutput, ClusterRole};
use slr_wire::{RingKey, RingWeights};

use super::super::plane::Plane;
use super::{Core, Effect};

impl<P: Plane> Core<P> {
    /// Takes part in a cluster from now on; one of a single member is one as well.
    pub fn join(&mut self, cluster: Cluster, now: Instant) {
        self.cluster = Some(cluster);
        self.follow_cluster(now);
    }

    /// The cluster, if there is a control plane.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Other members are configured.
    pub fn set_peers(&mut self, peers: BTreeSet<NodeName>, now: Instant) {
        self.tell_cluster(now, |cluster| cluster.configure(now, peers));
    }

    /// Tells the cluster something, and does what follows from it.
    pub fn tell_cluster<T: Default>(&mut self, now: Instant, what: impl FnOnce(&mut Cluster) -> T) -> T {
        let Some(cluster) = &mut self.cluster else { return T::default() };
        let answer = what(cluster);
        self.follow_cluster(now);
        answer
    }

    /// Lets the cluster do what is due.
    pub(super) fn mind_cluster(&mut self, now: Instant) {
        if self.cluster.as_ref().is_some_and(|cluster| cluster.poll_timeout() <= now) {
            self.tell_cluster(now, |cluster| cluster.handle_timeout(now));
        }
    }

    fn follow_cluster(&mut self, now: Instant) {
        let mut is_news = false;
        while let Some(output) = self.cluster.as_mut().and_then(Cluster::poll_output) {
            match output {
                ClusterOutput::Send { peer, message } => self.effects.push_back(Effect::ToPeer(peer, message)),
                ClusterOutput::Event(ClusterEvent::Role(role)) => {
                    tracing::info!(?role, "part in the cluster");
                    if role == ClusterRole::Publishes {
                        self.take_over();
                    }
                    is_news = true;
                }
                ClusterOutput::Event(ClusterEvent::Adopted { edition, changed, removed }) => {
                    tracing::debug!(%edition, changed = changed.len(), removed = removed.len(), "rings of the cluster");
                    is_news = true;
                }
                ClusterOutput::Event(ClusterEvent::Violation { peer, why }) => {
                    tracing::warn!(%peer, "peer does not keep to the format: {why}");
                    self.effects.push_back(Effect::RefusePeer(peer, why));
                }
            }
        }
        if is_news {
            self.place(now);
        }
    }

    /// Who begins to publish goes on from what was published last: handing over moves nothing.
    fn take_over(&mut self) {
        let Some(seed) = self.in_force.as_ref().map(|loaded| loaded.settings.dataplane.limits.seed) else { return };
        let rings = self.cluster.as_ref().map(|cluster| cluster.rings().clone()).unwrap_or_default();
        for (key, weights) in &rings {
            self.fleet.adopt(key, weights, seed);
        }
    }

    /// What the publisher weighed, where that is somebody else.
    pub(super) fn published(cluster: Option<&Cluster>) -> Option<&BTreeMap<RingKey, RingWeights>> {
        cluster.filter(|cluster| *cluster.role() != ClusterRole::Publishes).map(Cluster::rings)
    }

    /// How many routers of this cluster there are to be heard, this one included.
    pub(super) fn cluster_size(&self) -> usize {
        let heard = |cluster: &Cluster| cluster.members().filter(|member| member.heard).count();
        1 + self.cluster.as_ref().map_or(0, heard)
    }

    /// Publishes what was weighed here, where that is this member's part.
    pub(super) fn publish(&mut self, now: Instant) {
        let is_alone = self.cluster.as_ref().is_none_or(|cluster| cluster.members().next().is_none());
        if is_alone {
            return;
        }
        let rings = self.fleet.routes().iter();
        let rings = rings.map(|(key, route)| (key.clone(), route.members.iter().cloned().collect())).collect();
        if let Some(Err(error)) = self.cluster.as_mut().map(|cluster| cluster.publish(now, rings)) {
            tracing::error!("the other members keep the rings they have: {error}");
        }
        self.follow_cluster(now);
    }
}
