//! From what the daemon knows to what the routers around are told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde_json::Value;
use slr_daemon::admin::Call;
use slr_model::NodeName;
use slr_session::cluster::ClusterRole;

use super::{Core, Daemon, Loaded, Plane};
use crate::announce::{Ability, Announcer, Level, Mark, OnStop, Phase, Settings, Speaker, Status, Wanted};
use crate::config::Subnet;
use crate::fleet::Fleet;
use crate::metrics as page;
use crate::show::announce::{self as rows, Announced};

/// How often it is looked at what can be served: a tenth of what changes wait for anyway, and cheap.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The decisions and the task that carries them out.
#[derive(Debug)]
pub struct Announcing {
    settings: Settings,
    speaker: Speaker,
    /// `None` until the kernel's table was read and a configuration is in force.
    announcer: Option<Announcer>,
    /// When abilities are looked at next.
    due: Instant,
    /// The daemon ends when nothing is announced any more.
    is_stopping: bool,
}

impl Announcing {
    /// Starts; says nothing yet.
    pub fn start(settings: Settings) -> Result<Self> {
        let speaker = Speaker::start(settings.clone())?;
        Ok(Self { settings, speaker, announcer: None, due: Instant::now() + LOOK_EVERY, is_stopping: false })
    }

    /// When [`Daemon::announce`] has something to do.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Returns when the kernel's table changed. Cancel-safe.
    pub async fn changed(&mut self) {
        self.speaker.changed().await;
    }

    /// Decides anew, and has it carried out.
    fn decide<P: Plane>(&mut self, core: &Core<P>, now: Instant) {
        self.due = now + LOOK_EVERY;
        let (Some(loaded), status) = (core.in_force(), self.speaker.status()) else { return };
        let Some(adopted) = &status.routes else { return };
        let announcer = self.announcer.get_or_insert_with(|| {
            let is_drained = Mark::is_drained(&self.settings.mark);
            tracing::info!(routes = adopted.len(), is_drained, "announcements are taken over");
            Announcer::new(self.settings.clone(), adopted.clone(), is_drained)
        });
        let plane = plane_ability(core, loaded, &status);
        let reached: BTreeSet<&NodeName> = core
            .hops()
            .iter()
            .filter(|hop| hop.state.keeps_flows() && core.is_linked(hop))
            .map(|hop| &hop.name)
            .collect();
        let joins = core.cluster().is_some_and(|cluster| *cluster.role() == ClusterRole::Joins);
        let announced = |subnet: &Subnet| announcer.entries().get(&subnet.prefix.net()).map(|entry| entry.level);
        let ability = |subnet: &Subnet| {
            // Who returns gets no flow of the others before it has their rings. Who never left goes on meanwhile.
            let is_early = joins && announced(subnet) == Some(Level::Withdrawn);
            let ability = match is_early {
                true => Ability::new(Level::Withdrawn, "the cluster's rings are still to come"),
                false => subnet_ability(core.fleet(), &reached, subnet).and(&plane),
            };
            (subnet.prefix.net(), ability)
        };
        let before: BTreeMap<IpNet, Level> = announcer.entries().iter().map(|(net, e)| (*net, e.level)).collect();
        let abilities = loaded.settings.subnets.iter().map(ability).collect();
        let due = announcer.evaluate(&abilities, now);
        self.due = due.map_or(self.due, |due| due.min(self.due));
        for (subnet, entry) in announcer.entries().iter().filter(|(net, entry)| before.get(net) != Some(&entry.level)) {
            tracing::info!(%subnet, level = entry.level.as_str(), "announced: {}", entry.reason);
        }
        self.speaker.want(Wanted {
            routes: announcer.routes(),
            interfaces: loaded.settings.dataplane.interfaces.clone(),
            // One that only ends is not drained: its successor announces.
            is_drained: !self.is_stopping && announcer.phase() != Phase::Announcing,
        });
    }

    fn is_withdrawn(&self) -> bool {
        let is_decided = self.announcer.as_ref().is_none_or(|announcer| announcer.phase() == Phase::Withdrawn);
        is_decided && self.speaker.status().routes.is_none_or(|routes| routes.is_empty())
    }

    fn answer(&self, now: Instant) -> Announced {
        let (status, announcer) = (self.speaker.status(), self.announcer.as_ref());
        let state = match announcer.map(Announcer::phase) {
            None => "starting",
            Some(Phase::Announcing) => "announcing",
            Some(Phase::Lowered { .. }) => "lowered",
            Some(Phase::Withdrawn) => "withdrawn",
        };
        let routes = status.routes.unwrap_or_default();
        let row = |(prefix, entry): (&IpNet, &crate::announce::Entry)| rows::Subnet {
            prefix: *prefix,
            level: entry.level,
            announced: self.settings.level_of(routes.get(prefix)),
            for_s: now.saturating_duration_since(entry.since).as_secs_f64(),
            reason: entry.reason.clone(),
        };
        Announced {
            state: state.to_owned(),
            table: self.settings.table,
            protocol: self.settings.protocol,
            problem: status.problem,
            subnets: announcer.iter().flat_map(|announcer| announcer.entries()).map(row).collect(),
        }
    }
}

