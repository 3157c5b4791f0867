//! `slr-router trace`: what the running router does with one flow, and why.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use slr_daemon::admin;
use slr_daemon::output::print;
use slr_dataplane::router::{Router, Step, TracedHop};
use slr_model::{ClassName, FlowKey, KeyMask, NodeName, OrphanPolicy, Protocol, Service, VirtualSubnet};
use slr_session::registry::ServiceState;

use crate::cli::Output;
use crate::daemon::{Core, Request};

/// How often a flow is looked at while it is watched.
const LOOK_EVERY: Duration = Duration::from_millis(200);

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
    /// Go on for so long, and tell what changes.
    #[arg(long, value_name = "SECONDS")]
    watch: Option<u64>,
    #[command(flatten)]
    output: Output,
}

/// What the daemon says of a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
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
}

/// The route that decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Becomes {
    /// As `show counters` has it.
    pub reason: String,
    pub verdict: String,
    pub meaning: String,
    /// Who gets it, one after the other until somebody has the flow.
    pub hosts: Vec<NodeName>,
}

impl From<Step> for Becomes {
    fn from(step: Step) -> Self {
        Self {
            reason: step.reason.name().to_owned(),
            verdict: step.reason.verdict().as_str().to_owned(),
            meaning: step.reason.meaning().to_owned(),
            hosts: step.hosts,
        }
    }
}

/// The daemon's side.
pub fn answer(flow: FlowKey, core: &Core<Router>) -> Result<Trace> {
    let found = core.plane().trace(&flow).context("the tables cannot be read")?;
    let settings = &core.in_force().context("no configuration is in force yet")?.settings;
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
    Ok(Trace {
        flow,
        subnet: found.subnet,
        orphan: subnet.map(|subnet| subnet.orphan),
        route,
        known,
        first: found.first.into(),
        later: found.later.into(),
    })
}

/// Asks the daemon and prints its answer; with `--watch` again and again, as long as it changes.
pub fn run(options: &Options) -> Result<()> {
    let flow = FlowKey::new(options.client, options.virtual_host, options.protocol)?;
    let ask = || admin::request::<Trace>(&options.output.socket, &Request::Trace { flow });
    let tell = |trace: &Trace| -> Result<()> {
        print(if options.output.json { serde_json::to_string_pretty(trace)? } else { text(trace) });
        Ok(())
    };
    let begun = Instant::now();
    let mut last = ask()?;
    tell(&last)?;
    while options.watch.is_some_and(|seconds| begun.elapsed() < Duration::from_secs(seconds)) {
        sleep(LOOK_EVERY);
        let now = ask()?;
        if now != last {
            if !options.output.json {
                println!("\nafter {:.1} s", begun.elapsed().as_secs_f64());
            }
            tell(&now)?;
            last = now;
        }
    }
    Ok(())
}

/// For people.
fn text(trace: &Trace) -> String {
    let mut lines = vec![("flow", trace.flow.to_string())];
    lines.push(match (&trace.subnet, trace.orphan) {
        (Some(subnet), Some(orphan)) => ("subnet", format!("{subnet}, orphan = \"{orphan}\"")),
        (Some(subnet), None) => ("subnet", format!("{subnet}, of a configuration that is not in force any more")),
        (None, _) => ("subnet", "none: the address is in no virtual subnet of this router".to_owned()),
    });
    if let Some(route) = &trace.route {
        let clients = route.class.as_ref().map_or("all clients".to_owned(), |class| format!("clients of {class}"));
        let service = route.service.map_or("whatever no route names".to_owned(), |service| service.to_string());
        let slot = match (route.slot, route.slots) {
            (Some(slot), Some(slots)) => format!("slot {slot} of {slots}, chosen by {}", route.key),
            _ => "which has no host".to_owned(),
        };
        lines.push(("route", format!("{service} for {clients}: ring {}, {slot}", route.ring)));
        let names = ["the slot has", "before that", "before that"];
        for (name, candidate) in names.into_iter().zip(&route.hosts) {
            lines.push((name, of_candidate(candidate)));
        }
        lines.extend(route.second.as_ref().map(|candidate| ("second choice", of_candidate(candidate))));
    } else if trace.subnet.is_some() {
        lines.push(("route", "none: the subnet does not list this protocol and port".to_owned()));
    }
    lines.push(("remembered", trace.known.as_ref().map_or("no".to_owned(), of_known)));
    if trace.first == trace.later {
        lines.push(("next packet", of_step(&trace.first)));
    } else {
        lines.push(("first packet", of_step(&trace.first)));
        lines.push(("later packets", of_step(&trace.later)));
    }
    lines.iter().fold(String::new(), |mut text, (what, value)| {
        let separator = if text.is_empty() { "" } else { "\n" };
        let _ = write!(text, "{separator}{what:<14}{value}");
        text
    })
}

fn of_candidate(candidate: &Candidate) -> String {
    let mut words = vec![if candidate.up { "reached" } else { "packets are not sent there" }.to_owned()];
    if candidate.doubted {
        words.push("in doubt: its last keepalives have no answer".to_owned());
    }
    if let (Some(state), Some(reason)) = (candidate.state, &candidate.reason) {
        words.push(format!("{state} ({reason})"));
    }
    format!("{}: {}", candidate.host, words.join(", "))
}

fn of_known(known: &Known) -> String {
    let Some(host) = &known.host else {
        return "yes, but its host is gone or was down since: it is placed anew".to_owned();
    };
    let mut words = vec![if known.pinned { "pinned" } else { "has not shown two ends yet" }.to_owned()];
    words.push(format!("silent for {} s", known.idle_s));
    let more = [
        (known.closing, "its client has closed it"),
        (known.mirrored, "told by another member of the cluster"),
        (known.guess, "not claimed by its host yet"),
    ];
    words.extend(more.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned()));
    format!("at {host}: {}", words.join(", "))
}

fn of_step(step: &Becomes) -> String {
    let hosts: Vec<&str> = step.hosts.iter().map(NodeName::as_str).collect();
    let to = if hosts.is_empty() { String::new() } else { format!(" to {}", hosts.join(", then ")) };
    format!("{}{to} ({}: {})", step.verdict, step.reason, step.meaning)
}
