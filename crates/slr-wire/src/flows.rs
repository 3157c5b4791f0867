//! Flows in messages: records of fixed length, packed, since there are many.
//!
//! Client address, virtual address, client port, virtual port (network order), protocol: 13 bytes of an IPv4 flow, 37 of
//! an IPv6 flow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use slr_model::{FlowKey, Protocol};

use crate::DecodeError;
use crate::field::{Field, invalid};

const V4_LEN: usize = 4 + 4 + 2 + 2 + 1;
const V6_LEN: usize = 16 + 16 + 2 + 2 + 1;

/// Flows of both families, packed.
#[derive(Default)]
pub(crate) struct Packed {
    pub v4: Vec<u8>,
    pub v6: Vec<u8>,
}

impl Packed {
    pub fn push(&mut self, flow: &FlowKey) {
        let (client, virtual_host) = (flow.client(), flow.virtual_host());
        let into = match (client.ip(), virtual_host.ip()) {
            (IpAddr::V4(client), IpAddr::V4(address)) => {
                self.v4.extend(client.octets());
                self.v4.extend(address.octets());
                &mut self.v4
            }
            (client, address) => {
                // A flow's ends are of one family: both are IPv6.
                self.v6.extend(v6(client).octets());
                self.v6.extend(v6(address).octets());
                &mut self.v6
            }
        };
        into.extend(client.port().to_be_bytes());
        into.extend(virtual_host.port().to_be_bytes());
        into.push(flow.protocol().number());
    }

    /// Bytes that a flow takes.
    pub fn len_of(flow: &FlowKey) -> usize {
        if flow.is_ipv4() { V4_LEN } else { V6_LEN }
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// How many flows are in these bytes, before anything is kept of them.
pub(crate) fn count(field: Field, v4: &[u8], v6: &[u8]) -> Result<usize, DecodeError> {
    for (bytes, len) in [(v4, V4_LEN), (v6, V6_LEN)] {
        if bytes.len() % len != 0 {
            return Err(invalid(field, format!("{} bytes are no flows of {len} bytes each", bytes.len())));
        }
    }
    Ok(v4.len() / V4_LEN + v6.len() / V6_LEN)
}

/// The flows in these bytes, IPv4 first. [`count`] has looked at their lengths.
pub(crate) fn read(field: Field, v4: &[u8], v6: &[u8]) -> Result<Vec<FlowKey>, DecodeError> {
    let v4 = v4.chunks_exact(V4_LEN).map(|record| {
        let (addresses, rest) = record.split_at(8);
        let address = |at: usize| Ipv4Addr::new(addresses[at], addresses[at + 1], addresses[at + 2], addresses[at + 3]);
        flow(field, address(0).into(), address(4).into(), rest)
    });
    let v6 = v6.chunks_exact(V6_LEN).map(|record| {
        let (addresses, rest) = record.split_at(32);
        let address = |bytes: &[u8]| Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("half of 32 bytes"));
        let (client, virtual_address) = (address(&addresses[..16]), address(&addresses[16..]));
        if let Some(mapped) = [client, virtual_address].iter().find(|address| address.to_ipv4_mapped().is_some()) {
            return Err(invalid(field, format!("{mapped} is an IPv4 address in an IPv6 flow")));
        }
        flow(field, client.into(), virtual_address.into(), rest)
    });
    v4.chain(v6).collect()
}

/// `rest`: both ports and the protocol.
fn flow(field: Field, client: IpAddr, address: IpAddr, rest: &[u8]) -> Result<FlowKey, DecodeError> {
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let (client, virtual_host) = (SocketAddr::new(client, port(0)), SocketAddr::new(address, port(2)));
    if client.port() == 0 || virtual_host.port() == 0 {
        return Err(invalid(field, format!("{client} to {virtual_host}: no flow has port 0")));
    }
    let protocol = Protocol::from_number(rest[4])
        .ok_or_else(|| invalid(field, format!("protocol {} is neither TCP nor UDP", rest[4])))?;
    FlowKey::new(client, virtual_host, protocol).map_err(|error| invalid(field, error))
}
