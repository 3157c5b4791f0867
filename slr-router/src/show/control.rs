//! Answers about the control plane: sessions, states, policy, alarms. As JSON and in memory alike.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slr_model::{ClassName, HostState, Loads, NodeName, Role, ServiceKey, Weight};
use slr_policy::{HostReport, RingReport};
use slr_session::registry::{ContactView, HostView, PathView, ServiceState, ServiceView};

use crate::daemon::{Core, Loaded};
use crate::fleet::Fleet;

/// A child of this router, with its session if it has one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Session {
    pub name: NodeName,
    pub role: Role,
    pub tunnels: Vec<IpAddr>,
    /// Where the connection comes from; null: there is none.
    pub remote: Option<SocketAddr>,
    pub connected_s: Option<f64>,
    /// Which start of its process, and which connection of that.
    pub session: String,
    pub software: String,
    /// `heard`, `fading`, `adopted` or `silent`.
    pub contact: String,
    /// Since its last advert.
    pub heard_s: Option<f64>,
    /// Why it is not heard, if so.
    pub problem: Option<String>,
    /// `unknown`, `assumed`, `alive` or `lost`.
    pub path: String,
    pub rtt_us: Option<u32>,
    /// Part of the keepalives that were lost, 0 to 1.
    pub loss: Option<f64>,
}

/// Every child.
pub fn sessions(fleet: &Fleet, now: Instant) -> Vec<Session> {
    fleet.registry().hosts().map(|host| session(&host, now)).collect()
}

pub fn session(host: &HostView, now: Instant) -> Session {
    let ago = |then: Instant| seconds(now, then);
    let (contact, problem) = match host.contact() {
        ContactView::Heard => ("heard", None),
        ContactView::Fading { why, .. } => ("fading", Some(why)),
        ContactView::Adopted { .. } => ("adopted", None),
        ContactView::Silent { why, .. } => ("silent", Some(why)),
    };
    let (path, rtt_us, loss) = match host.path() {
        PathView::Unknown => ("unknown", None, None),
        PathView::Assumed => ("assumed", None, None),
        PathView::Alive { rtt_us, loss, .. } => ("alive", Some(rtt_us), Some(loss)),
        PathView::Lost { .. } => ("lost", None, Some(1.0)),
    };
    Session {
        name: host.name().clone(),
        role: host.role(),
        tunnels: host.tunnels().to_vec(),
        remote: host.connection().map(|(_, remote, _)| remote),
        connected_s: host.connection().map(|(_, _, since)| ago(since)),
        session: host.session().to_string(),
        software: host.version().to_owned(),
        contact: contact.to_owned(),
        heard_s: host.heard_at().map(ago),
        problem: problem.map(str::to_owned),
        path: path.to_owned(),
        rtt_us,
        loss,
    }
}

fn seconds(now: Instant, then: Instant) -> f64 {
    (now.saturating_duration_since(then).as_secs_f64() * 1_000.0).round() / 1_000.0
}

/// A host's state for a service.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct State {
    pub host: NodeName,
    pub service: ServiceKey,
    pub state: ServiceState,
    /// For how long.
    pub for_s: f64,
    pub reason: String,
    /// What the host said last.
    pub said: HostState,
    /// It keeps its place although it is lost, like most hosts of the service.
    pub held: bool,
    pub weight: Weight,
    /// Connections, as the host counts them.
    pub flows: u64,
    pub loads: Loads,
}

/// Every (host, service).
pub fn states(fleet: &Fleet, now: Instant) -> Vec<State> {
    let of_host = |host: HostView| {
        let state = move |service: ServiceView| State {
            host: host.name().clone(),
            service: *service.key(),
            state: service.state(),
            for_s: seconds(now, service.since()),
            reason: service.reason().to_string(),
            said: service.said(),
            held: service.is_held(),
            weight: service.weight(),
            flows: service.flows(),
            loads: service.loads().clone(),
        };
        host.services().map(state).collect::<Vec<_>>()
    };
    fleet.registry().hosts().flat_map(of_host).collect()
}

