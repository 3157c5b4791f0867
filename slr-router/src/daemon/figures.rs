//! What the daemon tells Prometheus: the snapshot that the metrics' endpoint serves, filled every few seconds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use slr_daemon::metrics::Exporter;
use slr_daemon::notify::Pulse;
use slr_model::NodeName;
use slr_session::conversation::{ChildPhase, Counters};
use slr_session::registry::{AlarmKey, ContactView};
use slr_wire::DecodeError;

use super::Daemon;
use super::flow_keys::Keyring;
use crate::metrics as page;
use crate::overview::history::{self, History};

/// How often the snapshot is made: of a thousand hosts it takes some milliseconds, and is asked for each 15 s.
const EVERY: Duration = history::EVERY;
/// The class of clients that are in none.
const DEFAULT_CLASS: &str = "default";

/// The endpoint, and what the loop counts for it.
pub struct Figures {
    exporter: Exporter,
    published: Option<Instant>,
    pulse: Pulse,
    config: page::Config,
    control: page::Control,
    history: History,
    /// Flows brought back, by rung, when they were looked at last.
    recovered: Vec<(&'static str, u64)>,
}

impl Figures {
    /// Serves from now on.
    pub fn start(address: Option<std::net::SocketAddr>) -> Result<Self> {
        let exporter = Exporter::start(address)?;
        if let Some(address) = exporter.address() {
            tracing::info!(%address, "metrics are served");
        }
        Ok(Self {
            exporter,
            published: None,
            pulse: Pulse::new(),
            config: page::Config::default(),
            control: page::Control::default(),
            history: History::default(),
            recovered: Vec::new(),
        })
    }

    /// When the snapshot is due.
    pub fn due(&self) -> Instant {
        self.published.map_or_else(Instant::now, |at| at + EVERY)
    }

    /// A turn of the loop that began then has ended.
    pub fn turned(&mut self, begun: Instant) {
        let took = begun.elapsed();
        self.control.turns += 1;
        self.control.busy += took;
        self.control.longest = self.control.longest.max(took);
        self.exporter.turned();
        self.pulse.turned(Instant::now());
    }