/// What the program's whereabouts allow.
fn plane_ability<P: Plane>(core: &Core<P>, loaded: &Loaded, status: &Status) -> Ability {
    let attached = core.plane().attached();
    let has = |name: &&String| attached.contains_key(*name) && status.programs.get(*name) != Some(&false);
    let interfaces = &loaded.settings.dataplane.interfaces;
    let bare: Vec<&str> = interfaces.iter().filter(|name| !has(name)).map(String::as_str).collect();
    match bare.len() {
        0 => Ability::new(Level::Normal, "hosts take new flows"),
        count if count == interfaces.len() => Ability::new(Level::Withdrawn, "the program is on no interface"),
        _ => Ability::new(Level::Lowered, format!("the program is not on {}", bare.join(", "))),
    }
}

/// What the subnet's hosts allow.
fn subnet_ability(fleet: &Fleet, reached: &BTreeSet<&NodeName>, subnet: &Subnet) -> Ability {
    let registry = fleet.registry();
    let mut best = Ability::new(Level::Withdrawn, "no host of it can be reached");
    for (key, route) in fleet.routes().iter().filter(|(key, _)| key.service.subnet == subnet.prefix) {
        for (name, weight) in &route.members {
            if !reached.contains(name) {
                continue;
            }
            let mut services = registry.host(name.as_str()).into_iter().flat_map(|host| host.services());
            let is_held = services.any(|service| service.is_held() && service.key().subnet == key.service.subnet);
            if weight.get() > 0 && !is_held {
                return Ability::new(Level::Normal, "hosts take new flows");
            }
            if best.level < Level::Lowered {
                let reason = match is_held {
                    true => "its hosts vanished together and are held: others may reach them",
                    false => "its hosts only end the flows that they have",
                };
                best = Ability::new(Level::Lowered, reason);
            }
        }
    }
    best
}

impl Daemon {
    /// Brings the announcements up to date, if that is due or something happened; whether the daemon may end now.
    pub(super) fn announce(&mut self) -> bool {
        let Some(announcing) = &mut self.announcing else { return false };
        let now = Instant::now();
        if announcing.due <= now {
            announcing.decide(&self.core, now);
        }
        announcing.is_stopping && announcing.is_withdrawn()
    }

    /// Whether the daemon has to withdraw before it ends. Asked a second time, it ends.
    pub(super) fn withdraw_first(&mut self) -> bool {
        let Some(announcing) = &mut self.announcing else { return false };
        if announcing.settings.on_stop == OnStop::Keep || announcing.is_stopping {
            return false;
        }
        let Some(announcer) = &mut announcing.announcer else { return false };
        let now = Instant::now();
        announcing.is_stopping = announcer.phase() == Phase::Announcing;
        announcer.drain(now);
        announcing.due = now;
        if announcing.is_stopping {
            tracing::info!("stopping as soon as nothing is announced any more; a second signal stops at once");
        }
        announcing.is_stopping
    }

    /// The operator's order.
    pub(super) fn drain_announcements(&mut self, call: Call, drain: bool) {
        let announcer = self.announcing.as_mut().map(|announcing| (&mut announcing.due, &mut announcing.announcer));
        let answer = match announcer {
            None => Err("this router announces nothing: its configuration has no [announce]"),
            Some((_, None)) => Err("this router has not begun to announce: no configuration is in force yet"),
            Some((due, Some(announcer))) => {
                let now = Instant::now();
                tracing::info!(drain, "an operator asks for it");
                if drain {
                    announcer.drain(now)
                } else {
                    announcer.undrain()
                }
                *due = now;
                Ok(())
            }
        };
        call.answer(answer.map_err(str::to_owned));
    }

    pub(super) fn show_announced(&self) -> Result<Value> {
        let announcing = self.announcing.as_ref().context("this router's configuration has no [announce]")?;
        Ok(serde_json::to_value(announcing.answer(Instant::now()))?)
    }

    /// For the metrics' page.
    pub(super) fn add_announcements(&self, snapshot: &mut page::Snapshot) {
        let Some(announcing) = &self.announcing else { return };
        let answer = announcing.answer(Instant::now());
        snapshot.announced = answer.subnets.iter().map(|row| (row.prefix, row.announced.as_str())).collect();
        snapshot.announce_failing = Some(answer.problem.is_some());
        let changes = announcing.announcer.iter().flat_map(|announcer| announcer.changes());
        snapshot.announce_changes = changes.map(|(level, count)| (level.as_str(), *count)).collect();
    }
}
