//! The simulated hosts: in a process of their own, each with its certificate, name, addresses, sockets and connection.
//!
//! `bench control` starts it in the hosts' namespace and talks to it in lines: a [`Command`] to its standard input, an
//! [`Answer`] from its standard output. Its input's end is its end, so it cannot outlive the bench.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use slr_control::{ChildLink, Endpoint, LinkEvent, Target, Trust, TrustFiles};
use slr_model::{Advert, HostState, Loads, Role, ServiceAdvert, ServiceKey, Weight};
use slr_session::conversation::{BackoffSettings, ChildEvent, ChildSettings};
use tokio::sync::{mpsc, watch};

use super::keepalive;
use super::site::{self, SERVICES, address, host_name};

/// Loads are new so often: as often as they are advertised.
const LOADS_EVERY: Duration = Duration::from_millis(400);
/// Each tick gives this part of the hosts new loads, so that they come in a trickle as real ones do.
const LOAD_TURNS: usize = 40;
/// Of a host, where nothing drifts.
const LOAD: f64 = 0.5;
/// How far a load drifts from that at most.
const DRIFT: f64 = 0.1;
/// Events that wait: a welcome and a few more of each host.
const EVENTS_MAX: usize = 8_192;
/// Commands that wait: they are given one after the other.
const COMMANDS_MAX: usize = 16;

/// Options of the process; the bench gives them.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How many hosts
    #[arg(long)]
    pub hosts: usize,
    /// Folder with their certificates
    #[arg(long)]
    pub trust: PathBuf,
}

/// What the bench asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A host's state for all its services.
    State {
        /// Which host.
        host: usize,
        /// Which state.
        state: HostState,
    },
    /// Loads drift from now on, or are the same for all.
    Drift(bool),
    /// Begin to count welcomes anew.
    Forget,
    /// Say how it stands.
    Count,
}

/// What comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// When the command was carried out: nanoseconds of CLOCK_MONOTONIC, which all processes share.
    pub at_ns: u64,
    /// Hosts that were welcomed since the last [`Command::Forget`].
    pub welcomed: usize,
    /// Hosts that are welcome now.
    pub open: usize,
    /// When the latest of the welcomes came.
    pub last_welcome_ns: u64,
    /// Connections that were lost or not to be had since then.
    pub lost: u64,
    /// Keepalives answered, ever.
    pub keepalives: u64,
}

/// The clock that all processes share.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has it");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Runs until standard input ends.
pub fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    runtime.block_on(async { Swarm::start(args)?.run().await })
}

struct Host {
    offer: watch::Sender<Option<Advert>>,
    state: HostState,
    load: f64,
    link: ChildLink,
    is_open: bool,
    is_welcomed: bool,
}

struct Swarm {
    hosts: Vec<Host>,
    events: mpsc::Receiver<(usize, LinkEvent)>,
    commands: mpsc::Receiver<Command>,
    answered: Arc<AtomicU64>,
    drifts: bool,
    turn: usize,
    /// State of the generator of loads: the same run has the same loads.
    chance: u64,
    last_welcome_ns: u64,
    lost: u64,
}

impl Swarm {
    fn start(args: &Args) -> Result<Self> {
        let answered = keepalive::answer()?;
        let (told, events) = mpsc::channel(EVENTS_MAX);
        let mut hosts = Vec::with_capacity(args.hosts);
        for index in 0..args.hosts {
            hosts.push(host(args, index, told.clone()).with_context(|| format!("host {}", host_name(index)))?);
        }
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        std::thread::Builder::new().name("commands".to_owned()).spawn(move || read_commands(&sender))?;
        let chance = 0x9e37_79b9_7f4a_7c15;
        Ok(Self { hosts, events, commands, answered, drifts: false, turn: 0, chance, last_welcome_ns: 0, lost: 0 })
    }

