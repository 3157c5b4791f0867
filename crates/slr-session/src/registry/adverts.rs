//! What hosts say.

use std::time::Instant;

use slr_model::{Advert, NodeName, ServiceAdvert};
use thiserror::Error;

use super::hosts::{Index, Service};
use super::{Cause, ConnectionId, Event, Registry, SERVICES_MAX};

/// An advert on a connection that owns no name: it was superseded, or its node was removed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("an advert came on {0}, which owns no name: it was superseded, withdrew or was removed")]
pub struct NotOwner(pub ConnectionId);

/// What became of one service of an advert.
enum Taken {
    /// Nothing that a state depends on is new.
    Noted,
    /// Its state is to be judged again.
    Changed,
    /// It may not be advertised.
    Refused,
}

impl Registry {
    /// An advert of the node that owns this connection.
    ///
    /// `sequence` grows with each advert of a connection and is one number for its parts. Of each service the newest
    /// word counts, in whatever order they come. `full` says that the advert has all services of the node, so
    /// that others are withdrawn; parts of a full advert are put together before.
    pub fn advert(
        &mut self,
        connection: ConnectionId,
        sequence: u64,
        full: bool,
        advert: Advert,
        now: Instant,
    ) -> Result<(), NotOwner> {
        let Some(index) = self.hosts.of_connection(connection) else {
            self.counters.adverts_not_owner += 1;
            return Err(NotOwner(connection));
        };
        self.counters.adverts += 1;
        let is_back = self.hear(index, now);
        let host = self.hosts.get_mut(index);
        if sequence >= host.sequence {
            host.sequence = sequence;
            host.loads = advert.loads;
        }
        let mut is_changed = false;
        if sequence >= host.full_sequence {
            is_changed = self.take_services(index, sequence, advert.services, now);
            if full {
                self.hosts.get_mut(index).full_sequence = sequence;
                self.withdraw_absent(index, sequence, now);
            }
        } else {
            self.counters.services_stale += advert.services.len() as u64;
        }
        if is_back || is_changed {
            self.find_well(index, now);
        }
        Ok(())
    }

    /// Takes the services' word; returns whether states are to be judged again.
    fn take_services(&mut self, index: Index, sequence: u64, services: Vec<ServiceAdvert>, now: Instant) -> bool {
        let mut is_changed = false;
        // Adverts name services in the order of their keys, as a rule: then each is found where it is expected.
        let mut expected = 0;
        for advert in services {
            let known = &self.hosts.get(index).services;
            let place = match known.get(expected) {
                Some(service) if service.key == advert.key => Ok(expected),
                _ => known.binary_search_by(|service| service.key.cmp(&advert.key)),
            };
            let taken = match place {
                Ok(at) => self.take_known(index, at, sequence, advert),
                Err(at) => self.take_new(index, at, sequence, advert, now),
            };
            expected = place.map_or_else(|at| at, |at| at + 1);
            match taken {
                Taken::Noted => {}
                Taken::Changed => is_changed = true,
                Taken::Refused => self.counters.services_refused += 1,
            }
        }
        is_changed
    }

    fn take_known(&mut self, index: Index, at: usize, sequence: u64, advert: ServiceAdvert) -> Taken {
        let service = &mut self.hosts.get_mut(index).services[at];
        if service.sequence.is_some_and(|known| known > sequence) {
            self.counters.services_stale += 1;
            return Taken::Noted;
        }
        service.sequence = Some(sequence);
        service.flows = advert.flows;
        service.loads = advert.loads;
        if *service.said_reason != *advert.reason {
            service.said_reason = advert.reason.into();
            if service.reason.cause == Cause::Said {
                service.reason.detail = service.said_reason.clone();
            }
        }
        if service.weight != advert.weight {
            service.weight = advert.weight;
            self.generation += 1;
        }
        let is_changed = service.said != advert.state || service.unheard;
        service.said = advert.state;
        service.unheard = false;
        if is_changed { Taken::Changed } else { Taken::Noted }
    }

    fn take_new(&mut self, index: Index, at: usize, sequence: u64, advert: ServiceAdvert, now: Instant) -> Taken {
        let host = self.hosts.get_mut(index);
        let key = advert.key;
        let is_allowed = host.may_serve(&key);
        if is_allowed && host.services.len() < SERVICES_MAX {
            host.services.insert(at, Service::new(advert, sequence, now));
            let name: NodeName = host.name.clone();
            self.members.entry(key).or_default().hosts.insert(name, index);
            return Taken::Changed;
        }
        // Told once a connection; remembered for as many as an advert has.
        if host.refused.len() < SERVICES_MAX && host.refused.insert(key) {
            let name = host.name.clone();
            let why = if is_allowed {
                format!("a node has at most {SERVICES_MAX} services: let one key stand for several ports")
            } else {
                format!("its certificate does not allow {}: issue one that does, or stop serving it", key.subnet)
            };
            self.events.push(Event::ServiceRefused { name, key, why });
        }
        Taken::Refused
    }

    /// Removes the services that a whole advert does not have; one that a newer advert named stays.
    fn withdraw_absent(&mut self, index: Index, sequence: u64, now: Instant) {
        for at in (0..self.hosts.get(index).services.len()).rev() {
            if self.hosts.get(index).services[at].sequence.is_none_or(|known| known < sequence) {
                self.remove_service(index, at, Cause::Withdrawn, "", now);
            }
        }
    }
}
