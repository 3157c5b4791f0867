//! What hosts are told of each other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slr_model::Role;
use slr_session::registry::{ConnectionId, HostView};
use slr_wire::{Roster, RosterNode};

use super::Daemon;

/// A changed roster waits so long for further changes. Each goes to every host and names every host: when a thousand of
/// them register one after the other, a roster for each would be a thousand million entries.
const GATHER: Duration = Duration::from_secs(1);

/// So many hosts are told at once, and the next so many a moment later: what was sent and is not acknowledged yet has to be
/// kept, 70 kB for each host of a thousand.
const TOLD_AT_ONCE: usize = 32;
const TOLD_APART: Duration = Duration::from_millis(20);

/// The roster as it was last made, who has still to be told, and when that, or the next one, is due.
#[derive(Debug, Default)]
pub struct SiteRoster {
    newest: Arc<Roster>,
    changed: Option<Instant>,
    untold: VecDeque<ConnectionId>,
    told: Option<Instant>,
}

impl SiteRoster {
    /// What a host that connects is told at once.
    pub fn newest(&self) -> Arc<Roster> {
        self.newest.clone()
    }

    /// Hosts are others than before, or elsewhere.
    pub fn change(&mut self, now: Instant) {
        self.changed.get_or_insert(now + GATHER);
    }

    /// Makes the next one, if it is due; it is for these.
    fn renew(&mut self, now: Instant, make: impl FnOnce(u64) -> (Roster, Vec<ConnectionId>)) {
        if self.changed.is_some_and(|due| due <= now) {
            self.changed = None;
            let (roster, connections) = make(self.newest.generation + 1);
            (self.newest, self.untold) = (Arc::new(roster), connections.into());
        }
    }

    /// Who is to be told now.
    fn next(&mut self, now: Instant) -> Vec<ConnectionId> {
        if self.told.is_some_and(|at| at + TOLD_APART > now) {
            return Vec::new();
        }
        self.told = Some(now).filter(|_| !self.untold.is_empty());
        self.untold.drain(..TOLD_AT_ONCE.min(self.untold.len())).collect()
    }

    /// When [`Daemon::tell_roster`] is due.
    pub fn due(&self) -> Option<Instant> {
        let next = self.told.filter(|_| !self.untold.is_empty()).map(|at| at + TOLD_APART);
        [self.changed, next].into_iter().flatten().min()
    }
}

impl Daemon {
    /// Tells hosts of each other, as many as are to be told now.
    pub(super) fn tell_roster(&mut self) {
        let now = Instant::now();
        if self.roster.due().is_none_or(|due| due > now) {
            return;
        }
        let Some(control) = &self.control else { return };
        self.roster.renew(now, |generation| {
            let hosts = self.core.fleet().registry().hosts().filter(|host| host.role() == Role::Host);
            let node =
                |host: HostView| RosterNode { name: host.name().clone(), tunnel_addresses: host.tunnels().to_vec() };
            let connections = control.hub().connections().into_iter().map(|connection| connection.id).collect();
            (Roster { generation, nodes: hosts.map(node).collect() }, connections)
        });
        for connection in self.roster.next(now) {
            // One that has ended meanwhile needs none.
            let _ = control.hub().set_roster(connection, self.roster.newest());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_gathered_and_the_first_does_not_wait_for_the_last() {
        let now = Instant::now();
        let mut roster = SiteRoster::default();
        assert_eq!(roster.due(), None);
        roster.change(now);
        roster.change(now + GATHER / 2);
        assert_eq!(roster.due(), Some(now + GATHER));
    }

    #[test]
    fn everybody_is_told_once_and_few_at_a_time() {
        let mut now = Instant::now();
        let mut roster = SiteRoster::default();
        let all: Vec<ConnectionId> = (0..1_000).map(ConnectionId).collect();
        roster.change(now);
        let mut told = Vec::new();
        while let Some(due) = roster.due() {
            now = due;
            roster.renew(now, |generation| (Roster { generation, nodes: Vec::new() }, all.clone()));
            let next = roster.next(now);
            assert!(!next.is_empty() && next.len() <= TOLD_AT_ONCE);
            assert!(roster.next(now).is_empty(), "not twice in a moment");
            told.extend(next);
        }
        assert_eq!((told, roster.newest().generation), (all, 1));
    }

    #[test]
    fn a_newer_roster_begins_with_everybody_again() {
        let mut now = Instant::now();
        let mut roster = SiteRoster::default();
        let all: Vec<ConnectionId> = (0..100).map(ConnectionId).collect();
        let mut told = Vec::new();
        for _ in 0..2 {
            roster.change(now);
            now += GATHER;
            roster.renew(now, |generation| (Roster { generation, nodes: Vec::new() }, all.clone()));
            told = roster.next(now);
        }
        assert_eq!((told, roster.newest().generation), (all[..TOLD_AT_ONCE].to_vec(), 2));
    }
}
