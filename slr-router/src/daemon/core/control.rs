//! The core's part in the control plane: what sessions and keepalives say goes to the registry, what follows from it to
//! the data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use slr_dataplane::router::Link;
use slr_model::{HostState, NodeName, ServiceKey};
use slr_policy::Packets;
use slr_session::registry::{Event, Registry, ServiceState};
use slr_wire::RingKey;

use super::super::plane::Plane;
use super::super::timers::Timer;
use super::{Core, Effect, Loaded};
use crate::config::Settings;
use crate::fleet::{Fleet, Hop, Route};
use crate::overview::happenings::Happenings;

/// How long after a change what a restart goes on from is written down: a burst of changes is written once.
const SAVE_AFTER: Duration = Duration::from_millis(500);

/// Rings follow a change of state at once, but not more often than this: building them takes some tens of milliseconds for
/// a thousand hosts, and when all of these register one after the other there would be time for nothing else.
const PLACE_APART: Duration = Duration::from_millis(50);

/// Tells the time of day, which F may ask for, from the time that everything else here goes by. A clock that is set while
/// the daemon runs is not followed: F would jump.
#[derive(Clone, Copy, Debug)]
pub struct Hours {
    /// A moment,
    pub at: Instant,
    /// and its hours since midnight, UTC.
    pub hour: f64,
}

impl Hours {
    /// Hours since midnight, 0 to 24.
    pub fn at(&self, now: Instant) -> f64 {
        (self.hour + now.saturating_duration_since(self.at).as_secs_f64() / 3_600.0).rem_euclid(24.0)
    }
}

impl<P: Plane> Core<P> {
    /// Everybody below this router.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The same, before the first configuration: a restart goes on from what was written down.
    pub fn fleet_mut(&mut self) -> &mut Fleet {
        &mut self.fleet
    }

    /// What the edge is to do next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Tells the registry something, and does what follows from it.
    pub fn tell<T>(&mut self, now: Instant, what: impl FnOnce(&mut Registry) -> T) -> T {
        let answer = what(self.fleet.registry_mut());
        self.follow_registry(now);
        answer
    }

    /// Whether the last keepalives to a host have no answer. It is not waited for what that means: new connections pass by it.
    pub fn doubt(&mut self, name: &NodeName, tunnel: IpAddr, is_doubted: bool) {
        if let Err(error) = self.plane.doubt(tunnel, is_doubted) {
            tracing::warn!(host = %name, is_doubted, "the tables do not follow a doubt: {error:#}");
        }
    }

    /// Lets the registry do what is due.
    pub(super) fn mind_registry(&mut self, now: Instant) {
        if self.fleet.registry().poll_timeout().is_some_and(|due| due <= now) {
            self.tell(now, |registry| registry.handle_timeout(now));
        }
    }

    fn follow_registry(&mut self, now: Instant) {
        while let Some(event) = self.fleet.registry_mut().poll_event() {
            self.take(event, now);
        }
        if self.fleet.registry().generation() != self.placed {
            match self.placed_at.map(|at| at + PLACE_APART).filter(|at| *at > now) {
                Some(at) => self.timers.set_earlier(Timer::Policy, at),
                None => self.place(now),
            }
        } else {
            self.unpin_waiting();
        }
    }

    /// Forgets the flows of services that are down, once the rings lead nowhere near them.
    fn unpin_waiting(&mut self) {
        let gone = std::mem::take(&mut self.unpin);
        self.unpin(&gone);
    }

    /// What happened lately.
    pub fn happenings(&self) -> &Happenings {
        &self.happenings
    }

    /// Flows were brought back: as many by each rung as there are more now than before.
    pub fn recovered(&mut self, before: &[(&str, u64)], now: &[(&str, u64)], at: Instant) {
        let more = |(rung, flows): &(&str, u64)| {
            let known = before.iter().find(|(name, _)| name == rung).map_or(0, |(_, flows)| *flows);
            (*flows > known).then(|| format!("{} by {rung}", flows - known))
        };
        let rungs: Vec<String> = now.iter().filter_map(more).collect();
        if !rungs.is_empty() {
            self.happenings.add(at, "recovery", format!("flows brought back: {}", rungs.join(", ")));
        }
    }

