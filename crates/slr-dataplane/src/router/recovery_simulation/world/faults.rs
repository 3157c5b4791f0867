//! What goes wrong: rings that move, tables and connections that are lost, hosts that die.

use super::{Event, FLOWS, HOSTS, World};

impl World {
    pub(super) fn connect(&mut self, a: usize, b: usize) {
        let link = self.links.get_mut(&(a, b)).expect("a pair");
        if link.1 {
            return;
        }
        *link = (link.0 + 1, true);
        self.say(|| format!("r{a} and r{b} are connected"));
        for (one, other) in [(a, b), (b, a)] {
            let name = self.routers[other].name.clone();
            self.routers[one].search.connected(&name);
            if self.routers[one].cluster == self.routers[other].cluster {
                let (teller, listener) = self.routers[one].mirrors.entry(other).or_default();
                teller.connected();
                listener.connected();
            }
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        self.links.get_mut(&(a, b)).expect("a pair").1 = false;
        self.say(|| format!("r{a} and r{b} are not connected"));
        for (one, other) in [(a, b), (b, a)] {
            let name = self.routers[other].name.clone();
            self.routers[one].search.disconnected(&name);
            if let Some((teller, listener)) = self.routers[one].mirrors.get_mut(&other) {
                teller.disconnected();
                listener.disconnected();
            }
        }
        let back = 100 + self.rng.below(2_000);
        self.after(back, Event::Connect { a, b });
    }
    /// A flow's slot of a cluster's ring goes to another host.
    pub(super) fn move_slot(&mut self, cluster: usize, n: usize) {
        let (key, to) = (self.flows[n].key, self.rng.below(HOSTS as u64) as usize);
        for router in self.routers.iter_mut().filter(|router| router.cluster == cluster) {
            let slot = router.ring.entry(key).or_default();
            if slot[0] != Some(to) {
                let older = slot.iter().copied().filter(|host| *host != Some(to));
                let mut all = [Some(to)].into_iter().chain(older);
                *slot = std::array::from_fn(|_| all.next().flatten());
            }
        }
    }

    pub(super) fn fault(&mut self) {
        match self.rng.below(10) {
            0..=3 => {
                // Often enough at once that a slot forgets who had it.
                let (cluster, n) = (self.rng.below(2) as usize, self.rng.below(FLOWS as u64) as usize);
                for _ in 0..1 + self.rng.below(6) {
                    self.move_slot(cluster, n);
                }
            }
            4 => {
                let router = self.rng.below(self.routers.len() as u64) as usize;
                self.say(|| format!("r{router} forgets everything"));
                self.routers[router].forget();
                let links: Vec<_> = self.links.keys().copied().filter(|(a, b)| *a == router || *b == router).collect();
                for (a, b) in links.into_iter().filter(|link| self.links[link].1).collect::<Vec<_>>() {
                    self.disconnect(a, b);
                }
            }
            5 | 6 => {
                let up: Vec<_> = self.links.iter().filter(|(_, (_, is_up))| *is_up).map(|(pair, _)| *pair).collect();
                if !up.is_empty() {
                    let (a, b) = *self.rng.pick(&up);
                    self.disconnect(a, b);
                }
            }
            7 => self.host_dies(),
            _ => {
                for n in 0..FLOWS {
                    self.flows[n].router = self.rng.below(self.routers.len() as u64) as usize;
                }
            }
        }
    }

    /// A host's machine dies, and each router notices in its own time; and sometime it is back, without its connections.
    fn host_dies(&mut self) {
        let host = self.rng.below(HOSTS as u64) as usize;
        if self.alive.iter().filter(|alive| **alive).count() < 3 && self.alive[host] {
            return;
        }
        self.alive[host] = !self.alive[host];
        let is_up = self.alive[host];
        self.say(|| format!("h{host} {}", if is_up { "is back" } else { "dies" }));
        for flow in self.flows.iter_mut().filter(|flow| flow.owner == Some(host)) {
            flow.is_open = false;
            flow.closed_at = self.now;
        }
        for router in 0..self.routers.len() {
            let late = self.rng.below(1_500);
            self.after(late, Event::Notice { router, host });
        }
    }
}
