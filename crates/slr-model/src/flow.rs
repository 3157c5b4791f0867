//! A flow: the two ends a client sees, and the protocol between them.

use std::{
    fmt,
    net::{SocketAddr, SocketAddrV6},
    str::FromStr,
};

use thiserror::Error;

use crate::{Protocol, text::serde_as_text};

/// The key of a flow, as packets from the client carry it. Written `tcp 198.51.100.7:40000 > 192.0.2.9:80`.
///
/// Both ends are of one family. An IPv6 end has neither scope nor flow label, since neither tells flows apart: the
/// fields are private so that equal flows stay equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    client: SocketAddr,
    virtual_host: SocketAddr,
    protocol: Protocol,
}

/// Two ends, or text, that make no flow.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FlowKeyError {
    /// One end is IPv4 and the other IPv6.
    #[error("{client} and {virtual_host} make no flow: both ends must be IPv4, or both IPv6")]
    Families {
        /// The client's end.
        client: SocketAddr,
        /// The virtual host's end.
        virtual_host: SocketAddr,
    },
    /// Text that does not name two ends and a protocol.
    #[error(
        "\"{given}\" is not a flow: expected PROTOCOL CLIENT:PORT > VIRTUAL:PORT, such as tcp 198.51.100.7:40000 > 192.0.2.9:80 or udp [2001:db8::7]:40000 > [2001:db8:1::9]:53"
    )]
    Syntax {
        /// The text as it was given.
        given: String,
    },
}

impl FlowKey {
    /// The flow between these ends.
    pub fn new(client: SocketAddr, virtual_host: SocketAddr, protocol: Protocol) -> Result<Self, FlowKeyError> {
        if client.is_ipv4() != virtual_host.is_ipv4() {
            return Err(FlowKeyError::Families { client, virtual_host });
        }
        Ok(Self { client: without_scope(client), virtual_host: without_scope(virtual_host), protocol })
    }

    /// The client's address and port.
    pub const fn client(&self) -> SocketAddr {
        self.client
    }

    /// The virtual address and port.
    pub const fn virtual_host(&self) -> SocketAddr {
        self.virtual_host
    }

    /// The transport protocol.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether both ends are IPv4; otherwise both are IPv6.
    pub const fn is_ipv4(&self) -> bool {
        self.client.is_ipv4()
    }
}

fn without_scope(end: SocketAddr) -> SocketAddr {
    match end {
        SocketAddr::V4(_) => end,
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0).into(),
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(&format!("{} {} > {}", self.protocol, self.client, self.virtual_host))
    }
}

impl FromStr for FlowKey {
    type Err = FlowKeyError;

    fn from_str(text: &str) -> Result<Self, FlowKeyError> {
        let syntax = || FlowKeyError::Syntax { given: text.to_owned() };
        let (protocol, ends) = text.split_once(' ').ok_or_else(syntax)?;
        let (client, virtual_host) = ends.split_once(" > ").ok_or_else(syntax)?;
        Self::new(
            client.parse().map_err(|_| syntax())?,
            virtual_host.parse().map_err(|_| syntax())?,
            protocol.parse().map_err(|_| syntax())?,
        )
    }
}

serde_as_text!(FlowKey, "a flow such as tcp 198.51.100.7:40000 > 192.0.2.9:80");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_round_trip() {
        for text in ["tcp 198.51.100.7:40000 > 192.0.2.9:80", "udp [2001:db8::7]:40000 > [2001:db8:1::9]:53"] {
            let flow: FlowKey = text.parse().unwrap();
            assert_eq!(flow.to_string(), text);
            assert_eq!(serde_json::from_str::<FlowKey>(&serde_json::to_string(&flow).unwrap()).unwrap(), flow);
        }
    }

    #[test]
    fn ends_of_two_families_make_no_flow() {
        let error = "tcp 198.51.100.7:1 > [2001:db8::1]:80".parse::<FlowKey>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "198.51.100.7:1 and [2001:db8::1]:80 make no flow: both ends must be IPv4, or both IPv6"
        );
    }

    #[test]
    fn text_that_is_no_flow_is_refused() {
        for given in ["", "tcp", "tcp 1.2.3.4:1", "tcp 1.2.3.4 > 5.6.7.8:80", "icmp 1.2.3.4:1 > 5.6.7.8:80"] {
            assert_eq!(given.parse::<FlowKey>(), Err(FlowKeyError::Syntax { given: given.to_owned() }));
        }
    }

    #[test]
    fn scope_and_flow_label_do_not_tell_flows_apart() {
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 7, 3).into();
        let plain = "[fe80::1]:1".parse().unwrap();
        let host = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(FlowKey::new(scoped, host, Protocol::Tcp), FlowKey::new(plain, host, Protocol::Tcp));
    }
}