    fn take(&mut self, event: Event, now: Instant) {
        if let Some((whom, what)) = told(&event) {
            self.happenings.add(now, whom, what);
        }
        match event {
            Event::Close { connection, refusal } => {
                tracing::warn!(%connection, code = %refusal.code, "connection refused: {refusal}");
                self.effects.push_back(Effect::Close(connection, refusal));
            }
            Event::Ask { connection } => self.effects.push_back(Effect::Ask(connection)),
            Event::Connected { name, session, superseded } => {
                tracing::info!(host = %name, %session, superseded = superseded.is_some(), "connected");
                self.has_joined = true;
                self.save_soon(now);
            }
            Event::Disconnected { name, why } => tracing::warn!(host = %name, "disconnected: {why}"),
            Event::State { name, key, from, to, reason } => {
                tracing::info!(host = %name, service = %key, %from, %to, "state: {reason}");
                if matches!(to, ServiceState::Down | ServiceState::Removed) {
                    self.unpin.push((name, key));
                }
                self.has_joined |= to == ServiceState::Active;
                self.save_soon(now);
            }
            Event::ServiceRefused { name, key, why } => {
                tracing::warn!(host = %name, service = %key, "service refused: {why}");
            }
            Event::HostRemoved { name, reason } => {
                tracing::warn!(host = %name, "removed: {reason}");
                self.save_soon(now);
            }
            Event::AlarmRaised(alarm) => tracing::error!("ALARM: {alarm}"),
            Event::AlarmCleared(alarm) => tracing::warn!("alarm is over: {alarm}"),
        }
    }

    pub(super) fn save_soon(&mut self, now: Instant) {
        if !self.timers.is_set(Timer::Save) {
            self.timers.set(Timer::Save, now + SAVE_AFTER);
        }
    }

    /// Where nobody has a session, nothing changes by itself.
    pub(super) fn plan_placing(&mut self, loaded: &Loaded, now: Instant) {
        if loaded.settings.control.is_some() {
            self.timers.set(Timer::Policy, now + loaded.settings.damping.interval);
        }
    }

    /// Weighs all hosts, and writes what came of it.
    pub(super) fn place(&mut self, now: Instant) {
        let Some(loaded) = self.in_force.take() else { return };
        self.placed_at = Some(now);
        self.plan_placing(&loaded, now);
        let is_changed = self.weigh(&loaded, now);
        if is_changed {
            match self.write(&loaded) {
                Ok(changes) => changes.tell_placed(),
                Err(error) => {
                    tracing::warn!("rings do not follow the hosts, which is tried again: {error:#}");
                    self.timers.set(Timer::Links, now + super::APPLY_AGAIN);
                }
            }
        }
        self.in_force = Some(loaded);
        self.unpin_waiting();
        if is_changed {
            // The next daemon knows hosts by this file: one that it does not find there it takes out of the tables, with its flows.
            if std::mem::take(&mut self.has_joined) {
                self.timers.clear(Timer::Save);
                self.effects.push_back(Effect::Save);
            }
            self.publish(now);
        }
    }

    /// Weighs all hosts; whether anything is to be written.
    pub(super) fn weigh(&mut self, loaded: &Loaded, now: Instant) -> bool {
        let Loaded { settings, hosts } = loaded;
        self.placed = self.fleet.registry().generation();
        let published = Self::published(self.cluster.as_ref());
        let packets = self.packets(settings);
        let hour = self.hours.at(now);
        let evaluated = self.fleet.evaluate(settings, hosts, published, packets.as_ref(), now, hour);
        let hops = self.hops_of(&self.fleet, loaded);
        let is_changed = evaluated.is_changed || hops != self.hops;
        let targets = |hops: &[Hop]| hops.iter().map(crate::links::Target::from).collect::<Vec<_>>();
        if targets(&hops) != targets(&self.hops) {
            self.effects.push_back(Effect::Watch);
        }
        let down = |hops: &[Hop]| -> BTreeSet<NodeName> {
            hops.iter().filter(|hop| hop.state == HostState::Down).map(|hop| hop.name.clone()).collect()
        };
        let (before, now_down) = (down(&self.hops), down(&hops));
        self.effects.extend(now_down.difference(&before).cloned().map(Effect::Lost));
        self.hops = hops;
        if settings.control.as_ref().is_some_and(|control| !control.parents.is_empty()) {
            let advert = self.fleet.advert(settings, self.is_draining, self.cluster_size());
            self.effects.push_back(Effect::Offer(advert));
        }
        is_changed
    }

    /// What each host was sent so far. Where nobody says a load, nobody asks what it is due to.
    fn packets(&self, settings: &Settings) -> Option<Arc<Packets>> {
        settings.control.as_ref()?;
        let packets = self.plane.packets();
        packets.inspect_err(|error| tracing::warn!("loads are not set against traffic: {error:#}")).ok().map(Arc::new)
    }

