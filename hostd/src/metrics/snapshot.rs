//! What the loop knows at a moment. Fields that nothing is known of stay empty: their families are then not on the page.

use std::time::Duration;

use slr_model::{Loads, NodeName, ServiceKey, VirtualSubnet};

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Packets and bytes by reason, every reason.
    pub reasons: Vec<Reason>,
    /// Traffic by virtual subnet.
    pub subnets: Vec<Subnet>,
    /// Every service.
    pub services: Vec<Service>,
    /// Every health check.
    pub checks: Vec<Check>,
    /// Load values of the host as a whole.
    pub loads: Loads,
    /// Load sources that failed, by name of the value.
    pub load_failures: Vec<(String, u64)>,
    /// Every parent, and what the session with it is: one of [`SESSION_STATES`].
    pub sessions: Vec<(NodeName, &'static str)>,
    /// Connections that failed, by reason: refused certificates, refused hellos, no answer.
    pub handshakes_failed: Vec<(&'static str, u64)>,
    /// Messages that were not taken, by reason.
    pub messages_bad: Vec<(&'static str, u64)>,
    /// Flows that stall, and echoes.
    pub recovery: Recovery,
    /// It is to be drained.
    pub is_draining: bool,
    /// Flows that it still has, all services together.
    pub flows: u64,
    /// Configuration.
    pub config: Config,
    /// The control loop.
    pub control: Control,
    /// When certificates and the revocation list end: `own`, `ca`, `crl`, in Unix seconds.
    pub certificates: Vec<(&'static str, u64)>,
}

/// Flows whose clients fell silent.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// By what became of them.
    pub stalls: Vec<(&'static str, u64)>,
    /// Echo requests, by what became of them.
    pub echoes: Vec<(&'static str, u64)>,
    /// Flows that speak.
    pub watched: u64,
    /// Time that looking for stalls took.
    pub swept_for: Duration,
    /// Of the newest keys; 0: none.
    pub key_epoch: u64,
}

/// States that a host says of its services.
pub const SERVICE_STATES: [&str; 3] = ["active", "draining", "down"];

/// What a session with a parent can be.
pub const SESSION_STATES: [&str; 4] = ["waiting", "connecting", "connected", "unheard"];

/// What ended with a reason.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    pub reason: &'static str,
    /// `forward`, `reply`, `pass` or `drop`.
    pub verdict: &'static str,
    pub packets: u64,
    pub bytes: u64,
}

/// A virtual subnet's traffic, both ways: replies leave from here and pass no router.
#[derive(Clone, Copy, Debug)]
pub struct Subnet {
    pub subnet: VirtualSubnet,
    /// `None`: nobody said.
    pub account: Option<u32>,
    pub received_packets: u64,
    pub received_bytes: u64,
    pub sent_packets: u64,
    pub sent_bytes: u64,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    pub key: ServiceKey,
    /// One of [`SERVICE_STATES`].
    pub state: &'static str,
    /// How long it has been in this state.
    pub state_age: Duration,
    /// Flows it has.
    pub flows: u64,
    /// Load values of the service alone.
    pub loads: Loads,
}

/// A health check.
#[derive(Clone, Debug)]
pub struct Check {
    pub key: ServiceKey,
    /// `tcp`, `http`, `udp` or `command`.
    pub check: &'static str,
    pub is_healthy: bool,
    pub successes: u64,
    pub failures: u64,
    /// How long the last one took.
    pub took: Option<Duration>,
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
}
