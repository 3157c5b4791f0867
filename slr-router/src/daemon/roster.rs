//! What hosts are told of each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slr_model::Role;
use slr_session::registry::HostView;
use slr_wire::{Roster, RosterNode};

use super::Daemon;

/// A changed roster waits so long for further changes. Each goes to every host and names every host: when a thousand of
/// them register one after the other, a roster for each would be a thousand million entries.
const GATHER: Duration = Duration::from_secs(1);

/// The roster as it was last told, and when the next one is due.
#[derive(Debug, Default)]
pub struct SiteRoster {
    newest: Arc<Roster>,
    due: Option<Instant>,
}

impl SiteRoster {
    /// What a host that connects is told at once.
    pub fn newest(&self) -> Arc<Roster> {
        self.newest.clone()
    }

    /// Hosts are others than before, or elsewhere.
    pub fn change(&mut self, now: Instant) {
        self.due.get_or_insert(now + GATHER);
    }

    /// When [`Daemon::tell_roster`] is due.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Daemon {
    /// Tells all hosts of each other, if that is due.
    pub(super) fn tell_roster(&mut self) {
        if self.roster.due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        self.roster.due = None;
        let Some(control) = &self.control else { return };
        let hosts = self.core.fleet().registry().hosts().filter(|host| host.role() == Role::Host);
        let node = |host: HostView| RosterNode { name: host.name().clone(), tunnel_addresses: host.tunnels().to_vec() };
        let generation = self.roster.newest.generation + 1;
        self.roster.newest = Arc::new(Roster { generation, nodes: hosts.map(node).collect() });
        for connection in control.hub().connections() {
            // One that has ended meanwhile needs none.
            let _ = control.hub().set_roster(connection.id, self.roster.newest());
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
}
