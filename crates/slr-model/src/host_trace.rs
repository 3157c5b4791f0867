//! What a host says of one flow, to its own operator and to the routers above that follow the flow to it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FlowKey, HostState, NodeName, Protocol, ServiceKey, VirtualSubnet};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostTrace {
    /// Who answers.
    pub host: NodeName,
    /// Of which flow.
    pub flow: FlowKey,
    /// The virtual subnet that the address is in; null: none of this host's.
    pub subnet: Option<VirtualSubnet>,
    /// What the host says of the service that the flow belongs to.
    pub service: Option<TracedService>,
    /// Who gets the flow's packets.
    pub socket: TracedSocket,
    /// Why it cannot be said who gets them.
    pub problem: Option<String>,
    /// What this host has dropped so far, whoever's it was, the most frequent first.
    pub drops: Vec<TracedDrop>,
}

/// A service, as the host tells the routers of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TracedService {
    /// Which.
    pub service: ServiceKey,
    /// What the host says of it.
    pub state: HostState,
    /// Why.
    pub reason: String,
}

/// A socket, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TracedSocket {
    /// The flow's own: the host has the connection.
    Connected,
    /// It has it, and one side has said that it is over.
    Closing,
    /// One that takes new connections, or anybody's datagrams.
    Listening,
    /// Nobody: a segment draws a reset, a datagram an ICMP error.
    Nobody,
    /// It cannot be said.
    Unknown,
}

/// Packets that were dropped for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TracedDrop {
    /// Its name, as `hostd show counters` has it.
    pub reason: String,
    /// How many.
    pub packets: u64,
    /// For people.
    pub meaning: String,
    /// What usually helps.
    pub remedy: Option<String>,
}

impl TracedSocket {
    /// What becomes of the flow's packets, in a sentence.
    pub fn meaning(self, protocol: Protocol) -> &'static str {
        match (self, protocol) {
            (Self::Connected, _) => "this host has the flow: its socket gets the packets",
            (Self::Closing, _) => "this host has the flow, which is over or nearly so",
            (Self::Listening, Protocol::Tcp) => {
                "a server listens: a first SYN is served, a later segment of this flow draws a reset"
            }
            (Self::Listening, Protocol::Udp) => "a server takes datagrams of all clients, this one's too",
            (Self::Nobody, Protocol::Tcp) => "nobody listens: every segment draws a reset",
            (Self::Nobody, Protocol::Udp) => "nobody listens: every datagram draws port unreachable",
            (Self::Unknown, _) => "the kernel does not say who gets the packets",
        }
    }
}

/// For people: a line for each fact.
impl fmt::Display for HostTrace {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut line = |what: &str, value: &str| writeln!(f, "{what:<14}{value}");
        line("host", self.host.as_str())?;
        match &self.subnet {
            Some(subnet) => line("subnet", &subnet.to_string())?,
            None => line("subnet", "none: this host does not serve the address, and drops what is tunnelled to it")?,
        }
        if let Some(TracedService { service, state, reason }) = &self.service {
            line("service", &format!("{service}: {state} ({reason})"))?;
        } else if self.subnet.is_some() {
            line("service", "none: this host tells the routers of no service that the flow belongs to")?;
        }
        let problem = self.problem.as_ref().map(|problem| format!(" ({problem})")).unwrap_or_default();
        line("socket", &format!("{}{problem}", self.socket.meaning(self.flow.protocol())))?;
        let drops: Vec<String> = self.drops.iter().map(|drop| format!("{} {}", drop.packets, drop.reason)).collect();
        let drops = if drops.is_empty() { "nothing so far".to_owned() } else { drops.join(", ") };
        write!(f, "{:<14}{drops}", "dropped here")
    }
}
