//! Several members over links that can be cut, that delay, and that lose datagrams.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use slr_model::{NodeName, Weight};
use slr_session::cluster::{Cluster, ClusterEvent, ClusterOutput, ClusterRole, ClusterSettings, ClusterSnapshot};
use slr_wire::{Channel, Message, RingKey, RingWeights};

pub const MS: Duration = Duration::from_millis(1);
/// One step of the members' clocks and links.
const TICK: Duration = Duration::from_millis(10);
const EVALUATE_EVERY: Duration = Duration::from_millis(400);

pub type Rings = BTreeMap<RingKey, RingWeights>;

pub fn key(text: &str) -> RingKey {
    RingKey { service: text.parse().unwrap(), class: None }
}

/// Rings as the tests publish them. The first one's first weight says all; of the others each changes at a weight of its
/// own, and some come and go, so that a difference to the wrong base leaves something wrong behind.
pub fn rings(weight: u16) -> Rings {
    let ring = |weight: u16| -> RingWeights {
        let weights = [("h1", weight), ("h2", 500)];
        weights.into_iter().map(|(name, weight)| (name.parse().unwrap(), Weight::new(weight).unwrap())).collect()
    };
    let mut rings = Rings::from([(key("tcp/80@192.0.2.0/24"), ring(weight))]);
    for (port, every) in [(81, 30), (82, 50), (83, 70), (84, 110), (85, 130), (86, 170)] {
        if !(weight / every).is_multiple_of(3) {
            rings.insert(key(&format!("tcp/{port}@192.0.2.0/24")), ring(weight / every));
        }
    }
    rings
}

pub fn first_weight(rings: &Rings) -> Option<u16> {
    rings.values().next().and_then(|ring| ring.values().next()).map(|weight| weight.get())
}

pub struct Node {
    pub cluster: Cluster,
    pub roles: Vec<ClusterRole>,
    /// Weights of the first host as they were in force, one after the other.
    pub history: Vec<u16>,
    pub adopted: usize,
    evaluate_at: Instant,
    /// Messages to it: when they arrive, from whom.
    inbox: VecDeque<(Instant, NodeName, Message)>,
}

pub struct World {
    pub now: Instant,
    names: Vec<NodeName>,
    pub nodes: BTreeMap<NodeName, Node>,
    cut: BTreeSet<(NodeName, NodeName)>,
    incarnation: u64,
    /// Every how many datagrams one is lost; 0: none.
    pub lose_every: usize,
    datagrams: usize,
    /// Publications that were sent whole, and as differences.
    pub whole: usize,
    pub differences: usize,
    /// What the next publications move towards.
    pub target: u16,
}

fn pair(one: &NodeName, other: &NodeName) -> (NodeName, NodeName) {
    if one < other { (one.clone(), other.clone()) } else { (other.clone(), one.clone()) }
}

impl World {
    pub fn new(names: &[&str]) -> Self {
        let mut world = Self {
            now: Instant::now(),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            incarnation: 0,
            lose_every: 0,
            datagrams: 0,
            whole: 0,
            differences: 0,
            target: 500,
        };
        for name in names {
            world.start(name, None);
        }
        world
    }

    pub fn start(&mut self, name: &str, snapshot: Option<ClusterSnapshot>) {
        let name: NodeName = name.parse().unwrap();
        self.incarnation += 1;
        let peers = self.names.iter().filter(|other| **other != name).cloned().collect();
        let settings = ClusterSettings::new(name.clone(), self.incarnation, peers);
        let cluster = Cluster::new(settings, snapshot, self.now);
        let node = Node {
            cluster,
            roles: Vec::new(),
            history: Vec::new(),
            adopted: 0,
            evaluate_at: self.now,
            inbox: VecDeque::new(),
        };
        self.nodes.insert(name.clone(), node);
        let others: Vec<NodeName> = self.nodes.keys().filter(|other| **other != name).cloned().collect();
        for other in others {
            if !self.cut.contains(&pair(&name, &other)) {
                self.meet(&name, &other);
            }
        }
    }

    /// The process dies; its peers see the connection end.
    pub fn stop(&mut self, name: &str) -> Option<ClusterSnapshot> {
        let name: NodeName = name.parse().unwrap();
        let node = self.nodes.remove(&name)?;
        let now = self.now;
        for other in self.nodes.values_mut() {
            other.inbox.retain(|(_, from, _)| *from != name);
            other.cluster.peer_lost(now, &name);
        }
        node.cluster.snapshot()
    }

    /// The link carries nothing; nobody is told.
    pub fn cut(&mut self, one: &str, other: &str) {
        self.cut.insert(pair(&one.parse().unwrap(), &other.parse().unwrap()));
    }

