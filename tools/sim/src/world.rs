//! The simulated world: events in order of time.
//!
//! Flows arrive (Poisson); the ring places each one, and it stays where it was placed (the flow table pins it). Its
//! requests are served by its host, which measures how busy it is, and adverts.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use anyhow::Result;
use slr_session::registry::PathReport;

use crate::{
    dice::Dice,
    record::{Recorder, Run},
    router::Router,
    scenario::{Scenario, What},
    server::Server,
};

/// After this long without an answer the path of a host is lost: five keepalives of 200 ms.
const PATH_LOST_S: f64 = 1.0;

/// Flows alive at once, at most: past it, new ones are turned away, and counted.
const FLOWS_MAX: usize = 200_000;

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    FlowArrives,
    Request { flow: usize },
    Done { host: usize, version: u64 },
    Measure { host: usize },
    AdvertArrives { host: usize, sequence: u64, load: f64, flows: u64 },
    Connects { host: usize },
    PathLost { host: usize },
    Evaluate,
    Change { index: usize },
}

/// An event and when; the number keeps events of one moment in the order in which they were planned.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Planned(f64, u64, Event);

impl Eq for Planned {}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A flow that is alive.
#[derive(Clone, Copy)]
struct Flow {
    hash: u32,
    host: usize,
}

/// A host as the world sees it.
struct Host {
    server: Server,
    is_cut: bool,
    flows: u64,
    sequence: u64,
    /// Moments and the busy time until then, over the window of the measurement.
    busy: VecDeque<(f64, f64)>,
}

struct World<'a> {
    scenario: &'a Scenario,
    dice: Dice,
    now_s: f64,
    planned: BinaryHeap<Reverse<Planned>>,
    count: u64,
    hosts: Vec<Host>,
    flows: Vec<Option<Flow>>,
    free: Vec<usize>,
    router: Router,
    recorder: Recorder,
}

/// Runs a scenario from a seed.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Run> {
    let hosts = scenario.speeds.len();
    let router = Router::new(hosts, scenario.adverts.interval_s, scenario.policy.clone(), scenario.counts_traffic)?;
    let host = |&speed: &f64| Host {
        server: Server::new(speed),
        is_cut: false,
        flows: 0,
        sequence: 0,
        busy: VecDeque::from([(0.0, 0.0)]),
    };
    let mut world = World {
        scenario,
        dice: Dice::new(seed),
        now_s: 0.0,
        planned: BinaryHeap::new(),
        count: 0,
        hosts: scenario.speeds.iter().map(host).collect(),
        flows: Vec::new(),
        free: Vec::new(),
        router,
        recorder: Recorder::new(scenario),
    };
    world.begin();
    while let Some(Reverse(Planned(at_s, _, event))) = world.planned.pop() {
        if at_s > scenario.length_s {
            break;
        }
        world.now_s = at_s;
        world.happen(event)?;
    }
    Ok(world.recorder.finish())
}

