//! The router: the real registry, balancer and ring builder, fed with simulated adverts.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use slr_model::{Advert, HopId, HostState, Identity, Loads, NodeName, Role, ServiceAdvert, ServiceKey, Weight};
use slr_policy::{Balancer, Evaluation, HopSet, HostInput, Member, Placement, Policy, Ring, RingBuilder, RingInput};
use slr_session::registry::{ConnectionId, Hello, PathReport, PathView, Registry, ServiceState, SessionId, Settings};

/// The seed under which the simulated cluster places.
const PLACEMENT_SEED: u64 = 0x51;

/// A router and what it knows.
pub struct Router {
    start: Instant,
    key: ServiceKey,
    names: Vec<NodeName>,
    policy: Policy,
    registry: Registry,
    balancer: Balancer<()>,
    builder: RingBuilder,
    ring: Ring,
    sequence: u64,
    /// Requests forwarded to each host, if they are counted.
    forwarded: Option<Vec<u64>>,
    connections: Vec<ConnectionId>,
}

/// What an evaluation made.
pub struct Turn {
    /// What the balancer says.
    pub evaluation: Evaluation,
    /// Slots of the real ring that have another host than before.
    pub moved_slots: u32,
}

impl Router {
    /// A router that knows nobody yet.
    pub fn new(hosts: usize, interval_s: f64, policy: Policy, counts_traffic: bool) -> Result<Self> {
        let advert_interval = Duration::from_secs_f64(interval_s);
        let settings = Settings { advert_interval, silent_after: advert_interval * 5 / 2, ..Settings::default() };
        let name = |host: usize| format!("host-{host:03}").parse().context("the name of a simulated host");
        Ok(Self {
            start: Instant::now(),
            key: "tcp/80@192.0.2.0/24".parse().context("the simulated service")?,
            names: (0..hosts).map(name).collect::<Result<_>>()?,
            policy,
            registry: Registry::new(settings),
            balancer: Balancer::new(),
            builder: RingBuilder::new(),
            ring: Ring::EMPTY,
            sequence: 0,
            forwarded: counts_traffic.then(|| vec![0; hosts]),
            connections: vec![ConnectionId(0); hosts],
        })
    }

    fn at(&self, now_s: f64) -> Instant {
        self.start + Duration::from_secs_f64(now_s)
    }

    /// Slots of the ring.
    pub fn slots(&self) -> u32 {
        self.ring.len()
    }

    /// The host that a new flow of this hash goes to.
    pub fn host_of(&self, hash: u32) -> Option<usize> {
        Some(self.ring.slot_for(hash)?.current()?.index() - 1)
    }

    /// A request is forwarded to a host.
    pub fn forward(&mut self, host: usize) {
        if let Some(forwarded) = &mut self.forwarded {
            forwarded[host] += 1;
        }
    }

    /// A host connects.
    pub fn connect(&mut self, now_s: f64, host: usize) -> Result<()> {
        let now = self.at(now_s);
        self.sequence += 1;
        let tunnel = IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + host as u32 + 1));
        let connection = ConnectionId(self.sequence);
        let identity = Identity {
            trust_domain: "sim".to_owned(),
            role: Role::Host,
            name: self.names[host].clone(),
            tunnels: vec![tunnel.into()],
            subnets: vec![self.key.subnet],
        };
        let hello = Hello {
            session: SessionId { incarnation: self.sequence, session: 1 },
            version: "sim".to_owned(),
            tunnels: vec![tunnel],
            source_prefixes: Vec::new(),
            answers_asks: false,
            remote: SocketAddr::new(tunnel, 6_100),
        };
        self.registry.handle_timeout(now);
        self.registry.welcome(identity, hello, connection, now).map_err(|refusal| anyhow!("{refusal}"))?;
        self.connections[host] = connection;
        self.path(now_s, host, PathReport::Alive { rtt_us: 500, loss: 0.0 });
        Ok(())
    }

    /// What keepalives to a host found.
    pub fn path(&mut self, now_s: f64, host: usize, report: PathReport) {
        let now = self.at(now_s);
        self.registry.handle_timeout(now);
        self.registry.path(&self.names[host], report, now);
    }

    /// An advert of a host arrives.
    pub fn advert(&mut self, now_s: f64, host: usize, sequence: u64, load: f64, flows: u64) -> Result<()> {
        let now = self.at(now_s);
        let mut loads = Loads::new();
        loads.set("load".parse().context("a load's name")?, load)?;
        let service = ServiceAdvert {
            key: self.key,
            state: HostState::Active,
            reason: String::new(),
            loads: Loads::new(),
            flows,
            weight: Weight::default(),
        };
        self.registry.handle_timeout(now);
        let advert = Advert { loads, services: vec![service] };
        // One that was under way when its host's connection was replaced is nobody's.
        let _ = self.registry.advert(self.connections[host], sequence, false, advert, now);
        Ok(())
    }

    /// Evaluates all hosts and publishes the ring.
    pub fn evaluate(&mut self, now_s: f64) -> Result<Turn> {
        let now = self.at(now_s);
        self.registry.handle_timeout(now);
        while self.registry.poll_event().is_some() {}
        let hosts: Vec<HostInput> = self
            .registry
            .service(&self.key)
            .map(|(host, service)| {
                let (rtt_ms, loss) = match host.path() {
                    PathView::Alive { rtt_us, loss, .. } => (Some(f64::from(rtt_us) / 1e3), Some(loss)),
                    _ => (None, None),
                };
                HostInput {
                    name: host.name(),
                    placed: service.state() == ServiceState::Active,
                    node_loads: host.loads(),
                    loads: service.loads(),
                    rtt_ms,
                    loss,
                    weight: service.weight(),
                    flows: Some(service.flows()),
                    routing_cost: 1.0,
                    returned_at: service.returned_at(),
                }
            })
            .collect();
        let placement = Placement::for_hosts(self.names.len(), PLACEMENT_SEED);
        let input = RingInput { placement, hour: 12.0, hosts: &hosts };
        if let Some(forwarded) = &self.forwarded {
            let counted = self.names.iter().cloned().zip(forwarded.iter().copied()).collect();
            self.balancer.note_traffic(&(), &Arc::new(counted));
        }
        let evaluation = self.balancer.evaluate(&(), now, &self.policy, &input)?;
        let moved_slots = if evaluation.changed { self.publish(placement)? } else { 0 };
        Ok(Turn { evaluation, moved_slots })
    }

    fn publish(&mut self, placement: Placement) -> Result<u32> {
        let member = |(name, weight): (NodeName, Weight)| {
            let index =
                self.names.iter().position(|known| *known == name).context("hosts are those of the simulation")?;
            Ok(Member { name, hop: HopId::new(index as u16 + 1)?, weight })
        };
        let members = self.balancer.weights(&()).into_iter().map(member).collect::<Result<Vec<_>>>()?;
        let update = self.builder.advance(&self.ring, &members, placement, &HopSet::new())?;
        self.ring = update.ring;
        Ok(update.moved_slots)
    }

    /// Each host's part of the slots.
    pub fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.names.len()];
        for (hop, slots) in self.ring.shares() {
            shares[hop.index() - 1] = f64::from(slots) / f64::from(self.ring.len());
        }
        shares
    }
}
