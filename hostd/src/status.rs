//! What the daemon answers on its admin socket, and the questions. Both ends of the socket are this program.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use slr_model::VirtualSubnet;

/// A question, one JSON line: `{"show": "subnets"}` or `"reload"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Tell.
    Show(Topic),
    /// Read the configuration again.
    Reload,
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
}

/// A virtual subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Somebody whose tunnels are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its prefix.
    pub prefix: IpNet,
    /// Names of the routers and hosts that it stands for.
    pub names: Vec<String>,
    /// May send tunnels and keepalives.
    pub router: bool,
    /// May send chains, and chains may go on to it.
    pub site_host: bool,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Newly served.
    pub subnets_added: Vec<VirtualSubnet>,
    /// No longer served.
    pub subnets_removed: Vec<VirtualSubnet>,
    /// Peers that are new or may do something else now.
    pub peers_changed: Vec<IpNet>,
    /// Peers that are gone.
    pub peers_removed: Vec<IpNet>,
}
