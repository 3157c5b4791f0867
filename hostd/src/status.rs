//! What the daemon answers on its admin socket, and the questions. Both ends of the socket are this program.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slr_model::{FlowKey, Loads, NodeName, ServiceKey, VirtualSubnet};

use crate::drain::{Cause, Phase};

/// A question, one JSON line: `{"show": "subnets"}`, `"reload"`, `"drain"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Tell.
    Show(Topic),
    /// Say what becomes of a flow. Answered with a [`HostTrace`](slr_model::HostTrace).
    Trace {
        /// Which.
        flow: FlowKey,
    },
    /// Read the configuration again.
    Reload,
    /// Take no new flows from now on. Answered with a [`Drained`].
    Drain,
    /// Take new flows again. Answered with a [`Drained`].
    Undrain,
    /// Try whether echoes from virtual addresses are answered. Answered with a list of [`WayOut`].
    TryWays {
        /// By whom: an address outside that answers echoes.
        toward: IpAddr,
    },
    /// Have packets captured. Answered with a [`Standing`](slr_capture::Standing).
    Capture(slr_capture::Order),
}

/// What to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A list of [`Subnet`].
    Subnets,
    /// A list of [`Interface`].
    Interfaces,
    /// A list of [`Counter`].
    Counters,
    /// A list of [`Peer`].
    Peers,
    /// A list of [`Session`].
    Sessions,
    /// A list of [`Service`].
    Services,
    /// A list of [`Load`].
    Load,
    /// A list of [`Check`].
    Health,
    /// A [`Drained`].
    Drain,
    /// A [`Recovery`](crate::recovery::Recovery).
    Recovery,
}

/// What became of an echo from a virtual subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayOut {
    /// Which.
    pub subnet: VirtualSubnet,
    /// The virtual address that it was sent from.
    pub from: IpAddr,
    /// This machine's own address, from which it was sent as well; `None`: it has none of this family.
    pub own: Option<IpAddr>,
    /// And.
    pub outcome: WayOutcome,
}

/// See [`WayOut`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayOutcome {
    /// A router has sent the answer on to this host.
    Answered,
    /// No answer came to the virtual address, and one to this machine's own.
    Withheld,
    /// No answer came at all.
    Silent,
    /// No router has granted a key, so none would take the answer.
    NoKey,
    /// The kernel did not send it.
    Unsendable(String),
}

/// A virtual subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subnet {
    /// Its name.
    pub name: String,
    /// The range.
    pub prefix: VirtualSubnet,
    /// Its virtual-subnet interface.
    pub interface: String,
    /// Datagrams delivered out of tunnels.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Datagrams sent directly.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
}

/// An interface at which tunnels arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// `native` or `generic`.
    pub xdp: String,
    /// The program is there.
    pub attached: bool,
    /// Tunnel addresses of this host.
    pub tunnel_addresses: Vec<IpAddr>,
    /// Largest MSS of replies, IPv4.
    pub mss_v4: u16,
    /// Largest MSS of replies, IPv6.
    pub mss_v6: u16,
}

/// A reason and what ended with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counter {
    /// Its stable name.
    pub reason: String,
    /// `pass`, `drop`, `forward` or `reply`.
    pub verdict: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// For people.
    pub meaning: String,
    /// What usually helps; drops only.
    #[serde(default)]
    pub remedy: Option<String>,
}

/// Somebody whose tunnels are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its prefix.
    #[schemars(with = "String")]
    pub prefix: IpNet,
    /// Names of the routers and hosts that it stands for.
    pub names: Vec<String>,
    /// May send tunnels and keepalives.
    pub router: bool,
    /// May send chains, and chains may go on to it.
    pub site_host: bool,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Newly served.
    pub subnets_added: Vec<VirtualSubnet>,
    /// No longer served.
    pub subnets_removed: Vec<VirtualSubnet>,
    /// Peers that are new or may do something else now.
    #[schemars(with = "Vec<String>")]
    pub peers_changed: Vec<IpNet>,
    /// Peers that are gone.
    #[schemars(with = "Vec<String>")]
    pub peers_removed: Vec<IpNet>,
}

/// The session with a parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// The router.
    pub parent: NodeName,
    /// `connecting`, `connected`, `unheard` (it does not acknowledge) or `refused`.
    pub state: String,
    /// How long it has been so.
    pub state_age_ms: u64,
    /// Why it is not connected, or is refused; empty if all is well.
    pub reason: String,
    /// How often the parent wants adverts.
    pub advert_interval_ms: Option<u32>,
    /// Prefixes that its tunnels come from, as it says and its certificate allows.
    #[schemars(with = "Vec<String>")]
    pub tunnel_sources: Vec<IpNet>,
    /// It knows that this host drains.
    pub knows_drain: bool,
}

/// A service of this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// Which.
    pub key: ServiceKey,
    /// What the host says of it: `active`, `draining` or `down`.
    pub state: String,
    /// How long it has said so; `None`: it has not spoken yet.
    pub state_age_ms: Option<u64>,
    /// Why.
    pub reason: String,
    /// Connections that it has.
    pub flows: u64,
    /// Its share beside other hosts.
    pub weight: u16,
    /// Load values of its own.
    pub loads: Loads,
}

/// A load value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// Its name.
    pub name: String,
    /// Where it comes from, or the expression.
    pub source: String,
    /// The value, unless it is unknown.
    pub value: Option<f64>,
    /// How old it is.
    pub age_ms: Option<u64>,
    /// Why it is unknown, or why the last reading failed.
    pub problem: String,
}

impl From<crate::load::Row> for Load {
    fn from(row: crate::load::Row) -> Self {
        let crate::load::Row { name, source, value, age_ms, problem } = row;
        Self { name, source, value, age_ms, problem }
    }
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The service that is checked.
    pub key: ServiceKey,
    /// `tcp`, `http`, `udp` or `command`.
    pub kind: String,
    /// The virtual address it is checked at.
    pub address: IpAddr,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// What the last tries failed with.
    pub reason: String,
    /// Tries that succeeded.
    pub successes: u64,
    /// Tries that failed.
    pub failures: u64,
    /// How long the last one took.
    pub took_us: Option<u64>,
}

/// How far a drain is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drained {
    /// Where it stands.
    pub phase: Phase,
    /// Why this host drains, if it does.
    pub cause: Option<Cause>,
    /// Connections that are left, all services together.
    pub flows: u64,
    /// Connected routers that have not acknowledged.
    pub unheard: Vec<NodeName>,
    /// Routers that are not connected: they were not told, and see silence.
    pub unconnected: Vec<NodeName>,
    /// Why connections cannot be counted; empty if they can. Then nothing is ever safe.
    pub problem: String,
}
