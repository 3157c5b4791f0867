//! What a change did, for the log and for whoever asked for it.

use serde::{Deserialize, Serialize};
use slr_dataplane::router::Applied;

/// What a change of configuration did; also the answer to `slr-router reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    pub hosts_added: Vec<String>,
    pub hosts_changed: Vec<String>,
    pub hosts_removed: Vec<String>,
    pub subnets_added: Vec<String>,
    pub subnets_changed: Vec<String>,
    pub subnets_removed: Vec<String>,
    pub interfaces_attached: Vec<String>,
    pub interfaces_detached: Vec<String>,
    /// Rings written.
    pub rings_published: u64,
    /// Slots of rings that point to another host than before.
    pub slots_moved: u64,
    /// Hosts that could not be resolved in time; they get no flows until they are.
    pub unresolved: Vec<String>,
}

impl Changes {
    /// What the data plane did, and which hosts are still out of reach.
    pub fn new(applied: Applied, unresolved: Vec<String>) -> Self {
        fn words<T: ToString>(list: Vec<T>) -> Vec<String> {
            list.iter().map(ToString::to_string).collect()
        }
        Self {
            hosts_added: words(applied.hosts_added),
            hosts_changed: words(applied.hosts_changed),
            hosts_removed: words(applied.hosts_removed),
            subnets_added: words(applied.subnets_added),
            subnets_changed: words(applied.subnets_changed),
            subnets_removed: words(applied.subnets_removed),
            rings_published: applied.rings_published,
            slots_moved: applied.slots_moved,
            unresolved,
            ..Self::default()
        }
    }

    /// Tells the log how templates followed the network. A host that went out of reach should wake someone; one that has a
    /// new MAC should not.
    pub fn tell_followed(&self) {
        let lost: Vec<&str> =
            self.hosts_changed.iter().filter(|host| self.unresolved.contains(host)).map(String::as_str).collect();
        if !lost.is_empty() {
            tracing::warn!(hosts = lost.join(" "), slots_moved = self.slots_moved, "out of reach; show hosts says why");
        }
        let followed: Vec<&str> =
            self.hosts_changed.iter().filter(|host| !self.unresolved.contains(host)).map(String::as_str).collect();
        if !followed.is_empty() {
            tracing::info!(hosts = followed.join(" "), slots_moved = self.slots_moved, "templates follow the network");
        }
    }

    /// Tells the log that rings followed the hosts. It happens all the time.
    pub fn tell_placed(&self) {
        tracing::debug!(
            rings = self.rings_published,
            slots_moved = self.slots_moved,
            unresolved = self.unresolved.join(" "),
            "rings follow the hosts"
        );
    }
}
