//! What a host tells a router of its flows by way of their client: the data of an echo, which the client returns unchanged
//! (docs/wire.md, "The augmented echo").
//!
//! ```text
//! host ── FlowAdvert::echo_request(key) ──► client ── the same data ──► router: in_reply, decode, key, is_authentic
//! ```
//!
//! `struct flow_advert` of the data plane's `abi.h` is the same 280 bytes.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use slr_model::{FlowKey, KeyMask, NodeName, Protocol};

use crate::flow_keys::{AdvertKey, EpochMaster, KEY_LEN, NODE_LEN, mapped, padded, unmapped};

mod echo;
mod error;
#[cfg(test)]
mod tests;

pub use error::FlowAdvertError;

/// "SLRA": what follows the ordinary data of an echo is an advertisement.
const MAGIC: [u8; 4] = *b"SLRA";
/// Version of the format.
const VERSION: u8 = 1;
/// The kind of tunnel that the server takes: IP in IP, which has no port.
const TUNNEL_IPIP: u8 = 1;
/// Bytes of a flow: its ports, its protocol, three zeros.
const FLOW_LEN: usize = 8;

// Where things are.
const EPOCH: usize = 8;
const TUNNEL_PORT: usize = 14;
const SERIAL: usize = 16;
const CLIENT: usize = 24;
const VIRTUAL_ADDRESS: usize = 40;
const SERVER: usize = 56;
const NODE: usize = 72;
const FLOWS: usize = NODE + NODE_LEN;
const MAC: usize = FLOWS + FlowAdvert::FLOWS_MAX * FLOW_LEN;

/// Flows between one client and one virtual address, and which server has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowAdvert {
    /// The client, of the virtual address's family.
    pub client: IpAddr,
    /// The address that it speaks with.
    pub virtual_address: IpAddr,
    /// Length of the virtual subnet's prefix that the key is for, in bits of its own family.
    pub prefix_len: u8,
    /// Where the server takes tunnels, of either family.
    pub server: IpAddr,
    /// The server's name.
    pub node: NodeName,
    /// Epoch of the key.
    pub epoch: u32,
    /// Greater for each echo that the host sends, so that no two have the same bytes.
    pub serial: u64,
    /// The parts of a flow's key that tell flows apart: all of them.
    pub mask: KeyMask,
    /// Client's port, port at the virtual address, protocol: 1 to [`FlowAdvert::FLOWS_MAX`], no port 0.
    pub flows: Vec<(u16, u16, Protocol)>,
}

impl FlowAdvert {
    /// Its bytes, MAC included.
    pub const LEN: usize = MAC + KEY_LEN;
    /// Flows that one has room for.
    pub const FLOWS_MAX: usize = 16;

    /// The bytes, signed with the key that a router granted for this node, server address, subnet and epoch.
    pub fn encode(&self, key: &AdvertKey) -> Result<[u8; Self::LEN], FlowAdvertError> {
        self.check()?;
        let mut bytes = [0; Self::LEN];
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        let family = if self.client.is_ipv4() { 4 } else { 6 };
        put(0, &MAGIC);
        put(4, &[VERSION, family, self.flows.len() as u8, self.prefix_len]);
        put(EPOCH, &self.epoch.to_be_bytes());
        put(12, &[self.mask.bits(), TUNNEL_IPIP]);
        put(SERIAL, &self.serial.to_be_bytes());
        put(CLIENT, &mapped(self.client));
        put(VIRTUAL_ADDRESS, &mapped(self.virtual_address));
        put(SERVER, &mapped(self.server));
        put(NODE, &padded(&self.node));
        for (index, (client_port, virtual_port, protocol)) in self.flows.iter().enumerate() {
            let at = FLOWS + index * FLOW_LEN;
            put(at, &client_port.to_be_bytes());
            put(at + 2, &virtual_port.to_be_bytes());
            put(at + 4, &[protocol.number()]);
        }
        let mac = key.mac(&bytes[..MAC]);
        bytes[MAC..].copy_from_slice(&mac);
        Ok(bytes)
    }

