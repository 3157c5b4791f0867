//! Clients, their packets, and what hosts and routers do with them.

use slr_session::search::Output as SearchOutput;

use super::super::router::{Packet, Place};
use super::{Event, REUSE_AFTER, World};

impl World {
    /// A client does the next thing with its port.
    pub(super) fn client(&mut self, n: usize) {
        let pause = if self.rng.chance(0.1) { 6_000 } else { 400 };
        let next = 20 + self.rng.below(pause);
        self.after(next, Event::Client(n));
        if self.now >= self.end {
            return;
        }
        if self.rng.chance(0.1) {
            self.flows[n].router = self.rng.below(self.routers.len() as u64) as usize;
        }
        let (key, router) = (self.flows[n].key, self.flows[n].router);
        if !self.flows[n].is_open {
            let others = self.routers.iter().enumerate().filter(|(other, _)| *other != router);
            // What is not met (docs/failure-model.md): a port that is used again while another router has its last connection pinned.
            let is_elsewhere = others.map(|(_, router)| router.pinned(&key)).any(|pin| pin.is_some());
            if self.now < self.flows[n].closed_at + REUSE_AFTER || is_elsewhere {
                return;
            }
            // A new connection: its SYN, and if a host takes it the ACK.
            self.tally.reused += u64::from(self.flows[n].owner.is_some());
            self.flows[n].owner = None;
            let mut pins = Vec::new();
            self.flows[n].connection += 1;
            let syn = Packet { key, connection: self.flows[n].connection, is_syn: true, is_end: false };
            let place = self.routers[router].receive(&syn, &mut pins);
            let (Some(Place::Pinned(host) | Place::Pending(host)), true) = (place, pins.is_empty()) else { return };
            if self.alive[host] {
                self.flows[n].owner = Some(host);
                self.flows[n].is_open = true;
                self.say(|| format!("{key} begins at h{host}, through r{router}"));
                self.send(n, router, false);
            }
            return;
        }
        let is_end = self.rng.chance(0.05);
        self.send(n, router, is_end);
        if is_end && self.flows[n].is_open {
            self.say(|| format!("{key} ends, through r{router}"));
            self.close(n);
        }
    }

    /// The owner is kept, so that a later use of the port is told from the first.
    fn close(&mut self, n: usize) {
        self.flows[n].is_open = false;
        self.flows[n].closed_at = self.now;
    }

    /// A packet of an open connection.
    fn send(&mut self, n: usize, router: usize, is_end: bool) {
        let (key, connection, mut pins) = (self.flows[n].key, self.flows[n].connection, Vec::new());
        let packet = Packet { key, connection, is_syn: false, is_end };
        let place = self.routers[router].receive(&packet, &mut pins);
        for host in pins {
            self.say(|| format!("r{router} pins {key} to h{host}"));
            self.tell(router, key, host);
        }
        match place {
            None | Some(Place::Pending(_)) => {}
            Some(Place::Pinned(host)) => {
                let owner = self.flows[n].owner;
                let is_misled = self.flows[n].is_open && owner.is_some_and(|owner| owner != host && self.alive[owner]);
                assert!(!is_misled, "r{router} has {key} pinned to h{host}, and it is {owner:?}'s");
                self.deliver(n, host, false);
            }
            Some(Place::Orphan(through)) => self.search(n, router, &through),
        }
    }

    /// A host gets a packet: of its own connection, or it resets it. `is_searched`: it claims what is its own.
    fn deliver(&mut self, n: usize, host: usize, is_searched: bool) {
        if !self.alive[host] || !self.flows[n].is_open {
            return;
        }
        if self.flows[n].owner != Some(host) {
            let owner = self.flows[n].owner;
            self.tally.lost += u64::from(owner.is_some_and(|owner| self.alive[owner]));
            self.say(|| format!("{} is reset by h{host}, it was {owner:?}'s", self.flows[n].key));
            return self.close(n);
        }
        self.tally.delivered += 1;
        if is_searched {
            let flow = self.flows[n].key;
            for router in 0..self.routers.len() {
                self.datagram(Event::Claim { router, flow, host });
            }
        }
    }

    /// An orphan goes through the hosts of its slot, to the router at the chain's end.
    fn search(&mut self, n: usize, router: usize, through: &[usize]) {
        let key = self.flows[n].key;
        for host in through {
            if !self.alive[*host] {
                return; // its machine is dead, and with it the packet
            }
            if self.flows[n].owner == Some(*host) {
                self.tally.chained += 1;
                return self.deliver(n, *host, true);
            }
        }
        let peers = (0..self.routers.len()).filter(|other| *other != router && self.is_connected(router, *other));
        let others: Vec<usize> = peers.collect();
        let cluster = self.routers[router].cluster;
        let Some(end) = others
            .iter()
            .find(|other| self.routers[**other].cluster == cluster)
            .copied()
            .or((!others.is_empty()).then_some(router))
        else {
            return self.deliver(n, *through.last().expect("somebody"), true);
        };
        if let Some(host) = self.routers[end].owner_or_guess(&key, self.flows[n].connection) {
            self.tally.ended += 1;
            return self.deliver(n, host, true);
        }
        let now = self.now;
        self.say(|| format!("r{end} looks for {key}"));
        self.routers[end].search.hold(now, key, n, 100);
    }

    pub(super) fn searched(&mut self, router: usize, output: SearchOutput<usize>) {
        match output {
            SearchOutput::Ask { router: to, question } => {
                let to = self.routers.iter().position(|other| other.name == to).expect("a router");
                self.datagram(Event::Ask { from: router, to, question });
            }
            SearchOutput::Found { flow, host, packets, .. } => {
                let host = self.names.iter().position(|name| *name == host).expect("a host");
                let (goes, is_news) = self.routers[router].found(flow, host);
                self.say(|| format!("r{router} hears that h{host} has {flow}: pinned {is_news}"));
                if is_news {
                    self.tally.found += 1;
                    self.tell(router, flow, host);
                }
                for packet in packets.into_iter().filter(|_| goes) {
                    self.deliver(packet, host, true);
                }
            }
            SearchOutput::Nobody { flow, packets } => {
                self.tally.nobody += 1;
                self.say(|| format!("r{router} hears that nobody has {flow}"));
                let slot = self.routers[router].ring.get(&flow).copied().unwrap_or_default();
                let up = slot.into_iter().flatten().find(|host| self.routers[router].hosts[*host].1);
                for packet in packets {
                    up.into_iter().for_each(|host| self.deliver(packet, host, true));
                }
            }
            SearchOutput::Unheld { .. } => {}
        }
    }
}
