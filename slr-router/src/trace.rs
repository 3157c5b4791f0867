//! `slr-router trace`: what the running router does with one flow, and why; and what becomes of it further on.

mod follow;
mod text;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slr_daemon::admin;
use slr_daemon::output::print;
use slr_dataplane::reason::Verdict;
use slr_dataplane::router::{Router, Step, TracedHop};
use slr_model::{ClassName, FlowKey, KeyMask, NodeName, OrphanPolicy, Protocol, Role, Service, VirtualSubnet};
use slr_session::registry::ServiceState;

use crate::cli::Output;
use crate::config::DEFAULT_CONFIG;
use crate::daemon::{Core, Request};
use crate::show::remedies;

/// How often a flow is looked at while it is watched.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it is told how many packets went the same way.
const RATE_EVERY: Duration = Duration::from_secs(1);

/// Which flow.
#[derive(Debug, Args)]
pub struct Options {
    /// The client, such as 198.51.100.7:40000 or [2001:db8::7]:40000.
    client: SocketAddr,
    /// The virtual host and its port, such as 192.0.2.9:80.
    virtual_host: SocketAddr,
    /// tcp or udp.
    #[arg(default_value = "tcp")]
    protocol: Protocol,
    /// Ask this router alone, and no node that the flow goes to.
    #[arg(long)]
    here: bool,
    /// Go on for so long at this router, and tell what changes and how many packets go the same way.
    #[arg(long, value_name = "SECONDS", conflicts_with = "here")]
    watch: Option<u64>,
    /// The configuration, which names the certificates that other nodes are asked with.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// What the daemon says of a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// Who answers.
    pub router: NodeName,
    pub flow: FlowKey,
    /// The virtual subnet that it is in.
    pub subnet: Option<VirtualSubnet>,
    /// What happens there to packets of flows that nobody remembers.
    pub orphan: Option<OrphanPolicy>,
    /// The route that decides, and the flow's slot in its ring.
    pub route: Option<Route>,
    /// The flow, if it is remembered.
    pub known: Option<Known>,
    /// What becomes of its first packet; of UDP, of any.
    pub first: Becomes,
    /// What becomes of a later one.
    pub later: Becomes,
    /// Whom its packets may come to, in that order.
    pub next: Vec<Next>,
}

/// A node that packets of the flow may come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Next {
    pub name: NodeName,
    pub role: Role,
    /// Its tunnel address, where it also answers questions.
    pub address: IpAddr,
    /// Packets that this router has sent there, of all flows.
    pub packets: u64,
}

/// The route that decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The client's class; null: one that has no route of its own for this.
    pub class: Option<ClassName>,
    /// To what; null: whatever no route names.
    pub service: Option<Service>,
    /// Which fields choose the slot.
    pub key: KeyMask,
    pub ring: u32,
    /// Null: the ring is empty.
    pub slot: Option<u32>,
    pub slots: Option<u32>,
    /// Whom the slot has and had, the newest first.
    pub hosts: Vec<Candidate>,
    /// Who gets a new connection that the first one refuses.
    pub second: Option<Candidate>,
}

/// A host of the slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    pub host: NodeName,
    /// Packets are sent there.
    pub up: bool,
    /// Its last keepalives have no answer: new connections pass by it.
    pub doubted: bool,
    /// Its state for the flow's service, and why.
    pub state: Option<ServiceState>,
    pub reason: Option<String>,
}

/// A flow that is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Known {
    /// Null: its host is gone or was down since, so that it is placed anew.
    pub host: Option<NodeName>,
    /// Else it has not shown two ends yet.
    pub pinned: bool,
    /// Since its last packet; the clock advances each five seconds.
    pub idle_s: u32,
    /// The client has sent FIN or RST.
    pub closing: bool,
    /// Another member of the cluster told of it.
    pub mirrored: bool,
    /// Its host has not claimed it yet.
    pub guess: bool,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Becomes {
    /// As `show counters` has it.
    pub reason: String,
    pub verdict: String,
    pub meaning: String,
    /// What usually helps, of drops.
    pub remedy: Option<String>,
    /// Packets that have ended with it so far, of all flows.
    pub packets: u64,
    /// Who gets it, one after the other until somebody has the flow.
    pub hosts: Vec<NodeName>,
}

impl Becomes {
    fn new(step: Step, packets: u64) -> Self {
        let remedy = (step.reason.verdict() == Verdict::Drop).then(|| remedies::remedy(step.reason)).flatten();
        Self {
            reason: step.reason.name().to_owned(),
            verdict: step.reason.verdict().as_str().to_owned(),
            meaning: step.reason.meaning().to_owned(),
            remedy: remedy.map(str::to_owned),
            packets,
            hosts: step.hosts,
        }
    }
}