    /// Prefixes that a parent sends tunnels from. They stay when the connection ends: packets go on coming.
    pub fn set_parent_sources(&mut self, parent: NodeName, prefixes: Vec<IpNet>, now: Instant) {
        if self.parents.get(&parent) != Some(&prefixes) {
            self.parents.insert(parent, prefixes);
            self.save_soon(now);
            self.follow_links(now);
        }
    }

    /// The same of all parents, for a restart, and without those that are not configured any more.
    pub fn parent_sources(&self) -> &BTreeMap<NodeName, Vec<IpNet>> {
        &self.parents
    }

    /// What an earlier daemon knew of its parents.
    pub fn restore_parents(&mut self, parents: BTreeMap<NodeName, Vec<IpNet>>) {
        self.parents = parents;
    }

    /// An operator at a parent drains this router, or ends that.
    pub fn set_draining(&mut self, is_draining: bool, now: Instant) {
        self.is_draining = is_draining;
        self.place(now);
    }

    /// What another configuration would make of the hosts as they are, once the budget has let all of it through.
    pub fn foresee(&self, new: &Loaded, now: Instant) -> (Vec<Hop>, BTreeMap<RingKey, Route>) {
        let mut settings = new.settings.clone();
        let rules = settings.subnets.iter_mut().flat_map(|subnet| subnet.rules.iter_mut().map(|rule| &mut rule.policy));
        rules.for_each(|policy| policy.damping.budget = 1.0);
        settings.subnets.iter_mut().for_each(|subnet| subnet.policy.damping.budget = 1.0);
        let mut fleet = self.fleet.clone();
        fleet.evaluate(&settings, &new.hosts, Self::published(self.cluster.as_ref()), None, now, self.hours.at(now));
        (self.hops_of(&fleet, new), fleet.routes().clone())
    }

    /// How a host is reached, as far as that is known.
    pub fn link_of(&self, hop: &Hop) -> Option<Link> {
        self.link(hop)
    }

    /// Forgets hosts' flows of services. Those of a host that serves nothing any more are forgotten with its template.
    fn unpin(&mut self, lost: &[(NodeName, ServiceKey)]) {
        let stays = |name: &NodeName| self.hops.iter().any(|hop| hop.name == *name && hop.state != HostState::Down);
        let mut which = Vec::new();
        for (name, key) in lost.iter().filter(|(name, _)| stays(name)) {
            which.push((name.clone(), *key));
            if key.service.is_none() {
                // What a host says of everything holds for the ports that others name and it does not.
                let host = self.fleet.registry().host(name.as_str());
                let named = self.fleet.routes().keys().map(|route| route.service).filter(|service| {
                    service.subnet == key.subnet
                        && service.service.is_some()
                        && host.is_none_or(|host| host.service(service).is_none())
                });
                which.extend(named.map(|service| (name.clone(), service)));
            }
        }
        if which.is_empty() {
            return;
        }
        which.dedup();
        match self.plane.unpin(&which) {
            Ok(flows) => tracing::info!(flows, services = which.len(), "flows of services that are down are un-pinned"),
            Err(error) => tracing::error!("flows of services that are down stay pinned: {error:#}"),
        }
    }
}

/// An event for people who come later: to whom, and what.
fn told(event: &Event) -> Option<(String, String)> {
    Some(match event {
        Event::State { name, key, from, to, reason } => (name.to_string(), format!("{key} {from} → {to}: {reason}")),
        Event::Connected { name, .. } => (name.to_string(), "connected".to_owned()),
        Event::Disconnected { name, why } => (name.to_string(), format!("disconnected: {why}")),
        Event::HostRemoved { name, reason } => (name.to_string(), format!("removed: {reason}")),
        Event::ServiceRefused { name, key, why } => (name.to_string(), format!("{key} refused: {why}")),
        Event::AlarmRaised(alarm) => ("alarm".to_owned(), alarm.to_string()),
        Event::AlarmCleared(alarm) => ("alarm".to_owned(), format!("over: {alarm}")),
        Event::Close { .. } | Event::Ask { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_goes_round() {
        let at = Instant::now();
        let hours = Hours { at, hour: 23.5 };
        assert_eq!((hours.at(at), hours.at(at + Duration::from_secs(3_600))), (23.5, 0.5));
    }
}