    /// Shares and costs of the last minutes.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What became of a configuration.
    pub fn decided(&mut self, good: bool) {
        self.config.is_last_good = good;
        if good {
            self.config.reloads_applied += 1;
            self.config.in_force_since_s = Some(unix_s(SystemTime::now()));
        } else {
            self.config.reloads_refused += 1;
        }
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Daemon {
    /// Makes the snapshot, if it is due.
    pub(super) fn publish_figures(&mut self) {
        if self.figures.due() > Instant::now() {
            return;
        }
        match self.snapshot() {
            Ok(snapshot) => {
                self.remember(&snapshot.recovered);
                self.figures.exporter.publish(snapshot);
                self.figures.control.longest = Duration::ZERO;
            }
            Err(error) => tracing::warn!("metrics are not renewed: {error:#}"),
        }
        self.figures.exporter.ready(self.readiness());
        self.figures.published = Some(Instant::now());
    }

    /// Goes on with what is remembered for people: graphs, and flows that were brought back.
    fn remember(&mut self, recovered: &[(&'static str, u64)]) {
        self.figures.history.sample(self.core.fleet());
        let before = std::mem::replace(&mut self.figures.recovered, recovered.to_vec());
        if !before.is_empty() {
            self.core.recovered(&before, recovered, Instant::now());
        }
    }

    fn readiness(&self) -> Result<(), String> {
        if self.core.in_force().is_none() {
            return Err("no configuration is in force yet: its hosts are being resolved".to_owned());
        }
        match self.core.plane().attached() {
            [] => Err("the program is on no interface; the log says why".to_owned()),
            _ => Ok(()),
        }
    }

    fn snapshot(&self) -> Result<page::Snapshot> {
        let now = Instant::now();
        let mut snapshot =
            page::Snapshot { config: self.figures.config, control: self.figures.control, ..Default::default() };
        self.add_traffic(&mut snapshot)?;
        self.add_fleet(&mut snapshot, now);
        self.add_rings(&mut snapshot);
        self.add_control(&mut snapshot);
        self.add_announcements(&mut snapshot);
        let claimed = self.claims.data_plane;
        snapshot.recovered = self.recovered()?;
        let adverts = self.adverts.counts();
        snapshot.adverts = vec![("pinned", adverts.pinned()), ("known", adverts.claims.data_plane.known)];
        snapshot.adverts.extend(adverts.refused());
        let half_open = self.ending.counters();
        snapshot.half_open = vec![("nudged", half_open.nudged), ("refused", half_open.refused)];
        snapshot.flow_epoch = self.keyring.as_ref().map(Keyring::epoch);
        snapshot.flow_epochs_refused = self.keyring.as_ref().map(Keyring::refused);
        snapshot.claims = vec![("pinned", claimed.pinned), ("known", claimed.known)];
        snapshot.claims.extend(self.claims.refused());
        snapshot.mirrors = self.mirrors.figures(Instant::now());
        snapshot.mirror_lost = (!snapshot.mirrors.is_empty()).then_some(self.mirrors.lost);
        Ok(snapshot)
    }

    /// Flows brought back since the start, by rung.
    pub(crate) fn recovered(&self) -> Result<Vec<(&'static str, u64)>> {
        let mut recovered = vec![("mirror", self.core.plane().carried_on()?)];
        recovered.extend(self.claims.found());
        recovered.push(("whohas", self.searching.counters().1.pinned));
        recovered.push(("echo", self.adverts.counts().pinned()));
        Ok(recovered)
    }

    fn add_traffic(&self, snapshot: &mut page::Snapshot) -> Result<()> {
        let plane = self.core.plane();
        let reason =
            |(reason, counter): (slr_dataplane::reason::RouterReason, slr_dataplane::router::Counter)| page::Reason {
                reason: reason.name(),
                verdict: reason.verdict().as_str(),
                packets: counter.packets,
                bytes: counter.bytes,
            };
        snapshot.reasons = plane.reasons()?.into_iter().map(reason).collect();
        let census = plane.last_census();
        let capacity = self.core.in_force().map_or(0, |l| u64::from(l.settings.dataplane.flows_per_family));
        let flows = |family: usize| page::Flows {
            pinned: census.pinned[family],
            pending: Some(census.pending[family]),
            capacity,
        };
        snapshot.flows = Some([flows(0), flows(1)]);
        let hop = |hop: slr_dataplane::router::HopStatus| page::Hop {
            host: hop.name.map_or_else(|| hop.address.to_string(), |name| name.to_string()),
            packets: hop.usage.packets,
            bytes: hop.usage.bytes,
            new_flows: hop.usage.flows,
            is_up: hop.up,
            mtu: hop.mtu,
        };
        snapshot.hops = plane.hops()?.into_iter().map(hop).collect();
        let subnet = |(subnet, account, usage): (_, u32, slr_dataplane::router::Usage)| page::Subnet {
            subnet,
            account,
            packets: usage.packets,
            bytes: usage.bytes,
            new_flows: usage.flows,
        };
        snapshot.subnets = plane.subnet_usage()?.into_iter().map(subnet).collect();
        Ok(())
    }

    fn add_fleet(&self, snapshot: &mut page::Snapshot, now: Instant) {
        let registry = self.core.fleet().registry();
        for host in registry.hosts() {
            let session = match host.contact() {
                ContactView::Heard => "heard",
                ContactView::Fading { .. } => "fading",
                ContactView::Adopted { .. } => "adopted",
                ContactView::Silent { .. } => "silent",
            };
            snapshot.hosts.push(page::Host { host: host.name().clone(), session, loads: host.loads().clone() });
            snapshot.services.extend(host.services().map(|service| page::HostService {
                host: host.name().clone(),
                key: *service.key(),
                state: service.state().as_str(),
                state_age: now.saturating_duration_since(service.since()),
                is_held: service.is_held(),
                flows: service.flows(),
                loads: service.loads().clone(),
            }));
        }
        let mut alarms = BTreeMap::from(page::ALARMS.map(|kind| (kind, 0)));
        for alarm in registry.alarms() {
            let kind = match alarm.key {
                AlarmKey::Vanish(_) => "vanish",
                AlarmKey::Name(_) => "name",
                AlarmKey::Tunnel(_) => "tunnel",
            };
            *alarms.entry(kind).or_default() += 1;
        }
        snapshot.alarms = alarms.into_iter().collect();
    }

    fn add_rings(&self, snapshot: &mut page::Snapshot) {
        let fleet = self.core.fleet();
        let mut missing: BTreeMap<String, u64> = BTreeMap::new();
        for (key, route) in fleet.routes() {
            let class = key.class.as_ref().map_or_else(|| DEFAULT_CLASS.to_owned(), ToString::to_string);
            let report = fleet.report(key);
            if let Some(report) = &report {
                snapshot.rings.push(page::Ring {
                    key: key.service,
                    class: class.clone(),
                    slots: u64::from(report.slots),
                    slots_moved: report.moved_by_cost_total + report.moved_by_state_total,
                    clipped: report.clipped_total,
                });
                for (variable, value) in report.hosts.iter().flat_map(|host| &host.inputs) {
                    *missing.entry(variable.to_string()).or_default() += u64::from(value.is_none());
                }
            }
            let total: u64 = route.members.iter().map(|(_, weight)| u64::from(weight.get())).sum();
            let hosts = report.iter().flat_map(|report| &report.hosts);
            let costs: BTreeMap<&NodeName, f64> = hosts.filter_map(|host| Some((&host.name, host.cost?))).collect();
            snapshot.places.extend(route.members.iter().map(|(name, weight)| page::Place {
                host: name.clone(),
                key: key.service,
                class: class.clone(),
                cost: costs.get(name).copied(),
                weight: u64::from(weight.get()),
                share: f64::from(weight.get()) / total.max(1) as f64,
            }));
        }
        snapshot.inputs_missing = missing.into_iter().filter(|(_, count)| *count > 0).collect();
    }

    /// Other routers: name, what each is to this one, and whether there is a session.
    pub(crate) fn relations(&self) -> Vec<(NodeName, &'static str, bool)> {
        let Some(control) = &self.control else { return Vec::new() };
        let peers = self.core.cluster().into_iter().flat_map(|cluster| cluster.members());
        let mut all: Vec<_> = peers.map(|peer| (peer.name.clone(), "peer", peer.connected)).collect();
        let is_open = |phase| phase == ChildPhase::Open;
        all.extend(control.links().map(|(name, link)| (name.clone(), "parent", is_open(link.status().phase))));
        let settings = self.core.in_force().and_then(|loaded| loaded.settings.control.as_ref());
        let neighbours = settings.into_iter().flat_map(|settings| &settings.neighbours);
        all.extend(neighbours.map(|one| (one.name.clone(), "neighbour", self.searching.is_connected(&one.name))));
        all
    }

    fn add_control(&self, snapshot: &mut page::Snapshot) {
        let Some(control) = &self.control else { return };
        let of_figures = self.relations().into_iter().filter(|(_, relation, _)| *relation != "neighbour");
        snapshot.routers = of_figures.map(|(name, _, is_connected)| (name, is_connected)).collect();
        let door = control.hub().accept_counters();
        let hellos = self.core.fleet().registry().counters().hellos_refused;
        snapshot.handshakes_refused = vec![
            ("handshake", door.refused),
            ("limited", door.limited),
            ("busy", door.busy),
            ("full", door.full),
            ("hello", hellos),
        ];
        snapshot.messages_bad = bad_messages(&control.hub().counters());
        let report = control.keepalives().report();
        snapshot.paths = report.targets.iter().map(path).collect();
        let (counts, edge) = (report.counts, report.edge);
        let results = [
            counts.answered,
            counts.unanswered,
            counts.late,
            counts.duplicate,
            counts.forged,
            edge.unsendable,
            edge.malformed,
            edge.read_errors,
        ];
        snapshot.keepalives = page::KEEPALIVE_RESULTS.into_iter().zip(results).collect();
        let material = control.trust().current();
        snapshot.certificates.push(("own", unix_s(material.own().not_after)));
        snapshot.certificates.extend(material.crl_next_update().map(|at| ("crl", unix_s(at))));
    }
}

fn bad_messages(counters: &Counters) -> Vec<(&'static str, u64)> {
    let undecoded = DecodeError::REASONS.iter().copied().zip(counters.undecoded);
    let others = [("misplaced", counters.misplaced), ("limited", counters.limited), ("stale", counters.stale)];
    undecoded.chain(others).collect()
}

fn path(target: &crate::keepalive::TargetReport) -> page::Path {
    page::Path {
        host: target.name.clone(),
        address: target.address,
        state: target.path.as_str(),
        rtt_us: target.rtt_us,
        rtt_us_min: target.rtt_us_min,
        loss: target.loss,
    }
}