    /// Reads the bytes; whether they are the server's own, [`FlowAdvert::is_authentic`] says.
    pub fn decode(bytes: &[u8]) -> Result<Self, FlowAdvertError> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| FlowAdvertError::Length { found: bytes.len() })?;
        if bytes[..4] != MAGIC {
            return Err(FlowAdvertError::Magic);
        }
        if bytes[4] != VERSION {
            return Err(FlowAdvertError::Version(bytes[4]));
        }
        let port = u16::from_be_bytes([bytes[TUNNEL_PORT], bytes[TUNNEL_PORT + 1]]);
        if (bytes[13], port) != (TUNNEL_IPIP, 0) {
            return Err(FlowAdvertError::Tunnel { kind: bytes[13], port });
        }
        let address = |at: usize| unmapped(bytes[at..at + 16].try_into().expect("16 bytes"));
        let advert = Self {
            client: address(CLIENT),
            virtual_address: address(VIRTUAL_ADDRESS),
            prefix_len: bytes[7],
            server: address(SERVER),
            node: node(&bytes[NODE..FLOWS])?,
            epoch: u32::from_be_bytes(bytes[EPOCH..EPOCH + 4].try_into().expect("4 bytes")),
            serial: u64::from_be_bytes(bytes[SERIAL..SERIAL + 8].try_into().expect("8 bytes")),
            mask: KeyMask::from_bits(bytes[12]).ok_or(FlowAdvertError::Mask(bytes[12]))?,
            flows: flows(bytes[6], &bytes[FLOWS..MAC])?,
        };
        if bytes[5] != if advert.client.is_ipv4() { 4 } else { 6 } {
            return Err(FlowAdvertError::Family(bytes[5]));
        }
        advert.check()?;
        Ok(advert)
    }

    /// Whether these bytes were signed with that key.
    pub fn is_authentic(bytes: &[u8; Self::LEN], key: &AdvertKey) -> bool {
        let (signed, mac) = bytes.split_last_chunk().expect("it is longer than its MAC");
        key.is_mac(signed, mac)
    }

    /// The key that it is signed with, if it is the server's own. `master` is that of its epoch.
    pub fn key(&self, master: &EpochMaster) -> AdvertKey {
        master.key(&self.node, self.server, self.subnet())
    }

    /// The virtual subnet that its key is for.
    pub fn subnet(&self) -> IpNet {
        let net = IpNet::new(self.virtual_address, self.prefix_len).expect("lengths were checked where it was made");
        net.trunc()
    }

    /// The flows.
    pub fn flow_keys(&self) -> impl Iterator<Item = FlowKey> {
        self.flows.iter().map(|&(client_port, virtual_port, protocol)| {
            let (client, at) = (self.client, self.virtual_address);
            let ends = (SocketAddr::new(client, client_port), SocketAddr::new(at, virtual_port));
            FlowKey::new(ends.0, ends.1, protocol).expect("families were checked where it was made")
        })
    }

    fn check(&self) -> Result<(), FlowAdvertError> {
        let is_mapped = |address: IpAddr| address != address.to_canonical();
        if self.client.is_ipv4() != self.virtual_address.is_ipv4() {
            return Err(FlowAdvertError::Family(if self.client.is_ipv4() { 4 } else { 6 }));
        }
        let nobody = |a: &IpAddr| a.is_unspecified() || a.is_multicast() || a.is_loopback() || is_mapped(*a);
        if let Some(bad) = [self.client, self.virtual_address, self.server].into_iter().find(nobody) {
            return Err(FlowAdvertError::Address(bad));
        }
        if IpNet::new(self.virtual_address, self.prefix_len).is_err() {
            return Err(FlowAdvertError::PrefixLen(self.prefix_len));
        }
        if self.mask != KeyMask::ALL {
            return Err(FlowAdvertError::Mask(self.mask.bits()));
        }
        if self.flows.is_empty() || self.flows.len() > Self::FLOWS_MAX {
            return Err(FlowAdvertError::Count(self.flows.len()));
        }
        match self.flows.iter().enumerate().find(|(_, (from, to, _))| *from == 0 || *to == 0) {
            None => Ok(()),
            Some((index, &(client_port, virtual_port, protocol))) => {
                Err(FlowAdvertError::Flow { index, client_port, virtual_port, protocol: protocol.number() })
            }
        }
    }
}

/// The name in these bytes, which ends at the first zero.
fn node(bytes: &[u8]) -> Result<NodeName, FlowAdvertError> {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    if bytes[len..].iter().any(|byte| *byte != 0) {
        return Err(FlowAdvertError::Padding);
    }
    let text = std::str::from_utf8(&bytes[..len]).map_err(|error| FlowAdvertError::Node(error.to_string()))?;
    text.parse().map_err(|error: slr_model::NodeNameError| FlowAdvertError::Node(error.to_string()))
}

/// The first `count` of these flows; the others are zero.
fn flows(count: u8, bytes: &[u8]) -> Result<Vec<(u16, u16, Protocol)>, FlowAdvertError> {
    let count = usize::from(count);
    if count > FlowAdvert::FLOWS_MAX {
        return Err(FlowAdvertError::Count(count));
    }
    let (told, rest) = bytes.split_at(count * FLOW_LEN);
    if rest.iter().any(|byte| *byte != 0) {
        return Err(FlowAdvertError::Padding);
    }
    let read = |(index, flow): (usize, &[u8])| {
        if flow[5..].iter().any(|byte| *byte != 0) {
            return Err(FlowAdvertError::Padding);
        }
        let (from, to) = (u16::from_be_bytes([flow[0], flow[1]]), u16::from_be_bytes([flow[2], flow[3]]));
        match Protocol::from_number(flow[4]) {
            Some(protocol) => Ok((from, to, protocol)),
            None => Err(FlowAdvertError::Flow { index, client_port: from, virtual_port: to, protocol: flow[4] }),
        }
    };
    told.chunks_exact(FLOW_LEN).enumerate().map(read).collect()
}
