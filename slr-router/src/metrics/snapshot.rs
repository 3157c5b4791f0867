//! What the loop knows at a moment. Fields that nothing is known of stay empty: their families are then not on the page.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use slr_model::{Loads, NodeName, ServiceKey, VirtualSubnet};

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Packets and bytes by reason, every reason.
    pub reasons: Vec<Reason>,
    /// Flows, for IPv4 and IPv6.
    pub flows: Option<[Flows; 2]>,
    /// What went to each next hop.
    pub hops: Vec<Hop>,
    /// What came for each virtual subnet.
    pub subnets: Vec<Subnet>,
    /// Every ring's changes.
    pub rings: Vec<Ring>,
    /// Every host of every service.
    pub services: Vec<HostService>,
    /// Every host's place in every ring.
    pub places: Vec<Place>,
    /// Every host's session and load values.
    pub hosts: Vec<Host>,
    /// Every other router of the cluster and the tier above: name, and whether there is a session.
    pub routers: Vec<(NodeName, bool)>,
    /// Refused at the handshake or the hello, by reason.
    pub handshakes_refused: Vec<(&'static str, u64)>,
    /// Messages that were not taken, by reason.
    pub messages_bad: Vec<(&'static str, u64)>,
    /// Values that an expression wanted and a host did not name, by name.
    pub inputs_missing: Vec<(String, u64)>,
    /// Every target of keepalives.
    pub paths: Vec<Path>,
    /// Keepalives by what became of them, such as [`KEEPALIVE_RESULTS`].
    pub keepalives: Vec<(&'static str, u64)>,
    /// Alarms that stand, by kind; kinds without one too, with 0, so that an alert can tell 0 from unknown.
    pub alarms: Vec<(&'static str, u64)>,
    /// What each virtual subnet is announced as; empty without `[announce]`, like the next two.
    pub announced: Vec<(IpNet, &'static str)>,
    /// How often a subnet became so.
    pub announce_changes: Vec<(&'static str, u64)>,
    /// Whether the kernel's table is not as it should be.
    pub announce_failing: Option<bool>,
    /// Flows brought back, by rung.
    pub recovered: Vec<(&'static str, u64)>,
    /// Claimed flows by what became of them.
    pub claims: Vec<(&'static str, u64)>,
    /// Flows that hosts told of by way of their clients, by what became of them.
    pub adverts: Vec<(&'static str, u64)>,
    /// Connections of hosts that went down, by what was done.
    pub half_open: Vec<(&'static str, u64)>,
    /// Epoch of flow keys, and how often another router told of one that is too far ahead.
    pub flow_epoch: Option<u32>,
    pub flow_epochs_refused: Option<u64>,
    /// The mirror at and of every other router of the cluster.
    pub mirrors: Vec<Mirror>,
    /// New pins that were not told of.
    pub mirror_lost: Option<u64>,
    /// Configuration.
    pub config: Config,
    /// The control loop.
    pub control: Control,
    /// When certificates and the revocation list end: `own`, `ca`, `crl`, in Unix seconds.
    pub certificates: Vec<(&'static str, u64)>,
}

/// Kinds of alarms, as `slr_session` has them.
pub const ALARMS: [&str; 3] = ["vanish", "name", "tunnel"];

/// What becomes of keepalives and answers; in the order of `keepalive::Counts` without `sent`, then `EdgeCounts`.
pub const KEEPALIVE_RESULTS: [&str; 8] =
    ["answered", "unanswered", "late", "duplicate", "forged", "unsendable", "malformed", "read_error"];

/// Levels of announcements.
pub const ANNOUNCED_LEVELS: [&str; 3] = ["normal", "lowered", "withdrawn"];

/// States of a service at a host.
pub const SERVICE_STATES: [&str; 4] = ["active", "draining", "silent", "down"];

/// Whether a host is heard.
pub const SESSION_STATES: [&str; 4] = ["heard", "fading", "adopted", "silent"];

/// What is thought of a path.
pub const PATH_STATES: [&str; 3] = ["unknown", "alive", "lost"];

/// States of a mirror.
pub const MIRROR_STATES: [&str; 3] = ["cold", "lagging", "warm"];

/// The mirror at and of a router.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub router: NodeName,
    pub told: &'static str,
    pub heard: &'static str,
    /// p50, p99 and max; empty if nothing was pinned lately.
    pub lags: Vec<(&'static str, Duration)>,
    pub queue: u64,
    pub flows: Vec<(&'static str, u64)>,
    pub resyncs: u64,
}

/// What ended with a reason.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    pub reason: &'static str,
    /// `forward`, `reply`, `pass` or `drop`.
    pub verdict: &'static str,
    pub packets: u64,
    pub bytes: u64,
}

/// Flows of a family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flows {
    pub pinned: u64,
    /// Not yet proven two-ended; `None`: not counted.
    pub pending: Option<u64>,
    /// How many pinned ones fit.
    pub capacity: u64,
}

/// A next hop's traffic.
#[derive(Clone, Debug)]
pub struct Hop {
    pub host: String,
    pub packets: u64,
    pub bytes: u64,
    pub new_flows: u64,
    /// Resolved and usable.
    pub is_up: bool,
    /// Bytes of the outer datagram that fit.
    pub mtu: u16,
}

/// A virtual subnet's traffic.
#[derive(Clone, Debug)]
pub struct Subnet {
    pub subnet: VirtualSubnet,
    pub account: u32,
    pub packets: u64,
    pub bytes: u64,
    pub new_flows: u64,
}

/// A ring of a service, one for each class of clients.
#[derive(Clone, Debug)]
pub struct Ring {
    pub key: ServiceKey,
    /// `default` where no rule says otherwise.
    pub class: String,
    pub slots: u64,
    /// Slots that changed their host, since the daemon started.
    pub slots_moved: u64,
    /// Evaluations whose change was cut down to the budget.
    pub clipped: u64,
}

/// A service of a host.
#[derive(Clone, Debug)]
pub struct HostService {
    pub host: NodeName,
    pub key: ServiceKey,
    /// One of [`SERVICE_STATES`].
    pub state: &'static str,
    /// How long it has been in this state.
    pub state_age: Duration,
    /// Lost, but keeps its place since most others of the service are lost too.
    pub is_held: bool,
    /// Flows, as the host says.
    pub flows: u64,
    /// Load values of the service alone.
    pub loads: Loads,
}

/// A host in a ring.
#[derive(Clone, Debug)]
pub struct Place {
    pub host: NodeName,
    pub key: ServiceKey,
    pub class: String,
    /// What F says; `None`: it was not evaluated for this host.
    pub cost: Option<f64>,
    /// In the ring now.
    pub weight: u64,
    /// Of the ring's slots, 0 to 1.
    pub share: f64,
}

/// A host's session.
#[derive(Clone, Debug)]
pub struct Host {
    pub host: NodeName,
    /// One of [`SESSION_STATES`].
    pub session: &'static str,
    /// Load values of the host as a whole.
    pub loads: Loads,
}

/// A target of keepalives.
#[derive(Clone, Debug)]
pub struct Path {
    pub host: NodeName,
    pub address: IpAddr,
    /// One of [`PATH_STATES`].
    pub state: &'static str,
    pub rtt_us: Option<u32>,
    pub rtt_us_min: Option<u32>,
    /// 0 to 1.
    pub loss: f64,
}

/// Configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    pub reloads_applied: u64,
    pub reloads_refused: u64,
    /// The last one, or the start, succeeded.
    pub is_last_good: bool,
    /// When what is in force was put in force, in Unix seconds.
    pub in_force_since_s: Option<u64>,
}

/// The control loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Control {
    pub turns: u64,
    /// Time that the turns took, without their waiting.
    pub busy: Duration,
    /// The longest since the snapshot before this.
    pub longest: Duration,
    /// The last evaluation of all policies.
    pub evaluation: Option<Duration>,
}
