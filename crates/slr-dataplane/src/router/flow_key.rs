//! A flow's key in either family: as the kernel has it, and as people read it.

use std::net::{IpAddr, SocketAddr};

use slr_model::{FlowKey, Protocol, Service};

use super::addr;
use crate::abi::{Pod, flow_key_v4, flow_key_v6};

/// What both families' keys have.
pub trait Key: Pod {
    /// The transport protocol's number, and the port at the virtual address.
    fn target(&self) -> Target;
    /// The flow; none if no flow has such a key.
    fn flow(&self) -> Option<FlowKey>;
}

/// What a flow is to: protocol and port, comparable with a service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target(u32);

const TCP: u32 = 6;

impl Target {
    fn new(proto: u32, port: u16) -> Self {
        Self(proto << 16 | u32::from(port))
    }

    /// Whether the flow is one of TCP.
    pub fn is_tcp(self) -> bool {
        self.0 >> 16 == TCP
    }
}

impl From<Service> for Target {
    fn from(service: Service) -> Self {
        Self::new(u32::from(service.protocol.number()), service.port.get())
    }
}

impl Key for flow_key_v4 {
    fn target(&self) -> Target {
        Target::new(self.proto, u16::from_be(self.vport))
    }

    fn flow(&self) -> Option<FlowKey> {
        let address = |word| IpAddr::V4(addr::from_word(word));
        flow(address(self.client), self.client_port, address(self.vaddr), self.vport, self.proto)
    }
}

impl Key for flow_key_v6 {
    fn target(&self) -> Target {
        Target::new(self.proto, u16::from_be(self.vport))
    }

    fn flow(&self) -> Option<FlowKey> {
        let address = |words| IpAddr::V6(addr::from_words(words));
        flow(address(self.client), self.client_port, address(self.vaddr), self.vport, self.proto)
    }
}

impl flow_key_v4 {
    /// The key of an IPv4 flow; none of another.
    pub fn of(flow: &FlowKey) -> Option<Self> {
        let (SocketAddr::V4(client), SocketAddr::V4(to)) = (flow.client(), flow.virtual_host()) else { return None };
        Some(Self {
            client: addr::word(*client.ip()),
            vaddr: addr::word(*to.ip()),
            client_port: client.port().to_be(),
            vport: to.port().to_be(),
            proto: flow.protocol().number().into(),
        })
    }
}

impl flow_key_v6 {
    /// The key of an IPv6 flow.
    pub fn of(flow: &FlowKey) -> Self {
        let (client, to) = (flow.client(), flow.virtual_host());
        Self {
            client: addr::key(client.ip()).word,
            vaddr: addr::key(to.ip()).word,
            client_port: client.port().to_be(),
            vport: to.port().to_be(),
            proto: flow.protocol().number().into(),
        }
    }
}

fn flow(client: IpAddr, client_port: u16, vaddr: IpAddr, vport: u16, proto: u32) -> Option<FlowKey> {
    let protocol = Protocol::from_number(u8::try_from(proto).ok()?)?;
    let end = |address, port| SocketAddr::new(address, u16::from_be(port));
    FlowKey::new(end(client, client_port), end(vaddr, vport), protocol).ok()
}