impl World<'_> {
    fn begin(&mut self) {
        let interval_s = self.scenario.adverts.interval_s;
        for host in 0..self.hosts.len() {
            let phase_s = self.dice.uniform() * interval_s;
            self.plan(0.0, Event::Connects { host });
            self.plan(phase_s, Event::Measure { host });
        }
        for (index, change) in self.scenario.changes.iter().enumerate() {
            self.plan(change.at_s, Event::Change { index });
        }
        // The first hosts have adverted by then.
        self.plan(interval_s * 1.5, Event::Evaluate);
        self.plan(interval_s * 1.5, Event::FlowArrives);
    }

    fn plan(&mut self, at_s: f64, event: Event) {
        self.count += 1;
        self.planned.push(Reverse(Planned(at_s, self.count, event)));
    }

    fn happen(&mut self, event: Event) -> Result<()> {
        match event {
            Event::FlowArrives => self.flow_arrives(),
            Event::Request { flow } => self.request(flow),
            Event::Done { host, version } => self.done(host, version),
            Event::Measure { host } => self.measure(host),
            Event::AdvertArrives { host, sequence, load, flows } => {
                self.router.advert(self.now_s, host, sequence, load, flows)?;
            }
            Event::Connects { host } => self.router.connect(self.now_s, host)?,
            Event::PathLost { host } => {
                if self.hosts[host].is_cut {
                    self.router.path(self.now_s, host, PathReport::Lost);
                    self.unpin(host);
                }
            }
            Event::Evaluate => self.evaluate()?,
            Event::Change { index } => self.change(self.scenario.changes[index].what),
        }
        Ok(())
    }

    /// Flows a second such that their requests are the utilisation's part of what all hosts can do.
    fn flow_rate(&self) -> f64 {
        let all: f64 = self.scenario.speeds.iter().sum();
        self.scenario.utilisation * all / self.scenario.work_s / self.scenario.flow.requests
    }

    fn flow_arrives(&mut self) {
        let next_s = self.now_s + self.dice.exponential(1.0 / self.flow_rate());
        self.plan(next_s, Event::FlowArrives);
        let hash = self.dice.hash();
        let host = self.router.host_of(hash);
        let Some(host) = host.filter(|_| self.flows.len() - self.free.len() < FLOWS_MAX) else {
            self.recorder.refused();
            return;
        };
        let flow = self.free.pop().unwrap_or_else(|| {
            self.flows.push(None);
            self.flows.len() - 1
        });
        self.flows[flow] = Some(Flow { hash, host });
        self.hosts[host].flows += 1;
        self.request(flow);
    }

    fn request(&mut self, flow: usize) {
        let Some(Flow { host, .. }) = self.flows[flow] else { return };
        let work_s = self.dice.exponential(self.scenario.work_s);
        let now_s = self.now_s;
        let served = &mut self.hosts[host];
        self.recorder.work(host, work_s);
        self.router.forward(host);
        if served.is_cut || !served.server.accept(now_s, flow, work_s) {
            self.recorder.refused();
            self.end(flow);
            return;
        }
        self.plan_done(host);
    }

    fn plan_done(&mut self, host: usize) {
        let server = &self.hosts[host].server;
        if let Some(at_s) = server.next_done() {
            let version = server.version;
            self.plan(at_s.max(self.now_s), Event::Done { host, version });
        }
    }

    fn done(&mut self, host: usize, version: u64) {
        if self.hosts[host].server.version != version {
            return;
        }
        let Some(flow) = self.hosts[host].server.finish(self.now_s) else { return };
        self.plan_done(host);
        let shape = self.scenario.flow;
        if self.dice.chance(1.0 / shape.requests) {
            self.end(flow);
        } else {
            let next_s = self.now_s + self.dice.exponential(shape.pause_s);
            self.plan(next_s, Event::Request { flow });
        }
    }

    fn end(&mut self, flow: usize) {
        if let Some(Flow { host, .. }) = self.flows[flow].take() {
            self.hosts[host].flows -= 1;
            self.free.push(flow);
        }
    }

    fn measure(&mut self, host: usize) {
        let adverts = self.scenario.adverts;
        let now_s = self.now_s;
        self.plan(now_s + adverts.interval_s, Event::Measure { host });
        let measured = &mut self.hosts[host];
        if measured.is_cut {
            return;
        }
        let busy_s = measured.server.busy_s(now_s);
        // The oldest moment that is a window ago or less, or the last one if that is longer ago.
        while measured.busy.len() > 1 && now_s - measured.busy[0].0 > adverts.window_s + 1e-9 {
            measured.busy.pop_front();
        }
        let (since_s, before_s) = measured.busy[0];
        measured.busy.push_back((now_s, busy_s));
        measured.sequence += 1;
        let (sequence, flows) = (measured.sequence, measured.flows);
        if now_s <= since_s {
            return;
        }
        let load = ((busy_s - before_s) / (now_s - since_s) + self.dice.normal(adverts.noise)).clamp(0.0, 1.0);
        if !self.dice.chance(adverts.loss) {
            let delay_s = adverts.delay_s.0 + self.dice.exponential(adverts.delay_s.1);
            self.plan(now_s + delay_s, Event::AdvertArrives { host, sequence, load, flows });
        }
    }

    fn evaluate(&mut self) -> Result<()> {
        let turn = self.router.evaluate(self.now_s)?;
        let elsewhere = |flow: &Flow| self.router.host_of(flow.hash) != Some(flow.host);
        let alive = || self.flows.iter().flatten();
        let (flows, displaced) = (alive().count(), alive().filter(|flow| elsewhere(flow)).count());
        let speeds = self.hosts.iter().map(|host| if host.is_cut { 0.0 } else { host.server.speed() }).collect();
        let busy = self.hosts.iter_mut().map(|host| host.server.busy_s(self.now_s)).collect();
        self.recorder.turn(
            self.now_s,
            &turn,
            self.router.slots(),
            self.router.shares(),
            speeds,
            busy,
            flows,
            displaced,
        );
        self.plan(self.now_s + self.scenario.adverts.interval_s, Event::Evaluate);
        Ok(())
    }

    fn change(&mut self, what: What) {
        match what {
            What::Speed(host, speed) => {
                self.hosts[host].server.set_speed(self.now_s, speed);
                self.plan_done(host);
            }
            What::Cut(host) => {
                self.hosts[host].is_cut = true;
                for flow in self.hosts[host].server.clear(self.now_s) {
                    self.recorder.refused();
                    self.end(flow);
                }
                self.plan(self.now_s + PATH_LOST_S, Event::PathLost { host });
            }
            What::Restore(host) => {
                self.hosts[host].is_cut = false;
                self.hosts[host].busy.clear();
                let busy_s = self.hosts[host].server.busy_s(self.now_s);
                self.hosts[host].busy.push_back((self.now_s, busy_s));
                self.plan(self.now_s, Event::Connects { host });
            }
        }
    }

    /// The flows of a host that is down are placed anew when they speak again; here they end.
    fn unpin(&mut self, host: usize) {
        for flow in 0..self.flows.len() {
            if self.flows[flow].is_some_and(|alive| alive.host == host) {
                self.end(flow);
            }
        }
    }
}
