//! What goes wrong, and the end of it.

use std::time::Instant;

use slr_model::HostState;

use crate::nodes::Node;
use crate::registry_support::ms;
use crate::world::{Answer, Happening, Message, World, keys};

impl World {
    /// One thing goes wrong, or somebody does something.
    pub fn fault(&mut self) {
        let host = self.dice.number(1, u64::from(self.hosts)) as u16;
        let node = usize::from(host) - 1;
        let router = self.dice.number(0, 1) as usize;
        let until = self.now + self.dice.ms(200, 4_000);
        let link = self.links.get_mut(&(router, host)).expect("every pair has a link");
        match self.dice.number(0, 16) {
            0 => self.nodes[node].crash(until),
            1 => {
                // The machine dies: nobody reaches it either.
                self.nodes[node].crash(until);
                (0..2).for_each(|router| self.cut(router, host, until, false, true));
            }
            2 => link.control_cut_until = until,
            3 => link.tunnel_cut_until = until,
            4 => self.cut(router, host, until, true, true),
            5..=6 => (1..=self.hosts).for_each(|host| self.cut(router, host, until, true, false)),
            7 => (1..=self.hosts).for_each(|host| self.cut(router, host, until, false, true)),
            8 => (1..=self.hosts).for_each(|host| self.cut(router, host, until, true, true)),
            9..=10 => self.change_services(node),
            11 => self.go_away(node, until),
            12 => self.restart(router),
            13 => self.routers[router].stalled_until = until,
            14 => {
                let services = self.nodes[node].services.clone();
                self.add(Node::new(host, true, services, self.now));
            }
            15 => {
                let key = keys()[self.dice.number(0, 1) as usize];
                self.plan(self.now, Happening::Arrives { router, message: Message::Release { key } });
            }
            _ => self.revoke(host),
        }
    }

    fn cut(&mut self, router: usize, host: u16, until: Instant, control: bool, tunnel: bool) {
        let link = self.links.get_mut(&(router, host)).expect("every pair has a link");
        if control {
            link.control_cut_until = until;
        }
        if tunnel {
            link.tunnel_cut_until = until;
        }
    }

    fn change_services(&mut self, node: usize) {
        let states = [None, Some(HostState::Active), Some(HostState::Draining), Some(HostState::Down)];
        let said = keys().map(|key| (key, states[self.dice.number(0, 3) as usize]));
        self.nodes[node].services = said.into_iter().filter_map(|(key, state)| Some((key, state?))).collect();
        (0..2).for_each(|router| self.say_all(node, router));
    }

    fn go_away(&mut self, node: usize, until: Instant) {
        for router in 0..2 {
            if let Some(connection) = self.nodes[node].uplinks[router].connection {
                let message = if self.dice.percent(70) {
                    Message::Withdraw { connection }
                } else {
                    Message::Close { connection }
                };
                self.send_stream(node, router, message);
            }
        }
        self.nodes[node].away_until = until;
        self.nodes[node].forget_connections(until);
    }

    fn restart(&mut self, router: usize) {
        let edge = &mut self.routers[router];
        if edge.stalled_until > self.now {
            return;
        }
        edge.observer.restart(self.now);
        edge.probing.clear();
        let connections: Vec<_> = std::mem::take(&mut edge.open).into_iter().collect();
        for (connection, (node, _)) in connections {
            // Some hear of it, others find out.
            if self.dice.percent(50) {
                self.send_answer(router, node, connection, Answer::Closed);
            }
        }
    }

    fn revoke(&mut self, host: u16) {
        // Rarely, or nobody would be left.
        if !self.dice.percent(30) {
            return;
        }
        self.revoked.insert(host);
        for router in 0..2 {
            self.plan(self.now, Happening::Arrives { router, message: Message::Revoke { host } });
        }
    }

    /// All is well from now on: links, processes, and one node for a name.
    pub fn heal(&mut self) {
        self.is_healed = true;
        let now = self.now;
        self.links.values_mut().for_each(|link| link.heal(now));
        for router in &mut self.routers {
            router.stalled_until = router.stalled_until.min(now);
        }
        for node in &mut self.nodes {
            node.dead_until = node.dead_until.min(now);
            node.away_until = node.away_until.min(now);
            if node.is_clone {
                node.dead_until = now + ms(3_600_000);
            }
        }
        // What a second node still had under way, it takes along: a cut link would deliver it seconds from now.
        let nodes = &self.nodes;
        self.queue.retain(|_, happening| match happening {
            Happening::Arrives { message: Message::Hello { node, .. }, .. } => !nodes[*node].is_clone,
            _ => true,
        });
    }
}