    /// The link carries again: a new conversation.
    pub fn mend(&mut self, one: &str, other: &str) {
        let (one, other) = pair(&one.parse().unwrap(), &other.parse().unwrap());
        if self.cut.remove(&(one.clone(), other.clone()))
            && self.nodes.contains_key(&one)
            && self.nodes.contains_key(&other)
        {
            self.meet(&one, &other);
        }
    }

    fn meet(&mut self, one: &NodeName, other: &NodeName) {
        for (here, there) in [(one, other), (other, one)] {
            let node = self.nodes.get_mut(here).expect("both run");
            node.inbox.retain(|(_, from, _)| from != there);
            assert!(node.cluster.peer_met(self.now, there));
        }
    }

    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += TICK;
            let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
            for name in names {
                self.turn(&name);
            }
        }
    }

    /// One member's turn: what arrived, what is due, its policy, what it sends.
    fn turn(&mut self, name: &NodeName) {
        let (now, target) = (self.now, self.target);
        let node = self.nodes.get_mut(name).expect("it runs");
        while node.inbox.front().is_some_and(|(at, _, _)| *at <= now) {
            let (_, from, message) = node.inbox.pop_front().expect("there is one");
            node.cluster.handle_message(now, &from, message);
        }
        if node.cluster.poll_timeout() <= now {
            node.cluster.handle_timeout(now);
            assert!(node.cluster.poll_timeout() > now, "a deadline stays in the past");
        }
        if node.evaluate_at <= now {
            node.evaluate_at = now + EVALUATE_EVERY;
            if *node.cluster.role() == ClusterRole::Publishes {
                // A budget of ten an interval, from what is in force.
                let weight = first_weight(node.cluster.rings()).unwrap_or(500);
                let next = target.clamp(weight.saturating_sub(10), weight + 10);
                node.cluster.publish(now, rings(next)).unwrap();
            }
        }
        while let Some(output) = self.nodes.get_mut(name).expect("it runs").cluster.poll_output() {
            self.carry_out(name, output);
        }
        let node = self.nodes.get_mut(name).expect("it runs");
        if let Some(weight) = first_weight(node.cluster.rings())
            && node.history.last() != Some(&weight)
        {
            node.history.push(weight);
        }
    }

    fn carry_out(&mut self, name: &NodeName, output: ClusterOutput) {
        match output {
            ClusterOutput::Send { peer, message } => self.send(name, peer, message),
            ClusterOutput::Event(ClusterEvent::Role(role)) => {
                self.nodes.get_mut(name).expect("it runs").roles.push(role);
            }
            ClusterOutput::Event(ClusterEvent::Adopted { .. }) => {
                self.nodes.get_mut(name).expect("it runs").adopted += 1;
            }
            ClusterOutput::Event(ClusterEvent::Violation { peer, why }) => panic!("{name} of {peer}: {why}"),
        }
    }

    fn send(&mut self, from: &NodeName, to: NodeName, message: Message) {
        if let Message::Rings(part) = &message {
            *if part.base.is_none() { &mut self.whole } else { &mut self.differences } += 1;
        }
        if message.travels(Channel::Datagram) {
            self.datagrams += 1;
            if self.lose_every > 0 && self.datagrams.is_multiple_of(self.lose_every) {
                return;
            }
        }
        let at = self.now + 3 * TICK;
        if !self.cut.contains(&pair(from, &to))
            && let Some(node) = self.nodes.get_mut(&to)
        {
            node.inbox.push_back((at, from.clone(), message));
        }
    }

    pub fn node(&self, name: &str) -> &Node {
        &self.nodes[name]
    }

    pub fn role(&self, name: &str) -> ClusterRole {
        self.node(name).cluster.role().clone()
    }

    /// One publishes, all others follow it and hold what it holds.
    pub fn assert_one_answer(&self) {
        let publishers: Vec<&NodeName> = self
            .nodes
            .iter()
            .filter(|(_, node)| *node.cluster.role() == ClusterRole::Publishes)
            .map(|(n, _)| n)
            .collect();
        assert_eq!(publishers, [self.nodes.keys().next().expect("somebody runs")]);
        let held = self.nodes[publishers[0]].cluster.edition();
        assert!(held.is_some());
        for (name, node) in &self.nodes {
            assert_eq!(node.cluster.edition(), held, "{name} beside {}", publishers[0]);
            assert_eq!(node.cluster.rings(), self.nodes[publishers[0]].cluster.rings());
        }
    }
}

pub fn follows(name: &str) -> ClusterRole {
    ClusterRole::Follows(name.parse().unwrap())
}
