//! What a virtual subnet offers: transport protocol and port.

use std::{fmt, num::NonZeroU16, str::FromStr};

use thiserror::Error;

use crate::text::{serde_as_text, word_enum};

word_enum! {
    /// A transport protocol whose packets form flows.
    pub enum Protocol, "a protocol" {
        /// RFC 9293.
        Tcp = "tcp",
        /// RFC 768.
        Udp = "udp",
    }
}

impl Protocol {
    /// The protocol's number in IPv4's protocol and IPv6's next-header field.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// The protocol with this number, if its packets form flows.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            _ => None,
        }
    }
}

/// A protocol and a port, written `tcp/80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port at the virtual address, in host order.
    pub port: NonZeroU16,
}

/// Text that is not a service.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("\"{given}\" is not a service: expected tcp/PORT or udp/PORT with a port from 1 to 65535, such as tcp/80")]
pub struct ServiceError {
    /// The text as it was given.
    pub given: String,
}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        parse(text).ok_or_else(|| ServiceError { given: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Service> {
    let (protocol, port) = text.split_once('/')?;
    // A port is digits: the parser of the standard library would also take a sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Service { protocol: protocol.parse().ok()?, port: port.parse().ok()? })
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(&format!("{}/{}", self.protocol, self.port))
    }
}

serde_as_text!(Service, "a service such as tcp/80");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_round_trip() {
        for text in ["tcp/80", "udp/53", "tcp/65535", "udp/1"] {
            assert_eq!(text.parse::<Service>().unwrap().to_string(), text);
            assert_eq!(serde_json::to_string(&text.parse::<Service>().unwrap()).unwrap(), format!("\"{text}\""));
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for given in
            ["", "80", "tcp", "tcp/", "tcp/0", "tcp/65536", "sctp/80", "TCP/80", "tcp/+80", "tcp/80/1", "tcp:80"]
        {
            let error = given.parse::<Service>().unwrap_err();
            assert_eq!(error.given, given);
            assert!(error.to_string().ends_with("such as tcp/80"));
        }
    }

    #[test]
    fn numbers_are_those_of_the_ip_header() {
        for &protocol in Protocol::ALL {
            assert_eq!(Protocol::from_number(protocol.number()), Some(protocol));
        }
        assert_eq!((Protocol::Tcp.number(), Protocol::Udp.number()), (6, 17));
        assert_eq!(Protocol::from_number(1), None);
    }
}
