//! What a restart goes on from: the hosts as they were known, and the rings' weights. A file in the state folder, written
//! whole or not at all.
//!
//! The kernel's tables have the rings too, but by hop; this file has the names, and what the hosts said. Without it a
//! restarted daemon would take every host for new.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use slr_model::{ClassName, NodeName, ServiceKey};
use slr_session::cluster::{Cluster, ClusterSnapshot};
use slr_session::registry::Snapshot;
use slr_wire::{RingKey, RingWeights};

use crate::config::Settings;
use crate::daemon::{Core, Neighbour, Plane};
use crate::fleet::Fleet;

/// Version of the file's format. Another one is not read.
const VERSION: u32 = 1;
/// The file's name.
const FILE: &str = "state.json";
/// Longest file that is read: 4,095 hosts with their services take a few megabytes.
const LEN_MAX: u64 = 64 << 20;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    version: u32,
    fleet: Snapshot,
    rings: Vec<SavedRing>,
    cluster: Option<ClusterSnapshot>,
    /// Prefixes that parents send tunnels from.
    parents: BTreeMap<NodeName, Vec<IpNet>>,
    /// Routers of other clusters.
    #[serde(default)]
    neighbours: BTreeMap<NodeName, Neighbour>,
    /// Of flow keys.
    #[serde(default)]
    flow_epoch: Option<u32>,
}

/// A ring's weights.
#[derive(Debug, Serialize, Deserialize)]
struct SavedRing {
    service: ServiceKey,
    class: Option<ClassName>,
    weights: RingWeights,
}

impl State {
    /// What is known now.
    pub fn of<P: Plane>(core: &Core<P>, flow_epoch: Option<u32>, now: Instant) -> Self {
        let fleet = core.fleet();
        let ring = |(key, route): (&RingKey, &crate::fleet::Route)| SavedRing {
            service: key.service,
            class: key.class.clone(),
            weights: route.members.iter().cloned().collect(),
        };
        Self {
            version: VERSION,
            fleet: fleet.registry().snapshot(now),
            rings: fleet.routes().iter().map(ring).collect(),
            cluster: core.cluster().and_then(Cluster::snapshot),
            parents: core.parent_sources().clone(),
            neighbours: core.neighbours().clone(),
            flow_epoch,
        }
    }

    /// What was published in the cluster.
    pub fn cluster(&self) -> Option<ClusterSnapshot> {
        self.cluster.clone()
    }

    /// Prefixes that parents send tunnels from.
    pub fn parents(&self) -> &BTreeMap<NodeName, Vec<IpNet>> {
        &self.parents
    }

    /// Routers of other clusters.
    pub fn neighbours(&self) -> &BTreeMap<NodeName, Neighbour> {
        &self.neighbours
    }

    /// The epoch of flow keys.
    pub fn flow_epoch(&self) -> Option<u32> {
        self.flow_epoch
    }

    /// Gives it to a fleet that knows nobody yet; how many hosts that were, and what had no place.
    pub fn restore(self, fleet: &mut Fleet, settings: &Settings, now: Instant) -> (usize, Vec<String>) {
        fleet.configure(settings, now);
        let adopted = fleet.registry_mut().adopt(self.fleet, now);
        for ring in self.rings {
            let key = RingKey { service: ring.service, class: ring.class };
            fleet.adopt(&key, &ring.weights, settings.dataplane.limits.seed);
        }
        (adopted.hosts, adopted.skipped)
    }

    /// Reads the file; `None` if there is none.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        let text = match fs::metadata(&path) {
            Ok(meta) if meta.len() > LEN_MAX => bail!("{} is larger than {LEN_MAX} bytes: remove it", path.display()),
            Ok(_) => fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let state: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged: remove it, hosts then count as new", path.display()))?;
        if state.version != VERSION {
            bail!("{} is of version {}, this program reads {VERSION}: remove it", path.display(), state.version);
        }
        Ok(Some(state))
    }

    /// Writes the file: beside its place first, so that a crash leaves the old one or the new one.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let write = |path: &PathBuf| -> io::Result<()> {
            fs::create_dir_all(dir)?;
            let mut file = File::create(path)?;
            file.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
            file.sync_data()?;
            fs::rename(path, dir.join(FILE))
        };
        write(&dir.join(format!("{FILE}.new"))).with_context(|| format!("cannot write the state in {}", dir.display()))
    }
}