/// The daemon's side.
pub fn answer(flow: FlowKey, core: &Core<Router>) -> Result<Trace> {
    let found = core.plane().trace(&flow).context("the tables cannot be read")?;
    let settings = &core.in_force().context("no configuration is in force yet")?.settings;
    let counters: BTreeMap<_, _> = core.plane().reasons()?.into_iter().collect();
    let packets = |step: &Step| counters.get(&step.reason).map_or(0, |counter| counter.packets);
    let (first, later) = (packets(&found.first), packets(&found.later));
    let subnet = found.subnet.and_then(|prefix| settings.subnets.iter().find(|subnet| subnet.prefix == prefix));
    let candidate = |hop: TracedHop| {
        let host = core.fleet().registry().host(hop.name.as_str());
        let services: Vec<_> = host.iter().flat_map(|host| host.services()).collect();
        // What the host says of this service, or of everything that it does not name.
        let is_of_flow = |wanted: Option<u16>| {
            services.iter().find(|service| {
                let key = service.key();
                Some(key.subnet) == found.subnet
                    && key.service.map(|service| service.port.get()) == wanted
                    && key.service.is_none_or(|service| service.protocol == flow.protocol())
            })
        };
        let service = is_of_flow(Some(flow.virtual_host().port())).or_else(|| is_of_flow(None));
        Candidate {
            host: hop.name,
            up: hop.up,
            doubted: hop.doubted,
            state: service.map(|service| service.state()),
            reason: service.map(|service| service.reason().to_string()),
        }
    };
    let route = found.route.map(|route| Route {
        class: route.class,
        service: route.service,
        key: route.key,
        ring: route.ring,
        slot: route.slot.map(|(slot, _)| slot),
        slots: route.slot.map(|(_, slots)| slots),
        hosts: route.hosts.into_iter().map(candidate).collect(),
        second: route.second.map(candidate),
    });
    let known = found.known.map(|known| Known {
        host: known.hop.map(|hop| hop.name),
        pinned: known.pinned,
        idle_s: known.idle_s,
        closing: known.closing,
        mirrored: known.mirrored,
        guess: known.guess,
    });
    let (first, later) = (Becomes::new(found.first, first), Becomes::new(found.later, later));
    Ok(Trace {
        router: settings.name.clone(),
        flow,
        subnet: found.subnet,
        orphan: subnet.map(|subnet| subnet.orphan),
        route,
        known,
        next: next(core, settings.tier.into(), [&first, &later].into_iter().flat_map(|step| &step.hosts))?,
        first,
        later,
    })
}

/// Whom packets go to: each once, with the way to ask it. A node without a session is another router of this tier.
fn next<'a>(core: &Core<Router>, own: Role, names: impl Iterator<Item = &'a NodeName>) -> Result<Vec<Next>> {
    let hops: BTreeMap<IpAddr, u64> =
        core.plane().hops()?.into_iter().map(|hop| (hop.address, hop.usage.packets)).collect();
    let mut next: Vec<Next> = Vec::new();
    for name in names {
        let Some(hop) = core.hops().iter().find(|hop| hop.name == *name) else { continue };
        if next.iter().all(|known| known.name != *name) {
            let host = core.fleet().registry().host(name.as_str());
            let is_listed = core.in_force().is_some_and(|loaded| loaded.hosts.iter().any(|host| host.name == *name));
            next.push(Next {
                name: name.clone(),
                role: host.map_or(if is_listed { Role::Host } else { own }, |host| host.role()),
                address: hop.address,
                packets: hops.get(&hop.address).copied().unwrap_or_default(),
            });
        }
    }
    Ok(next)
}

/// Asks the daemon and then, in turn, whom the flow goes to, and prints their answers; with `--watch` the daemon again and again.
pub fn run(options: &Options) -> Result<()> {
    let flow = FlowKey::new(options.client, options.virtual_host, options.protocol)?;
    let ask = || admin::request::<Trace>(&options.output.socket, &Request::Trace { flow });
    let trace = ask()?;
    if let Some(seconds) = options.watch {
        return watch(trace, Duration::from_secs(seconds), ask, options.output.json);
    }
    let asked = if options.here { Vec::new() } else { follow::follow(&trace, &options.config) };
    let followed = follow::Followed { trace, asked };
    print(if options.output.json { serde_json::to_string_pretty(&followed)? } else { followed.to_string() });
    Ok(())
}

/// Tells what changes, and each second how many packets went the flow's ways.
fn watch(
    mut last: Trace,
    period: Duration,
    ask: impl Fn() -> Result<Trace, admin::AdminError>,
    json: bool,
) -> Result<()> {
    let tell = |trace: &Trace| -> Result<()> {
        print(if json { serde_json::to_string_pretty(trace)? } else { text::text(trace) });
        Ok(())
    };
    tell(&last)?;
    let (begun, mut told) = (Instant::now(), (Instant::now(), last.clone()));
    while begun.elapsed() < period {
        sleep(LOOK_EVERY);
        let now = ask()?;
        let is_changed = now.without_counters() != last.without_counters();
        if !json && told.0.elapsed() >= RATE_EVERY {
            println!("{:.1} s: {}", begun.elapsed().as_secs_f64(), text::rates(&told.1, &now, told.0.elapsed()));
            told = (Instant::now(), now.clone());
        }
        if is_changed {
            if !json {
                println!("\nafter {:.1} s", begun.elapsed().as_secs_f64());
            }
            tell(&now)?;
        }
        last = now;
    }
    Ok(())
}

impl Trace {
    /// What matters when two are compared: counters go on by themselves.
    fn without_counters(&self) -> Self {
        let mut trace = self.clone();
        (trace.first.packets, trace.later.packets) = (0, 0);
        trace.next.iter_mut().for_each(|next| next.packets = 0);
        trace
    }
}
