//! When most hosts of a service vanish at once, the fault is more likely here: they are held, and an alarm is raised.
//!
//! A held host keeps its place in the ring and its pins, whatever is found here about contact and path. It is held no
//! more when it is back, when it says something else itself, when an operator releases the service, or some time
//! after at most half of the service's hosts are left held. So a service whose hosts were all there never loses the last
//! of them to silence.

use std::collections::BTreeMap;
use std::time::Instant;

use slr_model::{NodeName, ServiceKey};

use super::hosts::{Host, Index};
use super::timers::Timer;
use super::{AlarmKey, Registry, ServiceState, event};

/// The hosts of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    /// By name.
    pub hosts: BTreeMap<NodeName, Index>,
    /// How many have a place in the ring, held ones among them.
    pub active: usize,
    /// How many are held.
    pub held: usize,
}

impl Members {
    /// Whether hosts are held, so that what is found here about the others' paths is doubtful too.
    pub fn is_held(&self) -> bool {
        self.held > 0
    }
}

impl Registry {
    /// Lets the held hosts of a service go: from now on they are what they look like. Returns how many there were.
    pub fn release_hold(&mut self, key: &ServiceKey, now: Instant) -> usize {
        self.timers.cancel(&Timer::Settle(*key));
        self.clear(&AlarmKey::Vanish(*key));
        let Some(members) = self.members.get(key) else { return 0 };
        let (indices, held) = (members.hosts.values().copied().collect::<Vec<_>>(), members.held);
        for &index in &indices {
            if let Some(at) = self.find_service(index, key) {
                self.set_held(index, at, false);
            }
        }
        // Only now: whether any is held decides about all.
        for index in indices {
            if let Some(at) = self.find_service(index, key) {
                self.judge_service(index, at, now);
            }
        }
        held
    }

    /// Whether the end of this host's window should wait for others that are late: with them, most hosts of a service
    /// would be lost. Then until when; by that time each of them is heard or lost itself.
    ///
    /// Hosts advert and are probed at different moments of their intervals, so when all are cut off at once, the first may
    /// be missed longer before the last than a window. Those that are asked at the moment are late, too.
    pub(super) fn awaits_others(&self, index: Index, now: Instant) -> Option<Instant> {
        let services = self.hosts.get(index).services.iter();
        services.filter_map(|service| self.awaits_others_of(&service.key, now)).max()
    }

    fn awaits_others_of(&self, key: &ServiceKey, now: Instant) -> Option<Instant> {
        let members = &self.members[key];
        if members.held > 0 {
            return None;
        }
        let (mut lost, mut late, mut until) = (0, 0, None);
        for (host, (index, _)) in self.placed(key) {
            if host.is_troubled() {
                lost += 1;
            } else if host.asks > 0
                || host.heard_at.is_some_and(|heard_at| now >= heard_at + self.settings.late_after())
            {
                late += 1;
                until = until.max(self.decided_at(index));
            }
        }
        until.filter(|&until| {
            until > now && lost > 0 && 2 * lost <= members.active && 2 * (lost + late) > members.active
        })
    }

    /// The hosts with a place in the service's ring, by name.
    fn placed(&self, key: &ServiceKey) -> impl Iterator<Item = (&Host, (Index, usize))> {
        let indices = self.members[key].hosts.values();
        indices.filter_map(|&index| {
            let at = self.find_service(index, key)?;
            let host = self.hosts.get(index);
            (host.services[at].state == ServiceState::Active).then_some((host, (index, at)))
        })
    }

    /// Holds the service's lost hosts if this one, whose window ends, makes them more than half.
    pub(super) fn hold_if_most(&mut self, index: Index, at: usize, now: Instant) {
        let service = &self.hosts.get(index).services[at];
        let key = service.key;
        if service.state != ServiceState::Active || service.held {
            return;
        }
        let members = &self.members[&key];
        if members.held > 0 && 2 * (members.held + 1) > members.active {
            self.set_held(index, at, true);
            self.review_hold(&key, now);
            return;
        }
        let lost = self.placed(&key).filter(|(host, _)| host.is_troubled()).map(|(_, place)| place).collect::<Vec<_>>();
        if 2 * lost.len() > members.active {
            self.hold(key, &lost, members.active, now);
        }
    }

    fn hold(&mut self, key: ServiceKey, lost: &[(Index, usize)], placed: usize, now: Instant) {
        for &(index, at) in lost {
            self.set_held(index, at, true);
        }
        let names: Vec<NodeName> = lost.iter().map(|&(index, _)| self.hosts.get(index).name.clone()).collect();
        let text = format!(
            "{} of {placed} hosts of {key} vanished at once ({}): the fault is more likely here, so they keep their \
             place and their flows; check this router's links and control port, or release {key} if they are \
             really gone",
            names.len(),
            event::list(&names),
        );
        self.raise(AlarmKey::Vanish(key), names, text, now);
        for &(index, at) in lost {
            self.judge_service(index, at, now);
        }
        self.review_hold(&key, now);
    }

    /// Whether the hold is over, or will be soon. Called whenever a host of the service changed.
    pub(super) fn review_hold(&mut self, key: &ServiceKey, now: Instant) {
        let alarm = AlarmKey::Vanish(*key);
        if !self.alarms.contains_key(&alarm) {
            return;
        }
        let (held, active) = self.members.get(key).map_or((0, 0), |members| (members.held, members.active));
        let timer = Timer::Settle(*key);
        if held == 0 {
            self.release_hold(key, now);
        } else if 2 * held > active {
            self.timers.cancel(&timer);
        } else if self.timers.at(&timer).is_none() {
            self.timers.set(timer, now + self.settings.hold_settle);
        }
    }

    /// Ends the holds of a host that is back, or that says itself what else it is.
    pub(super) fn unhold_returned(&mut self, index: Index, now: Instant) {
        let is_back = !self.hosts.get(index).is_troubled();
        for at in 0..self.hosts.get(index).services.len() {
            let service = &self.hosts.get(index).services[at];
            let (key, is_said_away) = (service.key, !service.said.takes_new_flows());
            if service.held && (is_said_away || is_back && !service.unheard) {
                self.set_held(index, at, false);
                self.judge_service(index, at, now);
                self.review_hold(&key, now);
            }
        }
    }

    pub(super) fn set_held(&mut self, index: Index, at: usize, held: bool) {
        let service = &mut self.hosts.get_mut(index).services[at];
        if service.held == held {
            return;
        }
        service.held = held;
        let key = service.key;
        let members = self.members.get_mut(&key).expect("a service that a host has is indexed");
        if held { members.held += 1 } else { members.held -= 1 }
    }

    pub(super) fn count_active(&mut self, key: &ServiceKey, from: ServiceState, to: ServiceState) {
        let Some(members) = self.members.get_mut(key) else { return };
        members.active += usize::from(to == ServiceState::Active);
        members.active -= usize::from(from == ServiceState::Active);
    }

    pub(super) fn find_service(&self, index: Index, key: &ServiceKey) -> Option<usize> {
        self.hosts.get(index).services.binary_search_by(|service| service.key.cmp(key)).ok()
    }
}