/// A ring and how its weights came about.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Ring {
    pub service: ServiceKey,
    pub class: Option<ClassName>,
    /// F; null: the weights are those of the hosts file.
    pub cost: Option<String>,
    /// How costs become shares.
    pub policy: String,
    pub slots: u32,
    /// Slots that moved because costs changed, ever, and because hosts came or went.
    pub moved_by_cost: u64,
    pub moved_by_state: u64,
    /// Evaluations whose change the budget held back in part.
    pub clipped: u64,
    pub hosts: Vec<RingHost>,
}

/// A host of a ring.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct RingHost {
    pub host: NodeName,
    pub placed: bool,
    /// What F asked for, as `name=value`.
    pub inputs: Vec<String>,
    pub cost: Option<f64>,
    /// Why it has none.
    pub fault: Option<String>,
    /// The weight that the cost asks for, 100 being an equal share.
    pub target: Option<f64>,
    /// The part of its share that slow start allows.
    pub ramp: f64,
    pub weight: Weight,
    /// Of the ring's new flows, in per cent.
    pub percent: f64,
}

/// Every ring.
pub fn policy<P: crate::daemon::Plane>(core: &Core<P>, loaded: &Loaded) -> Vec<Ring> {
    let fleet = core.fleet();
    let rings = fleet.routes().iter().map(|(key, route)| {
        let spec = fleet.spec(&loaded.settings, key);
        let report = fleet.report(key);
        let total: u32 = route.members.iter().map(|(_, weight)| u32::from(weight.get())).sum();
        let percent = |weight: Weight| (f64::from(weight.get()) * 10_000.0 / f64::from(total.max(1))).round() / 100.0;
        let host = |(name, weight): &(NodeName, Weight)| match report.as_ref().and_then(|report| find(report, name)) {
            Some(found) => weighed(found, percent(*weight)),
            None => written(name, *weight, percent(*weight)),
        };
        let counted = report.clone().unwrap_or_default();
        Ring {
            service: key.service,
            class: key.class.clone(),
            cost: report.is_some().then(|| spec.as_ref().map(|spec| spec.policy.cost.to_string())).flatten(),
            policy: spec.map(|spec| spec.policy.placement.to_string()).unwrap_or_default(),
            slots: counted.slots,
            moved_by_cost: counted.moved_by_cost_total,
            moved_by_state: counted.moved_by_state_total,
            clipped: counted.clipped_total,
            hosts: route.members.iter().map(host).collect(),
        }
    });
    rings.collect()
}

fn find<'a>(report: &'a RingReport, name: &NodeName) -> Option<&'a HostReport> {
    report.hosts.iter().find(|host| host.name == *name)
}

fn weighed(host: &HostReport, percent: f64) -> RingHost {
    let input = |(name, value): &(slr_policy::Variable, Option<f64>)| match value {
        Some(value) => format!("{name}={:.3}", value),
        None => format!("{name}=?"),
    };
    RingHost {
        host: host.name.clone(),
        placed: host.placed,
        inputs: host.inputs.iter().map(input).collect(),
        cost: host.cost,
        fault: host.fault.as_ref().map(ToString::to_string),
        target: Some(host.target),
        ramp: host.ramp,
        weight: host.weight,
        percent,
    }
}

fn written(name: &NodeName, weight: Weight, percent: f64) -> RingHost {
    RingHost {
        host: name.clone(),
        placed: !weight.is_zero(),
        inputs: Vec::new(),
        cost: None,
        fault: None,
        target: None,
        ramp: 1.0,
        weight,
        percent,
    }
}

/// Something that somebody should look at.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
pub struct Alarm {
    /// `vanish`, `name` or `tunnel`.
    pub kind: String,
    pub for_s: f64,
    pub hosts: Vec<NodeName>,
    pub text: String,
}

/// Every alarm that is raised.
pub fn alarms(fleet: &Fleet, now: Instant) -> Vec<Alarm> {
    use slr_session::registry::AlarmKey;
    let alarm = |alarm: &slr_session::registry::Alarm| Alarm {
        kind: match alarm.key {
            AlarmKey::Vanish(_) => "vanish",
            AlarmKey::Name(_) => "name",
            AlarmKey::Tunnel(_) => "tunnel",
        }
        .to_owned(),
        for_s: seconds(now, alarm.since),
        hosts: alarm.names.clone(),
        text: alarm.text.clone(),
    };
    fleet.registry().alarms().map(alarm).collect()
}