    async fn run(mut self) -> Result<()> {
        let mut turns = tokio::time::interval(LOADS_EVERY / LOAD_TURNS as u32);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command)?,
                    None => return Ok(()),
                },
                Some((index, event)) = self.events.recv() => self.hear(index, event),
                _ = turns.tick(), if self.drifts => self.drift(),
            }
        }
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        let at_ns = monotonic_ns();
        match command {
            Command::State { host, state } => {
                let host = self.hosts.get_mut(host).context("no such host")?;
                host.state = state;
                host.offer.send_replace(Some(advert(state, host.load)));
            }
            Command::Drift(drifts) => {
                self.drifts = drifts;
                // All alike: frozen where they are, they would draw shares after them for ever, as no load follows a share.
                let level = |host: &mut Host| {
                    host.load = LOAD;
                    host.offer.send_replace(Some(advert(host.state, LOAD)));
                };
                self.hosts.iter_mut().filter(|_| !drifts).for_each(level);
            }
            Command::Forget => {
                self.hosts.iter_mut().for_each(|host| host.is_welcomed = false);
                (self.lost, self.last_welcome_ns) = (0, 0);
            }
            Command::Count => {}
        }
        let answer = Answer {
            at_ns,
            welcomed: self.hosts.iter().filter(|host| host.is_welcomed).count(),
            open: self.hosts.iter().filter(|host| host.is_open).count(),
            last_welcome_ns: self.last_welcome_ns,
            lost: self.lost,
            keepalives: self.answered.load(Ordering::Relaxed),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        Ok(out.flush()?)
    }

    fn hear(&mut self, index: usize, event: LinkEvent) {
        let host = &mut self.hosts[index];
        match event.event {
            ChildEvent::Welcomed(_) => {
                (host.is_open, host.is_welcomed) = (true, true);
                self.last_welcome_ns = monotonic_ns();
            }
            ChildEvent::Lost { why, .. } => {
                host.is_open = false;
                self.lost += 1;
                if self.lost <= 20 {
                    eprintln!("{}: {why}", host_name(index));
                }
            }
            ChildEvent::Refused(refused) => {
                eprintln!("{} is refused: {}; {}", host_name(index), refused.reason, refused.remedy);
            }
            ChildEvent::Order(order) => host.link.ordered(order.id, Err("a simulated host obeys nobody".to_owned())),
            ChildEvent::Heard(_) | ChildEvent::Roster(_) | ChildEvent::FlowKeys(_) | ChildEvent::Epoch(_) => {}
        }
    }

    /// The next part of the hosts has other loads than before.
    fn drift(&mut self) {
        for index in (self.turn..self.hosts.len()).step_by(LOAD_TURNS) {
            // xorshift64
            self.chance ^= self.chance << 13;
            self.chance ^= self.chance >> 7;
            self.chance ^= self.chance << 17;
            let step = (self.chance >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
            let host = &mut self.hosts[index];
            host.load = (host.load + step * DRIFT / 4.0).clamp(LOAD - DRIFT, LOAD + DRIFT);
            host.offer.send_replace(Some(advert(host.state, host.load)));
        }
        self.turn = (self.turn + 1) % LOAD_TURNS;
    }
}

fn read_commands(commands: &mpsc::Sender<Command>) {
    for line in std::io::stdin().lock().lines() {
        let command = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        if command.is_none_or(|command| commands.blocking_send(command).is_err()) {
            return;
        }
    }
}

fn host(args: &Args, index: usize, told: mpsc::Sender<(usize, LinkEvent)>) -> Result<Host> {
    let name = host_name(index);
    let trust = Trust::load(TrustFiles {
        ca: args.trust.join(slr_ca::CA_FILE),
        certificate: args.trust.join(format!("{name}.pem")),
        key: args.trust.join(format!("{name}-key.pem")),
        crl: Some(args.trust.join(slr_ca::CRL_FILE)),
        require_fresh_crl: false,
    })?;
    // Each from its own address, as servers do: what the router grants one source is not what it grants a thousand.
    let endpoint = Endpoint::dialling_from(vec![SocketAddr::new(address(index), 0)], trust)?;
    let router = if address(index).is_ipv4() { site::ROUTER_V4 } else { site::ROUTER_V6 };
    let target = Target {
        role: Role::Site,
        name: site::ROUTER.parse()?,
        addresses: vec![SocketAddr::new(router, slr_control::DEFAULT_PORT)],
    };
    let settings = ChildSettings {
        incarnation: 1,
        first_session: 1,
        software: "bench".to_owned(),
        role: Role::Host,
        tunnel_addresses: vec![address(index)],
        tunnel_sources: vec![],
        backoff: BackoffSettings::default(),
    };
    let (state, load) = (HostState::Active, LOAD);
    let (offer, offered) = watch::channel(Some(advert(state, load)));
    let (sender, mut events) = mpsc::channel(8);
    let link = ChildLink::spawn(endpoint, target, settings, index as u64, offered, sender);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if told.send((index, event)).await.is_err() {
                return;
            }
        }
    });
    Ok(Host { offer, state, load, link, is_open: false, is_welcomed: false })
}

/// All services in one state. The loads are those that hostd has without being told of others.
fn advert(state: HostState, load: f64) -> Advert {
    let mut advert = Advert::default();
    for (name, value) in [("load", load), ("cpu", load * 0.9), ("pressure", load * 0.1)] {
        advert.loads.set(name.parse().expect("a word"), value).expect("three of sixteen");
    }
    let reason = if state == HostState::Active { "" } else { "said by the bench" };
    advert.services = SERVICES
        .iter()
        .map(|key| ServiceAdvert {
            key: key.parse::<ServiceKey>().expect("written here"),
            state,
            reason: reason.to_owned(),
            loads: Loads::new(),
            flows: 100,
            weight: Weight::default(),
        })
        .collect();
    advert
}
