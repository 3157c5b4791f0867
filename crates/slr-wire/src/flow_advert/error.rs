//! What is wrong with an advertisement.

use thiserror::Error;

/// Why bytes, or values, are no advertisement of flows. [`FlowAdvertError::reason`] is the word for counters.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FlowAdvertError {
    /// Not of the one length that there is.
    #[error("{found} bytes, not {}", super::FlowAdvert::LEN)]
    Length {
        /// How many there are.
        found: usize,
    },
    /// Something else.
    #[error("it does not begin with the type identifier of an advertisement")]
    Magic,
    /// A later version's.
    #[error("version {0}: this program reads version {version}", version = super::VERSION)]
    Version(u8),
    /// Client and virtual address are of no family, or of two.
    #[error("client and virtual address are not both of family {0}, or there is no such family")]
    Family(u8),
    /// No flow, or more than there is room for.
    #[error("{0} flows, not 1 to {max}", max = super::FlowAdvert::FLOWS_MAX)]
    Count(usize),
    /// The classifier leaves something out.
    #[error("key mask {0:#x}: version 1 has flows under their whole key")]
    Mask(u8),
    /// A tunnel of another kind.
    #[error("a tunnel of kind {kind}, port {port}: version 1 has IP in IP, port 0")]
    Tunnel {
        /// Its kind.
        kind: u8,
        /// Its port.
        port: u16,
    },
    /// An address that is no node's.
    #[error("{0} is not the address of one node")]
    Address(std::net::IpAddr),
    /// A prefix that is longer than an address of its family.
    #[error("a virtual subnet of {0} bits")]
    PrefixLen(u8),
    /// The name is none.
    #[error("the server's name is none: {0}")]
    Node(String),
    /// A port or protocol that no flow has.
    #[error("flow {index} is none: client port {client_port}, virtual port {virtual_port}, protocol {protocol}")]
    Flow {
        /// Which, from 0.
        index: usize,
        /// The client's port.
        client_port: u16,
        /// The port at the virtual address.
        virtual_port: u16,
        /// Number of the protocol.
        protocol: u8,
    },
    /// What must be zero is not.
    #[error("bytes that stand for nothing are not zero")]
    Padding,
}

impl FlowAdvertError {
    /// One word for counters.
    pub const fn reason(&self) -> &'static str {
        match self {
            FlowAdvertError::Length { .. } => "length",
            FlowAdvertError::Magic => "magic",
            FlowAdvertError::Version(_) => "version",
            FlowAdvertError::Family(_) => "family",
            FlowAdvertError::Count(_) => "count",
            FlowAdvertError::Mask(_) => "mask",
            FlowAdvertError::Tunnel { .. } => "tunnel",
            FlowAdvertError::Address(_) => "address",
            FlowAdvertError::PrefixLen(_) => "prefix",
            FlowAdvertError::Node(_) => "node",
            FlowAdvertError::Flow { .. } => "flow",
            FlowAdvertError::Padding => "padding",
        }
    }
}
