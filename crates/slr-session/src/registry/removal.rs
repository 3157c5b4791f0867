//! How services and hosts leave the registry.

use std::time::Instant;

use slr_model::NodeName;

use super::admission::Gone;
use super::hosts::Index;
use super::timers::Timer;
use super::{Cause, ConnectionId, Event, HOSTS_MAX, Reason, Refusal, RefusalCode, Registry, ServiceState};

impl Registry {
    /// The node goes away in order: all its services are removed at once, and nothing that is still under way on this
    /// connection brings them back.
    pub fn withdraw(&mut self, connection: ConnectionId, reason: &str, now: Instant) {
        let Some(index) = self.hosts.of_connection(connection) else { return };
        // It closes the connection itself.
        self.hosts.set_connection(index, None);
        self.remove_host(index, Cause::Withdrawn, reason, now);
    }

    /// Removes a node at once and closes its connection: [`Cause::Revoked`], [`Cause::Expired`] or
    /// [`Cause::Operator`]. It may come back if the handshake lets it. Returns whether it was known.
    pub fn remove(&mut self, name: &NodeName, cause: Cause, detail: &str, now: Instant) -> bool {
        let Some(index) = self.hosts.find(name) else { return false };
        self.remove_host(index, cause, detail, now);
        true
    }

    /// The host was away for long. What is held stays: there is nobody else.
    pub(super) fn forget(&mut self, index: Index, now: Instant) {
        if self.hosts.get(index).services.iter().any(|service| service.held) {
            self.timers.set(Timer::Forget(index), now + self.settings.forget_after);
        } else {
            self.remove_host(index, Cause::Forgotten, "", now);
        }
    }

    pub(super) fn remove_host(&mut self, index: Index, cause: Cause, detail: &str, now: Instant) {
        while let Some(last) = self.hosts.get(index).services.len().checked_sub(1) {
            self.remove_service(index, last, cause, detail, now);
        }
        for timer in [Timer::Advert(index), Timer::Window(index), Timer::Forget(index)] {
            self.timers.cancel(&timer);
        }
        let host = self.hosts.remove(index);
        let reason = Reason::new(cause, detail);
        if let Some(connection) = host.connection {
            let remedy = "reconnect once the cause is gone, with a certificate that is valid";
            let refusal = Refusal::new(RefusalCode::Removed, format!("{} is removed: {reason}", host.name), remedy);
            self.events.close(connection.id, refusal);
        }
        // At the bound a name is not remembered: an older session of it would have to come back within a minute.
        if self.gone.len() < HOSTS_MAX {
            self.gone.insert(host.name.clone(), Gone { session: host.session });
            self.timers.set(Timer::Gone(host.name.clone()), now + self.settings.gone_memory);
        }
        self.events.push(Event::HostRemoved { name: host.name, reason });
        self.generation += 1;
    }

    pub(super) fn remove_service(&mut self, index: Index, at: usize, cause: Cause, detail: &str, now: Instant) {
        self.set_held(index, at, false);
        let host = self.hosts.get_mut(index);
        let service = host.services.remove(at);
        let (name, key) = (host.name.clone(), service.key);
        self.count_active(&key, service.state, ServiceState::Removed);
        if let Some(members) = self.members.get_mut(&key) {
            members.hosts.remove(&name);
            if members.hosts.is_empty() {
                self.members.remove(&key);
            }
        }
        self.note_change(name, key, service.state, ServiceState::Removed, Reason::new(cause, detail));
        self.review_hold(&key, now);
    }
}
